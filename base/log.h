/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The log: one line per event, a sentence and key-value pairs, to standard error, the journal or
 * syslog. It is the one mutable global of the program, set up by main() before any thread runs.
 *
 * Rooms below serve/ log at debug level and trace only; a line for operators is written where the
 * consequence is known. Secret bytes are never passed in, neither at debug level nor in a trace.
 */
#include "base/error.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
enum log_target {
    LOG_TARGET_STDERR, /* read by a terminal, a test or a container's runtime */
    LOG_TARGET_SYSTEM, /* the journal if it runs, else syslog */
};

/* The words for them, in the order of the enums. NULL-terminated. */
extern const char *const log_level_words[], *const log_format_words[];

/* @what: as for words_find(). Return: 0; -EINVAL with @e, unless @name is one of the words. */
int log_level_parse(const char *what, const char *name, enum log_level *ret_level, struct error *e);
int log_format_parse(const char *what, const char *name, enum log_format *ret_format,
                     struct error *e);

/*
 * Return: LOG_TARGET_SYSTEM if standard error is a stream to the journal, as a service manager sets
 * it up: the journal's own protocol keeps levels and pairs. Else LOG_TARGET_STDERR.
 * Source: JOURNAL_STREAM in systemd.exec(5).
 */
enum log_target log_target_of_stderr(void);

/* What is logged from now on, and how. Called before other threads are started. */
void log_setup(enum log_level level, enum log_format format, enum log_target target);
/* Thread: any; other threads may write lines meanwhile. */
void log_set_target(enum log_target target);
bool log_enabled(enum log_level level);

/*
 * Write one line. @message is a plain sentence; then key, value pairs of strings up to NULL; a NULL
 * value leaves its pair out. Use the macros.
 * Thread: any.
 */
void log_write(enum log_level level, const char *message, ...) __attribute__((sentinel));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__, (char *)NULL)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__, (char *)NULL)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__, (char *)NULL)
/* Arguments are not evaluated unless the level is on. */
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_LEVEL_DEBUG))                                                          \
            log_write(LOG_LEVEL_DEBUG, __VA_ARGS__, (char *)NULL);                                 \
    } while (0)

/* A number as a value for log_write(); lives until the end of the enclosing block. */
#define LOG_NUMBER_SIZE 24
const char *log_number(long long n, char buf[static LOG_NUMBER_SIZE]);
#define LOG_NUM(n) log_number((long long)(n), (char[LOG_NUMBER_SIZE]){""})

/*
 * Traces: what one mechanism does, step by step, for a person who debugs it. Off by default; each
 * category is turned on by its name, at any log level. Lines have the level TRACE and the
 * pair category="grpc". A trace line names objects, states, numbers and errors.
 */
enum log_trace_category {
    LOG_TRACE_FUSE,      /* requests of the kernel and their replies */
    LOG_TRACE_GRPC,      /* connections and calls of the kubelet, registration */
    LOG_TRACE_HTTP,      /* requests to API servers and their connections */
    LOG_TRACE_NODE,      /* volumes of a node: requests, targets, identities */
    LOG_TRACE_PUBLISHER, /* the publisher's steps on volumes */
    LOG_TRACE_REFLECTOR, /* lists, watches and their events */
    LOG_TRACE_STORE,     /* objects put, kept and dropped; subscriptions */
    LOG_TRACE_VOLUME,    /* payloads computed from objects */
    LOG_TRACE_N_CATEGORIES,
};

/* Their names. NULL-terminated. */
extern const char *const log_trace_words[];

/*
 * Parse categories as the option --trace takes them: "fuse,http".
 * @ret_mask: for log_trace_set(): bit 1 << LOG_TRACE_FUSE and so on
 * Return: 0; -EINVAL for an unknown category, an empty one included, with @e.
 */
int log_trace_parse(const char *categories, unsigned *ret_mask, struct error *e);
/* Thread: main, before any other thread runs. */
void log_trace_set(unsigned mask);

/* Read it through the macros below only. */
extern unsigned log_trace_mask;
#define log_trace_is_on(category) ((log_trace_mask & 1u << (category)) != 0)

/* As log_write(), with the category's name in front of the pairs. Use the macro. */
void log_trace_write(enum log_trace_category category, const char *message, ...)
    __attribute__((sentinel));

/* Arguments are not evaluated unless the category is on. */
#define log_trace(category, ...)                                                                   \
    do {                                                                                           \
        if (log_trace_is_on(category))                                                             \
            log_trace_write(category, __VA_ARGS__, (char *)NULL);                                  \
    } while (0)

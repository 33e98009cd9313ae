/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The log: one line per happening, a sentence and key-value pairs, to standard error, the journal
 * or syslog. It is the one mutable global of the program, set up by main() before any thread runs.
 *
 * Rooms below daemon/ log at debug level only; what an operator should read is decided where the
 * consequence is known. Secret bytes are never passed in, at no level.
 */
#include "base/util.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
enum log_target {
    LOG_TARGET_STDERR, /* what a terminal, a test or a container's runtime reads */
    LOG_TARGET_SYSTEM, /* the journal where there is one, else syslog */
};

/* Return: 0, or -EINVAL for a name that is none of error, warn, info, debug (text, json). */
int log_level_parse(const char *name, enum log_level *ret_level);
int log_format_parse(const char *name, enum log_format *ret_format);

/*
 * Where a program that logs to standard error should do so: to the journal itself if that is what
 * standard error leads to, as a service manager sets it up, so that levels and pairs arrive as
 * such. Source: JOURNAL_STREAM in systemd.exec(5).
 */
enum log_target log_target_of_stderr(void);

void log_setup(enum log_level level, enum log_format format, enum log_target target);
/* Threads may be writing. */
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

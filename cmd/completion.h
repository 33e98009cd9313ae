/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What can stand at a place of a command line, for the completion of shells. A pure function of the
 * words before it and of the tables of options that the commands themselves parse with.
 */
#include <getopt.h>
#include <stddef.h>

enum completion_kind {
    COMPLETION_NONE,  /* any text */
    COMPLETION_FILES, /* a file */
    COMPLETION_DIRECTORIES,
    COMPLETION_COMMANDS,   /* a subcommand */
    COMPLETION_WORDS,      /* one of .words */
    COMPLETION_OPTIONS,    /* a long option of .options */
    COMPLETION_TARGETS,    /* a path in a volume that is mounted here; other files follow */
    COMPLETION_PODS,       /* a pod with a volume here */
    COMPLETION_OBJECTS,    /* an object that a volume here shows */
    COMPLETION_NAMESPACES, /* a namespace of these pods and objects */
    COMPLETION_STORED,     /* an object of the source that the line names */
    COMPLETION_VARIABLE,   /* VAR= and such an object */
};

struct completion {
    enum completion_kind kind;
    const char *const *words;                    /* NULL-terminated */
    const struct option *options, *more_options; /* NULL: none */
    size_t prefix_len; /* of the current word: "--output=", which candidates repeat */
};

/* All subcommands. NULL-terminated. */
extern const char *const completion_commands[];

/*
 * @words: those after the program's name; the last one is the one to complete, "" at first
 * @n: at least 1
 */
struct completion completion_find(const char *const *words, size_t n);

/* Takes an option of the command line. @code: of the table; @value: borrowed from the words */
typedef void completion_option_fn(void *userdata, int code, const char *value);

/* Call @set for each option with a value in front of the last word, as for completion_find(). */
void completion_visit_options(const char *const *words, size_t n, completion_option_fn *set,
                              void *userdata);

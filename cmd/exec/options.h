/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The command line of `secretfs exec`. */
#include <getopt.h>

#include "cmd/shared/source_options.h"
#include "volume/env_spec.h"

#define GRACE_DEFAULT SPAN_SEC(10)

/* What to do when a value changes. */
enum on_change {
    ON_CHANGE_IGNORE, /* nothing: the command replaces this process */
    ON_CHANGE_RESTART,
    ON_CHANGE_SIGNAL,
};

struct exec_options {
    struct source_options from;
    struct env_spec spec; /* owned */
    bool is_optional;     /* --optional */
    enum on_change on_change;
    int signal; /* of ON_CHANGE_SIGNAL */
    span_us grace;
    char **command; /* borrowed from the arguments, NULL-terminated */
    bool wants_help;
};

/*
 * Parse the arguments after the subcommand's name, and read the files that they name.
 * @argv: argv[0] is the subcommand
 * Return: 0; -EINVAL for a usage error, any other -errno for one of the system, with @e.
 * Either way exec_options_deinit() is due.
 */
int exec_options_parse(int argc, char *argv[], struct exec_options *ret_options, struct error *e);
void exec_options_deinit(struct exec_options *options);

/* Print the help of `secretfs exec`. */
void exec_options_help(const char *program);

/* For completion. NULL-terminated: what --env-names takes. */
extern const char *const exec_env_names_words[];
extern const struct option exec_long_options[];

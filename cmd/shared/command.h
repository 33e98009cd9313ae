/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What all subcommands share: how they are called and how they end. */

enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1, /* standard error says what failed and why */
    EXIT_USAGE = 2,  /* invalid command line */
};

#define KUBECTL_PLUGIN "kubectl secretfs"

/* How the program was called. */
struct invocation {
    const char *program; /* "secretfs", or KUBECTL_PLUGIN */
    const char *command; /* the subcommand's name; NULL: it has none, or is not known */
    char *const *line;   /* the whole command line, ended by NULL */
};

/*
 * Run a subcommand.
 * @argv: argv[0] is the subcommand's name; reordered as getopt_long(3) does
 * Return: the exit code of the program.
 */
typedef int command_fn(const struct invocation *invocation, int argc, char *argv[]);

/*
 * Print "secretfs: TEXT" to standard error, and for a usage error how to get help.
 * Return: @code.
 */
int command_failed(const struct invocation *invocation, enum exit_code code, const char *text);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The subcommands. Each gets its arguments with argv[0] as its own name, and returns an exit code.
 */

enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1, /* it could not be done; standard error says why */
    EXIT_USAGE = 2,  /* the command line makes no sense */
};

/* How the program was called, for usage lines: "secretfs", or "kubectl secretfs". */
struct invocation {
    const char *program;
};

int command_mount(const struct invocation *invocation, int argc, char *argv[]);
int command_mount_helper(const struct invocation *invocation, int argc, char *argv[]);
int command_node(const struct invocation *invocation, int argc, char *argv[]);
int command_exec(const struct invocation *invocation, int argc, char *argv[]);
int command_unmount(const struct invocation *invocation, int argc, char *argv[]);
int command_doctor(const struct invocation *invocation, int argc, char *argv[]);
int command_status(const struct invocation *invocation, int argc, char *argv[]);

/* Print "PROGRAM: TEXT" to standard error, and for a usage error where help is. Return: @code. */
int command_failed(const struct invocation *invocation, enum exit_code code, const char *text);

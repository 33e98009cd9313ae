/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Runs kubectl, for what concerns a cluster: its kubeconfig, plug-ins and rights are the user's
 * own.
 */
#include <getopt.h>

#include "base/error.h"
#include "base/process.h"

/* Each object of a list in one line, for `-o`. */
#define KUBECTL_EACH_ITEM(what) ("jsonpath={range .items[*]}{" what "}{\"\\n\"}{end}")

struct kubectl {
    const char *kubeconfig; /* NULL: kubectl's own */
    const char *context;    /* NULL: the kubeconfig's */
};

/* The options of a command that runs kubectl, for its table; numbers that no other option has. */
enum { KUBECTL_OPTION_KUBECONFIG = 512, KUBECTL_OPTION_CONTEXT };
#define KUBECTL_LONG_OPTIONS                                                                       \
    {"kubeconfig", required_argument, NULL, KUBECTL_OPTION_KUBECONFIG},                            \
    {                                                                                              \
        "context", required_argument, NULL, KUBECTL_OPTION_CONTEXT                                 \
    }

/* Take one of them. @value: borrowed. Return: whether @option is one. */
bool kubectl_set_option(struct kubectl *kubectl, int option, const char *value);

#define KUBECTL_WORDS_MAX 20
/* with the name of the program, both options and the NULL */
#define KUBECTL_ARGV_MAX  (KUBECTL_WORDS_MAX + 6)

/*
 * Make the command line.
 * @words: the command and its options, NULL-terminated
 * @ret_argv: borrows all texts
 */
void kubectl_argv(const struct kubectl *kubectl, const char *const words[],
                  const char *ret_argv[static KUBECTL_ARGV_MAX]);

/*
 * Run kubectl, and pass on each line of its output.
 * Return: 0; -EIO if it fails, with @e; what @on_line returned, which sets @e itself; -errno with
 * @e.
 */
int kubectl_read_lines(const struct kubectl *kubectl, const char *const words[],
                       process_line_fn *on_line, void *userdata, struct error *e);

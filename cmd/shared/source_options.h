/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The options that say where objects come from, how long to wait for them and what to log: those
 * that every command has which follows objects.
 */
#include <getopt.h>

#include "base/clock.h"
#include "base/log.h"
#include "fetcher/source.h"

#define WAIT_DEFAULT SPAN_SEC(30)

/* Strings are borrowed from the arguments unless they say otherwise. */
struct source_options {
    const char *namespace;  /* NULL: the context's, else "default" */
    const char *kubeconfig; /* NULL: $KUBECONFIG and so on */
    const char *context;
    char *manifests; /* owned, absolute; NULL: from an API */
    span_us wait;
    enum log_level log_level;
    enum log_format log_format;
};

/* What getopt_long(3) returns for them; a command's own codes begin at SOURCE_OPTION_END. */
enum source_option {
    SOURCE_OPTION_NAMESPACE = 'n',
    SOURCE_OPTION_KUBECONFIG = 256,
    SOURCE_OPTION_CONTEXT,
    SOURCE_OPTION_MANIFESTS,
    SOURCE_OPTION_WAIT,
    SOURCE_OPTION_LOG_LEVEL,
    SOURCE_OPTION_LOG_FORMAT,
    SOURCE_OPTION_END,
};

/* For a command's table of long options; -n is to be in its short ones. */
/* clang-format off */
#define SOURCE_LONG_OPTIONS                                                                        \
    {"namespace", required_argument, NULL, SOURCE_OPTION_NAMESPACE},                               \
    {"kubeconfig", required_argument, NULL, SOURCE_OPTION_KUBECONFIG},                             \
    {"context", required_argument, NULL, SOURCE_OPTION_CONTEXT},                                   \
    {"manifests", required_argument, NULL, SOURCE_OPTION_MANIFESTS},                               \
    {"wait", required_argument, NULL, SOURCE_OPTION_WAIT},                                         \
    {"log-level", required_argument, NULL, SOURCE_OPTION_LOG_LEVEL},                               \
    {"log-format", required_argument, NULL, SOURCE_OPTION_LOG_FORMAT}
/* clang-format on */

/* For a command's --help. */
#define SOURCE_OPTIONS_HELP                                                                        \
    "  -n, --namespace NS      namespace (default: the context's, else \"default\")\n"             \
    "      --kubeconfig FILE   how to reach the API server (default: $KUBECONFIG,\n"               \
    "                          ~/.kube/config, the in-cluster service account)\n"                  \
    "      --context NAME      context of the kubeconfig to use\n"                                 \
    "      --manifests DIR     take objects from the YAML and JSON manifests in DIR\n"             \
    "                          instead of from an API server\n"                                    \
    "      --wait DURATION     give up if the object is not there by then: 30s (the\n"             \
    "                          default), 1m30s, 0 for at once, or \"forever\"\n"
#define SOURCE_OPTIONS_LOG_HELP                                                                    \
    "      --log-level LEVEL   error, warn, info (default) or debug\n"                             \
    "      --log-format FORMAT text (default) or json\n"

#define SOURCE_OPTIONS_INIT                                                                        \
    (struct source_options)                                                                        \
    {                                                                                              \
        .wait = WAIT_DEFAULT, .log_level = LOG_LEVEL_INFO                                          \
    }

/*
 * Take one option of the table above.
 * Return: 0; -EINVAL for a value that makes no sense or a code that is not of the table, -errno of
 * the system; with @e.
 */
int source_options_set(struct source_options *o, int option, const char *value, struct error *e);

/* Whether all of them go together. Return: 0; -EINVAL with @e. */
int source_options_check(const struct source_options *o, struct error *e);

void source_options_deinit(struct source_options *o);

/*
 * Make the source that they describe and connect it to the store.
 * Return: 0, *ret_source and *ret_namespace (where objects are looked for) are the caller's; -errno
 * with @e.
 * Thread: the event loop's.
 */
int source_options_open(const struct source_options *o, sd_event *event, struct store *store,
                        struct source **ret_source, char **ret_namespace, struct error *e);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Options that commands with objects share: where objects come from, how long to wait for them, and
 * what to log.
 */
#include <getopt.h>

#include "base/clock.h"
#include "base/log.h"
#include "fetcher/source.h"

#define WAIT_DEFAULT SPAN_SEC(30)

/* Strings are borrowed from the arguments unless a comment says otherwise. */
struct source_options {
    const char *namespace;  /* NULL: the context's, else "default" */
    const char *kubeconfig; /* NULL: $KUBECONFIG, ~/.kube/config, the service account */
    const char *context;
    char *manifests; /* owned, absolute; NULL: from an API server */
    span_us wait;
    enum log_level log_level;
    enum log_format log_format;
    unsigned trace; /* for log_trace_set() */
};

/* Codes for getopt_long(3); a command's own codes begin at SOURCE_OPTION_END. */
enum source_option {
    SOURCE_OPTION_NAMESPACE = 'n',
    SOURCE_OPTION_KUBECONFIG = 256,
    SOURCE_OPTION_CONTEXT,
    SOURCE_OPTION_MANIFESTS,
    SOURCE_OPTION_WAIT,
    SOURCE_OPTION_LOG_LEVEL,
    SOURCE_OPTION_LOG_FORMAT,
    SOURCE_OPTION_TRACE,
    SOURCE_OPTION_END,
};

/* For a command's table of long options; its short options must include n. */
/* clang-format off */
#define SOURCE_LONG_OPTIONS                                                                        \
    {"namespace", required_argument, NULL, SOURCE_OPTION_NAMESPACE},                               \
    {"kubeconfig", required_argument, NULL, SOURCE_OPTION_KUBECONFIG},                             \
    {"context", required_argument, NULL, SOURCE_OPTION_CONTEXT},                                   \
    {"manifests", required_argument, NULL, SOURCE_OPTION_MANIFESTS},                               \
    {"wait", required_argument, NULL, SOURCE_OPTION_WAIT},                                         \
    {"log-level", required_argument, NULL, SOURCE_OPTION_LOG_LEVEL},                               \
    {"log-format", required_argument, NULL, SOURCE_OPTION_LOG_FORMAT},                             \
    {"trace", required_argument, NULL, SOURCE_OPTION_TRACE}
/* clang-format on */

/* For a command's --help. */
#define SOURCE_OPTIONS_HELP                                                                        \
    "  -n, --namespace NS      namespace (default: the context's, else \"default\")\n"             \
    "      --kubeconfig FILE   how to reach the API server (default: $KUBECONFIG,\n"               \
    "                          ~/.kube/config, the in-cluster service account)\n"                  \
    "      --context NAME      context of the kubeconfig to use\n"                                 \
    "      --manifests DIR     read objects from the YAML and JSON manifests in DIR\n"             \
    "                          instead of from an API server\n"                                    \
    "      --wait DURATION     how long to wait for the object: 30s (the default), 1m30s,\n"       \
    "                          0 to fail at the first answer, or \"forever\"\n"
#define SOURCE_OPTIONS_LOG_HELP                                                                    \
    "      --log-level LEVEL   error, warn, info (default) or debug\n"                             \
    "      --log-format FORMAT text (default) or json\n"                                           \
    "      --trace CATEGORIES  log each step of these: fuse, http, publisher, reflector,\n"        \
    "                          store, volume; comma-separated\n"

#define SOURCE_OPTIONS_INIT                                                                        \
    (struct source_options)                                                                        \
    {                                                                                              \
        .wait = WAIT_DEFAULT, .log_level = LOG_LEVEL_INFO                                          \
    }

/*
 * Set one option of the table above.
 * Return: 0; -EINVAL for an invalid value or an unknown code, -errno of the system; with @e.
 */
int source_options_set(struct source_options *o, int option, const char *value, struct error *e);

/* Check that the options can be combined. Return: 0; -EINVAL with @e. */
int source_options_check(const struct source_options *o, struct error *e);

void source_options_deinit(struct source_options *o);

/*
 * Create the source and connect it to the store.
 * Return: 0, *ret_source and *ret_namespace (of objects without one) are the caller's; -errno with
 * @e. Thread: the event loop's.
 */
int source_options_open(const struct source_options *o, sd_event *event, struct store *store,
                        struct source **ret_source, char **ret_namespace, struct error *e);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Runs the program of a kubeconfig's users[].user.exec, and runs it again before its credential
 * expires: see exec_plugin.c.
 *
 * Thread: the event loop's. SIGCHLD must be blocked in all threads.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/, "client-go
 * credential plugins".
 */
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "fetcher/auth/api_config.h"

struct exec_plugin_runner;

/* A plug-in's credential. The pair was checked; both members or neither are set. */
struct exec_credential {
    char *authorization;
    char *client_cert_pem;
    char *client_key_pem;
    struct timespec certificate_expiry; /* with client_cert_pem */
    struct timespec expiry;             /* of the whole credential; 0: none given */
};

void exec_credential_deinit(struct exec_credential *credential);

/*
 * Read a plug-in's output.
 * @api_version: that it must have
 * Return: 0, *ret_credential to be deinited by the caller; -EINVAL or -ENOMEM with @e.
 */
int exec_credential_parse(const char *text, size_t len, const char *api_version,
                          struct exec_credential *ret_credential, struct error *e);

struct exec_plugin_limits {
    span_us timeout;     /* of one run */
    span_us retry_first; /* after a failure, doubling; also the shortest time between two runs */
    span_us retry_max;
    span_us renew_early; /* before expiry at the latest */
};

#define EXEC_PLUGIN_LIMITS                                                                         \
    (struct exec_plugin_limits)                                                                    \
    {                                                                                              \
        .timeout = SPAN_SEC(60), .retry_first = SPAN_SEC(1), .retry_max = SPAN_SEC(60),            \
        .renew_early = SPAN_SEC(10)                                                                \
    }

/*
 * How long to wait before renewing a credential that expires at @expiry: until a fifth of the time
 * is left, or renew_early if that is more, or half of the time for an even shorter life.
 */
span_us exec_plugin_renew_in(struct timespec expiry, struct timespec now,
                             const struct exec_plugin_limits *limits);

/*
 * A run ended. May not free the runner.
 * @credential: its members may be taken, leaving zeroes; NULL if the run failed
 * @error: why it failed, with the kubeconfig's installHint; the run is retried
 */
typedef void exec_plugin_done_fn(void *userdata, struct exec_credential *credential,
                                 const struct error *error);

/*
 * @config: has exec; borrowed, outlives the runner
 * @limits: copied
 * Return: 0, *ret_runner is the caller's and starts its first run from the loop; -errno with @e.
 */
int exec_plugin_new(sd_event *event, const struct api_config *config,
                    const struct exec_plugin_limits *limits, exec_plugin_done_fn *done,
                    void *userdata, struct exec_plugin_runner **ret_runner, struct error *e);
/* Ends a current run and its processes. Return: NULL; NULL is fine. */
struct exec_plugin_runner *exec_plugin_free(struct exec_plugin_runner *runner);
DEFINE_CLEANUP(struct exec_plugin_runner *, exec_plugin_free)

/* The cluster's authorities, for provideClusterInfo; borrowed until the next call; NULL: none. */
void exec_plugin_set_ca(struct exec_plugin_runner *runner, const char *ca_pem);

/* Run it in the next turn of the loop, unless it is running. */
void exec_plugin_refresh(struct exec_plugin_runner *runner);

/* Whether it is running or about to run: done() will be called. */
bool exec_plugin_is_busy(const struct exec_plugin_runner *runner);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Runs the program that a kubeconfig's users[].user.exec names, again before what it gave expires:
 * see exec_plugin.c.
 *
 * Thread: the event loop's. SIGCHLD must be blocked in all threads.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/, "client-go
 * credential plugins".
 */
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "fetcher/auth/api_config.h"

struct exec_plugin_runner;

/* What a plug-in gave. The pair was checked, both or neither are there. */
struct exec_credential {
    char *authorization;
    char *client_cert_pem;
    char *client_key_pem;
    struct timespec certificate_expiry; /* with client_cert_pem */
    struct timespec expiry;             /* of all of it; 0 if the plug-in does not say */
};

void exec_credential_deinit(struct exec_credential *credential);

/*
 * Read a plug-in's output.
 * @api_version: what it must be written in
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
 * How long to wait before asking for the successor of what expires at @expiry: until a fifth of the
 * time is left, or renew_early if that is more, or half of it for what lives shorter still.
 */
span_us exec_plugin_renew_in(struct timespec expiry, struct timespec now,
                             const struct exec_plugin_limits *limits);

/*
 * A run is over.
 * @credential: what it gave; may be taken, leaving zeroes. NULL if the run failed
 * @error: why it failed, with the kubeconfig's installHint; it is tried again later
 * The runner may not be freed in it.
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
/* Ends a run that is going on, and the processes of it. Return: NULL; NULL is fine. */
struct exec_plugin_runner *exec_plugin_free(struct exec_plugin_runner *runner);
DEFINE_CLEANUP(struct exec_plugin_runner *, exec_plugin_free)

/* The cluster's authorities, for plug-ins that ask; borrowed until the next call, may be NULL. */
void exec_plugin_set_ca(struct exec_plugin_runner *runner, const char *ca_pem);

/* Run it as soon as the loop comes to it, unless it is running. */
void exec_plugin_refresh(struct exec_plugin_runner *runner);

/* Whether a run is going on or about to begin: a call of done will follow presently. */
bool exec_plugin_is_busy(const struct exec_plugin_runner *runner);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The current credentials of a configuration: files are read again when they change, tokens and
 * certificates of an exec plug-in are renewed before they expire or when the server refuses them.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "fetcher/auth/exec_plugin.h"
#include "fetcher/auth/api_config.h"

struct credentials;

/* What a request is made with. Borrowed until the next change; members may be NULL. */
struct credentials_snapshot {
    const char *ca_pem;          /* NULL: the system's certificate authorities */
    const char *client_cert_pem; /* both or neither */
    const char *client_key_pem;
    const char *authorization; /* the Authorization header's value: "Bearer ..." or "Basic ..." */
    unsigned version;          /* grows with every change */
};

/*
 * The snapshot changed, or @error says why it did not (the old one, if any, stays). May not free
 * the credentials.
 */
typedef void credentials_changed_fn(void *userdata, const struct error *error);

/*
 * @config: borrowed, outlives the credentials
 * @changed: called from the loop, never from within this call
 * Return: 0, *ret_credentials is the caller's; -errno with @e when a file cannot be read or is not
 * valid PEM. An exec plug-in is started, its result is reported through @changed.
 */
int credentials_new(sd_event *event, const struct api_config *config,
                    credentials_changed_fn *changed, void *userdata,
                    struct credentials **ret_credentials, struct error *e);

/* Return: NULL; NULL is fine. */
struct credentials *credentials_free(struct credentials *credentials);
DEFINE_CLEANUP(struct credentials *, credentials_free)

/* Return: the snapshot; NULL before a plug-in has delivered. */
const struct credentials_snapshot *credentials_peek(const struct credentials *credentials);

/*
 * The server answered 401 to a request with the snapshot of @version: read the files and run the
 * plug-in again, at most once a minute per version, so that many requests with the same snapshot
 * cause one run, and not if the snapshot has been replaced. @changed is called when that is done,
 * also without a change.
 */
void credentials_rejected(struct credentials *credentials, unsigned version);

/*
 * When the client certificate expires.
 * Return: true, with the time in @ret_expiry; false without a client certificate.
 */
bool credentials_expiry(const struct credentials *credentials, struct timespec *ret_expiry);

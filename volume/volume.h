/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A volume: follows the objects of its spec and says what its files are.
 *
 * Whatever goes wrong after the first payload leaves that payload in place (G7, G8, G10, G15): a
 * volume never takes back what it has shown, unless it was optional (G9).
 *
 * Thread: the event loop's.
 */
#include "volume/spec.h"
#include "volume/tls.h"

struct volume;

enum volume_state {
    VOLUME_WAITING, /* no payload yet */
    VOLUME_CURRENT, /* the payload is what the source has */
    VOLUME_STALE,   /* the payload is the last good one; volume_error() says what is wrong */
};

const char *volume_state_name(enum volume_state state);

struct volume_callbacks {
    /* There is a payload that differs from the one before. Take a reference to keep it. */
    void (*payload)(void *userdata, struct payload *payload, mono_us received_at);
    /* State, error, a certificate or the source's state may have changed. */
    void (*state)(void *userdata);
};

/*
 * @spec: borrowed, outlives the volume
 * @namespace: where its objects are; copied
 * @callbacks: outlive the volume; may be called before this returns
 * Return: 0, *ret_volume is the caller's; -ENOMEM; what the source said, with @e.
 */
int volume_new(struct store *store, const struct volume_spec *spec, const char *namespace,
               const struct volume_callbacks *callbacks, void *userdata, struct volume **ret_volume,
               struct error *e);
struct volume *volume_free(struct volume *volume);
DEFINE_CLEANUP(struct volume *, volume_free)

enum volume_state volume_state(const struct volume *volume);
/* Why the state is not VOLUME_CURRENT, for people; "" while there is nothing to say. Borrowed. */
const char *volume_error(const struct volume *volume);
/* Whether the objects are known, and what volume_error() says is wrong with them. */
bool volume_is_refused(const struct volume *volume);
/* Whether waiting any longer depends on something to change: all that was asked has answered. */
bool volume_has_answer(const struct volume *volume);

/* What is known of the object of the spec's source @i; borrowed until the next change. */
const struct store_view *volume_view(const struct volume *volume, size_t i);
/* The certificate of that object if it is a Secret of type kubernetes.io/tls, else NULL. */
const struct tls_pair *volume_tls(const struct volume *volume, size_t i);

/* The view of the object whose source is in the worst state; NULL if the spec has no source. */
const struct store_view *volume_least_healthy_source(const struct volume *volume);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The store: the newest object of each key that has subscribers. Sources put objects in, volumes
 * and environments subscribe to them. See store.c.
 *
 * Thread: the event loop's.
 */
#include "base/clock.h"
#include "cache/object.h"

struct store;
struct store_subscription;

enum store_presence {
    STORE_UNKNOWN, /* the source has not answered yet */
    STORE_PRESENT, /* object is the newest one */
    STORE_ABSENT,  /* the source has no such object; object is the last one seen, or NULL */
};

/* The state of the source of a key, apart from whether the object is present. */
enum store_source_state {
    STORE_SOURCE_STARTING, /* first contact */
    STORE_SOURCE_LIVE,     /* changes arrive as they happen */
    STORE_SOURCE_FAILING,  /* see source_error; the source retries */
};

const char *store_presence_name(enum store_presence presence);
const char *store_source_state_name(enum store_source_state state);

/* Whether we may read an object. */
enum store_refusal {
    STORE_NOT_REFUSED,
    STORE_FORBIDDEN, /* not now: an API server that starts refuses what it will allow */
    STORE_REVOKED,   /* the source is certain; until a put, a remove or STORE_SOURCE_LIVE */
};

/* The state of one key. Borrowed until the next change. */
struct store_view {
    const struct object_key *key;
    enum store_presence presence;
    struct object *object; /* NULL before the first one */
    mono_us received_at;   /* when the last change of presence or object arrived at the source */
    enum store_source_state source_state;
    boot_us source_state_since;
    /* why it is failing, or why there is none yet; empty otherwise */
    struct kept_error source_error;
    /* of the source's last answer about our rights; a failure to reach it is not such an answer */
    enum store_refusal refusal;
};

/* The state of the key has changed. The callback may subscribe and unsubscribe. */
typedef void store_changed_fn(void *userdata, const struct store_view *view);

/* How the store calls its source, with keys that are valid until unwatch. */
struct store_source {
    /* Begin to deliver; may call store_put() and the others before it returns. */
    int (*watch)(void *userdata, const struct object_key *key, struct error *e);
    void (*unwatch)(void *userdata, const struct object_key *key);
    /*
     * One more subscriber of a key whose object is immutable: a source that no longer watches it
     * requests it again. NULL for a source that keeps watching.
     */
    void (*refresh)(void *userdata, const struct object_key *key);
    /*
     * Check regularly whether we may still read the key, until unwatch: a subscriber has to learn
     * soon when the right is withdrawn. NULL for a source without rights.
     */
    void (*check_rights)(void *userdata, const struct object_key *key);
};

/* Return: 0 or -ENOMEM. */
int store_new(struct store **ret_store);
/* All subscriptions must be gone. Return: NULL. */
struct store *store_free(struct store *store);
DEFINE_CLEANUP(struct store *, store_free)

/* Connect the one source. Must precede the first subscription; @source lives as long as the store.
 */
void store_set_source(struct store *store, const struct store_source *source, void *userdata);

/*
 * The same for a store that may have had subscribers without a source, to whom nothing is known:
 * the source watches their keys from now on.
 * Return: 0; -errno of the source's watch() with @e: call it again, for the keys that are left.
 */
int store_connect_source(struct store *store, const struct store_source *source, void *userdata,
                         struct error *e);
/*
 * Why there is no source yet: the source_error that subscribers find until the source reports its
 * first state. Must precede the first subscription. @reason: copied
 */
void store_set_reason(struct store *store, const char *reason);

/*
 * Subscribe to a key. @changed is called from now on, possibly before this returns.
 * @key: copied
 * Return: 0, *ret_subscription is the caller's for store_unsubscribe(); -ENOMEM; errors of the
 * source's watch(), with @e.
 */
int store_subscribe(struct store *store, const struct object_key *key, store_changed_fn *changed,
                    void *userdata, struct store_subscription **ret_subscription, struct error *e);
/* @subscription may be NULL. Return: NULL. */
struct store_subscription *store_unsubscribe(struct store_subscription *subscription);

/* Have the subscriber notified within a minute or so when the right to read the key is withdrawn.
 */
void store_check_rights(struct store_subscription *subscription);

/* The present state; borrowed until the next change. */
const struct store_view *store_peek(const struct store_subscription *subscription);

/* For sources. Keys without subscribers are ignored. */

/* @object: consumed. @received_at: when its bytes arrived. */
void store_put(struct store *store, struct object *object, mono_us received_at);
/* The source has no such object. */
void store_remove(struct store *store, const struct object_key *key, mono_us received_at);
/* @error: the reason if @state is STORE_SOURCE_FAILING, else NULL. Repetitions are ignored. */
void store_report(struct store *store, const struct object_key *key, enum store_source_state state,
                  const struct error *error);
/*
 * STORE_SOURCE_FAILING, as we may not read the key; until a put, a remove or STORE_SOURCE_LIVE.
 * @refusal: not STORE_NOT_REFUSED; STORE_FORBIDDEN leaves STORE_REVOKED as it is
 */
void store_refuse(struct store *store, const struct object_key *key, enum store_refusal refusal,
                  const struct error *error);

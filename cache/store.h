/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The store: the newest known object of every key that somebody subscribed to.
 *
 * Sources put objects in, volumes subscribe to them. The first subscriber of a key makes the source
 * watch it and the last one to leave makes it stop, so there is one watch per distinct object
 * however many volumes show it. An object stays here after it was deleted at the source: what was
 * published once stays readable (G8), and the presence tells the difference.
 *
 * Thread: everything here belongs to the event loop's thread.
 */
#include "base/clock.h"
#include "cache/object.h"

struct store;
struct store_subscription;

enum store_presence {
    STORE_UNKNOWN, /* the source has not answered yet */
    STORE_PRESENT, /* object is the newest one */
    STORE_ABSENT,  /* the source knows that there is none; object is the last one seen, or NULL */
};

/* How the source of a key is doing; not the same as whether the object is there. */
enum store_source_state {
    STORE_SOURCE_STARTING, /* first contact */
    STORE_SOURCE_LIVE,     /* changes arrive as they happen */
    STORE_SOURCE_FAILING,  /* something is wrong, see error; it is being retried */
};

const char *store_presence_name(enum store_presence presence);
const char *store_source_state_name(enum store_source_state state);

/* What is known about one key. Borrowed by whoever is shown it, until the next change. */
struct store_view {
    const struct object_key *key;
    enum store_presence presence;
    struct object *object; /* NULL before the first one */
    mono_us received_at;   /* when the last change of presence or object reached the source */
    enum store_source_state source_state;
    struct timespec source_state_since; /* wall clock */
    struct error source_error;          /* why it is failing; empty otherwise */
    /*
     * The last thing that the source said about our rights is that we may not see the object any
     * more, or not yet. Being out of reach says nothing about them, so it stays through that.
     */
    bool is_forbidden;
};

/* Something about the key changed. The callback may subscribe and unsubscribe. */
typedef void store_changed_fn(void *userdata, const struct store_view *view);

/* How the store reaches its source. Both are called with keys that live until unwatch. */
struct store_source {
    /* Begin to deliver; may call store_put() and the like before it returns. */
    int (*watch)(void *userdata, const struct object_key *key, struct error *e);
    void (*unwatch)(void *userdata, const struct object_key *key);
    /*
     * One more subscriber of a key whose object is immutable: a source that no longer watches it
     * looks whether it is still the same. NULL for one that goes on watching.
     */
    void (*refresh)(void *userdata, const struct object_key *key);
    /*
     * Somebody wants to know soon when the right to see the key is withdrawn: from now on until
     * unwatch. NULL for a source that has no rights.
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
 * Follow a key. @changed is called from now on, possibly before this returns.
 * @key: copied
 * Return: 0, *ret_subscription is the caller's for store_unsubscribe(); -ENOMEM; what the source's
 * watch() returned, with @e.
 */
int store_subscribe(struct store *store, const struct object_key *key, store_changed_fn *changed,
                    void *userdata, struct store_subscription **ret_subscription, struct error *e);
/* NULL is fine. Return: NULL. */
struct store_subscription *store_unsubscribe(struct store_subscription *subscription);

/* Be told within a minute or so when the right to see the key is withdrawn. */
void store_check_rights(struct store_subscription *subscription);

/* What is known now; borrowed until the next change. */
const struct store_view *store_peek(const struct store_subscription *subscription);

/* For sources. Keys that nobody subscribed to are ignored. */

/* @object: consumed. @received_at: when its bytes arrived. */
void store_put(struct store *store, struct object *object, mono_us received_at);
/* There is no such object at the source. */
void store_remove(struct store *store, const struct object_key *key, mono_us received_at);
/* @error: the reason when @state is STORE_SOURCE_FAILING, else NULL. Repeats are not passed on. */
void store_report(struct store *store, const struct object_key *key, enum store_source_state state,
                  const struct error *error);
/* As STORE_SOURCE_FAILING: we have no right to see it. A put, remove or STORE_SOURCE_LIVE ends it.
 */
void store_forbid(struct store *store, const struct object_key *key, const struct error *error);

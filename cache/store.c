/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first subscriber of a key has the source watch it, and the last one that leaves ends the
 * watch, so there is one watch for each object, however many volumes show it. An object stays here
 * after it was deleted at the source: content that was published stays readable (G8). The presence
 * says that it was deleted.
 *
 *     presence:     UNKNOWN --> PRESENT <--> ABSENT         source: STARTING --> LIVE <--> FAILING
 *                         \--------------------^                        \------------------^
 *
 * Subscribers may subscribe and unsubscribe while they are notified. So an entry is pinned while it
 * is worked on: a subscription that leaves is only marked, and removed when the last pin goes; then
 * the entry itself is freed if it has no subscriber left.
 */
#include "cache/store.h"

#include <search.h>

#include "base/list.h"
#include "base/log.h"

struct store {
    void *entries;                     /* tsearch(3) tree of struct store_entry by key */
    struct list unwatched;             /* entries, before there is a source */
    const struct store_source *source; /* NULL: none yet */
    struct kept_error reason;          /* for that; may be empty */
    void *source_userdata;
};

struct store_entry {
    struct store_view view;
    struct object_key *key; /* owned; what view.key points to */
    struct store *store;
    struct list subscriptions;
    struct list unwatched;
    unsigned n_pins;    /* > 0: the entry must not be freed */
    bool is_watched;    /* the source watches the key */
    bool checks_rights; /* the source was asked to check rights */
};

struct store_subscription {
    struct list link;
    struct store_entry *entry;
    store_changed_fn *changed;
    void *userdata;
    bool is_gone; /* unsubscribed; removed with the last pin */
};

static const char *const presence_names[] = {
    [STORE_UNKNOWN] = "unknown", [STORE_PRESENT] = "present", [STORE_ABSENT] = "absent"};

static const char *const source_state_names[] = {[STORE_SOURCE_STARTING] = "starting",
                                                 [STORE_SOURCE_LIVE] = "live",
                                                 [STORE_SOURCE_FAILING] = "failing"};

const char *store_presence_name(enum store_presence presence)
{
    return presence_names[presence];
}

const char *store_source_state_name(enum store_source_state state)
{
    return source_state_names[state];
}

static const unsigned next_presences[] = {
    [STORE_UNKNOWN] = 1u << STORE_PRESENT | 1u << STORE_ABSENT,
    [STORE_PRESENT] = 1u << STORE_ABSENT,
    [STORE_ABSENT] = 1u << STORE_PRESENT,
};

static const unsigned next_source_states[] = {
    [STORE_SOURCE_STARTING] = 1u << STORE_SOURCE_LIVE | 1u << STORE_SOURCE_FAILING,
    [STORE_SOURCE_LIVE] = 1u << STORE_SOURCE_FAILING,
    [STORE_SOURCE_FAILING] = 1u << STORE_SOURCE_LIVE,
};

static int entry_compare(const void *a, const void *b)
{
    const struct store_entry *x = a, *y = b;

    return object_key_compare(x->view.key, y->view.key);
}

int store_new(struct store **ret_store)
{
    struct store *store = calloc(1, sizeof(*store));

    if (store == NULL)
        return -ENOMEM;
    list_init(&store->unwatched);
    *ret_store = store;
    return 0;
}

struct store *store_free(struct store *store)
{
    if (store == NULL)
        return NULL;
    assert(store->entries == NULL);
    kept_error_clear(&store->reason);
    free(store);
    return NULL;
}

void store_set_source(struct store *store, const struct store_source *source, void *userdata)
{
    assert(store->entries == NULL);
    store->source = source;
    store->source_userdata = userdata;
}

void store_set_reason(struct store *store, const char *reason)
{
    assert(store->entries == NULL && store->source == NULL);
    kept_error_set(&store->reason, reason);
}

static struct store_entry *entry_find(struct store *store, const struct object_key *key)
{
    const struct store_entry like = {.view.key = key};
    struct store_entry *const *found = tfind(&like, &store->entries, entry_compare);

    return found != NULL ? *found : NULL;
}

static struct store_entry *entry_free(struct store_entry *entry)
{
    if (entry == NULL)
        return NULL;
    list_remove(&entry->unwatched);
    object_unref(entry->view.object);
    kept_error_clear(&entry->view.source_error);
    free(entry->key);
    free(entry);
    return NULL;
}
DEFINE_CLEANUP(struct store_entry *, entry_free)

static struct store_entry *entry_add(struct store *store, const struct object_key *key)
{
    _cleanup_(entry_freep) struct store_entry *entry = calloc(1, sizeof(*entry));

    if (entry == NULL)
        return NULL;
    list_init(&entry->unwatched);
    entry->key = object_key_dup(key);
    if (entry->key == NULL)
        return NULL;
    entry->store = store;
    entry->view.key = entry->key;
    entry->view.source_state_since = clock_boot();
    if (store->source == NULL)
        kept_error_set(&entry->view.source_error, kept_error_text(&store->reason));
    list_init(&entry->subscriptions);
    if (tsearch(entry, &store->entries, entry_compare) == NULL)
        return NULL;
    return TAKE(entry);
}

/* Names the object and its version, never a value. */
static void entry_trace(const struct store_entry *entry, const char *change)
{
    const struct store_view *view = &entry->view;

    log_trace(LOG_TRACE_STORE, change, "object",
              object_key_text(view->key, (char[OBJECT_KEY_TEXT_SIZE]){""}), "presence",
              presence_names[view->presence], "resourceVersion",
              view->object != NULL ? view->object->resource_version : NULL, "source",
              source_state_names[view->source_state]);
}

static void entry_set_presence(struct store_entry *entry, enum store_presence presence)
{
    struct store_view *view = &entry->view;

    assert(view->presence == presence || (next_presences[view->presence] & 1u << presence) != 0);
    view->presence = presence;
    view->refusal = STORE_NOT_REFUSED;
}

static void entry_pin(struct store_entry *entry)
{
    entry->n_pins++;
}

/* Removes subscriptions that left meanwhile, and the entry with the last of them. */
static void entry_unpin(struct store_entry *entry)
{
    struct store *store = entry->store;
    struct store_subscription *s, *tmp;

    assert(entry->n_pins > 0);
    if (--entry->n_pins > 0)
        return;
    list_for_each_safe (s, tmp, &entry->subscriptions, link) {
        if (s->is_gone) {
            list_remove(&s->link);
            free(s);
        }
    }
    if (!list_is_empty(&entry->subscriptions))
        return;
    entry_trace(entry, "last subscriber left");
    tdelete(entry, &store->entries, entry_compare);
    if (entry->is_watched)
        store->source->unwatch(store->source_userdata, entry->key);
    entry_free(entry);
}

static void entry_notify(struct store_entry *entry, const char *change)
{
    struct store_subscription *s;

    entry_trace(entry, change);
    entry_pin(entry);
    list_for_each (s, &entry->subscriptions, link)
        if (!s->is_gone)
            s->changed(s->userdata, &entry->view);
    entry_unpin(entry);
}

/* G19: an immutable object may have been deleted and created again since it was requested. */
static void entry_refresh(struct store_entry *entry)
{
    const struct store *store = entry->store;

    if (entry->view.object == NULL || !entry->view.object->is_immutable || store->source == NULL ||
        store->source->refresh == NULL)
        return;
    entry_pin(entry);
    store->source->refresh(store->source_userdata, entry->key);
    entry_unpin(entry);
}

/* Without a source the entry waits for one. Return: 0; -errno of the source with @e. */
static int entry_watch(struct store_entry *entry, struct error *e)
{
    struct store *store = entry->store;
    int r;

    list_remove(&entry->unwatched);
    if (store->source == NULL) {
        list_append(&store->unwatched, &entry->unwatched);
        return 0;
    }
    entry_trace(entry, "watch requested");
    r = store->source->watch(store->source_userdata, entry->key, e);
    entry->is_watched = r >= 0;
    if (r >= 0 && entry->checks_rights && store->source->check_rights != NULL)
        store->source->check_rights(store->source_userdata, entry->key);
    return r;
}

int store_connect_source(struct store *store, const struct store_source *source, void *userdata,
                         struct error *e)
{
    int r = 0;

    assert(store->source == NULL || store->source == source);
    store->source = source;
    store->source_userdata = userdata;
    while (r >= 0 && !list_is_empty(&store->unwatched)) {
        struct store_entry *entry =
            list_entry(store->unwatched.next, struct store_entry, unwatched);

        entry_pin(entry);
        r = entry_watch(entry, e);
        if (r < 0)
            list_append(&store->unwatched, &entry->unwatched);
        entry_unpin(entry);
    }
    return r;
}

int store_subscribe(struct store *store, const struct object_key *key, store_changed_fn *changed,
                    void *userdata, struct store_subscription **ret_subscription, struct error *e)
{
    struct store_entry *entry = entry_find(store, key);
    struct store_subscription *s = calloc(1, sizeof(*s));
    bool is_first = entry == NULL;
    int r;

    if (s != NULL && is_first)
        entry = entry_add(store, key);
    if (s == NULL || entry == NULL) {
        free(s);
        return error_set_errno(e, -ENOMEM, "cannot subscribe to %s/%s", object_kind_word(key->kind),
                               key->name);
    }
    *s = (struct store_subscription){.entry = entry, .changed = changed, .userdata = userdata};
    list_append(&entry->subscriptions, &s->link);
    *ret_subscription = s; /* before the source may call back */
    if (!is_first) {
        entry_refresh(entry);
        return 0;
    }
    entry_pin(entry);
    r = entry_watch(entry, e);
    if (r < 0) {
        s->is_gone = true;
        *ret_subscription = NULL;
    }
    entry_unpin(entry);
    return r;
}

struct store_subscription *store_unsubscribe(struct store_subscription *subscription)
{
    struct store_entry *entry;

    if (subscription == NULL)
        return NULL;
    entry = subscription->entry;
    entry_pin(entry);
    assert(!subscription->is_gone);
    subscription->is_gone = true;
    entry_unpin(entry);
    return NULL;
}

void store_check_rights(struct store_subscription *subscription)
{
    struct store_entry *entry = subscription->entry;
    const struct store *store = entry->store;

    if (entry->checks_rights)
        return;
    entry->checks_rights = true;
    if (!entry->is_watched || store->source->check_rights == NULL)
        return; /* entry_watch() does it then */
    entry_pin(entry);
    store->source->check_rights(store->source_userdata, entry->key);
    entry_unpin(entry);
}

const struct store_view *store_peek(const struct store_subscription *subscription)
{
    return &subscription->entry->view;
}

void store_put(struct store *store, struct object *object, mono_us received_at)
{
    struct store_entry *entry = entry_find(store, &object->key);

    if (entry == NULL) {
        object_unref(object);
        return;
    }
    object_unref(entry->view.object);
    entry->view.object = object;
    entry_set_presence(entry, STORE_PRESENT);
    entry->view.received_at = received_at;
    entry_notify(entry, "object put");
}

void store_remove(struct store *store, const struct object_key *key, mono_us received_at)
{
    struct store_entry *entry = entry_find(store, key);

    if (entry == NULL ||
        (entry->view.presence == STORE_ABSENT && entry->view.refusal == STORE_NOT_REFUSED))
        return;
    entry_set_presence(entry, STORE_ABSENT);
    entry->view.received_at = received_at;
    entry_notify(entry, "object removed");
}

static void entry_report(struct store_entry *entry, enum store_source_state state,
                         const struct error *error, enum store_refusal refusal)
{
    static const struct error none;
    const struct error *reason = error != NULL ? error : &none;
    struct store_view *view = &entry->view;

    assert((state == STORE_SOURCE_FAILING) == (error != NULL));
    if (view->source_state == state && view->refusal == refusal &&
        streq(kept_error_text(&view->source_error), reason->text))
        return;
    if (view->source_state != state)
        view->source_state_since = clock_boot();
    assert(view->source_state == state ||
           (next_source_states[view->source_state] & 1u << state) != 0);
    view->source_state = state;
    kept_error_set(&view->source_error, reason->text);
    view->refusal = refusal;
    entry_notify(entry, "source reported");
}

void store_report(struct store *store, const struct object_key *key, enum store_source_state state,
                  const struct error *error)
{
    struct store_entry *entry = entry_find(store, key);

    if (entry != NULL)
        entry_report(entry, state, error,
                     state == STORE_SOURCE_LIVE ? STORE_NOT_REFUSED : entry->view.refusal);
}

void store_refuse(struct store *store, const struct object_key *key, enum store_refusal refusal,
                  const struct error *error)
{
    struct store_entry *entry = entry_find(store, key);

    assert(refusal != STORE_NOT_REFUSED);
    if (entry != NULL)
        entry_report(entry, STORE_SOURCE_FAILING, error,
                     entry->view.refusal == STORE_REVOKED ? STORE_REVOKED : refusal);
}

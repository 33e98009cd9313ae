/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     table -> volume -> consumer -> opened (a key of an object)
 *
 * Editions grow: what an update brings has a larger one than the update, and what was there before
 * a smaller one. Of each key that a consumer has opened the table keeps
 *
 *     opened_at    the largest edition of it that the consumer has opened
 *     changed_at   the edition of the update in which the key's bytes changed last, as far as that
 *                  concerns this consumer; 0: not since it opened them
 *
 * and the consumer has the newest content if opened_at > changed_at. So the order in which events
 * and updates arrive is indifferent: an open of what the next update brings may be noted before
 * table_publish(), and one of older content after it. Only the first open of a key that is noted
 * late needs a comparison of bytes, and each first open while the volume shows what an earlier
 * process has published.
 *
 * An update that leaves the bytes of a key as they are makes no consumer old. One that brings
 * earlier bytes back does not make a consumer current: it may have opened those between.
 *
 * A process is known by pid and start time. When it ends while its container or service goes on,
 * what it has read may have been passed on: it stays in the table, merged with other ended
 * processes of that group and name. Opens of processes that ended before they were identified are
 * kept by the volume alone; when their content becomes old, that is a gap which stays.
 */
#include "consumers/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"

struct opened {
    struct list link;
    struct object_key *object;
    char *key;
    uint64_t opened_at;
    uint64_t changed_at;
    char version[TABLE_VERSION_SIZE];
};

struct consumer {
    struct list link;
    bool is_unidentified; /* stands for all that ended before they were identified */
    struct consumer_identity identity;
    struct list opened;
    struct timespec first_open;
    struct timespec last_open;
};

struct table_volume {
    struct list link;
    uint64_t id;
    uint64_t edition; /* of the last update; 0: an earlier process has made it */
    unsigned gaps;
    struct object **objects; /* that it shows, each once */
    size_t n_objects;
    struct list consumers;
    size_t n_consumers;
    size_t n_opened;
};

struct table {
    struct list volumes;
    table_first_fn *first; /* NULL: first opens are not reported */
    void *first_userdata;
};

/* ---- the end of things */

static void opened_free(struct table_volume *v, struct opened *o)
{
    list_remove(&o->link);
    v->n_opened--;
    free(o->object);
    free(o->key);
    free(o);
}

static void consumer_free(struct table_volume *v, struct consumer *c)
{
    while (!list_is_empty(&c->opened))
        opened_free(v, list_entry(c->opened.next, struct opened, link));
    list_remove(&c->link);
    v->n_consumers--;
    free(c);
}

static void free_objects(struct object **objects, size_t n)
{
    for (size_t i = 0; i < n; i++)
        object_unref(objects[i]);
    free(objects);
}

static void volume_free(struct table_volume *v)
{
    while (!list_is_empty(&v->consumers))
        consumer_free(v, list_entry(v->consumers.next, struct consumer, link));
    assert(v->n_consumers == 0 && v->n_opened == 0);
    list_remove(&v->link);
    free_objects(v->objects, v->n_objects);
    free(v);
}

int table_new(struct table **ret_table)
{
    struct table *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return -ENOMEM;
    list_init(&t->volumes);
    *ret_table = t;
    return 0;
}

struct table *table_free(struct table *table)
{
    if (table == NULL)
        return NULL;
    while (!list_is_empty(&table->volumes))
        volume_free(list_entry(table->volumes.next, struct table_volume, link));
    free(table);
    return NULL;
}

void table_report_first(struct table *table, table_first_fn *first, void *userdata)
{
    table->first = first;
    table->first_userdata = userdata;
}

/* ---- volumes */

static struct table_volume *find_volume(const struct table *t, uint64_t id)
{
    struct table_volume *v;

    list_for_each (v, &t->volumes, link)
        if (v->id == id)
            return v;
    return NULL;
}

static struct table_volume *add_volume(struct table *t, uint64_t id, bool is_adopted)
{
    struct table_volume *v = calloc(1, sizeof(*v));

    if (v == NULL)
        return NULL;
    v->id = id;
    v->gaps = is_adopted ? TABLE_GAP_ADOPTED : 0;
    list_init(&v->consumers);
    list_append(&t->volumes, &v->link);
    return v;
}

void table_remove(struct table *table, uint64_t volume)
{
    struct table_volume *v = find_volume(table, volume);

    if (v != NULL)
        volume_free(v);
}

void table_note_lost(struct table *table, uint64_t volume)
{
    struct table_volume *v;

    list_for_each (v, &table->volumes, link)
        if (volume == 0 || v->id == volume)
            v->gaps |= TABLE_GAP_LOST;
}

/* ---- content */

static bool is_listed(struct object *const *objects, size_t n, const struct object *object)
{
    for (size_t i = 0; i < n; i++)
        if (objects[i] == object)
            return true;
    return false;
}

/* Return: 0; -ENOMEM. */
static int list_objects(const struct payload *payload, struct object ***ret_objects, size_t *ret_n)
{
    struct object **objects = NULL;
    size_t n = 0;

    for (size_t i = 0; i < payload->n_files; i++) {
        struct object *object = payload->files[i].object, **longer;

        if (object == NULL || is_listed(objects, n, object))
            continue;
        longer = reallocarray(objects, n + 1, sizeof(struct object *));
        if (longer == NULL) {
            free_objects(objects, n);
            return -ENOMEM;
        }
        objects = longer;
        objects[n++] = object_ref(object);
    }
    *ret_objects = objects;
    *ret_n = n;
    return 0;
}

/* Return: the entry of a key, borrowed; NULL when it is not among the objects. */
static const struct object_entry *find_entry(struct object *const *objects, size_t n,
                                             const struct object_key *object, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (object_key_compare(&objects[i]->key, object) == 0)
            return object_find(objects[i], key);
    return NULL;
}

static bool same_bytes(const struct object_entry *a, const struct object_entry *b)
{
    return a != NULL && b != NULL && a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

static bool is_current(const struct opened *o)
{
    return o->opened_at > o->changed_at;
}

/* What the consumer has of a key is not what the volume shows from now on. */
static void note_change(struct table_volume *v, const struct consumer *c, struct opened *o)
{
    o->changed_at = v->edition != 0 ? v->edition : o->opened_at;
    if (c->is_unidentified && !is_current(o))
        v->gaps |= TABLE_GAP_ENDED;
}

/* @objects: what the volume shows next */
static void note_changes(struct table_volume *v, struct object *const *objects, size_t n)
{
    struct consumer *c;
    struct opened *o;

    list_for_each (c, &v->consumers, link) {
        list_for_each (o, &c->opened, link) {
            const struct object_entry *old, *new;

            old = find_entry(v->objects, v->n_objects, o->object, o->key);
            new = find_entry(objects, n, o->object, o->key);
            if (!same_bytes(old, new))
                note_change(v, c, o);
        }
    }
}

int table_publish(struct table *table, uint64_t volume, uint64_t edition,
                  const struct payload *payload, bool is_adopted)
{
    struct table_volume *v = find_volume(table, volume);
    struct object **objects;
    size_t n;

    if (list_objects(payload, &objects, &n) < 0 ||
        (v == NULL && (v = add_volume(table, volume, is_adopted)) == NULL)) {
        table_remove(table, volume);
        return -ENOMEM;
    }
    v->edition = edition;
    note_changes(v, objects, n);
    free_objects(v->objects, v->n_objects);
    v->objects = objects;
    v->n_objects = n;
    return 0;
}

/* ---- opens */

static bool is_same_process(const struct identity_process *a, const struct identity_process *b)
{
    return a->pid == b->pid && a->start_ticks == b->start_ticks;
}

/* @identity: NULL: of those that are not identified */
static struct consumer *find_consumer(const struct table_volume *v,
                                      const struct consumer_identity *identity)
{
    struct consumer *c;

    list_for_each (c, &v->consumers, link) {
        if (identity == NULL
                ? c->is_unidentified
                : !c->is_unidentified && is_same_process(&c->identity.process, &identity->process))
            return c;
    }
    return NULL;
}

/* Return: 0; TABLE_IS_FULL; -ENOMEM. */
static int get_consumer(struct table_volume *v, const struct table_open *open,
                        struct consumer **ret_consumer)
{
    struct consumer *c = find_consumer(v, open->identity);

    if (c == NULL && v->n_consumers == TABLE_CONSUMERS_MAX)
        return TABLE_IS_FULL;
    if (c == NULL) {
        c = calloc(1, sizeof(*c));
        if (c == NULL)
            return -ENOMEM;
        list_init(&c->opened);
        c->first_open = open->at;
        c->is_unidentified = open->identity == NULL;
        list_append(&v->consumers, &c->link);
        v->n_consumers++;
    }
    if (open->identity != NULL)
        c->identity = *open->identity; /* the name changes with exec */
    c->last_open = open->at;
    *ret_consumer = c;
    return 0;
}

static struct opened *find_opened(const struct consumer *c, const struct object_key *object,
                                  const char *key)
{
    struct opened *o;

    list_for_each (o, &c->opened, link)
        if (streq(o->key, key) && object_key_compare(o->object, object) == 0)
            return o;
    return NULL;
}

static struct opened *add_opened(struct table_volume *v, struct consumer *c,
                                 const struct object_key *object, const char *key)
{
    struct opened *o = calloc(1, sizeof(*o));

    if (o == NULL)
        return NULL;
    list_append(&c->opened, &o->link);
    v->n_opened++;
    o->object = object_key_dup(object);
    o->key = strdup(key);
    if (o->object != NULL && o->key != NULL)
        return o;
    opened_free(v, o);
    return NULL;
}

/* A key's first open: may it be of older content, and has the key changed since? */
static void check_first_open(struct table_volume *v, const struct consumer *c, struct opened *o,
                             const struct object_entry *entry)
{
    const struct object_entry *shown = find_entry(v->objects, v->n_objects, o->object, o->key);

    if ((o->opened_at <= v->edition || v->edition == 0) && !same_bytes(shown, entry))
        note_change(v, c, o);
}

static void report_first(const struct table *t, const struct table_open *open,
                         const struct object_entry *entry)
{
    if (t->first != NULL)
        t->first(t->first_userdata, open, entry);
}

static int note_key(const struct table *t, struct table_volume *v, struct consumer *c,
                    const struct table_open *open, const struct object_entry *entry)
{
    const struct object *object = open->content.object;
    struct opened *o = find_opened(c, &object->key, entry->key);
    bool is_first = o == NULL, is_new = is_first || c->is_unidentified;

    if (is_first && v->n_opened == TABLE_KEYS_MAX)
        return TABLE_IS_FULL;
    if (is_first && (o = add_opened(v, c, &object->key, entry->key)) == NULL)
        return -ENOMEM;
    /* what any one of the unidentified has is as old as the oldest */
    if (is_first || (!c->is_unidentified && open->edition > o->opened_at)) {
        o->opened_at = open->edition;
        is_new = is_new || !streq(o->version, object->resource_version);
        snprintf(o->version, sizeof(o->version), "%s", object->resource_version);
    }
    if (is_first)
        check_first_open(v, c, o, entry);
    if (is_new)
        report_first(t, open, entry);
    return 0;
}

/* Keys that have no bytes may share a place: then each of them counts. */
static bool is_opened(const struct table_open *open, const struct object_entry *entry)
{
    return entry->bytes == open->content.bytes && entry->len == open->content.len;
}

static int note_keys(const struct table *t, struct table_volume *v, struct consumer *c,
                     const struct table_open *open)
{
    const struct object *object = open->content.object;
    int r = 0;

    for (size_t i = 0; i < object->n_entries && r == 0; i++)
        if (is_opened(open, &object->entries[i]))
            r = note_key(t, v, c, open, &object->entries[i]);
    return r;
}

void table_note_full(struct table *table, const struct table_open *open)
{
    struct table_volume *v = find_volume(table, open->volume);
    const struct object *object = open->content.object;

    if (v == NULL)
        return;
    v->gaps |= TABLE_GAP_FULL;
    for (size_t i = 0; i < object->n_entries; i++)
        if (is_opened(open, &object->entries[i]))
            report_first(table, open, &object->entries[i]);
}

int table_open(struct table *table, const struct table_open *open)
{
    struct table_volume *v = find_volume(table, open->volume);
    struct consumer *c;
    int r;

    if (v == NULL)
        return 0;
    r = get_consumer(v, open, &c);
    if (r == 0)
        r = note_keys(table, v, c, open);
    if (r < 0)
        v->gaps |= TABLE_GAP_LOST;
    return r;
}

/* ---- ended processes */

/* The consumer that the ended processes of @c's group and name are merged into. */
static struct consumer *find_ended(const struct table_volume *v, const struct consumer *c)
{
    struct consumer *other;

    list_for_each (other, &v->consumers, link)
        if (other != c && !other->is_unidentified && other->identity.process.pid == 0 &&
            streq(other->identity.process.comm, c->identity.process.comm) &&
            identity_group_same(&other->identity.group, &c->identity.group))
            return other;
    return NULL;
}

static void merge_opened(struct consumer *into, struct opened *o)
{
    struct opened *other = find_opened(into, o->object, o->key);

    if (other == NULL) {
        list_remove(&o->link);
        list_append(&into->opened, &o->link);
    } else if (o->opened_at > other->opened_at) {
        other->opened_at = o->opened_at;
        other->changed_at = o->changed_at;
        memcpy(other->version, o->version, sizeof(other->version));
    }
}

static void merge(struct table_volume *v, struct consumer *into, struct consumer *c)
{
    struct opened *o, *tmp;

    list_for_each_safe (o, tmp, &c->opened, link)
        merge_opened(into, o);
    into->last_open = c->last_open;
    consumer_free(v, c);
}

static void note_end(struct table_volume *v, struct consumer *c)
{
    struct consumer *into = find_ended(v, c);

    c->identity.process.pid = 0;
    if (into != NULL)
        merge(v, into, c);
}

void table_sweep(struct table *table, uint64_t volume, table_life_fn *life, void *userdata)
{
    struct table_volume *v = find_volume(table, volume);
    struct consumer *c, *tmp;

    if (v == NULL)
        return;
    list_for_each_safe (c, tmp, &v->consumers, link) {
        enum consumer_life l = c->is_unidentified ? CONSUMER_RUNS : life(userdata, &c->identity);

        if (l == CONSUMER_GONE)
            consumer_free(v, c);
        else if (l == CONSUMER_ENDED && c->identity.process.pid != 0)
            note_end(v, c);
    }
}

/* ---- the answer */

/* @keys: room for TABLE_KEYS_MAX */
static struct table_consumer describe(const struct consumer *c, struct table_key *keys)
{
    struct table_consumer described = {
        .identity = &c->identity,
        .state = CONSUMER_CURRENT,
        .keys = keys,
        .first_open = c->first_open,
        .last_open = c->last_open,
    };
    const struct opened *o;

    list_for_each (o, &c->opened, link) {
        enum consumer_state state = is_current(o) ? CONSUMER_CURRENT : CONSUMER_OLD;

        assert(described.n_keys < TABLE_KEYS_MAX);
        keys[described.n_keys++] = (struct table_key){
            .object = o->object, .key = o->key, .version = o->version, .state = state};
        if (state == CONSUMER_OLD)
            described.state = state;
    }
    return described;
}

int table_visit(const struct table *table, uint64_t volume, table_visit_fn *visit, void *userdata,
                unsigned *ret_gaps)
{
    const struct table_volume *v = find_volume(table, volume);
    struct table_key keys[TABLE_KEYS_MAX];
    const struct consumer *c;

    if (v == NULL)
        return -ENOENT;
    list_for_each (c, &v->consumers, link) {
        const struct table_consumer described = describe(c, keys);

        if (!c->is_unidentified)
            visit(userdata, &described);
    }
    *ret_gaps = v->gaps;
    return 0;
}

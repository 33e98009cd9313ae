/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record is the whole of a node at one time, not what was done to it: the last record of an id is
 * what counts. So the state after any commit is a tree, and reading it needs no knowledge of calls.
 *
 *   NODE     id, parent, name, attributes; of a link its target. Without a parent: unlinked, but
 * the kernel may hold it OBJECT   names of the object that owns the contents that refer to this
 * record CONTENT  the bytes of a file. They are the record's unchecked part, with a checksum of
 * their own: when the file is freed, or has other content, they are overwritten VERSION  the same
 * of an older version of a live file. It counts as long as an open file of it has a place
 * (open_state.c) FREED    the kernel has forgotten the node
 *
 * All that one call changes is one commit, while the tree's lock is held. So a reader that has seen
 * a node has seen one that is in the state. What the kernel holds is not recorded: each adopted
 * node counts as held (node.is_adopted).
 *
 * Contents of one OBJECT record become one object again, so that what was one block of locked
 * memory is one in the next process as well.
 */
#include "handover/tree_state.h"

#include <stdio.h>

#include "fuse/live_file.h"

enum record_type {
    RECORD_NODE = 1,
    RECORD_OBJECT = 2,
    RECORD_CONTENT = 3,
    RECORD_FREED = 4,
    RECORD_VERSION = 5,
    RECORD_OPENS = OPEN_STATE_TYPE,
};

#define FLAG_UNLISTED    0x01u
#define FLAG_LIVE        0x02u
#define FLAG_HAS_CONTENT 0x04u
#define FLAG_UNANNOUNCED 0x08u
#define FLAG_NEW         0x10u
#define FLAG_REMOVED     0x20u
#define FLAGS_KNOWN      0x3fu

/* A path, or a name and a target: what follows the checked part of a node. */
#define TEXTS_MAX ((size_t)2 * PAYLOAD_PATH_MAX)

#define OBJECT_TEXTS     5
#define OBJECT_TEXT_SIZE ((size_t)256)

/* The checked part of a record of a node, before name and target. */
struct stored_node {
    uint64_t id;
    uint64_t parent; /* 0: unlinked; the root is its own */
    uint64_t cookie;
    uint64_t next_cookie; /* of a directory */
    uint64_t held_for;    /* of a file */
    uint64_t content_len; /* the same */
    uint64_t live_version;
    int64_t changed_s;
    uint32_t changed_ns;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t name_len;
    uint32_t target_len;
    uint32_t kind;
    uint32_t flags;
};

struct stored_object {
    uint32_t kind;
    uint32_t is_immutable;
    uint32_t lens[OBJECT_TEXTS]; /* of namespace, name, uid, resourceVersion, type, which follow */
    uint32_t reserved;
};

struct stored_content {
    uint64_t id;
    uint64_t object_at; /* offset of its RECORD_OBJECT */
    uint64_t sum;
};

struct stored_version {
    uint64_t id;
    uint64_t number;
    uint64_t object_at; /* as above */
    uint64_t sum;
    uint64_t len; /* also of content that was dropped */
    uint64_t volume;
    int64_t changed_s;
    uint64_t changed_ns;
};

_Static_assert(sizeof(struct stored_node) == 96, "no padding");
_Static_assert(sizeof(struct stored_object) == 32, "no padding");

/* No node has this id. */
#define ID_OF_REMOVED 0u

/* A volume's directory, its generation, and a path in it. */
#define DEPTH_MAX (PAYLOAD_ELEMENTS_MAX + 8u)

/* A small state is seldom replaced. */
#define LOW_ROOM (UINT64_C(1) << 19)

/* ---- recording */

static void append_object(struct tree_recorder *r, const struct object *object)
{
    const char *texts[] = {object->key.namespace, object->key.name, object->uid,
                           object->resource_version, object->type};
    struct stored_object stored = {.kind = object->key.kind, .is_immutable = object->is_immutable};
    uint8_t buf[sizeof(stored) + OBJECT_TEXTS * OBJECT_TEXT_SIZE];
    size_t used = sizeof(stored);

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        size_t len = size_min(strlen(texts[i]),
                              OBJECT_TEXT_SIZE - 1); /* of a type, which has no limit, the front */

        memcpy(buf + used, texts[i], len);
        stored.lens[i] = (uint32_t)len;
        used += len;
    }
    memcpy(buf, &stored, sizeof(stored));
    r->object = object;
    r->object_at = state_append(r->state, RECORD_OBJECT, buf, used, NULL, 0);
}

static void append_content(struct tree_recorder *r, struct node *n)
{
    const struct file_content *content = &n->file.content;
    struct stored_content stored = {.id = n->id,
                                    .sum = state_sum(n->id, content->bytes, content->len)};

    if (r->object != content->object)
        append_object(r, content->object);
    stored.object_at = r->object_at;
    n->file.stored_at = state_append(r->state, RECORD_CONTENT, &stored, sizeof(stored),
                                     content->bytes, content->len);
    n->file.is_stored = true;
}

static void append_version(struct tree_recorder *r, const struct node *n, struct node_version *v)
{
    const struct file_content *content = &v->content;
    size_t len = content->object != NULL ? content->len : 0;
    struct stored_version stored = {
        .id = n->id,
        .number = v->number,
        .sum = state_sum(n->id, content->bytes, len),
        .len = content->len,
        .volume = v->volume,
        .changed_s = v->changed.tv_sec,
        .changed_ns = (uint64_t)v->changed.tv_nsec,
    };

    if (content->object != NULL && r->object != content->object)
        append_object(r, content->object);
    stored.object_at = r->object_at;
    v->stored_at =
        state_append(r->state, RECORD_VERSION, &stored, sizeof(stored), content->bytes, len);
    v->recorded_in = state_number(r->state);
}

/* The newest one is the node's content. */
static void append_older_versions(struct tree_recorder *r, const struct node *n)
{
    struct node_version *v;

    list_for_each (v, &n->file.live->versions, link)
        if (v->number != n->file.live->version && v->recorded_in != state_number(r->state))
            append_version(r, n, v);
}

static uint32_t live_flags_of(const struct node_live *live)
{
    static const uint32_t presences[] = {
        [LIVE_SHOWN] = 0, [LIVE_NEW] = FLAG_NEW, [LIVE_REMOVED] = FLAG_REMOVED};

    return FLAG_LIVE | presences[live->presence] | (live->is_unannounced ? FLAG_UNANNOUNCED : 0);
}

static uint32_t flags_of(const struct node *n)
{
    uint32_t flags = n->is_unlisted ? FLAG_UNLISTED : 0;

    if (n->kind == NODE_FILE && n->file.live != NULL)
        flags |= live_flags_of(n->file.live);
    if (n->kind == NODE_FILE && n->file.content.object != NULL)
        flags |= FLAG_HAS_CONTENT;
    return flags;
}

static void append_attributes(struct tree_recorder *r, struct node *n)
{
    uint8_t buf[sizeof(struct stored_node) + TEXTS_MAX];
    const char *name = n->name != NULL ? n->name : "";
    const char *target = n->kind == NODE_LINK ? n->target : "";
    struct stored_node stored = {
        .id = n->id,
        .parent = n->parent != NULL ? n->parent->id : 0,
        .cookie = n->cookie,
        .changed_s = n->changed.tv_sec,
        .changed_ns = (uint32_t)n->changed.tv_nsec,
        .mode = n->mode,
        .uid = n->uid,
        .gid = n->gid,
        .name_len = (uint32_t)strlen(name),
        .target_len = (uint32_t)strlen(target),
        .kind = n->kind,
        .flags = flags_of(n),
    };

    assert(stored.name_len + stored.target_len <= TEXTS_MAX);
    if (n->kind == NODE_DIRECTORY)
        stored.next_cookie = n->directory.next_cookie;
    if (n->kind == NODE_FILE) {
        stored.held_for = held_volume(&n->file.held);
        stored.content_len = n->file.content.len;
        stored.live_version = n->file.live != NULL ? n->file.live->version : 0;
    }
    memcpy(buf, &stored, sizeof(stored));
    memcpy(buf + sizeof(stored), name, stored.name_len);
    memcpy(buf + sizeof(stored) + stored.name_len, target, stored.target_len);
    state_append(r->state, RECORD_NODE, buf, sizeof(stored) + stored.name_len + stored.target_len,
                 NULL, 0);
    n->is_recorded = true;
}

static void append_node(struct tree_recorder *r, struct node *n)
{
    if (n->kind == NODE_FILE && !n->file.is_stored) {
        n->file.obsolete_at = n->file.stored_at;
        n->file.stored_at = 0;
        if (n->file.content.object != NULL)
            append_content(r, n);
    }
    append_attributes(r, n);
    if (n->kind == NODE_FILE && n->file.live != NULL)
        append_older_versions(r, n);
}

/* What the commit has made obsolete. */
static void wipe(struct tree_recorder *r, const struct node_table *t)
{
    struct node *n;

    list_for_each (n, &t->changed, marked)
        if (n->kind == NODE_FILE && n->file.obsolete_at != 0) {
            state_wipe(r->state, n->file.obsolete_at);
            n->file.obsolete_at = 0;
        }
    list_for_each (n, &t->freed, marked)
        if (n->kind == NODE_FILE && n->is_recorded && n->file.stored_at != 0)
            state_wipe(r->state, n->file.stored_at);
}

static uint64_t u64_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/*
 * When half of a state is used, or three times of what it began with, it has more of what is
 * obsolete than of what counts. Its size says little: there may be room for updates that are over.
 */
static uint64_t low_from(const struct state *s)
{
    return u64_min(state_size_bytes(s) / 2, state_used_bytes(s) * 3 + LOW_ROOM);
}

static void report_low(struct tree_recorder *r)
{
    if (r->is_low)
        return;
    r->is_low = true;
    r->low(r->userdata);
}

/* The lock is held. */
static void commit(struct tree_recorder *r)
{
    if (!state_commit(r->state))
        r->state = NULL;
    if (r->state == NULL || state_used_bytes(r->state) > r->low_from)
        report_low(r);
}

static void on_changes(struct node_journal *journal, struct node_table *t)
{
    struct tree_recorder *r = CONTAINER_OF(journal, struct tree_recorder, journal);
    struct node *n;

    if (r->state == NULL)
        return;
    r->object = NULL; /* its address may be another object's by now */
    list_for_each (n, &t->changed, marked)
        append_node(r, n);
    list_for_each (n, &t->freed, marked)
        if (n->is_recorded)
            state_append(r->state, RECORD_FREED, &n->id, sizeof(n->id), NULL, 0);
    commit(r);
    if (r->state != NULL)
        wipe(r, t);
}

static void on_open(struct node_journal *journal, const struct open_file *file)
{
    struct tree_recorder *r = CONTAINER_OF(journal, struct tree_recorder, journal);

    if (r->state == NULL)
        return;
    if (open_places_reserve(&r->opens, r->state, open_table_index(file->handle) + 1))
        commit(r);
    if (r->state != NULL)
        open_places_set(&r->opens, file);
}

static void on_close(struct node_journal *journal, const struct open_file *file)
{
    const struct tree_recorder *r = CONTAINER_OF(journal, struct tree_recorder, journal);

    if (r->state != NULL)
        open_places_clear(&r->opens, file);
}

static void on_drop_version(struct node_journal *journal, struct node_version *version)
{
    const struct tree_recorder *r = CONTAINER_OF(journal, struct tree_recorder, journal);

    if (r->state != NULL && version->recorded_in == state_number(r->state))
        state_wipe(r->state, version->stored_at);
}

static void on_make_room(struct node_journal *journal, uint64_t bytes)
{
    const struct tree_recorder *r = CONTAINER_OF(journal, struct tree_recorder, journal);

    r->make_room(r->userdata, bytes);
}

void tree_recorder_init(struct tree_recorder *recorder, struct node_table *nodes,
                        tree_recorder_low_fn *low, tree_recorder_make_room_fn *make_room,
                        void *userdata)
{
    *recorder = (struct tree_recorder){.journal = {.record = on_changes,
                                                   .record_open = on_open,
                                                   .record_close = on_close,
                                                   .drop_version = on_drop_version,
                                                   .make_room = on_make_room},
                                       .nodes = nodes,
                                       .low = low,
                                       .make_room = make_room,
                                       .userdata = userdata};
}

void tree_recorder_deinit(struct tree_recorder *recorder)
{
    if (recorder->nodes == NULL)
        return;
    NODE_TABLE_GUARD(recorder->nodes);
    recorder->state = NULL;
    node_table_set_journal(recorder->nodes, NULL);
}

/* ---- the whole tree */

static void forget_stored(struct node *n)
{
    n->is_recorded = false;
    if (n->kind != NODE_FILE)
        return;
    n->file.is_stored = false;
    n->file.stored_at = 0;
    n->file.obsolete_at = 0;
}

static void append_all_below(struct tree_recorder *r, struct node *top)
{
    struct node *n = top;

    for (; n != NULL; n = node_next(top, n)) {
        forget_stored(n);
        append_node(r, n);
    }
}

static void append_opens(struct tree_recorder *r)
{
    const struct open_table *opens = &r->nodes->opens;

    r->opens = (struct open_places){.n = 0};
    open_places_reserve(&r->opens, r->state, opens->n_slots);
    for (uint32_t i = 0; i < r->opens.n; i++)
        if (open_table_at(opens, i) != NULL)
            open_places_set(&r->opens, open_table_at(opens, i));
}

/* See append_all_removed(). */
static void append_removed(struct tree_recorder *r, const struct removed_name *removed)
{
    uint8_t buf[sizeof(struct stored_node) + PAYLOAD_PATH_MAX];
    const struct stored_node stored = {
        .id = ID_OF_REMOVED,
        .parent = removed->parent,
        .name_len = (uint32_t)size_min(strlen(removed->name), PAYLOAD_PATH_MAX),
        .kind = removed->is_directory ? NODE_DIRECTORY : NODE_LINK,
    };

    memcpy(buf, &stored, sizeof(stored));
    memcpy(buf + sizeof(stored), removed->name, stored.name_len);
    state_append(r->state, RECORD_NODE, buf, sizeof(stored) + stored.name_len, NULL, 0);
}

/* As names that one node had, which went: note_removed() finds them. */
static void append_all_removed(struct tree_recorder *r)
{
    static const uint64_t id = ID_OF_REMOVED;
    const struct removed_name *removed;

    if (list_is_empty(&r->nodes->removed))
        return;
    list_for_each (removed, &r->nodes->removed, link)
        append_removed(r, removed);
    state_append(r->state, RECORD_FREED, &id, sizeof(id), NULL, 0);
}

static void append_all(struct tree_recorder *r)
{
    struct node *n;

    r->object = NULL;
    append_all_removed(r);
    append_all_below(r, r->nodes->root);
    list_for_each (n, &r->nodes->unlinked, link)
        append_all_below(r, n);
    append_opens(r);
}

#define OBJECT_RECORD_BYTES 1024u /* of names */

static uint64_t bytes_of_versions(const struct node_live *live)
{
    const struct node_version *v;
    uint64_t bytes = 0;

    list_for_each (v, &live->versions, link)
        bytes += sizeof(struct stored_version) + v->content.len + OBJECT_RECORD_BYTES;
    return bytes;
}

static uint64_t bytes_needed_below(struct node *top)
{
    uint64_t bytes = 0;

    for (const struct node *n = top; n != NULL; n = node_next(top, n)) {
        bytes += 256 + (n->name != NULL ? strlen(n->name) : 0);
        if (n->kind == NODE_LINK)
            bytes += strlen(n->target);
        else if (n->kind == NODE_FILE)
            bytes += n->file.content.len + OBJECT_RECORD_BYTES;
        if (n->kind == NODE_FILE && n->file.live != NULL)
            bytes += bytes_of_versions(n->file.live);
    }
    return bytes;
}

uint64_t tree_recorder_bytes_needed(struct tree_recorder *recorder)
{
    const struct removed_name *removed;
    uint64_t bytes;
    struct node *n;

    NODE_TABLE_GUARD(recorder->nodes);
    bytes = bytes_needed_below(recorder->nodes->root);
    list_for_each (removed, &recorder->nodes->removed, link)
        bytes += 512 + strlen(removed->name);
    list_for_each (n, &recorder->nodes->unlinked, link)
        bytes += bytes_needed_below(n);
    return bytes + open_places_bytes(recorder->nodes->opens.n_slots);
}

int tree_recorder_switch(struct tree_recorder *recorder, struct state *state,
                         tree_recorder_facts_fn *facts, void *userdata, struct state **ret_old)
{
    struct tree_recorder *r = recorder;
    struct state *old;

    NODE_TABLE_GUARD(r->nodes);
    old = r->state;
    r->state = state;
    append_all(r);
    facts(userdata, state);
    if (!state_commit(state)) {
        /* where the nodes are stored in the old state was overwritten, so that it ends, too */
        r->state = NULL;
        *ret_old = old;
        return -ENOSPC;
    }
    r->is_low = false;
    r->low_from = low_from(state);
    node_table_set_journal(r->nodes, &r->journal);
    *ret_old = old;
    return 0;
}

void tree_recorder_add_facts(struct tree_recorder *recorder, tree_recorder_facts_fn *facts,
                             void *userdata)
{
    NODE_TABLE_GUARD(recorder->nodes);
    if (recorder->state == NULL)
        return;
    facts(userdata, recorder->state);
    commit(recorder);
}

bool tree_recorder_is_complete(struct tree_recorder *recorder)
{
    NODE_TABLE_GUARD(recorder->nodes);
    return recorder->state != NULL;
}

uint64_t tree_recorder_free_bytes(struct tree_recorder *recorder)
{
    const struct state *s;

    NODE_TABLE_GUARD(recorder->nodes);
    s = recorder->state;
    return s != NULL ? state_size_bytes(s) - state_used_bytes(s) : 0;
}

/* ---- reading */

/* The last records of one node. */
struct found {
    uint64_t id;
    uint64_t node_at;
    uint64_t content_at;
    bool is_freed;
    const struct stored_node *stored;
    const struct stored_content *content;
    const uint8_t *bytes;
    size_t bytes_len;
    struct node *node;
};

/* An older version of a live file. */
struct found_version {
    const struct stored_version *stored;
    const uint8_t *bytes;
    size_t bytes_len;
    struct object *object; /* once it is made */
};

struct reading {
    const struct state *state;
    struct node_table *nodes;
    struct found *all; /* sorted by id */
    size_t n;
    struct found **order;           /* the same, in the order of the step at hand */
    struct found_version *versions; /* sorted by node and number */
    size_t n_versions;
    struct open_file *opens;
    size_t n_opens;
};

static void reading_deinit(struct reading *r)
{
    for (size_t i = 0; i < r->n_versions; i++)
        object_unref(r->versions[i].object);
    free(r->all);
    free(r->order);
    free(r->versions);
    free(r->opens);
}

static int contradiction(struct error *e, const char *what, uint64_t id)
{
    return error_set(e, -EBADMSG, "the stored state is contradictory: node %llu %s",
                     (unsigned long long)id, what);
}

static int malformed(struct error *e)
{
    return error_set(e, -EBADMSG, "the stored state is damaged: invalid length of a record");
}

/* Whether a record has the size that its type demands; one of another owner's type has. */
static bool is_well_formed(const struct state_record *record)
{
    const struct stored_node *node = record->checked;

    switch (record->type) {
    case RECORD_NODE:
        return record->checked_len >= sizeof(*node) && node->name_len <= TEXTS_MAX &&
               node->target_len <= TEXTS_MAX &&
               record->checked_len == sizeof(*node) + node->name_len + node->target_len;
    case RECORD_OBJECT:
        return record->checked_len >= sizeof(struct stored_object);
    case RECORD_CONTENT:
        return record->checked_len == sizeof(struct stored_content);
    case RECORD_FREED:
        return record->checked_len == sizeof(uint64_t);
    case RECORD_VERSION:
        return record->checked_len == sizeof(struct stored_version);
    case RECORD_OPENS:
        return open_state_is_well_formed(record);
    default:
        return record->type > TREE_STATE_TYPE_MAX;
    }
}

/* What one record says about the node that it is of. */
static struct found found_of(const struct state_record *record)
{
    struct found f = {0};

    memcpy(&f.id, record->checked, sizeof(f.id)); /* first in each of the three */
    f.is_freed = record->type == RECORD_FREED;
    if (record->type == RECORD_NODE) {
        f.node_at = record->offset;
        f.stored = record->checked;
    }
    if (record->type == RECORD_CONTENT) {
        f.content_at = record->offset;
        f.content = record->checked;
        f.bytes = record->unchecked;
        f.bytes_len = record->unchecked_len;
    }
    return f;
}

static bool is_of_node(const struct state_record *record)
{
    return record->type == RECORD_NODE || record->type == RECORD_CONTENT ||
           record->type == RECORD_FREED;
}

static int by_id(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    uint64_t x_at = x->node_at | x->content_at, y_at = y->node_at | y->content_at;

    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    if (x->is_freed != y->is_freed)
        return x->is_freed ? 1 : -1; /* no record of an id follows */
    return x_at < y_at ? -1 : x_at > y_at;
}

static bool is_same_name(const struct stored_node *a, const struct stored_node *b)
{
    return a->parent == b->parent && a->name_len == b->name_len &&
           memcmp(a + 1, b + 1, a->name_len) == 0;
}

/*
 * A node had a name in an earlier record. What was removed before the state replaced another one is
 * not known. @next: its next record; NULL: it was freed
 */
static int note_removed(const struct reading *r, const struct stored_node *had,
                        const struct stored_node *next)
{
    if (!r->nodes->lists_removed || had == NULL || had->parent == 0 || had->parent == had->id ||
        (next != NULL && is_same_name(had, next)))
        return 0;
    return node_note_removed(r->nodes, had->parent, (const char *)(had + 1), had->name_len,
                             had->kind == NODE_DIRECTORY);
}

/*
 * Make one of the records of each node, which are sorted, and leave out what was freed.
 * Return: 0 or -ENOMEM.
 */
static int merge(struct reading *r)
{
    size_t n_kept = 0;
    int result = 0;

    for (size_t i = 0; i < r->n;) {
        struct found f = r->all[i];

        for (i++; i < r->n && r->all[i].id == f.id; i++) {
            const struct found *next = &r->all[i];

            if (result == 0 && (next->stored != NULL || next->is_freed))
                result = note_removed(r, f.stored, next->stored);
            if (next->stored != NULL) {
                f.stored = next->stored;
                f.node_at = next->node_at;
            }
            if (next->content != NULL) {
                f.content = next->content;
                f.content_at = next->content_at;
                f.bytes = next->bytes;
                f.bytes_len = next->bytes_len;
            }
            f.is_freed = f.is_freed || next->is_freed;
        }
        if (!f.is_freed)
            r->all[n_kept++] = f;
    }
    r->n = n_kept;
    return result;
}

/* How many records there are of each kind. */
struct counts {
    size_t n_nodes;
    size_t n_versions;
    size_t n_opens; /* places */
};

static int count(const struct reading *r, struct counts *ret_counts, struct error *e)
{
    struct state_record record = {0};
    struct counts counts = {0};

    while (state_next(r->state, &record)) {
        if (!is_well_formed(&record))
            return malformed(e);
        counts.n_nodes += is_of_node(&record);
        counts.n_versions += record.type == RECORD_VERSION;
        counts.n_opens += record.type == RECORD_OPENS ? open_state_count(&record) : 0;
    }
    *ret_counts = counts;
    return 0;
}

static int allocate(struct reading *r, const struct counts *counts)
{
    r->all = calloc(counts->n_nodes + 1, sizeof(*r->all));
    r->order = calloc(counts->n_nodes + 1, sizeof(struct found *));
    r->versions = calloc(counts->n_versions + 1, sizeof(*r->versions));
    r->opens = calloc(counts->n_opens + 1, sizeof(*r->opens));
    return r->all != NULL && r->order != NULL && r->versions != NULL && r->opens != NULL ? 0
                                                                                         : -ENOMEM;
}

/* Return: 0; -EBADMSG. */
static int collect_one(struct reading *r, const struct state_record *record)
{
    if (is_of_node(record))
        r->all[r->n++] = found_of(record);
    if (record->type == RECORD_VERSION)
        r->versions[r->n_versions++] = (struct found_version){.stored = record->checked,
                                                              .bytes = record->unchecked,
                                                              .bytes_len = record->unchecked_len};
    return record->type == RECORD_OPENS ? open_state_read(record, r->opens, &r->n_opens) : 0;
}

static int by_number(const void *a, const void *b)
{
    const struct stored_version *x = ((const struct found_version *)a)->stored;
    const struct stored_version *y = ((const struct found_version *)b)->stored;

    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static int collect(struct reading *r, struct error *e)
{
    struct state_record record = {0};
    struct counts counts = {0};
    int result = count(r, &counts, e);

    if (result < 0)
        return result;
    if (allocate(r, &counts) < 0)
        return error_set_errno(e, -ENOMEM, "cannot read the stored state");
    while (state_next(r->state, &record))
        if (collect_one(r, &record) < 0)
            return error_set(e, -EBADMSG, "the stored state is damaged: invalid open file");
    qsort(r->all, r->n, sizeof(*r->all), by_id);
    qsort(r->versions, r->n_versions, sizeof(*r->versions), by_number);
    return merge(r) < 0 ? error_set_errno(e, -ENOMEM, "cannot read the stored state") : 0;
}

static struct found *find(const struct reading *r, uint64_t id)
{
    const struct found like = {.id = id};
    size_t low = 0, high = r->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (r->all[middle].id < like.id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->n && r->all[low].id == id ? &r->all[low] : NULL;
}

static bool has_content(const struct found *f)
{
    return (f->stored->flags & FLAG_HAS_CONTENT) != 0;
}

static bool is_name(const struct stored_node *stored)
{
    const char *name = (const char *)(stored + 1);

    return stored->name_len > 0 && stored->name_len <= PAYLOAD_ELEMENT_MAX &&
           memchr(name, '/', stored->name_len) == NULL &&
           memchr(name, '\0', stored->name_len) == NULL;
}

/* Return: what is wrong with a node, or NULL. */
static const char *fault_of(const struct reading *r, const struct found *f)
{
    const struct stored_node *s = f->stored;
    const struct found *parent;

    if (s == NULL)
        return "has no attributes";
    if (f->id == 0 || s->kind > NODE_LINK || (s->flags & ~FLAGS_KNOWN) != 0 ||
        (s->mode & ~07777u) != 0 || s->changed_ns >= 1000000000)
        return "has invalid attributes";
    if (has_content(f) &&
        (s->kind != NODE_FILE || f->content == NULL || f->bytes_len != s->content_len ||
         f->content->sum != state_sum(f->id, f->bytes, f->bytes_len)))
        return "has damaged content";
    if ((s->kind == NODE_LINK) != (s->target_len > 0))
        return "has an invalid target";
    if (f->id == r->nodes->root->id)
        return s->kind != NODE_DIRECTORY || s->parent != f->id ? "is no root" : NULL;
    if (s->parent == 0)
        return NULL;
    parent = find(r, s->parent);
    if (parent == NULL || parent == f || parent->stored == NULL ||
        parent->stored->kind != NODE_DIRECTORY)
        return "has no directory";
    return is_name(s) ? NULL : "has an invalid name";
}

/* Whether a node hangs from the root, or from one that is unlinked, and not from itself. */
static bool is_anchored(const struct reading *r, const struct found *f)
{
    unsigned depth = 0;

    while (f != NULL && f->stored->parent != 0 && f->stored->parent != f->id && depth++ < DEPTH_MAX)
        f = find(r, f->stored->parent);
    return f != NULL && depth < DEPTH_MAX;
}

static int check(const struct reading *r, struct error *e)
{
    const struct found *root = find(r, r->nodes->root->id);

    if (root == NULL)
        return error_set(e, -EBADMSG, "the stored state is contradictory: it has no root");
    for (size_t i = 0; i < r->n; i++) {
        const char *fault = fault_of(r, &r->all[i]);

        if (fault != NULL)
            return contradiction(e, fault, r->all[i].id);
    }
    for (size_t i = 0; i < r->n; i++)
        if (!is_anchored(r, &r->all[i]))
            return contradiction(e, "is below itself", r->all[i].id);
    return 0;
}

/* ---- nodes */

static int make_node(const struct reading *r, struct found *f)
{
    const struct stored_node *s = f->stored;
    struct node *n =
        f->id == r->nodes->root->id ? r->nodes->root : node_adopt(r->nodes, f->id, s->kind);

    if (n == NULL)
        return -ENOMEM;
    f->node = n;
    n->mode = s->mode;
    node_set_owner(n, s->uid, s->gid);
    n->is_unlisted = (s->flags & FLAG_UNLISTED) != 0;
    if (n->kind == NODE_LINK)
        n->target = strndup((const char *)(s + 1) + s->name_len, s->target_len);
    if (n->kind == NODE_LINK && n->target == NULL)
        return -ENOMEM;
    if (n->kind == NODE_FILE)
        n->file.content.len = s->content_len;
    if ((s->flags & FLAG_LIVE) == 0 || n->kind != NODE_FILE)
        return 0;
    if (node_make_live(n) < 0)
        return -ENOMEM;
    n->file.live->version = s->live_version;
    n->file.live->has_old_pages = true; /* the kernel may have some */
    n->file.live->is_unannounced = (s->flags & FLAG_UNANNOUNCED) != 0;
    n->file.live->presence = (s->flags & FLAG_NEW) != 0       ? LIVE_NEW
                             : (s->flags & FLAG_REMOVED) != 0 ? LIVE_REMOVED
                                                              : LIVE_SHOWN;
    return 0;
}

static int make_nodes(const struct reading *r)
{
    int result = 0;

    for (size_t i = 0; i < r->n && result == 0; i++)
        result = make_node(r, &r->all[i]);
    return result;
}

/* By directory and place; what is unlinked comes first, in the order in which it was. */
static int by_place(const void *a, const void *b)
{
    const struct found *x = *(struct found *const *)a, *y = *(struct found *const *)b;
    uint64_t x_at = x->stored->parent != 0 ? x->stored->cookie : x->node_at;
    uint64_t y_at = y->stored->parent != 0 ? y->stored->cookie : y->node_at;

    if (x->stored->parent != y->stored->parent)
        return x->stored->parent < y->stored->parent ? -1 : 1;
    return x_at < y_at ? -1 : x_at > y_at;
}

static int give_place(const struct reading *r, struct found *f, struct error *e)
{
    const struct stored_node *s = f->stored;
    _cleanup_(freep) char *name = strndup((const char *)(s + 1), s->name_len);
    int result;

    if (name == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the stored state");
    result =
        s->parent != 0
            ? node_adopt_link(r->nodes, find(r, s->parent)->node, name, f->node, s->cookie)
            : node_adopt_unlinked(r->nodes, f->node, s->name_len > 0 ? name : NULL, s->held_for);
    if (result == -EEXIST)
        return contradiction(e, "has the name of another one", f->id);
    return result < 0 ? error_set_errno(e, result, "cannot read the stored state") : 0;
}

static int give_places(const struct reading *r, struct error *e)
{
    int result = 0;

    for (size_t i = 0; i < r->n; i++)
        r->order[i] = &r->all[i];
    assert(r->order != NULL);
    qsort(r->order, r->n, sizeof(struct found *), by_place);
    for (size_t i = 0; i < r->n && result == 0; i++)
        if (r->order[i]->node != r->nodes->root)
            result = give_place(r, r->order[i], e);
    return result;
}

/* The kernel has no use for a name in a directory that has none itself. */
static void drop_unreachable_removed(const struct reading *r)
{
    struct removed_name *removed, *next;

    list_for_each_safe (removed, next, &r->nodes->removed, link) {
        const struct found *parent = find(r, removed->parent);

        if (parent == NULL || parent->stored->parent == 0)
            node_free_removed(removed);
    }
}

/* Times and cookies, which linking has changed. */
static void finish_nodes(const struct reading *r)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct stored_node *s = r->all[i].stored;
        struct node *n = r->all[i].node;

        n->changed = (struct timespec){.tv_sec = s->changed_s, .tv_nsec = s->changed_ns};
        if (n->kind == NODE_DIRECTORY && n->directory.next_cookie < s->next_cookie)
            n->directory.next_cookie = s->next_cookie;
    }
}

/* ---- objects */

/* Files without content come last. */
static int by_object(const void *a, const void *b)
{
    const struct found *x = *(struct found *const *)a, *y = *(struct found *const *)b;
    uint64_t x_at = has_content(x) ? x->content->object_at : UINT64_MAX;
    uint64_t y_at = has_content(y) ? y->content->object_at : UINT64_MAX;

    if (x_at != y_at)
        return x_at < y_at ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

struct object_texts {
    char all[OBJECT_TEXTS][OBJECT_TEXT_SIZE];
};

/* Kinds that a mount may show; only limits of their size depend on it. */
static enum object_kind kind_of(uint32_t stored)
{
    static const enum object_kind kinds[] = {OBJECT_CONFIGMAP, OBJECT_CLUSTER_TRUST_BUNDLE};

    for (size_t i = 0; i < ELEMENTS_OF(kinds); i++)
        if (stored == kinds[i])
            return kinds[i];
    return OBJECT_SECRET;
}

/* Return: 0; -EBADMSG with @e. */
static int read_object(const struct state_record *record, struct object *ret_like,
                       struct object_texts *texts, struct error *e)
{
    const struct stored_object *s = record->checked;
    const char *text = (const char *)(s + 1);
    size_t left = record->checked_len - sizeof(*s);

    for (size_t i = 0; i < OBJECT_TEXTS; i++) {
        if (s->lens[i] >= OBJECT_TEXT_SIZE || s->lens[i] > left)
            return malformed(e);
        memcpy(texts->all[i], text, s->lens[i]);
        texts->all[i][s->lens[i]] = '\0';
        text += s->lens[i];
        left -= s->lens[i];
    }
    *ret_like = (struct object){
        .key = {.kind = kind_of(s->kind), .namespace = texts->all[0], .name = texts->all[1]},
        .uid = texts->all[2],
        .resource_version = texts->all[3],
        .type = texts->all[4],
        .is_immutable = s->is_immutable != 0};
    return 0;
}

/* How many of the files from @first on are of one object, and fit into one. */
static size_t count_of_object(const struct reading *r, size_t first)
{
    size_t bytes = 0, i = first;

    for (; i < r->n && has_content(r->order[i]) &&
           r->order[i]->content->object_at == r->order[first]->content->object_at;
         i++) {
        bytes += r->order[i]->bytes_len;
        if (i > first && bytes > OBJECT_DATA_MAX_BYTES)
            break;
    }
    return i - first;
}

struct key {
    char text[24];
};

/* Make one object of the contents of @n files, and have the nodes show it. */
static int make_object(const struct reading *r, struct found *const *files, size_t n,
                       const struct object *like, struct error *e)
{
    _cleanup_(freep) struct object_input *inputs = calloc(n, sizeof(*inputs));
    _cleanup_(freep) struct key *keys = calloc(n, sizeof(*keys));
    _cleanup_(object_unrefp) struct object *object = NULL;
    int result = -ENOMEM;

    if (inputs == NULL || keys == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the stored state");
    for (size_t i = 0; i < n; i++) {
        snprintf(keys[i].text, sizeof(keys[i].text), "%zu", i);
        inputs[i] = (struct object_input){.key = keys[i].text,
                                          .text = (const char *)files[i]->bytes,
                                          .len = files[i]->bytes_len,
                                          .encoding = OBJECT_RAW};
    }
    result = object_new(like, inputs, n, &object, e);
    if (result == -ENOMEM)
        return error_set_errno(e, -ENOMEM, "cannot read the stored state");
    if (result < 0)
        return error_prefix(e, -EBADMSG, "the stored state is contradictory");
    for (size_t i = 0; i < n; i++) {
        const struct object_entry *entry = object_find(object, keys[i].text);
        const struct file_content content = {
            .object = object, .bytes = entry->bytes, .len = entry->len};

        node_set_content(r->nodes, files[i]->node, &content);
    }
    return 0;
}

static int make_objects(const struct reading *r, struct error *e)
{
    struct state_record record = {0};
    struct object_texts texts;
    struct object like;
    int result = 0;

    for (size_t i = 0; i < r->n; i++)
        r->order[i] = &r->all[i];
    assert(r->order != NULL);
    qsort(r->order, r->n, sizeof(struct found *), by_object);
    for (size_t i = 0, n; i < r->n && has_content(r->order[i]) && result == 0; i += n) {
        uint64_t at = r->order[i]->content->object_at;

        n = count_of_object(r, i);
        while (record.offset < at && state_next(r->state, &record))
            continue;
        if (record.offset != at || record.type != RECORD_OBJECT)
            return malformed(e);
        result = read_object(&record, &like, &texts, e);
        if (result == 0)
            result = make_object(r, r->order + i, n, &like, e);
    }
    return result;
}

/* ---- open files */

/* Versions of a file in their order, and each in the order of its requests. */
static int by_version(const void *a, const void *b)
{
    const struct open_file *x = a, *y = b;

    if (x->version != y->version)
        return x->version < y->version ? -1 : 1;
    return x->unique < y->unique ? -1 : x->unique > y->unique;
}

static struct found_version *find_version(const struct reading *r, const struct open_file *file)
{
    const struct stored_version stored = {.id = file->node, .number = file->version};
    const struct found_version like = {.stored = &stored};

    return r->n_versions > 0
               ? bsearch(&like, r->versions, r->n_versions, sizeof(*r->versions), by_number)
               : NULL;
}

/* Content is made of it once. Return: 0; -EBADMSG, -ENOMEM with @e. */
static int make_version(const struct reading *r, struct found_version *v, struct error *e)
{
    const struct object_input input = {
        .key = "0", .text = (const char *)v->bytes, .len = v->bytes_len, .encoding = OBJECT_RAW};
    struct state_record record = {0};
    struct object_texts texts;
    struct object like;
    int result;

    if (v->object != NULL)
        return 0;
    if (v->bytes_len != v->stored->len ||
        v->stored->sum != state_sum(v->stored->id, v->bytes, v->bytes_len))
        return contradiction(e, "has an open file of a damaged version", v->stored->id);
    while (record.offset < v->stored->object_at && state_next(r->state, &record))
        continue;
    if (record.offset != v->stored->object_at || record.type != RECORD_OBJECT)
        return malformed(e);
    result = read_object(&record, &like, &texts, e);
    if (result == 0)
        result = object_new(&like, &input, 1, &v->object, e);
    if (result == -ENOMEM)
        return error_set_errno(e, -ENOMEM, "cannot read the stored state");
    return result < 0 ? error_prefix(e, -EBADMSG, "the stored state is contradictory") : 0;
}

/* Return: 0; -EBADMSG, -ENOMEM with @e. */
static int read_version(const struct reading *r, const struct open_file *file,
                        struct live_old_version *ret_old, struct error *e)
{
    struct found_version *v = find_version(r, file);
    const struct object_entry *entry;
    int result = 0;

    if (v == NULL)
        return contradiction(e, "has an open file of an unknown version", file->node);
    if ((file->flags & OPEN_FILE_DROPPED) == 0)
        result = make_version(r, v, e);
    if (result < 0)
        return result;
    entry = v->object != NULL ? object_find(v->object, "0") : NULL;
    *ret_old = (struct live_old_version){
        .number = v->stored->number,
        .changed = {.tv_sec = v->stored->changed_s, .tv_nsec = (long)v->stored->changed_ns},
        .content = {.object = v->object,
                    .bytes = entry != NULL ? entry->bytes : NULL,
                    .len = (size_t)v->stored->len},
        .volume = v->stored->volume};
    return 0;
}

/*
 * One without a node is about to be released. One of the newest version is not dropped: the process
 * has ended before the commit of the switch that did it.
 */
static int make_open(const struct reading *r, struct open_file *file, struct error *e)
{
    const struct found *f = find(r, file->node);
    bool is_cached = (file->flags & OPEN_FILE_CACHED) != 0, is_old;
    struct live_old_version old;
    int result = 0;

    if (f == NULL)
        return 0;
    if (f->node->kind != NODE_FILE || (!is_cached && f->node->file.live == NULL))
        return contradiction(e, "cannot have an open file", f->id);
    is_old = !is_cached && file->version != f->node->file.live->version;
    if (is_old)
        result = read_version(r, file, &old, e);
    else
        file->flags &= ~OPEN_FILE_DROPPED;
    if (result < 0)
        return result;
    result = live_file_adopt_open(r->nodes, f->node, file, is_old ? &old : NULL);
    if (result == -ENOMEM)
        return error_set_errno(e, result, "cannot read the stored state");
    return result < 0 ? contradiction(e, "has an invalid open file", f->id) : 0;
}

static int make_opens(const struct reading *r, struct error *e)
{
    int result = 0;

    qsort(r->opens, r->n_opens, sizeof(*r->opens), by_version);
    for (size_t i = 0; i < r->n_opens && result == 0; i++)
        result = make_open(r, &r->opens[i], e);
    open_table_end_adopting(&r->nodes->opens);
    if (result < 0)
        live_file_free_opens(r->nodes);
    return result;
}

int tree_state_read(const struct state *state, struct node_table *nodes, struct error *e)
{
    _cleanup_(reading_deinit) struct reading r = {.state = state, .nodes = nodes};
    int result = collect(&r, e);

    if (result == 0)
        result = check(&r, e);
    if (result == 0 && make_nodes(&r) < 0)
        result = error_set_errno(e, -ENOMEM, "cannot read the stored state");
    if (result == 0)
        result = make_objects(&r, e); /* before what is unlinked is charged with its content */
    if (result == 0)
        result = give_places(&r, e);
    if (result == 0)
        finish_nodes(&r);
    drop_unreachable_removed(&r);
    if (result == 0)
        result = make_opens(&r, e); /* after the times of the newest versions */
    return result;
}

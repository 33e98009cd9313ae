/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that one call changes is one commit, while the tree's lock is held. So a reader that has seen
 * a node has seen one that is in the state. What the kernel holds is not recorded: each adopted
 * node counts as held (node.is_adopted).
 */
#include "handover/tree_recorder.h"

#include "fuse/live_file.h"
#include "handover/tree_record.h"

/* A small state is seldom replaced. */
#define LOW_ROOM (UINT64_C(1) << 19)

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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last records of each id are found first (merge()), and checked before anything is made of
 * them: nodes, objects with the contents of files, the nodes' places, open files with their
 * versions. Nothing of a state that contradicts itself is used.
 */
#include "handover/tree_state.h"

#include <stdio.h>

#include "fuse/live_file.h"
#include "handover/tree_record.h"

/* A volume's directory, its generation, and a path in it. */
#define DEPTH_MAX (PAYLOAD_ELEMENTS_MAX + 8u)

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
           memchr(name, '/', stored->name_len) == NULL;
}

/* Name, or path, and target. */
static bool are_texts(const struct stored_node *stored)
{
    return memchr(stored + 1, '\0', (size_t)stored->name_len + stored->target_len) == NULL;
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
    if (!are_texts(s))
        return "has a name or a target with a NUL";
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

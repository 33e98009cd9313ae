/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An open file of a live file keeps the version that it was opened with: it holds a reference to
 * the object, and its reads are answered from there (operations.c). A node counts its open files by
 * version, of which a switch needs to know (live_switch.c):
 *
 *  - n_opens: of the newest version; n_unread: those of them that were not yet read to their end,
 *    which a switch waits for
 *  - n_older_opens: of older versions; while there are any, the kernel may not keep attributes
 *  - n_cached_opens: opened before the file became live; their reads come from the kernel's pages
 *
 * An older version is charged to its volume (held.c), and above a limit the oldest ones lose their
 * content: reads of such an open file fail with ESTALE.
 *
 * fstat(2) does not say which open file it is about. The reader gets the size of the newest one
 * that its thread has open, whatever its version is; a thread that the kernel cannot name, in a pid
 * namespace that the daemon does not see, gets the size of the newest content. Close is reported
 * late: a release follows close(2) some time after it has returned, and another worker may answer
 * the thread's next fstat(2) before it. So the kernel sends a flush, which close(2) waits for, of a
 * file of which its thread may have an older version open (tail -F).
 */
#include "fuse/live_file.h"

#include <stdatomic.h>

#include "fuse/node.h"

/*
 * A stat is answered from its thread's own open file if that is among the newest so many of the
 * file, and from the newest content otherwise.
 */
#define SEARCH_MAX 1024

struct live_open {
    struct list link; /* in node_live.opens, the newest last; under the tree's lock */
    pid_t thread;
    atomic_bool was_read;  /* to its end */
    atomic_bool has_pages; /* some were read through it: it is mapped, and shows the newest */
    bool needs_flush;      /* its thread may have an older version open */
    bool is_flushed;       /* a descriptor of it was closed; under the tree's lock */
    bool drops_pages;
    uint64_t version;
    struct timespec changed;
    struct file_content content; /* with a reference; without object once it is dropped */
    struct held_item held;       /* while it is of an older version */
};

/* ---- open files */

static void open_version(struct node *n, struct live_open *open)
{
    struct node_live *live = n->file.live;

    open->version = live->version;
    open->changed = n->changed;
    open->content = n->file.content;
    object_ref(open->content.object);
    open->drops_pages = live->has_old_pages;
    live->has_old_pages = false;
    live->n_opens++;
    live->n_unread++;
    live->opened_at = clock_mono();
    list_append(&live->opens, &open->link);
}

/*
 * The lock is held. Return: the newest of a thread, one that was flushed only if there is no other:
 * it was closed, and its release is on the way; or a descriptor was duplicated before it was
 * closed. NULL.
 */
static const struct live_open *open_of_thread(const struct node_live *live, pid_t thread)
{
    const struct live_open *flushed = NULL;
    const struct list *l = live->opens.prev;

    for (unsigned i = 0; l != &live->opens && i < SEARCH_MAX; l = l->prev, i++) {
        const struct live_open *open = CONTAINER_OF((uintptr_t)l, struct live_open, link);

        if (open->thread != thread || atomic_load(&open->has_pages))
            continue;
        if (!open->is_flushed)
            return open;
        if (flushed == NULL)
            flushed = open;
    }
    return flushed;
}

int live_file_open(struct tree *tree, uint64_t id, pid_t thread, bool may_wait,
                   struct live_open **ret_open)
{
    struct live_open *open;
    struct node *n;
    int r;

    NODE_TABLE_GUARD(tree_nodes(tree));
    r = node_find_file(tree_nodes(tree), id, &n);
    if (r < 0)
        return r;
    *ret_open = NULL;
    if (n->file.live == NULL) {
        n->file.n_cached_opens++;
        return 0;
    }
    if (n->file.live->is_switching && may_wait)
        return -EAGAIN;
    open = calloc(1, sizeof(*open));
    if (open == NULL)
        return -ENOMEM;
    open->thread = thread;
    /* a second open file of the same version has the same size */
    open->needs_flush = may_wait && thread != 0 && n->file.live->n_older_opens > 0 &&
                        open_of_thread(n->file.live, thread) != NULL;
    open_version(n, open);
    *ret_open = open;
    return 0;
}

/* The lock is held. */
static void close_version(struct tree *t, uint64_t id, const struct live_open *open)
{
    struct node *n = node_file_by_id(tree_nodes(t), id);
    struct node_live *live;

    if (n == NULL)
        return;
    live = n->file.live;
    if (open == NULL) {
        assert(n->file.n_cached_opens > 0);
        n->file.n_cached_opens--;
    } else if (live->version != open->version) {
        assert(live->version > open->version && live->n_older_opens > 0);
        live->n_older_opens--;
    } else {
        assert(live->n_opens > 0);
        live->n_opens--;
        live->n_unread -= !atomic_load(&open->was_read);
        assert(live->n_unread <= live->n_opens);
    }
}

void live_file_close(struct tree *tree, uint64_t id, struct live_open *open)
{
    {
        NODE_TABLE_GUARD(tree_nodes(tree));
        close_version(tree, id, open);
        if (open != NULL) {
            held_remove(&tree_nodes(tree)->held, &open->held);
            list_remove(&open->link);
        }
    }
    if (open == NULL)
        return;
    object_unref(open->content.object);
    free(open);
}

/* The lock is held. */
static void free_opens(struct node_table *t, struct node_live *live)
{
    while (!list_is_empty(&live->opens)) {
        struct live_open *open = list_entry(live->opens.next, struct live_open, link);

        held_remove(&t->held, &open->held);
        list_remove(&open->link);
        object_unref(open->content.object);
        free(open);
    }
}

static void free_opens_below(struct node_table *t, struct node *top)
{
    for (struct node *n = top; n != NULL; n = node_next(top, n))
        if (n->kind == NODE_FILE && n->file.live != NULL)
            free_opens(t, n->file.live);
}

void live_file_close_all(struct tree *tree)
{
    struct node_table *t = tree_nodes(tree);
    struct node *n;

    NODE_TABLE_GUARD(t);
    free_opens_below(t, t->root);
    list_for_each (n, &t->unlinked, link)
        free_opens_below(t, n);
}

/* It was read to its end: a switch need not wait for it. The lock is held. */
static void note_read(struct tree *t, uint64_t id, struct live_open *open)
{
    struct node *n = node_file_by_id(tree_nodes(t), id);

    if (!atomic_exchange(&open->was_read, true) && n != NULL &&
        n->file.live->version == open->version)
        n->file.live->n_unread--;
}

int live_file_read(struct tree *tree, uint64_t id, struct live_open *open, size_t offset,
                   size_t size, struct file_content *ret_part)
{
    const struct file_content *content = &open->content;
    size_t begin = size_min(offset, content->len), len = size_min(size, content->len - begin);

    NODE_TABLE_GUARD(tree_nodes(tree));
    if (content->object == NULL)
        return -ESTALE;
    if (begin + len == content->len)
        note_read(tree, id, open);
    *ret_part = (struct file_content){
        .object = object_ref(content->object), .bytes = content->bytes + begin, .len = len};
    return 0;
}

static void drop_version(void *userdata, struct held_item *item)
{
    struct live_open *open = CONTAINER_OF(item, struct live_open, held);

    open->content.object = object_unref(open->content.object);
    open->content.bytes = NULL;
}

void live_file_outdate(struct node_table *t, struct node *file, uint64_t volume)
{
    struct node_live *live = file->file.live;

    for (struct list *l = live->opens.prev; l != &live->opens; l = l->prev) {
        struct live_open *open = list_entry(l, struct live_open, link);

        if (open->version != live->version)
            break; /* those before it are older still */
        held_add(&t->held, &open->held, volume, open->content.object, drop_version);
    }
}

void live_file_refresh(struct node *file, const struct file_content *same)
{
    struct node_live *live = file->file.live;

    for (struct list *l = live->opens.prev; l != &live->opens; l = l->prev) {
        struct live_open *open = list_entry(l, struct live_open, link);

        if (open->version != live->version)
            break;
        assert(open->content.len == same->len);
        object_ref(same->object);
        object_unref(open->content.object);
        open->content = *same;
    }
}

void live_file_flush(struct tree *tree, struct live_open *open)
{
    NODE_TABLE_GUARD(tree_nodes(tree));
    open->is_flushed = true;
}

bool live_open_needs_flush(const struct live_open *open)
{
    return open->needs_flush;
}

bool live_open_drops_pages(const struct live_open *open)
{
    return open->drops_pages;
}

void live_open_note_pages(struct live_open *open)
{
    atomic_store(&open->has_pages, true);
}

/* ---- attributes */

void live_open_stat(const struct live_open *open, struct stat *stat)
{
    stat->st_size = (off_t)open->content.len;
    stat->st_mtim = stat->st_ctim = open->changed;
}

bool live_file_stat(struct tree *tree, pid_t thread, struct stat *stat)
{
    const struct live_open *open = NULL;
    const struct node *n;

    if (thread == 0)
        return false;
    NODE_TABLE_GUARD(tree_nodes(tree));
    n = node_file_by_id(tree_nodes(tree), stat->st_ino);
    if (n != NULL && n->file.live != NULL)
        open = open_of_thread(n->file.live, thread);
    if (open == NULL || open->version == n->file.live->version)
        return false;
    live_open_stat(open, stat);
    return true;
}

bool live_file_is_settled(struct tree *tree, uint64_t id)
{
    const struct node *n;

    NODE_TABLE_GUARD(tree_nodes(tree));
    n = node_file_by_id(tree_nodes(tree), id);
    return n == NULL || n->file.live == NULL ||
           (n->file.live->n_older_opens == 0 && !n->file.live->is_switching);
}

/* ---- becoming live */

bool live_file_is_live(struct tree *tree, uint64_t id)
{
    const struct node *top, *n;

    NODE_TABLE_GUARD(tree_nodes(tree));
    top = node_by_id(tree_nodes(tree), id);
    for (n = top; n != NULL; n = node_next(top, n))
        if (n->kind == NODE_FILE)
            return n->file.live != NULL;
    return false;
}

int live_file_make(struct tree *tree, uint64_t id)
{
    struct node *top, *n;
    int r = 0;

    NODE_TABLE_GUARD(tree_nodes(tree));
    top = node_by_id(tree_nodes(tree), id);
    if (top == NULL)
        return -ESTALE;
    for (n = top; n != NULL && r == 0; n = node_next(top, n))
        if (n->kind == NODE_FILE) {
            r = node_make_live(n);
            node_mark(tree_nodes(tree), n);
        }
    return r;
}

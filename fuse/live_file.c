/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An open file of a live file keeps the version that it was opened with: a version holds a
 * reference to its object as long as a file of it is open, and reads are answered from there
 * (operations.c). A node counts its open files by version, of which a switch needs to know
 * (live_switch.c):
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
 * that its thread has open, of any version; a thread that the kernel cannot name, in a pid
 * namespace that the daemon does not see, gets the size of the newest content. Close is reported
 * late: a release follows close(2) some time after it has returned, and another worker may answer
 * the thread's next fstat(2) before it. So the kernel sends a flush, which close(2) waits for, of a
 * file of which its thread may have an older version open (tail -F).
 *
 * Each open and each close is recorded for the next process before the kernel is answered, and so
 * is each older version (tree_recorder.c). A version counts there as long as an open file of it
 * does, so an open file is taken out before its version's content is dropped.
 */
#include "fuse/live_file.h"

#include "fuse/node.h"

/*
 * A stat is answered from its thread's own open file if that is among the newest so many of the
 * file, and from the newest content otherwise.
 */
#define SEARCH_MAX 1024

struct live_open {
    struct open_file file; /* under the tree's lock, but for what never changes: all but flags */
    struct list link;      /* in node_live.opens, the newest last; under the tree's lock */
    struct node_version *version; /* NULL: of an immutable file */
    struct held_item held;        /* while it is of an older version */
    uint64_t volume;              /* in whose number it counts; node id of its directory */
    bool drops_pages;
};

static struct live_open *open_of_file(struct open_file *file)
{
    return file != NULL ? CONTAINER_OF(file, struct live_open, file) : NULL;
}

static bool has_flag(const struct live_open *open, uint32_t flag)
{
    return (open->file.flags & flag) != 0;
}

/* ---- volumes */

/* Return: NULL: it is gone, or the file's volume is unknown. */
static struct node *directory_of(struct node_table *t, uint64_t volume)
{
    struct node *directory = node_by_id(t, volume);

    return directory != NULL && directory->kind == NODE_DIRECTORY ? directory : NULL;
}

static struct node *volume_of_file(struct node_table *t, const struct node *file)
{
    return directory_of(t, node_volume_of_file(t, file));
}

static void count_in_volume(struct node_table *t, const struct node *file, struct live_open *open)
{
    struct node *directory = volume_of_file(t, file);

    if (directory == NULL)
        return;
    open->volume = directory->id;
    directory->directory.n_opens++;
}

static void leave_volume(struct node_table *t, struct live_open *open)
{
    struct node *directory = directory_of(t, open->volume);

    open->volume = 0;
    if (directory == NULL)
        return;
    assert(directory->directory.n_opens > 0);
    directory->directory.n_opens--;
}

void live_file_let_opens(struct tree *tree, uint64_t volume, bool lets)
{
    struct node *directory;

    NODE_TABLE_GUARD(tree_nodes(tree));
    directory = directory_of(tree_nodes(tree), volume);
    if (directory != NULL)
        directory->directory.lets_opens = lets;
}

/* ---- versions */

static struct node_version *newest_version(const struct node_live *live)
{
    struct node_version *v;

    if (list_is_empty(&live->versions))
        return NULL;
    v = list_entry(live->versions.prev, struct node_version, link);
    return v->number == live->version ? v : NULL;
}

/* Return: NULL when out of memory. */
static struct node_version *add_version(struct node_live *live, const struct live_old_version *like)
{
    struct node_version *v = calloc(1, sizeof(*v));

    if (v == NULL)
        return NULL;
    v->number = like->number;
    v->changed = like->changed;
    v->content = like->content;
    v->volume = like->volume;
    if (v->content.object != NULL)
        object_ref(v->content.object);
    list_append(&live->versions, &v->link);
    return v;
}

static struct node_version *get_newest_version(struct node *n)
{
    struct node_version *v = newest_version(n->file.live);
    const struct live_old_version like = {
        .number = n->file.live->version, .changed = n->changed, .content = n->file.content};

    return v != NULL ? v : add_version(n->file.live, &like);
}

/* One open file less shows its content. */
static void stop_showing(struct node_table *t, struct node_version *v)
{
    assert(v->n_shown > 0);
    if (--v->n_shown > 0)
        return;
    if (t->journal != NULL)
        t->journal->drop_version(t->journal, v);
    v->content.object = object_unref(v->content.object);
    v->content.bytes = NULL;
}

static void leave_version(struct node_table *t, struct live_open *open)
{
    struct node_version *v = TAKE(open->version);

    if (v == NULL)
        return;
    if (!has_flag(open, OPEN_FILE_DROPPED))
        stop_showing(t, v);
    assert(v->n_opens > 0);
    if (--v->n_opens > 0)
        return;
    list_remove(&v->link);
    free(v);
}

/* ---- open files */

static void record_open(struct node_table *t, const struct live_open *open)
{
    if (t->journal != NULL)
        t->journal->record_open(t->journal, &open->file);
}

static void set_flag(struct node_table *t, struct live_open *open, uint32_t flag)
{
    if (has_flag(open, flag))
        return;
    open->file.flags |= flag;
    record_open(t, open);
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

        if (open->file.thread != thread || has_flag(open, OPEN_FILE_MAPPED))
            continue;
        if (!has_flag(open, OPEN_FILE_FLUSHED))
            return open;
        if (flushed == NULL)
            flushed = open;
    }
    return flushed;
}

static bool is_newest(const struct node *n, const struct live_open *open)
{
    return open->file.version == n->file.live->version;
}

/* Count an open file that is in the table. @v: NULL for an immutable file */
static void enter(struct node *n, struct live_open *open, struct node_version *v)
{
    struct node_live *live = n->file.live;

    if (v == NULL) {
        n->file.n_cached_opens++;
        return;
    }
    open->version = v;
    v->n_opens++;
    v->n_shown += !has_flag(open, OPEN_FILE_DROPPED);
    list_append(&live->opens, &open->link);
    if (!is_newest(n, open)) {
        live->n_older_opens++;
        return;
    }
    live->n_opens++;
    live->n_unread += !has_flag(open, OPEN_FILE_READ);
}

static struct live_open *new_open(const struct open_file *like)
{
    struct live_open *open = calloc(1, sizeof(*open));

    if (open == NULL)
        return NULL;
    open->file = *like;
    list_init(&open->link);
    return open;
}

/* What the kernel has to know of it: see operations.c. */
static uint32_t flags_of(const struct node *n, const struct live_opener *opener)
{
    const struct node_live *live = n->file.live;

    if (live == NULL)
        return OPEN_FILE_CACHED;
    /* a second open file of the same version has the same size */
    return opener->may_wait && opener->thread != 0 && live->n_older_opens > 0 &&
                   open_of_thread(live, opener->thread) != NULL
               ? OPEN_FILE_NEEDS_FLUSH
               : 0;
}

/* A version that nothing has open is not kept. */
static void discard_version(struct node_version *v)
{
    if (v == NULL || v->n_opens > 0)
        return;
    list_remove(&v->link);
    object_unref(v->content.object);
    free(v);
}

/* Return: 0; -ENOMEM; -ENFILE. */
static int add_open(struct node_table *t, struct node *n, const struct open_file *like,
                    struct live_open **ret_open)
{
    bool is_live = n->file.live != NULL;
    struct node_version *v = is_live ? get_newest_version(n) : NULL;
    struct live_open *open = new_open(like);
    int r =
        open == NULL || (is_live && v == NULL) ? -ENOMEM : open_table_add(&t->opens, &open->file);

    if (r < 0) {
        discard_version(v);
        free(open);
        return r;
    }
    count_in_volume(t, n, open);
    enter(n, open, v);
    *ret_open = open;
    return 0;
}

/* The lock is held. */
static void report_open(const struct node_table *t, const struct node *n,
                        const struct live_opener *opener)
{
    const struct live_opened opened = {.file = {.volume = node_volume_of_file(t, n),
                                                .edition = node_edition(n),
                                                .content = n->file.content},
                                       .thread = opener->thread};

    if (t->opened != NULL && opener->may_wait && n->file.content.object != NULL)
        t->opened(t->opened_userdata, &opened);
}

void live_file_observe(struct tree *tree, live_file_opened_fn *opened, void *userdata)
{
    NODE_TABLE_GUARD(tree_nodes(tree));
    tree_nodes(tree)->opened = opened;
    tree_nodes(tree)->opened_userdata = userdata;
}

/*
 * The lock is held. Whether an open can be made now.
 * Return: 0; -EAGAIN: it waits for the end of a switch (live_switch.c); -ENFILE; -ENOENT: its
 * update was not committed.
 */
static int check_open(struct node_table *t, const struct node *n, const struct live_opener *opener)
{
    const struct node *directory = opener->may_wait ? volume_of_file(t, n) : NULL;
    const struct node_live *live = n->file.live;

    if (live != NULL && live->is_switching && opener->may_wait &&
        (directory == NULL || !directory->directory.lets_opens))
        return -EAGAIN;
    if (live != NULL && live->presence == LIVE_NEW)
        return -ENOENT;
    return directory != NULL && directory->directory.n_opens >= LIVE_OPENS_MAX ? -ENFILE : 0;
}

int live_file_open(struct tree *tree, uint64_t id, const struct live_opener *opener,
                   struct live_open **ret_open)
{
    struct node_table *t = tree_nodes(tree);
    struct open_file like;
    struct node_live *live;
    struct node *n;
    int r;

    NODE_TABLE_GUARD(t);
    r = node_find_file(t, id, &n);
    if (r < 0)
        return r;
    r = check_open(t, n, opener);
    if (r < 0)
        return r;
    live = n->file.live;
    like = (struct open_file){.node = id,
                              .version = live != NULL ? live->version : 0,
                              .unique = opener->unique,
                              .thread = opener->thread,
                              .flags = flags_of(n, opener)};
    r = add_open(t, n, &like, ret_open);
    if (r < 0)
        return r;
    if (live != NULL) {
        live->opened_at = clock_mono();
        (*ret_open)->drops_pages = live->has_old_pages;
        live->has_old_pages = false;
    }
    record_open(t, *ret_open);
    report_open(t, n, opener);
    return 0;
}

struct live_open_info live_file_info(struct tree *tree, const struct live_open *open)
{
    NODE_TABLE_GUARD(tree_nodes(tree));
    return (struct live_open_info){
        .handle = open->file.handle,
        .is_cached = has_flag(open, OPEN_FILE_CACHED),
        .drops_pages = open->drops_pages,
        .needs_flush = has_flag(open, OPEN_FILE_NEEDS_FLUSH),
    };
}

struct live_open *live_file_find_open(struct tree *tree, uint64_t handle)
{
    NODE_TABLE_GUARD(tree_nodes(tree));
    return open_of_file(open_table_find(&tree_nodes(tree)->opens, handle));
}

struct live_open *live_file_find_version(struct tree *tree, uint64_t handle)
{
    struct live_open *open;

    NODE_TABLE_GUARD(tree_nodes(tree));
    open = open_of_file(open_table_find(&tree_nodes(tree)->opens, handle));
    return open != NULL && !has_flag(open, OPEN_FILE_CACHED) ? open : NULL;
}

struct live_open *live_file_find_request(struct tree *tree, uint64_t unique)
{
    NODE_TABLE_GUARD(tree_nodes(tree));
    return open_of_file(open_table_find_request(&tree_nodes(tree)->opens, unique));
}

/* The lock is held. It may come after the node is gone. */
static void count_close(struct node *n, const struct live_open *open)
{
    struct node_live *live;

    if (n == NULL)
        return;
    live = n->file.live;
    if (has_flag(open, OPEN_FILE_CACHED)) {
        assert(n->file.n_cached_opens > 0);
        n->file.n_cached_opens--;
    } else if (!is_newest(n, open)) {
        assert(live->version > open->file.version && live->n_older_opens > 0);
        live->n_older_opens--;
    } else {
        assert(live->n_opens > 0);
        live->n_opens--;
        live->n_unread -= !has_flag(open, OPEN_FILE_READ);
        assert(live->n_unread <= live->n_opens);
    }
}

/* The lock is held. */
static void free_open(struct node_table *t, struct live_open *open)
{
    held_remove(&t->held, &open->held);
    leave_volume(t, open);
    list_remove(&open->link);
    open_table_remove(&t->opens, &open->file);
    leave_version(t, open);
    free(open);
}

void live_file_close(struct tree *tree, struct live_open *open)
{
    struct node_table *t = tree_nodes(tree);

    NODE_TABLE_GUARD(t);
    count_close(node_file_by_id(t, open->file.node), open);
    if (t->journal != NULL) /* first: a version counts as long as a file of it is recorded */
        t->journal->record_close(t->journal, &open->file);
    free_open(t, open);
}

void live_file_free_opens(struct node_table *t)
{
    struct node_journal *journal = TAKE(t->journal);
    struct live_open *open;

    for (uint32_t i = 0; i < t->opens.n_slots; i++)
        if ((open = open_of_file(open_table_at(&t->opens, i))) != NULL)
            free_open(t, open);
    t->journal = journal;
}

void live_file_close_all(struct tree *tree)
{
    NODE_TABLE_GUARD(tree_nodes(tree));
    live_file_free_opens(tree_nodes(tree));
}

int live_file_read(struct tree *tree, struct live_open *open, size_t offset, size_t size,
                   struct file_content *ret_part)
{
    struct node_table *t = tree_nodes(tree);
    const struct file_content *content = &open->version->content;
    size_t begin, len;
    struct node *n;

    NODE_TABLE_GUARD(t);
    begin = size_min(offset, content->len);
    len = size_min(size, content->len - begin);
    if (content->object == NULL || has_flag(open, OPEN_FILE_DROPPED))
        return -ESTALE;
    if (begin + len == content->len && !has_flag(open, OPEN_FILE_READ)) {
        set_flag(t, open, OPEN_FILE_READ); /* a switch need not wait for it */
        n = node_file_by_id(t, open->file.node);
        if (n != NULL && is_newest(n, open))
            n->file.live->n_unread--;
    }
    *ret_part = (struct file_content){
        .object = object_ref(content->object), .bytes = content->bytes + begin, .len = len};
    return 0;
}

static void drop_content(void *userdata, struct held_item *item)
{
    struct live_open *open = CONTAINER_OF(item, struct live_open, held);
    struct node_table *t = userdata;

    set_flag(t, open, OPEN_FILE_DROPPED);
    stop_showing(t, open->version);
}

static void hold(struct node_table *t, struct live_open *open)
{
    struct node_version *v = open->version;

    if (v->content.object != NULL && !has_flag(open, OPEN_FILE_DROPPED))
        held_add(&t->held, &open->held, v->volume, v->content.object, drop_content);
}

void live_file_outdate(struct node_table *t, struct node *file, uint64_t volume)
{
    struct node_live *live = file->file.live;
    struct node_version *v = newest_version(live);

    if (v == NULL)
        return;
    v->volume = volume;
    for (struct list *l = live->opens.prev; l != &live->opens; l = l->prev) {
        struct live_open *open = list_entry(l, struct live_open, link);

        if (open->version != v)
            break; /* those before it are older still */
        hold(t, open);
    }
}

void live_file_refresh(struct node *file, const struct file_content *same)
{
    struct node_version *v = newest_version(file->file.live);

    if (v == NULL)
        return;
    assert(v->content.len == same->len);
    object_ref(same->object);
    object_unref(v->content.object);
    v->content = *same;
}

void live_file_flush(struct tree *tree, struct live_open *open)
{
    NODE_TABLE_GUARD(tree_nodes(tree));
    set_flag(tree_nodes(tree), open, OPEN_FILE_FLUSHED);
}

void live_file_note_pages(struct tree *tree, struct live_open *open)
{
    NODE_TABLE_GUARD(tree_nodes(tree));
    set_flag(tree_nodes(tree), open, OPEN_FILE_MAPPED);
}

/* ---- what an earlier process had open */

/* The version that is being adopted is the last one in the list. */
static struct node_version *adopt_version(struct node *n, const struct live_old_version *old)
{
    struct node_live *live = n->file.live;

    if (old == NULL)
        return get_newest_version(n);
    if (!list_is_empty(&live->versions)) {
        struct node_version *last = list_entry(live->versions.prev, struct node_version, link);

        if (last->number == old->number)
            return last;
    }
    return add_version(live, old);
}

/* The kernel may have pages of it, and it was not told what OPEN had to say of them. */
int live_file_adopt_open(struct node_table *t, struct node *file, const struct open_file *like,
                         const struct live_old_version *old)
{
    bool is_cached = (like->flags & OPEN_FILE_CACHED) != 0;
    struct node_version *v = is_cached ? NULL : adopt_version(file, old);
    struct live_open *open = new_open(like);
    int r = open == NULL || (!is_cached && v == NULL) ? -ENOMEM
                                                      : open_table_adopt(&t->opens, &open->file);

    if (r < 0) {
        discard_version(v);
        free(open);
        return r;
    }
    open->drops_pages = true;
    count_in_volume(t, file, open);
    enter(file, open, v);
    if (old != NULL)
        hold(t, open);
    return 0;
}

/* ---- attributes */

void live_open_stat(const struct live_open *open, struct stat *stat)
{
    stat->st_size = (off_t)open->version->content.len;
    stat->st_mtim = stat->st_ctim = open->version->changed;
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
    if (open == NULL || is_newest(n, open))
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

/* ---- what a volume shows */

void live_file_give_up_new(struct tree *tree, uint64_t id)
{
    struct node *top, *n;

    NODE_TABLE_GUARD(tree_nodes(tree));
    top = node_by_id(tree_nodes(tree), id);
    for (n = top; n != NULL; n = node_next(top, n))
        if (n->kind == NODE_FILE && n->file.live != NULL && n->file.live->presence == LIVE_NEW)
            n->file.live->is_switching = false;
}

bool live_file_is_shown(struct tree *tree, uint64_t id)
{
    const struct node *n;

    NODE_TABLE_GUARD(tree_nodes(tree));
    n = node_file_by_id(tree_nodes(tree), id);
    return n == NULL || n->file.live == NULL || n->file.live->presence == LIVE_SHOWN;
}

bool live_file_is_unannounced(struct tree *tree, uint64_t id)
{
    const struct node *n;

    NODE_TABLE_GUARD(tree_nodes(tree));
    n = node_file_by_id(tree_nodes(tree), id);
    return n != NULL && n->file.live != NULL && n->file.live->is_unannounced;
}

void live_file_announce(struct tree *tree, uint64_t id)
{
    struct node *n;

    NODE_TABLE_GUARD(tree_nodes(tree));
    n = node_file_by_id(tree_nodes(tree), id);
    if (n == NULL || n->file.live == NULL || !n->file.live->is_unannounced)
        return;
    n->file.live->is_unannounced = false;
    node_mark(tree_nodes(tree), n);
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

/* What was open when its volume was not known yet. */
static void count_again(struct node_table *t, struct node *file)
{
    struct live_open *open;

    if (file->file.live == NULL)
        return;
    list_for_each (open, &file->file.live->opens, link) {
        leave_volume(t, open);
        count_in_volume(t, file, open);
    }
}

void live_file_set_volume(struct tree *tree, uint64_t id, uint64_t volume)
{
    struct node_table *t = tree_nodes(tree);
    struct node *top;

    NODE_TABLE_GUARD(t);
    top = node_by_id(t, id);
    if (top == NULL)
        return;
    node_set_volume(top, volume);
    for (struct node *n = top; n != NULL; n = node_next(top, n))
        if (n->kind == NODE_FILE)
            count_again(t, n);
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

/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/snapshots.h"

/*
 * Whoever opens files and reads them not to the end makes the search for a size longer. Past these
 * the oldest are no longer searched, and their readers may be told the size of newer content.
 */
#define UNREAD_MAX 1024

struct snapshot {
    struct list unread; /* in snapshots.unread until it was read to the end */
    uint64_t node_id;
    pid_t thread;
    struct timespec changed;
    struct tree_content content;
};

void snapshots_init(struct snapshots *snapshots)
{
    (void)pthread_mutex_init(&snapshots->lock, NULL);
    list_init(&snapshots->unread);
    snapshots->n_unread = 0;
}

void snapshots_deinit(struct snapshots *snapshots)
{
    (void)pthread_mutex_destroy(&snapshots->lock);
}

/* The lock is held. */
static void forget(struct snapshots *snapshots, struct snapshot *snapshot)
{
    if (list_is_empty(&snapshot->unread))
        return;
    list_remove(&snapshot->unread);
    snapshots->n_unread--;
}

/* The lock is held. */
static void remember(struct snapshots *snapshots, struct snapshot *snapshot)
{
    if (snapshots->n_unread == UNREAD_MAX)
        forget(snapshots, list_entry(snapshots->unread.next, struct snapshot, unread));
    list_append(&snapshots->unread, &snapshot->unread);
    snapshots->n_unread++;
}

int snapshot_open(struct snapshots *snapshots, struct tree *tree, uint64_t node_id, pid_t thread,
                  struct snapshot **ret_snapshot)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return -ENOMEM;
    r = tree_read_at(tree, node_id, &s->content, &s->changed);
    if (r < 0) {
        free(s);
        return r;
    }
    list_init(&s->unread);
    s->node_id = node_id;
    s->thread = thread;
    (void)pthread_mutex_lock(&snapshots->lock);
    remember(snapshots, s);
    (void)pthread_mutex_unlock(&snapshots->lock);
    *ret_snapshot = s;
    return 0;
}

void snapshot_close(struct snapshots *snapshots, struct snapshot *snapshot)
{
    (void)pthread_mutex_lock(&snapshots->lock);
    forget(snapshots, snapshot);
    (void)pthread_mutex_unlock(&snapshots->lock);
    (void)object_unref(snapshot->content.object);
    free(snapshot);
}

size_t snapshot_read(struct snapshots *snapshots, struct snapshot *snapshot, size_t offset,
                     size_t size, const uint8_t **ret_bytes)
{
    const struct tree_content *content = &snapshot->content;
    size_t begin = size_min(offset, content->len), len = size_min(size, content->len - begin);

    if (begin + len == content->len) {
        (void)pthread_mutex_lock(&snapshots->lock);
        forget(snapshots, snapshot);
        (void)pthread_mutex_unlock(&snapshots->lock);
    }
    *ret_bytes = content->bytes + begin;
    return len;
}

/* The lock is held. Return: the newest, or NULL. */
static const struct snapshot *find(const struct snapshots *snapshots, pid_t thread,
                                   uint64_t node_id)
{
    for (const struct list *l = snapshots->unread.prev; l != &snapshots->unread; l = l->prev) {
        const struct snapshot *s = CONTAINER_OF((uintptr_t)l, struct snapshot, unread);

        if (s->node_id == node_id && s->thread == thread)
            return s;
    }
    return NULL;
}

bool snapshots_stat(struct snapshots *snapshots, pid_t thread, struct stat *stat)
{
    const struct snapshot *s;

    (void)pthread_mutex_lock(&snapshots->lock);
    s = find(snapshots, thread, stat->st_ino);
    if (s != NULL) {
        stat->st_size = (off_t)s->content.len;
        stat->st_mtim = stat->st_ctim = s->changed;
    }
    (void)pthread_mutex_unlock(&snapshots->lock);
    return s != NULL;
}

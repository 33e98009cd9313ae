/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/open_files.h"

#include "base/cleanup.h"

/*
 * A reader that opens files and does not read them to their end makes the search for a size longer.
 * Past these the oldest are no longer searched, and fstat(2) on them gives the size of the newest
 * content.
 */
#define UNREAD_MAX 1024

struct open_file {
    struct list unread; /* in open_files.unread until it was read to the end */
    uint64_t node_id;
    pid_t thread;
    bool was_read; /* to its end; under the lock */
    struct live_open open;
};

void open_files_init(struct open_files *files, struct tree *tree)
{
    files->tree = tree;
    (void)pthread_mutex_init(&files->lock, NULL);
    list_init(&files->unread);
    files->n_unread = 0;
}

void open_files_deinit(struct open_files *files)
{
    (void)pthread_mutex_destroy(&files->lock);
}

/* The lock is held. */
static void forget(struct open_files *files, struct open_file *file)
{
    if (list_is_empty(&file->unread))
        return;
    list_remove(&file->unread);
    files->n_unread--;
}

/* The lock is held. */
static void remember(struct open_files *files, struct open_file *file)
{
    if (files->n_unread == UNREAD_MAX)
        forget(files, list_entry(files->unread.next, struct open_file, unread));
    list_append(&files->unread, &file->unread);
    files->n_unread++;
}

int open_file_new(struct open_files *files, uint64_t node_id, pid_t thread,
                  struct open_file **ret_file)
{
    struct live_open open;
    struct open_file *file;
    int r = live_file_open(files->tree, node_id, &open);

    if (r < 0)
        return r;
    *ret_file = NULL;
    if (!open.is_live)
        return 0;
    file = calloc(1, sizeof(*file));
    if (file == NULL) {
        live_file_close(files->tree, node_id, &open, false);
        return -ENOMEM;
    }
    list_init(&file->unread);
    file->node_id = node_id;
    file->thread = thread;
    file->open = open;
    (void)pthread_mutex_lock(&files->lock);
    remember(files, file);
    (void)pthread_mutex_unlock(&files->lock);
    *ret_file = file;
    return 0;
}

void open_file_close(struct open_files *files, uint64_t node_id, struct open_file *file)
{
    struct live_open immutable = {.is_live = false};

    if (file == NULL) {
        live_file_close(files->tree, node_id, &immutable, false);
        return;
    }
    (void)pthread_mutex_lock(&files->lock);
    forget(files, file);
    (void)pthread_mutex_unlock(&files->lock);
    live_file_close(files->tree, node_id, &file->open, file->was_read);
    free(file);
}

/* Return: whether it was the first time. */
static bool note_read_to_end(struct open_files *files, struct open_file *file)
{
    bool is_first;

    (void)pthread_mutex_lock(&files->lock);
    is_first = !file->was_read;
    file->was_read = true;
    forget(files, file);
    (void)pthread_mutex_unlock(&files->lock);
    return is_first;
}

size_t open_file_read(struct open_files *files, struct open_file *file, size_t offset, size_t size,
                      const uint8_t **ret_bytes)
{
    const struct tree_content *content = &file->open.content;
    size_t begin = size_min(offset, content->len), len = size_min(size, content->len - begin);

    if (begin + len == content->len && note_read_to_end(files, file))
        live_file_read_to_end(files->tree, file->node_id, file->open.version);
    *ret_bytes = content->bytes + begin;
    return len;
}

/* The lock is held. Return: the newest, or NULL. */
static const struct open_file *find(const struct open_files *files, pid_t thread, uint64_t node_id)
{
    for (const struct list *l = files->unread.prev; l != &files->unread; l = l->prev) {
        const struct open_file *file = CONTAINER_OF((uintptr_t)l, struct open_file, unread);

        if (file->node_id == node_id && file->thread == thread)
            return file;
    }
    return NULL;
}

bool open_files_stat(struct open_files *files, pid_t thread, struct stat *stat)
{
    const struct open_file *file;

    if (thread == 0)
        return false;
    (void)pthread_mutex_lock(&files->lock);
    file = find(files, thread, stat->st_ino);
    if (file != NULL) {
        stat->st_size = (off_t)file->open.content.len;
        stat->st_mtim = stat->st_ctim = file->open.changed;
    }
    (void)pthread_mutex_unlock(&files->lock);
    return file != NULL;
}

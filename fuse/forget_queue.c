/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/forget_queue.h"

#include "base/cleanup.h"

struct entry {
    struct list link;
    uint64_t parent_id;
    char name[];
};

void forget_queue_init(struct forget_queue *queue)
{
    (void)pthread_mutex_init(&queue->lock, NULL);
    list_init(&queue->entries);
}

/* Return: the caller's to free(); NULL if there is none. */
static struct entry *take(struct forget_queue *queue)
{
    struct entry *entry = NULL;

    (void)pthread_mutex_lock(&queue->lock);
    if (!list_is_empty(&queue->entries)) {
        entry = list_entry(queue->entries.next, struct entry, link);
        list_remove(&entry->link);
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return entry;
}

void forget_queue_deinit(struct forget_queue *queue)
{
    struct entry *entry;

    while ((entry = take(queue)) != NULL)
        free(entry);
    (void)pthread_mutex_destroy(&queue->lock);
}

void forget_queue_add(struct forget_queue *queue, uint64_t parent_id, const char *name)
{
    size_t size = strlen(name) + 1;
    struct entry *entry = malloc(sizeof(*entry) + size);

    if (entry == NULL)
        return;
    entry->parent_id = parent_id;
    (void)memcpy(entry->name, name, size);
    (void)pthread_mutex_lock(&queue->lock);
    list_append(&queue->entries, &entry->link);
    (void)pthread_mutex_unlock(&queue->lock);
}

bool forget_queue_is_empty(struct forget_queue *queue)
{
    bool is_empty;

    (void)pthread_mutex_lock(&queue->lock);
    is_empty = list_is_empty(&queue->entries);
    (void)pthread_mutex_unlock(&queue->lock);
    return is_empty;
}

void forget_queue_run(struct forget_queue *queue, struct fuse_session *fuse)
{
    struct entry *entry;

    while ((entry = take(queue)) != NULL) {
        (void)fuse_lowlevel_notify_inval_entry(fuse, entry->parent_id, entry->name,
                                               strlen(entry->name));
        free(entry);
    }
}

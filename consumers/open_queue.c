/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     worker --> open_queue_add() --> volume's queue --> open_queue_take(), in turn --> table
 *                                          |
 *                                          +--> full: lost, counted by volume
 *
 * Volumes take turns, one open each, so that a volume that is opened without end delays those of
 * others by one open of its own, and what it loses is its own.
 *
 * A program that opens a file again and again has one open in the queue, which gets the time of the
 * last one. It keeps the ticks of the first: a thread that started later has got the number of the
 * first one's, which has ended.
 */
#include "consumers/open_queue.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"

#define CAPACITY_FIRST 16u

struct queue_volume {
    uint64_t id;
    struct list turn;          /* in open_queue.turns, while something waits */
    struct queued_open *opens; /* a ring */
    size_t capacity;
    size_t first;
    size_t n;
    uint64_t n_lost;
};

struct open_queue {
    void *by_id;       /* tsearch(3) tree of volumes */
    struct list turns; /* of volumes, the next first */
    uint64_t taken;    /* volume of the turn that has not ended; 0: none */
};

/* ---- volumes */

static int compare_ids(const void *a, const void *b)
{
    const struct queue_volume *x = a, *y = b;

    return x->id == y->id ? 0 : x->id < y->id ? -1 : 1;
}

static struct queue_volume *find_volume(const struct open_queue *q, uint64_t id)
{
    const struct queue_volume like = {.id = id};
    struct queue_volume *const *found = tfind(&like, &q->by_id, compare_ids);

    return found != NULL ? *found : NULL;
}

int open_queue_add_volume(struct open_queue *queue, uint64_t volume)
{
    struct queue_volume *v = find_volume(queue, volume);

    if (v != NULL)
        return 0;
    v = calloc(1, sizeof(*v));
    if (v == NULL)
        return -ENOMEM;
    v->id = volume;
    list_init(&v->turn);
    if (tsearch(v, &queue->by_id, compare_ids) != NULL)
        return 0;
    free(v);
    return -ENOMEM;
}

static struct queued_open *open_at(const struct queue_volume *v, size_t i)
{
    assert(i < v->capacity);
    return &v->opens[(v->first + i) % v->capacity];
}

static void volume_free(void *userdata)
{
    struct queue_volume *v = userdata;

    for (size_t i = 0; i < v->n; i++)
        object_unref(open_at(v, i)->opened.file.content.object);
    list_remove(&v->turn);
    free(v->opens);
    free(v);
}

void open_queue_remove_volume(struct open_queue *queue, uint64_t volume)
{
    struct queue_volume *v = find_volume(queue, volume);

    if (v == NULL)
        return;
    tdelete(v, &queue->by_id, compare_ids);
    volume_free(v);
}

int open_queue_new(struct open_queue **ret_queue)
{
    struct open_queue *q = calloc(1, sizeof(*q));

    if (q == NULL)
        return -ENOMEM;
    list_init(&q->turns);
    *ret_queue = q;
    return 0;
}

struct open_queue *open_queue_free(struct open_queue *queue)
{
    if (queue == NULL)
        return NULL;
    tdestroy(queue->by_id, volume_free);
    free(queue);
    return NULL;
}

/* ---- adding */

/* The newest of a thread and edition. Return: NULL: none waits. */
static struct queued_open *find_same(const struct queue_volume *v, const struct live_opened *opened)
{
    for (size_t i = v->n; i > 0; i--) {
        struct queued_open *open = open_at(v, i - 1);

        if (open->opened.thread == opened->thread &&
            open->opened.file.edition == opened->file.edition)
            return open;
    }
    return NULL;
}

/* Return: whether there is room for one more. */
static bool make_room(struct queue_volume *v)
{
    size_t capacity = v->capacity == 0 ? CAPACITY_FIRST : v->capacity * 2;
    struct queued_open *opens;

    if (v->n < v->capacity)
        return true;
    if (v->n == OPEN_QUEUE_VOLUME_MAX || (opens = calloc(capacity, sizeof(*opens))) == NULL)
        return false;
    for (size_t i = 0; i < v->n; i++)
        opens[i] = *open_at(v, i);
    free(v->opens);
    v->opens = opens;
    v->capacity = capacity;
    v->first = 0;
    return true;
}

static void append(struct queue_volume *v, const struct queued_open *open)
{
    if (!make_room(v)) {
        v->n_lost++;
        return;
    }
    v->n++;
    *open_at(v, v->n - 1) = *open;
    object_ref(open->opened.file.content.object);
}

bool open_queue_add(struct open_queue *queue, const struct queued_open *open)
{
    struct queue_volume *v = find_volume(queue, open->opened.file.volume);
    bool was_empty = list_is_empty(&queue->turns);
    struct queued_open *same;

    if (v == NULL)
        return false;
    same = find_same(v, &open->opened);
    if (same != NULL) {
        same->at = open->at;
        return false;
    }
    append(v, open);
    if (list_is_empty(&v->turn))
        list_append(&queue->turns, &v->turn);
    return was_empty;
}

/* ---- taking */

bool open_queue_take(struct open_queue *queue, struct open_queue_turn *ret_turn)
{
    struct queue_volume *v;

    assert(queue->taken == 0);
    if (list_is_empty(&queue->turns))
        return false;
    v = list_entry(queue->turns.next, struct queue_volume, turn);
    list_remove(&v->turn);
    *ret_turn =
        (struct open_queue_turn){.volume = v->id, .n_lost = v->n_lost, .has_open = v->n > 0};
    v->n_lost = 0;
    if (v->n > 0) {
        ret_turn->open = *open_at(v, 0);
        v->first = (v->first + 1) % v->capacity;
        v->n--;
    }
    if (v->n > 0)
        list_append(&queue->turns, &v->turn);
    queue->taken = v->id;
    return true;
}

void open_queue_end_turn(struct open_queue *queue)
{
    queue->taken = 0;
}

bool open_queue_is_waiting(const struct open_queue *queue, uint64_t volume)
{
    const struct queue_volume *v = find_volume(queue, volume);

    return v != NULL && (!list_is_empty(&v->turn) || queue->taken == volume);
}

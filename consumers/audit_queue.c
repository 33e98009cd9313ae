/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three limits, each with a count of its own: a volume's bucket, then the node's bucket, then the
 * bytes that wait. So a volume that is opened without end drops lines of its own, and the line that
 * says how many names it; only what the other two drop may be of any volume.
 *
 *     open --> volume's bucket --> node's bucket --> bytes --> taken by the writer
 *                   |                  |               |
 *                   +--> of the volume +------> of all +----> "dropped" lines, when they are due
 */
#include "consumers/audit_queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/list.h"

struct bucket {
    unsigned size;
    span_us span;
    unsigned n; /* lines that may be added now */
    mono_us filled_at;
};

struct known_volume {
    struct list link;
    uint64_t id;
    struct audit_volume name; /* strings are owned */
    struct bucket bucket;
    uint64_t n_unreported;
};

struct audit_queue {
    struct list volumes;
    struct bucket bucket;
    struct buf lines;
    bool has_lost; /* the kernel dropped opens, and no line says so yet */
    uint64_t n_dropped;
    uint64_t n_unreported; /* those of no volume */
    mono_us report_at;
};

/* ---- buckets */

static struct bucket bucket_make(unsigned size, span_us span, mono_us now)
{
    return (struct bucket){.size = size, .span = span, .n = size, .filled_at = now};
}

static void bucket_fill(struct bucket *b, mono_us now)
{
    span_us passed = now > b->filled_at ? now - b->filled_at : 0;

    if (passed / b->span >= b->size - b->n) {
        b->n = b->size;
        b->filled_at = now;
    } else {
        b->n += (unsigned)(passed / b->span);
        b->filled_at += passed / b->span * b->span;
    }
}

static bool bucket_take(struct bucket *b, mono_us now)
{
    bucket_fill(b, now);
    if (b->n == 0)
        return false;
    b->n--;
    return true;
}

/* ---- volumes */

static struct known_volume *find_volume(const struct audit_queue *q, uint64_t id)
{
    struct known_volume *v;

    list_for_each (v, &q->volumes, link)
        if (v->id == id)
            return v;
    return NULL;
}

static void volume_free(struct known_volume *v)
{
    list_remove(&v->link);
    free((void *)(uintptr_t)v->name.namespace);
    free((void *)(uintptr_t)v->name.pod);
    free((void *)(uintptr_t)v->name.mountpoint);
    free(v);
}

static bool copy_name(const struct audit_volume *from, struct audit_volume *to)
{
    to->namespace = strdup(from->namespace);
    to->pod = from->pod != NULL ? strdup(from->pod) : NULL;
    to->mountpoint = strdup(from->mountpoint);
    return to->namespace != NULL && to->mountpoint != NULL &&
           (from->pod == NULL || to->pod != NULL);
}

int audit_queue_add_volume(struct audit_queue *queue, uint64_t volume,
                           const struct audit_volume *name, mono_us now)
{
    struct known_volume *v = find_volume(queue, volume);

    if (v != NULL)
        return 0;
    v = calloc(1, sizeof(*v));
    if (v == NULL)
        return -ENOMEM;
    v->id = volume;
    v->bucket = bucket_make(AUDIT_VOLUME_LINES, AUDIT_VOLUME_SPAN, now);
    list_append(&queue->volumes, &v->link);
    if (copy_name(name, &v->name))
        return 0;
    volume_free(v);
    return -ENOMEM;
}

void audit_queue_remove_volume(struct audit_queue *queue, uint64_t volume)
{
    struct known_volume *v = find_volume(queue, volume);

    if (v == NULL)
        return;
    queue->n_unreported += v->n_unreported;
    volume_free(v);
}

/* ---- adding */

static void report_later(struct audit_queue *q, mono_us now)
{
    if (q->report_at == SPAN_FOREVER)
        q->report_at = now + AUDIT_REPORT_AFTER;
}

/* @of: the count that the lines belong to */
static void drop(struct audit_queue *q, uint64_t *of, uint64_t n, mono_us now)
{
    q->n_dropped += n;
    *of += n;
    report_later(q, now);
}

void audit_queue_drop(struct audit_queue *queue, uint64_t volume, uint64_t n, mono_us now)
{
    struct known_volume *v = find_volume(queue, volume);

    drop(queue, v != NULL ? &v->n_unreported : &queue->n_unreported, n, now);
}

void audit_queue_add(struct audit_queue *queue, uint64_t volume, const struct audit_open *open,
                     mono_us now)
{
    struct known_volume *v = find_volume(queue, volume);
    char line[AUDIT_LINE_SIZE];

    if (v != NULL && !bucket_take(&v->bucket, now)) {
        drop(queue, &v->n_unreported, 1, now);
        return;
    }
    if (v == NULL || !bucket_take(&queue->bucket, now) ||
        buf_add(&queue->lines, line, audit_line_open(&v->name, open, line)) < 0)
        drop(queue, &queue->n_unreported, 1, now);
}

void audit_queue_note_lost(struct audit_queue *queue, mono_us now)
{
    queue->has_lost = true;
    report_later(queue, now);
}

/* ---- taking */

/* Return: whether it fitted; then @n is 0. */
static bool add_dropped(struct audit_queue *q, const struct audit_volume *volume,
                        struct timespec wall, uint64_t *n)
{
    char line[AUDIT_LINE_SIZE];

    if (*n > 0 && buf_add(&q->lines, line, audit_line_dropped(volume, wall, *n, line)) < 0)
        return false;
    *n = 0;
    return true;
}

static bool add_lost(struct audit_queue *q, struct timespec wall)
{
    char line[AUDIT_LINE_SIZE];

    q->has_lost = q->has_lost && buf_add(&q->lines, line, audit_line_lost(wall, line)) < 0;
    return !q->has_lost;
}

/* What does not fit stays due. */
static void report(struct audit_queue *q, struct timespec wall)
{
    struct known_volume *v;
    bool fits = add_lost(q, wall) && add_dropped(q, NULL, wall, &q->n_unreported);

    list_for_each (v, &q->volumes, link)
        fits = fits && add_dropped(q, &v->name, wall, &v->n_unreported);
    if (fits)
        q->report_at = SPAN_FOREVER;
}

/* The bytes of the whole lines that fit. */
static size_t fitting(const struct buf *lines, size_t size)
{
    const char *end;

    if (lines->len <= size)
        return lines->len;
    end = memrchr(lines->data, '\n', size);
    assert(end != NULL); /* a line is shorter than @size */
    return (size_t)(end + 1 - lines->data);
}

size_t audit_queue_take(struct audit_queue *queue, mono_us now, struct timespec wall,
                        char *ret_lines, size_t size)
{
    size_t n;

    assert(size >= AUDIT_LINE_SIZE);
    if (queue->report_at != SPAN_FOREVER && queue->report_at <= now)
        report(queue, wall);
    n = fitting(&queue->lines, size);
    if (n > 0)
        memcpy(ret_lines, queue->lines.data, n);
    buf_drop_front(&queue->lines, n);
    return n;
}

mono_us audit_queue_due_at(const struct audit_queue *queue)
{
    return queue->lines.len > 0 ? 0 : queue->report_at;
}

uint64_t audit_queue_dropped(const struct audit_queue *queue)
{
    return queue->n_dropped;
}

/* ---- the object */

int audit_queue_new(mono_us now, struct audit_queue **ret_queue)
{
    struct audit_queue *q = calloc(1, sizeof(*q));

    if (q == NULL)
        return -ENOMEM;
    list_init(&q->volumes);
    q->bucket = bucket_make(AUDIT_NODE_LINES, AUDIT_NODE_SPAN, now);
    q->lines = BUF_INIT(AUDIT_QUEUE_MAX);
    q->report_at = SPAN_FOREVER;
    *ret_queue = q;
    return 0;
}

struct audit_queue *audit_queue_free(struct audit_queue *queue)
{
    if (queue == NULL)
        return NULL;
    while (!list_is_empty(&queue->volumes))
        volume_free(list_entry(queue->volumes.next, struct known_volume, link));
    buf_deinit(&queue->lines);
    free(queue);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loop and thread share two lists under one lock:
 *
 *   waiting --(thread: begins)--> current --(thread: has a result)--> done --(loop: made())-->
 * freed
 *
 * The loop owns all orders, except the current one, which the thread works on. An order that is
 * freed meanwhile is only cancelled: OpenSSL asks for that while it looks for primes, the thread
 * puts the order with the others that are done, and the loop frees it without a call.
 *
 * The thread has no capabilities and may not mount, connect or run programs, and starts no sooner
 * than a volume needs a key.
 */
#include "node/key_maker.h"

#include <stdio.h>
#include <sys/eventfd.h>

#include "base/confinement.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/thread.h"

/* OpenSSL's big numbers are on the heap. */
#define STACK_BYTES (256u << 10)

struct key_order {
    struct list link; /* in waiting or done; alone while it is current */
    struct key_maker *maker;
    char type[16];
    key_made_fn *made; /* the loop's; NULL: the caller freed the order */
    void *userdata;
    atomic_bool is_cancelled;
    struct certificate_key *key; /* when it is done; NULL: see error */
    struct error error;
};

struct key_maker {
    int done_fd; /* an eventfd, by which the thread wakes the loop */
    sd_event_source *done_source;
    bool has_thread;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct list waiting, done;
    struct key_order *current; /* NULL: the thread waits */
    bool is_stopping;
};

/* ---- the thread */

/* Return: the order to work on, which is the current one now; NULL: stop. */
static struct key_order *begin_next(struct key_maker *maker)
{
    LOCK_GUARD(&maker->lock);
    while (list_is_empty(&maker->waiting) && !maker->is_stopping)
        pthread_cond_wait(&maker->changed, &maker->lock);
    if (maker->is_stopping)
        return NULL;
    maker->current = list_entry(maker->waiting.next, struct key_order, link);
    list_remove(&maker->current->link);
    return maker->current;
}

static void finish_current(struct key_maker *maker)
{
    LOCK_GUARD(&maker->lock);
    list_append(&maker->done, &maker->current->link);
    maker->current = NULL;
    eventfd_write(maker->done_fd, 1);
}

static void *maker_main(void *userdata)
{
    struct key_maker *maker = userdata;
    struct key_order *order;

    pthread_setname_np(pthread_self(), "key-maker");
    confinement_restrict_thread(CONFINEMENT_WORKER);
    while ((order = begin_next(maker)) != NULL) {
        certificate_key_new(order->type, &order->is_cancelled, &order->key, &order->error);
        finish_current(maker);
    }
    return NULL;
}

static int start_thread(struct key_maker *maker)
{
    int r;

    if (maker->has_thread)
        return 0;
    r = thread_start(&maker->thread, STACK_BYTES, maker_main, maker);
    maker->has_thread = r == 0;
    return r;
}

/* ---- the loop */

static void order_destroy(struct key_order *order)
{
    certificate_key_free(order->key);
    list_remove(&order->link);
    free(order);
}

/* Return: the next order that is done, taken out; NULL: none. */
static struct key_order *take_done(struct key_maker *maker)
{
    struct key_order *order = NULL;

    LOCK_GUARD(&maker->lock);
    if (!list_is_empty(&maker->done)) {
        order = list_entry(maker->done.next, struct key_order, link);
        list_remove(&order->link);
    }
    return order;
}

static void deliver(struct key_order *order)
{
    struct certificate_key *key = TAKE(order->key);
    const struct error e = order->error;
    key_made_fn *made = order->made;
    void *userdata = order->userdata;

    order_destroy(order);
    if (made != NULL)
        made(userdata, key, &e);
    else
        certificate_key_free(key);
}

static int on_done(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    struct key_maker *maker = userdata;
    struct key_order *order;
    eventfd_t count;

    eventfd_read(maker->done_fd, &count);
    while ((order = take_done(maker)) != NULL)
        deliver(order);
    return 0;
}

int key_maker_order(struct key_maker *maker, const char *type, key_made_fn *made, void *userdata,
                    struct key_order **ret_order, struct error *e)
{
    struct key_order *order = calloc(1, sizeof(*order));
    int r = order != NULL ? start_thread(maker) : -ENOMEM;

    if (r < 0) {
        free(order);
        return error_set_errno(e, r, "cannot start a thread that makes a key");
    }
    list_init(&order->link);
    order->maker = maker;
    order->made = made;
    order->userdata = userdata;
    snprintf(order->type, sizeof(order->type), "%s", type);
    LOCK_GUARD(&maker->lock);
    list_append(&maker->waiting, &order->link);
    pthread_cond_signal(&maker->changed);
    *ret_order = order;
    return 0;
}

struct key_order *key_order_free(struct key_order *order)
{
    bool is_current;

    if (order == NULL)
        return NULL;
    {
        LOCK_GUARD(&order->maker->lock);
        is_current = order->maker->current == order;
        order->made = NULL;
        atomic_store(&order->is_cancelled, true);
        if (!is_current)
            list_remove(&order->link);
    }
    if (!is_current)
        order_destroy(order);
    return NULL;
}

/* ---- the object */

int key_maker_new(sd_event *event, struct key_maker **ret_maker)
{
    _cleanup_(key_maker_freep) struct key_maker *maker = calloc(1, sizeof(*maker));
    int r;

    if (maker == NULL)
        return -ENOMEM;
    pthread_mutex_init(&maker->lock, NULL);
    pthread_cond_init(&maker->changed, NULL);
    list_init(&maker->waiting);
    list_init(&maker->done);
    maker->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (maker->done_fd < 0)
        return negative_errno();
    r = sd_event_add_io(event, &maker->done_source, maker->done_fd, EPOLLIN, on_done, maker);
    if (r < 0)
        return r;
    *ret_maker = TAKE(maker);
    return 0;
}

static void stop_thread(struct key_maker *maker)
{
    {
        LOCK_GUARD(&maker->lock);
        maker->is_stopping = true;
        pthread_cond_signal(&maker->changed);
    }
    if (maker->has_thread)
        pthread_join(maker->thread, NULL);
}

struct key_maker *key_maker_free(struct key_maker *maker)
{
    struct key_order *order;

    if (maker == NULL)
        return NULL;
    stop_thread(maker);
    assert(list_is_empty(&maker->waiting) && maker->current == NULL);
    while ((order = take_done(maker)) != NULL) {
        assert(order->made == NULL);
        order_destroy(order);
    }
    sd_event_source_disable_unref(maker->done_source);
    fd_close(maker->done_fd);
    pthread_cond_destroy(&maker->changed);
    pthread_mutex_destroy(&maker->lock);
    free(maker);
    return NULL;
}

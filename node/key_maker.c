/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop owns all orders, except the one that the thread works on. An order that is freed
 * meanwhile is only cancelled: OpenSSL asks for that while it looks for primes, the thread puts the
 * order with the others that are done, and the loop frees it without a call.
 *
 * The thread has no capabilities and may not mount, connect or run programs, and starts no sooner
 * than a volume needs a key.
 */
#include "node/key_maker.h"

#include <stdio.h>

#include "base/job_thread.h"

struct key_order {
    struct job job;
    struct key_maker *maker;
    char type[16];
    key_made_fn *made; /* NULL: the caller freed the order */
    void *userdata;
    atomic_bool is_cancelled;
    struct certificate_key *key; /* when it is done; NULL: see error */
    struct error error;
};

struct key_maker {
    struct job_thread *thread;
};

static struct key_order *order_of(struct job *job)
{
    return CONTAINER_OF(job, struct key_order, job);
}

static void order_destroy(struct key_order *order)
{
    certificate_key_free(order->key);
    free(order);
}

static void make_key(struct job *job)
{
    struct key_order *order = order_of(job);

    certificate_key_new(order->type, &order->is_cancelled, &order->key, &order->error);
}

static void on_done(void *userdata, struct job *job_consumed)
{
    struct key_order *order = order_of(job_consumed);
    struct certificate_key *key = TAKE(order->key);
    const struct error e = order->error;
    key_made_fn *made = order->made;
    void *made_userdata = order->userdata;

    order_destroy(order);
    if (made != NULL)
        made(made_userdata, key, &e);
    else
        certificate_key_free(key);
}

static void free_cancelled(struct job *job_consumed)
{
    assert(order_of(job_consumed)->made == NULL);
    order_destroy(order_of(job_consumed));
}

/* OpenSSL's big numbers are on the heap. */
static const struct job_kind keys = {.name = "key-maker",
                                     .confinement = CONFINEMENT_WORKER,
                                     .run = make_key,
                                     .done = on_done,
                                     .free = free_cancelled};

int key_maker_order(struct key_maker *maker, const char *type, key_made_fn *made, void *userdata,
                    struct key_order **ret_order, struct error *e)
{
    struct key_order *order = calloc(1, sizeof(*order));
    int r = -ENOMEM;

    if (order != NULL) {
        order->maker = maker;
        order->made = made;
        order->userdata = userdata;
        snprintf(order->type, sizeof(order->type), "%s", type);
        r = job_thread_add(maker->thread, &order->job);
    }
    if (r < 0) {
        free(order);
        return error_set_errno(e, r, "cannot start a thread that makes a key");
    }
    *ret_order = order;
    return 0;
}

struct key_order *key_order_free(struct key_order *order)
{
    if (order == NULL)
        return NULL;
    order->made = NULL;
    atomic_store(&order->is_cancelled, true);
    if (job_thread_take_back(order->maker->thread, &order->job))
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
    r = job_thread_new(event, &keys, maker, &maker->thread);
    if (r < 0)
        return r;
    *ret_maker = TAKE(maker);
    return 0;
}

struct key_maker *key_maker_free(struct key_maker *maker)
{
    if (maker == NULL)
        return NULL;
    job_thread_free(maker->thread);
    free(maker);
    return NULL;
}

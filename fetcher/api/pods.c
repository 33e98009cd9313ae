/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/pods.h"

void pods_init(struct pods *pods)
{
    *pods = (struct pods){0};
    list_init(&pods->list);
}

static void drop(struct pods *pods, struct pod *pod)
{
    assert(pods->n > 0 && pods->n_bytes >= pod->size);
    pods->n--;
    pods->n_bytes -= pod->size;
    pod_free(pod);
}

void pods_deinit(struct pods *pods)
{
    struct pod *pod, *next;

    list_for_each_safe (pod, next, &pods->list, link)
        drop(pods, pod);
}

static struct pod *find(const struct pods *pods, const char *uid)
{
    struct pod *pod;

    list_for_each (pod, &pods->list, link)
        if (streq(pod->uid, uid))
            return pod;
    return NULL;
}

static bool has_room(const struct pods *pods, const struct pod *pod)
{
    return pods->n < PODS_MAX && pod->size <= PODS_MAX_BYTES - pods->n_bytes;
}

/* Drop the least recent pods, those that came in an earlier round, as far as @pod needs it. */
static void make_room(struct pods *pods, const struct pod *pod)
{
    while (!has_room(pods, pod) && !list_is_empty(&pods->list)) {
        struct pod *oldest = list_entry(pods->list.next, struct pod, link);

        if (oldest->round == pods->round)
            return;
        drop(pods, oldest);
    }
}

const struct pod *pods_put(struct pods *pods, struct pod *pod_consumed)
{
    pods_remove(pods, pod_consumed->uid);
    make_room(pods, pod_consumed);
    if (!has_room(pods, pod_consumed)) {
        pod_free(pod_consumed);
        return NULL;
    }
    pod_consumed->round = pods->round;
    list_append(&pods->list, &pod_consumed->link);
    pods->n++;
    pods->n_bytes += pod_consumed->size;
    return pod_consumed;
}

void pods_remove(struct pods *pods, const char *uid)
{
    struct pod *pod = find(pods, uid);

    if (pod != NULL)
        drop(pods, pod);
}

const struct pod *pods_find(const struct pods *pods, const char *namespace, const char *name,
                            const char *uid)
{
    const struct pod *pod = find(pods, uid);

    return pod != NULL && pod_is(pod, namespace, name, uid) ? pod : NULL;
}

void pods_begin_round(struct pods *pods)
{
    pods->round++;
}

void pods_end_round(struct pods *pods)
{
    struct pod *pod, *next;

    list_for_each_safe (pod, next, &pods->list, link)
        if (pod->round != pods->round)
            drop(pods, pod);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One watch of all pods of a node. What watch.c does in general is there. The order that matters:
 *
 *  - It begins without a resourceVersion: the server then sends all pods as ADDED events, one after
 *    the other, and goes on with changes. Without a list only one pod is in memory as JSON at a
 *    time, and servers of any version understand the request.
 *  - The server does not mark the end of these first events. Their resourceVersions are the pods'
 *    own, in no order, so a watch cannot go on from any of them. It can from the first bookmark,
 *    which comes after them, within a minute. From then on there is a cursor.
 *  - A watch that ended with a cursor goes on there, one without begins again. One whose cursor the
 *    server does not remember (410) begins again, which is no failure unless it happens twice.
 *  - A pod that is too long or invalid is skipped and costs nothing else. The event may have been
 *    its DELETED, so the next watch begins without a cursor.
 *  - A watch without a cursor is a new round: pods that have not come again until its first
 *    bookmark, or until it ended well, are gone.
 *
 * A pod that is known stays true, as volumes and mounts of a pod never change; a failure of the
 * watch removes no pod.
 *
 * Source: kubelet-semantics.md J3 to J6, J10, J11, Y27.
 */
#include "fetcher/api/pod_watch.h"

#include "base/log.h"
#include "fetcher/api/protocol.h"

/* An event is a pod and a few words around it. */
#define EVENT_MAX_BYTES (POD_JSON_MAX_BYTES + 1024)
/*
 * A node without the right to read pods gets it by an operator's action, and each try is a line in
 * the server's audit log. Rights that are granted while a node is set up come sooner.
 */
#define REFUSALS_SOON   5u
#define REFUSED_QUIET   SPAN_SEC(300)

struct pod_watch {
    struct watch watch;
    struct pod_watch_options options;
    const struct pod_watch_io *io;
    enum pod_watch_health health;
    bool is_in_round;   /* pods come again, and not all may have come */
    bool is_incomplete; /* an event was skipped */
};

static struct pod_watch *pod_watch_of(const struct watch *watch)
{
    return CONTAINER_OF((struct watch *)(uintptr_t)watch, struct pod_watch, watch);
}

static const char *watch_name(const struct watch *watch, char buf[static WATCH_NAME_SIZE])
{
    return "pods";
}

static void report(struct pod_watch *w, enum pod_watch_health health, const struct error *e)
{
    static const struct error none;

    w->health = health;
    w->io->on_health(w->watch.userdata, health, e != NULL ? e : &none);
}

static void on_live(struct watch *watch)
{
    struct pod_watch *w = pod_watch_of(watch);

    watch->is_distrusted = false;
    if (w->health != POD_WATCH_LIVE)
        report(w, POD_WATCH_LIVE, NULL);
}

static void on_failure(struct watch *watch, const struct error *e)
{
    report(pod_watch_of(watch), POD_WATCH_FAILING, e);
}

static int on_begin(struct watch *watch, struct buf *path)
{
    struct pod_watch *w = pod_watch_of(watch);
    int r;

    if (w->is_incomplete)
        watch_drop_cursor(watch);
    w->is_incomplete = false;
    if (watch->cursor == NULL) {
        pods_begin_round(w->options.pods);
        w->is_in_round = true;
    }
    r = buf_add_text(path, "/api/v1/pods?fieldSelector=spec.nodeName%3D");
    return r >= 0 ? protocol_add_escaped(path, w->options.node_name) : r;
}

static void refused(struct pod_watch *w, const struct error *e)
{
    struct watch *watch = &w->watch;
    bool is_refused = watch->status == 401 || watch->status == 403;

    watch->n_refused = is_refused ? watch->n_refused + 1 : 0;
    if (watch->status == 401)
        watch->io->reject_credentials(watch->userdata, NULL);
    if (watch->status != 429) /* the server only defers the watch (J10) */
        watch_drop_cursor(watch);
    watch_back_off(watch, WATCH_OPENING,
                   watch->n_refused > REFUSALS_SOON ? REFUSED_QUIET : watch->retry_after);
    report(w, is_refused ? POD_WATCH_REFUSED : POD_WATCH_FAILING, e);
}

/* A complete response other than 200; the state is OPENING. */
static void on_complete(struct watch *watch)
{
    static const char allow[] = ": allow this identity to get, list and watch pods";
    struct error e = ERROR_INIT;

    watch_explain_refusal(watch, allow, &e);
    if (watch->status == 410)
        watch_expire(watch, &e);
    else
        refused(pod_watch_of(watch), &e);
}

/* ---- events */

/* All pods of this round have come. */
static void end_round(struct pod_watch *w)
{
    if (w->is_in_round)
        pods_end_round(w->options.pods);
    w->is_in_round = false;
}

static void on_end(struct watch *watch)
{
    end_round(pod_watch_of(watch));
}

/* Only a server whose data went back in time has a bookmark before the cursor (J5). */
static void on_bookmark(struct pod_watch *w, const char *resource_version)
{
    struct watch *watch = &w->watch;
    struct error e = ERROR_INIT;

    if (watch->cursor != NULL && protocol_is_older(resource_version, watch->cursor)) {
        error_set(&e, -ESTALE, "the API server's data went back from version %.64s to %.64s",
                  watch->cursor, resource_version);
        watch_restart(watch, &e);
        return;
    }
    end_round(w);
    watch_set_cursor(watch, resource_version);
}

/* The next watch is a new round, which brings what was skipped. */
static void skip_event(struct pod_watch *w, const char *reason)
{
    log_trace(LOG_TRACE_REFLECTOR, "event of a pod skipped", "reason", reason);
    w->is_incomplete = true;
}

static void on_invalid_event(struct watch *watch, const struct error *e)
{
    skip_event(pod_watch_of(watch), e->text);
}

static void put_pod(struct pod_watch *w, const cJSON *json)
{
    struct pod *pod = NULL;
    const struct pod *known;
    int r = pod_decode(json, w->options.driver_name, &pod);

    if (r == POD_WITHOUT_VOLUMES) {
        pods_remove(w->options.pods, pod_uid_of(json));
    } else if (r < 0) {
        skip_event(w, r == -ENOMEM ? "no memory" : "invalid pod");
    } else {
        known = pods_put(w->options.pods, pod);
        if (known != NULL)
            w->io->on_pod(w->watch.userdata, known);
    }
}

static void on_event(struct watch *watch, const char *type, const cJSON *object,
                     mono_us received_at)
{
    struct pod_watch *w = pod_watch_of(watch);
    const char *uid = pod_uid_of(object);

    if (streq(type, "BOOKMARK")) {
        on_bookmark(w, protocol_resource_version(object));
    } else {
        if (streq(type, "DELETED") && uid != NULL)
            pods_remove(w->options.pods, uid);
        else if (streq(type, "ADDED") || streq(type, "MODIFIED"))
            put_pod(w, object);
        else
            skip_event(w, "unknown type");
        if (watch->cursor != NULL)
            watch_set_cursor(watch, protocol_resource_version(object));
    }
    if (watch->state == WATCH_WATCHING)
        on_live(watch);
}

/* ---- the object */

static void free_stopped(struct watch *watch)
{
    free(pod_watch_of(watch));
}

int pod_watch_new(const struct pod_watch_options *options, const struct pod_watch_io *io,
                  void *userdata, struct pod_watch **ret_watch)
{
    static const struct watch_ops ops = {
        .resources = " of pods",
        .begin = on_begin,
        .on_complete = on_complete,
        .on_event = on_event,
        .on_invalid_event = on_invalid_event,
        .on_end = on_end,
        .on_live = on_live,
        .on_failure = on_failure,
        .free = free_stopped,
        .name = watch_name,
    };
    struct pod_watch *w = calloc(1, sizeof(*w));

    if (w == NULL)
        return -ENOMEM;
    w->options = *options;
    w->io = io;
    watch_init(&w->watch, &ops, EVENT_MAX_BYTES, &io->watch, userdata);
    w->watch.stream.skips_long = true;
    *ret_watch = w;
    return 0;
}

struct pod_watch *pod_watch_free(struct pod_watch *watch)
{
    if (watch != NULL)
        watch_stop(&watch->watch);
    return NULL;
}

struct watch *pod_watch_watch(struct pod_watch *watch)
{
    return &watch->watch;
}

enum pod_watch_health pod_watch_health(const struct pod_watch *watch)
{
    return watch->health;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     connected --hang-up--> lost --timer: fd_store_reconnect()--> connected
 *                             ^ |
 *                             +-+ no keeper listens, or it serves another process
 *
 * It begins in either state. A connected watch has an I/O source and no timer, a lost one the
 * reverse.
 */
#include "handover/keeper_watch.h"

#include "base/log.h"

struct keeper_watch {
    sd_event *event; /* borrowed */
    struct fd_store *store;
    keeper_watch_fn *on_reconnected;
    void *userdata;
    sd_event_source *hang_up;
    sd_event_source *timer;
};

static int watch_connection(struct keeper_watch *w);

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct keeper_watch *w = userdata;
    struct error e = ERROR_INIT;

    if (fd_store_reconnect(w->store, &e) < 0) {
        log_debug("no keeper yet", "reason", e.text);
        sd_event_source_set_time_relative(source, KEEPER_WATCH_INTERVAL);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    }
    w->on_reconnected(w->userdata);
    log_info("connected to a new keeper");
    w->timer = sd_event_source_disable_unref(w->timer);
    return watch_connection(w);
}

static int wait_for_keeper(struct keeper_watch *w)
{
    return sd_event_add_time_relative(w->event, &w->timer, CLOCK_MONOTONIC, 0, 0, on_timer, w);
}

static int on_hang_up(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct keeper_watch *w = userdata;

    log_warn("the keeper has ended; until the next one runs, mounts end with this process");
    w->hang_up = sd_event_source_disable_unref(w->hang_up);
    return wait_for_keeper(w);
}

/* Hang-ups are reported without being asked for. */
static int watch_connection(struct keeper_watch *w)
{
    return sd_event_add_io(w->event, &w->hang_up, fd_store_peek_fd(w->store), 0, on_hang_up, w);
}

static int begin(struct keeper_watch *w)
{
    if (fd_store_peek_fd(w->store) >= 0)
        return watch_connection(w);
    log_warn("no keeper runs yet; until it does, mounts end with this process");
    return wait_for_keeper(w);
}

int keeper_watch_new(sd_event *event, struct fd_store *store, keeper_watch_fn *on_reconnected,
                     void *userdata, struct keeper_watch **ret_watch)
{
    _cleanup_(keeper_watch_freep) struct keeper_watch *w = NULL;
    int r;

    if (!fd_store_is_behind_socket(store)) {
        *ret_watch = NULL;
        return 0;
    }
    w = calloc(1, sizeof(*w));
    if (w == NULL)
        return -ENOMEM;
    w->event = event;
    w->store = store;
    w->on_reconnected = on_reconnected;
    w->userdata = userdata;
    r = begin(w);
    if (r < 0)
        return r;
    *ret_watch = TAKE(w);
    return 0;
}

struct keeper_watch *keeper_watch_free(struct keeper_watch *watch)
{
    if (watch == NULL)
        return NULL;
    sd_event_source_disable_unref(watch->hang_up);
    sd_event_source_disable_unref(watch->timer);
    free(watch);
    return NULL;
}

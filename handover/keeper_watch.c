/* SPDX-License-Identifier: Apache-2.0 */
/*
 *                   fd_store_reconnect()
 *     connected          by timer             response
 *         +--hang-up--> lost --------> waiting --------> connected
 *                       ^  |              |
 *                       +--+ no keeper    | hang-up
 *                       +-----------------+
 *
 * It begins as connected or lost. A lost watch has its timer on, the others have an I/O source.
 */
#include "handover/keeper_watch.h"

#include "base/log.h"

struct keeper_watch {
    sd_event *event; /* borrowed */
    struct fd_store *store;
    keeper_watch_fn *on_reconnected;
    void *userdata;
    sd_event_source *io; /* of the connection */
    sd_event_source *timer;
};

static int watch_connection(struct keeper_watch *w);
static int try_to_connect(struct keeper_watch *w);

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    return try_to_connect(userdata);
}

static int wait_for_keeper(struct keeper_watch *w, span_us delay)
{
    int r;

    if (w->timer == NULL)
        return sd_event_add_time_relative(w->event, &w->timer, CLOCK_MONOTONIC, delay, 0, on_timer,
                                          w);
    r = sd_event_source_set_time_relative(w->timer, delay);
    return r < 0 ? r : sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

static int on_response(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    return try_to_connect(userdata);
}

static int try_to_connect(struct keeper_watch *w)
{
    struct error e = ERROR_INIT;
    int fd, r;

    w->io = sd_event_source_disable_unref(w->io); /* the call may close its descriptor */
    r = fd_store_reconnect(w->store, &fd, &e);
    if (r == FD_STORE_WAITS && sd_event_add_io(w->event, &w->io, fd, EPOLLIN, on_response, w) >= 0)
        return 0;
    if (r != 0) {
        log_debug("no keeper yet", "reason", e.text);
        return wait_for_keeper(w, KEEPER_WATCH_INTERVAL);
    }
    w->on_reconnected(w->userdata);
    log_info("connected to a new keeper");
    return watch_connection(w);
}

static int on_hang_up(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct keeper_watch *w = userdata;

    log_warn("the keeper has ended; until the next one runs, mounts end with this process");
    w->io = sd_event_source_disable_unref(w->io);
    return wait_for_keeper(w, 0);
}

/* Hang-ups are reported without being asked for. */
static int watch_connection(struct keeper_watch *w)
{
    return sd_event_add_io(w->event, &w->io, fd_store_peek_fd(w->store), 0, on_hang_up, w);
}

static int begin(struct keeper_watch *w)
{
    if (fd_store_peek_fd(w->store) >= 0)
        return watch_connection(w);
    log_warn("no keeper runs yet; until it does, mounts end with this process");
    return wait_for_keeper(w, 0);
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
    sd_event_source_disable_unref(watch->io);
    sd_event_source_disable_unref(watch->timer);
    free(watch);
    return NULL;
}

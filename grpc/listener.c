/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A listener promises that clients find its socket as long as it lives. Two things can prevent it:
 *
 *  - The process has no descriptors left. New connections wait in the kernel's queue then, and
 *    accepting is suspended for ACCEPT_PAUSE: the loop would spin otherwise.
 *  - The socket's file is removed. A node that leaves its cluster and joins another gets the
 *    kubelet's directories wiped, while the daemon keeps running. So the directory is watched, and
 *    a file that is gone is created again, first after RENEW_FIRST, then in growing intervals, as
 *    its directory may be removed next. If another process listens on the path by now, the path is
 *    left to it; the attempts go on in case it ends.
 *
 * A socket that is kept outlives the process: the next one takes it over with the clients in its
 * queue, if the path still leads to it.
 */
#include "grpc/listener.h"

#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "grpc/unix_socket.h"

/* The kernel refuses clients when the queue is full: as many as a server accepts (call.c). */
#define BACKLOG        1024
#define ACCEPTS_MAX    64 /* in one turn of the loop, which serves others as well */
#define ACCEPT_PAUSE   SPAN_MS(200)
#define RENEW_FIRST    SPAN_MS(200)
#define RENEW_MAX      SPAN_SEC(30)
#define TIMER_ACCURACY SPAN_MS(10)

#define WATCH_MASK                                                                                 \
    (IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

struct listener {
    sd_event *event;
    const char *path;
    const struct kept_socket *keep; /* NULL: the socket ends with the process */
    listener_connected_fn *connected;
    void *userdata;
    struct unix_socket socket;
    bool has_taken_over;
    sd_event_source *io;
    sd_event_source *watch; /* of the directory; NULL if that is missing */
    sd_event_source *pause; /* on while accepting is suspended */
    sd_event_source *renew; /* on while the file is missing */
    span_us renew_wait;     /* before the next attempt but one */
};

static int start_timer(sd_event_source *timer, span_us span)
{
    int r = sd_event_source_set_time_relative(timer, span);

    return r < 0 ? r : sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

/* ---- accepting */

static int on_pause_over(sd_event_source *source, uint64_t now, void *userdata)
{
    struct listener *listener = userdata;

    return sd_event_source_set_enabled(listener->io, SD_EVENT_ON);
}

static int on_connections(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct listener *listener = userdata;
    int client_fd = -1;

    for (unsigned n = 0; n < ACCEPTS_MAX; n++) {
        client_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client_fd < 0)
            break;
        listener->connected(listener->userdata, client_fd);
    }
    if (client_fd >= 0)
        return 0;
    if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS)
        return 0;
    log_debug("no descriptor for a connection, pausing", "socket", listener->path);
    return start_timer(listener->pause, ACCEPT_PAUSE) < 0
               ? 0
               : sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

/* ---- the file */

static int on_directory(sd_event_source *source, const struct inotify_event *event, void *userdata)
{
    struct listener *listener = userdata;
    int is_on = SD_EVENT_OFF;

    if (unix_socket_is_in_place(&listener->socket))
        return 0;
    if (sd_event_source_get_enabled(listener->renew, &is_on) < 0 || is_on != SD_EVENT_OFF)
        return 0;
    log_debug("socket removed, creating it again", "socket", listener->path);
    listener->renew_wait = RENEW_FIRST;
    return start_timer(listener->renew, RENEW_FIRST);
}

static int watch_directory(struct listener *listener)
{
    char directory[PATH_MAX];
    const char *name = strrchr(listener->path, '/');

    listener->watch = sd_event_source_disable_unref(listener->watch);
    snprintf(directory, sizeof(directory), "%.*s", (int)(name - listener->path + 1),
             listener->path);
    return sd_event_add_inotify(listener->event, &listener->watch, directory, WATCH_MASK,
                                on_directory, listener);
}

/* Serve a socket in place of the last one, if any. @s: the listener's from here on */
static int serve(struct listener *listener, const struct unix_socket *s, struct error *e)
{
    int r;

    listener->io = sd_event_source_disable_unref(listener->io);
    unix_socket_close(&listener->socket);
    listener->socket = *s;
    r = sd_event_add_io(listener->event, &listener->io, s->fd, EPOLLIN, on_connections, listener);
    if (r >= 0)
        r = watch_directory(listener);
    return r < 0 ? error_set_errno(e, r, "cannot serve %s", listener->path) : 0;
}

/* Listen on a new file. */
static int listen_again(struct listener *listener, struct error *e)
{
    struct unix_socket s = {.fd = -1};
    int r = unix_socket_listen(listener->path, BACKLOG, &s, e);

    if (r < 0)
        return r;
    listener->has_taken_over = false;
    if (listener->keep != NULL && listener->keep->is_on_request)
        kept_socket_remove(listener->keep);
    else
        unix_socket_keep(&s, listener->keep);
    return serve(listener, &s, e);
}

static int take_over_or_listen(struct listener *listener, struct error *e)
{
    struct unix_socket s = {.fd = -1};

    if (unix_socket_take_over(listener->keep, listener->path, BACKLOG, &s) < 0)
        return listen_again(listener, e);
    listener->has_taken_over = true;
    return serve(listener, &s, e);
}

static int on_renew(sd_event_source *source, uint64_t now, void *userdata)
{
    struct listener *listener = userdata;
    struct error e = ERROR_INIT;

    if (unix_socket_is_in_place(&listener->socket) || listen_again(listener, &e) == 0)
        return 0;
    log_debug("cannot create a removed socket again", "error", e.text);
    listener->renew_wait =
        listener->renew_wait < RENEW_MAX / 2 ? listener->renew_wait * 2 : RENEW_MAX;
    return start_timer(source, listener->renew_wait);
}

/* ---- the listener */

static int create_timer(struct listener *listener, sd_event_time_handler_t handler,
                        sd_event_source **ret_timer)
{
    int r = sd_event_add_time_relative(listener->event, ret_timer, CLOCK_MONOTONIC, 0,
                                       TIMER_ACCURACY, handler, listener);

    return r < 0 ? r : sd_event_source_set_enabled(*ret_timer, SD_EVENT_OFF);
}

int listener_new(sd_event *event, const char *path, const struct kept_socket *keep,
                 listener_connected_fn *connected, void *userdata, struct listener **ret_listener,
                 struct error *e)
{
    _cleanup_(listener_freep) struct listener *listener = calloc(1, sizeof(*listener));
    int r = -ENOMEM;

    if (listener != NULL) {
        *listener = (struct listener){.event = event,
                                      .path = path,
                                      .keep = keep,
                                      .connected = connected,
                                      .userdata = userdata,
                                      .socket.fd = -1};
        r = create_timer(listener, on_pause_over, &listener->pause);
    }
    if (r >= 0)
        r = create_timer(listener, on_renew, &listener->renew);
    if (r < 0)
        return error_set_errno(e, r, "cannot serve %s", path);
    r = take_over_or_listen(listener, e);
    if (r == 0)
        *ret_listener = TAKE(listener);
    return r;
}

static void stop_listening(struct listener *listener)
{
    if (kept_socket_is_left(listener->keep)) {
        unix_socket_leave(&listener->socket);
        return;
    }
    unix_socket_close(&listener->socket);
    kept_socket_remove(listener->keep);
}

struct listener *listener_free(struct listener *listener)
{
    if (listener == NULL)
        return NULL;
    sd_event_source_disable_unref(listener->io);
    sd_event_source_disable_unref(listener->watch);
    sd_event_source_disable_unref(listener->pause);
    sd_event_source_disable_unref(listener->renew);
    stop_listening(listener);
    free(listener);
    return NULL;
}

bool listener_has_taken_over(const struct listener *listener)
{
    return listener->has_taken_over;
}

void listener_keep(const struct listener *listener)
{
    unix_socket_keep(&listener->socket, listener->keep);
}

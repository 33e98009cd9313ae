/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     client: connect --> line --> shutdown of its side        --> read until the end
 *     server:             read until the line is whole --> handle --> send --> close
 *
 * Per client one buffer is bounded for each direction, and the loop waits for neither.
 */
#include "monitor/control_socket.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/log.h"
#include "monitor/local_socket.h"
#include "monitor/status_socket.h"

#define CLIENTS_MAX 4 /* administrators of one host at a time */

struct control_socket {
    struct sockaddr_un address;
    sd_event_source *listening;
    control_handle_fn *handle;
    void *userdata;
    struct list clients;
    size_t n_clients;
};

struct client {
    struct list link;
    struct control_socket *socket;
    sd_event_source *source;
    struct buf request;
    struct buf answer; /* empty while the request is read */
};

static void client_free(struct client *c)
{
    sd_event_source_disable_unref(c->source);
    buf_deinit(&c->request);
    buf_deinit(&c->answer);
    list_remove(&c->link);
    c->socket->n_clients--;
    free(c);
}

/* ---- a request */

/* Return: 0; -errno: the client gets nothing. */
static int print_answer(struct client *c, const cJSON *answer)
{
    char *text = cJSON_PrintUnformatted(answer);
    int r = text != NULL ? buf_addf(&c->answer, "%s\n", text) : -ENOMEM;

    cJSON_free(text);
    return r;
}

static int handle_request(struct client *c)
{
    _cleanup_(cJSON_Deletep) cJSON *request = NULL, *answer = cJSON_CreateObject();
    struct error e = ERROR_INIT;
    int r = json_parse(c->request.data, c->request.len - 1, &request, &e);

    if (r == 0)
        r = c->socket->handle(c->socket->userdata, request, answer, &e);
    if (r < 0) {
        cJSON_Delete(answer);
        answer = cJSON_CreateObject();
        if (json_add_text(answer, "error", e.text) < 0)
            return -ENOMEM;
    }
    return print_answer(c, answer);
}

/* Return: 0; -errno: the connection ends. */
static int read_request(struct client *c, int fd)
{
    char piece[CONTROL_REQUEST_MAX];
    ssize_t n = recv(fd, piece, sizeof(piece), 0);
    int r;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : negative_errno();
    if (n == 0)
        return -EPIPE;
    r = buf_add(&c->request, piece, (size_t)n);
    if (r < 0 || c->request.data[c->request.len - 1] != '\n')
        return r;
    r = handle_request(c);
    return r < 0 ? r : sd_event_source_set_io_events(c->source, EPOLLOUT);
}

/* Return: 0; -errno, also at the end: the connection ends. */
static int send_answer(struct client *c, int fd)
{
    ssize_t n = send(fd, c->answer.data, c->answer.len, MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : negative_errno();
    buf_drop_front(&c->answer, (size_t)n);
    return c->answer.len > 0 ? 0 : -EPIPE;
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct client *c = userdata;
    int r = c->answer.len > 0 ? send_answer(c, fd) : read_request(c, fd);

    if (r < 0)
        client_free(c);
    return 0;
}

/* ---- the server */

static int client_new(struct control_socket *s, int fd)
{
    struct client *c;
    int r;

    if (s->n_clients == CLIENTS_MAX)
        return -EBUSY;
    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return -ENOMEM;
    c->socket = s;
    c->request = BUF_INIT(CONTROL_REQUEST_MAX);
    c->answer = BUF_INIT(CONTROL_ANSWER_MAX);
    list_append(&s->clients, &c->link);
    s->n_clients++;
    r = sd_event_add_io(sd_event_source_get_event(s->listening), &c->source, fd, EPOLLIN, on_client,
                        c);
    if (r < 0)
        client_free(c);
    else
        sd_event_source_set_io_fd_own(c->source, true);
    return r;
}

static int on_connection(sd_event_source *source, int listening_fd, uint32_t revents,
                         void *userdata)
{
    int fd = accept4(listening_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int r = fd < 0 ? negative_errno() : client_new(userdata, fd);

    if (r < 0) {
        log_debug("cannot take an order", "error", strerror(-r));
        fd_close(fd);
    }
    return 0;
}

static int start(struct control_socket *s, sd_event *event)
{
    int fd = -1, r = local_socket_listen(&s->address, CLIENTS_MAX, &fd);

    if (r < 0)
        return r;
    r = sd_event_add_io(event, &s->listening, fd, EPOLLIN, on_connection, s);
    if (r < 0)
        fd_close(fd);
    else
        sd_event_source_set_io_fd_own(s->listening, true);
    return r < 0 ? r : 0;
}

int control_socket_new(sd_event *event, const char *path, control_handle_fn *handle, void *userdata,
                       struct control_socket **ret_socket, struct error *e)
{
    struct control_socket *s;
    struct sockaddr_un address;
    int r = local_socket_address(path, &address, e);

    if (r < 0)
        return r;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return error_set_errno(e, -ENOMEM, "cannot create the control socket");
    s->address = address;
    s->handle = handle;
    s->userdata = userdata;
    list_init(&s->clients);
    r = start(s, event);
    if (r < 0) {
        free(s);
        return error_set_errno(e, r, "cannot create the control socket %.200s", path);
    }
    *ret_socket = s;
    return 0;
}

struct control_socket *control_socket_free(struct control_socket *socket)
{
    struct client *c, *tmp;

    if (socket == NULL)
        return NULL;
    list_for_each_safe (c, tmp, &socket->clients, link)
        client_free(c);
    sd_event_source_disable_unref(socket->listening);
    unlink(socket->address.sun_path);
    free(socket);
    return NULL;
}

/* ---- the client */

static int send_request(int fd, const cJSON *request)
{
    _cleanup_(buf_deinit) struct buf line = BUF_INIT(CONTROL_REQUEST_MAX);
    char *text = cJSON_PrintUnformatted(request);
    int r = text != NULL ? buf_addf(&line, "%s\n", text) : -ENOMEM;

    cJSON_free(text);
    if (r < 0)
        return r;
    return send(fd, line.data, line.len, MSG_NOSIGNAL) == (ssize_t)line.len ? 0 : -EIO;
}

int control_request(const char *path, const cJSON *request, unsigned timeout_ms, cJSON **ret_answer,
                    struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(CONTROL_ANSWER_MAX + 1);
    _cleanup_(cJSON_Deletep) cJSON *answer = NULL;
    _cleanup_(fd_closep) int fd = -1;
    int r = status_socket_connect_path(path, timeout_ms, &fd, e);

    if (r < 0)
        return r;
    r = send_request(fd, request);
    if (r == 0)
        r = buf_read_fd(&text, fd);
    if (r < 0)
        return error_set_errno(e, r == -EAGAIN ? -ETIMEDOUT : r,
                               "no answer of the daemon at %.200s", path);
    r = json_parse(buf_text(&text), text.len, &answer, e);
    if (r < 0)
        return error_prefix(e, r, "invalid answer of the daemon at %.200s", path);
    if (json_text(answer, "error") != NULL)
        return error_set(e, -EREMOTEIO, "%.500s", json_text(answer, "error"));
    *ret_answer = TAKE(answer);
    return 0;
}

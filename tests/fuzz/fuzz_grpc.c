/* SPDX-License-Identifier: Apache-2.0 */
/* A connection to the CSI socket: for any input, every call is answered or cancelled once, and
 * nothing that was received is still counted when the connection is gone. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "csi/publish_request.h"
#include "grpc/connection.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct server {
    struct grpc_common common;
    struct grpc_connection *connection;
    struct grpc_call *held;
    unsigned n_open;
};

static void publish(void *userdata, struct grpc_call *call, const uint8_t *message, size_t len)
{
    struct server *s = userdata;
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;
    struct publish_request *request =
        publish_request_new(message, len, "csi.secretfs.io", &code, &e);

    s->n_open++;
    if (request == NULL) {
        assert(code != GRPC_OK && e.text[0] != '\0');
        grpc_call_fail(call, code, e.text);
    } else {
        grpc_call_reply(call, (const uint8_t *)request->view.volume_id,
                        strlen(request->view.volume_id));
    }
    publish_request_free(request);
}

static void on_cancelled(void *userdata)
{
    struct server *s = userdata;

    assert(s->held != NULL);
    s->held = NULL;
}

/* One call is kept, and answered when the next one comes. */
static void unpublish(void *userdata, struct grpc_call *call, const uint8_t *message, size_t len)
{
    struct server *s = userdata;
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;
    Csi__UnpublishRequest *request = unpublish_request_new(message, len, &code, &e);

    s->n_open++;
    if (s->held != NULL)
        grpc_call_reply(s->held, NULL, 0);
    s->held = call;
    grpc_call_set_on_cancel(call, on_cancelled, s);
    if (request != NULL)
        message_free(&request->base);
}

static const struct grpc_method methods[] = {
    {"/csi.v1.Node/NodePublishVolume", "NodePublishVolume", publish},
    {"/csi.v1.Node/NodeUnpublishVolume", "NodeUnpublishVolume", unpublish},
};

static void on_answered(void *userdata, const char *method, enum grpc_code code, span_us took)
{
    struct server *s = userdata;

    assert(grpc_code_name(code) != NULL && method != NULL);
    if (s->n_open > 0)
        s->n_open--;
}

static void on_over(void *userdata, struct grpc_connection *connection)
{
    struct server *s = userdata;

    s->connection = grpc_connection_free(connection);
}

static void run(sd_event *event, const struct server *s, uint64_t wait)
{
    while (s->connection != NULL)
        if (sd_event_run(event, wait) <= 0)
            return;
}

static void feed(sd_event *event, const struct server *s, int fd, const uint8_t *data, size_t size)
{
    char answers[4096];

    while (size > 0 && s->connection != NULL) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

        if (n > 0) {
            data += n;
            size -= (size_t)n;
        }
        run(event, s, 0);
        while (recv(fd, answers, sizeof(answers), 0) > 0)
            continue;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sd_event *event; /* one for all: it is expensive to make */
    struct server s = {.connection = NULL};
    int fds[2];

    if ((event == NULL && sd_event_new(&event) < 0) ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        abort();
    s.common = (struct grpc_common){
        .event = event,
        .methods = methods,
        .n_methods = ELEMENTS_OF(methods),
        .userdata = &s,
        .answered = on_answered,
        .limits = grpc_limits_default,
    };
    if (grpc_connection_new(&s.common, fds[1], on_over, &s, &s.connection) < 0)
        abort();
    feed(event, &s, fds[0], data, size);
    close(fds[0]);
    run(event, &s, UINT64_MAX);
    assert(s.connection == NULL && s.held == NULL && s.n_open == 0);
    assert(s.common.received_bytes == 0);
    return 0;
}

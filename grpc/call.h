/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One unary call: a stream of an HTTP/2 connection. The upper half is for services, the lower half
 * for the connection. See call.c.
 *
 * Thread: the event loop's.
 */
#include <nghttp2/nghttp2.h>
#include <systemd/sd-event.h>

#include "base/list.h"
#include "grpc/headers.h"

struct grpc_call;

/* ---- for services */

struct grpc_method {
    const char *path; /* "/csi.v1.Node/NodePublishVolume" */
    const char *name; /* "NodePublishVolume" */
    /*
     * A request has arrived.
     * @call:    valid until it is answered or cancelled; answer it once, now or later, with
     *           grpc_call_reply() or grpc_call_fail()
     * @message: the whole message, @len bytes; borrowed until the call is answered or this function
     *           returns, then wiped
     */
    void (*call)(void *userdata, struct grpc_call *call, const uint8_t *message, size_t len);
};

/*
 * Set what is called, once, when a call ends before it is answered: its deadline has passed or the
 * client has disconnected. The call must not be used from then on. A service that keeps no calls
 * needs no such function.
 */
typedef void grpc_cancelled_fn(void *userdata);
void grpc_call_set_on_cancel(struct grpc_call *call, grpc_cancelled_fn *cancelled, void *userdata);

/* Answer with a message of @len bytes, which is copied. The call must not be used afterwards. */
void grpc_call_reply(struct grpc_call *call, const uint8_t *message, size_t len);

/* Answer with a @code other than GRPC_OK and a @text for people; as grpc_call_reply(). */
void grpc_call_fail(struct grpc_call *call, enum grpc_code code, const char *text);

/* ---- for connections */

/* Where the numbers come from: call.c. */
struct grpc_limits {
    unsigned connections;  /* of a server at a time */
    unsigned streams;      /* of a connection at a time */
    size_t received_bytes; /* of all requests of a server that are being received */
    span_us receive;       /* for a request to arrive, or the first one to begin */
    span_us send;          /* for the client to accept a response */
    span_us idle;          /* for a connection without a call */
};
extern const struct grpc_limits grpc_limits_default;

/* What all connections of a server share. */
struct grpc_common {
    sd_event *event;
    const struct grpc_method *methods;
    size_t n_methods;
    void *userdata; /* of the methods and of `answered` */
    /* Called for every answer, for logs and metrics; may be NULL. */
    void (*answered)(void *userdata, const char *method, enum grpc_code code, span_us took);
    struct grpc_limits limits;
    size_t received_bytes; /* now */
};

/* What a call needs of its connection, which embeds it. */
struct grpc_transport {
    nghttp2_session *session;
    /* nghttp2 has something to send: have the loop send it. */
    void (*wake)(struct grpc_transport *transport);
    /* This client cannot be served any more: have the loop close the connection. */
    void (*abort)(struct grpc_transport *transport);
};

enum grpc_call_state {
    GRPC_CALL_AWAITING_HEADERS,
    GRPC_CALL_AWAITING_MESSAGE,
    GRPC_CALL_AWAITING_ANSWER, /* a method has it */
    GRPC_CALL_AWAITING_CLOSE,  /* the response is being sent, or all of it is sent */
};

struct grpc_call {
    unsigned magic;
    struct grpc_transport *transport;
    struct grpc_common *common;
    struct list link; /* of the connection */
    int32_t stream_id;
    enum grpc_call_state state;
    bool is_request_complete; /* the client has ended its side */
    struct grpc_headers headers;
    struct grpc_reader reader;
    size_t received_bytes; /* counted in common's */
    const struct grpc_method *method;
    sd_event_source *timer; /* of the present state */
    mono_us began_at;
    grpc_cancelled_fn *cancelled;
    void *cancelled_userdata;
    struct buf response; /* with its head */
    size_t n_sent;       /* bytes of it */
};

/*
 * @common, @transport: borrowed, outlive the call
 * Return: 0, *ret_call is the caller's and awaits headers; -ENOMEM; sd-event's errors.
 */
int grpc_call_new(struct grpc_common *common, struct grpc_transport *transport, int32_t stream_id,
                  struct grpc_call **ret_call);
/* The stream is closed. A call that awaits its answer is cancelled. Return: NULL. */
struct grpc_call *grpc_call_free(struct grpc_call *call);
DEFINE_CLEANUP(struct grpc_call *, grpc_call_free)

/* All headers have arrived. */
void grpc_call_on_headers(struct grpc_call *call);
/* @len more bytes of the body have arrived. */
void grpc_call_on_data(struct grpc_call *call, const uint8_t *bytes, size_t len);
/* The client has ended its side. */
void grpc_call_on_end(struct grpc_call *call);

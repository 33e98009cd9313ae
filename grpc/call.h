/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One unary call: a stream of an HTTP/2 connection. The upper half is what a service sees of it,
 * the lower half what the connection does with it. See grpc_call.c.
 */
#include <nghttp2/nghttp2.h>
#include <systemd/sd-event.h>

#include "base/list.h"
#include "grpc/headers.h"

struct grpc_call;
struct grpc_connection;

/* ---- for services */

struct grpc_method {
    const char *path; /* "/csi.v1.Node/NodePublishVolume" */
    const char *name; /* "NodePublishVolume" */
    /*
     * A call has come in, with its whole message, which is borrowed until the call is answered or
     * the function returns, and wiped then. The call is answered once, by grpc_call_reply() or
     * grpc_call_fail(), at once or later; unless it is cancelled before, it is there until then.
     */
    void (*call)(void *userdata, struct grpc_call *call, const uint8_t *message, size_t len);
};

/*
 * Be told, once, when a call that is not answered yet is over: its deadline has passed or the
 * client is gone. The call must not be used any more then, nor answered. Replaces what was set
 * before; NULL: not to be told, who does not keep calls need not.
 */
typedef void grpc_cancelled_fn(void *userdata);
void grpc_call_on_cancel(struct grpc_call *call, grpc_cancelled_fn *cancelled, void *userdata);

/* Answer with a message. Of the call nothing is left for the service. */
void grpc_call_reply(struct grpc_call *call, const uint8_t *message, size_t len);

/* Answer with a code other than GRPC_OK, and a text for people. */
void grpc_call_fail(struct grpc_call *call, enum grpc_code code, const char *text);

/* ---- for connections */

/* Where the numbers come from: grpc_call.c. */
struct grpc_limits {
    unsigned connections;  /* of a server at a time */
    unsigned streams;      /* of a connection at a time */
    size_t received_bytes; /* of all requests of a server that are being received */
    span_us receive;       /* for a request to arrive, or the first one to begin */
    span_us send;          /* for an answer to be taken */
    span_us idle;          /* for a connection without a call */
};
extern const struct grpc_limits grpc_limits_default;

/* What all connections of a server share. */
struct grpc_common {
    sd_event *event;
    const struct grpc_method *methods;
    size_t n_methods;
    void *userdata; /* of the methods and of `answered` */
    /* Every answer, for logs and metrics; may be NULL. */
    void (*answered)(void *userdata, const char *method, enum grpc_code code, span_us took);
    struct grpc_limits limits;
    size_t received_bytes; /* now */
};

enum grpc_call_state {
    GRPC_CALL_HEADERS,  /* they are coming in */
    GRPC_CALL_BODY,     /* the message is coming in */
    GRPC_CALL_WORKING,  /* a method has it */
    GRPC_CALL_ANSWERED, /* the answer is on its way, or everything sent */
};

struct grpc_call {
    unsigned magic;
    struct grpc_connection *connection;
    struct grpc_common *common;
    struct list link; /* of the connection */
    int32_t stream_id;
    enum grpc_call_state state;
    bool is_request_over; /* the client has ended its side */
    struct grpc_headers headers;
    struct grpc_reader reader;
    size_t received_bytes; /* counted in common's */
    const struct grpc_method *method;
    sd_event_source *timer; /* of the present state */
    mono_us began_at;
    grpc_cancelled_fn *cancelled;
    void *cancelled_userdata;
    struct buf answer; /* with its head */
    size_t n_sent;     /* bytes of it */
};

/* Return: 0, *ret_call is the caller's and in HEADERS; -ENOMEM; sd-event's errors. */
int grpc_call_new(struct grpc_common *common, struct grpc_connection *connection, int32_t stream_id,
                  struct grpc_call **ret_call);
/* The stream is closed. Cancels the call if it is being worked on. Return: NULL. */
struct grpc_call *grpc_call_free(struct grpc_call *call);
DEFINE_CLEANUP(struct grpc_call *, grpc_call_free)

/* All headers are there. */
void grpc_call_take_headers(struct grpc_call *call);
/* More of the body. */
void grpc_call_take_data(struct grpc_call *call, const uint8_t *bytes, size_t len);
/* The client has ended its side. */
void grpc_call_take_end(struct grpc_call *call);

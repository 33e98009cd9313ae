/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A request to an API server and its whole response, one after the other. What follows from the
 * response is the owner's.
 *
 * Thread: the event loop's.
 */
#include "base/buf.h"
#include "fetcher/api/protocol.h"
#include "fetcher/http/client.h"
#include "fetcher/source.h"

/* What sends requests. */
struct exchange_calls {
    int (*send)(struct source *source, const struct http_call *call,
                const struct http_handler *handler, void *userdata,
                struct http_request **ret_request, struct error *e);
    struct http_request *(*cancel)(struct http_request *request);
    unsigned (*version)(const struct source *source); /* of its credentials */
    void (*rejected)(struct source *source, unsigned version);
};

/* Those of api_source.c; a test has its own. */
extern const struct exchange_calls exchange_calls_of_api_source;

struct exchange_options {
    const struct exchange_calls *calls;
    size_t body_max; /* bytes of a response; of a longer one nothing is kept */
    /*
     * It came to its end, and the owner may send again or deinit.
     * @error: why there is no response, borrowed for the call; NULL: there is one, of any status
     */
    void (*done)(void *userdata, const struct error *error);
    /*
     * A piece of the response to a watch, with status 200. It is not kept. The owner may cancel.
     * NULL: the owner does not watch.
     */
    void (*piece)(void *userdata, const char *bytes, size_t len);
    void *userdata;
};

/* Embedded. The owner reads it, and exchange.c writes it. */
struct exchange {
    struct exchange_options options;
    struct source *source;        /* of the last request */
    unsigned version;             /* of the credentials that it was sent with */
    struct http_request *request; /* NULL: none is in flight */
    bool is_watch;
    int status;          /* of the response; 0: none yet */
    span_us retry_after; /* the server's; 0: none */
    struct buf body;
    bool is_cut; /* the body is longer than body_max, or memory was short: it is empty */
};

void exchange_init(struct exchange *x, const struct exchange_options *options);
/* Cancels. A zeroed exchange is fine. */
void exchange_deinit(struct exchange *x);

static inline bool exchange_is_open(const struct exchange *x)
{
    return x->request != NULL;
}

/*
 * Send a request; none may be in flight. The last response is forgotten.
 * @source: of an API server; outlives the exchange, or the end of this request
 * Return: 0, done() follows; the errors of api_source_send() with @e.
 */
int exchange_send(struct exchange *x, struct source *source, const struct http_call *call,
                  struct error *e) MUST_CHECK;
/* done() is not called. Nothing happens if no request is in flight. */
void exchange_cancel(struct exchange *x);

/* A response whose status is not the one that was expected. @allow: the remedy for a 403 */
struct protocol_refusal exchange_refusal(const struct exchange *x, const char *allow);
/* After a 401 the credentials of the request count as rejected. */
void exchange_reject_credentials(const struct exchange *x);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A reflector keeps one object in the store equal to the one at the API server: it lists it once,
 * then watches it. See reflector.c for its states and docs/internals/reflector.md for its manners.
 *
 * It does nothing by itself: requests, time and chance come through struct reflector_io, and what
 * becomes of a request is told to it through the reflector_on_...() functions. Any call may end in
 * a subscriber of the store that lets the reflector be freed; it may be called no more after that.
 *
 * Thread: the event loop's.
 */
#include "cache/store.h"
#include "fetcher/http/client.h"

struct reflector;

struct reflector_request {
    const char *path;
    bool is_watch;
    span_us total_limit; /* from when it had its turn */
};

struct reflector_io {
    /*     * Start a GET; there is at most one at a time, which may have to wait for its turn. None
     * of the reflector_on_...() functions may be called before this returns. Return: 0;
     * REFLECTOR_NO_CREDENTIALS when reflector_on_credentials() will be called as soon as there are
     * some, with @e if that may be long; -errno with @e.
     */
    int (*request)(void *userdata, const struct reflector_request *request, struct error *e);
    /* Give the request up, if there is one. */
    void (*cancel)(void *userdata);
    /*
     * The last request's credentials were not accepted.
     * Return: 0 when reflector_on_credentials() will be called as soon as there is something to be
     * tried; REFLECTOR_NEW_CREDENTIALS when there are others already; REFLECTOR_NO_CREDENTIALS when
     * there will only be others if somebody brings them, with @e.
     */
    int (*reject_credentials)(void *userdata, struct error *e);
    /* The one timer: call reflector_on_timer() after @delay, never if it is SPAN_FOREVER. */
    void (*set_timer)(void *userdata, span_us delay);
    mono_us (*now)(void *userdata);
    uint32_t (*random)(void *userdata);
};
#define REFLECTOR_NO_CREDENTIALS  1
#define REFLECTOR_NEW_CREDENTIALS 2

/*
 * @store, @key, @io: borrowed, outlive the reflector
 * Return: 0, *ret_reflector is the caller's; -ENOMEM.
 */
int reflector_new(struct store *store, const struct object_key *key, const struct reflector_io *io,
                  void *userdata, struct reflector **ret_reflector);
/* May be called from within any of the store's callbacks. Return: NULL. */
struct reflector *reflector_free(struct reflector *reflector);
DEFINE_CLEANUP(struct reflector *, reflector_free)

/* Send the first request. */
void reflector_start(struct reflector *reflector);

/* If the object is immutable and therefore no longer watched: look whether it is still there. */
void reflector_refresh(struct reflector *reflector);

/*
 * Notice within a minute when the API server no longer lets us see the object. It does not end a
 * watch because of that, so from now on watches are short ones.
 */
void reflector_check_rights(struct reflector *reflector);

/* What becomes of the request, in the order of struct http_handler. */
void reflector_on_sent(struct reflector *reflector);
void reflector_on_response(struct reflector *reflector, const struct http_response *response);
void reflector_on_body(struct reflector *reflector, const char *bytes, size_t len);
void reflector_on_done(struct reflector *reflector, enum http_outcome outcome,
                       const struct error *error);
void reflector_on_timer(struct reflector *reflector);
/* There are credentials, or @error says why there are no new ones. */
void reflector_on_credentials(struct reflector *reflector, const struct error *error);

/* How many watches were opened after the first one, for whatever reason. */
unsigned long reflector_restarts(const struct reflector *reflector);
/* The state's name, for debugging and tests. */
const char *reflector_state_name(const struct reflector *reflector);

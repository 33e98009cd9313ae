/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One watch of the API server that is requested again and again: requests, events, waits. Embedded
 * in a reflector, which lists before it watches, and in a pod_watch, which does not. See watch.c
 * for the states.
 *
 * It uses no socket and no clock: requests, timer, time and random numbers come through struct
 * watch_io, and its user reports what happens to a request through watch_on_...(). Any of these
 * calls may stop and free the watch.
 *
 * Thread: the event loop's.
 */
#include "base/buf.h"
#include "encoding/json.h"
#include "fetcher/api/backoff.h"
#include "fetcher/api/initial_list.h"
#include "fetcher/api/json_stream.h"
#include "fetcher/http/call.h"

struct watch;

#define WATCH_NAME_SIZE 544 /* OBJECT_KEY_TEXT_SIZE */

enum watch_state {
    WATCH_NEW,
    WATCH_LISTING,
    WATCH_SYNCING,
    WATCH_OPENING,
    WATCH_WATCHING,
    WATCH_WAITING,
    WATCH_AWAITING_CREDENTIALS,
    WATCH_IDLE,
    WATCH_STOPPED,
};

struct watch_request {
    const char *path;
    bool is_watch;
    span_us total_limit; /* from its admission */
};

/* What the user provides. */
struct watch_io {
    /*
     * Start a GET; at most one at a time. No watch_on_...() may be called before this returns.
     * Return: 0; WATCH_NO_CREDENTIALS when watch_on_credentials() will be called once there are
     * credentials, with @e if that may take long; -errno with @e.
     */
    int (*request)(void *userdata, const struct watch_request *request, struct error *e);
    /* Cancel the request, if there is one. */
    void (*cancel)(void *userdata);
    /*
     * The API server refused the last request's credentials (401).
     * Return: 0 when watch_on_credentials() will be called once other credentials may exist;
     * WATCH_NEW_CREDENTIALS when they exist already; WATCH_NO_CREDENTIALS when only the user of the
     * source can set others, with @e.
     */
    int (*reject_credentials)(void *userdata, struct error *e);
    /* Whose credentials requests are made with, for messages. Return: borrowed; NULL: unknown. NULL
     * instead of a function: the same. */
    const char *(*user)(void *userdata);
    /*
     * Whether the API server streams lists; it is asked for each list. NULL: it does not. After
     * reject_streams() it does not either, at least for some minutes.
     */
    bool (*streams_lists)(void *userdata);
    void (*reject_streams)(void *userdata);
    /* The one timer: call watch_on_timer() after @delay, never if it is SPAN_FOREVER. */
    void (*set_timer)(void *userdata, span_us delay);
    mono_us (*now)(void *userdata);
    uint32_t (*random)(void *userdata);
};
#define WATCH_NO_CREDENTIALS  1
#define WATCH_NEW_CREDENTIALS 2

/* What the owner, which embeds the watch, does. */
struct watch_ops {
    const char *resources; /* what is watched, for messages: " of pods", or "" */
    bool has_lists;        /* a first request, and one after a failure, is a list */
    /*
     * A request begins: a list, a streamed list or a watch, by the state.
     * @path: to append the path to, with its query up to the field selector, and a list's version,
     * which a streamed list has always: "resourceVersionMatch=NotOlderThan"
     * Return: as buf_add().
     */
    int (*begin)(struct watch *watch, struct buf *path);
    /* A list, or a refusal: the response is complete, in watch->status and watch->body. */
    void (*on_complete)(struct watch *watch);
    /*
     * A streamed list has arrived whole. @list: as the response to a list request; it is followed
     * by watch_follow(), or by another request. NULL without lists.
     */
    void (*on_list)(struct watch *watch, const cJSON *list);
    /* An event other than ERROR. @object: a JSON object */
    void (*on_event)(struct watch *watch, const char *type, const cJSON *object,
                     mono_us received_at);
    /* An event that is too long, is not JSON, or lacks type or object. */
    void (*on_invalid_event)(struct watch *watch, const struct error *e);
    /* The watch ended well, and the next one begins. NULL: nothing to do. */
    void (*on_end)(struct watch *watch);
    /* The watch is open, and either the last one was not too short or this one has lasted. */
    void (*on_live)(struct watch *watch);
    /* The watch or a list failed; the state is WAITING or AWAITING_CREDENTIALS. */
    void (*on_failure)(struct watch *watch, const struct error *e);
    /* The watch is stopped, and no call of it is under way: free the owner. */
    void (*free)(struct watch *watch);
    /* What is watched, for traces. Return: borrowed, or @buf. */
    const char *(*name)(const struct watch *watch, char buf[static WATCH_NAME_SIZE]);
};

/* Owners may read all fields; a comment says which ones they write. */
struct watch {
    const struct watch_ops *ops;
    const struct watch_io *io;
    void *userdata;  /* for io */
    unsigned n_pins; /* calls under way, during which it is not freed */

    enum watch_state state;
    enum watch_state resume; /* WAITING, AWAITING_CREDENTIALS, IDLE: the state that follows */
    char *cursor;            /* the newest resourceVersion; NULL: none */
    unsigned min_sec;        /* how long a watch lasts, at least */
    unsigned range_sec;      /* and how much longer at most, at random */
    unsigned limit_sec;      /* of the current watch, as the server knows it */
    bool has_expired;        /* the cursor was too old, and no event has come since */
    bool prefers_lists;      /* a streamed list failed: no other one until a watch is open */

    int status; /* of the response to the request under way; 0 before it came */
    span_us retry_after;
    struct buf body;             /* of a list or a refusal */
    struct json_stream stream;   /* of events */
    struct initial_list initial; /* SYNCING */
    mono_us watching_since;
    unsigned long n_events;  /* of this watch */
    unsigned long n_watches; /* opened, ever */

    struct backoff backoff;
    unsigned n_refused; /* responses 401 or 403 in a row; the owner counts them */
    bool is_distrusted; /* the last watch ended at once, so opening one proves nothing; the owner
                           resets it in on_live() */
};

/*
 * @watch: zeroed memory of the owner's; to be given to watch_stop() in the end
 * @max_bytes: of a list and of an event
 * @io: borrowed, outlives the watch
 */
void watch_init(struct watch *watch, const struct watch_ops *ops, size_t max_bytes,
                const struct watch_io *io, void *userdata);
/* Cancel everything; ops->free() is called now or when the calls that are under way return. */
void watch_stop(struct watch *watch);
/* While pinned, a watch that is stopped is not freed. */
void watch_pin(struct watch *watch);
void watch_unpin(struct watch *watch);

/* ---- for the user: what happens, in the order of struct http_handler */

/* Send the first request. */
void watch_start(struct watch *watch);
void watch_on_sent(struct watch *watch);
void watch_on_response(struct watch *watch, const struct http_response *response);
void watch_on_body(struct watch *watch, const char *bytes, size_t len);
void watch_on_done(struct watch *watch, enum http_outcome outcome, const struct error *error);
void watch_on_timer(struct watch *watch);
/* There are credentials, or @error says why there are no new ones. */
void watch_on_credentials(struct watch *watch, const struct error *error);

/* For debugging and tests. */
const char *watch_state_name(const struct watch *watch);

/* ---- for the owner */

/* Begin a request: OPENING, or LISTING, which becomes SYNCING where the server streams lists. */
void watch_begin(struct watch *watch, enum watch_state state);
/* The list that came in LISTING or SYNCING is applied: go on with the events after the cursor. */
void watch_follow(struct watch *watch);
/* What repeats the request that is under way, or was last: LISTING or OPENING. */
enum watch_state watch_repeat_state(const struct watch *watch);
/* Go on with @resume after @delay. */
void watch_wait(struct watch *watch, enum watch_state resume, span_us delay);
/* Go on with @resume after the back-off, and not before @at_least. */
void watch_back_off(struct watch *watch, enum watch_state resume, span_us at_least);
/* The same, and report @e. */
void watch_fail(struct watch *watch, enum watch_state resume, span_us at_least,
                const struct error *e);
/*
 * Events cannot go on from the cursor: cancel, report @e, and after the back-off begin with a list,
 * or, without lists, with a watch that has no cursor.
 */
void watch_restart(struct watch *watch, const struct error *e);
/*
 * The same where the cursor is older than what the server remembers (410), as after minutes without
 * a connection. That is ordinary, so @e is reported only if it happens again before an event.
 */
void watch_expire(struct watch *watch, const struct error *e);
/*
 * Explain the complete response to the current request, which is a refusal.
 * @allow: as of struct protocol_refusal
 */
void watch_explain_refusal(const struct watch *watch, const char *allow, struct error *e);
/* Repeat the current request when watch_on_credentials() is called, or after @limit. */
void watch_await_credentials(struct watch *watch, span_us limit);
/* No request until watch_begin(), or after @delay, which begins a list. */
void watch_idle(struct watch *watch, span_us delay);

/* "": nothing changes. Return: 0; -ENOMEM: the old cursor stays, which is good enough for a watch.
 */
int watch_set_cursor(struct watch *watch, const char *resource_version);
void watch_drop_cursor(struct watch *watch);
/* Each watch lasts @min_sec to @min_sec + @range_sec, also the current one, and an idle time, too.
 */
void watch_set_duration(struct watch *watch, unsigned min_sec, unsigned range_sec);
/* How long the next watch lasts, at random. */
span_us watch_random_duration(struct watch *watch);

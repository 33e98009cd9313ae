/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An API server, a clock and credentials that the input of a fuzz target plays for a struct watch.
 * Each byte is a step; some take what follows as their argument. There is at most one request.
 */
#include <stdlib.h>

#include "fetcher/api/watch.h"

struct server {
    struct watch *watch;     /* NULL once it is freed */
    const uint8_t *at, *end; /* of the input */
    const char *const *events;
    size_t n_events;
    mono_us now;
    mono_us timer_at; /* SPAN_FOREVER: off */
    uint32_t random;
    int next_result; /* of the next request, or refusal */
    bool has_request, has_response;
    bool streams_lists;
};

static inline struct server server_new(const uint8_t *data, size_t size, const char *const *events,
                                       size_t n_events)
{
    return (struct server){.at = data,
                           .end = data + size,
                           .events = events,
                           .n_events = n_events,
                           .now = SPAN_SEC(1000),
                           .timer_at = SPAN_FOREVER};
}

static inline uint8_t take_byte(struct server *s)
{
    return s->at < s->end ? *s->at++ : 0;
}

/* ---- struct watch_io */

static inline int request(void *userdata, const struct watch_request *request, struct error *e)
{
    struct server *s = userdata;

    assert(!s->has_request && s->watch != NULL && request->path[0] == '/');
    if (s->next_result != 0)
        return error_set(e, s->next_result, "no request now");
    s->has_request = true;
    s->has_response = false;
    return 0;
}

static inline void cancel(void *userdata)
{
    struct server *s = userdata;

    s->has_request = false;
}

static inline int reject_credentials(void *userdata, struct error *e)
{
    const struct server *s = userdata;

    if (s->next_result == WATCH_NO_CREDENTIALS)
        return error_set(e, WATCH_NO_CREDENTIALS, "waiting for the next token");
    return s->random % 2 == 0 ? 0 : WATCH_NEW_CREDENTIALS;
}

static inline bool streams_lists(void *userdata)
{
    const struct server *s = userdata;

    return s->streams_lists;
}

static inline void reject_streams(void *userdata)
{
    struct server *s = userdata;

    s->streams_lists = false;
}

static inline void set_timer(void *userdata, span_us delay)
{
    struct server *s = userdata;

    s->timer_at = delay == SPAN_FOREVER ? SPAN_FOREVER : s->now + delay;
}

static inline mono_us now(void *userdata)
{
    const struct server *s = userdata;

    return s->now;
}

static inline uint32_t random_number(void *userdata)
{
    const struct server *s = userdata;

    return s->random;
}

#define SERVER_IO                                                                                  \
    {                                                                                              \
        .request = request, .cancel = cancel, .reject_credentials = reject_credentials,            \
        .streams_lists = streams_lists, .reject_streams = reject_streams, .set_timer = set_timer,  \
        .now = now, .random = random_number                                                        \
    }

/* ---- the script; each step may free the watch */

static inline void respond(struct server *s)
{
    static const int statuses[] = {200, 200, 200, 401, 403, 404, 410, 422, 429, 500, 503};
    const struct http_response response = {
        .status = statuses[take_byte(s) % ELEMENTS_OF(statuses)],
        .retry_after = SPAN_SEC(take_byte(s) / 64),
        .content_type = "",
    };

    if (!s->has_request || s->has_response)
        return;
    s->has_response = true;
    watch_on_response(s->watch, &response);
}

static inline void send_bytes(struct server *s, const char *bytes, size_t len)
{
    if (s->has_request && s->has_response)
        watch_on_body(s->watch, bytes, len);
}

static inline void send_input(struct server *s)
{
    size_t len = size_min(take_byte(s), (size_t)(s->end - s->at));
    const char *bytes = (const char *)s->at;

    s->at += len;
    send_bytes(s, bytes, len);
}

static inline void send_event(struct server *s)
{
    const char *event = s->events[take_byte(s) % s->n_events];

    send_bytes(s, event, strlen(event));
}

static inline void end_request(struct server *s)
{
    const struct error e = {.text = "connection lost"};
    enum http_outcome outcome = HTTP_FAILED;
    uint8_t choice = take_byte(s);

    if (!s->has_request)
        return;
    if (s->has_response && choice % 2 == 0)
        outcome = HTTP_COMPLETE;
    else if (choice % 4 == 1)
        outcome = HTTP_TIMED_OUT;
    else if (!s->has_response && choice % 2 == 0)
        outcome = HTTP_REFUSED;
    s->has_request = false;
    watch_on_done(s->watch, outcome, outcome == HTTP_COMPLETE ? NULL : &e);
}

static inline void fire_timer(struct server *s)
{
    if (s->timer_at == SPAN_FOREVER)
        return;
    if (s->timer_at > s->now)
        s->now = s->timer_at;
    s->timer_at = SPAN_FOREVER;
    watch_on_timer(s->watch);
}

static inline void take_step(struct server *s)
{
    static const int results[] = {0, 0, 0, WATCH_NO_CREDENTIALS, -ENOMEM};
    const struct error e = {.text = "no new token"};

    switch (take_byte(s) % 11) {
    case 0:
    case 1:
        respond(s);
        break;
    case 2:
        send_input(s);
        break;
    case 3:
        send_event(s);
        break;
    case 4:
        end_request(s);
        break;
    case 5:
        fire_timer(s);
        break;
    case 6:
        watch_on_credentials(s->watch, take_byte(s) % 2 == 0 ? NULL : &e);
        break;
    case 7:
        s->next_result = results[take_byte(s) % ELEMENTS_OF(results)];
        break;
    case 8:
        s->random = take_byte(s) * 0x01010101u;
        break;
    case 9:
        s->now += SPAN_MS(take_byte(s)); /* less than any wait is long, so no timer is due */
        break;
    case 10:
        s->streams_lists = !s->streams_lists;
        break;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An API server and a clock that a test plays for a struct watch: a test decides about every
 * response and every order of events, in simulated time. The random number is 0 at first, so waits
 * are at their shortest and watches ask for 300 s.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fetcher/api/watch.h"

struct script {
    struct watch *watch;
    mono_us now;
    mono_us timer_at; /* SPAN_FOREVER: off */
    char path[4096];  /* of the request under way; "" if there is none */
    span_us total_limit;
    uint32_t random;
    int request_result;
    const char *request_words; /* with a positive result; NULL: none */
    int reject_result;
    unsigned n_requests;
    unsigned n_rejected;
    bool streams_lists; /* until the watch rejects that */
};

/* ---- struct watch_io, with a struct script as userdata */

static int script_request(void *userdata, const struct watch_request *request, struct error *e)
{
    struct script *s = userdata;

    assert_string_equal(s->path, "");
    if (s->request_result < 0)
        return error_set(e, s->request_result, "no request today");
    if (s->request_result > 0 && s->request_words != NULL)
        return error_set(e, s->request_result, "%s", s->request_words);
    if (s->request_result > 0)
        return s->request_result;
    snprintf(s->path, sizeof(s->path), "%s", request->path);
    assert_int_equal(request->is_watch, strstr(request->path, "watch=true") != NULL);
    s->total_limit = request->total_limit;
    s->n_requests++;
    return 0;
}

static void script_cancel(void *userdata)
{
    struct script *s = userdata;

    s->path[0] = '\0';
}

static int script_reject_credentials(void *userdata, struct error *e)
{
    struct script *s = userdata;

    s->n_rejected++;
    if (s->reject_result == WATCH_NO_CREDENTIALS)
        return error_set(e, s->reject_result, "waiting for the next token");
    return s->reject_result;
}

static bool script_streams_lists(void *userdata)
{
    const struct script *s = userdata;

    return s->streams_lists;
}

static void script_reject_streams(void *userdata)
{
    struct script *s = userdata;

    s->streams_lists = false;
}

static void script_set_timer(void *userdata, span_us delay)
{
    struct script *s = userdata;

    s->timer_at = delay == SPAN_FOREVER ? SPAN_FOREVER : s->now + delay;
}

static mono_us script_now(void *userdata)
{
    const struct script *s = userdata;

    return s->now;
}

static uint32_t script_random(void *userdata)
{
    const struct script *s = userdata;

    return s->random;
}

#define SCRIPT_IO                                                                                  \
    {                                                                                              \
        .request = script_request, .cancel = script_cancel,                                        \
        .reject_credentials = script_reject_credentials, .set_timer = script_set_timer,            \
        .streams_lists = script_streams_lists, .reject_streams = script_reject_streams,            \
        .now = script_now, .random = script_random,                                                \
    }

static inline void script_init(struct script *s)
{
    *s = (struct script){.now = SPAN_SEC(1000), .timer_at = SPAN_FOREVER};
}

/* No request and no timer: after the watch was freed. */
static inline void script_expect_freed(const struct script *s)
{
    assert_string_equal(s->path, "");
    assert_int_equal(s->timer_at, SPAN_FOREVER);
}

/* ---- what happens */

static inline void pass(struct script *s, span_us span)
{
    s->now += span;
    assert_true(s->timer_at > s->now);
}

/* The timer is armed for @delay from now, which is over then. */
static inline void expect_timer(struct script *s, span_us delay)
{
    assert_int_equal(s->timer_at, s->now + delay);
    s->now = s->timer_at;
    s->timer_at = SPAN_FOREVER;
    watch_on_timer(s->watch);
}

static inline void respond(struct script *s, int status, span_us retry_after)
{
    struct http_response response = {.status = status, .retry_after = retry_after};

    assert_string_not_equal(s->path, "");
    watch_on_response(s->watch, &response);
}

static inline void send_body(struct script *s, const char *text)
{
    assert_string_not_equal(s->path, "");
    watch_on_body(s->watch, text, strlen(text));
}

static inline void end(struct script *s, enum http_outcome outcome)
{
    struct error e = {.text = "the wire was cut"};

    assert_string_not_equal(s->path, "");
    s->path[0] = '\0';
    watch_on_done(s->watch, outcome, outcome == HTTP_COMPLETE ? NULL : &e);
}

static inline void answer(struct script *s, int status, const char *text)
{
    respond(s, status, 0);
    send_body(s, text);
    if (s->path[0] != '\0') /* the watch may cancel it */
        end(s, HTTP_COMPLETE);
}

static inline void expect_state(const struct script *s, const char *name)
{
    assert_string_equal(watch_state_name(s->watch), name);
}

#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define BOOKMARK_OF(kind, version)                                                                 \
    EVENT("BOOKMARK", "{\"kind\":\"" kind "\",\"apiVersion\":\"v1\",\"metadata\":{"                \
                      "\"resourceVersion\":\"" version "\",\"creationTimestamp\":null}}")
/* The end of a streamed list. */
#define LIST_END_OF(kind, version)                                                                 \
    EVENT("BOOKMARK", "{\"kind\":\"" kind "\",\"apiVersion\":\"v1\",\"metadata\":{"                \
                      "\"resourceVersion\":\"" version "\",\"annotations\":{"                      \
                      "\"k8s.io/initial-events-end\":\"true\"}}}")
#define STATUS(code, message)                                                                      \
    "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","           \
    "\"message\":\"" message "\",\"code\":" code "}"

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An API server that a test plays for a struct node_api: it answers when the test says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "node/api.h"

#define API_REQUESTS_MAX 256
#define API_VERSION      7    /* of the credentials */
#define API_TURNS_MAX    1000 /* of a loop; far more than any test needs */

struct api_request {
    char path[512];
    char body[4096]; /* "" without one */
    const struct http_handler *handler;
    void *userdata;
    bool is_watch;
    bool is_patch;
    bool is_open;
};

/* The one of the test program. */
static struct {
    struct api_request requests[API_REQUESTS_MAX];
    size_t n_requests, n_open;
    int open_result; /* of the next calls */
    int send_result;
    unsigned n_rejected;
} server;

/* ---- struct node_api */

static int api_open(void *userdata, struct source **ret_source, struct error *e)
{
    static struct source source;

    if (server.open_result < 0)
        return error_set(e, server.open_result, "there is no API server here");
    *ret_source = &source;
    return 0;
}

static int api_send(struct source *source, const struct http_call *call,
                    const struct http_handler *handler, void *userdata,
                    struct http_request **ret_request, struct error *e)
{
    struct api_request *r = &server.requests[server.n_requests];

    assert_non_null(source);
    if (server.send_result < 0)
        return error_set(e, server.send_result, "there is no way");
    assert_true(server.n_requests < API_REQUESTS_MAX);
    *r = (struct api_request){.handler = handler,
                              .userdata = userdata,
                              .is_watch = call->is_watch,
                              .is_patch = call->is_patch,
                              .is_open = true};
    snprintf(r->path, sizeof(r->path), "%s", call->path);
    snprintf(r->body, sizeof(r->body), "%s", call->body != NULL ? call->body : "");
    server.n_requests++;
    server.n_open++;
    *ret_request = (struct http_request *)(void *)r;
    return 0;
}

static struct http_request *api_cancel(struct http_request *request)
{
    struct api_request *r = (struct api_request *)(void *)request;

    assert_true(r->is_open);
    r->is_open = false;
    server.n_open--;
    return NULL;
}

static unsigned api_version(const struct source *source)
{
    return API_VERSION;
}

static void api_rejected(struct source *source, unsigned of)
{
    assert_int_equal(of, API_VERSION);
    server.n_rejected++;
}

static const struct exchange_calls api_calls = {
    .send = api_send, .cancel = api_cancel, .version = api_version, .rejected = api_rejected};

static struct node_api scripted_api = {.calls = &api_calls, .open = api_open};

/* Forget what happened in the test before. */
static void api_reset(void)
{
    memset(&server, 0, sizeof(server));
    scripted_api.source = NULL;
}

/* ---- for the test */

static inline struct api_request *api_newest(void)
{
    return &server.requests[server.n_requests - 1];
}

/* Run the loop until there are @n requests, also those that were answered. Return: the newest one.
 */
static inline struct api_request *api_wait_request(sd_event *event, size_t n)
{
    for (unsigned turn = 0; turn < API_TURNS_MAX && server.n_requests < n; turn++)
        assert_true(sd_event_run(event, 10000) >= 0);
    assert_int_equal(server.n_requests, n);
    return api_newest();
}

static inline void api_respond(struct api_request *r, int status)
{
    const struct http_response response = {.status = status, .content_type = ""};

    assert_true(r->is_open);
    r->handler->on_response(r->userdata, &response);
}

static inline void api_add_body(struct api_request *r, const char *text)
{
    assert_true(r->is_open);
    r->handler->on_body(r->userdata, text, strlen(text));
}

static inline void api_end(struct api_request *r, enum http_outcome outcome)
{
    const struct error error = {.text = "nothing listens there"};

    assert_true(r->is_open);
    r->handler->on_done(r->userdata, outcome, outcome == HTTP_COMPLETE ? NULL : &error);
}

/* A response that goes on, as a watch's does. */
static inline void api_begin(struct api_request *r, int status, const char *text)
{
    api_respond(r, status);
    api_add_body(r, text);
}

static inline void api_answer(struct api_request *r, int status, const char *text)
{
    api_begin(r, status, text);
    api_end(r, HTTP_COMPLETE);
}

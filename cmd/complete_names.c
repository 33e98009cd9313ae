/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A key press opens the source that the command line names, as the command would, and asks it for
 * names without values (fetcher/api/name_table.c). The whole of it, credential plug-ins included,
 * has 2 s, and nothing is printed but names: a shell would show it in the middle of the line.
 */
#include "cmd/complete_names.h"

#include "base/buf.h"
#include "fetcher/api/api_source.h"
#include "fetcher/api/name_table.h"
#include "fetcher/manifests/manifests.h"

#define LIMIT SPAN_SEC(2)

struct inquiry {
    sd_event *event;
    struct store *store;
    struct source *source;
    char *namespace;
    struct buf response;
    int status;
    bool is_over; /* answered, or too late */
};

static void on_response(void *userdata, const struct http_response *response)
{
    struct inquiry *q = userdata;

    q->status = response->status;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
    struct inquiry *q = userdata;

    if (buf_add(&q->response, bytes, len) < 0)
        q->status = 0; /* too long */
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct inquiry *q = userdata;

    if (outcome != HTTP_COMPLETE)
        q->status = 0;
    q->is_over = true;
}

static int on_limit(sd_event_source *timer, uint64_t usec, void *userdata)
{
    struct inquiry *q = userdata;

    q->status = 0;
    q->is_over = true;
    return 0;
}

/* Credentials may come later than the source: it is sent as soon as there are any. */
static void run_request(struct inquiry *q, const char *path)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    const struct http_call call = {.path = path, .wants_table = true, .total_limit = LIMIT};
    _cleanup_(http_request_freep) struct http_request *request = NULL;
    struct error ignored;
    int r = 0;

    while (!q->is_over && r >= 0) {
        if (request == NULL)
            r = api_source_send(q->source, &call, &handler, q, &request, &ignored);
        if (r >= 0 || r == -EAGAIN)
            r = sd_event_run(q->event, UINT64_MAX);
    }
}

static void ask_api(struct inquiry *q, enum object_kind kind, name_fn *offer, void *userdata)
{
    _cleanup_(buf_deinit) struct buf path = BUF_INIT(1024);
    bool is_part;

    if (sd_event_add_time_relative(q->event, NULL, CLOCK_MONOTONIC, LIMIT, 0, on_limit, q) < 0 ||
        name_table_add_path(&path, kind, q->namespace) < 0)
        return;
    run_request(q, buf_text(&path));
    if (q->status == 200)
        name_table_parse(buf_text(&q->response), q->response.len, offer, userdata, &is_part);
}

static int open_source(struct inquiry *q, const struct source_options *from)
{
    struct error ignored;
    int r = sd_event_new(&q->event);

    if (r >= 0)
        r = store_new(&q->store);
    if (r >= 0)
        r = source_options_open(from, q->event, q->store, &q->source, &q->namespace, &ignored);
    return r;
}

static void close_source(struct inquiry *q)
{
    source_free(q->source);
    if (q->store != NULL)
        store_free(q->store);
    sd_event_unref(q->event);
    free(q->namespace);
    buf_deinit(&q->response);
}

void complete_names(const struct source_options *from, enum object_kind kind, name_fn *offer,
                    void *userdata)
{
    struct inquiry q = {.response = BUF_INIT(NAME_TABLE_MAX_BYTES)};

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    /* what is wrong is the command's to say */
    if (source_options_check(from, NULL) == 0 && open_source(&q, from) >= 0) {
        if (from->manifests != NULL)
            manifest_source_names(q.source, kind, q.namespace, offer, userdata);
        else
            ask_api(&q, kind, offer, userdata);
    }
    close_source(&q);
}

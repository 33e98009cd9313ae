/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A watch whose API server, timers and credentials the input plays (watch_server.h). A stopped
 * watch is freed once, and it leaves neither request nor timer.
 */
#include "tests/fuzz/watch_server.h"

#define EVENT_MAX 512u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct server server;
    struct watch watch;
};

static const char *const events[] = {
    "{}",
    "{\"type\":\"ADDED\",\"object\":{}}",
    "{\"type\":\"7\",\"object\":{\"kind\":\"Thing\"}}",
    "{\"type\":\"STOP\",\"object\":{}}",
    "{\"type\":\"RESTART\",\"object\":{}}",
    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"message\":\"old\"}}",
    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":500}}",
    "{\"type\":\"ADDED\"}",
};

/* ---- struct watch_ops */

static struct server *server_of(struct watch *watch)
{
    return &CONTAINER_OF(watch, struct run, watch)->server;
}

static int on_begin(struct watch *watch, struct buf *path)
{
    return buf_add_text(path, "/things?x=y");
}

static void on_complete(struct watch *watch)
{
    if (watch->state == WATCH_LISTING && watch->status == 200 && watch->body.len > 0) {
        watch_set_cursor(watch, "5");
        watch_begin(watch, WATCH_OPENING);
    } else {
        watch_fail(watch, watch->ops->has_lists ? WATCH_LISTING : WATCH_OPENING, 0,
                   &(struct error){.text = "refused"});
    }
}

static void on_event(struct watch *watch, const char *type, const cJSON *object,
                     mono_us received_at)
{
    assert(type != NULL && cJSON_IsObject(object));
    assert(received_at <= server_of(watch)->now);
    if (streq(type, "STOP"))
        watch_stop(watch);
    else if (streq(type, "RESTART"))
        watch_restart(watch, &(struct error){.text = "gone"});
    else
        watch_set_cursor(watch, type);
}

static void on_invalid_event(struct watch *watch, const struct error *e)
{
    assert(e->text[0] != '\0');
    if (server_of(watch)->random % 2 == 0)
        watch_restart(watch, e);
}

static void on_live(struct watch *watch)
{
    watch->is_distrusted = false;
}

static void on_failure(struct watch *watch, const struct error *e)
{
    assert(watch->state == WATCH_WAITING || watch->state == WATCH_AWAITING_CREDENTIALS);
    assert(e->text[0] != '\0');
}

static void on_free(struct watch *watch)
{
    assert(server_of(watch)->watch == watch);
    server_of(watch)->watch = NULL;
}

static const char *name(const struct watch *watch, char buf[static WATCH_NAME_SIZE])
{
    return "things";
}

#define OPS                                                                                        \
    .resources = " of things", .begin = on_begin, .on_complete = on_complete,                      \
    .on_event = on_event, .on_invalid_event = on_invalid_event, .on_live = on_live,                \
    .on_failure = on_failure, .free = on_free, .name = name

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct watch_io io = SERVER_IO;
    static const struct watch_ops ops[] = {{OPS, .has_lists = true}, {OPS}};
    struct run run = {.server = server_new(data, size, events, ELEMENTS_OF(events))};
    struct server *s = &run.server;

    watch_init(&run.watch, &ops[take_byte(s) % 2], EVENT_MAX, &io, s);
    s->watch = &run.watch;
    watch_start(&run.watch);
    while (s->at < s->end && s->watch != NULL)
        take_step(s);
    if (s->watch != NULL)
        watch_stop(s->watch);
    assert(s->watch == NULL && !s->has_request && s->timer_at == SPAN_FOREVER);
    return 0;
}

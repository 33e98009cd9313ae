/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A watch whose API server, timers and credentials the input plays. Each byte is a step; some take
 * what follows as their argument. There is at most one request, a stopped watch is freed once, and
 * it leaves neither request nor timer.
 */
#include <stdlib.h>

#include "fetcher/api/watch.h"

#define EVENT_MAX 512u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct server {
    struct watch watch;
    const uint8_t *at, *end; /* of the input */
    mono_us now;
    mono_us timer_at; /* SPAN_FOREVER: off */
    uint32_t random;
    int next_result; /* of the next request, or refusal */
    bool has_request, has_response;
    bool is_freed;
};

static uint8_t take_byte(struct server *s)
{
    return s->at < s->end ? *s->at++ : 0;
}

/* ---- struct watch_io */

static int request(void *userdata, const struct watch_request *request, struct error *e)
{
    struct server *s = userdata;

    assert(!s->has_request && !s->is_freed && request->path[0] == '/');
    if (s->next_result != 0)
        return error_set(e, s->next_result, "no request now");
    s->has_request = true;
    s->has_response = false;
    return 0;
}

static void cancel(void *userdata)
{
    struct server *s = userdata;

    s->has_request = false;
}

static int reject_credentials(void *userdata, struct error *e)
{
    const struct server *s = userdata;

    if (s->next_result == WATCH_NO_CREDENTIALS)
        return error_set(e, WATCH_NO_CREDENTIALS, "waiting for the next token");
    return s->random % 2 == 0 ? 0 : WATCH_NEW_CREDENTIALS;
}

static void set_timer(void *userdata, span_us delay)
{
    struct server *s = userdata;

    s->timer_at = delay == SPAN_FOREVER ? SPAN_FOREVER : s->now + delay;
}

static mono_us now(void *userdata)
{
    const struct server *s = userdata;

    return s->now;
}

static uint32_t random_number(void *userdata)
{
    const struct server *s = userdata;

    return s->random;
}

/* ---- struct watch_ops */

static struct server *server_of(struct watch *watch)
{
    return CONTAINER_OF(watch, struct server, watch);
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
    assert(!server_of(watch)->is_freed);
    server_of(watch)->is_freed = true;
}

static const char *name(const struct watch *watch, char buf[static WATCH_NAME_SIZE])
{
    return "things";
}

/* ---- the script */

static void respond(struct server *s)
{
    static const int statuses[] = {200, 200, 200, 401, 403, 404, 410, 429, 500, 503};
    const struct http_response response = {
        .status = statuses[take_byte(s) % ELEMENTS_OF(statuses)],
        .retry_after = SPAN_SEC(take_byte(s) / 64),
        .content_type = "",
    };

    if (!s->has_request || s->has_response)
        return;
    s->has_response = true;
    watch_on_response(&s->watch, &response);
}

static void send_bytes(struct server *s, const char *bytes, size_t len)
{
    if (s->has_request && s->has_response)
        watch_on_body(&s->watch, bytes, len);
}

static void send_input(struct server *s)
{
    size_t len = size_min(take_byte(s), (size_t)(s->end - s->at));
    const char *bytes = (const char *)s->at;

    s->at += len;
    send_bytes(s, bytes, len);
}

static void send_event(struct server *s)
{
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
    const char *event = events[take_byte(s) % ELEMENTS_OF(events)];

    send_bytes(s, event, strlen(event));
}

static void end_request(struct server *s)
{
    const struct error e = {.text = "connection lost"};
    enum http_outcome outcome = HTTP_FAILED;
    uint8_t choice = take_byte(s);

    if (!s->has_request)
        return;
    if (s->has_response && choice % 2 == 0)
        outcome = HTTP_COMPLETE;
    else if (!s->has_response && choice % 2 == 0)
        outcome = HTTP_REFUSED;
    s->has_request = false;
    watch_on_done(&s->watch, outcome, outcome == HTTP_COMPLETE ? NULL : &e);
}

static void fire_timer(struct server *s)
{
    if (s->timer_at == SPAN_FOREVER)
        return;
    if (s->timer_at > s->now)
        s->now = s->timer_at;
    s->timer_at = SPAN_FOREVER;
    watch_on_timer(&s->watch);
}

static void take_step(struct server *s)
{
    static const int results[] = {0, 0, 0, WATCH_NO_CREDENTIALS, -ENOMEM};
    const struct error e = {.text = "no new token"};

    switch (take_byte(s) % 10) {
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
        watch_on_credentials(&s->watch, take_byte(s) % 2 == 0 ? NULL : &e);
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
    }
}

#define OPS                                                                                        \
    .resources = " of things", .begin = on_begin, .on_complete = on_complete,                      \
    .on_event = on_event, .on_invalid_event = on_invalid_event, .on_live = on_live,                \
    .on_failure = on_failure, .free = on_free, .name = name

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct watch_io io = {.request = request,
                                       .cancel = cancel,
                                       .reject_credentials = reject_credentials,
                                       .set_timer = set_timer,
                                       .now = now,
                                       .random = random_number};
    static const struct watch_ops ops[] = {{OPS, .has_lists = true}, {OPS}};
    struct server s = {
        .at = data, .end = data + size, .now = SPAN_SEC(1000), .timer_at = SPAN_FOREVER};

    watch_init(&s.watch, &ops[take_byte(&s) % 2], EVENT_MAX, &io, &s);
    watch_start(&s.watch);
    while (s.at < s.end && !s.is_freed)
        take_step(&s);
    if (!s.is_freed)
        watch_stop(&s.watch);
    assert(s.is_freed && !s.has_request && s.timer_at == SPAN_FOREVER);
    return 0;
}

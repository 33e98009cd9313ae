/* SPDX-License-Identifier: Apache-2.0 */
/*
 *      start                            start, without lists
 *        |                                |
 *        v       the list is valid        v       200
 *     LISTING ------------------------> OPENING -------> WATCHING
 *      ^  |                              ^  ^  |           |  |
 *      |  | failure                      |  |  | failure   |  | it broke; ERROR event;
 *      |  |                              |  +--|-----------+  | invalid event; too short
 *      |  v                              |     | it ended     |
 *      +- WAITING -----------------------+     |              |
 *           ^      the wait is over            |              |
 *           +----------------------------------+--------------+
 *
 *     LISTING -> SYNCING -> WATCHING, where the server streams lists: one request for both
 *
 *     LISTING, OPENING:     no credentials, or 401        -> AWAITING_CREDENTIALS
 *     AWAITING_CREDENTIALS: new credentials, or the timer -> the same request again
 *     LISTING, WATCHING:    the owner needs no watch      -> IDLE
 *     IDLE:                 the owner begins, or timer    -> LISTING
 *     LISTING:              only a consistent list helps  -> LISTING
 *     SYNCING:              as LISTING
 *     any:                  the owner stops it            -> STOPPED, to be freed
 *
 *  - A watch goes on from the cursor. After one that ended well the next begins at the cursor
 *    without a list, so no event is lost and none comes twice.
 *  - A watch that ended is requested again at once, unless it lasted less than a second without an
 *    event (J6): a server or proxy that ends every watch would get requests without a pause.
 *    One that reached its own limit, as the server or a proxy did not end it, has ended, too: its
 *    limit is random already (random_sec()), and an event must not wait for a pause.
 *  - A watch whose connection broke is requested again within a second, at random: a connection
 *    takes up to a hundred watches along, and a server all those of a cluster.
 *  - After any other failure the cursor is not trusted, also after a refused connection, where
 *    client-go repeats the watch (J10): a server that comes back may have been restored from a
 *    backup, and sends nothing until its versions have caught up; or its history was compacted.
 *
 *
 * A streamed list (WatchList) is a watch that begins with all objects and a bookmark that says so.
 *
 *  - Its objects are collected and applied as one list by that bookmark. A stream that ends before,
 *    that gets an ERROR event or an invalid one, shows nothing.
 *  - It saves a request and may cost only that: after one that broke, or that the server could not
 *    serve (5xx), the next list is a usual one, so that each recovery is the same as without
 *    streams. 401, 403, 404 and 429 say nothing about streams.
 *  - One that the server refuses as invalid (400, 422), or does not finish in time, is the last one
 *    for some minutes, of all watches of that server. A proxy that buffers a response until it ends
 *    is among the reasons.
 *
 * Source: kubelet-semantics.md J3 to J6, J10, J11, J14.
 */
#include "fetcher/api/watch.h"

#include "base/log.h"
#include "fetcher/api/protocol.h"

#define PATH_MAX_BYTES    65536 /* names, a cursor and a selector (16 KiB), and room for escapes */
#define REFUSAL_MAX_BYTES 65536 /* a Status is far shorter */

#define LIST_LIMIT      SPAN_SEC(30)
#define OPENING_LIMIT   SPAN_SEC(30) /* until a watch has a response, or a streamed list is whole */
#define WATCH_MIN_SEC   300u         /* J3 */
#define WATCH_RANGE_SEC 300u
#define WATCH_GRACE     SPAN_SEC(30) /* for the server to end the watch itself */
#define SHORT_WATCH     SPAN_SEC(1)  /* J6 */
#define RETURN_SPREAD   SPAN_SEC(1)

#define BIT(state) (1u << (state))

static const struct {
    const char *name;
    unsigned next; /* BIT() of the states that may follow; besides STOPPED */
} states[] = {
    [WATCH_NEW] = {"new", BIT(WATCH_LISTING) | BIT(WATCH_SYNCING) | BIT(WATCH_OPENING)},
    [WATCH_LISTING] = {"listing", BIT(WATCH_LISTING) | BIT(WATCH_SYNCING) | BIT(WATCH_OPENING) |
                                      BIT(WATCH_WAITING) | BIT(WATCH_AWAITING_CREDENTIALS) |
                                      BIT(WATCH_IDLE)},
    [WATCH_SYNCING] = {"syncing", BIT(WATCH_LISTING) | BIT(WATCH_SYNCING) | BIT(WATCH_WATCHING) |
                                      BIT(WATCH_WAITING) | BIT(WATCH_AWAITING_CREDENTIALS) |
                                      BIT(WATCH_IDLE)},
    [WATCH_OPENING] = {"opening",
                       BIT(WATCH_WATCHING) | BIT(WATCH_WAITING) | BIT(WATCH_AWAITING_CREDENTIALS)},
    [WATCH_WATCHING] = {"watching", BIT(WATCH_OPENING) | BIT(WATCH_WAITING) | BIT(WATCH_IDLE)},
    [WATCH_WAITING] = {"waiting", BIT(WATCH_LISTING) | BIT(WATCH_SYNCING) | BIT(WATCH_OPENING)},
    [WATCH_AWAITING_CREDENTIALS] = {"awaiting-credentials",
                                    BIT(WATCH_LISTING) | BIT(WATCH_SYNCING) | BIT(WATCH_OPENING)},
    [WATCH_IDLE] = {"idle", BIT(WATCH_LISTING) | BIT(WATCH_SYNCING)},
    [WATCH_STOPPED] = {"stopped", 0},
};

static void move(struct watch *w, enum watch_state state)
{
    log_trace(LOG_TRACE_REFLECTOR, "watch changes state", "object",
              w->ops->name(w, (char[WATCH_NAME_SIZE]){""}), "from", states[w->state].name, "to",
              states[state].name);
    assert((states[w->state].next & BIT(state)) != 0 ||
           (state == WATCH_STOPPED && w->state != WATCH_STOPPED));
    w->state = state;
}

const char *watch_state_name(const struct watch *watch)
{
    return states[watch->state].name;
}

/* ---- life */

void watch_init(struct watch *watch, const struct watch_ops *ops, size_t max_bytes,
                const struct watch_io *io, void *userdata)
{
    *watch = (struct watch){
        .ops = ops,
        .io = io,
        .userdata = userdata,
        .min_sec = WATCH_MIN_SEC,
        .range_sec = WATCH_RANGE_SEC,
        .body = BUF_INIT(max_bytes),
    };
    json_stream_init(&watch->stream, max_bytes);
}

void watch_pin(struct watch *watch)
{
    watch->n_pins++;
}

void watch_unpin(struct watch *watch)
{
    assert(watch->n_pins > 0);
    if (--watch->n_pins > 0 || watch->state != WATCH_STOPPED)
        return;
    buf_deinit(&watch->body);
    json_stream_deinit(&watch->stream);
    initial_list_deinit(&watch->initial);
    free(watch->cursor);
    watch->ops->free(watch);
}

void watch_stop(struct watch *watch)
{
    watch_pin(watch);
    watch->io->cancel(watch->userdata);
    watch->io->set_timer(watch->userdata, SPAN_FOREVER);
    move(watch, WATCH_STOPPED);
    watch_unpin(watch);
}

/* A request is under way in these states only; its reports may come until it is canceled or done.
 */
static bool has_request(const struct watch *w)
{
    return (BIT(w->state) & (BIT(WATCH_LISTING) | BIT(WATCH_SYNCING) | BIT(WATCH_OPENING) |
                             BIT(WATCH_WATCHING))) != 0;
}

/* The response's body is events, and no list or refusal. */
static bool has_events(const struct watch *w)
{
    return w->state == WATCH_WATCHING || (w->state == WATCH_SYNCING && w->status == 200);
}

/* ---- waits */

void watch_wait(struct watch *watch, enum watch_state resume, span_us delay)
{
    assert(resume == WATCH_OPENING || (watch->ops->has_lists && resume == WATCH_LISTING));
    watch->resume = resume;
    move(watch, WATCH_WAITING);
    watch->io->set_timer(watch->userdata, delay);
}

void watch_back_off(struct watch *watch, enum watch_state resume, span_us at_least)
{
    const struct watch_io *io = watch->io;

    watch_wait(watch, resume,
               backoff_next(&watch->backoff, io->now(watch->userdata), io->random(watch->userdata),
                            at_least));
}

void watch_fail(struct watch *watch, enum watch_state resume, span_us at_least,
                const struct error *e)
{
    if (watch->state == WATCH_STOPPED)
        return;
    watch_back_off(watch, resume, at_least);
    watch->ops->on_failure(watch, e);
}

/* Give up the request and the cursor. Return: what begins without them. */
static enum watch_state give_up(struct watch *w)
{
    w->io->cancel(w->userdata);
    w->prefers_lists |= w->state == WATCH_SYNCING;
    initial_list_deinit(&w->initial);
    if (!w->ops->has_lists)
        watch_drop_cursor(w);
    return w->ops->has_lists ? WATCH_LISTING : WATCH_OPENING;
}

void watch_restart(struct watch *watch, const struct error *e)
{
    if (watch->state == WATCH_STOPPED)
        return;
    watch_fail(watch, give_up(watch), 0, e);
}

void watch_expire(struct watch *watch, const struct error *e)
{
    if (watch->has_expired || watch->cursor == NULL || watch->state == WATCH_SYNCING) {
        watch_restart(watch, e);
        return;
    }
    watch->has_expired = true;
    log_debug("watch expired, starting over", "object",
              watch->ops->name(watch, (char[WATCH_NAME_SIZE]){""}), "reason", e->text);
    watch_back_off(watch, give_up(watch), watch->retry_after);
}

void watch_explain_refusal(const struct watch *watch, const char *allow, struct error *e)
{
    const struct protocol_refusal refusal = {
        .status = watch->status,
        .body = &watch->body,
        .allow = allow,
        .user = watch->io->user != NULL ? watch->io->user(watch->userdata) : NULL,
    };

    protocol_explain_refusal(&refusal, e);
}

void watch_await_credentials(struct watch *watch, span_us limit)
{
    assert(has_request(watch));
    watch->resume = watch_repeat_state(watch);
    move(watch, WATCH_AWAITING_CREDENTIALS);
    watch->io->set_timer(watch->userdata, limit);
}

void watch_idle(struct watch *watch, span_us delay)
{
    assert(watch->ops->has_lists);
    watch->io->cancel(watch->userdata);
    watch->resume = WATCH_LISTING;
    move(watch, WATCH_IDLE);
    watch->io->set_timer(watch->userdata, delay);
    json_stream_reset(&watch->stream);
}

/* ---- requests */

/* In seconds, as the server takes no fractions. */
static unsigned random_sec(struct watch *w)
{
    uint64_t random = w->io->random(w->userdata);

    return w->min_sec + (unsigned)((random * (w->range_sec + 1)) >> 32);
}

span_us watch_random_duration(struct watch *watch)
{
    return SPAN_SEC(random_sec(watch));
}

void watch_set_duration(struct watch *watch, unsigned min_sec, unsigned range_sec)
{
    watch->min_sec = min_sec;
    watch->range_sec = range_sec;
    if (watch->state == WATCH_IDLE || watch->state == WATCH_WATCHING)
        watch->io->set_timer(watch->userdata, watch_random_duration(watch));
}

int watch_set_cursor(struct watch *watch, const char *resource_version)
{
    char *cursor;

    if (resource_version[0] == '\0')
        return 0;
    cursor = strdup(resource_version);
    if (cursor == NULL)
        return -ENOMEM;
    free(watch->cursor);
    watch->cursor = cursor;
    return 0;
}

void watch_drop_cursor(struct watch *watch)
{
    free(watch->cursor);
    watch->cursor = NULL;
}

static int add_watch_query(const struct watch *w, struct buf *path)
{
    int r = buf_addf(path, "&watch=true&allowWatchBookmarks=true&timeoutSeconds=%u", w->limit_sec);

    if (w->state == WATCH_SYNCING)
        return r >= 0 ? buf_add_text(path, "&sendInitialEvents=true") : r;
    if (r >= 0 && w->cursor != NULL)
        r = buf_add_text(path, "&resourceVersion=");
    if (r >= 0 && w->cursor != NULL)
        r = protocol_add_escaped(path, w->cursor);
    return r;
}

static int send_request(struct watch *w, struct error *e)
{
    _cleanup_(buf_deinit) struct buf path = BUF_INIT(PATH_MAX_BYTES);
    struct watch_request request = {.total_limit = LIST_LIMIT};
    int r = w->ops->begin(w, &path);

    if (r >= 0 && w->state != WATCH_LISTING) {
        w->limit_sec = random_sec(w);
        r = add_watch_query(w, &path);
        request.total_limit = SPAN_SEC(w->limit_sec) + WATCH_GRACE;
        request.is_watch = true;
    }
    if (r < 0)
        return error_set_errno(e, r, "cannot prepare a request");
    request.path = buf_text(&path);
    return w->io->request(w->userdata, &request, e);
}

static bool streams_lists(const struct watch *w)
{
    return !w->prefers_lists && w->io->streams_lists != NULL && w->io->streams_lists(w->userdata);
}

enum watch_state watch_repeat_state(const struct watch *watch)
{
    return watch->state == WATCH_LISTING || watch->state == WATCH_SYNCING ? WATCH_LISTING
                                                                          : WATCH_OPENING;
}

void watch_begin(struct watch *watch, enum watch_state state)
{
    struct watch *w = watch;
    struct error e = ERROR_INIT;
    int r;

    if (w->state == WATCH_STOPPED)
        return;
    move(w, state == WATCH_LISTING && streams_lists(w) ? WATCH_SYNCING : state);
    w->io->set_timer(w->userdata, SPAN_FOREVER);
    w->status = 0;
    w->retry_after = 0;
    buf_deinit(&w->body);
    json_stream_reset(&w->stream);
    initial_list_deinit(&w->initial);
    w->n_events = 0;
    r = send_request(w, &e);
    if (r == WATCH_NO_CREDENTIALS) {
        watch_await_credentials(w, SPAN_FOREVER);
        if (e.text[0] != '\0')
            w->ops->on_failure(w, &e);
    } else if (r < 0) {
        watch_fail(w, watch_repeat_state(w), 0, &e);
    }
}

void watch_start(struct watch *watch)
{
    watch_pin(watch);
    watch_begin(watch, watch->ops->has_lists ? WATCH_LISTING : WATCH_OPENING);
    watch_unpin(watch);
}

void watch_on_sent(struct watch *watch)
{
    if (watch->state == WATCH_OPENING || watch->state == WATCH_SYNCING)
        watch->io->set_timer(watch->userdata, OPENING_LIMIT);
}

/* A watch that was requested before watch_set_duration() may last too long. */
static span_us renewal_delay(struct watch *w)
{
    return w->limit_sec > w->min_sec + w->range_sec ? watch_random_duration(w) : SPAN_FOREVER;
}

static void opened(struct watch *w)
{
    move(w, WATCH_WATCHING);
    w->n_refused = 0;
    w->n_watches++;
    w->n_events = 0; /* those of a list prove nothing about the watch */
    w->prefers_lists = false;
    w->watching_since = w->io->now(w->userdata);
    w->io->set_timer(w->userdata, w->is_distrusted ? SHORT_WATCH : renewal_delay(w));
    if (!w->is_distrusted)
        w->ops->on_live(w);
}

void watch_follow(struct watch *watch)
{
    if (watch->state == WATCH_SYNCING)
        opened(watch);
    else
        watch_begin(watch, WATCH_OPENING);
}

void watch_on_response(struct watch *watch, const struct http_response *response)
{
    struct watch *w = watch;

    assert(has_request(w));
    watch_pin(w);
    w->status = response->status;
    w->retry_after = response->retry_after;
    if (w->state == WATCH_OPENING && w->status == 200)
        opened(w);
    watch_unpin(w);
}

/* ---- responses */

/* All objects of a streamed list have come. */
static void apply_initial(struct watch *w, cJSON *event)
{
    static const struct error no_memory = {.text = "no memory for the API server's list"};
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;

    if (initial_list_take(&w->initial, event, &list) < 0)
        watch_restart(w, &no_memory);
    else
        w->ops->on_list(w, list);
}

static void collect(struct watch *w, const char *type, cJSON *event, size_t len)
{
    struct error e = ERROR_INIT;
    int r = -EINVAL;

    if (streq(type, "BOOKMARK")) {
        if (initial_list_is_end(json_member(event, "object")))
            apply_initial(w, event);
        return;
    }
    if (streq(type, "ADDED"))
        r = initial_list_add(&w->initial, event, len, w->body.max_len);
    if (r >= 0)
        return;
    error_set_errno(&e, r, "the API server's list cannot be read");
    watch_restart(w, &e);
}

static void apply_event(struct watch *w, const char *text, size_t len, mono_us received_at)
{
    _cleanup_(cJSON_Deletep) cJSON *event = NULL;
    struct error e = ERROR_INIT;
    const cJSON *object;
    const char *type;

    if (json_parse_with_nul(text, len, &event, &e) < 0) {
        w->ops->on_invalid_event(w, &e);
        return;
    }
    type = json_text(event, "type");
    object = json_member(event, "object");
    if (type == NULL || !cJSON_IsObject(object)) {
        error_set(&e, -EINVAL, "an event without type or object");
        w->ops->on_invalid_event(w, &e);
    } else if (streq(type, "ERROR")) {
        protocol_explain_end(object, &e);
        if (protocol_status_code(object) == 410)
            watch_expire(w, &e);
        else
            watch_restart(w, &e);
    } else if (w->state == WATCH_SYNCING) {
        collect(w, type, event, len);
    } else {
        w->has_expired = false;
        w->ops->on_event(w, type, object, received_at);
    }
}

/* All events that are complete now. The state changes if one of them ends the watch. */
static void feed(struct watch *w, const char *bytes, size_t len)
{
    mono_us received_at = w->io->now(w->userdata);
    struct error e = ERROR_INIT;
    int r = json_stream_add(&w->stream, bytes, len);

    while (r >= 0 && r != JSON_STREAM_NONE && has_events(w)) {
        const char *text;
        size_t text_len;

        r = json_stream_next(&w->stream, &text, &text_len);
        if (r < 0 || r == JSON_STREAM_NONE)
            continue;
        w->n_events++;
        if (r == JSON_STREAM_TOO_LONG) {
            error_set(&e, -EFBIG, "an event is too long");
            w->ops->on_invalid_event(w, &e);
        } else {
            apply_event(w, text, text_len, received_at);
        }
    }
    if (r >= 0)
        return;
    error_set_errno(&e, r, "the API server's watch%s cannot be read", w->ops->resources);
    watch_restart(w, &e);
}

/* A list that is too long ends here; a long refusal is cut. */
static void add_to_body(struct watch *w, const char *bytes, size_t len)
{
    bool is_list = w->status == 200;
    struct error e = ERROR_INIT;
    int r;

    if (!is_list)
        len = size_min(len, REFUSAL_MAX_BYTES - size_min(w->body.len, REFUSAL_MAX_BYTES));
    r = buf_add(&w->body, bytes, len);
    if (r >= 0 || !is_list)
        return;
    error_set_errno(&e, r, "the API server's list cannot be read");
    watch_restart(w, &e);
}

void watch_on_body(struct watch *watch, const char *bytes, size_t len)
{
    assert(has_request(watch));
    watch_pin(watch);
    if (has_events(watch))
        feed(watch, bytes, len);
    else
        add_to_body(watch, bytes, len);
    watch_unpin(watch);
}

static void watch_ended(struct watch *w, bool is_broken)
{
    /* the events that a watch without a cursor begins with prove nothing */
    bool is_short = (w->n_events == 0 || w->cursor == NULL) &&
                    w->io->now(w->userdata) - w->watching_since < SHORT_WATCH;
    struct error e = ERROR_INIT;

    if (is_short) {
        w->is_distrusted = true;
        error_set(
            &e, -EIO,
            "the API server ended the watch%s as soon as it began: check the proxies and load "
            "balancers between it and this node",
            w->ops->resources);
        watch_restart(w, &e);
    } else if (is_broken) {
        watch_wait(w, WATCH_OPENING, (RETURN_SPREAD * w->io->random(w->userdata)) >> 32);
    } else {
        if (w->ops->on_end != NULL)
            w->ops->on_end(w);
        watch_begin(w, WATCH_OPENING);
    }
}

/* The end of a streamed list that is not whole. Return: whether it was that. */
static bool sync_ended(struct watch *w)
{
    struct error e = ERROR_INIT;

    if (w->state != WATCH_SYNCING)
        return false;
    if (w->status == 200) {
        error_set(&e, -EIO, "the API server's list%s ended before it was whole", w->ops->resources);
        watch_restart(w, &e);
        return true;
    }
    w->prefers_lists |= w->status >= 500;
    if (w->status != 400 && w->status != 422)
        return false;
    w->io->reject_streams(w->userdata);
    w->prefers_lists = true;
    watch_begin(w, WATCH_LISTING);
    return true;
}

void watch_on_done(struct watch *watch, enum http_outcome outcome, const struct error *error)
{
    assert(has_request(watch));
    watch_pin(watch);
    if (watch->state == WATCH_WATCHING)
        watch_ended(watch, outcome != HTTP_COMPLETE && outcome != HTTP_TIMED_OUT);
    else if (outcome != HTTP_COMPLETE)
        watch_restart(watch, error);
    else if (!sync_ended(watch))
        watch->ops->on_complete(watch);
    watch_unpin(watch);
}

/* ---- timer and credentials */

/* A watch that was opened before watch_set_duration(). */
static void renew_if_old(struct watch *w)
{
    if (w->state != WATCH_WATCHING)
        return;
    if (w->io->now(w->userdata) - w->watching_since < SPAN_SEC(w->min_sec)) {
        w->io->set_timer(w->userdata, renewal_delay(w));
        return;
    }
    w->io->cancel(w->userdata);
    watch_begin(w, WATCH_OPENING);
}

void watch_on_timer(struct watch *watch)
{
    struct error e = ERROR_INIT;

    watch_pin(watch);
    switch (watch->state) {
    case WATCH_WAITING:
    case WATCH_AWAITING_CREDENTIALS:
    case WATCH_IDLE:
        watch_begin(watch, watch->resume);
        break;
    case WATCH_OPENING:
        error_set(&e, -ETIMEDOUT,
                  "the API server accepted the watch%s and did not answer: check its load",
                  watch->ops->resources);
        watch_restart(watch, &e);
        break;
    case WATCH_SYNCING:
        watch->io->reject_streams(watch->userdata);
        error_set(&e, -ETIMEDOUT,
                  "the API server did not send the whole list%s in time: check its load, and "
                  "whether a proxy holds responses back",
                  watch->ops->resources);
        watch_restart(watch, &e);
        break;
    case WATCH_WATCHING: /* it has lasted long enough to be trusted */
        watch->ops->on_live(watch);
        renew_if_old(watch);
        break;
    case WATCH_NEW:
    case WATCH_LISTING:
    case WATCH_STOPPED:
        break;
    }
    watch_unpin(watch);
}

void watch_on_credentials(struct watch *watch, const struct error *error)
{
    watch_pin(watch);
    if (watch->state == WATCH_AWAITING_CREDENTIALS && error != NULL)
        watch->ops->on_failure(watch, error);
    if (watch->state == WATCH_AWAITING_CREDENTIALS)
        watch_begin(watch, watch->resume);
    watch_unpin(watch);
}

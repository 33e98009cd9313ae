/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One watch of all pods of a node. The order that matters:
 *
 *  - It begins without a resourceVersion: the server then sends what there is as ADDED events, one
 *    pod after the other, and goes on with changes. There is no list, so no more than one pod is in
 *    memory as JSON, and servers of any age understand it.
 *  - Where these first events end is not said. Their resourceVersions are the pods' own, in no
 *    order, so none of them is a place to go on from: the first bookmark is. It comes after them,
 *    within a minute. From then on there is a cursor.
 *  - A watch that ends with a cursor goes on there, one without begins again.
 *  - A pod that is too long, or odd, is left out and costs nothing else. Its DELETED event may be
 *    what was left out, so that watch is not gone on with, but begun again.
 *  - A watch that begins again is a new round: what did not come again until its first bookmark, or
 *    its good end, is gone.
 *
 * What is known of a pod cannot be wrong, as volumes and mounts of a pod never change; trouble with
 * the watch makes no pod unknown.
 *
 * Source: kubelet-semantics.md J3 to J6, J10, J11, Y27.
 */
#include "fetcher/api/pod_watch.h"

#include "base/buf.h"
#include "base/log.h"
#include "encoding/json.h"
#include "fetcher/api/backoff.h"
#include "fetcher/api/json_stream.h"
#include "fetcher/api/protocol.h"

/* An event is a pod and a few words around it. */
#define EVENT_MAX_BYTES   (POD_JSON_MAX_BYTES + 1024)
#define REFUSAL_MAX_BYTES 65536 /* of an answer that is an error; a Status is far shorter */
#define PATH_MAX_BYTES    4096  /* two names and a cursor, with escapes */

#define OPENING_LIMIT   SPAN_SEC(30) /* until a watch answers */
#define WATCH_MIN_SEC   300u         /* J3 */
#define WATCH_RANGE_SEC 300u
#define WATCH_GRACE     SPAN_SEC(30) /* for the server to end the watch itself */
#define SHORT_WATCH     SPAN_SEC(1)  /* J6 */
#define RETURN_SPREAD   SPAN_SEC(1)  /* watches of many nodes break at the same time */
/*
 * Where pods may not be read nothing changes by itself, and each try is a line in the server's
 * audit log; rights that are granted while a node is set up come sooner.
 */
#define REFUSALS_SOON   5u
#define REFUSED_QUIET   SPAN_SEC(300)

/*
 *    start
 *      |
 *      v       200
 *   OPENING --------> WATCHING
 *     ^  ^ |             | | |
 *     |  | |             | | closed: again, at the cursor if there is one
 *     |  | |             | +--> OPENING
 *     |  | | fails       |
 *     |  | +---> WAITING | broken; ERROR; too short a life
 *     |  |        |  ^   |
 *     |  +--------+  +---+
 *     |   the wait is over
 */
enum pod_watch_state {
    STATE_NEW,
    STATE_OPENING,  /* a watch was asked for, and no answer came yet */
    STATE_WATCHING, /* events come as they happen */
    STATE_WAITING,  /* something failed; the timer begins again */
};

#define BIT(state) (1u << (state))

static const struct {
    const char *name;
    unsigned next; /* BIT() of the states that may follow */
} states[] = {
    [STATE_NEW] = {"new", BIT(STATE_OPENING)},
    [STATE_OPENING] = {"opening", BIT(STATE_WATCHING) | BIT(STATE_WAITING)},
    [STATE_WATCHING] = {"watching", BIT(STATE_OPENING) | BIT(STATE_WAITING)},
    [STATE_WAITING] = {"waiting", BIT(STATE_OPENING)},
};

struct pod_watch {
    struct pod_watch_options options;
    const struct pod_watch_io *io;
    void *userdata;

    enum pod_watch_state state;
    enum pod_watch_health health;
    char *cursor;       /* NULL: the next watch begins a round */
    bool is_in_round;   /* pods come again, and the end of that was not seen */
    bool is_incomplete; /* an event could not be used */

    int status; /* of the response under way; 0 before it came */
    span_us retry_after;
    struct buf refusal;
    struct json_stream stream;
    mono_us watching_since;
    unsigned long n_events; /* of this watch */

    struct backoff backoff;
    unsigned n_refused; /* in a row */
    bool is_distrusted; /* watches end as soon as they begin: opening one proves nothing */
};

/* ---- states and reports */

static void move(struct pod_watch *w, enum pod_watch_state state)
{
    log_debug("pod watch", "from", states[w->state].name, "to", states[state].name);
    assert((states[w->state].next & BIT(state)) != 0);
    w->state = state;
}

static void report(struct pod_watch *w, enum pod_watch_health health, const struct error *e)
{
    static const struct error none;

    w->health = health;
    w->io->on_health(w->userdata, health, e != NULL ? e : &none);
}

static void report_live(struct pod_watch *w)
{
    w->is_distrusted = false;
    if (w->health != POD_WATCH_LIVE)
        report(w, POD_WATCH_LIVE, NULL);
}

static void forget_cursor(struct pod_watch *w)
{
    free(w->cursor);
    w->cursor = NULL;
}

static void wait_for(struct pod_watch *w, span_us delay)
{
    move(w, STATE_WAITING);
    w->io->set_timer(w->userdata, delay);
}

/* Say so, and begin again after the back-off. */
static void fail(struct pod_watch *w, enum pod_watch_health health, span_us at_least,
                 const struct error *e)
{
    w->io->cancel(w->userdata);
    wait_for(w, backoff_next(&w->backoff, w->io->now(w->userdata), w->io->random(w->userdata),
                             at_least));
    report(w, health, e);
}

/*
 * The same where the cursor is no good any more, or may be none: a server that comes back may have
 * been restored from a backup, and sends nothing until its versions have caught up.
 */
static void fail_afresh(struct pod_watch *w, const struct error *e)
{
    forget_cursor(w);
    fail(w, POD_WATCH_FAILING, 0, e);
}

/* ---- requests */

/* @least to @least + @range seconds. */
static unsigned random_sec(const struct pod_watch *w, unsigned least, unsigned range)
{
    return least + (unsigned)(((uint64_t)w->io->random(w->userdata) * (range + 1)) >> 32);
}

static int add_path(const struct pod_watch *w, struct buf *path, unsigned timeout_sec)
{
    int r = buf_add_text(path, "/api/v1/pods?fieldSelector=spec.nodeName%3D");

    if (r == 0)
        r = protocol_add_escaped(path, w->options.node_name);
    if (r == 0)
        r = buf_addf(path, "&watch=true&allowWatchBookmarks=true&timeoutSeconds=%u", timeout_sec);
    if (r == 0 && w->cursor != NULL)
        r = buf_add_text(path, "&resourceVersion=");
    if (r == 0 && w->cursor != NULL)
        r = protocol_add_escaped(path, w->cursor);
    return r;
}

static int request(struct pod_watch *w, struct error *e)
{
    _cleanup_(buf_deinit) struct buf path = BUF_INIT(PATH_MAX_BYTES);
    unsigned timeout_sec = random_sec(w, WATCH_MIN_SEC, WATCH_RANGE_SEC);
    int r = add_path(w, &path, timeout_sec);

    if (r < 0)
        return error_set_errno(e, r, "cannot prepare a request");
    return w->io->request(w->userdata, buf_text(&path), SPAN_SEC(timeout_sec) + WATCH_GRACE, e);
}

static void begin(struct pod_watch *w)
{
    struct error e = ERROR_INIT;

    move(w, STATE_OPENING);
    w->io->set_timer(w->userdata, SPAN_FOREVER);
    w->status = 0;
    w->retry_after = 0;
    buf_deinit(&w->refusal);
    json_stream_reset(&w->stream);
    w->n_events = 0;
    if (w->is_incomplete)
        forget_cursor(w);
    w->is_incomplete = false;
    if (w->cursor == NULL) {
        pods_begin_round(w->options.pods);
        w->is_in_round = true;
    }
    if (request(w, &e) < 0)
        fail(w, POD_WATCH_FAILING, 0, &e);
}

/* ---- refusals */

/* A complete answer that is not the one hoped for; the state is OPENING. */
static void refused(struct pod_watch *w)
{
    static const char allow[] = ": allow this identity to get, list and watch pods";
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    bool is_refused = w->status == 401 || w->status == 403;
    struct error e = ERROR_INIT;

    json_parse(buf_text(&w->refusal), w->refusal.len, &json, NULL);
    protocol_explain_refusal(w->status, json_text(json, "message"), allow, &e);
    w->n_refused = is_refused ? w->n_refused + 1 : 0;
    if (w->status == 401)
        w->io->reject_credentials(w->userdata);
    if (w->status != 429) /* that only puts the watch off (J10) */
        forget_cursor(w);
    fail(w, is_refused ? POD_WATCH_REFUSED : POD_WATCH_FAILING,
         w->n_refused > REFUSALS_SOON ? REFUSED_QUIET : w->retry_after, &e);
}

/* ---- events */

/* The pods of this round have come. */
static void end_round(struct pod_watch *w)
{
    if (w->is_in_round)
        pods_end_round(w->options.pods);
    w->is_in_round = false;
}

static void set_cursor(struct pod_watch *w, const char *resource_version)
{
    char *cursor = resource_version[0] != '\0' ? strdup(resource_version) : NULL;

    if (cursor == NULL)
        return; /* an old cursor is good, too */
    free(w->cursor);
    w->cursor = cursor;
}

/* Only a server whose data went back has a bookmark before the cursor (J5). */
static void event_bookmark(struct pod_watch *w, const char *resource_version)
{
    struct error e = ERROR_INIT;

    if (w->cursor != NULL && protocol_is_older(resource_version, w->cursor)) {
        error_set(&e, -ESTALE, "the API server's data went back from version %.64s to %.64s",
                  w->cursor, resource_version);
        fail_afresh(w, &e);
        return;
    }
    end_round(w);
    set_cursor(w, resource_version);
}

/* Something is left out: the next watch is a new round, which makes up for it. */
static void leave_out(struct pod_watch *w, const char *why)
{
    log_debug("an event of a pod is left out", "reason", why);
    w->is_incomplete = true;
}

static void put(struct pod_watch *w, const cJSON *json)
{
    struct pod *pod = NULL;
    const struct pod *known;
    int r = pod_decode(json, w->options.driver_name, &pod);

    if (r == POD_WITHOUT_VOLUMES) {
        pods_remove(w->options.pods, pod_uid_of(json));
    } else if (r < 0) {
        leave_out(w, r == -ENOMEM ? "no memory" : "it is no pod");
    } else {
        known = pods_put(w->options.pods, pod);
        if (known != NULL)
            w->io->on_pod(w->userdata, known);
    }
}

static void event_apply(struct pod_watch *w, const char *type, const cJSON *json)
{
    const char *uid = pod_uid_of(json);

    if (streq(type, "BOOKMARK")) {
        event_bookmark(w, protocol_resource_version(json));
        return;
    }
    if (streq(type, "DELETED") && uid != NULL)
        pods_remove(w->options.pods, uid);
    else if (streq(type, "ADDED") || streq(type, "MODIFIED"))
        put(w, json);
    else
        leave_out(w, "it is of an unknown type");
    if (w->cursor != NULL)
        set_cursor(w, protocol_resource_version(json));
}

static void event(struct pod_watch *w, const char *text, size_t len)
{
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    struct error e = ERROR_INIT;
    const cJSON *object;
    const char *type;

    if (json_parse(text, len, &json, &e) < 0) {
        leave_out(w, e.text);
        return;
    }
    type = json_text(json, "type");
    object = json_member(json, "object");
    if (type == NULL || !cJSON_IsObject(object)) {
        leave_out(w, "it has no type or no object");
    } else if (streq(type, "ERROR")) {
        protocol_explain_end(object, &e);
        fail_afresh(w, &e);
    } else {
        event_apply(w, type, object);
    }
    if (w->state == STATE_WATCHING)
        report_live(w);
}

static void feed(struct pod_watch *w, const char *bytes, size_t len)
{
    struct error e = ERROR_INIT;
    const char *text;
    size_t text_len;
    int r = json_stream_add(&w->stream, bytes, len);

    while (r >= 0 && r != JSON_STREAM_NONE && w->state == STATE_WATCHING) {
        r = json_stream_next(&w->stream, &text, &text_len);
        w->n_events += r == 0 || r == JSON_STREAM_TOO_LONG;
        if (r == 0)
            event(w, text, text_len);
        else if (r == JSON_STREAM_TOO_LONG)
            leave_out(w, "it is too long");
    }
    if (r >= 0)
        return;
    error_set_errno(&e, r, "the API server's watch of pods cannot be read");
    fail_afresh(w, &e);
}

/* Whether it ended as soon as it began. What a new round brings proves nothing. */
static bool was_short(const struct pod_watch *w)
{
    return (w->n_events == 0 || w->cursor == NULL) &&
           w->io->now(w->userdata) - w->watching_since < SHORT_WATCH;
}

/*
 * J6: a watch that ends is begun again at once, unless that is all it ever does; and soon after if
 * it did not end but broke.
 */
static void closed(struct pod_watch *w, bool is_broken)
{
    struct error e = ERROR_INIT;

    if (was_short(w)) {
        w->is_distrusted = true;
        error_set(&e, -EIO,
                  "the API server ended the watch of pods as soon as it began: check what is "
                  "between it and this node");
        fail_afresh(w, &e);
    } else if (is_broken) {
        wait_for(w, (RETURN_SPREAD * w->io->random(w->userdata)) >> 32);
    } else {
        end_round(w);
        begin(w);
    }
}

/* ---- what happens */

void pod_watch_start(struct pod_watch *watch)
{
    begin(watch);
}

void pod_watch_on_sent(struct pod_watch *watch)
{
    if (watch->state == STATE_OPENING)
        watch->io->set_timer(watch->userdata, OPENING_LIMIT);
}

void pod_watch_on_response(struct pod_watch *watch, const struct http_response *response)
{
    struct pod_watch *w = watch;

    w->status = response->status;
    w->retry_after = response->retry_after;
    if (w->state != STATE_OPENING || w->status != 200)
        return;
    move(w, STATE_WATCHING);
    w->n_refused = 0;
    w->watching_since = w->io->now(w->userdata);
    w->io->set_timer(w->userdata, w->is_distrusted ? SHORT_WATCH : SPAN_FOREVER);
    if (!w->is_distrusted)
        report_live(w);
}

void pod_watch_on_body(struct pod_watch *watch, const char *bytes, size_t len)
{
    struct pod_watch *w = watch;

    if (w->state == STATE_WATCHING)
        feed(w, bytes, len);
    else if (buf_add(&w->refusal, bytes, len) < 0)
        buf_deinit(&w->refusal); /* the status alone has to do */
}

void pod_watch_on_done(struct pod_watch *watch, enum http_outcome outcome,
                       const struct error *error)
{
    if (watch->state == STATE_WATCHING)
        closed(watch, outcome != HTTP_COMPLETE);
    else if (outcome != HTTP_COMPLETE)
        fail_afresh(watch, error);
    else
        refused(watch);
}

void pod_watch_on_timer(struct pod_watch *watch)
{
    struct error e = ERROR_INIT;

    switch (watch->state) {
    case STATE_WAITING:
        begin(watch);
        break;
    case STATE_OPENING:
        error_set(&e, -ETIMEDOUT,
                  "the API server took the watch of pods and did not answer: check its load");
        fail_afresh(watch, &e);
        break;
    case STATE_WATCHING: /* it lives long enough to be trusted */
        report_live(watch);
        break;
    case STATE_NEW:
        break;
    }
}

enum pod_watch_health pod_watch_health(const struct pod_watch *watch)
{
    return watch->health;
}

const char *pod_watch_state_name(const struct pod_watch *watch)
{
    return states[watch->state].name;
}

int pod_watch_new(const struct pod_watch_options *options, const struct pod_watch_io *io,
                  void *userdata, struct pod_watch **ret_watch)
{
    struct pod_watch *w = calloc(1, sizeof(*w));

    if (w == NULL)
        return -ENOMEM;
    w->options = *options;
    w->io = io;
    w->userdata = userdata;
    w->refusal = BUF_INIT(REFUSAL_MAX_BYTES);
    json_stream_init(&w->stream, EVENT_MAX_BYTES);
    w->stream.skips_long = true;
    *ret_watch = w;
    return 0;
}

struct pod_watch *pod_watch_free(struct pod_watch *watch)
{
    if (watch == NULL)
        return NULL;
    watch->io->cancel(watch->userdata);
    watch->io->set_timer(watch->userdata, SPAN_FOREVER);
    buf_deinit(&watch->refusal);
    json_stream_deinit(&watch->stream);
    free(watch->cursor);
    free(watch);
    return NULL;
}

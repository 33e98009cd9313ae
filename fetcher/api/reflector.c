/* SPDX-License-Identifier: Apache-2.0 */
/*
 * List and watch of one object, the way client-go does it, so that the API server and its node
 * authorizer see nothing that they do not know from the kubelet. The order that matters:
 *
 *  - The first list is a consistent read (no resourceVersion), not one from the API server's cache
 *    as the kubelet's, which can be older than what made somebody mount the volume.
 *  - A watch goes on from the cursor: the resourceVersion of the list, then of each event. After a
 *    watch that ended well the next one begins at the cursor without a list, so nothing is missed
 *    and nothing is delivered twice.
 *  - A later list asks for "not older than the cursor". Should the answer be older nevertheless it
 *    is not shown; a consistent list decides, and that one is believed even if it goes back, as
 *    after a restore of etcd.
 *  - What the store has stays there whatever happens here. Only a list without the object or a
 *    DELETED event removes it.
 *  - An immutable object cannot change, so it is not watched (G19): it could only be deleted, which
 *    a volume that shows it would not follow, and made anew, which the next volume to ask for it
 *    finds out by a list.
 *
 * Source: kubelet-semantics.md J1 to J13, K3.
 */
#include "fetcher/api/reflector.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/log.h"
#include "encoding/json.h"
#include "fetcher/api/backoff.h"
#include "fetcher/api/json_stream.h"
#include "fetcher/api/protocol.h"
#include "fetcher/decode.h"

/*
 * 1 MiB of values, if they are control characters, is 6 MiB of JSON, and the annotation in which
 * kubectl apply repeats an object can double that.
 */
#define DOCUMENT_MAX_BYTES (16u << 20)
/* Of an answer that is an error; a Status is far shorter. */
#define REFUSAL_MAX_BYTES  65536

#define LIST_LIMIT        SPAN_SEC(30)
#define OPENING_LIMIT     SPAN_SEC(30) /* until a watch answers */
#define WATCH_MIN_SEC     300u         /* J3 */
#define WATCH_RANGE_SEC   300u
#define RIGHTS_MIN_SEC    30u /* the same where rights are to be checked */
#define RIGHTS_RANGE_SEC  30u
#define WATCH_GRACE       SPAN_SEC(30) /* for the server to end the watch itself */
#define PARKED_LIMIT      SPAN_SEC(30) /* for new credentials after the old ones were rejected */
#define SHORT_WATCH       SPAN_SEC(1)  /* J6 */
/*
 * A connection that breaks takes up to a hundred watches along, and a server all those of a
 * cluster: they come back one after the other.
 */
#define RETURN_SPREAD     SPAN_SEC(1)
/* The node authorizer learns of a new pod some milliseconds after the pod was bound (K3). */
#define QUICK_RETRY       SPAN_MS(50) /* doubling */
#define QUICK_RETRIES_MAX 5           /* 1.55 s together */

/*
 *          start
 *            |
 *            v    the list is good            200
 *         LISTING -----------------> OPENING ------> WATCHING
 *          |  ^  \                   ^  |  \           |  |
 *          |  |   \ no credentials,  |  |   \ 401      |  | closed: again at the cursor
 *    fails |  |    \ or 401          |  |    \         |  +--> OPENING
 *          |  |     v                |  |     v        |
 *          |  +---- PARKED ----------+  |    PARKED    | ERROR, no JSON,
 *          |  |     new credentials,    |              | too short a life
 *          |  |     the same again      | fails        |
 *          v  |                         v              |
 *         WAITING <--------------------+---------------+
 *             the wait is over: a list, or the watch again if it was only put off
 *
 * From LISTING and WATCHING an immutable object leads to RESTING, where nothing is under way; a
 * refresh leads from there to LISTING, and so does the timer where rights are to be checked.
 *
 * LISTING also follows itself at once when only a consistent list can help (410, or an old answer).
 * It suspends in every state but NEW, where it has not begun; it is freed from any.
 */
enum reflector_state {
    STATE_NEW,
    STATE_LISTING,  /* a list was asked for */
    STATE_OPENING,  /* a watch was asked for, and no answer came yet */
    STATE_WATCHING, /* events come as they happen */
    STATE_WAITING,  /* something failed; the timer leads to what is next */
    STATE_PARKED,   /* credentials are being got */
    STATE_RESTING,  /* the object is immutable: there is nothing to wait for */
};

#define BIT(state) (1u << (state))

static const struct {
    const char *name;
    unsigned next; /* BIT() of the states that may follow */
} states[] = {
    [STATE_NEW] = {"new", BIT(STATE_LISTING)},
    [STATE_LISTING] = {"listing", BIT(STATE_LISTING) | BIT(STATE_OPENING) | BIT(STATE_WAITING) |
                                      BIT(STATE_PARKED) | BIT(STATE_RESTING)},
    [STATE_OPENING] = {"opening", BIT(STATE_WATCHING) | BIT(STATE_WAITING) | BIT(STATE_PARKED)},
    [STATE_WATCHING] = {"watching", BIT(STATE_OPENING) | BIT(STATE_WAITING) | BIT(STATE_RESTING)},
    [STATE_WAITING] = {"waiting", BIT(STATE_LISTING) | BIT(STATE_OPENING)},
    [STATE_PARKED] = {"parked", BIT(STATE_LISTING) | BIT(STATE_OPENING)},
    [STATE_RESTING] = {"resting", BIT(STATE_LISTING)},
};

static const struct error no_memory = {.text = "there was no memory for the object"};

struct reflector {
    struct store *store;
    const struct object_key *key;
    const struct reflector_io *io;
    void *userdata;
    unsigned n_pins; /* calls under way, during which it is not freed */
    bool is_gone;    /* freed during one; nothing borrowed may be touched any more */

    enum reflector_state state;
    enum reflector_state
        resume;            /* STATE_LISTING or STATE_OPENING: what WAITING and PARKED lead to */
    char *cursor;          /* NULL before the first list */
    struct object *held;   /* what the store has from us; NULL if it is to have none */
    bool wants_consistent; /* the next list must not come from a cache */

    int status; /* of the response under way; 0 before it came */
    span_us retry_after;
    struct buf body;           /* of a list, or of a refusal */
    struct json_stream stream; /* of a watch */
    mono_us watching_since;
    unsigned long n_events; /* of this watch */

    struct backoff backoff;
    unsigned n_quick_retries;
    unsigned n_rejected; /* 401s in a row */
    bool was_live;       /* ever */
    bool checks_rights;  /* somebody wants to know soon when they are withdrawn */
    bool is_distrusted;  /* watches end as soon as they begin: opening one proves nothing */
    bool is_undecodable; /* the newest object cannot be used */
    bool has_gone_back;  /* it was said that the server's data went back */
    unsigned long n_watches;
};

/* ---- states and reports */

static void reflector_move(struct reflector *r, enum reflector_state state)
{
    log_debug("reflector", "object", object_key_text(r->key, (char[OBJECT_KEY_TEXT_SIZE]){""}),
              "from", states[r->state].name, "to", states[state].name);
    assert((states[r->state].next & BIT(state)) != 0);
    r->state = state;
}

static void pin(struct reflector *r)
{
    r->n_pins++;
}

static void unpin(struct reflector *r)
{
    if (--r->n_pins > 0 || !r->is_gone)
        return;
    buf_deinit(&r->body);
    json_stream_deinit(&r->stream);
    object_unref(r->held);
    free(r->cursor);
    free(r);
}

/* Changes come in: said once the watch stands, and not while it brings what cannot be used. */
static void report_live(struct reflector *r)
{
    if (r->is_gone || r->is_undecodable)
        return;
    r->is_distrusted = false;
    r->was_live = true;
    store_report(r->store, r->key, STORE_SOURCE_LIVE, NULL);
}

static void report_failing(struct reflector *r, const struct error *e)
{
    if (!r->is_gone)
        store_report(r->store, r->key, STORE_SOURCE_FAILING, e);
}

static void wait_for(struct reflector *r, enum reflector_state resume, span_us delay)
{
    r->resume = resume;
    reflector_move(r, STATE_WAITING);
    r->io->set_timer(r->userdata, delay);
}

/* Go on with @resume after the back-off. */
static void back_off(struct reflector *r, enum reflector_state resume, span_us at_least)
{
    wait_for(
        r, resume,
        backoff_next(&r->backoff, r->io->now(r->userdata), r->io->random(r->userdata), at_least));
}

/* Something failed: say so, and go on with @resume after the back-off. */
static void reflector_fail(struct reflector *r, enum reflector_state resume, span_us at_least,
                           const struct error *e)
{
    if (r->is_gone)
        return;
    back_off(r, resume, at_least);
    report_failing(r, e);
}

/* @least to @least + @range seconds. */
static unsigned random_sec(struct reflector *r, unsigned least, unsigned range)
{
    return least + (unsigned)(((uint64_t)r->io->random(r->userdata) * (range + 1)) >> 32);
}

/* How long a watch lives, or an immutable object is left alone. */
static unsigned watch_sec(struct reflector *r)
{
    return r->checks_rights ? random_sec(r, RIGHTS_MIN_SEC, RIGHTS_RANGE_SEC)
                            : random_sec(r, WATCH_MIN_SEC, WATCH_RANGE_SEC);
}

/* ---- requests */

static int add_path(struct reflector *r, struct buf *b)
{
    int result = buf_add_text(b, "/api/v1/namespaces/");

    if (result >= 0)
        result = protocol_add_escaped(b, r->key->namespace);
    if (result >= 0)
        result =
            buf_addf(b, "/%s?fieldSelector=metadata.name%%3D", object_kind_plural(r->key->kind));
    if (result >= 0)
        result = protocol_add_escaped(b, r->key->name);
    return result;
}

/* No limit=: with it, old servers read resourceVersion as "exactly". */
static int add_list_query(struct reflector *r, struct buf *b)
{
    int result = 0;

    if (r->cursor == NULL || r->wants_consistent)
        return 0;
    result = buf_add_text(b, "&resourceVersionMatch=NotOlderThan&resourceVersion=");
    if (result >= 0)
        result = protocol_add_escaped(b, r->cursor);
    return result;
}

static int add_watch_query(struct reflector *r, struct buf *b, unsigned timeout_sec)
{
    int result = buf_addf(b,
                          "&watch=true&allowWatchBookmarks=true&timeoutSeconds=%u"
                          "&resourceVersion=",
                          timeout_sec);

    if (result >= 0)
        result = protocol_add_escaped(b, r->cursor);
    return result;
}

/* Ask for a list or a watch; the state is LISTING or OPENING. */
static int reflector_request(struct reflector *r, struct error *e)
{
    struct buf path = BUF_INIT(4096); /* two names, a cursor, and room for escapes */
    struct reflector_request request = {.total_limit = LIST_LIMIT};
    int result = add_path(r, &path);
    if (result >= 0 && r->state == STATE_LISTING) {
        result = add_list_query(r, &path);
    } else if (result >= 0) {
        unsigned timeout_sec = watch_sec(r);
        result = add_watch_query(r, &path, timeout_sec);
        request.total_limit = SPAN_SEC(timeout_sec) + WATCH_GRACE;
        request.is_watch = true;
    }
    request.path = buf_text(&path);
    if (result >= 0)
        result = r->io->request(r->userdata, &request, e);
    else
        result = error_set_errno(e, result, "cannot prepare a request");
    buf_deinit(&path);
    return result;
}

static void reflector_begin(struct reflector *r, enum reflector_state state)
{
    struct error e = ERROR_INIT;
    int result;

    if (r->is_gone)
        return;
    reflector_move(r, state);
    r->io->set_timer(r->userdata, SPAN_FOREVER);
    r->status = 0;
    r->retry_after = 0;
    buf_deinit(&r->body);
    json_stream_reset(&r->stream);
    r->n_events = 0;
    result = reflector_request(r, &e);
    if (result == REFLECTOR_NO_CREDENTIALS) {
        r->resume = state;
        reflector_move(r, STATE_PARKED);
        r->io->set_timer(r->userdata, SPAN_FOREVER);
        if (e.text[0] != '\0')
            report_failing(r, &e);
    } else if (result < 0) {
        reflector_fail(r, state, 0, &e);
    }
}

/* ---- objects */

static int set_cursor(struct reflector *r, const char *resource_version)
{
    char *cursor;

    if (resource_version[0] == '\0')
        return 0; /* better the old one than none */
    cursor = strdup(resource_version);
    if (cursor == NULL)
        return -ENOMEM;
    free(r->cursor);
    r->cursor = cursor;
    return 0;
}

/* Whether a document is of our kind; items of a list need not say. */
static bool is_our_kind(const struct reflector *r, const cJSON *json)
{
    const char *kind = json_text(json, "kind");

    return kind == NULL || streq(kind, object_kind_name(r->key->kind));
}

static bool is_our_object(const struct reflector *r, const cJSON *json)
{
    const cJSON *metadata = json_member(json, "metadata");
    const char *namespace = json_text(metadata, "namespace"), *name = json_text(metadata, "name");

    return is_our_kind(r, json) && name != NULL && streq(name, r->key->name) &&
           (namespace == NULL || streq(namespace, r->key->namespace));
}

static bool is_held(const struct reflector *r, const struct object *object)
{
    return r->held != NULL && streq(r->held->uid, object->uid) &&
           streq(r->held->resource_version, object->resource_version);
}

/*
 * The newest state of the object goes to the store, unless it is there already (J13). One that
 * cannot be used is reported, and the next one may mend it.
 * Return: 0; -ENOMEM, for which only another list helps.
 */
static int reflector_put(struct reflector *r, const cJSON *json, mono_us received_at)
{
    const struct decode_expect expect = {.kind = &r->key->kind,
                                         .default_namespace = r->key->namespace};
    _cleanup_(object_unrefp) struct object *object = NULL;
    struct error e = ERROR_INIT;
    int result = decode_object(json, &expect, &object, &e);

    if (result == -ENOMEM)
        return result;
    r->is_undecodable = result < 0;
    if (result < 0) {
        error_prefix(&e, result, "the API server's newest version cannot be used");
        report_failing(r, &e);
        return 0;
    }
    if (is_held(r, object))
        return 0;
    object_unref(r->held);
    r->held = object_ref(object);
    store_put(r->store, TAKE(object), received_at);
    return 0;
}

static void reflector_remove(struct reflector *r, mono_us received_at)
{
    r->is_undecodable = false;
    r->held = object_unref(r->held);
    store_remove(r->store, r->key, received_at);
}

/* ---- refusals */

static const char allow_object[] =
    ": allow this identity to get, list and watch it (a node's own credentials are allowed to when "
    "a pod on the node names it)";

/* A server that is asked for a future resourceVersion (J8). */
static bool is_too_large_version(const cJSON *status)
{
    const cJSON *cause, *causes = json_path(status, "details", "causes", NULL);

    cJSON_ArrayForEach (cause, causes) {
        const char *reason = json_text(cause, "reason"), *message = json_text(cause, "message");

        /* servers before 1.18.6 give the message only */
        if ((reason != NULL && streq(reason, "ResourceVersionTooLarge")) ||
            (message != NULL && streq(message, "Too large resource version")))
            return true;
    }
    return false;
}

/* The Status that came as the body of a refusal. Return: the caller's; NULL if it is none. */
static cJSON *refusal_parse(struct reflector *r)
{
    cJSON *json = NULL;

    if (json_parse(buf_text(&r->body), r->body.len, &json, NULL) < 0)
        return NULL;
    return json;
}

static void park(struct reflector *r, span_us limit)
{
    r->resume = r->state;
    reflector_move(r, STATE_PARKED);
    r->io->set_timer(r->userdata, limit);
}

/* 401: new credentials and once more at once; after that at the back-off's pace. */
static void reflector_unauthorized(struct reflector *r, const struct error *e)
{
    struct error waiting = ERROR_INIT;
    int result = r->io->reject_credentials(r->userdata, &waiting);

    r->n_rejected++;
    if (result == REFLECTOR_NEW_CREDENTIALS) {
        park(r, SPAN_FOREVER);
        reflector_begin(r, r->resume);
    } else if (result == REFLECTOR_NO_CREDENTIALS) {
        park(r, SPAN_FOREVER);
        report_failing(r, &waiting);
    } else if (r->n_rejected == 1) {
        park(r, PARKED_LIMIT);
    } else {
        reflector_fail(r, r->state, r->retry_after, e);
    }
}

/* 403: at first contact it may be that the node authorizer does not know the pod yet. */
static void reflector_forbidden(struct reflector *r, const struct error *e)
{
    if (r->was_live || r->n_quick_retries >= QUICK_RETRIES_MAX) {
        back_off(r, STATE_LISTING, r->retry_after);
        store_forbid(r->store, r->key, e);
        return;
    }
    wait_for(r, STATE_LISTING, QUICK_RETRY << r->n_quick_retries);
    r->n_quick_retries++;
}

/* A complete answer that is not the one hoped for; the state is LISTING or OPENING. */
static void reflector_refused(struct reflector *r)
{
    _cleanup_(cJSON_Deletep) cJSON *status = refusal_parse(r);
    bool was_list = r->state == STATE_LISTING;
    struct error e = ERROR_INIT;

    protocol_explain_refusal(r->status, json_text(status, "message"), allow_object, &e);
    if (r->status == 401) {
        reflector_unauthorized(r, &e);
    } else if (r->status == 403) {
        reflector_forbidden(r, &e);
    } else if (was_list && r->cursor != NULL && !r->wants_consistent &&
               (r->status == 410 || is_too_large_version(status))) {
        r->wants_consistent = true;
        reflector_begin(r, STATE_LISTING);
    } else {
        /* a watch that was only put off need not begin with a list (J10) */
        reflector_fail(r, !was_list && r->status == 429 ? STATE_OPENING : STATE_LISTING,
                       r->retry_after, &e);
    }
}

/* ---- lists */

/* The list's item that we asked for; others should not be there. Return: NULL if there is none. */
static const cJSON *list_find(const struct reflector *r, const cJSON *list)
{
    const cJSON *item;

    cJSON_ArrayForEach (item, json_member(list, "items")) {
        if (is_our_object(r, item))
            return item;
    }
    return NULL;
}

/* Whether a list shows a past that we have left already. */
static bool list_goes_back(const struct reflector *r, const cJSON *list, const cJSON *item)
{
    if (r->cursor != NULL && protocol_is_older(protocol_resource_version(list), r->cursor))
        return true;
    return item != NULL && r->held != NULL &&
           protocol_is_older(protocol_resource_version(item), r->held->resource_version);
}

/*
 * A consistent list is older than what we had: somebody put an old backup of etcd in place. Lower
 * rooms do not log above debug, but nobody else can know, and from now on volumes show old content.
 */
static void warn_of_past(struct reflector *r, const cJSON *list)
{
    if (!r->has_gone_back)
        log_warn("the API server's data went back in time, as after a restore from a backup; "
                 "following it",
                 "object", object_key_text(r->key, (char[OBJECT_KEY_TEXT_SIZE]){""}), "from",
                 r->cursor, "to", protocol_resource_version(list));
    r->has_gone_back = true;
}

/* ---- immutable objects */

static bool is_final(const struct reflector *r)
{
    return r->held != NULL && r->held->is_immutable && !r->is_undecodable;
}

static void reflector_rest(struct reflector *r)
{
    if (r->is_gone)
        return;
    r->io->cancel(r->userdata);
    reflector_move(r, STATE_RESTING);
    r->io->set_timer(r->userdata, r->checks_rights ? SPAN_SEC(watch_sec(r)) : SPAN_FOREVER);
    json_stream_reset(&r->stream);
    report_live(r);
}

/* ---- lists, applied */

static void list_apply(struct reflector *r, const cJSON *list)
{
    mono_us now = r->io->now(r->userdata);
    const cJSON *item = list_find(r, list);
    bool was_consistent = r->cursor == NULL || r->wants_consistent;
    struct error e = ERROR_INIT;

    if (list_goes_back(r, list, item)) {
        if (!was_consistent) {
            r->wants_consistent = true;
            reflector_begin(r, STATE_LISTING);
            return;
        }
        warn_of_past(r, list);
    }
    if (set_cursor(r, protocol_resource_version(list)) < 0 || r->cursor == NULL) {
        error_set(&e, -EIO, "the API server's list has no usable resourceVersion");
        reflector_fail(r, STATE_LISTING, 0, &e);
        return;
    }
    r->wants_consistent = false;
    if (item == NULL)
        reflector_remove(r, now);
    else if (reflector_put(r, item, now) < 0)
        reflector_fail(r, STATE_LISTING, 0, &no_memory);
    if (r->state == STATE_LISTING && is_final(r))
        reflector_rest(r);
    else if (r->state == STATE_LISTING)
        reflector_begin(r, STATE_OPENING);
}

static void list_done(struct reflector *r)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    struct error e = ERROR_INIT;

    r->n_rejected = 0;
    if (json_parse(buf_text(&r->body), r->body.len, &list, &e) < 0) {
        error_prefix(&e, -EINVAL, "the API server's list cannot be read");
        reflector_fail(r, STATE_LISTING, 0, &e);
        return;
    }
    buf_deinit(&r->body);
    if (!cJSON_IsArray(json_member(list, "items")) && !cJSON_IsNull(json_member(list, "items"))) {
        error_set(&e, -EINVAL,
                  "the server answered with something that is no list of %s: check that its "
                  "URL is an API server's",
                  object_kind_plural(r->key->kind));
        reflector_fail(r, STATE_LISTING, 0, &e);
        return;
    }
    list_apply(r, list);
}

/* ---- watches */

/* End the watch for a reason that a new list has to mend. */
static void watch_abort(struct reflector *r, const struct error *e)
{
    r->io->cancel(r->userdata);
    reflector_fail(r, STATE_LISTING, 0, e);
}

static void event_error(struct reflector *r, const cJSON *status)
{
    struct error e = ERROR_INIT;

    protocol_explain_end(status, &e);
    watch_abort(r, &e);
}

/* Only a server whose data went back has a bookmark before the cursor (J5). */
static void event_bookmark(struct reflector *r, const char *resource_version)
{
    struct error e = ERROR_INIT;

    if (!protocol_is_older(resource_version, r->cursor)) {
        set_cursor(r, resource_version); /* an old cursor is good, too */
        report_live(r);
        return;
    }
    r->wants_consistent = true;
    error_set(&e, -ESTALE, "the API server's data went back from version %.64s to %.64s", r->cursor,
              resource_version);
    watch_abort(r, &e);
}

static void event_apply(struct reflector *r, const char *type, const cJSON *object,
                        mono_us received_at)
{
    if (!is_our_kind(r, object)) {
        log_debug("event of another kind ignored", "type", type, "kind", json_text(object, "kind"));
        return;
    }
    if (streq(type, "BOOKMARK")) {
        event_bookmark(r, protocol_resource_version(object));
        return;
    }
    set_cursor(r, protocol_resource_version(object)); /* an old cursor is good, too */
    if (!is_our_object(r, object))
        log_debug("event of another object ignored", "type", type);
    else if (streq(type, "DELETED"))
        reflector_remove(r, received_at);
    else if (!streq(type, "ADDED") && !streq(type, "MODIFIED"))
        log_debug("event of an unknown type ignored", "type", type);
    else if (reflector_put(r, object, received_at) < 0)
        watch_abort(r, &no_memory);
    if (r->state == STATE_WATCHING && is_final(r))
        reflector_rest(r);
    else if (r->state == STATE_WATCHING)
        report_live(r);
}

static void watch_event(struct reflector *r, const char *text, size_t len, mono_us received_at)
{
    _cleanup_(cJSON_Deletep) cJSON *event = NULL;
    struct error e = ERROR_INIT;
    const cJSON *object;
    const char *type;

    r->n_events++;
    if (json_parse(text, len, &event, &e) < 0) {
        error_prefix(&e, -EINVAL, "the API server's watch cannot be read");
        watch_abort(r, &e);
        return;
    }
    type = json_text(event, "type");
    object = json_member(event, "object");
    if (type == NULL || !cJSON_IsObject(object)) {
        error_set(&e, -EINVAL, "the API server's watch has an event without type or object");
        watch_abort(r, &e);
    } else if (streq(type, "ERROR")) {
        event_error(r, object);
    } else {
        event_apply(r, type, object, received_at);
    }
}

static void watch_feed(struct reflector *r, const char *bytes, size_t len)
{
    mono_us received_at = r->io->now(r->userdata);
    struct error e = ERROR_INIT;
    const char *text;
    size_t text_len;
    int result = json_stream_add(&r->stream, bytes, len);

    while (result == 0 && r->state == STATE_WATCHING && !r->is_gone) {
        result = json_stream_next(&r->stream, &text, &text_len);
        if (result == 0)
            watch_event(r, text, text_len, received_at);
    }
    if (result >= 0)
        return;
    error_set_errno(&e, result, "the API server's watch cannot be read");
    watch_abort(r, &e);
}

/*
 * J6: a watch that ends is begun again at once, unless that is all it ever does; and soon after if
 * it did not end but broke.
 */
static void watch_closed(struct reflector *r, bool is_broken)
{
    struct error e = ERROR_INIT;

    if (r->n_events > 0 || r->io->now(r->userdata) - r->watching_since >= SHORT_WATCH) {
        if (is_broken)
            wait_for(r, STATE_OPENING, (RETURN_SPREAD * r->io->random(r->userdata)) >> 32);
        else
            reflector_begin(r, STATE_OPENING);
        return;
    }
    r->is_distrusted = true;
    error_set(&e, -EIO,
              "the API server ended the watch as soon as it began: check what is "
              "between it and this node");
    reflector_fail(r, STATE_LISTING, 0, &e);
}

/* ---- what happens */

void reflector_start(struct reflector *r)
{
    pin(r);
    reflector_begin(r, STATE_LISTING);
    unpin(r);
}

void reflector_refresh(struct reflector *r)
{
    pin(r);
    if (r->state == STATE_RESTING) {
        r->wants_consistent = true; /* as for any new volume */
        reflector_begin(r, STATE_LISTING);
    }
    unpin(r);
}

void reflector_check_rights(struct reflector *r)
{
    r->checks_rights = true;
    if (r->state == STATE_RESTING || r->state == STATE_WATCHING)
        r->io->set_timer(r->userdata, SPAN_SEC(watch_sec(r)));
}

void reflector_on_sent(struct reflector *r)
{
    if (r->state == STATE_OPENING)
        r->io->set_timer(r->userdata, OPENING_LIMIT);
}

void reflector_on_response(struct reflector *r, const struct http_response *response)
{
    pin(r);
    r->status = response->status;
    r->retry_after = response->retry_after;
    if (r->state == STATE_OPENING && r->status == 200) {
        reflector_move(r, STATE_WATCHING);
        r->n_rejected = 0;
        r->n_watches++;
        r->watching_since = r->io->now(r->userdata);
        r->io->set_timer(r->userdata, r->is_distrusted ? SHORT_WATCH : SPAN_FOREVER);
        if (!r->is_distrusted)
            report_live(r);
    }
    unpin(r);
}

/* A list that is too long ends here; a long refusal is only cut. */
static void collect(struct reflector *r, const char *bytes, size_t len)
{
    bool is_list = r->status == 200;
    struct error e = ERROR_INIT;
    int result;

    if (!is_list)
        len = size_min(len, REFUSAL_MAX_BYTES - size_min(r->body.len, REFUSAL_MAX_BYTES));
    result = buf_add(&r->body, bytes, len);
    if (result >= 0 || !is_list)
        return;
    r->io->cancel(r->userdata);
    error_set_errno(&e, result, "the API server's list cannot be read");
    reflector_fail(r, STATE_LISTING, 0, &e);
}

void reflector_on_body(struct reflector *r, const char *bytes, size_t len)
{
    pin(r);
    if (r->state == STATE_WATCHING)
        watch_feed(r, bytes, len);
    else
        collect(r, bytes, len);
    unpin(r);
}

void reflector_on_done(struct reflector *r, enum http_outcome outcome, const struct error *error)
{
    pin(r);
    if (r->state == STATE_WATCHING)
        watch_closed(r, outcome != HTTP_COMPLETE);
    else if (outcome != HTTP_COMPLETE)
        /*
         * Also after a refused connection, where client-go tries the watch again (J10): a server
         * that comes back may have lost what the cursor stands for. It was restored from a backup,
         * and sends nothing until its versions have caught up; or its history was compacted.
         */
        reflector_fail(r, STATE_LISTING, 0, error);
    else if (r->state == STATE_LISTING && r->status == 200)
        list_done(r);
    else
        reflector_refused(r);
    unpin(r);
}

/* A watch that was begun before rights were to be checked. */
static void watch_renew(struct reflector *r)
{
    if (r->is_gone || r->io->now(r->userdata) - r->watching_since < SPAN_SEC(RIGHTS_MIN_SEC))
        return;
    r->io->cancel(r->userdata);
    reflector_begin(r, STATE_OPENING);
}

void reflector_on_timer(struct reflector *r)
{
    struct error e = ERROR_INIT;

    pin(r);
    switch (r->state) {
    case STATE_WAITING:
    case STATE_PARKED:
        reflector_begin(r, r->resume);
        break;
    case STATE_OPENING:
        error_set(&e, -ETIMEDOUT,
                  "the API server took the watch and did not answer: check "
                  "its load");
        watch_abort(r, &e);
        break;
    case STATE_WATCHING: /* it lives long enough to be trusted */
        report_live(r);
        if (r->checks_rights)
            watch_renew(r);
        break;
    case STATE_RESTING:
        reflector_begin(r, STATE_LISTING);
        break;
    case STATE_NEW:
    case STATE_LISTING:
        break;
    }
    unpin(r);
}

void reflector_on_credentials(struct reflector *r, const struct error *error)
{
    pin(r);
    if (r->state == STATE_PARKED && error != NULL)
        report_failing(r, error);
    if (!r->is_gone && r->state == STATE_PARKED)
        reflector_begin(r, r->resume);
    unpin(r);
}

unsigned long reflector_restarts(const struct reflector *r)
{
    return r->n_watches > 0 ? r->n_watches - 1 : 0;
}

const char *reflector_state_name(const struct reflector *r)
{
    return states[r->state].name;
}

int reflector_new(struct store *store, const struct object_key *key, const struct reflector_io *io,
                  void *userdata, struct reflector **ret_reflector)
{
    struct reflector *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return -ENOMEM;
    *r = (struct reflector){
        .store = store,
        .key = key,
        .io = io,
        .userdata = userdata,
        .body = BUF_INIT(DOCUMENT_MAX_BYTES),
    };
    json_stream_init(&r->stream, DOCUMENT_MAX_BYTES);
    *ret_reflector = r;
    return 0;
}

struct reflector *reflector_free(struct reflector *r)
{
    if (r == NULL)
        return NULL;
    pin(r);
    r->io->cancel(r->userdata);
    r->io->set_timer(r->userdata, SPAN_FOREVER);
    r->is_gone = true;
    unpin(r);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * List and watch of the objects of one key, as the kubelet does it: of a Secret or ConfigMap a
 * single name, which is all that the node authorizer grants (K3). What is made of them is the
 * content's (content.h). The store keeps what it has until a list comes without the object, or a
 * DELETED event.
 *
 * What watch.c does in general is there. What a reflector adds:
 *
 *  event                                    it then                                   store
 *  a list with the object, or an event      puts it, unless the store has it (J13)    live
 *  an object that cannot be decoded         stays on the watch: the next event may    failing
 *                                           be valid; the last valid object stays
 *  an object of another name or kind        ignores it
 *  404 to a list                            lists another path at once, if the content has one
 *  a list or bookmark older than the cursor requests a consistent list, which is
 *                                           believed even if it goes back in time
 *  410 or "too large resource version" to   requests a consistent list at once
 *  a list
 *  410 to a watch, or as an event           back-off, a list                          as it was
 *  401                                      gets new credentials and repeats the      failing from
 *                                           request; from the second 401 in a row     the second on
 *                                           after the back-off
 *  401 for a token that others renew        waits for the next token, without a timer failing
 *  403 before it was ever live              QUICK_RETRIES_MAX quick retries: the node
 *                                           authorizer learns of a new pod some
 *                                           milliseconds late (K3)
 *  403 later                                back-off, a list                          forbidden
 *  403, and nothing else, for REVOKED_AFTER back-off, a list                          revoked
 *  429 to a watch                           back-off, the watch again (J10)           failing
 *  an immutable object (G19)                idles: no watch, no timer. It could only  live
 *                                           be deleted, which a volume that shows it
 *                                           does not follow, and be created again,
 *                                           which the next subscriber's refresh finds
 *
 * Different from the kubelet, on purpose:
 *
 *  - The first list is a consistent read, not one from the API server's watch cache
 *    (resourceVersion=0), which may be older than the change for which a volume is mounted.
 *  - Later lists ask for resourceVersionMatch=NotOlderThan, without limit=: with a limit, old
 *    servers take the version as the exact one.
 *  - Data that goes back in time (a restored etcd) is noticed by bookmarks and followed. client-go
 *    would watch without ever getting an event.
 *  - Where the API server streams lists (WatchList, J14) a list and its watch are one request; it
 * is a consistent read in the same cases.
 *
 * Rights: the API server checks them when a request begins, and does not end a watch when they are
 * withdrawn. The next watch notices, after 5 to 10 minutes; with reflector_check_rights(), which a
 * volume with `onRevoked: remove` causes, after 30 to 60 seconds, and an immutable object is listed
 * as often. An API server that starts, whose authorizers have not read pods and roles yet, refuses
 * what it allows some seconds later. So a volume keeps its files until the server has answered
 * nothing but 403 for REVOKED_AFTER.
 *
 * Freeing: a subscriber that the store notifies may unsubscribe, which frees the reflector within
 * its own call. The watch is pinned while it works, and after each call of the store the state
 * shows whether it was stopped.
 *
 * Source: kubelet-semantics.md J1 to J13, K3.
 */
#include "fetcher/api/reflector.h"

#include "base/log.h"
#include "fetcher/api/bundle_content.h"
#include "fetcher/api/object_content.h"
#include "fetcher/api/protocol.h"

/*
 * 1 MiB of values, if they are control characters, is 6 MiB of JSON, and the annotation in which
 * kubectl apply repeats an object can double that.
 */
#define DOCUMENT_MAX_BYTES (16u << 20)

#define RIGHTS_MIN_SEC    30u
#define RIGHTS_RANGE_SEC  30u
#define CREDENTIALS_LIMIT SPAN_SEC(30) /* for new credentials after the first 401 */
#define REVOKED_AFTER     SPAN_SEC(10) /* reading pods and roles takes an API server seconds */
#define QUICK_RETRY       SPAN_MS(50)  /* doubling */
#define QUICK_RETRIES_MAX 5            /* 1.55 s together */

static_assert(WATCH_NAME_SIZE >= OBJECT_KEY_TEXT_SIZE, "a key's text is the watch's name");

struct reflector {
    struct watch watch;
    struct store *store;
    const struct object_key *key;
    struct content *content;
    bool wants_consistent; /* the next list must not come from a cache */
    unsigned n_quick_retries;
    mono_us refused_since; /* the first of the 403 in a row; 0: the last answer was another one */
    bool was_live;         /* ever */
    bool checks_rights;    /* since reflector_check_rights() */
    bool is_undecodable;   /* the newest object cannot be used */
    bool has_warned_back;  /* of data that went back in time */
};

static const struct error no_memory = {.text = "no memory for the object"};

static struct reflector *reflector_of(const struct watch *watch)
{
    return CONTAINER_OF((struct watch *)(uintptr_t)watch, struct reflector, watch);
}

static const char *reflector_name(const struct watch *watch, char buf[static WATCH_NAME_SIZE])
{
    return object_key_text(reflector_of(watch)->key, buf);
}

static void on_live(struct watch *watch)
{
    struct reflector *r = reflector_of(watch);

    if (r->is_undecodable)
        return;
    watch->is_distrusted = false;
    r->was_live = true;
    r->refused_since = 0;
    store_report(r->store, r->key, STORE_SOURCE_LIVE, NULL);
}

static void on_failure(struct watch *watch, const struct error *e)
{
    struct reflector *r = reflector_of(watch);

    r->refused_since = 0;
    store_report(r->store, r->key, STORE_SOURCE_FAILING, e);
}

static int on_begin(struct watch *watch, struct buf *path)
{
    const struct reflector *r = reflector_of(watch);
    int result = r->content->ops->add_path(r->content, path);

    bool has_version = watch->cursor != NULL && !r->wants_consistent;

    if (watch->state == WATCH_OPENING)
        return result;
    if (result >= 0 && (has_version || watch->state == WATCH_SYNCING))
        result = buf_add_text(path, "&resourceVersionMatch=NotOlderThan");
    if (result >= 0 && has_version)
        result = buf_add_text(path, "&resourceVersion=");
    return result >= 0 && has_version ? protocol_add_escaped(path, watch->cursor) : result;
}

/* ---- objects */

/* Whether a document is of the key's kind; items of a list may leave it out. */
static bool has_own_kind(const struct reflector *r, const cJSON *json)
{
    const char *kind = json_text(json, "kind");

    return kind == NULL || streq(kind, object_kind_name(r->key->kind));
}

/* After the content has got a list or an event. @e: why it could not use it */
static void applied(struct reflector *r, int result, struct error *e)
{
    if (result == -ENOMEM) {
        watch_restart(&r->watch, &no_memory);
        return;
    }
    r->is_undecodable = result < 0;
    if (result == 0)
        return;
    error_prefix(e, result, "the API server's newest version cannot be used");
    on_failure(&r->watch, e);
}

/* Whether the object cannot change any more. If so, the watch ends. */
static bool idle_if_immutable(struct reflector *r)
{
    struct watch *w = &r->watch;

    if (r->is_undecodable || r->content->ops->is_immutable == NULL ||
        !r->content->ops->is_immutable(r->content))
        return false;
    watch_idle(w, r->checks_rights ? watch_random_duration(w) : SPAN_FOREVER);
    on_live(w);
    return true;
}

static void list_again(struct reflector *r)
{
    r->wants_consistent = true;
    r->watch.io->cancel(r->watch.userdata); /* a streamed list is still under way */
    watch_begin(&r->watch, WATCH_LISTING);
}

/* ---- refusals */

/* The server has not reached the resourceVersion in the request (J8). */
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

static void unauthorized(struct reflector *r, const struct error *e)
{
    struct watch *w = &r->watch;
    struct error waiting = ERROR_INIT;
    int result = w->io->reject_credentials(w->userdata, &waiting);

    w->n_refused++;
    if (result == WATCH_NEW_CREDENTIALS) {
        watch_await_credentials(w, SPAN_FOREVER);
        watch_begin(w, w->resume);
    } else if (result == WATCH_NO_CREDENTIALS) {
        watch_await_credentials(w, SPAN_FOREVER);
        on_failure(w, &waiting);
    } else if (w->n_refused == 1) {
        watch_await_credentials(w, CREDENTIALS_LIMIT);
    } else {
        watch_fail(w, watch_repeat_state(w), w->retry_after, e);
    }
}

/* After a 403. */
static enum store_refusal refusal_now(struct reflector *r)
{
    mono_us now = r->watch.io->now(r->watch.userdata);

    if (r->refused_since == 0)
        r->refused_since = now;
    return now - r->refused_since >= REVOKED_AFTER ? STORE_REVOKED : STORE_FORBIDDEN;
}

static void forbidden(struct reflector *r, const struct error *e)
{
    enum store_refusal refusal = refusal_now(r);

    if (r->was_live || r->n_quick_retries >= QUICK_RETRIES_MAX) {
        watch_back_off(&r->watch, WATCH_LISTING, r->watch.retry_after);
        store_refuse(r->store, r->key, refusal, e);
        return;
    }
    watch_wait(&r->watch, WATCH_LISTING, QUICK_RETRY << r->n_quick_retries);
    r->n_quick_retries++;
}

/*
 * Whether another list at once may succeed: along another path, or a consistent one.
 * @e: replaced where the content explains a 404
 */
static bool may_list_again(const struct reflector *r, const cJSON *status, struct error *e)
{
    const struct content *content = r->content;
    const struct watch *w = &r->watch;

    if (w->state == WATCH_OPENING)
        return false;
    if (w->status == 404)
        return content->ops->next_path != NULL && content->ops->next_path(r->content, e);
    return w->cursor != NULL && !r->wants_consistent &&
           (w->status == 410 || is_too_large_version(status));
}

/* A complete response that is not 200; the state is LISTING, SYNCING or OPENING. */
static void refused(struct reflector *r)
{
    _cleanup_(cJSON_Deletep) cJSON *status = NULL;
    struct watch *w = &r->watch;
    bool was_list = w->state != WATCH_OPENING;
    struct error e = ERROR_INIT;

    json_parse(buf_text(&w->body), w->body.len, &status, NULL);
    watch_explain_refusal(w, r->content->ops->allow, &e);
    if (w->status == 401)
        unauthorized(r, &e);
    else if (w->status == 403)
        forbidden(r, &e);
    else if (may_list_again(r, status, &e))
        list_again(r);
    else if (!was_list && w->status == 410)
        watch_expire(w, &e);
    else
        watch_fail(w, !was_list && w->status == 429 ? WATCH_OPENING : WATCH_LISTING, w->retry_after,
                   &e);
}

/* ---- lists */

/* Whether a list is older than what is known already. */
static bool list_goes_back(const struct reflector *r, const cJSON *list)
{
    const struct content_ops *ops = r->content->ops;

    if (r->watch.cursor != NULL &&
        protocol_is_older(protocol_resource_version(list), r->watch.cursor))
        return true;
    return ops->is_older != NULL && ops->is_older(r->content, json_member(list, "items"));
}

/*
 * A consistent list is older than the cursor: an operator restored a backup of etcd. Lower rooms do
 * not log above debug level, but no other room can know, and from now on volumes show old content.
 */
static void warn_back_in_time(struct reflector *r, const cJSON *list)
{
    if (!r->has_warned_back)
        log_warn("the API server's data went back in time, as after a restore from a backup; "
                 "following it",
                 "object", object_key_text(r->key, (char[OBJECT_KEY_TEXT_SIZE]){""}), "from",
                 r->watch.cursor, "to", protocol_resource_version(list));
    r->has_warned_back = true;
}

static void list_apply(struct reflector *r, const cJSON *list)
{
    struct watch *w = &r->watch;
    bool was_consistent = w->cursor == NULL || r->wants_consistent;
    struct error e = ERROR_INIT;

    r->refused_since = 0;
    if (list_goes_back(r, list)) {
        if (!was_consistent) {
            list_again(r);
            return;
        }
        warn_back_in_time(r, list);
    }
    if (watch_set_cursor(w, protocol_resource_version(list)) < 0 || w->cursor == NULL) {
        error_set(&e, -EIO, "the API server's list has no usable resourceVersion");
        watch_restart(w, &e);
        return;
    }
    r->wants_consistent = false;
    applied(r,
            r->content->ops->replace(r->content, json_member(list, "items"),
                                     w->io->now(w->userdata), &e),
            &e);
    if ((w->state == WATCH_LISTING || w->state == WATCH_SYNCING) && !idle_if_immutable(r))
        watch_follow(w);
}

static void on_list(struct watch *watch, const cJSON *list)
{
    watch->n_refused = 0;
    list_apply(reflector_of(watch), list);
}

static void on_complete(struct watch *watch)
{
    struct reflector *r = reflector_of(watch);
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    struct error e = ERROR_INIT;
    const cJSON *items;

    if (watch->state != WATCH_LISTING || watch->status != 200) {
        refused(r);
        return;
    }
    watch->n_refused = 0;
    if (json_parse_with_nul(buf_text(&watch->body), watch->body.len, &list, &e) < 0) {
        error_prefix(&e, -EINVAL, "the API server's list cannot be read");
        watch_restart(watch, &e);
        return;
    }
    buf_deinit(&watch->body);
    items = json_member(list, "items");
    if (!cJSON_IsArray(items) && !cJSON_IsNull(items)) {
        error_set(
            &e, -EINVAL,
            "the server's response is not a list of %s: check that its URL is an API server's",
            object_kind_plural(r->key->kind));
        watch_restart(watch, &e);
        return;
    }
    list_apply(r, list);
}

/* ---- events */

static void on_invalid_event(struct watch *watch, const struct error *e)
{
    struct error prefixed = *e;

    error_prefix(&prefixed, -EINVAL, "the API server's watch cannot be read");
    watch_restart(watch, &prefixed);
}

/* Only a server whose data went back in time has a bookmark before the cursor (J5). */
static void on_bookmark(struct reflector *r, const char *resource_version)
{
    struct error e = ERROR_INIT;

    if (!protocol_is_older(resource_version, r->watch.cursor)) {
        watch_set_cursor(&r->watch, resource_version);
        on_live(&r->watch);
        return;
    }
    r->wants_consistent = true;
    error_set(&e, -ESTALE, "the API server's data went back from version %.64s to %.64s",
              r->watch.cursor, resource_version);
    watch_restart(&r->watch, &e);
}

static void on_event(struct watch *watch, const char *type, const cJSON *object,
                     mono_us received_at)
{
    struct reflector *r = reflector_of(watch);
    const struct content_ops *ops = r->content->ops;
    struct error e = ERROR_INIT;

    if (!has_own_kind(r, object)) {
        log_trace(LOG_TRACE_REFLECTOR, "event of another kind ignored", "type", type, "kind",
                  json_text(object, "kind"));
        return;
    }
    if (streq(type, "BOOKMARK")) {
        on_bookmark(r, protocol_resource_version(object));
        return;
    }
    watch_set_cursor(watch, protocol_resource_version(object));
    if (!ops->is_own(r->content, object))
        log_trace(LOG_TRACE_REFLECTOR, "event of another object ignored", "type", type);
    else if (streq(type, "DELETED"))
        applied(r, ops->remove(r->content, object, received_at, &e), &e);
    else if (!streq(type, "ADDED") && !streq(type, "MODIFIED"))
        log_trace(LOG_TRACE_REFLECTOR, "event of an unknown type ignored", "type", type);
    else
        applied(r, ops->put(r->content, object, received_at, &e), &e);
    if (watch->state == WATCH_WATCHING && !idle_if_immutable(r))
        on_live(watch);
}

/* ---- the object */

static void free_stopped(struct watch *watch)
{
    struct reflector *r = reflector_of(watch);

    r->content->ops->free(r->content);
    free(r);
}

int reflector_new(struct store *store, const struct object_key *key, const struct watch_io *io,
                  void *userdata, struct reflector **ret_reflector)
{
    static const struct watch_ops ops = {
        .resources = "",
        .has_lists = true,
        .begin = on_begin,
        .on_complete = on_complete,
        .on_list = on_list,
        .on_event = on_event,
        .on_invalid_event = on_invalid_event,
        .on_live = on_live,
        .on_failure = on_failure,
        .free = free_stopped,
        .name = reflector_name,
    };
    struct reflector *r = calloc(1, sizeof(*r));
    int result;

    if (r == NULL)
        return -ENOMEM;
    r->store = store;
    r->key = key;
    result = key->kind == OBJECT_CLUSTER_TRUST_BUNDLE ? bundle_content_new(store, key, &r->content)
                                                      : object_content_new(store, key, &r->content);
    if (result < 0) {
        free(r);
        return result;
    }
    watch_init(&r->watch, &ops, DOCUMENT_MAX_BYTES, io, userdata);
    *ret_reflector = r;
    return 0;
}

struct reflector *reflector_free(struct reflector *reflector)
{
    if (reflector != NULL)
        watch_stop(&reflector->watch);
    return NULL;
}

struct watch *reflector_watch(struct reflector *reflector)
{
    return &reflector->watch;
}

void reflector_refresh(struct reflector *reflector)
{
    watch_pin(&reflector->watch);
    if (reflector->watch.state == WATCH_IDLE)
        list_again(reflector); /* consistent, as for any new volume */
    watch_unpin(&reflector->watch);
}

void reflector_check_rights(struct reflector *reflector)
{
    reflector->checks_rights = true;
    watch_set_duration(&reflector->watch, RIGHTS_MIN_SEC, RIGHTS_RANGE_SEC);
}

unsigned long reflector_restarts(const struct reflector *reflector)
{
    unsigned long n = reflector->watch.n_watches;

    return n > 0 ? n - 1 : 0;
}

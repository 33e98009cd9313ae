/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a published volume:
 *
 *   AWAITING_PAYLOAD   subscribed to its objects; readers see nothing (G1)
 *      | first payload
 *   AWAITING_PLACE     place() has been asked; published_retry() asks again
 *      | place known, payload submitted
 *   AWAITING_PUBLISH   not shown to readers
 *      | published, and ready() returned 0
 *   READY              new payloads are published as they come
 *      | publish failed      ^ published
 *   AWAITING_RETRY     readers keep the last content; a timer or the next payload tries again
 *
 * Before READY a failure is the owner's to handle: failed() is called, the state stays, and only
 * published_retry() or, once the place is known, the next payload tries again. From READY on
 * publishing is retried until it succeeds, because readers have content meanwhile. A failing source
 * changes no state.
 *
 * Each failure is logged once, and its end once.
 */
#include "serve/published.h"

#include <stdio.h>

#define RETRY_AFTER SPAN_SEC(1) /* the usual cause is a lack of memory or descriptors */
#define TIMER_SLACK SPAN_MS(10)

#define LATE_AFTER SPAN_SEC(2) /* far longer than a storm of updates takes */

static const char *const state_names[] = {
    [PUBLISHED_AWAITING_PAYLOAD] = "awaiting-payload",
    [PUBLISHED_AWAITING_PLACE] = "awaiting-place",
    [PUBLISHED_AWAITING_PUBLISH] = "awaiting-publish",
    [PUBLISHED_READY] = "ready",
    [PUBLISHED_AWAITING_RETRY] = "awaiting-retry",
};

static const unsigned next_states[] = {
    [PUBLISHED_AWAITING_PAYLOAD] = 1u << PUBLISHED_AWAITING_PLACE,
    [PUBLISHED_AWAITING_PLACE] = 1u << PUBLISHED_AWAITING_PUBLISH,
    [PUBLISHED_AWAITING_PUBLISH] = 1u << PUBLISHED_READY,
    [PUBLISHED_READY] = 1u << PUBLISHED_AWAITING_RETRY,
    [PUBLISHED_AWAITING_RETRY] = 1u << PUBLISHED_READY,
};

static void move(struct published *p, enum published_state state)
{
    log_trace(LOG_TRACE_NODE, "published volume changes state", "object", PUBLISHED_TEXT(p),
              PUBLISHED_LOG_POD(p), "from", state_names[p->state], "to", state_names[state]);
    assert((next_states[p->state] & 1u << state) != 0);
    p->state = state;
}

const char *published_state_name(const struct published *p)
{
    return state_names[p->state];
}

static bool is_ready(const struct published *p)
{
    return p->state >= PUBLISHED_READY;
}

bool published_is_failing(const struct published *p)
{
    return p->state == PUBLISHED_AWAITING_RETRY;
}

/* ---- the state for readers */

bool published_is_blocked(const struct published *p)
{
    return p->pending_since != 0 && publisher_blocked_since(p->publisher) != 0;
}

bool published_is_pending(const struct published *p)
{
    return p->pending_since != 0;
}

bool published_is_late(const struct published *p)
{
    return p->pending_since != 0 && clock_mono() - p->pending_since >= LATE_AFTER;
}

enum reader_state published_reader_state(const struct published *p)
{
    const struct store_view *source = volume_least_healthy_source(p->volume);
    const struct reader_facts facts = {
        .is_shown = p->n_published > 0,
        .publish_fails = published_is_failing(p) || published_is_blocked(p) || published_is_late(p),
        .is_held = volume_is_held(p->volume),
        .is_stale = volume_state(p->volume) != VOLUME_CURRENT,
        .source_fails = source != NULL && source->source_state == STORE_SOURCE_FAILING,
    };

    return reader_state(&facts);
}

static const char *failing_error(const struct published *p, struct error *e)
{
    mono_us since = p->pending_since;

    if (published_is_failing(p) || since == 0)
        return kept_error_text(&p->publish_error);
    error_set(e, -ETIMEDOUT, "publishing has not returned for %llu s%s",
              (unsigned long long)((clock_mono() - since) / SPAN_SEC(1)),
              published_is_blocked(p) ? ": a process holds the volume's directory" : "");
    return e->text;
}

const char *published_reader_error(const struct published *p, struct error *e)
{
    return published_reader_state(p) == READER_FAILING ? failing_error(p, e)
                                                       : volume_error(p->volume);
}

/* Return: borrowed; NULL: none of its files has the object. */
static const struct object *find_object(const struct payload *payload, const struct object_key *key)
{
    for (size_t i = 0; payload != NULL && i < payload->n_files; i++) {
        const struct object *object = payload->files[i].object;

        if (object != NULL && object_key_compare(&object->key, key) == 0)
            return object;
    }
    return NULL;
}

/* What is published equals the newest objects, unless it is older: then its files have the object.
 */
const struct object *published_shown_object(const struct published *p, size_t i)
{
    const struct object_key *key = volume_view(p->volume, i)->key;

    if (p->shown == NULL)
        return NULL;
    if (volume_is_held(p->volume) && !volume_has_candidate(p->volume) && p->shown == p->payload)
        return volume_shown_object(p->volume, i);
    if (volume_state(p->volume) == VOLUME_CURRENT && p->shown == p->payload)
        return volume_view(p->volume, i)->object;
    return find_object(p->shown, key);
}

static void notify_changed(struct published *p)
{
    const struct published_observer *observer = p->options.observer;

    if (observer != NULL && observer->changed != NULL)
        observer->changed(observer->userdata, p);
    p->callbacks->changed(p->userdata);
}

static void notify_updated(struct published *p)
{
    const struct published_observer *observer = p->options.observer;

    if (observer != NULL && observer->updated != NULL)
        observer->updated(observer->userdata, p);
}

const char *published_text(const struct published *p, char buf[static PUBLISHED_TEXT_SIZE])
{
    char text[VOLUME_TEXT_SIZE];
    const char *name = strchr(volume_spec_text(p->options.spec, text), '/');
    size_t kind_len = strcspn(text, "/");

    snprintf(buf, PUBLISHED_TEXT_SIZE, "%.*s/%.63s%s", (int)kind_len, text, p->options.namespace,
             name != NULL ? name : "");
    return buf;
}

/* ---- the log */

static void log_state(struct published *p)
{
    enum volume_state state = volume_state(p->volume);

    if (state == p->logged_state || (volume_is_checking(p->volume) && volume_is_staged(p->volume)))
        return;
    if (state == VOLUME_STALE && volume_is_staged(p->volume))
        log_info("update is staged; the last content stays readable", "object", PUBLISHED_TEXT(p),
                 PUBLISHED_LOG_POD(p), "reason", volume_error(p->volume));
    else if (state == VOLUME_STALE)
        log_warn("cannot update; the last content stays readable", "object", PUBLISHED_TEXT(p),
                 PUBLISHED_LOG_POD(p), "reason", volume_error(p->volume));
    else if (state == VOLUME_CURRENT && p->logged_state == VOLUME_STALE)
        log_info("volume is up to date again", "object", PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p));
    p->logged_state = state;
}

/* When a source fails for many volumes at once, a few log lines are enough. */
static bool may_log_source(struct published *p, size_t *ret_dropped)
{
    *ret_dropped = 0;
    return p->options.source_log == NULL ||
           log_limit_allow(p->options.source_log, clock_mono(), ret_dropped);
}

static void log_source_change(struct published *p, const struct store_view *view)
{
    bool is_failing = view->source_state == STORE_SOURCE_FAILING;
    size_t n_dropped;

    if (!may_log_source(p, &n_dropped))
        return;
    log_write(is_failing ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
              is_failing ? "source failed, retrying" : "source recovered", "object",
              PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p), "reason",
              is_failing ? kept_error_text(&view->source_error) : NULL, "notLogged",
              n_dropped > 0 ? LOG_NUM(n_dropped) : NULL, (char *)NULL);
}

static void log_source_state(struct published *p)
{
    const struct store_view *view = volume_least_healthy_source(p->volume);
    bool was_failing = p->logged_source_state == STORE_SOURCE_FAILING;

    if (view == NULL)
        return;
    if ((view->source_state == STORE_SOURCE_FAILING && !was_failing) ||
        (view->source_state == STORE_SOURCE_LIVE && was_failing))
        log_source_change(p, view);
    else if (view->source_state == STORE_SOURCE_FAILING &&
             !streq(kept_error_text(&view->source_error), kept_error_text(&p->logged_source_error)))
        log_debug("source still fails", "object", PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p), "reason",
                  kept_error_text(&view->source_error));
    p->logged_source_state = view->source_state;
    kept_error_set(&p->logged_source_error, kept_error_text(&view->source_error));
}

/* Of a volume with one source. Return: borrowed, or NULL. */
static const char *resource_version(const struct published *p)
{
    const struct object *object;

    if (p->options.spec->n_sources != 1)
        return NULL;
    object = volume_view(p->volume, 0)->object;
    return object != NULL ? object->resource_version : NULL;
}

static void log_published(const struct published *p)
{
    char latency[LOG_NUMBER_SIZE];

    assert(p->payload != NULL);
    snprintf(latency, sizeof(latency), "%.3fms", (double)p->update_latency_us / 1e3);
    log_info("published", "object", PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p), "generation",
             p->generation, "resourceVersion", resource_version(p), "files",
             LOG_NUM(p->payload->n_files), "latency", latency);
}

/* ---- certificates */

static void check_certificate(struct published *p, size_t i)
{
    const struct tls_pair *pair = volume_tls(p->volume, i);
    const struct object_key *key = volume_view(p->volume, i)->key;
    struct error problem = ERROR_INIT;
    bool is_invalid = pair != NULL && tls_pair_problem(pair, clock_wall(), &problem);
    char text[OBJECT_KEY_TEXT_SIZE];

    if (is_invalid && !p->logged_certificates[i])
        log_warn("invalid certificate", "object", object_key_text(key, text), PUBLISHED_LOG_POD(p),
                 "reason", problem.text);
    else if (!is_invalid && p->logged_certificates[i])
        log_info("certificate is valid again", "object", object_key_text(key, text),
                 PUBLISHED_LOG_POD(p));
    p->logged_certificates[i] = is_invalid;
}

/* Return: when the next certificate expires; 0: none will. */
static time_t next_expiry(const struct published *p)
{
    time_t now = clock_wall().tv_sec, next = 0;

    for (size_t i = 0; i < p->options.spec->n_sources; i++) {
        const struct tls_pair *pair = volume_tls(p->volume, i);

        if (pair != NULL && pair->not_after.tv_sec >= now &&
            (next == 0 || pair->not_after.tv_sec < next))
            next = pair->not_after.tv_sec;
    }
    return next;
}

static void check_certificates(struct published *p);

static int on_certificate_expired(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct published *p = userdata;

    check_certificates(p);
    notify_changed(p);
    return 0;
}

static void check_certificates(struct published *p)
{
    time_t next;

    assert(p->volume != NULL);
    for (size_t i = 0; i < p->options.spec->n_sources; i++)
        check_certificate(p, i);
    p->certificate_timer = sd_event_source_disable_unref(p->certificate_timer);
    next = next_expiry(p);
    /* not_after itself is still valid */
    if (next != 0 &&
        sd_event_add_time(p->event, &p->certificate_timer, CLOCK_REALTIME,
                          SPAN_SEC((uint64_t)next + 1), TIMER_SLACK, on_certificate_expired, p) < 0)
        log_error("cannot set a timer; the expiry of a certificate will not be reported", "object",
                  PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p));
}

/* ---- usage */

/* The directories of a file that no earlier file in the order of paths has. */
static size_t new_directories(const char *path, const char *before)
{
    size_t n_common = 0, n = 0;

    while (path[n_common] != '\0' && path[n_common] == before[n_common])
        n_common++;
    for (const char *at = strchr(path, '/'); at != NULL; at = strchr(at + 1, '/'))
        n += (size_t)(at - path) >= n_common;
    return n;
}

/* The root, its ..data, the generation's directory, and what the payload needs. */
void published_usage(const struct published *p, uint64_t *ret_bytes, uint64_t *ret_inodes)
{
    const char *before = "";

    *ret_bytes = 0;
    *ret_inodes = 3;
    for (size_t i = 0; p->shown != NULL && i < p->shown->n_files; i++) {
        const struct payload_file *file = &p->shown->files[i];
        size_t first = payload_first_len(file->path);
        bool is_linked = strncmp(file->path, before, first) == 0 &&
                         (before[first] == '/' || before[first] == '\0') && before[0] != '\0';

        *ret_bytes += file->len;
        *ret_inodes += 1 + new_directories(file->path, before) + !is_linked;
        before = file->path;
    }
}

/* ---- the reason of a missing payload */

int published_why_missing(const struct published *p, struct error *e)
{
    const char *reason = p->volume != NULL ? volume_error(p->volume) : "";

    if (p->volume != NULL && volume_is_refused(p->volume))
        return error_set(e, -ENOENT, "%s", reason);
    if (reason[0] != '\0')
        return error_set(e, -EIO, "cannot get %s: %s", PUBLISHED_TEXT(p), reason);
    return error_set(e, -ETIMEDOUT, "cannot get %s: the source has not answered",
                     PUBLISHED_TEXT(p));
}

/* ---- consumers */

void published_set_consumers(struct published *p, struct consumers *consumers)
{
    assert(p->directory_id == 0);
    p->consumers = consumers;
}

/* @edition: 0: an earlier process has published it */
static void note_shown(struct published *p, uint64_t directory, uint64_t edition)
{
    const struct audit_volume name = {.namespace = p->options.namespace,
                                      .pod = p->options.pod,
                                      .mountpoint = p->options.mountpoint};

    if (p->consumers == NULL)
        return;
    p->directory_id = directory;
    consumers_published(p->consumers, directory, &name, edition, p->shown, edition == 0);
}

/* ---- history */

/* Note the versions that readers did not get before. @before: NULL: nothing */
static void note_history(struct published *p, const struct payload *before,
                         const struct payload *after)
{
    for (size_t i = 0; p->volume != NULL && i < p->options.spec->n_sources; i++) {
        const struct object_key *key = volume_view(p->volume, i)->key;
        const struct object *old = find_object(before, key), *new = find_object(after, key);

        if (new != NULL && (old == NULL || !streq(old->resource_version, new->resource_version)))
            history_add(&p->history, i, new->resource_version, clock_wall());
    }
}

/* ---- publishing */

static void submit(struct published *p, mono_us received_at)
{
    const struct published_observer *observer = p->options.observer;

    if (p->pending_since == 0)
        p->pending_since = clock_mono();
    if (observer != NULL && observer->submitted != NULL)
        observer->submitted(observer->userdata);
    publisher_submit(p->publisher, p->payload, received_at);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct published *p = userdata;

    assert(p->state == PUBLISHED_AWAITING_RETRY);
    submit(p, clock_mono());
    return 0;
}

static void retry_later(struct published *p)
{
    p->retry_timer = sd_event_source_disable_unref(p->retry_timer);
    if (sd_event_add_time_relative(p->event, &p->retry_timer, CLOCK_MONOTONIC, RETRY_AFTER,
                                   TIMER_SLACK, on_retry, p) < 0)
        log_error("cannot set a timer; publish is retried with the next update", "object",
                  PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p));
}

static void note_failure(struct published *p, int error)
{
    struct error e;

    if (!is_ready(p)) {
        error_set_errno(&e, error, "cannot publish %s", PUBLISHED_TEXT(p));
        p->callbacks->failed(p->userdata, error, &e);
        return;
    }
    if (p->state == PUBLISHED_READY) {
        log_error("publish failed, retrying", "object", PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p),
                  "error", strerror(-error));
        move(p, PUBLISHED_AWAITING_RETRY);
    }
    retry_later(p);
    notify_changed(p);
}

static void note_success(struct published *p)
{
    bool was_failing = published_is_failing(p);
    struct error e = ERROR_INIT;
    int r = is_ready(p) ? 0 : p->callbacks->ready(p->userdata, &e);

    if (r < 0) {
        p->callbacks->failed(p->userdata, r, &e);
        return;
    }
    if (was_failing)
        log_info("publish recovered", "object", PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p));
    if (!is_ready(p))
        log_published(p);
    p->retry_timer = sd_event_source_disable_unref(p->retry_timer);
    if (p->state != PUBLISHED_READY)
        move(p, PUBLISHED_READY);
    if (was_failing)
        notify_changed(p);
}

/* Their readers get ESTALE. */
static void note_dropped(struct published *p, uint64_t n_dropped)
{
    uint64_t n = n_dropped - p->n_dropped;
    bool had_dropped = p->has_dropped;

    p->n_dropped = n_dropped;
    p->has_dropped = n > 0;
    if (p->has_dropped && !had_dropped)
        log_warn("readers hold too much older content: the oldest of it was dropped; they get "
                 "ESTALE until they open the files again",
                 "object", PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p), "files", LOG_NUM(n));
    if (p->has_dropped != had_dropped)
        notify_changed(p);
}

static void on_published(void *userdata, const struct publisher_result *result)
{
    struct published *p = userdata;
    struct error e = ERROR_INIT;

    assert(p->state >= PUBLISHED_AWAITING_PUBLISH);
    if (result->error < 0)
        error_set_errno(&e, result->error, "cannot publish %s", PUBLISHED_TEXT(p));
    kept_error_set(&p->publish_error, e.text);
    if (result->is_visible) {
        note_history(p, p->shown, result->payload);
        payload_unref(p->shown);
        p->shown = payload_ref(result->payload);
        if (p->shown == p->payload)
            p->pending_since = 0;
        memcpy(p->generation, result->generation, sizeof(p->generation));
        note_shown(p, result->directory_id, result->edition);
        p->n_published++;
        p->updated_at = clock_boot();
        p->update_latency_us = result->visible_at - result->received_at;
        if (is_ready(p)) {
            log_published(p);
            notify_updated(p);
        }
    }
    if (result->error < 0)
        note_failure(p, result->error);
    else
        note_success(p);
    note_dropped(p, result->n_dropped);
}

static void log_blocked(struct published *p)
{
    bool is_blocked = published_is_blocked(p);

    if (is_blocked && !p->logged_blocked)
        log_warn("publishing does not return: a process holds the volume's directory; the last "
                 "content stays readable",
                 "object", PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p));
    else if (!is_blocked && p->logged_blocked)
        log_info("publishing returned", "object", PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p));
    p->logged_blocked = is_blocked;
}

static void on_publisher_changed(void *userdata)
{
    log_blocked(userdata);
    notify_changed(userdata);
}

/* Return: 0, and the place is known; PUBLISHED_LATER; -errno with @e. */
static int find_place(struct published *p, struct error *e)
{
    static const struct publisher_callbacks callbacks = {.done = on_published,
                                                         .changed = on_publisher_changed};
    struct publisher_place place;
    int r = p->callbacks->place(p->userdata, &place, e);

    if (r != 0)
        return r;
    r = publisher_add_volume(&place, &callbacks, p, &p->publisher);
    if (r < 0)
        return error_set_errno(e, r, "cannot publish %s", PUBLISHED_TEXT(p));
    move(p, PUBLISHED_AWAITING_PUBLISH);
    return 0;
}

/* What readers get is of an earlier process. Return: whether the source has the same. */
static bool confirm(struct published *p, struct payload *payload)
{
    if (!p->is_unconfirmed)
        return false;
    p->is_unconfirmed = false;
    if (!payload_same_content(p->shown, payload))
        return false;
    note_history(p, NULL, payload);
    payload_unref(p->shown);
    p->shown = payload_ref(payload); /* whose objects have their names and versions */
    note_shown(p, p->directory_id, 0);
    return true;
}

static void on_payload(void *userdata, struct payload *payload, mono_us received_at)
{
    struct published *p = userdata;
    struct error e = ERROR_INIT;
    int r = 0;

    payload_unref(p->payload);
    p->payload = payload_ref(payload);
    if (confirm(p, payload))
        return;
    if (p->state == PUBLISHED_AWAITING_PAYLOAD) {
        move(p, PUBLISHED_AWAITING_PLACE);
        r = find_place(p, &e);
    }
    if (r < 0) {
        p->callbacks->failed(p->userdata, r, &e);
        return;
    }
    if (p->state == PUBLISHED_AWAITING_PLACE)
        return; /* published_retry() submits it */
    assert(p->publisher != NULL);
    p->retry_timer = sd_event_source_disable_unref(p->retry_timer);
    /* an object that another volume subscribed to may have come before this volume existed */
    submit(p, received_at < p->started_at ? p->started_at : received_at);
}

/* ---- checks by a command */

static void on_checked(void *userdata, const struct payload *payload, int result,
                       const struct error *e)
{
    struct published *p = userdata;
    enum volume_verdict verdict = result == 0                   ? VOLUME_ACCEPTED
                                  : command_did_not_run(result) ? VOLUME_NOT_CHECKED
                                                                : VOLUME_REFUSED;

    p->check = NULL; /* it was freed */
    volume_checked(p->volume, payload, verdict, e->text, clock_mono());
}

static int on_check(void *userdata, struct payload *payload, struct error *e)
{
    struct published *p = userdata;
    const struct commands_order order = {
        .name = p->options.spec->check_command,
        .is_check = true,
        .payload = payload,
        .volume = PUBLISHED_TEXT(p),
        .namespace = p->options.namespace,
        .pod = p->options.pod,
    };

    p->check = commands_cancel(p->check);
    return commands_run(p->options.commands, &order, on_checked, p, &p->check, e);
}

/* ---- staged updates */

static void set_staging_timer(struct published *p);

static int on_staging_due(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct published *p = userdata;

    volume_show_due(p->volume, clock_mono());
    set_staging_timer(p);
    return 0;
}

static void set_staging_timer(struct published *p)
{
    mono_us due = volume_due_at(p->volume);

    p->staging_timer = sd_event_source_disable_unref(p->staging_timer);
    if (due != SPAN_FOREVER && sd_event_add_time(p->event, &p->staging_timer, CLOCK_MONOTONIC, due,
                                                 TIMER_SLACK, on_staging_due, p) < 0)
        log_error("cannot set a timer; a staged update waits for the next one", "object",
                  PUBLISHED_TEXT(p), PUBLISHED_LOG_POD(p));
}

/* Pods have their uids; of other volumes the machine and the mount point are unique. */
static int make_who(struct published *p)
{
    char host[HOST_NAME_MAX + 1] = "";

    if (p->options.pod_uid != NULL)
        return 0;
    gethostname(host, sizeof(host) - 1);
    if (asprintf(&p->own_who, "%s:%s", host, p->options.mountpoint) < 0)
        p->own_who = NULL;
    return p->own_who != NULL ? 0 : -ENOMEM;
}

static const char *on_labels(void *userdata)
{
    const struct published *p = userdata;

    return p->callbacks->labels != NULL ? p->callbacks->labels(p->userdata) : NULL;
}

static void on_volume_state(void *userdata)
{
    struct published *p = userdata;

    if (p->volume == NULL)
        return; /* volume_new() has not returned; published_init() calls again */
    set_staging_timer(p);
    log_state(p);
    log_source_state(p);
    check_certificates(p);
    notify_changed(p);
}

void published_retry(struct published *p)
{
    struct error e = ERROR_INIT;
    int r;

    if (p->state != PUBLISHED_AWAITING_PLACE && p->state != PUBLISHED_AWAITING_PUBLISH)
        return;
    assert(p->payload != NULL);
    r = p->state == PUBLISHED_AWAITING_PLACE ? find_place(p, &e) : 0;
    if (r < 0)
        p->callbacks->failed(p->userdata, r, &e);
    else if (r == 0)
        submit(p, clock_mono());
}

/* ---- init and deinit */

/* Readers have content already. */
static int adopt(struct published *p, struct error *e)
{
    int r;

    if (p->options.adopted.payload == NULL)
        return 0;
    p->is_unconfirmed = true;
    p->payload = payload_ref(p->options.adopted.payload);
    p->shown = payload_ref(p->options.adopted.payload);
    p->n_published = 1;
    p->updated_at = clock_boot();
    snprintf(p->generation, sizeof(p->generation), "%s", p->options.adopted_generation);
    move(p, PUBLISHED_AWAITING_PLACE);
    r = find_place(p, e);
    if (r == 0)
        note_shown(p, p->options.adopted_directory, 0);
    if (r == 0)
        r = p->callbacks->ready(p->userdata, e);
    if (r == 0)
        move(p, PUBLISHED_READY);
    return r;
}

static int make_volume(struct published *p, struct error *e)
{
    static const struct volume_callbacks callbacks = {
        .payload = on_payload, .check = on_check, .state = on_volume_state, .labels = on_labels};
    const struct volume_options options = {.store = p->options.store,
                                           .pods = p->options.pods,
                                           .spec = p->options.spec,
                                           .namespace = p->options.namespace,
                                           .who =
                                               p->own_who != NULL ? p->own_who : p->options.pod_uid,
                                           .adopted = p->options.adopted,
                                           .keeps_previous = p->options.keeps_previous};

    return volume_new(&options, &callbacks, p, &p->volume, e);
}

int published_init(struct published *p, sd_event *event, const struct published_options *options,
                   const struct published_callbacks *callbacks, void *userdata, struct error *e)
{
    int r;

    *p = (struct published){.options = *options,
                            .callbacks = callbacks,
                            .userdata = userdata,
                            .event = sd_event_ref(event),
                            .started_at = clock_mono()};
    p->logged_certificates = calloc(options->spec->n_sources + 1, sizeof(bool));
    if (p->logged_certificates == NULL || make_who(p) < 0)
        return error_set_errno(e, -ENOMEM, "cannot set the volume up");
    r = adopt(p, e);
    if (r < 0)
        return r;
    r = make_volume(p, e);
    if (r < 0)
        return r;
    on_volume_state(p); /* for changes before volume_new() returned */
    return 0;
}

void published_deinit(struct published *p)
{
    sd_event_source_disable_unref(p->retry_timer);
    sd_event_source_disable_unref(p->certificate_timer);
    sd_event_source_disable_unref(p->staging_timer);
    publisher_remove_volume(p->publisher);
    if (p->directory_id != 0)
        consumers_remove(p->consumers, p->directory_id);
    payload_unref(p->payload);
    payload_unref(p->shown);
    commands_cancel(p->check);
    volume_free(p->volume);
    kept_error_clear(&p->publish_error);
    kept_error_clear(&p->logged_source_error);
    free(p->logged_certificates);
    free(p->own_who);
    sd_event_unref(p->event);
    *p = (struct published){0};
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a published volume:
 *
 *   waiting     the objects are asked for; nothing is to be seen (G1)
 *      | first payload: place() says where it goes, or that this is not known yet
 *   publishing  nobody sees it yet
 *      | published: ready() shows it
 *   ready       new payloads are published as they come; trouble at the source changes nothing
 *
 * Until it is ready, what goes wrong with publishing is the owner's to decide about: failed().
 * After that it is tried again until it works, as readers have something to read meanwhile.
 */
#include "serve/published.h"

#include <stdio.h>

#define RETRY_AFTER SPAN_SEC(1) /* publishing fails for want of memory or descriptors, mostly */
#define TIMER_SLACK SPAN_MS(10)

const char *published_text(const struct published *p, char buf[static PUBLISHED_TEXT_SIZE])
{
    char text[VOLUME_TEXT_SIZE];
    const char *name = strchr(volume_spec_text(p->options.spec, text), '/');
    size_t kind_len = strcspn(text, "/");

    snprintf(buf, PUBLISHED_TEXT_SIZE, "%.*s/%.63s%s", (int)kind_len, text, p->options.namespace,
             name != NULL ? name : "");
    return buf;
}

/* ---- what is logged: each trouble once, and once that it is over */

static void log_state(struct published *p)
{
    enum volume_state state = volume_state(p->volume);

    if (state == p->logged_state)
        return;
    if (state == VOLUME_STALE)
        log_warn("cannot update; the last content stays readable", "object", PUBLISHED_TEXT(p),
                 "pod", p->options.pod, "reason", volume_error(p->volume));
    else if (state == VOLUME_CURRENT && p->logged_state == VOLUME_STALE)
        log_info("up to date again", "object", PUBLISHED_TEXT(p), "pod", p->options.pod);
    p->logged_state = state;
}

/* One of many says it for all when they have the same trouble at the same time. */
static bool may_log_source(struct published *p, size_t *ret_dropped)
{
    *ret_dropped = 0;
    return p->options.source_log == NULL ||
           log_limit_allow(p->options.source_log, clock_mono(), ret_dropped);
}

static void log_source_turn(struct published *p, const struct store_view *view)
{
    bool is_failing = view->source_state == STORE_SOURCE_FAILING;
    size_t n_dropped;

    if (!may_log_source(p, &n_dropped))
        return;
    log_write(is_failing ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
              is_failing ? "the source fails; trying again" : "the source is well again", "object",
              PUBLISHED_TEXT(p), "pod", p->options.pod, "reason",
              is_failing ? view->source_error.text : NULL, "notLogged",
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
        log_source_turn(p, view);
    else if (view->source_state == STORE_SOURCE_FAILING &&
             !streq(view->source_error.text, p->logged_source_error.text))
        log_debug("the source still fails", "object", PUBLISHED_TEXT(p), "pod", p->options.pod,
                  "reason", view->source_error.text);
    p->logged_source_state = view->source_state;
    p->logged_source_error = view->source_error;
}

/* Of the one object that is shown, if it is just one. */
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

    snprintf(latency, sizeof(latency), "%.3fms", (double)p->update_latency_us / 1e3);
    log_info("published", "object", PUBLISHED_TEXT(p), "pod", p->options.pod, "generation",
             p->generation, "resourceVersion", resource_version(p), "files",
             LOG_NUM(p->payload->n_files), "latency", latency);
}

/* ---- certificates: said once that one is no good, and once that it is again */

static void check_certificate(struct published *p, size_t i)
{
    const struct tls_pair *pair = volume_tls(p->volume, i);
    const struct object_key *key = volume_view(p->volume, i)->key;
    struct error problem = ERROR_INIT;
    bool is_bad = pair != NULL && tls_pair_problem(pair, clock_wall(), &problem);
    char text[OBJECT_KEY_TEXT_SIZE];

    if (is_bad && !p->logged_certificates[i])
        log_warn("a certificate is no good", "object", object_key_text(key, text), "pod",
                 p->options.pod, "reason", problem.text);
    else if (!is_bad && p->logged_certificates[i])
        log_info("the certificate is good again", "object", object_key_text(key, text), "pod",
                 p->options.pod);
    p->logged_certificates[i] = is_bad;
}

/* Return: when the first certificate expires that has not yet; 0 if there is none. */
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
    p->callbacks->changed(p->userdata);
    return 0;
}

static void check_certificates(struct published *p)
{
    time_t next;

    for (size_t i = 0; i < p->options.spec->n_sources; i++)
        check_certificate(p, i);
    p->certificate_timer = sd_event_source_disable_unref(p->certificate_timer);
    next = next_expiry(p);
    /* it is over in the second after */
    if (next != 0 &&
        sd_event_add_time(p->event, &p->certificate_timer, CLOCK_REALTIME,
                          SPAN_SEC((uint64_t)next + 1), TIMER_SLACK, on_certificate_expired, p) < 0)
        log_error("cannot set a timer; a certificate that expires will not be noticed", "object",
                  PUBLISHED_TEXT(p), "pod", p->options.pod);
}

/* ---- waiting for the objects */

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

/* ---- publishing */

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct published *p = userdata;

    publisher_submit(p->publisher, p->payload, clock_mono());
    return 0;
}

static void retry_later(struct published *p)
{
    p->retry_timer = sd_event_source_disable_unref(p->retry_timer);
    if (sd_event_add_time_relative(p->event, &p->retry_timer, CLOCK_MONOTONIC, RETRY_AFTER,
                                   TIMER_SLACK, on_retry, p) < 0)
        log_error("cannot set a timer; the next update will publish", "object", PUBLISHED_TEXT(p),
                  "pod", p->options.pod);
}

static void note_failure(struct published *p, int error)
{
    struct error e;

    if (!p->is_ready) {
        error_set_errno(&e, error, "cannot publish %s", PUBLISHED_TEXT(p));
        p->callbacks->failed(p->userdata, error, &e);
        return;
    }
    if (!p->publish_is_failing)
        log_error("publishing failed; trying again until it works", "object", PUBLISHED_TEXT(p),
                  "pod", p->options.pod, "error", strerror(-error));
    p->publish_is_failing = true;
    retry_later(p);
    p->callbacks->changed(p->userdata);
}

static void note_success(struct published *p)
{
    struct error e = ERROR_INIT;
    int r = p->is_ready ? 0 : p->callbacks->ready(p->userdata, &e);

    if (r < 0) {
        p->callbacks->failed(p->userdata, r, &e);
        return;
    }
    if (p->publish_is_failing)
        log_info("publishing works again", "object", PUBLISHED_TEXT(p), "pod", p->options.pod);
    p->publish_is_failing = false;
    if (!p->is_ready)
        log_published(p);
    p->is_ready = true;
}

static void on_published(void *userdata, const struct publisher_result *result)
{
    struct published *p = userdata;

    if (result->is_visible) {
        memcpy(p->generation, result->generation, sizeof(p->generation));
        p->n_published++;
        p->updated_at = clock_wall();
        p->update_latency_us = result->visible_at - result->received_at;
        if (p->is_ready)
            log_published(p);
        if (p->is_ready && p->callbacks->updated != NULL)
            p->callbacks->updated(p->userdata);
    }
    if (result->error < 0)
        note_failure(p, result->error);
    else
        note_success(p);
}

static void on_lone_mounts(void *userdata)
{
    const struct published *p = userdata;

    p->callbacks->changed(p->userdata);
}

/* Return: 0; PUBLISHED_LATER; -errno with @e. */
static int find_place(struct published *p, struct error *e)
{
    static const struct publisher_callbacks callbacks = {.done = on_published,
                                                         .mounted_parts = on_lone_mounts};
    struct publisher_place place;
    int r = p->callbacks->place(p->userdata, &place, e);

    if (r != 0)
        return r;
    r = publisher_add_volume(&place, &callbacks, p, &p->publisher);
    return r < 0 ? error_set_errno(e, r, "cannot publish %s", PUBLISHED_TEXT(p)) : 0;
}

static void on_payload(void *userdata, struct payload *payload, mono_us received_at)
{
    struct published *p = userdata;
    struct error e = ERROR_INIT;
    bool is_first = p->payload == NULL;
    int r;

    payload_unref(p->payload);
    p->payload = payload_ref(payload);
    r = is_first ? find_place(p, &e) : 0;
    if (r < 0) {
        p->callbacks->failed(p->userdata, r, &e);
        return;
    }
    if (p->publisher == NULL)
        return; /* failed already, or later */
    p->retry_timer = sd_event_source_disable_unref(p->retry_timer);
    /* what another volume follows already came before anybody asked here */
    publisher_submit(p->publisher, payload,
                     received_at < p->started_at ? p->started_at : received_at);
}

static void on_volume_state(void *userdata)
{
    struct published *p = userdata;

    if (p->volume == NULL)
        return; /* still being made; looked at right after */
    log_state(p);
    log_source_state(p);
    check_certificates(p);
    p->callbacks->changed(p->userdata);
}

void published_retry(struct published *p)
{
    struct error e = ERROR_INIT;
    int r;

    if (p->is_ready || p->payload == NULL)
        return;
    r = p->publisher == NULL ? find_place(p, &e) : 0;
    if (r < 0)
        p->callbacks->failed(p->userdata, r, &e);
    else if (r == 0)
        publisher_submit(p->publisher, p->payload, clock_mono());
}

/* ---- all of it */

int published_init(struct published *p, sd_event *event, const struct published_options *options,
                   const struct published_callbacks *callbacks, void *userdata, struct error *e)
{
    static const struct volume_callbacks volume_callbacks = {.payload = on_payload,
                                                             .state = on_volume_state};
    int r;

    *p = (struct published){.options = *options,
                            .callbacks = callbacks,
                            .userdata = userdata,
                            .event = sd_event_ref(event),
                            .started_at = clock_mono()};
    p->logged_certificates = calloc(options->spec->n_sources + 1, sizeof(bool));
    if (p->logged_certificates == NULL)
        return error_set_errno(e, -ENOMEM, "cannot set the volume up");
    r = volume_new(options->store, options->spec, options->namespace, &volume_callbacks, p,
                   &p->volume, e);
    if (r < 0)
        return r;
    on_volume_state(p); /* for what came before there was a volume to look at */
    return 0;
}

void published_deinit(struct published *p)
{
    sd_event_source_disable_unref(p->retry_timer);
    sd_event_source_disable_unref(p->certificate_timer);
    publisher_remove_volume(p->publisher);
    payload_unref(p->payload);
    volume_free(p->volume);
    free(p->logged_certificates);
    sd_event_unref(p->event);
    *p = (struct published){0};
}

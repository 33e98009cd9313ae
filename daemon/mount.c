/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a mount:
 *
 *   waiting     the source was asked; nothing is mounted (G1)
 *      | first payload
 *   publishing  the file system exists where nobody sees it, the payload goes into it
 *      | published
 *   ready       it is attached to the mount point; whoever started us may go on
 *      | new payloads are published as they come; trouble at the source changes nothing here
 *   ending      a signal, or the mount point was unmounted
 *
 * Until it is ready, anything that goes wrong with the mount ends the program with an error, and so
 * does --wait. After that only the two ends in the drawing are left.
 */
#include "daemon/mount.h"

#include <stdio.h>

#include "base/json.h"
#include "cache/secmem.h"
#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/event_loop.h"
#include "daemon/mounts.h"

#define RETRY_AFTER SPAN_SEC(1) /* publishing fails for want of memory or descriptors, mostly */
#define TIMER_SLACK SPAN_MS(10)

/* What is mounted: "secret/NAMESPACE/NAME", "projected/NAMESPACE/NAME-OF-THE-VOLUME". */
#define MOUNT_TEXT_SIZE (VOLUME_TEXT_SIZE + OBJECT_NAMESPACE_MAX + 1)
static const char *mount_text(const struct mount *m, char buf[static MOUNT_TEXT_SIZE])
{
    char text[VOLUME_TEXT_SIZE];
    const char *name = strchr(volume_spec_text(m->options->spec, text), '/');
    size_t kind_len = strcspn(text, "/");

    (void)snprintf(buf, MOUNT_TEXT_SIZE, "%.*s/%.63s%s", (int)kind_len, text, m->namespace,
                   name != NULL ? name : "");
    return buf;
}
#define MOUNT_TEXT(m) mount_text((m), (char[MOUNT_TEXT_SIZE]){""})

/* End with an error, as the volume never became readable. */
static void fail(struct mount *m, const struct error *reason)
{
    m->failure = *reason;
    (void)sd_event_exit(m->event, -1);
}

/* ---- what is logged: each trouble once, and once that it is over */

static void log_state(struct mount *m)
{
    enum volume_state state = volume_state(m->volume);

    if (state == m->logged_state)
        return;
    if (state == VOLUME_STALE)
        log_warn("cannot update; the last content stays readable", "object", MOUNT_TEXT(m),
                 "reason", volume_error(m->volume));
    else if (state == VOLUME_CURRENT && m->logged_state == VOLUME_STALE)
        log_info("up to date again", "object", MOUNT_TEXT(m));
    m->logged_state = state;
}

static void log_source_state(struct mount *m)
{
    const struct store_view *view = volume_worst_view(m->volume);
    bool was_failing = m->logged_source_state == STORE_SOURCE_FAILING;

    if (view == NULL)
        return;
    if (view->source_state == STORE_SOURCE_FAILING && !was_failing)
        log_warn("the source fails; trying again", "object", MOUNT_TEXT(m), "reason",
                 view->source_error.text);
    else if (view->source_state == STORE_SOURCE_FAILING &&
             !streq(view->source_error.text, m->logged_source_error.text))
        log_debug("the source still fails", "object", MOUNT_TEXT(m), "reason",
                  view->source_error.text);
    else if (view->source_state == STORE_SOURCE_LIVE && was_failing)
        log_info("the source is well again", "object", MOUNT_TEXT(m));
    m->logged_source_state = view->source_state;
    m->logged_source_error = view->source_error;
}

/* Of the one object that is shown, if it is just one. */
static const char *resource_version(const struct mount *m)
{
    const struct object *object;

    if (m->options->spec->n_sources != 1)
        return NULL;
    object = volume_view(m->volume, 0)->object;
    return object != NULL ? object->resource_version : NULL;
}

static void log_published(const struct mount *m, const char *message)
{
    char latency[LOG_NUMBER_SIZE];

    (void)snprintf(latency, sizeof(latency), "%.3fms", (double)m->update_latency_us / 1e3);
    log_info(message, "object", MOUNT_TEXT(m), "generation", m->generation, "resourceVersion",
             resource_version(m), "files", LOG_NUM(m->payload->n_files), "latency", latency);
}

/* ---- certificates: said once that one is no good, and once that it is again */

static void check_certificate(struct mount *m, size_t i)
{
    const struct tls_pair *pair = volume_tls(m->volume, i);
    const struct object_key *key = volume_view(m->volume, i)->key;
    struct error problem = ERROR_INIT;
    bool is_bad = pair != NULL && tls_pair_problem(pair, clock_wall(), &problem);
    char text[OBJECT_KEY_TEXT_SIZE];

    if (is_bad && !m->logged_certificates[i])
        log_warn("a certificate is no good", "object", object_key_text(key, text), "reason",
                 problem.text);
    else if (!is_bad && m->logged_certificates[i])
        log_info("the certificate is good again", "object", object_key_text(key, text));
    m->logged_certificates[i] = is_bad;
}

/* Return: when the first certificate expires that has not yet; 0 if there is none. */
static time_t next_expiry(const struct mount *m)
{
    time_t now = clock_wall().tv_sec, next = 0;

    for (size_t i = 0; i < m->options->spec->n_sources; i++) {
        const struct tls_pair *pair = volume_tls(m->volume, i);

        if (pair != NULL && pair->not_after.tv_sec >= now &&
            (next == 0 || pair->not_after.tv_sec < next))
            next = pair->not_after.tv_sec;
    }
    return next;
}

static void check_certificates(struct mount *m);

static int on_certificate_expired(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    check_certificates(userdata);
    return 0;
}

static void check_certificates(struct mount *m)
{
    time_t next;

    for (size_t i = 0; i < m->options->spec->n_sources; i++)
        check_certificate(m, i);
    m->certificate_timer = sd_event_source_disable_unref(m->certificate_timer);
    next = next_expiry(m);
    /* it is over in the second after */
    if (next != 0 &&
        sd_event_add_time(m->event, &m->certificate_timer, CLOCK_REALTIME,
                          SPAN_SEC((uint64_t)next + 1), TIMER_SLACK, on_certificate_expired, m) < 0)
        log_error("cannot set a timer; a certificate that expires will not be noticed");
}

/* ---- waiting for the object */

/* Why there is nothing to mount. */
static void set_missing(struct mount *m, struct error *e)
{
    const char *reason = volume_error(m->volume);

    if (volume_is_refused(m->volume))
        (void)error_set(e, -ENOENT, "%s", reason);
    else if (reason[0] != '\0')
        (void)error_set(e, -EIO, "cannot get %s: %s", MOUNT_TEXT(m), reason);
    else
        (void)error_set(e, -ETIMEDOUT, "cannot get %s: the source has not answered", MOUNT_TEXT(m));
}

/* With --wait 0 the first answer decides. */
static void check_first_answer(struct mount *m)
{
    struct error e;

    if (m->options->from.wait != 0 || m->payload != NULL || !volume_has_answer(m->volume))
        return;
    set_missing(m, &e);
    fail(m, &e);
}

static int on_wait_over(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct mount *m = userdata;
    struct error e;

    (void)source;
    (void)usec;
    set_missing(m, &e);
    (void)error_prefix(&e, -ETIMEDOUT, "gave up after %g s",
                       (double)m->options->from.wait / (double)SPAN_SEC(1));
    fail(m, &e);
    return 0;
}

/* ---- publishing */

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct mount *m = userdata;

    (void)source;
    (void)usec;
    publisher_submit(m->published, m->payload, clock_mono());
    return 0;
}

static void retry_later(struct mount *m)
{
    m->retry_timer = sd_event_source_disable_unref(m->retry_timer);
    if (sd_event_add_time_relative(m->event, &m->retry_timer, CLOCK_MONOTONIC, RETRY_AFTER,
                                   TIMER_SLACK, on_retry, m) < 0)
        log_error("cannot set a timer; the next update will publish");
}

static int describe(void *userdata, struct buf *document)
{
    return mount_describe(userdata, document);
}

/* The first payload is in place: show it. */
static int become_ready(struct mount *m, struct error *e)
{
    struct error control_error = ERROR_INIT;
    int r = session_attach(m->session, e);

    if (r < 0)
        return r;
    if (control_new(m->event, session_device(m->session), describe, m, &m->control,
                    &control_error) < 0)
        log_warn("no status will be available", "reason", control_error.text);
    m->wait_timer = sd_event_source_disable_unref(m->wait_timer);
    m->is_ready = true;
    background_ready(m->background); /* a command that worked says nothing: what follows is log */
    log_info("mounted", "mountpoint", m->options->mountpoint);
    log_published(m, "published");
    if (secmem_unlocked_bytes() > 0)
        log_warn("secret memory is not locked and could be swapped; raise `ulimit -l` "
                 "(LimitMEMLOCK=)");
    return 0;
}

static void note_failure(struct mount *m, int error)
{
    struct error e;

    if (!m->is_ready) {
        (void)error_set_errno(&e, error, "cannot publish %s", MOUNT_TEXT(m));
        fail(m, &e);
        return;
    }
    if (!m->publish_is_failing)
        log_error("publishing failed; trying again until it works", "object", MOUNT_TEXT(m),
                  "error", strerror(-error));
    m->publish_is_failing = true;
    retry_later(m);
}

static void on_published(void *userdata, const struct publisher_result *result)
{
    struct mount *m = userdata;
    struct error e = ERROR_INIT;

    if (result->is_visible) {
        (void)memcpy(m->generation, result->generation, sizeof(m->generation));
        m->n_published++;
        m->updated_at = clock_wall();
        m->update_latency_us = result->visible_at - result->received_at;
        if (m->is_ready)
            log_published(m, "published");
    }
    if (result->error < 0) {
        note_failure(m, result->error);
        return;
    }
    if (m->publish_is_failing)
        log_info("publishing works again", "object", MOUNT_TEXT(m));
    m->publish_is_failing = false;
    if (!m->is_ready && become_ready(m, &e) < 0)
        fail(m, &e);
}

static void on_session_ended(void *userdata)
{
    struct mount *m = userdata;

    log_info("unmounted from outside; ending", "mountpoint", m->options->mountpoint);
    (void)sd_event_exit(m->event, 0);
}

/* Make the file system, unseen. */
static int start_session(struct mount *m, struct error *e)
{
    const struct mount_options *o = m->options;
    const struct volume_spec *spec = o->spec;
    const struct tree_options tree_options = {
        /* an ordinary user may only change directories that are theirs, so only files are others'
         */
        .uid = geteuid() == 0 ? spec->uid : geteuid(),
        .gid = spec->fs_group != VOLUME_ID_UNSET ? spec->fs_group : spec->gid,
        .root_mode = volume_spec_root_mode(spec),
    };
    const struct session_options session_options = {
        .mountpoint = o->mountpoint,
        .source = o->source,
        .allow_other = o->allow_other,
        .mount_attr = o->mount_attr,
        .user_options = o->user_options.len > 0 ? o->user_options.data : NULL,
    };
    int r = tree_new(&tree_options, &m->tree);

    if (r < 0)
        return error_set_errno(e, r, "cannot set the mount up");
    r = session_new(m->event, m->tree, &session_options, on_session_ended, m, &m->session, e);
    if (r < 0)
        return r;
    r = publisher_new(m->event, m->session, m->tree, &m->publisher, e);
    if (r < 0)
        return r;
    r = publisher_add_volume(m->publisher, ".", TREE_ROOT_ID, on_published, m, &m->published);
    return r < 0 ? error_set_errno(e, r, "cannot set the mount up") : 0;
}

static void on_payload(void *userdata, struct payload *payload, mono_us received_at)
{
    struct mount *m = userdata;
    struct error e = ERROR_INIT;
    bool is_first = m->payload == NULL;

    (void)payload_unref(m->payload);
    m->payload = payload_ref(payload);
    if (is_first && start_session(m, &e) < 0) {
        fail(m, &e);
        return;
    }
    if (m->published == NULL)
        return; /* failing already */
    m->retry_timer = sd_event_source_disable_unref(m->retry_timer);
    publisher_submit(m->published, payload, received_at);
}

static void on_volume_state(void *userdata)
{
    struct mount *m = userdata;

    if (m->volume == NULL)
        return; /* still being made; looked at right after */
    log_state(m);
    log_source_state(m);
    check_certificates(m);
    check_first_answer(m);
}

/* ---- all of it */

static int make_volume(struct mount *m, struct error *e)
{
    static const struct volume_callbacks callbacks = {.payload = on_payload,
                                                      .state = on_volume_state};
    const struct volume_spec *spec = m->options->spec;
    int r;

    m->logged_certificates = calloc(spec->n_sources + 1, sizeof(bool));
    if (m->logged_certificates == NULL)
        return error_set_errno(e, -ENOMEM, "cannot set the volume up");
    r = volume_new(m->store, spec, m->namespace, &callbacks, m, &m->volume, e);
    if (r < 0)
        return r;
    on_volume_state(m); /* for what came before there was a volume to look at */
    return 0;
}

static int start_waiting(struct mount *m, struct error *e)
{
    int r;

    if (m->options->from.wait == SPAN_FOREVER || m->options->from.wait == 0)
        return 0;
    r = sd_event_add_time_relative(m->event, &m->wait_timer, CLOCK_MONOTONIC, m->options->from.wait,
                                   TIMER_SLACK, on_wait_over, m);
    return r < 0 ? error_set_errno(e, r, "cannot set a timer") : 0;
}

static int make_event_loop(struct mount *m, struct error *e)
{
    static const int ending[] = {SIGTERM, SIGINT, SIGHUP};
    sigset_t taken;
    int r;

    (void)sigemptyset(&taken);
    for (size_t i = 0; i < ELEMENTS_OF(ending); i++)
        (void)sigaddset(&taken, ending[i]);
    r = event_loop_new(&taken, &m->event, e);
    if (r < 0)
        return r;
    /* without a handler sd-event ends the loop with success */
    for (size_t i = 0; i < ELEMENTS_OF(ending) && r >= 0; i++)
        r = sd_event_add_signal(m->event, NULL, ending[i], NULL, NULL);
    return r < 0 ? error_set_errno(e, r, "cannot set the event loop up") : 0;
}

static int mount_start(struct mount *m, struct error *e)
{
    int r;

    if (mounts_is_mountpoint(m->options->mountpoint))
        return error_set(e, -EBUSY,
                         "secretfs is mounted on %s already; run `secretfs unmount %s` first",
                         m->options->mountpoint, m->options->mountpoint);
    r = secmem_harden(e);
    if (r < 0)
        return r;
    r = make_event_loop(m, e);
    if (r < 0)
        return r;
    r = store_new(&m->store);
    if (r < 0)
        return error_set_errno(e, r, "cannot set the store up");
    r = source_options_open(&m->options->from, m->event, m->store, &m->source, &m->namespace, e);
    if (r < 0)
        return r;
    r = start_waiting(m, e);
    if (r < 0)
        return r;
    return make_volume(m, e);
}

/* From the consumers' end to the source, so that nobody calls into what is gone. */
static void mount_deinit(struct mount *m)
{
    control_close(m->control);
    (void)sd_event_source_disable_unref(m->wait_timer);
    (void)sd_event_source_disable_unref(m->retry_timer);
    (void)sd_event_source_disable_unref(m->certificate_timer);
    (void)publisher_remove_volume(m->published);
    (void)publisher_free(m->publisher);
    (void)session_free(m->session);
    (void)tree_free(m->tree);
    (void)payload_unref(m->payload);
    (void)volume_free(m->volume);
    (void)source_free(m->source);
    (void)store_free(m->store);
    free(m->namespace);
    free(m->logged_certificates);
    (void)control_free(m->control); /* whoever waits for the end sees it now */
    (void)sd_event_unref(m->event);
}

int mount_run(const struct mount_options *options, struct background *background, struct error *e)
{
    struct mount m = {.options = options, .background = background, .started_at = clock_wall()};
    int r = mount_start(&m, e);

    if (r >= 0)
        r = sd_event_loop(m.event);
    if (r < 0 && m.failure.text[0] != '\0')
        *e = m.failure;
    else if (r < 0 && e->text[0] == '\0')
        (void)error_set_errno(e, r, "the event loop failed");
    mount_deinit(&m);
    return r;
}

/* From here on we may be the child; the parent waits to be told how it went. */
static int mount_as_asked(const struct mount_options *options, struct background *background,
                          struct error *e)
{
    int r = options->is_foreground ? 0 : background_enter(background, e);

    if (r < 0)
        return r;
    log_setup(options->from.log_level, options->from.log_format, LOG_TARGET_STDERR);
    return mount_run(options, background, e);
}

int command_mount(const struct invocation *invocation, int argc, char *argv[])
{
    struct background background = BACKGROUND_NONE;
    struct mount_options options;
    struct error e = ERROR_INIT;
    int code = EXIT_OK;
    int r = mount_options_parse(argc, argv, &options, &e);

    if (r >= 0 && options.wants_help)
        mount_options_help(invocation->program);
    else if (r == -EINVAL)
        code = command_failed(invocation, EXIT_USAGE, e.text);
    else if (r < 0 || mount_as_asked(&options, &background, &e) < 0)
        code = command_failed(invocation, EXIT_FAILED, e.text);
    mount_options_deinit(&options);
    background_failed(&background, code);
    return code;
}

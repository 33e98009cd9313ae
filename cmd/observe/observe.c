/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One loop for all volumes, so that they are compared by one clock. What is printed, in this order:
 *
 *   the object changes (--object)   at once
 *   a volume's update               when its events pause, or its next update begins
 *   who opens files of it           after that update; at once while none is under way
 */
#include "cmd/observe/observe.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/observe/changes.h"
#include "cmd/observe/volume.h"
#include "serve/daemon.h"

/* Longer than the events of an update are apart: secretfs removes the old generation after 10 ms.
 */
#define PAUSE SPAN_MS(50)

#define OUTPUT_MAX ((size_t)16 << 20)

struct watched {
    struct observer *observer;
    struct observed volume;
    sd_event_source *events, *pause;
};

struct observer {
    struct daemon daemon;
    const struct observe_options *options;
    struct watched *volumes;
    size_t n_volumes;
    struct opens opens;
    sd_event_source *opens_source;
    struct changes *changes;
    bool has_warned_lost;
};

static int fail(struct observer *o, const struct error *e)
{
    daemon_fail(&o->daemon, e);
    return 0;
}

/* ---- printing */

/* Return: 0, also when the reader has closed it: then the loop ends; -errno with @e. */
static int print(struct observer *o, const cJSON *json, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(OUTPUT_MAX);
    char *line = NULL;
    int r;

    if (o->options->as_json) {
        line = cJSON_PrintUnformatted(json);
        r = line != NULL ? buf_addf(&text, "%s\n", line) : -ENOMEM;
        cJSON_free(line);
    } else {
        r = record_print(json, o->n_volumes > 1, &text);
    }
    if (r < 0)
        return error_set_errno(e, r, "cannot print an update");
    fputs(buf_text(&text), stdout);
    if (fflush(stdout) == 0)
        return 0;
    return errno == EPIPE ? sd_event_exit(o->daemon.event, 0)
                          : error_set_errno(e, negative_errno(), "cannot print an update");
}

/* ---- the object changes */

static void on_change(void *userdata, const struct object_key *key, const char *version)
{
    struct observer *o = userdata;
    _cleanup_(cJSON_Deletep) cJSON *json = record_of_change(key, version);
    struct error e = ERROR_INIT;
    int r =
        json != NULL ? print(o, json, &e) : error_set_errno(&e, -ENOMEM, "cannot note a change");

    if (r < 0)
        fail(o, &e);
}

static bool is_object(const struct changes *changes, const cJSON *object)
{
    return object != NULL &&
           changes_is_of(changes, json_text(object, "kind"), json_text(object, "namespace"),
                         json_text(object, "name"));
}

/* Return: what a record says of the object; NULL: nothing. */
static const cJSON *find_object(const struct changes *changes, const cJSON *record)
{
    const cJSON *object = json_member(record, "object");

    if (is_object(changes, object))
        return object;
    cJSON_ArrayForEach (object, json_member(record, "objects")) {
        if (is_object(changes, object))
            return object;
    }
    return NULL;
}

/* A volume of the kubelet does not say what it shows: it is the newest version then. */
static void add_change(const struct observer *o, struct observed *volume)
{
    const cJSON *record = volume->record.json, *object;
    bool is_ours = volume->server != 0;
    const char *version;
    mono_us at;

    if (o->changes == NULL || volume->shown_at == 0)
        return;
    object = find_object(o->changes, record);
    if ((is_ours && object == NULL) ||
        !changes_find(o->changes, is_ours ? json_text(object, "resourceVersion") : NULL, &at,
                      &version))
        return;
    (void)!record_add_change(&volume->record, version,
                             volume->shown_at > at ? volume->shown_at - at : 0);
}

/* ---- updates */

static bool is_over(const struct observer *o)
{
    for (size_t i = 0; i < o->n_volumes; i++)
        if (o->options->count == 0 || o->volumes[i].volume.n_updates < o->options->count)
            return false;
    return true;
}

/* An observed_over_fn. */
static int end_record(void *userdata, struct observed *volume, struct error *e)
{
    struct observer *o = userdata;
    struct record *record = &volume->record;
    int r;

    if (record->json == NULL)
        return 0;
    observed_complete(volume);
    add_change(o, volume);
    if (record->n_dropped > 0)
        (void)!json_add_number(record->json, "eventsDropped", record->n_dropped);
    r = json_add_text(record->json, "path", volume->path);
    r = r < 0 ? error_set_errno(e, r, "cannot note an update") : print(o, record->json, e);
    volume->n_updates += record->is_shown && volume->shown_at != 0;
    record_deinit(record);
    if (r == 0 && is_over(o))
        r = sd_event_exit(o->daemon.event, 0) < 0 ? -ENOMEM : 1;
    return r;
}

/* ---- who opens files */

static int print_open(struct observer *o, const struct observed *volume, const char *file,
                      const struct opened *opened)
{
    _cleanup_(cJSON_Deletep) cJSON *json =
        record_of_open(volume->path, volume->generation, file, opened, volume->shown_at);
    struct error e = ERROR_INIT;
    int r = json != NULL ? print(o, json, &e) : error_set_errno(&e, -ENOMEM, "cannot note an open");

    return r < 0 ? fail(o, &e) : 0;
}

static bool has_record(const struct observer *o)
{
    for (size_t i = 0; i < o->n_volumes; i++)
        if (o->volumes[i].volume.record.json != NULL)
            return true;
    return false;
}

static void tell_open(struct observer *o, const struct opened *opened)
{
    for (size_t i = 0; i < o->n_volumes; i++) {
        struct observed *volume = &o->volumes[i].volume;
        const char *file = observed_open(volume, &o->opens, opened);

        if (file != NULL)
            print_open(o, volume, file, opened);
    }
}

/* What a new generation has is known when its record is over. */
static void tell_opens(struct observer *o)
{
    if (has_record(o))
        return;
    for (size_t i = 0; i < o->opens.n_pending; i++)
        tell_open(o, &o->opens.pending[i]);
    o->opens.n_pending = 0;
    if (o->opens.has_lost && !o->has_warned_lost)
        log_warn("some opens are not shown: there are more than the kernel keeps");
    o->has_warned_lost = o->opens.has_lost;
}

/* ---- the loop */

static int on_pause(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct watched *w = userdata;
    struct error e = ERROR_INIT;

    if (end_record(w->observer, &w->volume, &e) < 0)
        return fail(w->observer, &e);
    tell_opens(w->observer);
    return 0;
}

static int on_events(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct watched *w = userdata;
    struct error e = ERROR_INIT;

    if (observed_read(&w->volume, &e) < 0)
        return fail(w->observer, &e);
    sd_event_source_set_time_relative(w->pause, PAUSE);
    return sd_event_source_set_enabled(w->pause, SD_EVENT_ONESHOT);
}

static int on_opens(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct observer *o = userdata;

    opens_read(&o->opens);
    tell_opens(o);
    return 0;
}

/* ---- start and stop */

/* Others than root see no opens, and all else. */
static int start_opens(struct observer *o, struct error *e)
{
    struct error why = ERROR_INIT;
    int r;

    if (geteuid() != 0)
        return 0;
    r = opens_init(&o->opens, &why);
    for (size_t i = 0; i < o->options->n_paths && r == 0; i++)
        r = opens_add(&o->opens, o->options->paths[i], &why);
    if (r < 0) {
        log_warn("opens of files are not shown", "reason", why.text);
        return 0;
    }
    r = sd_event_add_io(o->daemon.event, &o->opens_source, o->opens.fd, EPOLLIN, on_opens, o);
    return r < 0 ? error_set_errno(e, r, "cannot watch opens") : 0;
}

static int start_volume(struct observer *o, struct watched *w, struct error *e)
{
    sd_event *event = o->daemon.event;
    int r = observed_init(&w->volume, e);

    if (r == 0)
        r = end_record(o, &w->volume, e);
    if (r < 0)
        return r;
    r = sd_event_add_io(event, &w->events, w->volume.inotify_fd, EPOLLIN, on_events, w);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &w->pause, CLOCK_MONOTONIC, 0, 1000, on_pause, w);
    if (r >= 0)
        r = sd_event_source_set_enabled(w->pause, SD_EVENT_OFF);
    if (r >= 0) /* the events of an update before those of its readers */
        r = sd_event_source_set_priority(w->events, SD_EVENT_PRIORITY_IMPORTANT);
    return r < 0 ? error_set_errno(e, r, "cannot watch %s", w->volume.path) : 0;
}

static int observe_start(struct daemon *daemon, struct error *e)
{
    struct observer *o = CONTAINER_OF(daemon, struct observer, daemon);
    const struct observe_options *options = o->options;
    int r = 0;

    if (options->object != NULL)
        r = changes_new(daemon->event, options->object, &options->from, on_change, o, &o->changes,
                        e);
    for (size_t i = 0; i < options->n_paths && r == 0; i++)
        r = start_volume(o, &o->volumes[i], e);
    return r == 0 ? start_opens(o, e) : r;
}

static void observe_stop(struct daemon *daemon)
{
    struct observer *o = CONTAINER_OF(daemon, struct observer, daemon);

    for (size_t i = 0; i < o->n_volumes; i++) {
        sd_event_source_unref(o->volumes[i].events);
        sd_event_source_unref(o->volumes[i].pause);
        observed_deinit(&o->volumes[i].volume);
    }
    sd_event_source_unref(o->opens_source);
    opens_deinit(&o->opens);
    changes_free(o->changes);
}

int observe(const struct observe_options *options, struct error *e)
{
    static const struct daemon_ops ops = {.start = observe_start, .stop = observe_stop};
    _cleanup_(freep) struct observer *o = calloc(1, sizeof(*o));
    _cleanup_(freep) struct watched *volumes = calloc(options->n_paths, sizeof(*volumes));
    sigset_t none;

    if (o == NULL || volumes == NULL)
        return error_set_errno(e, -ENOMEM, "cannot watch volumes");
    sigemptyset(&none); /* Ctrl-C ends it */
    o->options = options;
    o->opens.fd = -1;
    o->volumes = volumes;
    o->n_volumes = options->n_paths;
    for (size_t i = 0; i < o->n_volumes; i++) {
        volumes[i].observer = o;
        volumes[i].volume = (struct observed){
            .path = options->paths[i], .over = end_record, .userdata = o, .inotify_fd = -1};
    }
    return daemon_run(&o->daemon, &ops, &none, e);
}

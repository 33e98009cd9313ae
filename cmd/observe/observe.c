/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events are collected in a record, which is printed when they pause, or when the next update
 * begins: the kubelet's updates begin with the CREATE of the new generation's directory (C3). The
 * content is compared when ..data is renamed. If the generation is replaced before it is read, the
 * next one is read in its place.
 *
 * The volume is open only while it is read, so that it can be unmounted.
 */
#include "cmd/observe/observe.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>

#include "cmd/observe/record.h"
#include "cmd/status/request.h"

#define DATA_LINK "..data"

/* Longer than the events of an update are apart: secretfs removes the old generation after 10 ms.
 */
#define PAUSE_MS 50

#define EVENTS_BYTES 65536
#define OUTPUT_MAX   ((size_t)16 << 20)
#define READ_TRIES   100 /* of a volume that is updated all the time */

#define WATCHED                                                                                    \
    (IN_CREATE | IN_DELETE | IN_MOVE | IN_ATTRIB | IN_MODIFY | IN_CLOSE_WRITE | IN_DELETE_SELF |   \
     IN_MOVE_SELF)

struct observer {
    const struct observe_options *options;
    int inotify_fd;
    struct snapshot shown;
    char generation[NAME_MAX + 1];
    struct record record;
    unsigned long n_updates;
};

/* ---- the volume */

/* Return: 0; -EINVAL: there is none; -errno. */
static int read_data_link(int dir_fd, char name[static NAME_MAX + 1])
{
    ssize_t len = readlinkat(dir_fd, DATA_LINK, name, NAME_MAX);

    if (len < 0)
        return errno == ENOENT ? -EINVAL : negative_errno();
    name[len] = '\0';
    return strchr(name, '/') == NULL && len > 0 ? 0 : -EINVAL;
}

static int read_generation(const char *path, char name[static NAME_MAX + 1],
                           struct snapshot *ret_files, struct error *e)
{
    _cleanup_(fd_closep) int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
    int r = dir_fd >= 0 ? read_data_link(dir_fd, name) : negative_errno();

    if (r == -EINVAL)
        return error_set(e, r,
                         "%s is not a volume: it has no link " DATA_LINK "; give the directory "
                         "where a Secret, ConfigMap or projected volume is mounted",
                         path);
    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(e, negative_errno(), "cannot open the generation");
    return snapshot_read(fd, ret_files, e);
}

/* Return: 0, *ret_files is the caller's; -errno with @e. */
static int read_volume(const struct observer *o, char name[static NAME_MAX + 1],
                       struct snapshot *ret_files, struct error *e)
{
    int r = -ENOENT;

    for (unsigned i = 0; i < READ_TRIES && r == -ENOENT; i++)
        r = read_generation(o->options->path, name, ret_files, e);
    return r;
}

/* ---- records */

static void add_status(struct observer *o)
{
    _cleanup_(cJSON_Deletep) cJSON *status = NULL;

    if (status_request(o->options->path, false, &status, NULL) == 0)
        (void)!record_add_status(&o->record, status); /* without it the record is still true */
}

static int print(const struct observer *o, const cJSON *json, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(OUTPUT_MAX);
    char *line = NULL;
    int r;

    if (o->options->as_json) {
        line = cJSON_PrintUnformatted(json);
        r = line != NULL ? buf_addf(&text, "%s\n", line) : -ENOMEM;
        cJSON_free(line);
    } else {
        r = record_print(json, &text);
    }
    if (r < 0)
        return error_set_errno(e, r, "cannot print an update");
    fputs(buf_text(&text), stdout);
    return fflush(stdout) == 0 ? 0 : error_set_errno(e, negative_errno(), "cannot print an update");
}

static int end_record(struct observer *o, struct error *e)
{
    int r;

    if (o->record.json == NULL)
        return 0;
    if (o->record.is_shown)
        add_status(o);
    if (o->record.n_dropped > 0)
        (void)!json_add_number(o->record.json, "eventsDropped", o->record.n_dropped);
    r = print(o, o->record.json, e);
    o->n_updates += o->record.is_shown;
    record_deinit(&o->record);
    return r;
}

static bool is_over(const struct observer *o)
{
    return o->options->count > 0 && o->n_updates >= o->options->count;
}

/* ..data was renamed, or events were lost. */
static int compare(struct observer *o, struct error *e)
{
    char name[NAME_MAX + 1];
    struct snapshot now = {0};
    int r = read_volume(o, name, &now, e);

    if (r < 0)
        return r;
    if (!streq(name, o->generation)) {
        r = record_show(&o->record, name, &o->shown, &now);
        memcpy(o->generation, name, sizeof(name));
        snapshot_deinit(&o->shown);
        o->shown = now;
        return r < 0 ? error_set_errno(e, r, "cannot note an update") : 0;
    }
    snapshot_deinit(&now);
    return 0;
}

/* ---- events */

static bool begins_update(const struct inotify_event *event, const char *name)
{
    return (event->mask & IN_CREATE) != 0 && (event->mask & IN_ISDIR) != 0 &&
           strncmp(name, "..", 2) == 0;
}

static int on_event(struct observer *o, const struct inotify_event *event, struct error *e)
{
    const char *name = event->len > 0 ? event->name : "";
    int r = 0;

    if ((event->mask & (IN_IGNORED | IN_UNMOUNT)) != 0)
        return error_set(e, -ENODEV, "%s was unmounted or removed", o->options->path);
    if (begins_update(event, name) && o->record.is_shown)
        r = end_record(o, e);
    if (r == 0 && record_add_event(&o->record, event->mask, name) < 0)
        r = error_set_errno(e, -ENOMEM, "cannot note an event");
    if (r == 0 && ((event->mask & IN_Q_OVERFLOW) != 0 ||
                   ((event->mask & IN_MOVED_TO) != 0 && streq(name, DATA_LINK))))
        r = compare(o, e);
    return r;
}

static int read_events(struct observer *o, struct error *e)
{
    _Alignas(struct inotify_event) char events[EVENTS_BYTES];
    ssize_t len = read(o->inotify_fd, events, sizeof(events));
    int r = 0;

    if (len < 0)
        return error_set_errno(e, negative_errno(), "cannot read events");
    for (const char *at = events; at < events + len && r == 0 && !is_over(o);) {
        const struct inotify_event *event = (const void *)at;

        r = on_event(o, event, e);
        at += sizeof(*event) + event->len;
    }
    return r;
}

static int wait_for_events(struct observer *o, struct error *e)
{
    struct pollfd polled = {.fd = o->inotify_fd, .events = POLLIN};
    int n = poll(&polled, 1, o->record.json != NULL ? PAUSE_MS : -1);

    if (n < 0)
        return error_set_errno(e, negative_errno(), "cannot wait for events");
    return n > 0 ? read_events(o, e) : end_record(o, e);
}

/* ---- the interface */

/* Watch before reading: what changes in between is reported. */
static int start(struct observer *o, struct error *e)
{
    struct record first = {0};
    int r;

    o->inotify_fd = inotify_init1(IN_CLOEXEC);
    if (o->inotify_fd < 0 || inotify_add_watch(o->inotify_fd, o->options->path, WATCHED) < 0)
        return error_set_errno(e, negative_errno(), "cannot watch %s", o->options->path);
    r = read_volume(o, o->generation, &o->shown, e);
    if (r < 0)
        return r;
    if (record_show(&first, o->generation, &(struct snapshot){0}, &o->shown) < 0)
        r = error_set_errno(e, -ENOMEM, "cannot note the content");
    else
        o->record = first;
    return r;
}

int observe(const struct observe_options *options, struct error *e)
{
    struct observer o = {.options = options, .inotify_fd = -1};
    int r = start(&o, e);

    if (r == 0)
        r = end_record(&o, e);
    o.n_updates = 0; /* what was there already is not an update */
    while (r == 0 && !is_over(&o))
        r = wait_for_events(&o, e);
    record_deinit(&o.record);
    snapshot_deinit(&o.shown);
    fd_close(o.inotify_fd);
    return r;
}

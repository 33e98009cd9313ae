/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events are collected in a record, which is over when they pause, or when the next update
 * begins: the kubelet's updates begin with the CREATE of the new generation's directory (C3). The
 * content is compared when ..data is renamed. If the generation is replaced before it is read, the
 * next one is read in its place. With `updates: in-place` the generation stays, and the rename
 * says that the content of its files is another.
 *
 * The volume is open only while it is read, so that it can be unmounted.
 */
#include "cmd/observe/volume.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "cmd/status/request.h"

#define DATA_LINK     "..data"
#define DATA_LINK_NEW "..data_tmp"

#define EVENTS_BYTES 65536
#define READ_TRIES   100 /* of a volume that is updated all the time */

#define WATCHED                                                                                    \
    (IN_CREATE | IN_DELETE | IN_MOVE | IN_ATTRIB | IN_MODIFY | IN_CLOSE_WRITE | IN_DELETE_SELF |   \
     IN_MOVE_SELF)

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
static int read_volume(const struct observed *v, char name[static NAME_MAX + 1],
                       struct snapshot *ret_files, struct error *e)
{
    int r = -ENOENT;

    for (unsigned i = 0; i < READ_TRIES && r == -ENOENT; i++)
        r = read_generation(v->path, name, ret_files, e);
    return r;
}

/* ..data was renamed, or events were lost. @is_update: the former */
static int compare(struct observed *v, bool is_update, struct error *e)
{
    char name[NAME_MAX + 1];
    struct snapshot now = {0};
    int r = read_volume(v, name, &now, e);

    if (r < 0)
        return r;
    if (!is_update && streq(name, v->generation)) {
        snapshot_deinit(&now);
        return 0;
    }
    r = record_show(&v->record, name, &v->shown, &now);
    memcpy(v->generation, name, sizeof(name));
    snapshot_deinit(&v->shown);
    v->shown = now;
    v->n_readers = 0;
    return r < 0 ? error_set_errno(e, r, "cannot note an update") : 0;
}

/* ---- events */

/* One with `updates: in-place` makes no directory. */
static bool begins_update(const struct inotify_event *event, const char *name)
{
    return (event->mask & IN_CREATE) != 0 &&
           (streq(name, DATA_LINK_NEW) ||
            ((event->mask & IN_ISDIR) != 0 && strncmp(name, "..", 2) == 0));
}

static int on_event(struct observed *v, const struct inotify_event *event, struct error *e)
{
    const char *name = event->len > 0 ? event->name : "";
    bool is_renamed = (event->mask & IN_MOVED_TO) != 0 && streq(name, DATA_LINK);
    int r = 0;

    if ((event->mask & (IN_IGNORED | IN_UNMOUNT)) != 0)
        return error_set(e, -ENODEV, "%s was unmounted or removed", v->path);
    if (begins_update(event, name) && v->record.is_shown)
        r = v->over(v->userdata, v, e);
    if (r == 0 && record_add_event(&v->record, event->mask, name) < 0)
        r = error_set_errno(e, -ENOMEM, "cannot note an event");
    if (r == 0 && is_renamed)
        v->shown_at = clock_mono();
    if (r == 0 && (is_renamed || (event->mask & IN_Q_OVERFLOW) != 0))
        r = compare(v, is_renamed, e);
    return r;
}

int observed_read(struct observed *volume, struct error *e)
{
    _Alignas(struct inotify_event) char events[EVENTS_BYTES];
    ssize_t len = read(volume->inotify_fd, events, sizeof(events));
    int r = 0;

    if (len < 0)
        return error_set_errno(e, negative_errno(), "cannot read events");
    for (const char *at = events; at < events + len && r == 0;) {
        const struct inotify_event *event = (const void *)at;

        r = on_event(volume, event, e);
        at += sizeof(*event) + event->len;
    }
    return r;
}

/* ---- what secretfs says */

void observed_complete(struct observed *volume)
{
    _cleanup_(cJSON_Deletep) cJSON *status = NULL;
    const cJSON *pid;

    if (!volume->record.is_shown || status_request(volume->path, false, &status, NULL) < 0)
        return;
    (void)!record_add_status(&volume->record, status); /* without it the record is still true */
    pid = json_member(status, "pid");
    volume->server = cJSON_IsNumber(pid) ? (pid_t)pid->valuedouble : 0;
}

/* ---- readers */

static bool is_first(struct observed *v, const struct opened *opened)
{
    const struct identity_process *process = &opened->identity.process;
    struct observed_reader *reader = v->readers;

    for (; reader < v->readers + v->n_readers; reader++)
        if (reader->pid == process->pid && reader->start_ticks == process->start_ticks &&
            reader->inode == opened->inode)
            return false;
    if (v->n_readers == OBSERVED_READERS_MAX)
        return false;
    *reader = (struct observed_reader){
        .pid = process->pid, .start_ticks = process->start_ticks, .inode = opened->inode};
    v->n_readers++;
    return true;
}

const char *observed_open(struct observed *volume, const struct opens *opens,
                          const struct opened *opened)
{
    const char *path = snapshot_find(&volume->shown, opened->device, opened->inode);
    pid_t pid = opened->identity.process.pid;

    if (path == NULL || pid == volume->server || opens_is_writer(opens, pid))
        return NULL;
    return is_first(volume, opened) ? path : NULL;
}

/* ---- the object */

/* Watch before reading: what changes in between is reported. */
int observed_init(struct observed *volume, struct error *e)
{
    int r;

    volume->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (volume->inotify_fd < 0 || inotify_add_watch(volume->inotify_fd, volume->path, WATCHED) < 0)
        return error_set_errno(e, negative_errno(), "cannot watch %s", volume->path);
    r = read_volume(volume, volume->generation, &volume->shown, e);
    if (r == 0 &&
        record_show(&volume->record, volume->generation, &(struct snapshot){0}, &volume->shown) < 0)
        r = error_set_errno(e, -ENOMEM, "cannot note the content");
    return r;
}

void observed_deinit(struct observed *volume)
{
    record_deinit(&volume->record);
    snapshot_deinit(&volume->shown);
    volume->inotify_fd = fd_close(volume->inotify_fd);
}

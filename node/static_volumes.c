/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at the directory has two parts. First every file whose status is not what it was is read
 * and parsed; a good one has its volume waiting as its `next`, a bad one is reported and changes
 * nothing. Then what waits takes effect, which depends on the files alone and not on the order in
 * which they were written:
 *
 *  1. Of two files that want one target, or one in the other's, that keeps it which has it; if none
 *     has, the first by name. The other one is reported, and tried again at every look.
 *  2. Volumes of files that are gone, or move to another target, are removed, so that two files
 *     can trade their targets.
 *  3. The rest is added or changed.
 *
 * A file that is gone counts for a moment longer, since some editors move the old one out of the
 * way before they write the new one. One that is open for writing is read when it is closed. A
 * directory that is gone changes nothing.
 */
#include "node/static_volumes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/dir_watch.h"
#include "base/list.h"
#include "base/log.h"
#include "fetcher/manifests/manifest_file.h"

#define SUFFIX ".yaml"

#define VANISH_SPAN  SPAN_MS(100)
#define LOOK_SPAN    SPAN_MS(2)  /* several events are mostly about one change */
#define WRITING_SPAN SPAN_MS(50) /* it will be closed, and that is told too */
#define BUSY_SPAN    SPAN_MS(100)
#define TIMER_SLACK  SPAN_MS(1)

struct file {
    struct list link; /* by name */
    char *name;
    struct file_stamp stamp;
    bool is_read;                  /* the stamp counts */
    bool is_listed;                /* by the look that is going on */
    mono_us missing_since;         /* 0 while it is there */
    struct buf text;               /* what was parsed last */
    struct static_volume *current; /* was told of */
    struct static_volume *next;    /* good, and not told of yet */
    const struct file *rival;      /* who has the target that next wants; of this look */
    struct error error;            /* that was reported; empty if none */
};

struct static_volumes {
    char *path;
    const struct static_volumes_callbacks *callbacks;
    void *userdata;
    sd_event *event;
    sd_event_source *timer;
    mono_us look_at; /* when the timer is set for; 0 if it is not */
    struct dir_watch *watch;
    struct list files;
    size_t n_files;
    struct error error; /* about the directory, as reported */
};

/* ---- files */

static struct file *file_free(struct file *f)
{
    if (f == NULL)
        return NULL;
    list_remove(&f->link);
    static_volume_unref(f->current);
    static_volume_unref(f->next);
    buf_deinit(&f->text);
    free(f->name);
    free(f);
    return NULL;
}

static struct file *file_new(const char *name)
{
    struct file *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return NULL;
    list_init(&f->link);
    f->text = BUF_INIT(MANIFEST_FILE_MAX_BYTES);
    f->name = strdup(name);
    return f->name != NULL ? f : file_free(f);
}

static bool is_volume_name(const char *name)
{
    size_t len = strlen(name), suffix_len = strlen(SUFFIX);

    return name[0] != '.' && len > suffix_len && streq(name + len - suffix_len, SUFFIX);
}

/* Return: the file of that name, which is new if there was none; NULL for want of memory. */
static struct file *get_file(struct static_volumes *v, const char *name)
{
    struct file *f, *made;

    list_for_each (f, &v->files, link) {
        int order = strcmp(f->name, name);

        if (order == 0)
            return f;
        if (order > 0)
            break;
    }
    made = file_new(name);
    if (made == NULL)
        return NULL;
    list_append(&f->link, &made->link); /* before the first one that comes after it by name */
    v->n_files++;
    return made;
}

/* ---- what is reported */

/* @reason: empty if all is well */
static void report(struct static_volumes *v, const char *file, struct error *reported,
                   const struct error *reason)
{
    if (streq(reported->text, reason->text))
        return;
    *reported = *reason;
    v->callbacks->failed(v->userdata, file, reason->text[0] != '\0' ? reason->text : NULL);
}

/* ---- reading */

static void schedule(struct static_volumes *v, span_us span);

/* A file that was read. Return: 0 or -ENOMEM. */
static int parse_file(struct static_volumes *v, struct file *f)
{
    struct static_volume *volume = NULL;
    struct error e = ERROR_INIT;
    int r = -EFBIG;

    if (f->text.len > STATIC_VOLUME_MAX_BYTES)
        error_set(&e, r, "it is longer than %u bytes", STATIC_VOLUME_MAX_BYTES);
    else
        r = static_volume_parse(f->name, buf_text(&f->text), f->text.len, &volume, &e);
    if (r == -ENOMEM)
        return r;
    f->next = static_volume_unref(f->next);
    f->next = volume;
    if (r < 0)
        report(v, f->name, &f->error, &e);
    return 0;
}

/* Return: 0; MANIFEST_FILE_BUSY; -ENOMEM. */
static int read_file(struct static_volumes *v, int dir_fd, struct file *f)
{
    struct buf text = BUF_INIT(MANIFEST_FILE_MAX_BYTES);
    struct file_stamp stamp = {.size = 0};
    struct error e = ERROR_INIT;
    int r = manifest_file_read(dir_fd, f->name, false, &text, &stamp, &e);
    bool is_same = r == 0 && f->text.len == text.len && f->text.data != NULL &&
                   memcmp(buf_text(&f->text), buf_text(&text), text.len) == 0;

    if (r == MANIFEST_FILE_OTHER)
        r = error_set(&e, -EINVAL, "it is no regular file");
    if (r == 0 && !is_same) {
        buf_deinit(&f->text);
        f->text = text;
        text = BUF_INIT(MANIFEST_FILE_MAX_BYTES);
        r = parse_file(v, f);
    } else if (r < 0 && r != -ENOMEM) {
        report(v, f->name, &f->error, &e);
        buf_deinit(&f->text); /* parsed, and so well again, when it can be read */
        r = 0;
    }
    buf_deinit(&text);
    f->stamp = stamp;
    f->is_read = r == 0;
    return r;
}

/* Return: as read_file(). */
static int refresh_file(struct static_volumes *v, int dir_fd, struct file *f)
{
    struct error e = ERROR_INIT;
    struct stat st;

    if (fstatat(dir_fd, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return MANIFEST_FILE_BUSY; /* vanished since the directory was listed */
    if (S_ISLNK(st.st_mode) && dir_watch_follow(v->watch, f->name, &e) < 0) {
        report(v, f->name, &f->error, &e);
        return 0;
    }
    if (S_ISLNK(st.st_mode) && fstatat(dir_fd, f->name, &st, 0) < 0)
        return MANIFEST_FILE_BUSY;
    if (f->is_read && file_stamp_holds(&f->stamp, &st))
        return 0;
    return read_file(v, dir_fd, f);
}

/* ---- what takes effect */

static bool has_target(const struct static_volume *volume, const char *target)
{
    return volume != NULL && streq(volume->target, target);
}

/* Whether one of them is the other, or lies in it. */
static bool is_in_the_way(const struct static_volume *volume, const char *target)
{
    const char *rest;

    if (volume == NULL)
        return false;
    rest = strlen(volume->target) > strlen(target) ? str_after(volume->target, target)
                                                   : str_after(target, volume->target);
    return rest != NULL && (*rest == '\0' || *rest == '/');
}

static bool is_going(const struct file *f)
{
    return f->missing_since != 0 && clock_mono() - f->missing_since >= VANISH_SPAN;
}

/* Rule 1 of the top comment. Return: who keeps @f from the target that it wants, or NULL. */
static const struct file *find_rival(const struct static_volumes *v, const struct file *f)
{
    const char *target = f->next->target;
    const struct file *other;
    bool is_before = true;

    if (has_target(f->current, target))
        return NULL;
    list_for_each (other, &v->files, link) {
        if (other == f)
            is_before = false;
        if (other == f || is_going(other))
            continue;
        if (is_in_the_way(other->current, target) &&
            (other->next == NULL || other->rival != NULL || is_in_the_way(other->next, target)))
            return other;
        if (is_before && other->rival == NULL && is_in_the_way(other->next, target))
            return other;
    }
    return NULL;
}

/* Who has to stay where it is may be in the way of another, so until nothing is new. */
static void find_rivals(struct static_volumes *v)
{
    struct file *f;
    bool is_settled;

    list_for_each (f, &v->files, link)
        f->rival = NULL;
    do {
        is_settled = true;
        list_for_each (f, &v->files, link) {
            if (f->next == NULL || f->rival != NULL)
                continue;
            f->rival = find_rival(v, f);
            is_settled = is_settled && f->rival == NULL;
        }
    } while (!is_settled);
}

static void remove_current(struct static_volumes *v, struct file *f)
{
    if (f->current != NULL)
        v->callbacks->removed(v->userdata, f->current);
    f->current = static_volume_unref(f->current);
}

static void remove_old(struct static_volumes *v)
{
    struct file *f, *after;

    list_for_each_safe (f, after, &v->files, link) {
        bool goes = is_going(f);

        if (goes ||
            (f->next != NULL && f->rival == NULL && !has_target(f->current, f->next->target)))
            remove_current(v, f);
        if (!goes)
            continue;
        report(v, f->name, &f->error, &ERROR_INIT);
        file_free(f);
        v->n_files--;
    }
}

/* A mistake that was undone is no change. */
static bool is_as_before(const struct file *f)
{
    return f->current != NULL && streq(f->current->text, f->next->text);
}

static void take_next(struct static_volumes *v, struct file *f)
{
    struct static_volume *old = f->current;

    if (is_as_before(f)) {
        f->next = static_volume_unref(f->next);
        report(v, f->name, &f->error, &ERROR_INIT);
        return;
    }
    f->current = TAKE(f->next);
    if (old != NULL)
        v->callbacks->changed(v->userdata, old, f->current);
    else
        v->callbacks->added(v->userdata, f->current);
    static_volume_unref(old);
    report(v, f->name, &f->error, &ERROR_INIT);
}

static void report_rival(struct static_volumes *v, struct file *f)
{
    const struct static_volume *its =
        is_in_the_way(f->rival->current, f->next->target) ? f->rival->current : f->rival->next;
    struct error e = ERROR_INIT;

    if (has_target(its, f->next->target))
        error_set(&e, -EEXIST, "target: %.255s is that of %.64s already", f->next->target,
                  f->rival->name);
    else
        error_set(&e, -EEXIST,
                  "target: one of %.128s and that of %.64s, %.128s, lies in the "
                  "other",
                  f->next->target, f->rival->name, its->target);
    report(v, f->name, &f->error, &e);
}

static void take_effect(struct static_volumes *v)
{
    struct file *f;

    find_rivals(v);
    list_for_each (f, &v->files, link) {
        if (f->rival != NULL)
            report_rival(v, f);
    }
    remove_old(v);
    list_for_each (f, &v->files, link)
        if (f->next != NULL && f->rival == NULL)
            take_next(v, f);
}

/* ---- the directory */

static int directory_failed(const struct static_volumes *v, int code, struct error *e)
{
    if (code == -E2BIG)
        return error_set(e, code, "there are more than %u files: take away what is not needed",
                         STATIC_VOLUMES_MAX);
    if (code == -ENOENT && v->n_files == 0) {
        *e = ERROR_INIT; /* nobody wants any volumes */
        return 0;
    }
    return error_set_errno(e, code, "the directory cannot be read; its volumes stay as they are");
}

static int list_directory(struct static_volumes *v, DIR *dir)
{
    const struct dirent *entry;
    size_t n = 0;

    for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0) {
        struct file *f;

        if (!is_volume_name(entry->d_name))
            continue;
        if (++n > STATIC_VOLUMES_MAX)
            return -E2BIG;
        f = get_file(v, entry->d_name);
        if (f == NULL)
            return -ENOMEM;
        f->is_listed = true;
    }
    return errno != 0 ? negative_errno() : 0;
}

/* Return: 0; MANIFEST_FILE_BUSY if some file has to be looked at again soon; -ENOMEM. */
static int refresh_files(struct static_volumes *v, int dir_fd)
{
    bool is_busy = false;
    struct file *f;

    list_for_each (f, &v->files, link) {
        int r = 0;

        if (f->is_listed)
            f->missing_since = 0;
        else if (f->missing_since == 0)
            f->missing_since = clock_mono();
        if (f->is_listed)
            r = refresh_file(v, dir_fd, f);
        if (r < 0)
            return r;
        is_busy = is_busy || r == MANIFEST_FILE_BUSY || !f->is_listed;
    }
    return is_busy ? MANIFEST_FILE_BUSY : 0;
}

/* Files that the listing found and that were never read are no files if it is not to be taken. */
static void forget_unread(struct static_volumes *v)
{
    struct file *f, *after;

    list_for_each_safe (f, after, &v->files, link) {
        if (f->text.data != NULL || f->current != NULL || f->error.text[0] != '\0')
            continue;
        file_free(f);
        v->n_files--;
    }
}

/* Return: as refresh_files(); other -errno with @e. */
static int look(struct static_volumes *v, struct error *e)
{
    struct file *f;
    DIR *dir;
    int r = dir_watch_renew(v->watch, e);

    if (r < 0)
        return r == -ENOSPC || r == -ENOMEM ? r : directory_failed(v, r, e);
    list_for_each (f, &v->files, link)
        f->is_listed = false;
    dir = opendir(v->path);
    if (dir == NULL)
        return directory_failed(v, negative_errno(), e);
    r = list_directory(v, dir);
    if (r == 0) {
        r = refresh_files(v, dirfd(dir));
    } else {
        forget_unread(v);
        r = directory_failed(v, r, e);
    }
    closedir(dir);
    if (r >= 0)
        take_effect(v);
    return r;
}

void static_volumes_refresh(struct static_volumes *volumes)
{
    struct error e = ERROR_INIT;
    int r = look(volumes, &e);

    dir_watch_settle(volumes->watch);
    if (r == -ENOMEM && e.text[0] == '\0')
        error_set_errno(&e, r, "cannot read the volumes; trying again");
    if (r == MANIFEST_FILE_BUSY || r == -ENOMEM)
        schedule(volumes, BUSY_SPAN);
    report(volumes, volumes->path, &volumes->error, &e);
}

size_t static_volumes_count(const struct static_volumes *volumes)
{
    const struct file *f;
    size_t n = 0;

    list_for_each (f, &volumes->files, link)
        n += f->current != NULL;
    return n;
}

/* ---- events */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct static_volumes *v = userdata;

    v->look_at = 0;
    static_volumes_refresh(v);
    return 0;
}

/* Look again after that time, or earlier if that is intended already. */
static void schedule(struct static_volumes *v, span_us span)
{
    mono_us at = clock_mono() + span;

    if (v->look_at != 0 && v->look_at <= at)
        return;
    v->timer = sd_event_source_disable_unref(v->timer);
    v->look_at = at;
    if (sd_event_add_time(v->event, &v->timer, CLOCK_MONOTONIC, at, TIMER_SLACK, on_timer, v) < 0) {
        v->look_at = 0;
        log_debug("cannot set a timer; static volumes are looked at when the next one changes");
    }
}

static void on_event(void *userdata, const struct dir_event *event)
{
    struct static_volumes *v = userdata;
    bool is_writing = (event->mask & (IN_CREATE | IN_MODIFY)) != 0;

    if (event->name != NULL && !is_volume_name(event->name))
        return;
    schedule(v, is_writing ? WRITING_SPAN : LOOK_SPAN);
}

/* ---- the object */

int static_volumes_new(sd_event *event, const char *path,
                       const struct static_volumes_callbacks *callbacks, void *userdata,
                       struct static_volumes **ret_volumes, struct error *e)
{
    _cleanup_(static_volumes_freep) struct static_volumes *v = calloc(1, sizeof(*v));
    int r;

    if (v == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the volumes in %.255s", path);
    list_init(&v->files);
    v->callbacks = callbacks;
    v->userdata = userdata;
    v->event = sd_event_ref(event);
    v->path = strdup(path);
    if (v->path == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the volumes in %.255s", path);
    r = dir_watch_new(event, path, on_event, v, &v->watch, e);
    if (r < 0)
        return r;
    *ret_volumes = TAKE(v);
    return 0;
}

struct static_volumes *static_volumes_free(struct static_volumes *volumes)
{
    struct file *f, *after;

    if (volumes == NULL)
        return NULL;
    sd_event_source_disable_unref(volumes->timer);
    dir_watch_free(volumes->watch);
    list_for_each_safe (f, after, &volumes->files, link)
        file_free(f);
    sd_event_unref(volumes->event);
    free(volumes->path);
    free(volumes);
    return NULL;
}

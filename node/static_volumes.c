/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scan of the directory has two phases. First it reads and parses each file whose status differs
 * from the last scan; the volume of a valid file waits as the file's `next`, an invalid file is
 * reported and changes nothing. Then the waiting volumes are applied. The result depends on the
 * files and on the volumes that exist, not on the order in which the files were written:
 *
 *  1. When the targets of two files conflict (they are equal, or one contains the other), the file
 *     that has the target keeps it; if neither has it, the first by name gets it. The other file is
 *     reported, and tried again in each scan.
 *  2. Volumes whose files were deleted, or whose targets move, are removed first, so that two files
 *     can swap their targets.
 *  3. The other volumes are added or changed.
 *
 * A file that disappears is kept for VANISH_SPAN, since some editors move the old file away before
 * they write the new one. A file that is open for writing is read after it was closed. When the
 * directory disappears, all volumes stay.
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
#define SCAN_SPAN    SPAN_MS(2)  /* one change mostly causes several events */
#define WRITING_SPAN SPAN_MS(50) /* IN_CLOSE_WRITE follows */
#define BUSY_SPAN    SPAN_MS(100)
#define TIMER_SLACK  SPAN_MS(1)

struct file {
    struct list link; /* by name */
    char *name;
    struct file_stamp stamp;
    bool is_read;                  /* stamp is valid */
    bool is_listed;                /* by the current scan */
    mono_us missing_since;         /* 0: the last scan listed it */
    struct buf text;               /* parsed last */
    struct static_volume *current; /* reported to added() or changed() */
    struct static_volume *next;    /* valid, not applied yet */
    const struct file *conflict;   /* has or gets the target of next; in this scan */
    struct error error;            /* reported last; empty: none */
};

struct static_volumes {
    char *path;
    const struct static_volumes_callbacks *callbacks;
    void *userdata;
    sd_event *event;
    sd_event_source *timer;
    mono_us scan_at; /* when the timer fires; 0: it is not set */
    struct dir_watch *watch;
    struct list files;
    size_t n_files;
    struct error error; /* of the directory, reported last */
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

/* Find a file, or add it. Return: NULL when memory is short. */
static struct file *get_file(struct static_volumes *v, const char *name)
{
    struct file *f, *added;

    list_for_each (f, &v->files, link) {
        int order = strcmp(f->name, name);

        if (order == 0)
            return f;
        if (order > 0)
            break;
    }
    added = file_new(name);
    if (added == NULL)
        return NULL;
    list_append(&f->link, &added->link); /* before the first file with a greater name */
    v->n_files++;
    return added;
}

/* ---- reporting */

/* @reason: empty: no failure */
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

/* Return: 0 or -ENOMEM. */
static int parse_file(struct static_volumes *v, struct file *f)
{
    struct static_volume *volume = NULL;
    struct error e = ERROR_INIT;
    int r = -EFBIG;

    if (f->text.len > STATIC_VOLUME_MAX_BYTES)
        error_set(&e, r, "the file is longer than %u bytes", STATIC_VOLUME_MAX_BYTES);
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
        r = error_set(&e, -EINVAL, "not a regular file");
    if (r == 0 && !is_same) {
        buf_deinit(&f->text);
        f->text = text;
        text = BUF_INIT(MANIFEST_FILE_MAX_BYTES);
        r = parse_file(v, f);
    } else if (r < 0 && r != -ENOMEM) {
        report(v, f->name, &f->error, &e);
        buf_deinit(&f->text); /* so that the next successful read parses it and clears the error */
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
        return MANIFEST_FILE_BUSY; /* deleted after the directory was listed */
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

/* ---- applying */

static bool has_target(const struct static_volume *volume, const char *target)
{
    return volume != NULL && streq(volume->target, target);
}

/* Whether the paths are equal or one contains the other. */
static bool paths_overlap(const char *a, const char *b)
{
    const char *rest = strlen(a) > strlen(b) ? str_after(a, b) : str_after(b, a);

    return rest != NULL && (*rest == '\0' || *rest == '/');
}

static bool overlaps(const struct static_volume *volume, const char *target)
{
    return volume != NULL && paths_overlap(volume->target, target);
}

static bool is_vanished(const struct file *f)
{
    return f->missing_since != 0 && clock_mono() - f->missing_since >= VANISH_SPAN;
}

/* Rule 1 of the top comment. Return: the file that keeps @f->next from its target, or NULL. */
static const struct file *find_conflict(const struct static_volumes *v, const struct file *f)
{
    const char *target = f->next->target;
    const struct file *other;
    bool is_before = true;

    if (has_target(f->current, target))
        return NULL;
    list_for_each (other, &v->files, link) {
        if (other == f)
            is_before = false;
        if (other == f || is_vanished(other))
            continue;
        if (overlaps(other->current, target) &&
            (other->next == NULL || other->conflict != NULL || overlaps(other->next, target)))
            return other;
        if (is_before && other->conflict == NULL && overlaps(other->next, target))
            return other;
    }
    return NULL;
}

/* A file that has to keep its target may cause another conflict: repeat until none is found. */
static void find_conflicts(struct static_volumes *v)
{
    struct file *f;
    bool is_complete;

    list_for_each (f, &v->files, link)
        f->conflict = NULL;
    do {
        is_complete = true;
        list_for_each (f, &v->files, link) {
            if (f->next == NULL || f->conflict != NULL)
                continue;
            f->conflict = find_conflict(v, f);
            is_complete = is_complete && f->conflict == NULL;
        }
    } while (!is_complete);
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
        bool vanished = is_vanished(f);

        if (vanished ||
            (f->next != NULL && f->conflict == NULL && !has_target(f->current, f->next->target)))
            remove_current(v, f);
        if (!vanished)
            continue;
        report(v, f->name, &f->error, &ERROR_INIT);
        file_free(f);
        v->n_files--;
    }
}

/* The file was invalid, and now has its last valid text again. */
static bool is_unchanged(const struct file *f)
{
    return f->current != NULL && streq(f->current->text, f->next->text);
}

static void apply_next(struct static_volumes *v, struct file *f)
{
    struct static_volume *old = f->current;

    if (is_unchanged(f)) {
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

static void report_conflict(struct static_volumes *v, struct file *f)
{
    const struct static_volume *its =
        overlaps(f->conflict->current, f->next->target) ? f->conflict->current : f->conflict->next;
    struct error e = ERROR_INIT;

    assert(its != NULL);
    if (has_target(its, f->next->target))
        error_set(&e, -EEXIST, "target: %.255s is already used by %.64s", f->next->target,
                  f->conflict->name);
    else
        error_set(&e, -EEXIST, "target: %.128s overlaps with %.128s of %.64s", f->next->target,
                  its->target, f->conflict->name);
    report(v, f->name, &f->error, &e);
}

static void apply(struct static_volumes *v)
{
    struct file *f;

    find_conflicts(v);
    list_for_each (f, &v->files, link) {
        if (f->conflict != NULL)
            report_conflict(v, f);
    }
    remove_old(v);
    list_for_each (f, &v->files, link)
        if (f->next != NULL && f->conflict == NULL)
            apply_next(v, f);
}

/* ---- the directory */

static int directory_failed(const struct static_volumes *v, int code, struct error *e)
{
    if (code == -E2BIG)
        return error_set(e, code, "more than %u files: remove those that are not needed",
                         STATIC_VOLUMES_MAX);
    if (code == -ENOENT && v->n_files == 0) {
        *e = ERROR_INIT; /* not configured */
        return 0;
    }
    return error_set_errno(e, code, "cannot read the directory; its volumes are kept unchanged");
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

/* Return: 0; MANIFEST_FILE_BUSY: scan again after BUSY_SPAN; -ENOMEM. */
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

/* After an incomplete listing: drop the files that it added and that were never read. */
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
static int rescan(struct static_volumes *v, struct error *e)
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
        apply(v);
    return r;
}

void static_volumes_refresh(struct static_volumes *volumes)
{
    struct error e = ERROR_INIT;
    int r = rescan(volumes, &e);

    dir_watch_settle(volumes->watch);
    if (r == -ENOMEM && e.text[0] == '\0')
        error_set_errno(&e, r, "cannot read the volumes; retrying");
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

    v->scan_at = 0;
    static_volumes_refresh(v);
    return 0;
}

/* Scan after @span, or earlier if an earlier scan is scheduled. */
static void schedule(struct static_volumes *v, span_us span)
{
    mono_us at = clock_mono() + span;

    if (v->scan_at != 0 && v->scan_at <= at)
        return;
    v->timer = sd_event_source_disable_unref(v->timer);
    v->scan_at = at;
    if (sd_event_add_time(v->event, &v->timer, CLOCK_MONOTONIC, at, TIMER_SLACK, on_timer, v) < 0) {
        v->scan_at = 0;
        log_debug("cannot set a timer; static volumes are scanned after the next change");
    }
}

static void on_event(void *userdata, const struct dir_event *event)
{
    struct static_volumes *v = userdata;
    bool is_writing = (event->mask & (IN_CREATE | IN_MODIFY)) != 0;

    if (event->name != NULL && !is_volume_name(event->name))
        return;
    schedule(v, is_writing ? WRITING_SPAN : SCAN_SPAN);
}

/* ---- the object */

int static_volumes_new(sd_event *event, const char *path,
                       const struct static_volumes_callbacks *callbacks, void *userdata,
                       struct static_volumes **ret_volumes, struct error *e)
{
    _cleanup_(static_volumes_freep) struct static_volumes *v = calloc(1, sizeof(*v));
    int r;

    if (v == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the static volumes in %.255s", path);
    list_init(&v->files);
    v->callbacks = callbacks;
    v->userdata = userdata;
    v->event = sd_event_ref(event);
    v->path = strdup(path);
    if (v->path == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the static volumes in %.255s", path);
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event of the directory starts one scan, however many events arrive together. A scan
 *
 *  1. renews the watch (dir_watch.c), so that a later change causes the next scan,
 *  2. lists the directory, and merges the names with the known files,
 *  3. compares each file's status with its stamp, and reads the files that differ,
 *  4. reports the result to the owner, and schedules a retry if it is not final.
 *
 * A directory that a kubelet writes changes in one step: its files are links through ..data, which
 * is renamed, and then the old generation is removed. So a scan may find a link before the step and
 * lose what it leads to after it, or read one file before and the next one after it. Steps 1 to 3
 * are repeated at once if the directory or what a link leads to was lost or exchanged since it was
 * read, so that the owner gets the files of one moment; MAX_PASSES times, and after that as they
 * are, with a retry.
 *
 * Nothing is removed by mistake:
 *
 *  - A directory that is missing or cannot be listed changes no file. Nor does one that took the
 *    place of another and has no files: an unmounted volume leaves such a mount point.
 *  - A file that disappears is kept for VANISH_SPAN, since some editors move the old file away
 *    before they write the new one. So is one behind a link that leads nowhere, since the kubelet
 *    removes the links of removed keys after the rename.
 *  - A file that is open for writing is read after its writer has closed it (file_read.c). inotify
 *    reports a close a moment before the kernel counts the file as closed, so a timer retries. The
 *    names of files that were written and not closed are remembered for file systems without
 *    leases.
 */
#include "base/dir_follower.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>

#include "base/cleanup.h"
#include "base/dir_watch.h"
#include "base/file_access.h"
#include "base/log.h"

#define VANISH_SPAN    SPAN_MS(100)
#define SETTLE_SPAN    SPAN_MS(1000) /* without leases: a file without events so long is complete */
#define RETRY_MIN      SPAN_MS(2)
#define RETRY_MAX      SPAN_MS(1000)
#define RETRY_MODIFIED SPAN_MS(200) /* a change that no close may follow, as by truncate(2) */
#define MAX_WRITTEN    64           /* files; without leases only */
#define MAX_PASSES     4            /* of a scan; a kubelet changes its directories once a second */

/* A file that was written and not closed yet, as far as events tell. */
struct written_file {
    char *name; /* owned; NULL: the slot is free */
    mono_us at;
};

struct dir_follower {
    struct dir_follower_config config;
    const struct dir_follower_ops *ops;
    void *userdata;
    struct dir_watch *watch;
    sd_event_source *scan_source;  /* scans once, in the loop's next iteration */
    sd_event_source *retry_source; /* the same, later */
    span_us retry_span;
    mono_us event_at;        /* of the newest event without a complete scan; 0: none */
    bool is_last_pass;       /* of the scan under way */
    struct dir_file **files; /* by name */
    size_t n_files;
    dev_t dev; /* the directory that the files are from */
    ino_t ino;
    struct written_file written[MAX_WRITTEN];
};

/* ---- files */

static void free_file(struct dir_follower *f, struct dir_file *file)
{
    if (file == NULL)
        return;
    free(file->name);
    f->ops->free_file(f->userdata, file);
}

static struct dir_file *new_file(struct dir_follower *f, const char *name)
{
    struct dir_file *file = f->ops->new_file(f->userdata);

    if (file == NULL)
        return NULL;
    file->name = strdup(name);
    if (file->name != NULL)
        return file;
    free_file(f, file);
    return NULL;
}

static int file_compare(const void *a, const void *b)
{
    const struct dir_file *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* ---- files that are being written */

static struct written_file *find_written(struct dir_follower *f, const char *name)
{
    for (size_t i = 0; i < MAX_WRITTEN; i++)
        if (f->written[i].name != NULL && streq(f->written[i].name, name))
            return &f->written[i];
    return NULL;
}

static void forget_written(struct written_file *written)
{
    free(written->name);
    written->name = NULL;
}

static void note_written(struct dir_follower *f, const char *name, mono_us at)
{
    struct written_file *written = find_written(f, name);

    for (size_t i = 0; i < MAX_WRITTEN && written == NULL; i++)
        if (f->written[i].name == NULL || at - f->written[i].at >= SETTLE_SPAN)
            written = &f->written[i];
    if (written == NULL)
        return; /* too many at once: this one is read now, and again when it is closed */
    if (written->name == NULL || !streq(written->name, name)) {
        forget_written(written);
        written->name = strdup(name);
    }
    written->at = at;
}

static bool may_be_written(struct dir_follower *f, const char *name)
{
    const struct written_file *written = find_written(f, name);

    return written != NULL && clock_mono() - written->at < SETTLE_SPAN;
}

/* ---- reading */

static int fail_file(struct dir_follower *f, struct dir_file *file, int code,
                     const struct error *reason)
{
    assert(code < 0 ? reason->text[0] != '\0' : code == FILE_READ_OTHER);
    if (file->is_changed && !file->is_read)
        return 0; /* reported in an earlier pass of this scan */
    file->is_read = false;
    file->is_changed = true;
    return f->ops->unreadable(f->userdata, file, code, reason);
}

/* The file was there when the directory was listed. Return: FILE_READ_BUSY. */
static int keep_missing(struct dir_file *file)
{
    file->missing_since = clock_mono();
    return FILE_READ_BUSY;
}

/* What the link leads to is missing, for @reason. Return: FILE_READ_BUSY; 0 or -ENOMEM. */
static int keep_lost(struct dir_follower *f, struct dir_file *file, const struct error *reason)
{
    mono_us now = clock_mono();

    if (file->lost_since == 0)
        file->lost_since = now;
    if (!f->is_last_pass || (file->is_read && now - file->lost_since < VANISH_SPAN))
        return FILE_READ_BUSY;
    return fail_file(f, file, -ENOENT, reason);
}

/* Return: 0; FILE_READ_BUSY; -ENOMEM. */
static int read_file(struct dir_follower *f, int dir_fd, struct dir_file *file)
{
    struct buf text = BUF_INIT(f->config.max_file_bytes);
    struct file_stamp stamp = {.size = 0};
    struct error e = ERROR_INIT;
    int r = file_read(dir_fd, file->name, may_be_written(f, file->name), &text, &stamp, &e);

    if (r == 0) {
        file->is_changed = true;
        r = f->ops->read(f->userdata, file, &text);
        file->is_read = r == 0;
        file->stamp = stamp;
    } else if (r == -ENOENT) {
        r = file->is_link ? keep_lost(f, file, &e) : keep_missing(file);
    } else if (r != FILE_READ_BUSY && r != -ENOMEM) {
        r = fail_file(f, file, r, &e);
    }
    buf_deinit(&text);
    return r;
}

/* Return: as read_file(). */
static int refresh_file(struct dir_follower *f, int dir_fd, struct dir_file *file)
{
    struct error e = ERROR_INIT;
    struct stat st;
    int r;

    if (file->missing_since != 0)
        return FILE_READ_BUSY;
    if (file_access_stat(dir_fd, file->name, AT_SYMLINK_NOFOLLOW, &st) < 0)
        return keep_missing(file);
    file->is_link = S_ISLNK(st.st_mode);
    if (file->is_link) {
        r = dir_watch_follow(f->watch, file->name, &e);
        if (r == -ENOMEM)
            return r;
        if (r >= 0) {
            r = file_access_stat(dir_fd, file->name, 0, &st);
            if (r < 0)
                error_set_errno(&e, r, "cannot follow the symlink");
        }
        if (r < 0) {
            error_prefix(&e, r, "%.255s", file->name);
            return r == -ENOENT ? keep_lost(f, file, &e) : fail_file(f, file, r, &e);
        }
    }
    file->lost_since = 0;
    if (file->is_read && file_stamp_holds(&file->stamp, &st))
        return 0;
    return read_file(f, dir_fd, file);
}

/* Return: 0; FILE_READ_BUSY if one of the files was not read; -ENOMEM. */
static int refresh_files(struct dir_follower *f, int dir_fd)
{
    bool is_busy = false;

    for (size_t i = 0; i < f->n_files; i++) {
        int r = refresh_file(f, dir_fd, f->files[i]);

        if (r < 0)
            return r;
        is_busy = is_busy || r == FILE_READ_BUSY;
    }
    return is_busy ? FILE_READ_BUSY : 0;
}

/* ---- listing */

/* Files of one listing, by name once it is complete. */
struct listing {
    struct dir_file **files;
    size_t n;
};

static void listing_deinit(struct dir_follower *f, struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free_file(f, l->files[i]);
    free(l->files);
    *l = (struct listing){.files = NULL};
}

static int listing_add(struct dir_follower *f, struct listing *l, const char *name)
{
    struct dir_file **grown;

    if (l->n == f->config.max_files)
        return -EFBIG;
    if ((l->n & (l->n - 1)) == 0) { /* full, as capacities are powers of two */
        grown = reallocarray(l->files, l->n > 0 ? l->n * 2 : 1, sizeof(struct dir_file *));
        if (grown == NULL)
            return -ENOMEM;
        l->files = grown;
    }
    l->files[l->n] = new_file(f, name);
    if (l->files[l->n] == NULL)
        return -ENOMEM;
    l->n++;
    return 0;
}

static int list_directory(struct dir_follower *f, DIR *dir, struct listing *l)
{
    const struct dirent *entry;
    int r;

    for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0) {
        r = f->ops->accepts(entry->d_name) ? listing_add(f, l, entry->d_name) : 0;
        if (r < 0)
            return r;
    }
    if (errno != 0)
        return negative_errno();
    if (l->n > 0)
        qsort(l->files, l->n, sizeof(struct dir_file *), file_compare);
    return 0;
}

/* Whether a file that the directory no longer has is kept. */
static bool is_kept(struct dir_file *file, mono_us now)
{
    if (file->missing_since == 0)
        file->missing_since = now;
    return now - file->missing_since < VANISH_SPAN;
}

static void remove_file(struct dir_follower *f, struct dir_file *file)
{
    if (f->ops->removed != NULL)
        f->ops->removed(f->userdata, file);
    free_file(f, file);
}

/* Make the listing the follower's files, and keep what is known of them. Return: 0 or -ENOMEM. */
static int take_listing(struct dir_follower *f, struct listing *l)
{
    struct dir_file **merged = calloc(l->n + f->n_files + 1, sizeof(struct dir_file *));
    mono_us now = clock_mono();
    size_t n = 0;

    if (merged == NULL)
        return -ENOMEM;
    for (size_t i = 0, k = 0; i < l->n || k < f->n_files;) {
        int order = i == l->n ? -1 : k == f->n_files ? 1 : file_compare(&f->files[k], &l->files[i]);

        if (order > 0) {
            merged[n++] = TAKE(l->files[i]);
            i++;
            continue;
        }
        if (order == 0)
            f->files[k]->missing_since = 0;
        if (order == 0 || is_kept(f->files[k], now))
            merged[n++] = f->files[k];
        else
            remove_file(f, f->files[k]);
        i += order == 0;
        k++;
    }
    assert(n <= l->n + f->n_files);
    free(f->files);
    f->files = merged;
    f->n_files = n;
    return 0;
}

static int directory_error(const struct dir_follower *f, int code, struct error *e)
{
    const struct dir_follower_config *c = &f->config;

    if (code == -EFBIG)
        return error_set(e, code,
                         "%s %.255s has more than %u %s: spread them over fewer files, or remove "
                         "those that are not needed",
                         c->what, c->path, c->max_files, c->files);
    if (code == -ENOENT || code == -ENOTDIR)
        return error_set(e, code,
                         "%s %.255s is missing, its %s stay in effect: restore it, or name another",
                         c->what, c->path, c->files);
    return error_set_errno(e, code, "cannot read %s %.255s", c->what, c->path);
}

/* Return: 0, or -errno with @e when @listing and @st do not show what the directory has. */
static int list_path(struct dir_follower *f, DIR *dir, struct listing *listing, struct stat *st,
                     struct error *e)
{
    int r = fstat(dirfd(dir), st) < 0 ? negative_errno() : list_directory(f, dir, listing);

    if (r < 0)
        return r == -ENOMEM ? r : directory_error(f, r, e);
    if (listing->n == 0 && f->n_files > 0 && (st->st_dev != f->dev || st->st_ino != f->ino))
        return error_set(e, -ENODATA,
                         "%s %.255s was replaced by one without any %s (unmounted?): restore them",
                         f->config.what, f->config.path, f->config.files);
    return 0;
}

/* ---- scans */

/* Whether the link leads to another file than was read. In the last pass a lost file is reported or
 * kept already. */
static bool link_has_moved(const struct dir_follower *f, int dir_fd, const struct dir_file *file)
{
    struct stat st;

    if (!file->is_link || file->missing_since != 0)
        return false;
    if (file->lost_since != 0)
        return !f->is_last_pass;
    return file->is_read && (file_access_stat(dir_fd, file->name, 0, &st) < 0 ||
                             st.st_dev != file->stamp.dev || st.st_ino != file->stamp.ino);
}

/* Whether the path leads to another directory, or a link to another file, than were read. */
static bool has_moved(const struct dir_follower *f, int dir_fd)
{
    struct stat st;

    if (file_access_stat(AT_FDCWD, f->config.path, 0, &st) < 0 || st.st_dev != f->dev ||
        st.st_ino != f->ino)
        return true;
    for (size_t i = 0; i < f->n_files; i++)
        if (link_has_moved(f, dir_fd, f->files[i]))
            return true;
    return false;
}

/* Return: 0; -errno. */
static int open_directory(const struct dir_follower *f, DIR **ret_dir)
{
    _cleanup_(fd_closep) int fd = file_access_open(AT_FDCWD, f->config.path, O_DIRECTORY);
    DIR *dir;

    if (fd < 0)
        return fd;
    dir = fdopendir(fd);
    if (dir == NULL)
        return -ENOMEM;
    (void)TAKE_FD(fd); /* the stream's now */
    *ret_dir = dir;
    return 0;
}

/* Return: 0; FILE_READ_BUSY; -ENOMEM without @e; other -errno with @e. */
static int scan_once(struct dir_follower *f, bool *ret_has_moved, struct error *e)
{
    struct listing listing = {.files = NULL};
    struct stat st;
    DIR *dir;
    int r = dir_watch_renew(f->watch, e);

    if (r < 0)
        return r == -ENOSPC || r == -ENOMEM ? r : directory_error(f, r, e);
    r = open_directory(f, &dir);
    if (r < 0)
        return directory_error(f, r, e);
    r = list_path(f, dir, &listing, &st, e);
    if (r >= 0)
        r = take_listing(f, &listing);
    if (r >= 0) {
        f->dev = st.st_dev;
        f->ino = st.st_ino;
        r = refresh_files(f, dirfd(dir));
        *ret_has_moved = r >= 0 && has_moved(f, dirfd(dir));
    }
    listing_deinit(f, &listing);
    closedir(dir);
    return r;
}

/* See the top comment. Return: as scan_once(). */
static int scan_directory(struct dir_follower *f, struct error *e)
{
    bool is_moved = false;
    int r = 0;

    for (size_t i = 0; i < f->n_files; i++)
        f->files[i]->is_changed = false;
    for (unsigned pass = 1; pass <= MAX_PASSES; pass++) {
        f->is_last_pass = pass == MAX_PASSES;
        *e = ERROR_INIT;
        r = scan_once(f, &is_moved, e);
        if (r >= 0 ? !is_moved : r != -ENOENT && r != -ENOTDIR)
            return r;
    }
    return r >= 0 && is_moved ? FILE_READ_BUSY : r;
}

/* Scan again after @span, or earlier if an earlier retry is scheduled. */
static void retry_after(struct dir_follower *f, span_us span)
{
    mono_us due = clock_mono() + span, planned;
    int is_planned;

    if (sd_event_source_get_enabled(f->retry_source, &is_planned) > 0 &&
        sd_event_source_get_time(f->retry_source, &planned) >= 0 && planned <= due)
        return;
    sd_event_source_set_time(f->retry_source, due);
    sd_event_source_set_enabled(f->retry_source, SD_EVENT_ONESHOT);
}

int dir_follower_scan(struct dir_follower *follower, struct error *e)
{
    mono_us at = follower->event_at != 0 ? follower->event_at : clock_mono();
    struct error reason = ERROR_INIT;
    int r = scan_directory(follower, &reason), outcome;

    dir_watch_prune(follower->watch);
    if (r == -ENOMEM)
        error_set_errno(&reason, r, "cannot read %s %.255s", follower->config.what,
                        follower->config.path);
    assert(r == 0 || r == FILE_READ_BUSY || (r < 0 && reason.text[0] != '\0'));
    outcome = follower->ops->scanned(follower->userdata, r, &reason, at);
    /* a file that was not read yet is still the change of that event */
    follower->event_at = r == FILE_READ_BUSY ? follower->event_at : 0;
    if (outcome != 0) {
        retry_after(follower, follower->retry_span);
        follower->retry_span =
            follower->retry_span * 2 < RETRY_MAX ? follower->retry_span * 2 : RETRY_MAX;
    }
    if (r < 0 && e != NULL)
        *e = reason;
    return r < 0 ? r : outcome;
}

static int on_scan(sd_event_source *source, void *userdata)
{
    struct dir_follower *f = userdata;
    struct error e = ERROR_INIT;
    int r = dir_follower_scan(f, &e);

    if (r < 0)
        log_debug("cannot scan a directory, retrying", "directory", f->config.path, "error",
                  e.text);
    return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    return on_scan(source, userdata);
}

static void on_event(void *userdata, const struct dir_event *event)
{
    struct dir_follower *f = userdata;
    bool is_ours = event->name != NULL && f->ops->accepts(event->name);
    struct written_file *written = is_ours ? find_written(f, event->name) : NULL;

    if (event->name != NULL && !is_ours && (event->mask & (IN_MODIFY | IN_CLOSE_WRITE)) != 0)
        return;
    if (is_ours && (event->mask & (IN_CREATE | IN_MODIFY)) != 0)
        note_written(f, event->name, event->at);
    else if (written != NULL)
        forget_written(written);
    f->event_at = event->at;
    f->retry_span = RETRY_MIN;
    if (event->mask == IN_MODIFY)
        retry_after(f, RETRY_MODIFIED); /* IN_CLOSE_WRITE follows */
    else
        sd_event_source_set_enabled(f->scan_source, SD_EVENT_ONESHOT);
}

struct dir_file *const *dir_follower_files(const struct dir_follower *follower, size_t *ret_n)
{
    *ret_n = follower->n_files;
    return follower->files;
}

/* ---- the object */

static int add_sources(struct dir_follower *f, sd_event *event)
{
    int r = sd_event_add_defer(event, &f->scan_source, on_scan, f);

    if (r >= 0)
        r = sd_event_source_set_enabled(f->scan_source, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_time(event, &f->retry_source, CLOCK_MONOTONIC, 0, 1, on_retry, f);
    return r >= 0 ? sd_event_source_set_enabled(f->retry_source, SD_EVENT_OFF) : r;
}

int dir_follower_new(sd_event *event, const struct dir_follower_config *config,
                     const struct dir_follower_ops *ops, void *userdata,
                     struct dir_follower **ret_follower, struct error *e)
{
    _cleanup_(dir_follower_freep) struct dir_follower *f = calloc(1, sizeof(*f));
    int r = -ENOMEM;

    if (f != NULL) {
        f->config = *config;
        f->ops = ops;
        f->userdata = userdata;
        f->retry_span = RETRY_MIN;
        r = add_sources(f, event);
    }
    if (r < 0)
        return error_set_errno(e, r, "cannot follow %s %.255s", config->what, config->path);
    r = dir_watch_new(event, config->path, on_event, f, &f->watch, e);
    if (r < 0)
        return r;
    *ret_follower = TAKE(f);
    return 0;
}

struct dir_follower *dir_follower_free(struct dir_follower *follower)
{
    if (follower == NULL)
        return NULL;
    sd_event_source_disable_unref(follower->scan_source);
    sd_event_source_disable_unref(follower->retry_source);
    for (size_t i = 0; i < follower->n_files; i++)
        free_file(follower, follower->files[i]);
    free(follower->files);
    dir_watch_free(follower->watch);
    for (size_t i = 0; i < MAX_WRITTEN; i++)
        forget_written(&follower->written[i]);
    free(follower);
    return NULL;
}

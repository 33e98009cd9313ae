/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A refresh lists the directory, compares every manifest's status with what it was, and reads what
 * differs. Files that cannot be read keep what was read of them (manifest_list_inherit()).
 *
 * A directory that is gone changes nothing but the outcome, and so does one that was replaced by
 * another without any manifests: that is what the mount point of an unmounted volume looks like.
 *
 * What inotify tells about writing is remembered for filesystems without leases, where nothing else
 * tells a file that is being written.
 */
#include "fetcher/manifests/manifest_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>

#include "base/dir_watch.h"

#define SETTLE_SPAN      SPAN_MS(1000) /* without leases: a file untouched so long is complete */
/* Some editors move the old file out of the way, then write the new one. */
#define VANISH_SPAN      SPAN_MS(100)
#define MAX_TOUCHED      64 /* files; without leases only */
#define VERSION_TEXT_MAX 24

/* A file that was written to and not closed yet, as far as events tell. */
struct touched {
    char *name; /* owned; NULL: the slot is free */
    mono_us at;
};

struct manifest_dir {
    char *path;
    char *default_namespace;
    manifest_dir_changed_fn *changed;
    void *userdata;
    struct dir_watch *watch;
    struct manifest_file **files; /* by name */
    size_t n_files;
    dev_t dev; /* the directory that the files are from */
    ino_t ino;
    uint64_t version; /* of the last file that was read: its objects' resourceVersion */
    struct touched touched[MAX_TOUCHED];
};

static struct manifest_file *file_free(struct manifest_file *file)
{
    if (file == NULL)
        return NULL;
    manifest_list_deinit(&file->list);
    free(file->name);
    free(file);
    return NULL;
}

static struct manifest_file *file_new(const char *name)
{
    struct manifest_file *file = calloc(1, sizeof(*file));

    if (file == NULL)
        return NULL;
    file->name = strdup(name);
    return file->name != NULL ? file : file_free(file);
}

static int file_compare(const void *a, const void *b)
{
    const struct manifest_file *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static bool is_manifest_name(const char *name)
{
    static const char *const suffixes[] = {".yaml", ".yml", ".json"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; i < ELEMENTS_OF(suffixes) && dot != NULL && name[0] != '.'; i++)
        if (streq(dot, suffixes[i]))
            return true;
    return false;
}

static struct touched *find_touched(struct manifest_dir *d, const char *name)
{
    for (size_t i = 0; i < MAX_TOUCHED; i++)
        if (d->touched[i].name != NULL && streq(d->touched[i].name, name))
            return &d->touched[i];
    return NULL;
}

static void forget_touched(struct touched *t)
{
    free(t->name);
    t->name = NULL;
}

static void note_touched(struct manifest_dir *d, const char *name, mono_us at)
{
    struct touched *t = find_touched(d, name);

    for (size_t i = 0; i < MAX_TOUCHED && t == NULL; i++)
        if (d->touched[i].name == NULL || at - d->touched[i].at >= SETTLE_SPAN)
            t = &d->touched[i];
    if (t == NULL)
        return; /* so many at once: this one is read as it is, and once more when it is closed */
    if (t->name == NULL || !streq(t->name, name)) {
        forget_touched(t);
        t->name = strdup(name);
    }
    t->at = at;
}

static bool seems_written(struct manifest_dir *d, const char *name)
{
    const struct touched *t = find_touched(d, name);

    return t != NULL && clock_mono() - t->at < SETTLE_SPAN;
}

/* Put a newly read list in the place of the old one, with what is good of that. */
static int replace_list(struct manifest_file *file, struct manifest_list *list)
{
    int r = manifest_list_inherit(list, &file->list);

    if (r < 0) {
        manifest_list_deinit(list);
        return r;
    }
    manifest_list_deinit(&file->list);
    file->list = *list;
    file->is_changed = true;
    return 0;
}

/* The file is there, but cannot be read. */
static int fail_file(struct manifest_file *file, const struct error *error)
{
    struct manifest_list list;
    int r;

    file->is_read = false;
    if (file->list.unnamed != NULL && streq(file->list.unnamed->text, error->text))
        return 0;
    r = manifest_list_failed(error, &list);
    return r < 0 ? r : replace_list(file, &list);
}

/* Return: 0; MANIFEST_FILE_BUSY, MANIFEST_FILE_OTHER; -ENOMEM. */
static int read_file(struct manifest_dir *d, int dir_fd, struct manifest_file *file)
{
    struct buf text = BUF_INIT(MANIFEST_FILE_MAX_BYTES);
    char version[VERSION_TEXT_MAX];
    struct file_stamp stamp = {.size = 0};
    struct manifest_list list;
    struct error e = ERROR_INIT;
    int r = manifest_file_read(dir_fd, file->name, seems_written(d, file->name), &text, &stamp, &e);

    if (r == 0) {
        snprintf(version, sizeof(version), "%llu", (unsigned long long)++d->version);
        r = manifest_list_parse(file->name, text.data, text.len, d->default_namespace, version,
                                &list);
        if (r >= 0)
            r = replace_list(file, &list);
        if (r >= 0) {
            file->stamp = stamp;
            file->is_read = true;
        }
    } else if (r < 0 && r != -ENOMEM) {
        r = fail_file(file, &e);
    }
    buf_deinit(&text);
    return r;
}

/* Bring one file of the directory up to date. Return: as read_file(). */
static int refresh_file(struct manifest_dir *d, int dir_fd, struct manifest_file *file)
{
    struct error e = ERROR_INIT;
    struct stat st;
    int r;

    file->is_changed = false;
    if (file->missing_since == 0 && fstatat(dir_fd, file->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        file->missing_since = clock_mono(); /* vanished since the directory was listed */
    if (file->missing_since != 0)
        return MANIFEST_FILE_BUSY;
    if (S_ISLNK(st.st_mode)) {
        r = dir_watch_follow(d->watch, file->name, &e);
        if (r == -ENOMEM)
            return r;
        if (r >= 0 && fstatat(dir_fd, file->name, &st, 0) < 0)
            r = error_set_errno(&e, negative_errno(), "cannot follow the symlink");
        if (r < 0) {
            error_prefix(&e, r, "%.255s", file->name);
            return fail_file(file, &e);
        }
    }
    if (file->is_read && file_stamp_holds(&file->stamp, &st))
        return 0;
    return read_file(d, dir_fd, file);
}

/* ---- the directory */

/* Files of one listing, by name once it is complete. */
struct listing {
    struct manifest_file **files;
    size_t n;
};

static void listing_deinit(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        file_free(l->files[i]);
    free(l->files);
    *l = (struct listing){.files = NULL};
}

static int listing_add(struct listing *l, const char *name)
{
    struct manifest_file **grown;

    if (l->n == MANIFEST_DIR_MAX_FILES)
        return -EFBIG;
    if ((l->n & (l->n - 1)) == 0) { /* full, as capacities are powers of two */
        grown = reallocarray(l->files, l->n > 0 ? l->n * 2 : 1, sizeof(struct manifest_file *));
        if (grown == NULL)
            return -ENOMEM;
        l->files = grown;
    }
    l->files[l->n] = file_new(name);
    if (l->files[l->n] == NULL)
        return -ENOMEM;
    l->n++;
    return 0;
}

/* The directory's files as they are named now, none of them read. */
static int list_directory(DIR *dir, struct listing *l)
{
    const struct dirent *entry;
    int r;

    for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0) {
        r = is_manifest_name(entry->d_name) ? listing_add(l, entry->d_name) : 0;
        if (r < 0)
            return r;
    }
    if (errno != 0)
        return negative_errno();
    if (l->n > 0)
        qsort(l->files, l->n, sizeof(struct manifest_file *), file_compare);
    return 0;
}

/* Whether a file that is not there any more still counts. */
static bool stays_for_now(struct manifest_file *file, mono_us now)
{
    if (file->missing_since == 0)
        file->missing_since = now;
    return now - file->missing_since < VANISH_SPAN;
}

/* Make the listing the directory's files, with what is known of them. Return: 0 or -ENOMEM. */
static int take_listing(struct manifest_dir *d, struct listing *l)
{
    struct listing old = {.files = d->files, .n = d->n_files};
    struct manifest_file **merged = calloc(l->n + old.n + 1, sizeof(struct manifest_file *));
    mono_us now = clock_mono();
    size_t n = 0;

    if (merged == NULL)
        return -ENOMEM;
    for (size_t i = 0, k = 0; i < l->n || k < old.n;) {
        int order = i == l->n ? -1 : k == old.n ? 1 : file_compare(&old.files[k], &l->files[i]);

        if (order > 0) {
            merged[n++] = TAKE(l->files[i]);
            i++;
            continue;
        }
        if (order == 0)
            old.files[k]->missing_since = 0;
        if (order == 0 || stays_for_now(old.files[k], now))
            merged[n++] = TAKE(old.files[k]);
        i += order == 0;
        k++;
    }
    listing_deinit(&old);
    d->files = merged;
    d->n_files = n;
    return 0;
}

static void drop_file(struct manifest_dir *d, size_t i)
{
    file_free(d->files[i]);
    memmove(&d->files[i], &d->files[i + 1], (d->n_files - i - 1) * sizeof(struct manifest_file *));
    d->n_files--;
}

/* Return: 0; MANIFEST_FILE_BUSY if one of the files was left for later; -ENOMEM. */
static int refresh_files(struct manifest_dir *d, int dir_fd)
{
    bool is_busy = false;

    for (size_t i = 0; i < d->n_files;) {
        int r = refresh_file(d, dir_fd, d->files[i]);

        if (r < 0)
            return r;
        if (r == MANIFEST_FILE_OTHER) {
            drop_file(d, i);
            continue;
        }
        is_busy = is_busy || r == MANIFEST_FILE_BUSY;
        i++;
    }
    return is_busy ? MANIFEST_FILE_BUSY : 0;
}

static int directory_error(const struct manifest_dir *d, int code, struct error *e)
{
    if (code == -EFBIG)
        return error_set(
            e, code,
            "the manifests' directory %.255s holds more than %d manifests: spread them "
            "over fewer files, or take away what is not needed",
            d->path, MANIFEST_DIR_MAX_FILES);
    if (code == -ENOENT || code == -ENOTDIR)
        return error_set(e, code,
                         "the manifests' directory %.255s is gone: put it back, or name another",
                         d->path);
    return error_set_errno(e, code, "cannot read the manifests' directory %.255s", d->path);
}

/* Return: 0, or -errno with @e when @listing and @st do not say what the directory holds. */
static int list_path(const struct manifest_dir *d, DIR *dir, struct listing *listing,
                     struct stat *st, struct error *e)
{
    int r = fstat(dirfd(dir), st) < 0 ? negative_errno() : list_directory(dir, listing);

    if (r < 0)
        return r == -ENOMEM ? r : directory_error(d, r, e);
    if (listing->n == 0 && d->n_files > 0 && (st->st_dev != d->dev || st->st_ino != d->ino))
        return error_set(
            e, -ENODATA,
            "the manifests' directory %.255s was replaced by one without any manifests "
            "(unmounted?): put them back",
            d->path);
    return 0;
}

/* As manifest_dir_refresh(), without an end to what is watched. */
static int look(struct manifest_dir *d, struct error *e)
{
    struct listing listing = {.files = NULL};
    struct stat st;
    DIR *dir;
    int r = dir_watch_renew(d->watch, e);

    if (r < 0)
        return r == -ENOSPC || r == -ENOMEM ? r : directory_error(d, r, e);
    dir = opendir(d->path);
    if (dir == NULL)
        return directory_error(d, negative_errno(), e);
    r = list_path(d, dir, &listing, &st, e);
    if (r >= 0)
        r = take_listing(d, &listing);
    if (r >= 0) {
        d->dev = st.st_dev;
        d->ino = st.st_ino;
        r = refresh_files(d, dirfd(dir));
    }
    listing_deinit(&listing);
    closedir(dir);
    return r;
}

int manifest_dir_refresh(struct manifest_dir *dir, struct error *e)
{
    int r = look(dir, e);

    dir_watch_settle(dir->watch);
    return r;
}

struct manifest_file *const *manifest_dir_peek(const struct manifest_dir *dir, size_t *ret_n)
{
    *ret_n = dir->n_files;
    return dir->files;
}

/* ---- the object */

static void on_event(void *userdata, const struct dir_event *event)
{
    struct manifest_dir *d = userdata;
    bool is_manifest = event->name != NULL && is_manifest_name(event->name);
    struct touched *t = is_manifest ? find_touched(d, event->name) : NULL;

    if (event->name != NULL && !is_manifest && (event->mask & (IN_MODIFY | IN_CLOSE_WRITE)) != 0)
        return;
    if (is_manifest && (event->mask & (IN_CREATE | IN_MODIFY)) != 0)
        note_touched(d, event->name, event->at);
    else if (t != NULL)
        forget_touched(t);
    d->changed(d->userdata, event->at, event->mask == IN_MODIFY);
}

int manifest_dir_new(sd_event *event, const char *path, const char *default_namespace,
                     manifest_dir_changed_fn *changed, void *userdata,
                     struct manifest_dir **ret_dir, struct error *e)
{
    _cleanup_(manifest_dir_freep) struct manifest_dir *d = calloc(1, sizeof(*d));
    int r = -ENOMEM;

    if (d != NULL) {
        d->changed = changed;
        d->userdata = userdata;
        d->path = strdup(path);
        d->default_namespace = strdup(default_namespace);
    }
    if (d == NULL || d->path == NULL || d->default_namespace == NULL)
        return error_set_errno(e, r, "cannot read the manifests in %.255s", path);
    r = dir_watch_new(event, path, on_event, d, &d->watch, e);
    if (r < 0)
        return r;
    *ret_dir = TAKE(d);
    return 0;
}

struct manifest_dir *manifest_dir_free(struct manifest_dir *dir)
{
    struct listing files;

    if (dir == NULL)
        return NULL;
    files = (struct listing){.files = dir->files, .n = dir->n_files};
    listing_deinit(&files);
    dir_watch_free(dir->watch);
    for (size_t i = 0; i < MAX_TOUCHED; i++)
        forget_touched(&dir->touched[i]);
    free(dir->path);
    free(dir->default_namespace);
    free(dir);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scan of the directory (dir_follower.c) has two phases. First it reads and parses each file that
 * changed; the volume of a valid file waits as the file's `next`, an invalid file is reported and
 * changes nothing. Volumes whose files were deleted are removed. Then the waiting volumes are
 * applied. The result depends on the files and on the volumes that exist, not on the order in which
 * the files were written:
 *
 *  1. When the targets of two files conflict (they are equal, or one contains the other), the file
 *     that has the target keeps it; if neither has it, the first by name gets it. The other file is
 *     reported, and tried again in each scan.
 *  2. Volumes whose targets move are removed first, so that two files can swap their targets.
 *  3. The other volumes are added or changed.
 */
#include "node/static_volumes.h"

#include "base/dir_follower.h"

#define SUFFIX ".yaml"

struct file {
    struct dir_file file;
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
    struct dir_follower *dir;
    struct error error; /* of the directory, reported last */
};

/* ---- files */

/* By name. */
static struct file *const *files_of(const struct static_volumes *v, size_t *ret_n)
{
    /* each dir_file is the first member of a file */
    return (struct file *const *)(const void *)dir_follower_files(v->dir, ret_n);
}

static struct file *file_of(struct dir_file *file)
{
    return CONTAINER_OF(file, struct file, file);
}

static struct dir_file *file_new(void *userdata)
{
    struct file *f = calloc(1, sizeof(*f));

    return f != NULL ? &f->file : NULL;
}

static void file_free(void *userdata, struct dir_file *file)
{
    struct file *f = file_of(file);

    static_volume_unref(f->current);
    static_volume_unref(f->next);
    buf_deinit(&f->text);
    free(f);
}

static bool is_volume_name(const char *name)
{
    size_t len = strlen(name), suffix_len = strlen(SUFFIX);

    return name[0] != '.' && len > suffix_len && streq(name + len - suffix_len, SUFFIX);
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

/* Return: 0 or -ENOMEM. */
static int parse_file(struct static_volumes *v, struct file *f)
{
    struct static_volume *volume = NULL;
    struct error e = ERROR_INIT;
    int r = static_volume_parse(f->file.name, buf_text(&f->text), f->text.len, &volume, &e);

    if (r == -ENOMEM)
        return r;
    static_volume_unref(f->next);
    f->next = volume;
    if (r < 0)
        report(v, f->file.name, &f->error, &e);
    return 0;
}

static int on_read(void *userdata, struct dir_file *file, struct buf *text)
{
    struct file *f = file_of(file);

    if (f->text.data != NULL && f->text.len == text->len &&
        memcmp(buf_text(&f->text), buf_text(text), text->len) == 0)
        return 0;
    buf_deinit(&f->text);
    f->text = *text;
    *text = BUF_INIT(0);
    return parse_file(userdata, f);
}

static int on_unreadable(void *userdata, struct dir_file *file, int code,
                         const struct error *reason)
{
    struct file *f = file_of(file);
    struct error e = *reason;

    if (code == FILE_READ_OTHER)
        error_set(&e, -EINVAL, "not a regular file");
    report(userdata, file->name, &f->error, &e);
    buf_deinit(&f->text); /* so that the next successful read parses it and clears the error */
    return 0;
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

/* Rule 1 of the top comment. Return: the file that keeps @f->next from its target, or NULL. */
static const struct file *find_conflict(const struct static_volumes *v, const struct file *f)
{
    const char *target = f->next->target;
    bool is_before = true;
    size_t n;
    struct file *const *files = files_of(v, &n);

    if (has_target(f->current, target))
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const struct file *other = files[i];

        if (other == f) {
            is_before = false;
            continue;
        }
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
    size_t n;
    struct file *const *files = files_of(v, &n);
    bool is_complete;

    for (size_t i = 0; i < n; i++)
        files[i]->conflict = NULL;
    do {
        is_complete = true;
        for (size_t i = 0; i < n; i++) {
            struct file *f = files[i];

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

static void on_removed(void *userdata, struct dir_file *file)
{
    struct file *f = file_of(file);

    remove_current(userdata, f);
    report(userdata, file->name, &f->error, &ERROR_INIT);
}

/* The file was invalid, and now has its last valid text again. */
static bool is_unchanged(const struct file *f)
{
    return f->current != NULL && streq(f->current->text, f->next->text);
}

static void apply_next(struct static_volumes *v, struct file *f)
{
    struct static_volume *old = f->current;

    assert(f->next != NULL && f->conflict == NULL);
    assert(old == NULL || has_target(old, f->next->target)); /* else remove_old() removed it */
    if (is_unchanged(f)) {
        f->next = static_volume_unref(f->next);
        report(v, f->file.name, &f->error, &ERROR_INIT);
        return;
    }
    f->current = TAKE(f->next);
    if (old != NULL)
        v->callbacks->changed(v->userdata, old, f->current);
    else
        v->callbacks->added(v->userdata, f->current);
    static_volume_unref(old);
    report(v, f->file.name, &f->error, &ERROR_INIT);
}

static void report_conflict(struct static_volumes *v, struct file *f)
{
    const struct static_volume *its =
        overlaps(f->conflict->current, f->next->target) ? f->conflict->current : f->conflict->next;
    struct error e = ERROR_INIT;

    assert(its != NULL);
    if (has_target(its, f->next->target))
        error_set(&e, -EEXIST, "target: %.255s is already used by %.64s", f->next->target,
                  f->conflict->file.name);
    else
        error_set(&e, -EEXIST, "target: %.128s overlaps with %.128s of %.64s", f->next->target,
                  its->target, f->conflict->file.name);
    report(v, f->file.name, &f->error, &e);
}

static void apply(struct static_volumes *v)
{
    size_t n;
    struct file *const *files = files_of(v, &n);

    find_conflicts(v);
    for (size_t i = 0; i < n; i++)
        if (files[i]->conflict != NULL)
            report_conflict(v, files[i]);
    for (size_t i = 0; i < n; i++)
        if (files[i]->next != NULL && files[i]->conflict == NULL &&
            !has_target(files[i]->current, files[i]->next->target))
            remove_current(v, files[i]);
    for (size_t i = 0; i < n; i++)
        if (files[i]->next != NULL && files[i]->conflict == NULL)
            apply_next(v, files[i]);
}

static int on_scanned(void *userdata, int result, const struct error *reason, mono_us at)
{
    struct static_volumes *v = userdata;
    const struct error none = ERROR_INIT;
    size_t n;

    files_of(v, &n);
    if (result == -ENOENT && n == 0)
        result = 0; /* not configured */
    report(v, v->path, &v->error, result < 0 ? reason : &none);
    if (result >= 0)
        apply(v);
    return result;
}

static const struct dir_follower_ops dir_ops = {
    .accepts = is_volume_name,
    .new_file = file_new,
    .free_file = file_free,
    .read = on_read,
    .unreadable = on_unreadable,
    .removed = on_removed,
    .scanned = on_scanned,
};

void static_volumes_refresh(struct static_volumes *volumes)
{
    struct error e = ERROR_INIT;

    dir_follower_scan(volumes->dir, &e); /* on_scanned() has reported a failure */
}

/* ---- the object */

int static_volumes_new(sd_event *event, const char *path,
                       const struct static_volumes_callbacks *callbacks, void *userdata,
                       struct static_volumes **ret_volumes, struct error *e)
{
    _cleanup_(static_volumes_freep) struct static_volumes *v = calloc(1, sizeof(*v));
    struct dir_follower_config config = {
        .what = "the directory of static volumes",
        .files = "files",
        .max_files = STATIC_VOLUMES_MAX,
        .max_file_bytes = STATIC_VOLUME_MAX_BYTES,
    };
    int r;

    if (v != NULL)
        v->path = strdup(path);
    if (v == NULL || v->path == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the static volumes in %.255s", path);
    v->callbacks = callbacks;
    v->userdata = userdata;
    config.path = v->path;
    r = dir_follower_new(event, &config, &dir_ops, v, &v->dir, e);
    if (r < 0)
        return r;
    *ret_volumes = TAKE(v);
    return 0;
}

struct static_volumes *static_volumes_free(struct static_volumes *volumes)
{
    if (volumes == NULL)
        return NULL;
    dir_follower_free(volumes->dir);
    free(volumes->path);
    free(volumes);
    return NULL;
}

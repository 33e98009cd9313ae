/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any change makes the directory be looked at as a whole, once however many events told of it
 * (manifest_dir.c). Then all manifests are gone through in the order of file names, later ones
 * winning, and the store is told what is new for each object.
 *
 * What was good stays until something better is known. A manifest that is no good any more, or a
 * file that does not parse or cannot be read, leaves the objects as they were and reports them as
 * failing. Only a readable directory without the manifest removes its object; a directory that is
 * gone removes nothing.
 *
 * A file that is being written is left until its writer has closed it. As inotify says so a moment
 * before the kernel counts the file as closed, files that were left are looked at again on a timer
 * too.
 *
 * Manifests have no resourceVersion that means anything. Each reading of a file gets a number from
 * a counter, and an object keeps the one that it has for as long as it says the same.
 */
#include "fetcher/manifests/manifests.h"

#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/log.h"
#include "encoding/json.h"
#include "fetcher/manifests/manifest_dir.h"

#define RETRY_MIN      SPAN_MS(2)
#define RETRY_MAX      SPAN_MS(1000)
#define RETRY_MODIFIED SPAN_MS(200) /* a change that no closing may follow, as by truncate(2) */
#define MAX_PROBLEMS   8            /* texts in the status */

/* An object that is in the manifests or asked for. */
struct followed {
    struct list link;
    const struct object_key *key;
    struct object_key *owned_key; /* what key points to */
    struct object *object;        /* a reference: what the store has, if it follows the key */
    enum store_presence presence;
    mono_us changed_at; /* object or presence */
    bool is_watched;
    /* What the manifests say, borrowed from the directory's files until they are read again. */
    struct manifest *manifest; /* the last one with an object */
    const struct error *error; /* why that is not good any more */
};

struct manifest_source {
    struct source source; /* first, see source.h */
    sd_event *event;
    struct store *store;
    char *path;
    struct manifest_dir *dir;
    sd_event_source *scan_source;  /* looks at the directory once, in the loop's next turn */
    sd_event_source *retry_source; /* the same, some time later */
    span_us retry_span;
    mono_us event_at; /* of the newest event that was not looked after yet; 0: there is none */
    struct list objects;
    void *by_key;           /* tsearch(3) tree of the same */
    struct error dir_error; /* why the directory cannot be read; empty if it can */
};

/* ---- objects */

static int followed_compare(const void *a, const void *b)
{
    const struct followed *x = a, *y = b;

    return object_key_compare(x->key, y->key);
}

static struct followed *find_followed(const struct manifest_source *s, const struct object_key *key)
{
    const struct followed like = {.key = key};
    struct followed *const *node = tfind(&like, &s->by_key, followed_compare);

    return node != NULL ? *node : NULL;
}

static struct followed *add_followed(struct manifest_source *s, const struct object_key *key)
{
    struct followed *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return NULL;
    f->key = f->owned_key = object_key_dup(key);
    if (f->key == NULL || tsearch(f, &s->by_key, followed_compare) == NULL) {
        free(f->owned_key);
        free(f);
        return NULL;
    }
    list_append(&s->objects, &f->link);
    return f;
}

static void drop_followed(struct manifest_source *s, struct followed *f)
{
    tdelete(f, &s->by_key, followed_compare);
    list_remove(&f->link);
    object_unref(f->object);
    free(f->owned_key);
    free(f);
}

static bool same_value(const struct object_entry *a, const struct object_entry *b)
{
    return streq(a->key, b->key) && a->is_binary == b->is_binary && a->len == b->len &&
           memcmp(a->bytes, b->bytes, a->len) == 0;
}

static bool same_content(const struct object *a, const struct object *b)
{
    if (a->n_entries != b->n_entries || a->is_immutable != b->is_immutable ||
        !streq(a->type, b->type) || !streq(a->uid, b->uid))
        return false;
    for (size_t i = 0; i < a->n_entries; i++)
        if (!same_value(&a->entries[i], &b->entries[i]))
            return false;
    return true;
}

static void report(struct manifest_source *s, const struct followed *f, const struct error *error)
{
    store_report(s->store, f->key, error != NULL ? STORE_SOURCE_FAILING : STORE_SOURCE_LIVE, error);
}

/* The manifests have a good version of the object. */
static void publish_object(struct manifest_source *s, struct followed *f, mono_us at)
{
    struct manifest *m = f->manifest;

    if (f->object == NULL || !same_content(f->object, m->object)) {
        object_unref(f->object);
        f->object = object_ref(m->object);
    } else {
        /* the same, read again: one copy of it is enough */
        object_ref(f->object);
        object_unref(m->object);
        m->object = f->object;
        if (f->presence == STORE_PRESENT)
            return;
    }
    f->presence = STORE_PRESENT;
    f->changed_at = at;
    store_put(s->store, object_ref(f->object), at);
}

static void remove_object(struct manifest_source *s, struct followed *f, mono_us at)
{
    f->object = object_unref(f->object);
    if (f->presence == STORE_ABSENT)
        return;
    f->presence = STORE_ABSENT;
    f->changed_at = at;
    store_remove(s->store, f->key, at);
}

/* The first problem of which it is not known what object it is about, or NULL. */
static const struct error *unnamed_problem(const struct manifest_source *s)
{
    size_t n;
    struct manifest_file *const *files = manifest_dir_peek(s->dir, &n);

    if (s->dir_error.text[0] != '\0')
        return &s->dir_error;
    for (size_t i = 0; i < n; i++)
        if (files[i]->list.unnamed != NULL)
            return files[i]->list.unnamed;
    return NULL;
}

/* Why the object may not be what it should be: one that is missing may be in a bad document. */
static const struct error *problem_of(const struct followed *f, const struct error *unnamed)
{
    return f->error == NULL && f->presence != STORE_PRESENT ? unnamed : f->error;
}

/* Tell the store what the manifests say of one object. */
static void apply_followed(struct manifest_source *s, struct followed *f,
                           const struct error *unnamed, mono_us at)
{
    if (f->manifest != NULL)
        publish_object(s, f, at);
    else if (f->error == NULL)
        remove_object(s, f, at);
    report(s, f, problem_of(f, unnamed));
}

static int collect_manifest(struct manifest_source *s, const struct manifest_file *file,
                            struct manifest *m)
{
    struct followed *f = find_followed(s, m->key);
    char text[OBJECT_KEY_TEXT_SIZE];

    if (f == NULL)
        f = add_followed(s, m->key);
    if (f == NULL)
        return -ENOMEM;
    if (f->manifest != NULL && file->is_changed)
        log_debug("an object is in the manifests twice, the last one counts", "object",
                  object_key_text(m->key, text), "file", file->name);
    f->manifest = m->object != NULL ? m : f->manifest;
    f->error = m->error;
    return 0;
}

/* The manifests of the files that are there, or of those that have just vanished. */
static int collect_files(struct manifest_source *s, bool is_missing)
{
    size_t n;
    struct manifest_file *const *files = manifest_dir_peek(s->dir, &n);

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < files[i]->list.n && (files[i]->missing_since != 0) == is_missing;
             k++)
            if (collect_manifest(s, files[i], &files[i]->list.items[k]) < 0)
                return -ENOMEM;
    return 0;
}

static void forget_manifests(struct manifest_source *s)
{
    struct followed *f;

    list_for_each (f, &s->objects, link) {
        f->manifest = NULL;
        f->error = NULL;
    }
}

/* Return: 0, or -ENOMEM and then the store was told nothing. */
static int apply_manifests(struct manifest_source *s, mono_us at)
{
    const struct error *unnamed = unnamed_problem(s);
    struct followed *f, *tmp;
    int r;

    forget_manifests(s);
    r = collect_files(s, true);
    if (r >= 0)
        r = collect_files(s, false);
    if (r < 0)
        return r;
    /* The store's subscribers may have keys watched and unwatched meanwhile: the one adds at the
     * end of the list, the other only marks. */
    list_for_each (f, &s->objects, link)
        apply_followed(s, f, unnamed, at);
    list_for_each_safe (f, tmp, &s->objects, link)
        if (!f->is_watched && f->manifest == NULL && f->error == NULL)
            drop_followed(s, f);
    return 0;
}

/* ---- looking at the directory */

/* Look again after @span, unless that is to happen earlier already. */
static void retry_after(struct manifest_source *s, span_us span)
{
    mono_us due = clock_mono() + span, planned;
    int is_planned;

    if (sd_event_source_get_enabled(s->retry_source, &is_planned) > 0 &&
        sd_event_source_get_time(s->retry_source, &planned) >= 0 && planned <= due)
        return;
    sd_event_source_set_time(s->retry_source, due);
    sd_event_source_set_enabled(s->retry_source, SD_EVENT_ONESHOT);
}

static void retry_later(struct manifest_source *s)
{
    retry_after(s, s->retry_span);
    s->retry_span = s->retry_span * 2 < RETRY_MAX ? s->retry_span * 2 : RETRY_MAX;
}

/* The directory cannot be read: all that is known stays, and says why it may be old. */
static void fail_all(struct manifest_source *s, const struct error *error)
{
    struct followed *f;

    s->dir_error = *error;
    list_for_each (f, &s->objects, link)
        report(s, f, &s->dir_error);
}

/* Return: as manifest_dir_refresh(). */
static int scan(struct manifest_source *s, struct error *e)
{
    mono_us at = s->event_at != 0 ? s->event_at : clock_mono();
    struct error reason = ERROR_INIT;
    int r = manifest_dir_refresh(s->dir, &reason);

    if (r >= 0) {
        s->dir_error = ERROR_INIT;
        if (apply_manifests(s, at) < 0)
            r = -ENOMEM;
    }
    if (r == -ENOMEM) {
        forget_manifests(s); /* some are gone with the files that were read already */
        error_set_errno(&reason, r, "cannot read the manifests in %.255s", s->path);
    }
    if (r < 0)
        fail_all(s, &reason);
    if (r < 0 && e != NULL)
        *e = reason;
    /* what was left for later is still the news of that event */
    s->event_at = r == MANIFEST_FILE_BUSY ? s->event_at : 0;
    if (r != 0)
        retry_later(s);
    return r;
}

static int on_scan(sd_event_source *source, void *userdata)
{
    struct manifest_source *s = userdata;
    struct error e = ERROR_INIT;
    int r = scan(s, &e);

    if (r < 0)
        log_debug("cannot read the manifests, trying again", "directory", s->path, "error", e.text);
    return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    return on_scan(source, userdata);
}

static void on_changed(void *userdata, mono_us at, bool is_closing)
{
    struct manifest_source *s = userdata;

    s->event_at = at;
    s->retry_span = RETRY_MIN;
    if (is_closing)
        retry_after(s, RETRY_MODIFIED);
    else
        sd_event_source_set_enabled(s->scan_source, SD_EVENT_ONESHOT);
}

/* ---- the source */

static int source_watch(void *userdata, const struct object_key *key, struct error *e)
{
    struct manifest_source *s = userdata;
    struct followed *f = find_followed(s, key);
    bool is_known = s->dir_error.text[0] == '\0';

    if (f == NULL)
        f = add_followed(s, key);
    if (f == NULL)
        return error_set_errno(e, -ENOMEM, "cannot follow %s/%s", object_kind_word(key->kind),
                               key->name);
    f->is_watched = true;
    if (f->presence == STORE_PRESENT) {
        store_put(s->store, object_ref(f->object), f->changed_at);
    } else if (is_known && f->error == NULL) {
        if (f->presence != STORE_ABSENT)
            f->changed_at = clock_mono();
        f->presence = STORE_ABSENT;
        store_remove(s->store, key, f->changed_at);
    }
    report(s, f, is_known ? problem_of(f, unnamed_problem(s)) : &s->dir_error);
    return 0;
}

/* What is not needed any more goes at the next look, as this may be in the middle of one. */
static void source_unwatch(void *userdata, const struct object_key *key)
{
    struct manifest_source *s = userdata;
    struct followed *f = find_followed(s, key);

    if (f != NULL)
        f->is_watched = false;
}

/* Return: a problem of the file, or NULL. */
static const struct error *file_problem(const struct manifest_file *file)
{
    const struct error *error = file->list.unnamed;

    for (size_t i = 0; i < file->list.n && error == NULL; i++)
        error = file->list.items[i].error;
    return error;
}

static int describe_problems(const struct manifest_source *s, cJSON *status)
{
    cJSON *problems = cJSON_AddArrayToObject(status, "problems");
    size_t n;
    struct manifest_file *const *files = manifest_dir_peek(s->dir, &n);

    if (problems == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n && cJSON_GetArraySize(problems) < MAX_PROBLEMS; i++) {
        const struct error *error = file_problem(files[i]);
        cJSON *text = error != NULL ? cJSON_CreateString(error->text) : NULL;

        if (error != NULL && text == NULL)
            return -ENOMEM;
        if (text != NULL)
            cJSON_AddItemToArray(problems, text);
    }
    return 0;
}

static int source_describe(const struct source *source, cJSON *status)
{
    const struct manifest_source *s = (const struct manifest_source *)source;
    size_t n_files, n_objects = 0, n_bad = 0;
    struct manifest_file *const *files = manifest_dir_peek(s->dir, &n_files);
    const struct followed *f;
    int r;

    list_for_each (f, &s->objects, link)
        n_objects += f->presence == STORE_PRESENT;
    for (size_t i = 0; i < n_files; i++)
        n_bad += files[i]->list.n_bad;
    r = json_add_text(status, "kind", "manifests");
    if (r >= 0)
        r = json_add_text(status, "directory", s->path);
    if (r >= 0)
        r = json_add_number(status, "files", (double)n_files);
    if (r >= 0)
        r = json_add_number(status, "objects", (double)n_objects);
    if (r >= 0)
        r = json_add_number(status, "badDocuments", (double)n_bad);
    if (r >= 0 && s->dir_error.text[0] != '\0')
        r = json_add_text(status, "error", s->dir_error.text);
    return r >= 0 && n_bad > 0 ? describe_problems(s, status) : r;
}

static struct manifest_source *manifest_source_free(struct manifest_source *s)
{
    struct followed *f, *tmp;

    if (s == NULL)
        return NULL;
    sd_event_source_disable_unref(s->scan_source);
    sd_event_source_disable_unref(s->retry_source);
    manifest_dir_free(s->dir);
    list_for_each_safe (f, tmp, &s->objects, link)
        drop_followed(s, f);
    sd_event_unref(s->event);
    free(s->path);
    free(s);
    return NULL;
}
DEFINE_CLEANUP(struct manifest_source *, manifest_source_free)

static void source_release(struct source *source)
{
    manifest_source_free((struct manifest_source *)source);
}

static const struct source_ops manifest_source_ops = {
    .store = {.watch = source_watch, .unwatch = source_unwatch},
    .describe = source_describe,
    .free = source_release,
};

/* Return: 0, and *ret_path is @path from the root on, symlinks and all. */
static int make_absolute(const char *path, char **ret_path)
{
    char cwd[PATH_MAX], *absolute = NULL;

    if (path[0] != '/' && getcwd(cwd, sizeof(cwd)) == NULL)
        return negative_errno();
    if (path[0] == '/')
        absolute = strdup(path);
    else if (asprintf(&absolute, "%s/%s", cwd, path) < 0)
        absolute = NULL;
    *ret_path = absolute;
    return absolute != NULL ? 0 : -ENOMEM;
}

static int add_sources(struct manifest_source *s)
{
    int r = sd_event_add_defer(s->event, &s->scan_source, on_scan, s);

    if (r >= 0)
        r = sd_event_source_set_enabled(s->scan_source, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_time(s->event, &s->retry_source, CLOCK_MONOTONIC, 0, 1, on_retry, s);
    return r >= 0 ? sd_event_source_set_enabled(s->retry_source, SD_EVENT_OFF) : r;
}

/* The first look. That the directory is not there is a mistake now, and may be mended later on. */
static int first_scan(struct manifest_source *s, struct error *e)
{
    int r = scan(s, e);

    if (r == -ENOENT || r == -ENOTDIR)
        return error_set_errno(e, r,
                               "cannot read the manifests in %.255s (create the directory, or name "
                               "another)",
                               s->path);
    return r;
}

int manifest_source_new(sd_event *event, struct store *store, const char *dir,
                        const char *default_namespace, struct source **ret_source, struct error *e)
{
    _cleanup_(manifest_source_freep) struct manifest_source *s = calloc(1, sizeof(*s));
    int r = -ENOMEM;

    if (s != NULL) {
        s->source.ops = &manifest_source_ops;
        s->event = sd_event_ref(event);
        s->store = store;
        s->retry_span = RETRY_MIN;
        list_init(&s->objects);
        r = make_absolute(dir, &s->path);
    }
    if (r >= 0)
        r = add_sources(s);
    if (r < 0)
        return error_set_errno(e, r, "cannot read the manifests in %.255s", dir);
    r = manifest_dir_new(event, s->path, default_namespace, on_changed, s, &s->dir, e);
    if (r >= 0)
        r = first_scan(s, e);
    if (r < 0)
        return r;
    *ret_source = &s->source;
    (void)TAKE(s);
    return 0;
}

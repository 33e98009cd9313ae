/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After each scan of the directory (dir_follower.c) all manifests are collected in the order of
 * file names, of which the last one of an object wins, and the store gets what changed of each
 * object.
 *
 * Good content stays until better content is known. An invalid manifest, or a file that does not
 * parse or cannot be read, leaves the objects as they were and reports them as failing. Only a
 * readable directory without the manifest removes its object; a missing directory removes nothing.
 *
 * Manifests have no meaningful resourceVersion. Each read of a file gets a number from a counter,
 * and an object keeps its number while its content is the same.
 */
#include "fetcher/manifests/manifests.h"

#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/dir_follower.h"
#include "base/list.h"
#include "base/log.h"
#include "encoding/json.h"
#include "fetcher/manifests/manifest_list.h"

#define MAX_PROBLEMS     8 /* texts in the status */
#define VERSION_TEXT_MAX 24

/* A file of the directory. */
struct manifest_file {
    struct dir_file file;
    struct manifest_list list; /* what was read last, with the good content of earlier reads */
};

/* An object that is in the manifests or asked for. */
struct followed {
    struct list link;
    const struct object_key *key;
    struct object_key *owned_key; /* what key points to */
    struct object *object;        /* a reference: what the store has, if it follows the key */
    struct error *warning;        /* owned: why an API server would refuse object, or NULL */
    enum store_presence presence;
    mono_us changed_at; /* object or presence */
    bool is_watched;
    /* What the manifests say, borrowed from the directory's files until they are read again. */
    struct manifest *manifest; /* the last one with an object */
    const struct error *error; /* why that is not good any more */
};

struct manifest_source {
    struct source source; /* first, see source.h */
    struct store *store;
    char *path;
    char *default_namespace;
    struct dir_follower *dir;
    uint64_t version; /* of the last file that was read: its objects' resourceVersion */
    struct list objects;
    void *by_key;           /* tsearch(3) tree of the same */
    struct error dir_error; /* why the directory cannot be read; empty if it can */
};

static struct manifest_file *const *files_of(const struct manifest_source *s, size_t *ret_n)
{
    /* each dir_file is the first member of a manifest_file */
    return (struct manifest_file *const *)(const void *)dir_follower_files(s->dir, ret_n);
}

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
    assert((f->presence == STORE_PRESENT) == (f->object != NULL));
    tdelete(f, &s->by_key, followed_compare);
    list_remove(&f->link);
    object_unref(f->object);
    free(f->warning);
    free(f->owned_key);
    free(f);
}

static bool is_same(const struct object *a, const struct object *b)
{
    return a->is_immutable == b->is_immutable && streq(a->type, b->type) && streq(a->uid, b->uid) &&
           object_same_staging(a, b) && object_same_content(a, b);
}

static void report(struct manifest_source *s, const struct followed *f, const struct error *error)
{
    store_report(s->store, f->key, error != NULL ? STORE_SOURCE_FAILING : STORE_SOURCE_LIVE, error);
}

/*
 * Lower rooms do not log above debug, but the store has no place for what is wrong with an object
 * that can be used.
 */
static void warn(const struct followed *f)
{
    char text[OBJECT_KEY_TEXT_SIZE];

    if (f->is_watched && f->warning != NULL)
        log_warn("an API server would refuse this object; it is used as it is", "object",
                 object_key_text(f->key, text), "reason", f->warning->text);
}

/* A copy, as manifests go with their file. Without memory there is no warning. */
static void set_warning(struct followed *f, const struct error *warning)
{
    free(f->warning);
    f->warning = warning != NULL ? malloc(sizeof(*warning)) : NULL;
    if (f->warning != NULL)
        *f->warning = *warning;
}

/* The manifests have a good version of the object. */
static void publish_object(struct manifest_source *s, struct followed *f, mono_us at)
{
    struct manifest *m = f->manifest;

    set_warning(f, m->warning);
    assert(m->object != NULL);
    if (f->object == NULL || !is_same(f->object, m->object)) {
        object_unref(f->object);
        f->object = object_ref(m->object);
        warn(f);
    } else {
        /* the same, read again: one copy of it is enough */
        object_ref(f->object);
        object_unref(m->object);
        m->object = f->object;
        if (f->presence == STORE_PRESENT)
            return;
    }
    assert(f->object != NULL);
    f->presence = STORE_PRESENT;
    f->changed_at = at;
    store_put(s->store, object_ref(f->object), at);
}

/* @unnamed: a problem that may be why it is missing; it comes first, as subscribers may fail now */
static void remove_object(struct manifest_source *s, struct followed *f,
                          const struct error *unnamed, mono_us at)
{
    f->object = object_unref(f->object);
    if (f->presence == STORE_ABSENT)
        return;
    f->presence = STORE_ABSENT;
    f->changed_at = at;
    if (unnamed != NULL)
        report(s, f, unnamed);
    store_remove(s->store, f->key, at);
}

/* The first problem of which it is not known what object it is about, or NULL. */
static const struct error *unnamed_problem(const struct manifest_source *s)
{
    size_t n;
    struct manifest_file *const *files = files_of(s, &n);

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
        remove_object(s, f, unnamed, at);
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
    if (f->manifest != NULL && file->file.is_changed)
        log_debug("an object is in the manifests twice, the last one counts", "object",
                  object_key_text(m->key, text), "file", file->file.name);
    f->manifest = m->object != NULL ? m : f->manifest;
    f->error = m->error;
    return 0;
}

/* The manifests of the files that are there, or of those that have just vanished. */
static int collect_files(struct manifest_source *s, bool is_missing)
{
    size_t n;
    struct manifest_file *const *files = files_of(s, &n);

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0;
             k < files[i]->list.n && (files[i]->file.missing_since != 0) == is_missing; k++)
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

/* Return: 0; -ENOMEM, then the store has not changed. */
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

/* ---- files */

static bool is_manifest_name(const char *name)
{
    static const char *const suffixes[] = {".yaml", ".yml", ".json"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; i < ELEMENTS_OF(suffixes) && dot != NULL && name[0] != '.'; i++)
        if (streq(dot, suffixes[i]))
            return true;
    return false;
}

static struct dir_file *file_new(void *userdata)
{
    struct manifest_file *file = calloc(1, sizeof(*file));

    return file != NULL ? &file->file : NULL;
}

static struct manifest_file *manifest_file_of(struct dir_file *file)
{
    return CONTAINER_OF(file, struct manifest_file, file);
}

static void file_free(void *userdata, struct dir_file *dir_file)
{
    struct manifest_file *file = manifest_file_of(dir_file);

    manifest_list_deinit(&file->list);
    free(file);
}

/* Put a newly read list in place of the old one, and keep the good content of that. */
static int replace_list(struct manifest_file *file, struct manifest_list *list)
{
    int r = manifest_list_inherit(list, &file->list);

    if (r < 0) {
        manifest_list_deinit(list);
        return r;
    }
    manifest_list_deinit(&file->list);
    file->list = *list;
    return 0;
}

static int on_read(void *userdata, struct dir_file *file, struct buf *text)
{
    struct manifest_source *s = userdata;
    char version[VERSION_TEXT_MAX];
    struct manifest_list list;
    int r;

    snprintf(version, sizeof(version), "%llu", (unsigned long long)++s->version);
    r = manifest_list_parse(file->name, text->data, text->len, s->default_namespace, version,
                            &list);
    return r < 0 ? r : replace_list(manifest_file_of(file), &list);
}

static int on_unreadable(void *userdata, struct dir_file *dir_file, int code,
                         const struct error *reason)
{
    struct manifest_file *file = manifest_file_of(dir_file);
    struct manifest_list list;
    int r;

    if (code == FILE_READ_OTHER)
        return 0; /* such as a directory of that name */
    if (file->list.unnamed != NULL && streq(file->list.unnamed->text, reason->text))
        return 0;
    r = manifest_list_failed(reason, &list);
    return r < 0 ? r : replace_list(file, &list);
}

/* The directory cannot be read: the objects stay, and their status has the reason. */
static void fail_all(struct manifest_source *s, const struct error *error)
{
    struct followed *f;

    s->dir_error = *error;
    list_for_each (f, &s->objects, link)
        report(s, f, &s->dir_error);
}

static int on_scanned(void *userdata, int result, const struct error *reason, mono_us at)
{
    struct manifest_source *s = userdata;
    struct error e = *reason;

    if (result >= 0) {
        s->dir_error = ERROR_INIT;
        if (apply_manifests(s, at) < 0)
            result = error_set_errno(&e, -ENOMEM, "cannot read the manifests in %.255s", s->path);
    }
    if (result == -ENOMEM)
        forget_manifests(s); /* those of files that were read are freed */
    if (result < 0)
        fail_all(s, &e);
    return result;
}

static const struct dir_follower_ops dir_ops = {
    .accepts = is_manifest_name,
    .new_file = file_new,
    .free_file = file_free,
    .read = on_read,
    .unreadable = on_unreadable,
    .scanned = on_scanned,
};

/* ---- the source */

static int source_watch(void *userdata, const struct object_key *key, struct error *e)
{
    struct manifest_source *s = userdata;
    struct followed *f = find_followed(s, key);
    const struct error *problem = &s->dir_error;
    bool is_known = s->dir_error.text[0] == '\0';

    if (key->kind == OBJECT_CLUSTER_TRUST_BUNDLE)
        return error_set(e, -EINVAL,
                         "ClusterTrustBundles come from an API server only, not from manifests");
    if (f == NULL)
        f = add_followed(s, key);
    if (f == NULL)
        return error_set_errno(e, -ENOMEM, "cannot follow %s/%s", object_kind_word(key->kind),
                               key->name);
    f->is_watched = true;
    if (f->presence == STORE_PRESENT) {
        warn(f);
        store_put(s->store, object_ref(f->object), f->changed_at);
    } else if (is_known && f->error == NULL) {
        if (f->presence != STORE_ABSENT)
            f->changed_at = clock_mono();
        f->presence = STORE_ABSENT;
        if (unnamed_problem(s) != NULL)
            report(s, f, unnamed_problem(s)); /* first, as subscribers may fail now */
        store_remove(s->store, key, f->changed_at);
    }
    if (is_known)
        problem = problem_of(f, unnamed_problem(s));
    report(s, f, problem);
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
    struct manifest_file *const *files = files_of(s, &n);

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
    size_t n, n_files = 0, n_objects = 0, n_bad = 0;
    struct manifest_file *const *files = files_of(s, &n);
    const struct followed *f;
    int r;

    list_for_each (f, &s->objects, link)
        n_objects += f->presence == STORE_PRESENT;
    for (size_t i = 0; i < n; i++) {
        n_files += files[i]->file.is_read || files[i]->list.n_bad > 0;
        n_bad += files[i]->list.n_bad;
    }
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

void manifest_source_names(const struct source *source, enum object_kind kind,
                           const char *namespace, name_fn *offer, void *userdata)
{
    const struct manifest_source *s = (const struct manifest_source *)source;
    const struct followed *f;

    list_for_each (f, &s->objects, link)
        if (f->presence == STORE_PRESENT && f->key->kind == kind &&
            streq(f->key->namespace, namespace))
            offer(userdata, f->key->name);
}

static struct manifest_source *manifest_source_free(struct manifest_source *s)
{
    struct followed *f, *tmp;

    if (s == NULL)
        return NULL;
    dir_follower_free(s->dir);
    list_for_each_safe (f, tmp, &s->objects, link)
        drop_followed(s, f);
    free(s->path);
    free(s->default_namespace);
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

/* The first scan. A missing directory is an error now; later the follower waits for it. */
static int first_scan(struct manifest_source *s, struct error *e)
{
    int r = dir_follower_scan(s->dir, e);

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
    struct dir_follower_config config = {
        .what = "the manifests' directory",
        .files = "manifests",
        .max_files = MANIFESTS_MAX_FILES,
        .max_file_bytes = MANIFEST_LIST_MAX_BYTES,
    };
    int r = -ENOMEM;

    if (s != NULL) {
        s->source.ops = &manifest_source_ops;
        s->store = store;
        list_init(&s->objects);
        s->default_namespace = strdup(default_namespace);
        r = s->default_namespace != NULL ? make_absolute(dir, &s->path) : -ENOMEM;
    }
    if (r < 0)
        return error_set_errno(e, r, "cannot read the manifests in %.255s", dir);
    config.path = s->path;
    r = dir_follower_new(event, &config, &dir_ops, s, &s->dir, e);
    if (r >= 0)
        r = first_scan(s, e);
    if (r < 0)
        return r;
    *ret_source = &s->source;
    (void)TAKE(s);
    return 0;
}

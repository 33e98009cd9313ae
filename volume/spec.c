/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Projection, volume_spec_project(), is a pure function of the spec and of what the store knows of
 * each object. It gives a payload, or reports that an object is not known yet, or names all faults
 * at once (N4): all sources are examined even after one has failed.
 *
 * | an object is                                | optional | outcome                             |
 * |---------------------------------------------|----------|-------------------------------------|
 * | not known: no answer, forbidden, unreachable | either   | no payload yet (G6, G16)            |
 * | absent                                      | no       | error: the mount fails (G1), an     |
 * |                                             |          | update is refused (G8)              |
 * | absent                                      | yes      | no files of it (G2, G9)             |
 * | present, without the key of an item         | no       | error: the mount fails (G3), the    |
 * |                                             |          | whole update is refused (G10)       |
 * | present, without the key of an item         | yes      | all but this file (G4, G10)         |
 * | of a type other than the required one       | either   | error                               |
 * | present                                     | either   | its files                           |
 *
 * Trust bundles differ in one case: an optional one that is absent is an empty file (Y15).
 *
 * "optional" covers a missing object or key and nothing else (G6): while it is not known whether an
 * object exists there is no payload, for optional sources neither.
 *
 * Sources are added in their order, and the items of each in theirs: a later file replaces an
 * earlier one of the same path (B3, N2). A file above the path of another one is an error of the
 * whole volume (B8, N5). Owners of files are in the payload; links and directories get the owner of
 * their parent directory, up to the root.
 */
#include "volume/spec.h"

#include <stdio.h>
#include <sys/stat.h>

#include "volume/label_selector.h"
#include "volume/tls.h"

int volume_text_set(const char **text, const char *value)
{
    char *copy = NULL;

    if (value != NULL) {
        copy = strdup(value);
        if (copy == NULL)
            return -ENOMEM;
    }
    free((char *)(uintptr_t)*text);
    *text = copy;
    return 0;
}

static void text_free(const char **text)
{
    volume_text_set(text, NULL);
}

int volume_spec_new(enum volume_kind kind, struct volume_spec **ret_spec)
{
    struct volume_spec *spec = calloc(1, sizeof(*spec));

    if (spec == NULL)
        return -ENOMEM;
    spec->kind = kind;
    spec->default_mode = VOLUME_DEFAULT_MODE;
    spec->pod_user = spec->default_user = spec->uid = spec->gid = spec->fs_group = VOLUME_ID_UNSET;
    *ret_spec = spec;
    return 0;
}

static void source_deinit(struct volume_source *source)
{
    for (size_t i = 0; i < source->n_items; i++) {
        text_free(&source->items[i].key);
        text_free(&source->items[i].path);
    }
    free(source->items);
    text_free(&source->name);
    text_free(&source->detail);
    text_free(&source->request);
}

struct volume_spec *volume_spec_free(struct volume_spec *spec)
{
    if (spec == NULL)
        return NULL;
    for (size_t i = 0; i < spec->n_sources; i++)
        source_deinit(&spec->sources[i]);
    free(spec->sources);
    text_free(&spec->name);
    text_free(&spec->type);
    text_free(&spec->check_command);
    text_free(&spec->update_container);
    text_free(&spec->update_process);
    free(spec);
    return NULL;
}

/* Reserve one more element in an array whose capacity is the next power of two. */
static int reserve_one(void **array, size_t n, size_t max, size_t element_size)
{
    void *grown;

    if (n >= max)
        return -E2BIG;
    if (n > 0 && (n & (n - 1)) != 0)
        return 0;
    grown = reallocarray(*array, n > 0 ? n * 2 : 1, element_size);
    if (grown == NULL)
        return -ENOMEM;
    *array = grown;
    return 0;
}

int volume_spec_add_source(struct volume_spec *spec, enum object_kind kind, const char *name,
                           struct volume_source **ret_source)
{
    struct volume_source source = {.kind = kind};
    void *sources = spec->sources;
    int r = reserve_one(&sources, spec->n_sources, VOLUME_SOURCES_MAX, sizeof(source));

    spec->sources = sources;
    if (r == 0)
        r = volume_text_set(&source.name, name);
    if (r < 0)
        return r;
    assert(spec->n_sources < VOLUME_SOURCES_MAX);
    spec->sources[spec->n_sources] = source;
    *ret_source = &spec->sources[spec->n_sources++];
    return 0;
}

int volume_source_add_item(struct volume_source *source, const struct volume_item *item)
{
    struct volume_item copy = *item;
    void *items = source->items;
    int r = reserve_one(&items, source->n_items, VOLUME_ITEMS_MAX, sizeof(copy));

    source->items = items;
    if (r < 0)
        return r;
    copy.key = copy.path = NULL;
    r = volume_text_set(&copy.key, item->key);
    if (r == 0)
        r = volume_text_set(&copy.path, item->path);
    if (r < 0) {
        text_free(&copy.key);
        return r;
    }
    source->items[source->n_items++] = copy;
    return 0;
}

/* ---- the pod */

/*
 * What a token or a certificate is requested with, see fetcher/api/token_request.h and
 * certificate_request.h. Source: Y8, Y10, Y18.
 */
static int bind_request(struct volume_source *source, const struct volume_pod *pod)
{
    char *detail;

    if (asprintf(&detail, "%s\n%s\n%s", pod->uid, pod->name, source->request) < 0)
        return -ENOMEM;
    text_free(&source->detail);
    source->detail = detail;
    return volume_text_set(&source->name, pod->service_account);
}

static int compare_texts(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

/* The keys of all items, sorted. Return: the caller's, with texts of the items; NULL: no memory. */
static const char **sort_keys(const struct volume_source *source)
{
    const char **keys = calloc(source->n_items + 1, sizeof(*keys));

    if (keys == NULL)
        return NULL;
    for (size_t i = 0; i < source->n_items; i++)
        keys[i] = source->items[i].key;
    qsort(keys, source->n_items, sizeof(*keys), compare_texts);
    return keys;
}

/*
 * The pod's uid and each key once: several items may show the same field, and its value is computed
 * once. Return: 0 or -ENOMEM.
 */
static int bind_fields(struct volume_source *source, const struct volume_pod *pod)
{
    _cleanup_(freep) const char **keys = sort_keys(source);
    size_t len = strlen(pod->uid) + 1;
    char *detail, *at;

    if (keys == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < source->n_items; i++)
        len += strlen(keys[i]) + 1;
    detail = malloc(len);
    if (detail == NULL)
        return -ENOMEM;
    at = stpcpy(detail, pod->uid);
    for (size_t i = 0; i < source->n_items; i++) {
        if (i > 0 && streq(keys[i - 1], keys[i]))
            continue;
        *at++ = '\n';
        at = stpcpy(at, keys[i]);
    }
    text_free(&source->detail);
    source->detail = detail;
    return volume_text_set(&source->name, pod->name);
}

int volume_spec_bind_pod(struct volume_spec *spec, const struct volume_pod *pod)
{
    int r = 0;

    for (size_t i = 0; i < spec->n_sources && r == 0; i++) {
        struct volume_source *source = &spec->sources[i];

        if (source->kind == OBJECT_DOWNWARD_API)
            r = bind_fields(source, pod);
        else if (source->request != NULL)
            r = bind_request(source, pod);
    }
    return r;
}

/* Whether only the pod's user may read its files (Y13). */
static bool is_for_pod_user(enum object_kind kind)
{
    return kind == OBJECT_SERVICE_ACCOUNT_TOKEN || kind == OBJECT_CLUSTER_TRUST_BUNDLE ||
           kind == OBJECT_POD_CERTIFICATE;
}

bool volume_spec_needs_pod_user(const struct volume_spec *spec)
{
    for (size_t i = 0; i < spec->n_sources; i++)
        if (is_for_pod_user(spec->sources[i].kind))
            return true;
    return false;
}

/* ---- size */

/* Step over one element of a path. Return: its length, without those that cleaning drops (B5); 0 at
 * the end. */
static size_t next_element(const char **at, const char **ret_element)
{
    size_t len;

    do {
        *at += strspn(*at, "/");
        len = strcspn(*at, "/");
        *ret_element = *at;
        *at += len;
    } while (len == 1 && (*ret_element)[0] == '.');
    return len;
}

/* By element, so that what is below one directory stands together. @ret_n_common: elements */
static int compare_elements(const char *a, const char *b, size_t *ret_n_common)
{
    for (*ret_n_common = 0;; ++*ret_n_common) {
        const char *x, *y;
        size_t x_len = next_element(&a, &x), y_len = next_element(&b, &y);
        int order = memcmp(x, y, x_len < y_len ? x_len : y_len);

        if (order != 0 || x_len != y_len)
            return order != 0 ? order : (x_len < y_len ? -1 : 1);
        if (x_len == 0)
            return 0;
    }
}

static int compare_paths(const void *a, const void *b)
{
    size_t ignored;

    return compare_elements(*(const char *const *)a, *(const char *const *)b, &ignored);
}

static size_t depth_of(const char *path)
{
    const char *element;
    size_t n = 0;

    while (next_element(&path, &element) > 0)
        n++;
    return n > 0 ? n - 1 : 0;
}

/* The directories that the files at @paths need. @paths: are sorted */
static size_t count_directories(const char **paths, size_t n)
{
    size_t n_directories = 0, depth_before = 0;

    if (n > 0)
        qsort(paths, n, sizeof(*paths), compare_paths);
    for (size_t i = 0; i < n; i++) {
        size_t depth = depth_of(paths[i]), n_common = 0;

        if (i > 0)
            compare_elements(paths[i - 1], paths[i], &n_common);
        if (n_common > depth_before)
            n_common = depth_before;
        n_directories += depth > n_common ? depth - n_common : 0;
        depth_before = depth;
    }
    return n_directories;
}

int volume_spec_check_size(const struct volume_spec *spec, struct error *e)
{
    _cleanup_(freep) const char **paths = NULL;
    size_t n = 0, n_max = 0;

    for (size_t i = 0; i < spec->n_sources; i++)
        n_max += spec->sources[i].n_items;
    if (n_max > VOLUME_ITEMS_MAX)
        return error_set(e, -E2BIG, "the sources have more than %u items together",
                         VOLUME_ITEMS_MAX);
    paths = calloc(n_max + 1, sizeof(*paths));
    if (paths == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the volume");
    for (size_t i = 0; i < spec->n_sources; i++)
        for (size_t k = 0; k < spec->sources[i].n_items; k++)
            paths[n++] = spec->sources[i].items[k].path;
    if (count_directories(paths, n) > VOLUME_DIRECTORIES_MAX)
        return error_set(e, -E2BIG, "the paths of the items need more than %u directories",
                         VOLUME_DIRECTORIES_MAX);
    return 0;
}

const char *volume_spec_text(const struct volume_spec *spec, char buf[static VOLUME_TEXT_SIZE])
{
    assert(spec->kind == VOLUME_PROJECTED || spec->n_sources == 1);
    if (spec->kind == VOLUME_PROJECTED)
        snprintf(buf, VOLUME_TEXT_SIZE, "projected%s%.253s", spec->name != NULL ? "/" : "",
                 spec->name != NULL ? spec->name : "");
    else
        snprintf(buf, VOLUME_TEXT_SIZE, "%s/%.253s", object_kind_word(spec->sources[0].kind),
                 spec->sources[0].name);
    return buf;
}

mode_t volume_spec_root_mode(const struct volume_spec *spec)
{
    mode_t mode = spec->kind == VOLUME_CONFIGMAP ? 0777 : 01777;

    return spec->fs_group == VOLUME_ID_UNSET ? mode : (mode | S_ISGID | 0550);
}

/* ---- projection */

struct projection {
    const struct volume_spec *spec;
    struct payload_builder *builder;
    int result;         /* 0, or that of the first fault */
    struct error *text; /* of all faults */
};

#define OBJECT_TEXT(view) object_key_text((view)->key, (char[OBJECT_KEY_TEXT_SIZE]){""})

/* Add a fault of one source to the text. Return: 0 to continue; -ENOMEM, which ends all. */
static int add_fault(struct projection *p, int r, const struct error *fault)
{
    struct error before = *p->text;

    if (r == -ENOMEM) {
        *p->text = *fault;
        return r;
    }
    if (p->result == 0) {
        p->result = r;
        *p->text = *fault;
    } else {
        error_set(p->text, r, "%s; %s", before.text, fault->text);
    }
    return 0;
}

/* Y13: only the owner, if there is one, may read such a file, or the fsGroup. */
static void restrict_to_owner(const struct volume_spec *spec, const struct volume_item *item,
                              struct payload_attributes *a)
{
    bool has_owner = spec->pod_user != VOLUME_ID_UNSET || spec->default_user != VOLUME_ID_UNSET ||
                     item->uid != VOLUME_ID_UNSET;

    if (spec->default_user == VOLUME_ID_UNSET && item->uid == VOLUME_ID_UNSET &&
        spec->pod_user != VOLUME_ID_UNSET)
        a->uid = spec->pod_user;
    if (has_owner || spec->fs_group != VOLUME_ID_UNSET)
        a->mode = 0600;
}

static struct payload_attributes attributes_of(const struct volume_spec *spec,
                                               enum object_kind kind,
                                               const struct volume_item *item)
{
    /* ids that are unset here, too, are the directory's */
    struct payload_attributes a = {
        .mode = spec->default_mode,
        .uid = spec->uid,
        .gid = spec->fs_group != VOLUME_ID_UNSET ? spec->fs_group : spec->gid,
    };

    if (item != NULL && item->mode != VOLUME_MODE_UNSET)
        a.mode = item->mode;
    if (spec->default_user != VOLUME_ID_UNSET)
        a.uid = spec->default_user;
    if (item != NULL && item->uid != VOLUME_ID_UNSET)
        a.uid = item->uid;
    if (item != NULL && item->gid != VOLUME_ID_UNSET)
        a.gid = item->gid;
    if (is_for_pod_user(kind) && item != NULL)
        restrict_to_owner(spec, item, &a);
    if (spec->fs_group != VOLUME_ID_UNSET)
        a.mode |= 0440; /* F10 */
    return a;
}

static int add_file(struct projection *p, const struct store_view *view, const char *path,
                    const struct object_entry *entry, const struct volume_item *item)
{
    const struct payload_attributes attributes = attributes_of(p->spec, view->key->kind, item);
    struct error fault = ERROR_INIT;
    int r = payload_builder_add(p->builder, path, view->object, entry, &attributes, &fault);

    if (r == 0)
        return 0;
    error_prefix(&fault, r, "%s", OBJECT_TEXT(view));
    return add_fault(p, r, &fault);
}

/* An object has its entries of data before those of binaryData, so these are added last (M3). */
static int add_all_keys(struct projection *p, const struct store_view *view)
{
    int r = 0;

    for (size_t i = 0; i < view->object->n_entries && r == 0; i++)
        r = add_file(p, view, view->object->entries[i].key, &view->object->entries[i], NULL);
    return r;
}

static int add_missing_key(struct projection *p, const struct store_view *view, const char *key)
{
    struct error fault;

    /* the kubelet's own text, which people search for: G3, M1 */
    error_set(&fault, -ENOENT, "%s: %s: %.253s", OBJECT_TEXT(view),
              view->key->kind == OBJECT_SECRET ? "references non-existent secret key"
                                               : "configmap references non-existent config key",
              key);
    return add_fault(p, -ENOENT, &fault);
}

static int add_items(struct projection *p, const struct volume_source *source,
                     const struct store_view *view)
{
    int r = 0;

    for (size_t i = 0; i < source->n_items && r == 0; i++) {
        const struct volume_item *item = &source->items[i];
        const struct object_entry *entry = object_find(view->object, item->key);

        if (entry != NULL)
            r = add_file(p, view, item->path, entry, item);
        else if (!source->is_optional)
            r = add_missing_key(p, view, item->key);
    }
    return r;
}

/* The type that an object must have, NULL for any. A `tls: hold` that cannot hold is an error. */
static const char *required_type(const struct volume_spec *spec, const struct object *object)
{
    if (object->key.kind != OBJECT_SECRET)
        return NULL;
    if (spec->type == NULL && spec->holds_tls && spec->kind == VOLUME_SECRET)
        return TLS_TYPE;
    return spec->type;
}

static int add_object(struct projection *p, const struct volume_source *source,
                      const struct store_view *view)
{
    const char *type;
    struct error fault;

    assert(view->object != NULL && view->object->key.kind == source->kind);
    type = required_type(p->spec, view->object);
    if (type != NULL && !streq(type, view->object->type)) {
        error_set(&fault, -EINVAL, "%s is of type %.128s, expected %.128s%s", OBJECT_TEXT(view),
                  view->object->type, type, p->spec->type == NULL ? " for tls: hold" : "");
        return add_fault(p, -EINVAL, &fault);
    }
    return source->n_items > 0 || !object_kind_is_stored(source->kind) ? add_items(p, source, view)
                                                                       : add_all_keys(p, view);
}

/* A signer's bundles have a detail. */
static void explain_missing_bundle(const struct object_key *key, struct error *fault)
{
    const char *labels = key->detail != NULL ? str_after(key->detail, VOLUME_BUNDLE_LABELS) : NULL;

    if (labels == NULL)
        error_set(fault, -ENOENT, "clustertrustbundle \"%.253s\" not found", key->name);
    else if (streq(labels, LABEL_SELECTOR_NOTHING))
        error_set(fault, -ENOENT,
                  "signerName \"%.253s\" without a labelSelector selects no clustertrustbundle; {} "
                  "selects all of the signer",
                  key->name);
    else
        error_set(fault, -ENOENT,
                  "no clustertrustbundle has the signerName \"%.253s\" and fits the labelSelector",
                  key->name);
}

static int add_missing_object(struct projection *p, const struct store_view *view)
{
    struct error fault;

    if (view->key->kind == OBJECT_CLUSTER_TRUST_BUNDLE)
        explain_missing_bundle(view->key, &fault);
    else
        error_set(&fault, -ENOENT, "%s \"%s\" not found in namespace \"%s\"%s%s",
                  object_kind_word(view->key->kind), view->key->name, view->key->namespace,
                  kept_error_text(&view->source_error)[0] != '\0' ? "; " : "",
                  kept_error_text(&view->source_error));
    return add_fault(p, -ENOENT, &fault);
}

/* Y15: a program that is told where the file is has to find one. */
static int add_empty_bundle(struct projection *p, const struct volume_source *source,
                            const struct store_view *view)
{
    const struct object like = {.key = *view->key};
    const struct object_input input = {
        .key = VOLUME_BUNDLE_KEY, .text = "", .encoding = OBJECT_RAW};
    _cleanup_(object_unrefp) struct object *empty = NULL;
    struct store_view with = *view;
    int r = object_new(&like, &input, 1, &empty, p->text);

    if (r < 0)
        return r;
    with.object = empty;
    return add_items(p, source, &with);
}

static int add_absent(struct projection *p, const struct volume_source *source,
                      const struct store_view *view)
{
    if (!source->is_optional)
        return add_missing_object(p, view);
    return source->kind == OBJECT_CLUSTER_TRUST_BUNDLE ? add_empty_bundle(p, source, view) : 0;
}

/* Return: 0, VOLUME_INCOMPLETE, or -ENOMEM; faults are added to the text. */
static int add_source(struct projection *p, const struct volume_source *source,
                      const struct store_view *view)
{
    if (p->spec->removes_revoked && view->refusal == STORE_REVOKED)
        return 0;
    switch (view->presence) {
    case STORE_UNKNOWN:
        return VOLUME_INCOMPLETE;
    case STORE_PRESENT:
        return add_object(p, source, view);
    case STORE_ABSENT:
        return add_absent(p, source, view);
    }
    return -EINVAL;
}

int volume_spec_project(const struct volume_spec *spec, const struct store_view *const *views,
                        struct payload **ret_payload, struct error *e)
{
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    struct error text = ERROR_INIT;
    struct projection p = {.spec = spec, .text = &text};
    bool is_incomplete = false;
    int r = payload_builder_new(&builder);

    if (r < 0)
        return error_set_errno(e, r, "cannot compute the volume's files");
    p.builder = builder;
    for (size_t i = 0; i < spec->n_sources && r >= 0; i++) {
        r = add_source(&p, &spec->sources[i], views[i]);
        is_incomplete |= r == VOLUME_INCOMPLETE;
    }
    if (r >= 0)
        r = p.result;
    assert(r >= 0 || r == -ENOMEM || text.text[0] != '\0');
    if (r < 0)
        return error_set(e, r, "%s", text.text);
    return is_incomplete ? VOLUME_INCOMPLETE : payload_builder_finish(builder, ret_payload, e);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/manifests/manifest_list.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "encoding/field.h"
#include "encoding/json.h"
#include "encoding/yaml.h"
#include "fetcher/decode.h"
#include "fetcher/manifests/server_check.h"

/* ---- lists */

static struct manifest *manifest_list_add(struct manifest_list *l)
{
    size_t capacity = l->capacity > 0 ? l->capacity * 2 : 4;
    struct manifest *grown;

    if (l->n == l->capacity) {
        grown = reallocarray(l->items, capacity, sizeof(*grown));
        if (grown == NULL)
            return NULL;
        l->items = grown;
        l->capacity = capacity;
    }
    l->items[l->n] = (struct manifest){.key = NULL};
    return &l->items[l->n++];
}

void manifest_list_deinit(struct manifest_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->items[i].key);
        free(list->items[i].error);
        free(list->items[i].warning);
        object_unref(list->items[i].object);
    }
    free(list->items);
    free(list->unnamed);
    *list = (struct manifest_list){.items = NULL};
}

static struct error *error_dup(const struct error *error)
{
    struct error *copy = malloc(sizeof(*copy));

    if (copy != NULL)
        *copy = *error;
    return copy;
}

/* A problem of something of which not even the name is known. Only the first one is kept. */
static int add_unnamed(struct manifest_list *l, const struct error *error)
{
    l->n_bad++;
    log_debug("skipped a bad document", "error", error->text);
    if (l->unnamed == NULL)
        l->unnamed = error_dup(error);
    return l->unnamed != NULL ? 0 : -ENOMEM;
}

int manifest_list_failed(const struct error *error, struct manifest_list *ret_list)
{
    struct manifest_list list = {.items = NULL};
    int r = add_unnamed(&list, error);

    if (r >= 0)
        *ret_list = list;
    return r;
}

static int manifest_compare(const void *a, const void *b)
{
    const struct manifest *x = a, *y = b;

    return object_key_compare(x->key, y->key);
}

/* tdestroy(3) has to call a function; the manifests belong to their list. */
static void keep_manifest(void *manifest)
{
}

/* A tsearch(3) tree of the list by key; of a key that comes twice the later one. */
static int index_list(const struct manifest_list *l, void **ret_tree)
{
    void *tree = NULL;

    for (size_t i = 0; i < l->n; i++) {
        const struct manifest **node = tsearch(&l->items[i], &tree, manifest_compare);

        if (node == NULL) {
            tdestroy(tree, keep_manifest);
            return -ENOMEM;
        }
        *node = &l->items[i];
    }
    *ret_tree = tree;
    return 0;
}

static const struct manifest *find_manifest(void *const *tree, const struct manifest *like)
{
    const struct manifest *const *node = tfind(like, tree, manifest_compare);

    return node != NULL ? *node : NULL;
}

/* Give bad manifests the object that they had. */
static int inherit_objects(struct manifest_list *l, const struct manifest_list *before)
{
    void *tree = NULL;
    int r = index_list(before, &tree);

    if (r < 0)
        return r;
    for (size_t i = 0; i < l->n; i++) {
        const struct manifest *old =
            l->items[i].object == NULL ? find_manifest(&tree, &l->items[i]) : NULL;

        if (old != NULL && old->object != NULL)
            l->items[i].object = object_ref(old->object);
    }
    tdestroy(tree, keep_manifest);
    return 0;
}

static int inherit_one(struct manifest_list *l, const struct manifest *old)
{
    struct manifest *m = manifest_list_add(l);

    if (m == NULL)
        return -ENOMEM;
    m->key = object_key_dup(old->key);
    m->error = error_dup(l->unnamed);
    m->object = old->object != NULL ? object_ref(old->object) : NULL;
    if (m->key != NULL && m->error != NULL)
        return 0;
    /* a manifest without a key must not stay behind */
    free(m->key);
    free(m->error);
    object_unref(m->object);
    l->n--;
    return -ENOMEM;
}

/* Keep the manifests that @l lacks. */
static int inherit_missing(struct manifest_list *l, const struct manifest_list *before)
{
    void *tree = NULL;
    bool *is_missing = calloc(before->n + 1, sizeof(*is_missing));
    int r = is_missing != NULL ? index_list(l, &tree) : -ENOMEM;

    /* looked up before anything is added, as that may move what the tree points to */
    for (size_t i = 0; i < before->n && r >= 0; i++)
        is_missing[i] = find_manifest(&tree, &before->items[i]) == NULL;
    tdestroy(tree, keep_manifest);
    for (size_t i = 0; i < before->n && r >= 0; i++)
        if (is_missing[i])
            r = inherit_one(l, &before->items[i]);
    free(is_missing);
    return r;
}

int manifest_list_inherit(struct manifest_list *list, const struct manifest_list *before)
{
    int r = inherit_objects(list, before);

    return r < 0 || list->unnamed == NULL ? r : inherit_missing(list, before);
}

/* ---- documents */

struct parser {
    const char *file_name;
    const char *resource_version;
    const char *default_namespace;
    struct manifest_list list;
    size_t n_documents;
};

/* Where a manifest stands. */
struct place {
    size_t line;
    size_t item; /* of a list, counted from 1; 0 outside */
};

/* Put file, line and item in front of the error. */
static void error_at(const struct parser *p, const struct place *place, struct error *e)
{
    if (place->item > 0)
        error_prefix(e, 0, "%.255s: line %zu: item %zu", p->file_name, place->line, place->item);
    else
        error_prefix(e, 0, "%.255s: line %zu", p->file_name, place->line);
}

/*
 * A manifest of which the key is known.
 * @object: consumed; NULL if it is not good
 * @problem: why it is not good, or else a warning; NULL: none
 */
static int add_manifest(struct manifest_list *l, const struct object_key *key,
                        struct object *object, const struct error *problem)
{
    _cleanup_(freep) struct object_key *key_copy = object_key_dup(key);
    _cleanup_(freep) struct error *copy = problem != NULL ? error_dup(problem) : NULL;
    struct manifest *m = NULL;

    if (key_copy != NULL && (problem == NULL || copy != NULL))
        m = manifest_list_add(l);
    if (m == NULL) {
        object_unref(object);
        return -ENOMEM;
    }
    *m = (struct manifest){.key = TAKE(key_copy), .object = object};
    if (object != NULL)
        m->warning = TAKE(copy);
    else
        m->error = TAKE(copy);
    l->n_bad += object == NULL;
    return 0;
}

static int count_document(struct parser *p, const struct place *place)
{
    struct error e;

    if (++p->n_documents <= MANIFEST_LIST_MAX_DOCUMENTS)
        return 0;
    error_set(&e, -EFBIG, "the file has more than %u documents: divide it into several files",
              MANIFEST_LIST_MAX_DOCUMENTS);
    error_at(p, place, &e);
    return add_unnamed(&p->list, &e) < 0 ? -ENOMEM : -EFBIG;
}

/* One document or item that should be an object. Other kinds are passed over. */
static int take_object(struct parser *p, const cJSON *json, const struct place *place,
                       const enum object_kind *kind)
{
    const struct decode_expect expect = {.kind = kind,
                                         .default_namespace = p->default_namespace,
                                         .resource_version = p->resource_version,
                                         .is_strict = true};
    struct error e = ERROR_INIT;
    struct object *object = NULL;
    struct object_key key;
    char text[OBJECT_KEY_TEXT_SIZE];
    int r = decode_key(json, &expect, &key, &e);

    if (r == DECODE_OTHER_KIND)
        return 0;
    if (r < 0) {
        error_at(p, place, &e);
        return add_unnamed(&p->list, &e);
    }
    r = decode_object(json, &expect, &object, &e);
    if (r >= 0 && server_check(json, object, &e) >= 0)
        return add_manifest(&p->list, &key, object, NULL);
    if (r >= 0) {
        error_at(p, place, &e);
        return add_manifest(&p->list, &key, object, &e);
    }
    if (r == -ENOMEM)
        return r;
    error_prefix(&e, r, "%s", object_key_text(&key, text));
    error_at(p, place, &e);
    return add_manifest(&p->list, &key, NULL, &e);
}

/* Kinds that hold other documents. */
static const struct list_kind {
    const char *name;
    const enum object_kind *kind; /* of its items, which then need not say it */
} list_kinds[] = {
    {"List", NULL},
    {"SecretList", &(const enum object_kind){OBJECT_SECRET}},
    {"ConfigMapList", &(const enum object_kind){OBJECT_CONFIGMAP}},
};

static const struct list_kind *find_list_kind(const cJSON *json)
{
    const char *kind = json_text(json, "kind"), *api_version = json_text(json, "apiVersion");

    for (size_t i = 0; i < ELEMENTS_OF(list_kinds) && kind != NULL && api_version != NULL; i++)
        if (streq(kind, list_kinds[i].name) && streq(api_version, "v1"))
            return &list_kinds[i];
    return NULL;
}

/* Kubernetes' strict decoder refuses unknown members of a list, too; its items may be in one. */
static int check_list(const cJSON *json, const struct list_kind *list_kind, struct error *e)
{
    const struct field root = FIELD(NULL, list_kind->name);
    const cJSON *items = json_member(json, "items"), *metadata = field_member(json, "metadata");
    int r = field_check_members(json, &root, "apiVersion, kind, metadata, items", e);

    if (r >= 0 && metadata != NULL)
        r = field_check_members(metadata, &FIELD(&root, "metadata"),
                                "selfLink, resourceVersion, continue, remainingItemCount", e);
    if (r >= 0 && items != NULL && !cJSON_IsArray(items) && !cJSON_IsNull(items))
        r = error_set(e, -EINVAL, "%s: \"items\" has to be a list", list_kind->name);
    return r;
}

static int take_list(struct parser *p, const cJSON *json, struct place *place,
                     const struct list_kind *list_kind)
{
    const cJSON *items = json_member(json, "items"), *item;
    struct error e = ERROR_INIT;

    if (check_list(json, list_kind, &e) < 0) {
        error_at(p, place, &e);
        return add_unnamed(&p->list, &e);
    }
    cJSON_ArrayForEach (item, items) {
        int r;

        place->item++;
        r = count_document(p, place);
        if (r >= 0)
            r = take_object(p, item, place, list_kind->kind);
        if (r < 0)
            return r;
    }
    return 0;
}

static int on_document(void *userdata, struct yaml_document *document)
{
    struct parser *p = userdata;
    struct place place = {.line = document->line};
    const struct list_kind *list_kind;
    int r = count_document(p, &place);

    if (r < 0 || document->result == -ENOMEM)
        return r < 0 ? r : -ENOMEM;
    if (document->result < 0) {
        error_prefix(&document->error, 0, "%.255s", p->file_name);
        return add_unnamed(&p->list, &document->error);
    }
    list_kind = find_list_kind(document->json);
    if (list_kind != NULL)
        return take_list(p, document->json, &place, list_kind);
    return take_object(p, document->json, &place, NULL);
}

int manifest_list_parse(const char *file_name, const char *text, size_t len,
                        const char *default_namespace, const char *resource_version,
                        struct manifest_list *ret_list)
{
    struct parser p = {.file_name = file_name,
                       .default_namespace = default_namespace,
                       .resource_version = resource_version};
    struct error e = ERROR_INIT;
    int r = yaml_parse_documents(text, len, on_document, &p, &e);

    if (r == -EFBIG) {
        r = 0; /* said in the list already; what came before the limit counts */
    } else if (r < 0 && r != -ENOMEM) {
        error_prefix(&e, r, "%.255s", file_name);
        r = add_unnamed(&p.list, &e);
    }
    if (r < 0) {
        manifest_list_deinit(&p.list);
        return r;
    }
    *ret_list = p.list;
    return 0;
}

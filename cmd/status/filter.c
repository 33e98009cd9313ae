/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/status/filter.h"

#include <strings.h>

#include "cache/pod_selector.h"
#include "node/status.h"

/* A piece of a pattern between slashes. */
struct piece {
    const char *text; /* NULL: any */
    size_t len;
};

static bool piece_is(struct piece piece, const char *text)
{
    return piece.text == NULL ||
           (text != NULL && strlen(text) == piece.len && memcmp(text, piece.text, piece.len) == 0);
}

static bool kind_is(struct piece piece, const char *kind)
{
    static const struct piece short_name = {.text = "cm", .len = 2};

    if (piece.text == NULL)
        return true;
    if (kind == NULL)
        return false;
    if (piece.len == short_name.len && strncasecmp(piece.text, short_name.text, piece.len) == 0)
        return streq(kind, "ConfigMap");
    return strlen(kind) == piece.len && strncasecmp(kind, piece.text, piece.len) == 0;
}

/*
 * Split at slashes.
 * Return: the number of pieces; 0 if one is empty, or there are more than @max.
 */
static size_t split(const char *pattern, size_t max, struct piece *pieces)
{
    for (size_t n = 0; n < max; n++) {
        pieces[n] = (struct piece){.text = pattern, .len = strcspn(pattern, "/")};
        if (pieces[n].len == 0)
            return 0;
        pattern += pieces[n].len;
        if (*pattern++ == '\0')
            return n + 1;
    }
    return 0;
}

int status_filter_check(const struct status_filter *filter, struct error *e)
{
    struct piece pieces[3];
    int r;

    if (filter->selector != NULL && (r = pod_selector_check(filter->selector, e)) < 0)
        return error_prefix(e, r, "invalid selector \"%.128s\"", filter->selector);
    if (filter->pod != NULL && split(filter->pod, 2, pieces) == 0)
        return error_set(e, -EINVAL, "invalid pod \"%.128s\", expected NAME or NAMESPACE/NAME",
                         filter->pod);
    if (filter->object != NULL && split(filter->object, 3, pieces) == 0)
        return error_set(e, -EINVAL,
                         "invalid object \"%.128s\", expected NAME, KIND/NAME or "
                         "KIND/NAMESPACE/NAME",
                         filter->object);
    return 0;
}

/* @pod: "NAMESPACE/NAME" */
static bool pod_matches(const char *pattern, const char *pod)
{
    const char *slash = strchr(pattern, '/') == NULL ? strchr(pod, '/') : NULL;

    return streq(pattern, slash != NULL ? slash + 1 : pod);
}

static bool object_matches(const char *pattern, const cJSON *object)
{
    static const struct piece any;
    struct piece pieces[3];
    size_t n = split(pattern, ELEMENTS_OF(pieces), pieces);

    assert(n > 0); /* status_filter_check() */
    return kind_is(n > 1 ? pieces[0] : any, json_text(object, "kind")) &&
           piece_is(n > 2 ? pieces[1] : any, json_text(object, "namespace")) &&
           piece_is(pieces[n - 1], json_text(object, "name"));
}

static bool namespace_matches(const char *namespace, const cJSON *object)
{
    const char *text = json_text(object, "namespace");

    return text != NULL && streq(text, namespace);
}

/* Whether one of the volume's objects matches. */
static bool any_object(const cJSON *volume, const char *pattern,
                       bool (*matches)(const char *pattern, const cJSON *object))
{
    const cJSON *object = json_member(volume, "object");

    if (object != NULL && matches(pattern, object))
        return true;
    cJSON_ArrayForEach (object, json_member(volume, "objects")) {
        if (matches(pattern, object))
            return true;
    }
    return false;
}

static bool is_in_namespace(const char *namespace, const cJSON *volume)
{
    const char *pod = json_text(volume, "pod");
    const char *after = pod != NULL ? str_after(pod, namespace) : NULL;

    if (pod != NULL)
        return after != NULL && *after == '/';
    return any_object(volume, namespace, namespace_matches);
}

static bool has_labels(const char *selector, const cJSON *volume)
{
    const cJSON *labels = json_member(volume, "labels"), *label;
    char pairs[NODE_STATUS_LABELS_MAX + 1] = "";
    size_t len = 0;

    cJSON_ArrayForEach (label, labels) {
        const char *value = cJSON_IsString(label) ? label->valuestring : "";
        size_t key_size = strlen(label->string) + 1, value_size = strlen(value) + 1;

        if (len + key_size + value_size >= sizeof(pairs))
            return false;
        memcpy(pairs + len, label->string, key_size);
        memcpy(pairs + len + key_size, value, value_size);
        len += key_size + value_size;
        pairs[len] = '\0';
    }
    return labels != NULL && pod_selector_matches(selector, pairs);
}

bool status_filter_matches(const struct status_filter *filter, const cJSON *volume)
{
    const char *pod = json_text(volume, "pod");

    if (filter->namespace != NULL && !is_in_namespace(filter->namespace, volume))
        return false;
    if (filter->pod != NULL && (pod == NULL || !pod_matches(filter->pod, pod)))
        return false;
    if (filter->selector != NULL && !has_labels(filter->selector, volume))
        return false;
    return filter->object == NULL || any_object(volume, filter->object, object_matches);
}

bool status_filter_matches_object(const struct status_filter *filter, const cJSON *object)
{
    return filter->object == NULL || object_matches(filter->object, object);
}

void status_filter_apply(const struct status_filter *filter, cJSON *list)
{
    cJSON *items = cJSON_GetObjectItemCaseSensitive(list, "items");
    cJSON *item = items != NULL ? items->child : NULL, *next;

    for (; item != NULL; item = next) {
        next = item->next;
        if (!status_filter_matches(filter, item))
            cJSON_Delete(cJSON_DetachItemViaPointer(items, item));
    }
}

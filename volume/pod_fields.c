/* SPDX-License-Identifier: Apache-2.0 */
/*
 * | field                                | value                                                 |
 * |--------------------------------------|-------------------------------------------------------|
 * | metadata.name, .namespace, .uid      | the text                                              |
 * | metadata.labels['K'], .annotations   | the text; nothing if the pod has no such one (Y2)     |
 * | metadata.labels, .annotations        | a line `K="quoted"` for each, sorted by K, without a  |
 * |                                      | newline at the end (Y3)                               |
 * | limits.R, requests.R of a container  | ceil(quantity / divisor), cpu in thousandths (Y5)     |
 *
 * A limit that is not set, or zero, is the node's allocatable resource; a request, or a limit of
 * huge pages, is 0 then (Y6).
 *
 * All fields of one source are an object, so they change together.
 */
#include "volume/pod_fields.h"

#include <ctype.h>
#include <stdio.h>

#include "base/buf.h"
#include "encoding/json.h"
#include "volume/quantity.h"
#include "volume/quoted.h"

#define LABEL_NAME_MAX 63

/* ---- names of fields */

/* The subscript of "metadata.labels['K']". Return: K, the caller's; NULL if @path has none. */
static char *subscript_of(const char *path, const char *map)
{
    const char *at = str_after(path, map);
    size_t len;

    at = at != NULL ? str_after(at, "['") : NULL;
    len = at != NULL ? strlen(at) : 0;
    if (len < 2 || !streq(at + len - 2, "']"))
        return NULL;
    return strndup(at, len - 2);
}

static bool is_label_name(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > LABEL_NAME_MAX || !isalnum((unsigned char)name[0]) ||
        !isalnum((unsigned char)name[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("-_.", name[i]) == NULL)
            return false;
    return true;
}

/* A name, or a DNS name and a name with a slash between them. */
static bool is_qualified_name(char *text)
{
    char *slash = strchr(text, '/');

    if (slash == NULL)
        return is_label_name(text);
    *slash = '\0';
    return object_name_is_valid(text) && is_label_name(slash + 1);
}

static bool is_subscript(const char *path, const char *map, bool ignores_case)
{
    _cleanup_(freep) char *key = subscript_of(path, map);

    if (key == NULL)
        return false;
    for (char *at = key; ignores_case && *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    return is_qualified_name(key);
}

static const char *const plain_fields[] = {"metadata.name", "metadata.namespace", "metadata.uid",
                                           "metadata.labels", "metadata.annotations"};

int pod_fields_check_path(const char *path, struct error *e)
{
    for (size_t i = 0; i < ELEMENTS_OF(plain_fields); i++)
        if (streq(path, plain_fields[i]))
            return 0;
    if (is_subscript(path, "metadata.labels", false) ||
        is_subscript(path, "metadata.annotations", true))
        return 0;
    return error_set(e, -EINVAL,
                     "unsupported field \"%.128s\": use metadata.name, metadata.namespace, "
                     "metadata.uid, metadata.labels, metadata.annotations, metadata.labels['KEY'] "
                     "or metadata.annotations['KEY']",
                     path);
}

/* Split "limits.cpu". Return: the resource, borrowed; NULL if it is neither limit nor request. */
static const char *resource_of(const char *field, bool *ret_is_limit)
{
    const char *limit = str_after(field, "limits."), *request = str_after(field, "requests.");

    *ret_is_limit = limit != NULL;
    return limit != NULL ? limit : request;
}

static bool is_resource(const char *field)
{
    static const char *const names[] = {"cpu", "memory", "ephemeral-storage"};
    bool ignored;
    const char *resource = resource_of(field, &ignored), *size;

    if (resource == NULL)
        return false;
    for (size_t i = 0; i < ELEMENTS_OF(names); i++)
        if (streq(resource, names[i]))
            return true;
    size = str_after(resource, "hugepages-");
    return size != NULL && isdigit((unsigned char)size[0]) && strchr(size, ' ') == NULL &&
           strlen(size) <= LABEL_NAME_MAX;
}

int pod_fields_resource_key(const char *resource, const char *container, const char *divisor,
                            char **ret_key, struct error *e)
{
    struct quantity quantity = {.digits = 0};

    if (!is_resource(resource))
        return error_set(e, -EINVAL,
                         "unsupported resource \"%.64s\": use limits or requests, a dot, and cpu, "
                         "memory, ephemeral-storage or hugepages-SIZE",
                         resource);
    if (!object_namespace_is_valid(container))
        return error_set(e, -EINVAL, "\"%.64s\" is not a valid name for a container", container);
    if (divisor[0] != '\0' && quantity_parse(divisor, &quantity) < 0)
        return error_set(e, -EINVAL, "invalid divisor \"%.32s\"", divisor);
    if (asprintf(ret_key, "%s %s %s", resource, container,
                 quantity_is_zero(&quantity) ? "1" : divisor) < 0)
        return error_set_errno(e, -ENOMEM, "cannot read the volume");
    return 0;
}

/* ---- labels and annotations */

static int compare_members(const void *a, const void *b)
{
    const cJSON *const *x = a, *const *y = b;

    return strcmp((*x)->string, (*y)->string);
}

static int sort_members(const cJSON *map, struct pod_map *ret_map)
{
    size_t n_max = cJSON_IsObject(map) ? (size_t)cJSON_GetArraySize(map) : 0;
    const cJSON *member;

    *ret_map = (struct pod_map){.members = calloc(n_max + 1, sizeof(const cJSON *))};
    if (ret_map->members == NULL)
        return -ENOMEM;
    if (n_max == 0)
        return 0;
    cJSON_ArrayForEach (member, map) {
        if (cJSON_IsString(member))
            ret_map->members[ret_map->n++] = member;
    }
    qsort(ret_map->members, ret_map->n, sizeof(const cJSON *), compare_members);
    return 0;
}

int pod_facts_init(struct pod_facts *facts)
{
    const cJSON *metadata = json_member(facts->details, "metadata");
    int r = sort_members(json_member(metadata, "labels"), &facts->labels);

    return r == 0 ? sort_members(json_member(metadata, "annotations"), &facts->annotations) : r;
}

void pod_facts_deinit(struct pod_facts *facts)
{
    free(facts->labels.members);
    free(facts->annotations.members);
    facts->labels = facts->annotations = (struct pod_map){.n = 0};
}

/* Return: the text of a member, borrowed; NULL: none. */
static const char *find_member(const struct pod_map *map, const char *key)
{
    const cJSON like = {.string = (char *)(uintptr_t)key}, *wanted = &like;
    const cJSON **found =
        bsearch(&wanted, map->members, map->n, sizeof(const cJSON *), compare_members);

    return found != NULL ? (*found)->valuestring : NULL;
}

static int add_map(const struct pod_map *map, struct buf *value)
{
    int r = 0;

    for (size_t i = 0; i < map->n && r >= 0; i++) {
        r = buf_addf(value, "%s%s=", i > 0 ? "\n" : "", map->members[i]->string);
        if (r >= 0)
            r = quoted_add(value, map->members[i]->valuestring);
    }
    return r;
}

static int add_map_field(const char *field, const char *name, const struct pod_map *map,
                         struct buf *value)
{
    _cleanup_(freep) char *key = NULL;
    const char *text;

    if (streq(field, name))
        return add_map(map, value);
    key = subscript_of(field, name);
    if (key == NULL)
        return -ENOMEM;
    text = find_member(map, key);
    return text != NULL ? buf_add_text(value, text) : 0;
}

/* ---- resources */

/* The parts of "limits.cpu CONTAINER DIVISOR". */
struct resource_field {
    char field[128];
    char container[OBJECT_NAMESPACE_MAX + 1];
    char divisor[64];
    bool is_limit;
    const char *resource; /* within field */
};

static bool split_resource(const char *key, struct resource_field *ret_field)
{
    if (sscanf(key, "%127s %63s %63s", ret_field->field, ret_field->container,
               ret_field->divisor) != 3)
        return false;
    ret_field->resource = resource_of(ret_field->field, &ret_field->is_limit);
    return ret_field->resource != NULL;
}

static const cJSON *find_container(const cJSON *details, const char *name)
{
    static const char *const kinds[] = {"containers", "initContainers"};

    for (size_t i = 0; i < ELEMENTS_OF(kinds); i++) {
        const cJSON *container;

        cJSON_ArrayForEach (container, json_path(details, "spec", kinds[i], NULL)) {
            const char *found = json_text(container, "name");

            if (found != NULL && streq(found, name))
                return container;
        }
    }
    return NULL;
}

/* Return: whether it is given and valid. */
static bool read_quantity(const cJSON *quantities, const char *resource,
                          struct quantity *ret_quantity)
{
    const char *text = json_text(quantities, resource);

    return text != NULL && quantity_parse(text, ret_quantity) == 0;
}

static bool is_huge_pages(const char *resource)
{
    return str_after(resource, "hugepages-") != NULL;
}

/* What a container has set; false if the node decides (Y6). */
static bool read_own(const struct resource_field *f, const cJSON *container,
                     struct quantity *ret_quantity)
{
    const cJSON *all = json_path(container, "resources", f->is_limit ? "limits" : "requests", NULL);
    bool is_given = read_quantity(all, f->resource, ret_quantity);

    if (!is_given)
        *ret_quantity = (struct quantity){.digits = 0};
    return !f->is_limit || is_huge_pages(f->resource) ||
           (is_given && !quantity_is_zero(ret_quantity));
}

/* As the kubelet computes it, with the rounding of doubles. */
static int add_quotient(const struct resource_field *f, const struct quantity *quantity,
                        struct buf *value)
{
    int places = streq(f->resource, "cpu") ? 3 : 0;
    struct quantity divisor = {.digits = 1};
    double exact;
    int64_t n;

    if (quantity_parse(f->divisor, &divisor) < 0)
        return -EINVAL;
    n = quantity_count(&divisor, places);
    exact = (double)quantity_count(quantity, places) / (double)(n > 0 ? n : 1);
    if (exact >= (double)INT64_MAX)
        return buf_addf(value, "%lld", (long long)INT64_MAX);
    n = (int64_t)exact;
    return buf_addf(value, "%lld", (long long)n + ((double)n < exact));
}

static int add_resource(const char *key, const struct pod_facts *facts, struct buf *value,
                        struct error *e)
{
    struct resource_field f;
    const cJSON *container;
    struct quantity quantity = {.digits = 0};

    if (!split_resource(key, &f))
        return error_set(e, -EINVAL, "invalid field \"%.128s\"", key);
    container = find_container(facts->details, f.container);
    if (container == NULL)
        return error_set(e, -ENOENT, "container %.64s not found in the pod", f.container);
    if (!read_own(&f, container, &quantity)) {
        if (facts->allocatable == NULL)
            return error_set(e, -EAGAIN, "the allocatable resources of the node are not known");
        if (!read_quantity(facts->allocatable, f.resource, &quantity))
            quantity = (struct quantity){.digits = 0};
    }
    return add_quotient(&f, &quantity, value);
}

/* ---- values */

static int add_field(const char *field, const struct pod_facts *facts, struct buf *value,
                     struct error *e)
{
    if (streq(field, "metadata.name"))
        return buf_add_text(value, facts->name);
    if (streq(field, "metadata.namespace"))
        return buf_add_text(value, facts->namespace);
    if (streq(field, "metadata.uid"))
        return buf_add_text(value, facts->uid);
    if (str_after(field, "metadata.labels") != NULL)
        return add_map_field(field, "metadata.labels", &facts->labels, value);
    if (str_after(field, "metadata.annotations") != NULL)
        return add_map_field(field, "metadata.annotations", &facts->annotations, value);
    return add_resource(field, facts, value, e);
}

/* The fields of a key, one after the other. */
struct fields {
    char *text;
    char *next; /* NULL: none is left */
};

static int fields_init(struct fields *fields, const struct object_key *key)
{
    const char *first = key->detail != NULL ? strchr(key->detail, '\n') : NULL;

    fields->text = strdup(first != NULL ? first + 1 : "");
    fields->next = first != NULL ? fields->text : NULL;
    return fields->text != NULL ? 0 : -ENOMEM;
}

static const char *fields_next(struct fields *fields)
{
    return fields->next != NULL ? strsep(&fields->next, "\n") : NULL;
}

bool pod_fields_need_node(const struct object_key *key, const struct pod_facts *facts)
{
    struct fields fields;
    struct resource_field f;
    struct quantity ignored;
    const char *field;
    bool need = false;

    if (fields_init(&fields, key) < 0)
        return false;
    while ((field = fields_next(&fields)) != NULL)
        if (str_after(field, "metadata.") == NULL && split_resource(field, &f))
            need |= !read_own(&f, find_container(facts->details, f.container), &ignored);
    free(fields.text);
    return need;
}

/* Values of all fields; what the inputs of an object point to. */
struct values {
    struct object_input *inputs;
    struct buf *texts;
    size_t n;
};

static void values_deinit(struct values *values)
{
    for (size_t i = 0; values->texts != NULL && i < values->n; i++)
        buf_deinit(&values->texts[i]);
    free(values->texts);
    free(values->inputs);
}

static int values_add(struct values *values, const char *field, const struct pod_facts *facts,
                      struct error *e)
{
    struct buf *text = &values->texts[values->n];
    int r;

    *text = BUF_INIT(POD_FIELDS_MAX_BYTES);
    values->n++;
    r = add_field(field, facts, text, e);
    if (r == -EFBIG)
        return error_set(e, r, "%.128s is longer than %u bytes", field, POD_FIELDS_MAX_BYTES);
    if (r < 0)
        return r;
    values->inputs[values->n - 1] = (struct object_input){
        .key = field, .text = buf_text(text), .len = text->len, .encoding = OBJECT_TEXT};
    return 0;
}

static int compute(struct fields *fields, struct values *values, const struct pod_facts *facts,
                   struct error *e)
{
    size_t n_max = 1;
    const char *field;
    int r = 0;

    for (const char *at = fields->text; *at != '\0'; at++)
        n_max += *at == '\n';
    values->inputs = calloc(n_max, sizeof(*values->inputs));
    values->texts = calloc(n_max, sizeof(*values->texts));
    if (values->inputs == NULL || values->texts == NULL)
        return -ENOMEM;
    while (r == 0 && (field = fields_next(fields)) != NULL)
        r = values_add(values, field, facts, e);
    return r;
}

int pod_fields_object(const struct object_key *key, const struct pod_facts *facts,
                      struct object **ret_object, struct error *e)
{
    const struct object like = {
        .key = *key, .uid = facts->uid, .resource_version = facts->resource_version};
    struct values values = {.n = 0};
    struct fields fields;
    int r = fields_init(&fields, key);

    if (r == 0)
        r = compute(&fields, &values, facts, e);
    if (r == 0)
        r = object_new(&like, values.inputs, values.n, ret_object, e);
    values_deinit(&values);
    free(fields.text);
    return r == -ENOMEM ? error_set_errno(e, r, "cannot compute the fields of the pod") : r;
}

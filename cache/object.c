/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layout of an object's block, which is allocated once with an upper bound of its size:
 *
 *     struct counted | entries[n] | values, each decoded in place | names and keys with their NUL
 *
 * The block is sealed against writing once it is built. So the reference count is in a small
 * allocation of its own, which holds nothing secret.
 */
#include "cache/object.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/nearest.h"
#include "cache/secmem.h"
#include "encoding/base64.h"
#include "encoding/json.h"

static const struct {
    const char *name;
    const char *plural;
    const char *word;
    bool is_stored;
    bool is_namespaced;
    bool has_data; /* keys and values are what users wrote; else they are made here */
} kinds[] = {
    [OBJECT_SECRET] = {"Secret", "secrets", "secret", true, true, true},
    [OBJECT_CONFIGMAP] = {"ConfigMap", "configmaps", "configmap", true, true, true},
    [OBJECT_CLUSTER_TRUST_BUNDLE] = {"ClusterTrustBundle", "clustertrustbundles",
                                     "clustertrustbundle", true, false, false},
    [OBJECT_DOWNWARD_API] = {"DownwardAPI", "downwardapi", "downwardapi", false, true, false},
    [OBJECT_SERVICE_ACCOUNT_TOKEN] = {"ServiceAccountToken", "serviceaccounttoken",
                                      "serviceaccounttoken", false, true, false},
    [OBJECT_POD_CERTIFICATE] = {"PodCertificate", "podcertificate", "podcertificate", false, true,
                                false},
};

struct counted {
    struct object object;
    atomic_uint *n_refs;
};

bool object_kind_is_stored(enum object_kind kind)
{
    return kinds[kind].is_stored;
}

bool object_kind_is_namespaced(enum object_kind kind)
{
    return kinds[kind].is_namespaced;
}

const char *object_kind_name(enum object_kind kind)
{
    return kinds[kind].name;
}

const char *object_kind_plural(enum object_kind kind)
{
    return kinds[kind].plural;
}

const char *object_kind_word(enum object_kind kind)
{
    return kinds[kind].word;
}

static const struct {
    const char *word;
    enum object_kind kind;
} kind_words[] = {
    {"secret/", OBJECT_SECRET},       {"secrets/", OBJECT_SECRET},
    {"configmap/", OBJECT_CONFIGMAP}, {"configmaps/", OBJECT_CONFIGMAP},
    {"cm/", OBJECT_CONFIGMAP},
};

const char *object_kind_parse(const char *text, enum object_kind *ret_kind)
{
    for (size_t i = 0; i < ELEMENTS_OF(kind_words); i++) {
        const char *rest = str_after(text, kind_words[i].word);

        if (rest == NULL)
            continue;
        *ret_kind = kind_words[i].kind;
        return rest;
    }
    return NULL;
}

int object_kind_invalid(const char *text, struct error *e)
{
    const char *slash = strchr(text, '/'), *name = slash != NULL ? slash + 1 : text;
    struct nearest nearest = NEAREST_INIT(text, (size_t)(name - text));

    for (size_t i = 0; i < ELEMENTS_OF(kind_words); i++)
        nearest_offer(&nearest, kind_words[i].word, strlen(kind_words[i].word));
    if (slash == NULL)
        nearest.found = kind_words[0].word;
    if (nearest.found != NULL && object_name_is_valid(name))
        return error_set(e, -EINVAL,
                         "invalid object \"%.128s\", expected secret/NAME or configmap/NAME; did "
                         "you mean %s%.128s?",
                         text, nearest.found, name);
    return error_set(e, -EINVAL,
                     "invalid object \"%.128s\", expected secret/NAME or configmap/NAME", text);
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

int object_key_compare(const struct object_key *a, const struct object_key *b)
{
    int order;

    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    order = strcmp(a->namespace, b->namespace);
    if (order == 0)
        order = strcmp(a->name, b->name);
    return order != 0 ? order : strcmp(or_empty(a->detail), or_empty(b->detail));
}

const char *object_key_text(const struct object_key *key, char buf[static OBJECT_KEY_TEXT_SIZE])
{
    bool has_namespace = object_kind_is_namespaced(key->kind);

    snprintf(buf, OBJECT_KEY_TEXT_SIZE, "%s/%.253s%s%.253s", object_kind_word(key->kind),
             has_namespace ? key->namespace : "", has_namespace ? "/" : "", key->name);
    return buf;
}

struct object_key *object_key_dup(const struct object_key *key)
{
    size_t namespace_size = strlen(key->namespace) + 1, name_size = strlen(key->name) + 1;
    size_t detail_size = strlen(or_empty(key->detail)) + 1;
    struct object_key *copy = malloc(sizeof(*copy) + namespace_size + name_size + detail_size);
    char *text;

    if (copy == NULL)
        return NULL;
    text = (char *)(copy + 1);
    memcpy(text, key->namespace, namespace_size);
    memcpy(text + namespace_size, key->name, name_size);
    memcpy(text + namespace_size + name_size, or_empty(key->detail), detail_size);
    *copy = (struct object_key){.kind = key->kind,
                                .namespace = text,
                                .name = text + namespace_size,
                                .detail = text + namespace_size + name_size};
    return copy;
}

/* One label of a DNS name in lower case. Return: its length, 0 if there is none. */
static size_t dns_label_length(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return len > 0 && text[0] != '-' && text[len - 1] != '-' ? len : 0;
}

bool object_name_is_valid(const char *text)
{
    if (strlen(text) > OBJECT_NAME_MAX)
        return false;
    for (;;) {
        size_t len = dns_label_length(text);

        if (len == 0)
            return false;
        text += len;
        if (*text == '\0')
            return true;
        if (*text++ != '.')
            return false;
    }
}

bool object_namespace_is_valid(const char *text)
{
    size_t len = dns_label_length(text);

    return len > 0 && len <= OBJECT_NAMESPACE_MAX && text[len] == '\0';
}

bool object_data_key_is_valid(const char *key)
{
    static const char allowed[] =
        "-._abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    size_t len = strlen(key);

    return len >= 1 && len <= OBJECT_DATA_KEY_MAX && strspn(key, allowed) == len &&
           !streq(key, ".") && str_after(key, "..") == NULL;
}

/* By key, data before binaryData, then in the order of input, which is that of the addresses. */
static int entry_compare(const void *a, const void *b)
{
    const struct object_entry *x = a, *y = b;
    int order = strcmp(x->key, y->key);

    if (order != 0)
        return order;
    if (x->is_binary != y->is_binary)
        return x->is_binary ? 1 : -1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The block under construction. */
struct writer {
    uint8_t *at; /* the next free byte */
};

static const char *writer_add_text(struct writer *w, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = memcpy(w->at, text, size);

    w->at += size;
    return copy;
}

static int writer_add_value(struct writer *w, const struct object_input *input,
                            struct object_entry *ret_entry, struct error *e)
{
    size_t len = input->len;

    if (input->encoding == OBJECT_RAW)
        memcpy(w->at, input->text, len);
    else if (input->encoding == OBJECT_TEXT)
        len = json_decode_text(input->text, input->len, w->at);
    else if (base64_decode(input->text, input->len, w->at, &len) < 0)
        return error_set(e, -EINVAL, "the value of key \"%.64s\" is not valid base64", input->key);
    *ret_entry = (struct object_entry){
        .key = input->key, .bytes = w->at, .len = len, .is_binary = input->is_binary};
    w->at += len;
    *w->at++ = '\0'; /* gives an empty value an address of its own */
    return 0;
}

static size_t block_size(const struct object *like, const struct object_input *inputs, size_t n)
{
    size_t size = sizeof(struct counted) + n * sizeof(struct object_entry) +
                  strlen(like->key.namespace) + strlen(like->key.name) +
                  strlen(or_empty(like->key.detail)) + strlen(or_empty(like->uid)) +
                  strlen(or_empty(like->resource_version)) + strlen(or_empty(like->type)) +
                  strlen(or_empty(like->staging.first_selector)) + 7;

    for (size_t i = 0; i < n; i++)
        size += strlen(inputs[i].key) + 2 +
                (inputs[i].encoding == OBJECT_BASE64 ? base64_decoded_max(inputs[i].len)
                                                     : inputs[i].len);
    return size;
}

/* Decode all values, in the order of input. */
static int add_values(struct writer *w, const struct object_input *inputs, size_t n,
                      bool checks_keys, struct object_entry *entries, struct error *e)
{
    for (size_t i = 0; i < n; i++) {
        int r;

        if (checks_keys && !object_data_key_is_valid(inputs[i].key))
            return error_set(e, -EINVAL,
                             "\"%.64s\" is not a valid key: use 1 to 253 of A-Z a-z 0-9 - _ . and "
                             "do not begin with \"..\"",
                             inputs[i].key);
        r = writer_add_value(w, &inputs[i], &entries[i], e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Sort, and of inputs that repeat a key keep the last one. Return: how many are left. */
static size_t sort_entries(struct object_entry *entries, size_t n)
{
    size_t n_kept = 0;

    qsort(entries, n, sizeof(*entries), entry_compare);
    for (size_t i = 0; i < n; i++) {
        if (n_kept > 0 && streq(entries[n_kept - 1].key, entries[i].key) &&
            entries[n_kept - 1].is_binary == entries[i].is_binary)
            n_kept--;
        entries[n_kept++] = entries[i];
    }
    return n_kept;
}

static int check_size(const struct object_entry *entries, size_t n, int max_bytes, struct error *e)
{
    size_t total_bytes = 0;

    for (size_t i = 0; i < n; i++)
        total_bytes += entries[i].len;
    if (total_bytes > (size_t)max_bytes)
        return error_set(e, -EFBIG, "its values have %zu bytes, more than the limit of %d",
                         total_bytes, max_bytes);
    return 0;
}

int object_new(const struct object *like, const struct object_input *inputs, size_t n,
               struct object **ret_object, struct error *e)
{
    struct counted *c = secmem_alloc(block_size(like, inputs, n));
    atomic_uint *n_refs = malloc(sizeof(*n_refs));
    struct object_entry *entries;
    struct writer w;
    size_t n_entries;
    int r = -ENOMEM;

    if (c == NULL || n_refs == NULL)
        goto fail;
    entries = (struct object_entry *)(c + 1);
    w.at = (uint8_t *)(entries + n);
    r = add_values(&w, inputs, n, kinds[like->key.kind].has_data, entries, e);
    if (r < 0)
        goto fail;
    n_entries = sort_entries(entries, n);
    r = check_size(entries, n_entries,
                   kinds[like->key.kind].has_data ? OBJECT_DATA_MAX_BYTES : OBJECT_MADE_MAX_BYTES,
                   e);
    if (r < 0)
        goto fail;
    for (size_t i = 0; i < n_entries; i++)
        entries[i].key = writer_add_text(&w, entries[i].key);
    c->object = (struct object){
        .key = {.kind = like->key.kind,
                .namespace = writer_add_text(&w, like->key.namespace),
                .name = writer_add_text(&w, like->key.name),
                .detail = writer_add_text(&w, or_empty(like->key.detail))},
        .uid = writer_add_text(&w, or_empty(like->uid)),
        .resource_version = writer_add_text(&w, or_empty(like->resource_version)),
        .type = writer_add_text(&w, or_empty(like->type)),
        .is_immutable = like->is_immutable,
        .staging = like->staging,
        .entries = entries,
        .n_entries = n_entries,
    };
    if (like->staging.first_selector != NULL)
        c->object.staging.first_selector = writer_add_text(&w, like->staging.first_selector);
    assert(w.at <= (uint8_t *)c + block_size(like, inputs, n));
    c->n_refs = n_refs;
    atomic_init(n_refs, 1);
    secmem_seal(c);
    *ret_object = &c->object;
    return 0;
fail:
    free(n_refs);
    secmem_free(c);
    return r;
}

struct object *object_ref(struct object *object)
{
    unsigned n = atomic_fetch_add(CONTAINER_OF(object, struct counted, object)->n_refs, 1);

    assert(n > 0 && n < UINT_MAX);
    return object;
}

struct object *object_unref(struct object *object)
{
    struct counted *c;
    unsigned n;

    if (object == NULL)
        return NULL;
    c = CONTAINER_OF(object, struct counted, object);
    n = atomic_fetch_sub(c->n_refs, 1);
    assert(n > 0);
    if (n == 1) {
        free(c->n_refs);
        secmem_free(c);
    }
    return NULL;
}

static bool entry_equal(const struct object_entry *a, const struct object_entry *b)
{
    return a->is_binary == b->is_binary && a->len == b->len && streq(a->key, b->key) &&
           memcmp(a->bytes, b->bytes, a->len) == 0;
}

bool object_same_content(const struct object *a, const struct object *b)
{
    if (a->n_entries != b->n_entries)
        return false;
    for (size_t i = 0; i < a->n_entries; i++)
        if (!entry_equal(&a->entries[i], &b->entries[i]))
            return false;
    return true;
}

bool object_same_staging(const struct object *a, const struct object *b)
{
    const struct object_staging *x = &a->staging, *y = &b->staging;

    return x->is_paused == y->is_paused && x->has_first == y->has_first &&
           x->first_percent == y->first_percent && x->over == y->over && x->invalid == y->invalid &&
           streq(or_empty(x->first_selector), or_empty(y->first_selector));
}

size_t object_bytes(const struct object *object)
{
    size_t n = 4096 + object->n_entries * sizeof(*object->entries);

    for (size_t i = 0; i < object->n_entries; i++)
        n += object->entries[i].len;
    return n;
}

const struct object_entry *object_find(const struct object *object, const char *key)
{
    size_t low = 0, high = object->n_entries;

    /* the first entry that is not before key: data's if both maps have it */
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(object->entries[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == object->n_entries || !streq(object->entries[low].key, key))
        return NULL;
    return &object->entries[low];
}

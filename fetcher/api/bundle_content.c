/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bundles of a key are kept as text, by their names. After each change the certificates of all
 * of them become one object: each certificate once, sorted, so that the object is the same as long
 * as the certificates are. The kubelet draws another order every five minutes (Y16).
 *
 * The API server selects: fields and labels are in the request, and an object that ceases to match
 * is DELETED in the watch. The kubelet watches all bundles (Y14); this daemon needs the ones that
 * its volumes name.
 *
 * Which version of the API exists depends on the release and on feature gates. A 404 to a list is
 * answered with the next version in `versions`; after the last one the key fails, and the retry
 * begins with the first.
 *
 * One invalid bundle keeps the whole object as it was: without its certificates, readers would
 * refuse what they should trust.
 */
#include "fetcher/api/bundle_content.h"

#include "base/list.h"
#include "fetcher/api/protocol.h"
#include "fetcher/trust_anchors.h"

static const char *const versions[] = {"v1", "v1beta1", "v1alpha1"};

struct bundle {
    struct list link;
    char *name;
    char *pem;
    char *resource_version;
};

struct bundle_content {
    struct content content;
    size_t version; /* in versions */
    struct list bundles;
    size_t n, bytes;     /* of the bundles */
    bool is_overfull;    /* one was left out */
    struct object *held; /* what the store has from here; NULL: none */
};

static struct bundle_content *of(const struct content *content)
{
    return CONTAINER_OF((struct content *)(uintptr_t)content, struct bundle_content, content);
}

static const char *name_of(const cJSON *json)
{
    return json_text(json_member(json, "metadata"), "name");
}

/* The selector of a signer's bundles. Return: borrowed; NULL: one bundle, by its name. */
static const char *labels_of(const struct object_key *key)
{
    return key->detail != NULL ? str_after(key->detail, BUNDLE_DETAIL_LABELS) : NULL;
}

/* ---- bundles */

static struct bundle *bundle_free(struct bundle *b)
{
    if (b == NULL)
        return NULL;
    list_remove(&b->link);
    free(b->name);
    free(b->pem);
    free(b->resource_version);
    free(b);
    return NULL;
}
DEFINE_CLEANUP(struct bundle *, bundle_free)

static int bundle_new(const cJSON *json, struct bundle **ret_bundle)
{
    _cleanup_(bundle_freep) struct bundle *b = calloc(1, sizeof(*b));
    const char *pem = json_text(json_member(json, "spec"), "trustBundle");

    if (b == NULL)
        return -ENOMEM;
    list_init(&b->link);
    b->name = strdup(name_of(json));
    b->pem = strdup(pem != NULL ? pem : "");
    b->resource_version = strdup(protocol_resource_version(json));
    if (b->name == NULL || b->pem == NULL || b->resource_version == NULL)
        return -ENOMEM;
    *ret_bundle = TAKE(b);
    return 0;
}

static void drop(struct bundle_content *c, struct bundle *b)
{
    assert(c->n > 0 && c->bytes >= strlen(b->pem));
    c->n--;
    c->bytes -= strlen(b->pem);
    bundle_free(b);
}

static void drop_named(struct bundle_content *c, const char *name)
{
    struct bundle *b, *next;

    list_for_each_safe (b, next, &c->bundles, link)
        if (streq(b->name, name))
            drop(c, b);
}

static void drop_all(struct bundle_content *c)
{
    struct bundle *b, *next;

    list_for_each_safe (b, next, &c->bundles, link)
        drop(c, b);
    c->is_overfull = false;
}

/* In place of the one of the same name. Return: 0; -ENOMEM. */
static int add(struct bundle_content *c, const cJSON *json)
{
    _cleanup_(bundle_freep) struct bundle *b = NULL;
    int r = bundle_new(json, &b);

    if (r < 0)
        return r;
    drop_named(c, b->name);
    if (c->n == BUNDLES_MAX || c->bytes + strlen(b->pem) > BUNDLES_MAX_BYTES) {
        c->is_overfull = true;
        return 0;
    }
    c->n++;
    c->bytes += strlen(b->pem);
    list_append(&c->bundles, &TAKE(b)->link);
    return 0;
}

/* ---- the object */

static int collect(const struct bundle_content *c, struct trust_anchors *anchors, struct error *e)
{
    const struct bundle *b;
    int r;

    list_for_each (b, &c->bundles, link) {
        r = trust_anchors_add(anchors, b->pem, e);
        if (r < 0)
            return error_prefix(e, r, "clustertrustbundle %.253s", b->name);
    }
    return 0;
}

static int make_object(const struct bundle_content *c, struct object **ret_object, struct error *e)
{
    _cleanup_(trust_anchors_deinit) struct trust_anchors anchors = {0};
    _cleanup_(buf_deinit) struct buf pem = BUF_INIT(OBJECT_MADE_MAX_BYTES);
    struct object like = {.key = *c->content.key};
    struct object_input input = {.key = BUNDLE_KEY, .encoding = OBJECT_RAW};
    int r = collect(c, &anchors, e);

    if (r == 0)
        r = trust_anchors_print(&anchors, &pem);
    if (r == -EFBIG)
        error_set(e, r, "its certificates have more than %d bytes", OBJECT_MADE_MAX_BYTES);
    if (r < 0)
        return r;
    input.text = buf_text(&pem);
    input.len = pem.len;
    if (c->n == 1) /* several have no version together */
        like.resource_version = list_entry(c->bundles.next, struct bundle, link)->resource_version;
    return object_new(&like, &input, 1, ret_object, e);
}

static bool is_same(const struct object *a, const struct object *b)
{
    const struct object_entry *x = &a->entries[0], *y = &b->entries[0];

    return x->len == y->len && memcmp(x->bytes, y->bytes, x->len) == 0 &&
           streq(a->resource_version, b->resource_version);
}

/* Have the store show the bundles as they are now. Return: see struct content_ops. */
static int show(struct bundle_content *c, mono_us received_at, struct error *e)
{
    _cleanup_(object_unrefp) struct object *object = NULL;
    int r;

    if (c->is_overfull)
        return error_set(e, -EFBIG,
                         "there are more than %u bundles, or they have more than %u bytes",
                         BUNDLES_MAX, BUNDLES_MAX_BYTES);
    if (c->n == 0) {
        c->held = object_unref(c->held);
        store_remove(c->content.store, c->content.key, received_at);
        return 0;
    }
    r = make_object(c, &object, e);
    if (r < 0)
        return r;
    if (c->held != NULL && is_same(c->held, object))
        return 0;
    object_unref(c->held);
    c->held = object_ref(object);
    store_put(c->content.store, TAKE(object), received_at);
    return 0;
}

/* ---- for the reflector */

static int add_path(const struct content *content, struct buf *path)
{
    const struct object_key *key = content->key;
    const char *labels = labels_of(key);
    int r = buf_addf(path, "/apis/certificates.k8s.io/%s/%s?fieldSelector=%s%%3D",
                     versions[of(content)->version], object_kind_plural(key->kind),
                     labels != NULL ? "spec.signerName" : "metadata.name");

    if (r >= 0)
        r = protocol_add_escaped(path, key->name);
    if (r >= 0 && labels != NULL && labels[0] != '\0')
        r = buf_add_text(path, "&labelSelector=");
    return r >= 0 && labels != NULL ? protocol_add_escaped(path, labels) : r;
}

static bool is_own(const struct content *content, const cJSON *object)
{
    const char *name = name_of(object);

    return name != NULL && (labels_of(content->key) != NULL || streq(name, content->key->name));
}

static int replace(struct content *content, const cJSON *items, mono_us received_at,
                   struct error *e)
{
    struct bundle_content *c = of(content);
    const cJSON *item;
    int r = 0;

    drop_all(c);
    cJSON_ArrayForEach (item, items) {
        if (r == 0 && is_own(content, item))
            r = add(c, item);
    }
    return r < 0 ? r : show(c, received_at, e);
}

static int put(struct content *content, const cJSON *object, mono_us received_at, struct error *e)
{
    int r = add(of(content), object);

    return r < 0 ? r : show(of(content), received_at, e);
}

static int remove_bundle(struct content *content, const cJSON *object, mono_us received_at,
                         struct error *e)
{
    drop_named(of(content), name_of(object));
    return show(of(content), received_at, e);
}

static bool next_path(struct content *content, struct error *e)
{
    struct bundle_content *c = of(content);

    if (++c->version < ELEMENTS_OF(versions))
        return true;
    c->version = 0;
    error_set(
        e, -EIO,
        "the API server has no ClusterTrustBundles (404 Not Found for certificates.k8s.io/v1, "
        "v1beta1 and v1alpha1): use Kubernetes 1.37, or enable the feature gate "
        "ClusterTrustBundle and the API version");
    return false;
}

static void free_content(struct content *content)
{
    struct bundle_content *c = of(content);

    drop_all(c);
    object_unref(c->held);
    free(c);
}

int bundle_content_new(struct store *store, const struct object_key *key,
                       struct content **ret_content)
{
    static const struct content_ops ops = {
        .allow = ": allow this identity to get, list and watch clustertrustbundles",
        .add_path = add_path,
        .is_own = is_own,
        .replace = replace,
        .put = put,
        .remove = remove_bundle,
        .next_path = next_path,
        .free = free_content,
    };
    struct bundle_content *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return -ENOMEM;
    c->content = (struct content){.ops = &ops, .store = store, .key = key};
    list_init(&c->bundles);
    *ret_content = &c->content;
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An object: one Secret or ConfigMap at one resourceVersion, the certificates of trust bundles, or
 * what a volume shows of its pod.
 *
 * Immutable and counted. Names, keys and values are in a single block of secret memory, sealed once
 * it is built and wiped with the last reference. Values are decoded straight into it; secretfs
 * makes no other copy of them.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

/* The state of a hand-over has these numbers: append new kinds. */
enum object_kind {
    OBJECT_SECRET,
    OBJECT_CONFIGMAP,
    OBJECT_DOWNWARD_API,          /* fields of a pod; volume/pod_fields.h */
    OBJECT_SERVICE_ACCOUNT_TOKEN, /* fetcher/api/token_request.h */
    OBJECT_CLUSTER_TRUST_BUNDLE,  /* one or several; fetcher/api/bundle_content.h */
    OBJECT_POD_CERTIFICATE,       /* with its key; fetcher/api/certificate_request.h */
};

/* Whether the API server has objects of the kind; others are made of a pod. */
bool object_kind_is_stored(enum object_kind kind);
/* Whether its objects are in namespaces. The key of one that is not has the namespace "". */
bool object_kind_is_namespaced(enum object_kind kind);

/* The kind as the API names it ("Secret"), in a path ("secrets") and in messages ("secret"). */
const char *object_kind_name(enum object_kind kind);
const char *object_kind_plural(enum object_kind kind);
const char *object_kind_word(enum object_kind kind);
/*
 * Parse the kind at the front of @text: "secret/", "configmap/", their plurals, or "cm/".
 * Return: the text after the slash, and *ret_kind is set; NULL for any other text.
 */
const char *object_kind_parse(const char *text, enum object_kind *ret_kind);
/*
 * The error of a text that names no object, with the object that was probably meant.
 * Return: -EINVAL.
 */
int object_kind_invalid(const char *text, struct error *e);

/* The key of an object in the store. The user of the struct says who owns the strings. */
struct object_key {
    enum object_kind kind;
    const char *namespace;
    const char *name;
    const char *detail; /* what of it, for kinds other than Secret and ConfigMap; NULL: "" */
};

/* An order of keys, for tsearch(3): by kind, namespace, name, detail. Thread: any. */
int object_key_compare(const struct object_key *a, const struct object_key *b);
/* "secret/NAMESPACE/NAME", or "clustertrustbundle/NAME", for logs and messages. Return: @buf. */
#define OBJECT_KEY_TEXT_SIZE 544 /* two names of at most 253 characters */
const char *object_key_text(const struct object_key *key, char buf[static OBJECT_KEY_TEXT_SIZE]);

/* Return: a deep copy in one allocation, for free(); NULL when out of memory. */
struct object_key *object_key_dup(const struct object_key *key);

/* Kubernetes' limits. Source: kubelet-semantics.md L1 to L3. */
#define OBJECT_NAME_MAX       253
#define OBJECT_NAMESPACE_MAX  63
#define OBJECT_DATA_KEY_MAX   253
#define OBJECT_DATA_MAX_BYTES 1048576
/*
 * Of what is made of a pod, or of several trust bundles. Annotations have 256 KiB at most, quoted
 * four times that, and several items may show the same; the certificates that browsers trust have
 * 250 KiB.
 */
#define OBJECT_MADE_MAX_BYTES 4194304

/* Whether the API server accepts it: a DNS-1123 subdomain, a DNS-1123 label. Source: L2. */
bool object_name_is_valid(const char *name);
bool object_namespace_is_valid(const char *namespace);
/* The same of a key in data. Source: L1. */
bool object_data_key_is_valid(const char *key);

/* One key and its value. */
struct object_entry {
    const char *key;
    const uint8_t *bytes; /* not NUL-terminated */
    size_t len;
    bool is_binary; /* from a ConfigMap's binaryData (M3, M4) */
};

/* How an update reaches volumes that show an older version, by annotations (volume/staging.h). */
struct object_staging {
    bool is_paused;
    bool has_first;
    unsigned first_percent;     /* 100 at most; if has_first */
    const char *first_selector; /* of labels, instead of first_percent; NULL: none */
    span_us over;               /* 0: at once */
    const char *invalid; /* the name of an annotation that is invalid, a constant; NULL: none */
};

struct object {
    struct object_key key;
    const char *uid;              /* "" if the source has none */
    const char *resource_version; /* opaque (J4) */
    const char *type;             /* a Secret's; "" for a ConfigMap */
    bool is_immutable;
    struct object_staging staging;
    const struct object_entry *entries; /* sorted by key, data before binaryData */
    size_t n_entries;
};

enum object_encoding {
    OBJECT_TEXT, /* a string of a document, with NULs as JSON_NUL (encoding/json.h) */
    OBJECT_BASE64,
    OBJECT_RAW, /* bytes as they are */
};

/* A value as the source delivers it; borrowed by object_new(). */
struct object_input {
    const char *key;
    const char *text;
    size_t len;
    enum object_encoding encoding;
    bool is_binary;
};

/*
 * Build an object.
 * @like:   all but its entries; uid, resource_version and type may be NULL; strings are copied
 * @inputs: @n of them in any order; a key given twice (within data or within binaryData) counts
 *          once, the later one
 * Return: 0, *ret_object is the caller's reference; -EINVAL for a key or base64 that Kubernetes
 * refuses, with the key named in @e; -EFBIG above OBJECT_DATA_MAX_BYTES, or OBJECT_MADE_MAX_BYTES
 * for a kind that is neither Secret nor ConfigMap; -ENOMEM.
 * Source: kubelet-semantics.md L1, L3, L8.
 */
int object_new(const struct object *like, const struct object_input *inputs, size_t n,
               struct object **ret_object, struct error *e);

/* Thread: any. Return: @object. */
struct object *object_ref(struct object *object);
/* Thread: any. Return: NULL. */
struct object *object_unref(struct object *object);
DEFINE_CLEANUP(struct object *, object_unref)

/* Whether they have the same keys and values. */
bool object_same_content(const struct object *a, const struct object *b);
/* Whether their annotations stage an update in the same way. */
bool object_same_staging(const struct object *a, const struct object *b);

/* The memory that it takes, without the roundings of its block. Return: a page at least. */
size_t object_bytes(const struct object *object);

/* Return: the entry of @key in data, else in binaryData, borrowed; NULL if there is none. */
const struct object_entry *object_find(const struct object *object, const char *key);

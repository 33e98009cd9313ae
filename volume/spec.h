/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A spec: what the user requested, in the words of a pod's volumes: which objects, which of their
 * keys, under which paths, with which modes and owners. The spec and its objects determine the
 * payload. See spec.c.
 *
 * Thread: any one at a time.
 */
#include "cache/store.h"
#include "volume/payload.h"

#define VOLUME_DEFAULT_MODE 0644 /* what the API server fills in (B4) */
#define VOLUME_MODE_MAX     0777 /* L4 */

#define VOLUME_MODE_UNSET ((mode_t)-1)
#define VOLUME_ID_UNSET   ((uid_t)-1)

/*
 * Kubernetes has no limits of its own. A pod has to fit into a request to etcd, 1.5 MiB, in which
 * the shortest item has 22 bytes; each source costs a watch.
 */
#define VOLUME_ITEMS_MAX       65536u /* of one source */
#define VOLUME_SOURCES_MAX     256u
/*
 * What the paths of all items need together. A directory costs about 260 bytes here and twice as
 * much in the kernel, and each update makes all of them while the old ones still exist.
 */
#define VOLUME_DIRECTORIES_MAX 4096u

enum volume_kind { VOLUME_SECRET, VOLUME_CONFIGMAP, VOLUME_PROJECTED, VOLUME_DOWNWARD_API };

/* What an update changes. */
enum volume_updates {
    VOLUME_UPDATES_GENERATIONS, /* ..data points to new files (C3) */
    VOLUME_UPDATES_IN_PLACE,    /* live files get new content */
};

/* Whether the pod gets a condition that says who has opened the newest content. */
enum volume_report {
    VOLUME_REPORT_DEFAULT, /* as the node's option says */
    VOLUME_REPORT_CONDITION,
    VOLUME_REPORT_NONE,
};

struct volume_item {
    const char *key;
    const char *path;
    mode_t mode; /* or VOLUME_MODE_UNSET: the spec's default */
    uid_t uid;   /* or VOLUME_ID_UNSET: the spec's */
    gid_t gid;   /* or VOLUME_ID_UNSET: the spec's */
};
/* An item that has a key only. */
#define VOLUME_ITEM_INIT(key_)                                                                     \
    {                                                                                              \
        .key = (key_), .mode = VOLUME_MODE_UNSET, .uid = VOLUME_ID_UNSET, .gid = VOLUME_ID_UNSET   \
    }

struct volume_source {
    enum object_kind kind;
    const char *name;
    const char *detail;  /* of the object's key; of a kind that is made of the pod, set by
                            volume_spec_bind_pod() */
    bool is_optional;    /* the object and all of its keys (G5) */
    const char *request; /* of a token or a certificate: what to request, see below */
    struct volume_item *items;
    size_t n_items; /* 0: every key, named after itself (B1) */
};

struct volume_spec {
    enum volume_kind kind;
    const char *name; /* the volume's own, or NULL */
    struct volume_source *sources;
    size_t n_sources;
    mode_t default_mode;
    /* secretfs' own options */
    uid_t pod_user;     /* the user of all containers of the pod (Y13); or VOLUME_ID_UNSET */
    uid_t default_user; /* owner of files that have no own one (Y23); or VOLUME_ID_UNSET */
    bool is_of_pod;     /* it may have sources that are made of its pod */
    uid_t uid;          /* owner of the files; VOLUME_ID_UNSET: the program's */
    gid_t gid;          /* the same */
    gid_t fs_group;     /* F10; VOLUME_ID_UNSET: F9 */
    const char *type;   /* required of each Secret, or NULL */
    bool holds_tls;     /* a pair that does not match, or is expired, is not shown */
    unsigned checks;    /* of values, else the object is not shown: bits of check.h */
    /* of the administrator, which the files have to pass, else they are not shown; or NULL */
    const char *check_command;
    enum volume_updates updates;
    enum volume_report report;    /* of a pod's volume */
    int update_signal;            /* sent to the pod's containers after an update; 0: none */
    const char *update_container; /* only to this one; or NULL */
    const char *update_process;   /* to the process of this name; NULL: the container's first */
    bool removes_revoked;         /* an object that we may no longer read is no longer shown */
};

/* Return: 0, *ret_spec is the caller's, without sources; -ENOMEM. */
int volume_spec_new(enum volume_kind kind, struct volume_spec **ret_spec);
struct volume_spec *volume_spec_free(struct volume_spec *spec);
DEFINE_CLEANUP(struct volume_spec *, volume_spec_free)

/*
 * Text is copied.
 * Return: 0; -E2BIG above the limits; -ENOMEM. *ret_source is borrowed until the next source.
 */
int volume_spec_add_source(struct volume_spec *spec, enum object_kind kind, const char *name,
                           struct volume_source **ret_source);
int volume_source_add_item(struct volume_source *source, const struct volume_item *item);
/* The pod of a volume. */
struct volume_pod {
    const char *name;
    const char *uid;
    const char *service_account;
};

/* The key of the one item of a token, and of trust bundles. */
#define VOLUME_TOKEN_KEY           "token"
#define VOLUME_BUNDLE_KEY          "trustBundle"
/* The keys of a certificate's items: one or more of them (Y19). */
#define VOLUME_CERTIFICATE_BUNDLE  "credentialBundle"
#define VOLUME_CERTIFICATE_KEY     "key"
#define VOLUME_CERTIFICATE_CHAIN   "certificateChain"
/*
 * volume_source.request: lines, the last of which may have any bytes. volume_spec_bind_pod() puts
 * the pod's uid and name in front of it, and the whole is the detail of the object's key.
 */
#define VOLUME_TOKEN_REQUEST       "%u\n%s"         /* seconds, audience */
#define VOLUME_CERTIFICATE_REQUEST "%s\n%s\n%u\n%s" /* signer, key type, seconds, annotations */
/* What trust bundles of a signer have in front of the label selector in their detail. */
#define VOLUME_BUNDLE_LABELS       "labels:"

/* Whether modes and owners of files depend on the user of the pod's containers: pod_user (Y13). */
bool volume_spec_needs_pod_user(const struct volume_spec *spec);

/*
 * Complete the sources that are made of the volume's pod. Precedes volume_new() and
 * volume_spec_project(). Return: 0 or -ENOMEM.
 */
int volume_spec_bind_pod(struct volume_spec *spec, const struct volume_pod *pod);

/* Replace an owned text by a copy of @value, or by NULL; the old one is freed. Return: 0, -ENOMEM.
 */
int volume_text_set(const char **text, const char *value);

/*
 * Check what the items need together. Return: 0; -E2BIG for more than VOLUME_ITEMS_MAX items of
 * all sources, or more than VOLUME_DIRECTORIES_MAX directories, with @e; -ENOMEM.
 */
int volume_spec_check_size(const struct volume_spec *spec, struct error *e);

/* "secret/NAME", "configmap/NAME", "projected/NAME-OF-THE-VOLUME". Return: @buf. */
#define VOLUME_TEXT_SIZE 272
const char *volume_spec_text(const struct volume_spec *spec, char buf[static VOLUME_TEXT_SIZE]);

/* The mode of the volume's root. Source: F5, F6, F10, F11. */
mode_t volume_spec_root_mode(const struct volume_spec *spec);

/*
 * Compute the payload of a spec. A pure function; spec.c has the table of outcomes.
 * @views: one for each source, in their order; with removes_revoked one that is STORE_REVOKED
 * counts as absent and optional (G9) Return: 0, *ret_payload is the caller's; VOLUME_INCOMPLETE if
 * an object is not known yet and no other source is faulty; -ENOENT for missing objects or keys
 * that are not optional, -EINVAL for content that cannot be shown, with all faults in @e (N4);
 * -ENOMEM. Source: B1 to B10, G1 to G11, M1 to M3, N2 to N6.
 */
#define VOLUME_INCOMPLETE 1
int volume_spec_project(const struct volume_spec *spec, const struct store_view *const *views,
                        struct payload **ret_payload, struct error *e);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Identities: the credentials that fetch the objects of a node's volumes. See identity.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/list.h"
#include "fetcher/source.h"

enum node_rights {
    NODE_RIGHTS_NODE,   /* the kubelet's credentials (K3) */
    NODE_RIGHTS_POD,    /* each pod's service account (U4) */
    NODE_RIGHTS_DAEMON, /* the program's own credentials (K4) */
};

/* The words for them, in the order of the enum. NULL-terminated. */
extern const char *const node_rights_words[];

/* Return: 0; -EINVAL with @e unless @text is one of them. */
int node_rights_parse(const char *text, enum node_rights *ret_rights, struct error *e);
const char *node_rights_name(enum node_rights rights);

/* Where objects come from. Strings are borrowed. All NULL: the program's own place. */
struct identity_place {
    const char *kubeconfig; /* NULL: found as for `secretfs mount` */
    const char *context;    /* NULL: the current one */
    const char *manifests;  /* a directory; NULL: an API server */
};

/* Other files read members, and change none. */
struct identity {
    struct list link;
    struct identities *all;
    unsigned n_refs;
    bool is_of_pod;  /* its token comes with each publish */
    char *name;      /* for people: a service account, or the origin of the configuration */
    char *key;       /* unique among the identities */
    char *namespace; /* the default for objects */
    struct store *store;
    struct source *source; /* NULL: its first token is awaited */
};

/* Of requests to one API server: see http_client_set_rate_limit(). */
struct identity_rate_limit {
    unsigned per_sec;
    unsigned burst;
};

struct identities_options {
    enum node_rights rights;
    struct identity_place place;
    struct identity_rate_limit rate_limit;
    const char *kubelet_root; /* its kubeconfig may be the kubelet's */
    /* An identity is about to be freed; called if it has a source. May be NULL. */
    void (*gone)(void *userdata, const struct identity *identity);
    void *userdata;
};

struct identities;

/* @options: its strings outlive the identities. Return: 0, *ret_identities is the caller's; -ENOMEM
 */
int identities_new(sd_event *event, const struct identities_options *options,
                   struct identities **ret_identities);
/* All references must be gone. Return: NULL. */
struct identities *identities_free(struct identities *identities);
DEFINE_CLEANUP(struct identities *, identities_free)

/* The pod of a publish request. Strings are borrowed for the call. */
struct identity_request {
    const char *namespace;
    const char *service_account; /* "" if unknown */
    const char *tokens;          /* JSON, U4; or "" */
};

/*
 * Get the identity of a pod's volumes. The first call creates its source; a newer token replaces
 * the previous one.
 * Return: 0, *ret_identity is a reference of the caller's; -EACCES with @e when a token is needed
 * and missing; -errno with @e when the source cannot be created now.
 */
int identities_get(struct identities *identities, const struct identity_request *request,
                   struct identity **ret_identity, struct error *e);

/*
 * The same without a token, for a volume that an earlier process has published: nothing is fetched
 * before identities_get() or identity_renew() brings one. Where no token is needed it is
 * identities_get(). @request: its tokens are ignored
 */
int identities_get_waiting(struct identities *identities, const struct identity_request *request,
                           struct identity **ret_identity, struct error *e);

/* The same for a static volume, or for the program itself. */
int identities_get_place(struct identities *identities, const struct identity_place *place,
                         struct identity **ret_identity, struct error *e);

/* Replace the token of a pod's identity. Return: 0; -EACCES, -EINVAL, -ENOMEM with @e: the old one
 * stays. */
int identity_renew(struct identity *identity, const char *tokens, struct error *e);

/* Not from within a callback of its store or source. NULL is fine. Return: NULL. */
struct identity *identity_unref(struct identity *identity);
DEFINE_CLEANUP(struct identity *, identity_unref)

/* Return: whether to continue. */
typedef bool identity_visit_fn(void *userdata, const struct identity *identity);
void identities_visit(const struct identities *identities, identity_visit_fn *visit,
                      void *userdata);

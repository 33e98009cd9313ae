/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Identities: as whom a node's volumes ask for objects. Each has a source and a store of its own,
 * so that nobody is shown what was fetched with somebody else's rights.
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

/* Return: 0, or -EINVAL for a word that is none of node, pod, daemon. */
int node_rights_parse(const char *text, enum node_rights *ret_rights);
const char *node_rights_name(enum node_rights rights);

/* Where objects come from; strings are borrowed. */
struct identity_place {
    const char *kubeconfig; /* NULL: wherever it is found */
    const char *context;    /* NULL: the current one */
    const char *manifests;  /* a directory, in the place of an API server; or NULL */
};

/* One of them. Members are for looking at. */
struct identity {
    struct list link;
    struct identities *all;
    unsigned n_refs;
    bool is_of_pod;  /* its token comes with each publish */
    char *name;      /* whose rights these are, for people */
    char *key;       /* what tells it from the others */
    char *namespace; /* where objects are that say nothing else */
    struct store *store;
    struct source *source;
};

/* How fast one API server is asked: see http_client_set_rate_limit(). */
struct identity_pace {
    unsigned per_sec;
    unsigned burst;
};

struct identities_options {
    enum node_rights rights;
    struct identity_place place;
    struct identity_pace pace;
    const char *kubelet_root; /* where the kubelet's credentials are looked for as well */
    /* An identity is about to end, with its source if it has one. May be NULL. */
    void (*gone)(void *userdata, const struct identity *identity);
    void *userdata;
};

struct identities;

/* @options: its strings outlive the identities. Return: 0, *ret_identities is the caller's; -ENOMEM
 */
int identities_new(sd_event *event, const struct identities_options *options,
                   struct identities **ret_identities);
/* All references to any of them must be gone. Return: NULL. */
struct identities *identities_free(struct identities *identities);
DEFINE_CLEANUP(struct identities *, identities_free)

/* Who asks. Strings are borrowed for the call. */
struct identity_request {
    const char *namespace;
    const char *service_account; /* "" if the kubelet does not say */
    const char *tokens;          /* JSON, U4; "" if there are none */
};

/*
 * The identity of a pod's volumes. What is asked for first makes its source; a token that is newer
 * takes the place of the one before.
 * Return: 0, *ret_identity is a reference of the caller's; -EACCES with what is missing in @e when
 * the pod brings no token; -errno with @e when its source cannot be made now.
 */
int identities_get(struct identities *identities, const struct identity_request *request,
                   struct identity **ret_identity, struct error *e);

/* As above for what is no pod. A place without a word is the one that the program has. */
int identities_get_place(struct identities *identities, const struct identity_place *place,
                         struct identity **ret_identity, struct error *e);

/* Tell the pod's newest token to an identity that is in use already. Return: 0; -EINVAL, -ENOMEM
 * with @e: then the old one stays. */
int identity_renew(struct identity *identity, const char *tokens, struct error *e);

/* Not from within a call of its store or source. NULL is fine. Return: NULL. */
struct identity *identity_unref(struct identity *identity);
DEFINE_CLEANUP(struct identity *, identity_unref)

/* Return: whether to go on. */
typedef bool identity_visit_fn(void *userdata, const struct identity *identity);
void identities_visit(const struct identities *identities, identity_visit_fn *visit,
                      void *userdata);

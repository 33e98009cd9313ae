/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Certificates of pods, for podCertificate sources: makes keys, requests certificates and replaces
 * both in time. See pod_certificates.c.
 *
 * Thread: the event loop's.
 */
#include "cache/store.h"
#include "node/api.h"

struct pod_certificates;

/* Strings, @store and the rest are borrowed, and outlive the object. */
struct pod_certificates_options {
    const char *node_name;
    struct store *store;  /* receives the certificates */
    struct node_api *api; /* with the credentials that request them */
};

/* Return: 0, *ret_certificates is the caller's; -ENOMEM; sd-event's errors. */
int pod_certificates_new(sd_event *event, const struct pod_certificates_options *options,
                         struct pod_certificates **ret_certificates);
/* All keys must be unwatched. NULL is fine. Return: NULL. */
struct pod_certificates *pod_certificates_free(struct pod_certificates *certificates);
DEFINE_CLEANUP(struct pod_certificates *, pod_certificates_free)

/*
 * For the store's source; keys of kind OBJECT_POD_CERTIFICATE.
 * Return: 0; -EINVAL or -ENOMEM with @e.
 */
int pod_certificates_watch(struct pod_certificates *certificates, const struct object_key *key,
                           struct error *e);
void pod_certificates_unwatch(struct pod_certificates *certificates, const struct object_key *key);

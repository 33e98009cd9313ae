/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The Secrets and ConfigMaps in the text of a file of manifests.
 */
#include "cache/object.h"

#define MANIFEST_LIST_MAX_BYTES     (8u << 20) /* eight times what one object may hold */
#define MANIFEST_LIST_MAX_DOCUMENTS 10000u     /* items of lists counted */

/* One Secret or ConfigMap. */
struct manifest {
    struct object_key *key; /* owned */
    struct object *object;  /* a reference: the newest good content; NULL if there never was any */
    struct error *error;    /* owned: why object is not what the file says now; NULL if it is */
    struct error *warning;  /* owned: why an API server would refuse object; NULL if it would not */
};

struct manifest_list {
    struct manifest *items; /* in the order of the file; a key may come twice */
    size_t n;
    size_t capacity;
    size_t n_bad; /* documents that cannot be used, those of unknown name included */
    struct error
        *unnamed; /* owned: the first problem that has no manifest to stand with, or NULL */
};

/*
 * Take the Secrets and ConfigMaps out of a text; lists of them are flattened, documents of other
 * kinds passed over.
 * @file_name:        for messages
 * @resource_version: for all objects
 * Return: 0, also for a text that is no good, which *ret_list then says; -ENOMEM.
 */
int manifest_list_parse(const char *file_name, const char *text, size_t len,
                        const char *default_namespace, const char *resource_version,
                        struct manifest_list *ret_list);

/* A list that holds nothing but a problem: the file could not be read. Return: 0 or -ENOMEM. */
int manifest_list_failed(const struct error *error, struct manifest_list *ret_list);

/*
 * Keep what was good @before in a list of the same file made later: a manifest that is bad now gets
 * the object it had, and if there is a problem of unknown name, a missing object may be in that
 * document, so it stays with that problem as its error.
 * Return: 0 or -ENOMEM.
 */
int manifest_list_inherit(struct manifest_list *list, const struct manifest_list *before);

void manifest_list_deinit(struct manifest_list *list);

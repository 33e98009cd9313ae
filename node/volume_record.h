/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the next process of the service has to know of a volume that is mounted, as a text. There is
 * no token in it. See volume_record.c.
 */
#include "encoding/json.h"
#include "volume/volume.h"

/* Strings are borrowed. */
struct volume_record {
    const char *target;
    const char *namespace;       /* of its objects, and of the pod */
    const char *pod;             /* its name; or NULL */
    const char *pod_uid;         /* or NULL */
    const char *service_account; /* of the pod; or NULL */
    const char *source;          /* key of the identity of a static volume; or NULL */
    const struct volume_spec *spec;
    const struct volume_kept_order *orders; /* for each source of the spec; NULL: none */
    uint64_t notified; /* shown_update() of the last one that consumers know of; 0: unknown */
};

/* Return: 0, *ret_text is the caller's to free(); -ENOMEM. */
int volume_record_print(const struct volume_record *record, char **ret_text);

/* A record that was read. */
struct volume_record_document {
    cJSON *json;
    struct volume_spec *spec;         /* may be taken */
    struct volume_kept_order *orders; /* may be taken; NULL: none */
    struct volume_record record;      /* borrowed from these three */
};

/*
 * Return: 0, volume_record_deinit() is due; -EINVAL, -E2BIG, -ENOMEM with @e, and *ret_document is
 * empty.
 */
int volume_record_parse(const char *text, struct volume_record_document *ret_document,
                        struct error *e);
void volume_record_deinit(struct volume_record_document *document);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A volume that a file of volumes.d defines:
 *
 *     target: /run/app/db              absolute; created if it is missing
 *     namespace: prod                  of the objects; default: as for `secretfs mount`
 *     source:                          default: the source of the program
 *       kubeconfig: /etc/app/kubeconfig
 *       context: prod                  or only `manifests: /etc/app/manifests`
 *     owner: {user: app, group: app}   of the files: names or numbers
 *     onUpdate: reload-unit:app.service     # or exec:NAME, a command of the configuration
 *     volume:                          an entry of a pod's volumes
 *       secret: {secretName: db}
 */
#include "serve/update_action.h"
#include "volume/spec_parse.h"

#define STATIC_VOLUME_MAX_BYTES VOLUME_FILE_MAX_BYTES

struct static_volume {
    unsigned n_refs;
    char *name; /* of the file, without its suffix; for log and status */
    char *text; /* the parsed text */
    char *target;
    char *namespace; /* NULL: default */
    /* all NULL: default */
    char *kubeconfig;
    char *context;
    char *manifests;
    char *on_update; /* NULL: none */
    struct update_action action;
    struct volume_spec *spec;
};

/*
 * @file_name: such as "db.yaml"
 * Return: 0, *ret_volume is a reference of the caller's; -EINVAL with the field's path in @e;
 * -E2BIG; -ENOMEM.
 */
int static_volume_parse(const char *file_name, const char *text, size_t len,
                        struct static_volume **ret_volume, struct error *e);
struct static_volume *static_volume_ref(struct static_volume *volume);
/* Return: NULL. */
struct static_volume *static_volume_unref(struct static_volume *volume);
DEFINE_CLEANUP(struct static_volume *, static_volume_unref)

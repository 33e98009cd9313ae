/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The rules of deploy/adopt/policy.yaml, for pods as JSON: which volumes secretfs takes over, and
 * why others stay as they are.
 */
#include <cjson/cJSON.h>

#include "base/error.h"

#define ADOPT_DRIVER        "csi.secretfs.io"
#define ADOPT_SUFFIX        "-secretfs" /* of the name that an adopted volume gets */
#define ADOPT_NAME_MAX      54u /* with the suffix it has the 63 characters of a DNS label */
#define ADOPT_LABEL         "secretfs.io/adopt"
#define ADOPT_TOKENS_LABEL  "secretfs.io/adopt-service-account-tokens"
#define ADOPT_TOKENS_PREFIX "kube-api-access-"

/* Whether the policy looks at a pod, in the order of its conditions. */
enum adopt_pod {
    ADOPT_POD,
    ADOPT_POD_DISABLED,      /* by its annotation secretfs.io/adopt */
    ADOPT_POD_MIRROR,        /* a mirror pod */
    ADOPT_POD_WINDOWS,       /* by spec.os or its node selector */
    ADOPT_POD_RUNTIME_CLASS, /* a runtime of virtual machines */
};

/* @pod: or a template of pods, with metadata and spec */
enum adopt_pod adopt_pod_decide(const cJSON *pod);

/* What the policy makes of a volume. */
enum adopt_volume {
    ADOPT_VOLUME,             /* it gets the suffix, and a csi volume its name */
    ADOPT_VOLUME_SERVED,      /* it is a csi volume of secretfs */
    ADOPT_VOLUME_OTHER_KIND,  /* neither secret, configMap, downwardAPI nor projected */
    ADOPT_VOLUME_SOURCES,     /* projected, with a source that stays with the kubelet */
    ADOPT_VOLUME_NOT_MOUNTED, /* no container mounts it */
    ADOPT_VOLUME_TOKEN,       /* the API server's own, where tokens stay with the kubelet */
    ADOPT_VOLUME_LONG_NAME,   /* longer than ADOPT_NAME_MAX */
    ADOPT_VOLUME_NAME_TAKEN,  /* another volume has the name with the suffix */
};

/* Return: whether a volume is of the kinds that secretfs serves, with all sources. */
bool adopt_volume_has_kind(const cJSON *volume);

/* Some names, sorted. Borrowed from JSON. */
struct adopt_list {
    const char **names;
    size_t n;
};

/* @max: how many names are added at most. Return: 0; -ENOMEM. adopt_list_deinit() in either case */
int adopt_list_init(struct adopt_list *list, size_t max);
void adopt_list_deinit(struct adopt_list *list);

/* Before the list is sorted. */
void adopt_list_add(struct adopt_list *list, const char *name);
void adopt_list_sort(struct adopt_list *list);

/* Once it is sorted. */
bool adopt_list_has(const struct adopt_list *list, const char *name);

/* The names of a pod. */
struct adopt_names {
    struct adopt_list volumes;
    struct adopt_list mounted; /* by a container or an init container */
};

/*
 * Collect the names of @spec, a pod's spec, which has to live longer.
 * Return: 0; -ENOMEM. adopt_names_deinit() in either case.
 */
int adopt_names_init(struct adopt_names *names, const cJSON *spec);
void adopt_names_deinit(struct adopt_names *names);

/*
 * @volume:        an entry of spec.volumes with a name
 * @adopts_tokens: of the namespace: whether the API server's own volumes are adopted, too
 */
enum adopt_volume adopt_volume_decide(const struct adopt_names *names, const cJSON *volume,
                                      bool adopts_tokens);

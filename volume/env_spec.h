/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The spec of an environment: a container's lists env: and envFrom:. It names objects and keys and
 * holds literal values. See env_spec.c.
 */
#include <cjson/cJSON.h>

#include "cache/object.h"

/* A pod of 1.5 MiB, the limit of etcd, holds about ten times that; each costs time per update. */
#define ENV_SPEC_MAX_SOURCES 4096
#define ENV_SPEC_MAX_VOLUMES 256 /* as the sources of a volume */

enum env_source_kind {
    ENV_OBJECT,  /* envFrom: every key of an object is a variable */
    ENV_KEY,     /* env with valueFrom: one key of an object is a variable */
    ENV_FILE,    /* env with valueFrom: one key of a file is a variable (Y35) */
    ENV_LITERAL, /* env with value, in which $(VAR) is expanded */
};

/* One entry of the lists; members that its kind does not use are NULL. */
struct env_source {
    enum env_source_kind kind;
    enum object_kind object_kind;
    const char *object_name;
    const char *name; /* the variable's; the prefix of an ENV_OBJECT */
    const char *key;
    const char *directory; /* of the volume of an ENV_FILE */
    const char *path;      /* of its file, from the directory on */
    const char *value;
    bool is_optional; /* a missing object or key is not an error (O6); a missing file is (Y35) */
};

/* The directory that stands for a volume of the pod. */
struct env_volume {
    const char *name;
    const char *directory;
};

/* Which names of variables are valid. */
enum env_names {
    ENV_NAMES_RELAXED, /* printable ASCII without "=", as since Kubernetes 1.34 (O4) */
    ENV_NAMES_STRICT,  /* as before Kubernetes 1.30 (O3) */
};

struct env_spec {
    enum env_names names;       /* set it before the first entry is added */
    struct env_source *sources; /* in the order of the lists */
    size_t n_sources;
    struct env_volume *volumes; /* add them before the first fileKeyRef */
    size_t n_volumes;
};

void env_spec_deinit(struct env_spec *spec);

/*
 * Add an entry; strings are copied.
 * Return: 0; -EINVAL for a name (of the variable, prefix or object) or a key that Kubernetes
 * refuses; -E2BIG above ENV_SPEC_MAX_SOURCES; -ENOMEM; with @e.
 */
int env_spec_add(struct env_spec *spec, const struct env_source *source, struct error *e);

/* Add "VAR=secret/NAME/KEY" or "VAR=configmap/NAME/KEY". Return: as env_spec_add(). */
int env_spec_add_key(struct env_spec *spec, const char *text, bool is_optional, struct error *e);

/* Add "secret/NAME" or "configmap/NAME", with ":PREFIX" or not. Return: as env_spec_add(). */
int env_spec_add_object(struct env_spec *spec, const char *text, bool is_optional, struct error *e);

/*
 * Add "NAME=DIRECTORY": what a fileKeyRef with this volumeName reads its file in.
 * Return: 0; -EINVAL for a text of another form or a name that is there; -E2BIG above
 * ENV_SPEC_MAX_VOLUMES; -ENOMEM; with @e.
 */
int env_spec_add_volume(struct env_spec *spec, const char *text, struct error *e);

/*
 * Add the lists of a mapping with the members env and envFrom, in the vocabulary of a container.
 * Return: as env_spec_add(); -EINVAL also for a field that is unknown or needs a pod, named in @e.
 */
int env_spec_add_document(struct env_spec *spec, const cJSON *document, struct error *e);

/* As env_spec_add_document() for a file of YAML or JSON. Return: also errors of reading it. */
int env_spec_add_file(struct env_spec *spec, const char *path, struct error *e);

/* Source: kubelet-semantics.md O3, O4. */
bool env_name_is_valid(const char *name, enum env_names names);

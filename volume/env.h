/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An env: the variables of a spec and its objects. It copies no value of an object: a variable
 * points into its object and holds a reference to it. Values in which $(VAR) was expanded are in
 * secret memory of their own. See env.c.
 */
#include "base/buf.h"
#include "volume/env_spec.h"

struct env_variable {
    const char *name;
    const char *bytes; /* without NUL, and not NUL-terminated */
    size_t len;
};

struct env {
    const struct env_variable *variables; /* sorted by name */
    size_t n_variables;
    const char *skipped; /* names that are not valid, sorted, with ", " between; NULL if none */
};

/* What env_compute() asks for. */
struct env_lookup {
    /* Return: the object, borrowed until env_compute() returns; NULL if it does not exist. */
    struct object *(*object)(void *userdata, enum object_kind kind, const char *name);
    /* Read the file of an ENV_FILE. @text: appended to. Return: 0; -errno with @e. */
    int (*file)(void *userdata, const struct env_source *source, struct buf *text, struct error *e);
    void *userdata;
};

/*
 * Compute the variables that a container would be started with. A pure function.
 * @spec: outlives the env
 * Return: 0, *ret_env is the caller's; -ENOENT if an object or a key is missing and not optional
 * (O5); -EBADMSG if a file cannot be read, is invalid, or lacks a key that is not optional (Y35),
 * which no change of an object mends; -EINVAL for a value with a NUL byte (O7); -E2BIG for one that
 * is longer than execve(2) accepts; -ENOMEM; with @e. Source: kubelet-semantics.md O2 to O7, M4,
 * Y33 to Y35.
 */
int env_compute(const struct env_spec *spec, const char *namespace, const struct env_lookup *lookup,
                struct env **ret_env, struct error *e);

/* @env may be NULL. Return: NULL. */
struct env *env_free(struct env *env);
DEFINE_CLEANUP(struct env *, env_free)

/* Whether both have the same names and values. */
bool env_is_same(const struct env *a, const struct env *b);

/* The variable, borrowed; NULL if there is none. */
const struct env_variable *env_find(const struct env *env, const char *name);

/*
 * Make the environment for execve(2): @inherited, borrowed as long, overridden by the variables.
 * Return: the caller's, in secret memory, for secmem_free(); NULL when out of memory.
 */
char **env_vector(const struct env *env, char *const inherited[]);

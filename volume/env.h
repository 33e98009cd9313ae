/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An env: the variables of a spec and its objects. It copies no value of an object: a variable
 * points into its object and holds a reference to it. Values in which $(VAR) was expanded are in
 * secret memory of their own. See env.c.
 */
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

/* Return: the object, borrowed until env_compute() returns; NULL if it does not exist. */
typedef struct object *env_lookup_fn(void *userdata, enum object_kind kind, const char *name);

/*
 * Compute the variables that a container would be started with. A pure function.
 * @spec: outlives the env
 * Return: 0, *ret_env is the caller's; -ENOENT if an object or a key is missing and not optional
 * (O5); -EINVAL for a value with a NUL byte (O7); -E2BIG for one that is longer than execve(2)
 * accepts; -ENOMEM; with @e.
 * Source: kubelet-semantics.md O2 to O7, M4, Y33, Y34.
 */
int env_compute(const struct env_spec *spec, const char *namespace, env_lookup_fn *lookup,
                void *userdata, struct env **ret_env, struct error *e);

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

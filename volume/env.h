/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An env: the variables that a spec and its objects make. It copies no value of an object: a
 * variable points into the object that it came from and holds a reference to it. What an expansion
 * of $(VAR) made lies in secret memory of its own.
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

/* Return: the object, borrowed until env_compute() returns; NULL if there is no such object. */
typedef struct object *env_lookup_fn(void *userdata, enum object_kind kind, const char *name);

/*
 * Compute what a container would be started with: objects in their order, then single variables in
 * theirs, later ones over earlier ones (O2).
 * @spec: outlives the env
 * Return: 0, *ret_env is the caller's; -ENOENT when an object or a key is missing that is not
 * optional (O5); -EINVAL for a value with a NUL byte (O7); -E2BIG for one that is longer than
 * execve(2) takes; -ENOMEM; with @e.
 * Source: kubelet-semantics.md O2 to O7, M4.
 */
int env_compute(const struct env_spec *spec, const char *namespace, env_lookup_fn *lookup,
                void *userdata, struct env **ret_env, struct error *e);

/* Return: NULL; NULL is fine. */
struct env *env_free(struct env *env);
DEFINE_CLEANUP(struct env *, env_free)

/* Whether a process would see no difference. */
bool env_is_same(const struct env *a, const struct env *b);

/* The variable, borrowed; NULL if there is none. */
const struct env_variable *env_find(const struct env *env, const char *name);

/*
 * Make what execve(2) takes: @inherited, which has to live as long, with the variables over it.
 * Return: the caller's, in secret memory, to be given to secmem_free(); NULL for want of memory.
 */
char **env_vector(const struct env *env, char *const inherited[]);

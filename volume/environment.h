/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An environment: follows the objects of an env spec and computes its variables. See environment.c.
 *
 * Thread: the event loop's.
 */
#include "cache/store.h"
#include "volume/env.h"
#include "volume/missing.h"

struct environment;

enum environment_state {
    ENVIRONMENT_WAITING, /* no env yet */
    ENVIRONMENT_CURRENT, /* the env equals the source */
    ENVIRONMENT_STALE,   /* the env is the last good one; environment_error() says why */
};

struct environment_callbacks {
    /* environment_env() has changed. */
    void (*changed)(void *userdata);
    /* State, error or the source's state may have changed. */
    void (*state)(void *userdata);
};

/*
 * @spec: outlives the environment
 * @namespace: borrowed as long
 * @callbacks: outlive the environment; may be called before this returns
 * Return: 0, *ret_environment is the caller's; -ENOMEM; the source's errors, with @e.
 */
int environment_new(struct store *store, const struct env_spec *spec, const char *namespace,
                    const struct environment_callbacks *callbacks, void *userdata,
                    struct environment **ret_environment, struct error *e);
struct environment *environment_free(struct environment *environment);
DEFINE_CLEANUP(struct environment *, environment_free)

enum environment_state environment_state(const struct environment *environment);

/* The newest good env, borrowed until the next change; NULL before the first. */
const struct env *environment_env(const struct environment *environment);

/* Why the state is not ENVIRONMENT_CURRENT; "" while there is no reason. Borrowed. */
const char *environment_error(const struct environment *environment);

/* Why the source fails, for the first object concerned; "" if it does not. Borrowed. */
const char *environment_source_error(const struct environment *environment);

/* The first object or key that is missing and not optional. Return: whether there is one. */
bool environment_find_missing(const struct environment *environment, struct missing *ret_missing);

/*
 * Whether there is no env because a file of the spec is missing or invalid, see
 * environment_error(). Files are read when an object changes, and are not watched.
 */
bool environment_lacks_file(const struct environment *environment);

/* Whether the source has answered about each object, be it with a failure. */
bool environment_is_answered(const struct environment *environment);

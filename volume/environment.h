/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An environment: follows the objects of an env spec and says what its variables are.
 *
 * As with a volume, whatever goes wrong after the first env leaves that env in place.
 *
 * Thread: the event loop's.
 */
#include "cache/store.h"
#include "volume/env.h"

struct environment;

enum environment_state {
    ENVIRONMENT_WAITING, /* no env yet */
    ENVIRONMENT_CURRENT, /* the env is what the source has */
    ENVIRONMENT_STALE,   /* the env is the last good one; environment_error() says what is wrong */
};

struct environment_callbacks {
    /* There is an env that differs from the one before: see environment_env(). */
    void (*changed)(void *userdata);
    /* State, error or the source's state may have changed. */
    void (*state)(void *userdata);
};

/*
 * @spec: outlives the environment
 * @namespace: borrowed as long
 * @callbacks: outlive the environment; may be called before this returns
 * Return: 0, *ret_environment is the caller's; -ENOMEM; what the source said, with @e.
 */
int environment_new(struct store *store, const struct env_spec *spec, const char *namespace,
                    const struct environment_callbacks *callbacks, void *userdata,
                    struct environment **ret_environment, struct error *e);
struct environment *environment_free(struct environment *environment);
DEFINE_CLEANUP(struct environment *, environment_free)

enum environment_state environment_state(const struct environment *environment);

/* The newest good env, borrowed until the next change; NULL before the first. */
const struct env *environment_env(const struct environment *environment);

/* Why the state is not ENVIRONMENT_CURRENT; "" while there is nothing to say. Borrowed. */
const char *environment_error(const struct environment *environment);

/* What keeps the source from delivering, of the first object concerned; "" if nothing does. */
const char *environment_source_error(const struct environment *environment);

/* Whether the source has answered about every object, be it with a failure. */
bool environment_is_answered(const struct environment *environment);

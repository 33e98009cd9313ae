/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A lock that is held for a scope. */
#include <pthread.h>

#include "base/cleanup.h"

static inline void lock_release(pthread_mutex_t **mutex)
{
    pthread_mutex_unlock(*mutex);
}

/* Hold a mutex until the end of the enclosing block. One in each block. */
#define LOCK_GUARD(mutex)                                                                          \
    _cleanup_(lock_release) pthread_mutex_t *_guarded = (mutex);                                   \
    pthread_mutex_lock(_guarded)

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A Secret of type kubernetes.io/tls: whether its key matches its certificate, and its expiry. */
#include "base/clock.h"
#include "cache/object.h"

#define TLS_TYPE "kubernetes.io/tls"

struct tls_pair {
    struct error fault; /* why it is not a pair: names keys, never bytes; empty if it is one */
    struct timespec not_after; /* expiry of the first certificate; 0 if it could not be read */
};

/* Whether the object is a Secret of that type. */
static inline bool tls_is_pair(const struct object *object)
{
    return object->key.kind == OBJECT_SECRET && streq(object->type, TLS_TYPE);
}

/* Read certificate and key of a tls_is_pair(); what is wrong with them is in ret_pair->fault. */
void tls_pair_check(const struct object *object, struct tls_pair *ret_pair);

/* Return: whether the pair does not match or is expired, then with the reason in @e. */
bool tls_pair_problem(const struct tls_pair *pair, struct timespec now, struct error *e);

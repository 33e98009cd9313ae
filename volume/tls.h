/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A Secret of type kubernetes.io/tls: does the key belong to the certificate, and until when. */
#include "base/clock.h"
#include "cache/object.h"

#define TLS_TYPE "kubernetes.io/tls"

struct tls_pair {
    struct error fault;        /* why it is no pair, naming keys and never bytes; empty if it is */
    struct timespec not_after; /* the end of the first certificate; 0 if it could not be read */
};

/* Whether there is a pair to be looked at. */
static inline bool tls_is_pair(const struct object *object)
{
    return object->key.kind == OBJECT_SECRET && streq(object->type, TLS_TYPE);
}

void tls_pair_check(const struct object *object, struct tls_pair *ret_pair);

bool tls_pair_is_over(const struct tls_pair *pair, struct timespec now);

/* What is wrong with the pair now. Return: whether there is anything, then in @e. */
bool tls_pair_problem(const struct tls_pair *pair, struct timespec now, struct error *e);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The certificates of trust bundles as one: each of them once, in an order that depends on nothing
 * but the certificates.
 */
#include "base/buf.h"
#include "base/error.h"

struct trust_anchor {
    uint8_t *der; /* OpenSSL's */
    size_t len;
};

/* Begins zeroed. */
struct trust_anchors {
    struct trust_anchor *list;
    size_t n, capacity;
};

/*
 * Add all blocks of @pem. Their types, headers and the text around them do not count; the API
 * server has checked that they are certificates.
 * Return: 0; -EINVAL with @e for a damaged block, and for a text without one; -ENOMEM with @e.
 * Source: Y16, Y17.
 */
int trust_anchors_add(struct trust_anchors *anchors, const char *pem, struct error *e);

/*
 * Sort, and append blocks of the type CERTIFICATE, with 64 columns.
 * Return: 0; -EFBIG beyond the limit of @pem; -ENOMEM.
 */
int trust_anchors_print(struct trust_anchors *anchors, struct buf *pem);

void trust_anchors_deinit(struct trust_anchors *anchors);

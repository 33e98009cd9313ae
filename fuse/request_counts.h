/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * FUSE requests, counted by kind.
 *
 * Thread: any.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_KINDS 64 /* opcodes; those past the end count as the last */

/* Embedded; zero to begin with. */
struct request_counters {
    atomic_uint_least64_t n[REQUEST_KINDS];
};

/* @opcode: FUSE_*. Return: a constant, as in the status; "other" for an unknown one. */
const char *request_kind_name(uint32_t opcode);

/* @request, @len: as read from the device */
void request_counters_count(struct request_counters *counters, const void *request, size_t len);

/* What counters said at one time; zero to begin with. */
struct request_counts {
    uint64_t n[REQUEST_KINDS];
};

/* Add what @counters say now, of a session that goes on meanwhile. Thread: any. */
void request_counts_add(struct request_counts *counts, const struct request_counters *counters);

/* Visit the kinds of which there was at least one. @kind: static */
typedef void request_counts_visit_fn(void *userdata, const char *kind, uint64_t count);
void request_counts_visit(const struct request_counts *counts, request_counts_visit_fn *visit,
                          void *userdata);

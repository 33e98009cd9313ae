/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A line of the audit: one JSON object, of names, numbers and times, never of a value. Pure.
 *
 * Processes choose their names, and users those of units and mount points: what a terminal does not
 * print is a "?", and each text is bounded, so that a line is.
 */
#include <time.h>

#include "cache/object.h"
#include "consumers/identity.h"

/* More than the longest texts of all members take, if each character is escaped. */
#define AUDIT_LINE_SIZE 8192u

/* What a volume is called. The strings are borrowed. */
struct audit_volume {
    const char *namespace;
    const char *pod;        /* NULL: it has none; then the mount point names it */
    const char *mountpoint; /* its first 512 bytes count */
};

/* Borrowed, as what it points to. */
struct audit_open {
    struct timespec at;
    const struct consumer_identity *identity; /* NULL: the process ended before it was identified */
    pid_t pid;                                /* 0: in another pid namespace */
    const struct object_key *object;
    const char *key;
    const char *version; /* resourceVersion; "" if unknown */
};

/*
 * Each writes a line with its line break.
 * Return: its length, without the NUL.
 */
size_t audit_line_open(const struct audit_volume *volume, const struct audit_open *open,
                       char ret_line[static AUDIT_LINE_SIZE]);
/* So many lines were dropped. @volume: NULL: of volumes that are not known any more, or of all */
size_t audit_line_dropped(const struct audit_volume *volume, struct timespec at, uint64_t n,
                          char ret_line[static AUDIT_LINE_SIZE]);
/* The kernel dropped events, so that opens of any volume are missing. */
size_t audit_line_lost(struct timespec at, char ret_line[static AUDIT_LINE_SIZE]);

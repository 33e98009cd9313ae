/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The publisher's lines of the trace, which the loop writes: the publisher's thread has no
 * descriptor for the log.
 *
 * Thread: any that holds the publisher's lock.
 */
#include "fuse/writer.h"

/* What a thread does in one turn of the loop; further steps are counted. */
#define PUBLISH_TRACE_MAX 64

struct publish_trace_line {
    const char *message;
    const char *action; /* NULL for none */
    char volume[64];    /* "" for none; longer names are cut */
    char generation[GENERATION_NAME_SIZE];
    int error; /* 0 or -errno */
};

/* Embedded; zero to begin with. */
struct publish_trace {
    struct publish_trace_line lines[PUBLISH_TRACE_MAX];
    size_t n;
    size_t n_dropped;
};

/* @line: constants are borrowed, the rest copied. Return: whether the loop has lines to write. */
bool publish_trace_add(struct publish_trace *trace, const struct publish_trace_line *line,
                       const char *volume);

/* Log the lines and drop them. */
void publish_trace_write(struct publish_trace *trace);

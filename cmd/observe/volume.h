/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One volume that is watched: what it shows, and the record of the update that is under way. See
 * volume.c.
 */
#include <limits.h>

#include "cmd/observe/opens.h"
#include "cmd/observe/record.h"

/* First opens of a version that are printed, by process and file. */
#define OBSERVED_READERS_MAX 256u

struct observed_reader {
    pid_t pid;
    uint64_t start_ticks;
    ino_t inode;
};

struct observed;

/* A record is over, which the callback empties. Return: 0; another value ends observed_read(). */
typedef int observed_over_fn(void *userdata, struct observed *volume, struct error *e);

struct observed {
    const char *path; /* borrowed */
    observed_over_fn *over;
    void *userdata;
    int inotify_fd;
    struct snapshot shown;
    char generation[NAME_MAX + 1];
    struct record record;
    mono_us shown_at; /* 0: before this program began */
    pid_t server;     /* the process of secretfs that serves it; 0: none, or unknown */
    unsigned long n_updates;
    struct observed_reader readers[OBSERVED_READERS_MAX];
    size_t n_readers;
};

/*
 * Set path, over and userdata before.
 * Return: 0, its record has the content; -EINVAL: it is not a volume; -errno; with @e.
 * observed_deinit() follows both.
 */
int observed_init(struct observed *volume, struct error *e);
void observed_deinit(struct observed *volume);

/*
 * Read events that have arrived. The caller finds out when they pause.
 * Return: 0; what over() returned; -ENODEV: the volume is gone; -errno; with @e.
 */
int observed_read(struct observed *volume, struct error *e);

/* Add to the record what secretfs says of the update, if that serves the volume. */
void observed_complete(struct observed *volume);

/*
 * Whether an open is of a file that the volume shows, by a process other than those that write it,
 * and the first one of that file in this version.
 * Return: the file's path, borrowed until the next update; NULL: it is not.
 */
const char *observed_open(struct observed *volume, const struct opens *opens,
                          const struct opened *opened);

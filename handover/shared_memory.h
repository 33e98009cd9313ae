/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Secret memory that outlives the process: its descriptor can be stored. It is neither swapped nor
 * dumped nor copied to a child, and its size cannot be changed. See shared_memory.c.
 */
#include "base/error.h"

/* Embedded. Zeroed is empty, but for fd. */
struct shared_memory {
    int fd; /* -1: none */
    void *bytes;
    uint64_t size;
};

#define SHARED_MEMORY_NONE                                                                         \
    (struct shared_memory)                                                                         \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

/* @size: is rounded up to pages, which are allocated as they are first used. Return: 0; -errno. */
int shared_memory_new(uint64_t size, struct shared_memory *ret_memory);

/*
 * Map the memory of another process.
 * Return: 0, @fd_consumed is the memory's; -EINVAL: no such memory; -errno. Then @fd_consumed is
 * closed.
 */
int shared_memory_open(int fd_consumed, struct shared_memory *ret_memory);
/* The same, for reading only: another process writes to it. */
int shared_memory_open_read_only(int fd_consumed, struct shared_memory *ret_memory);

/* Another process that has the descriptor keeps the content. Return: an empty one, in place. */
void shared_memory_deinit(struct shared_memory *memory);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The open files of a file system that answers OPEN, by their handles: the number in the reply to
 * OPEN that the kernel sends with each later request about the open file (fh), until RELEASE. A
 * handle means the same to the next process of the mount, which finds its open files in the state.
 *
 * Thread: any that holds the tree's lock.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What is known of an open file; another process goes on with it. */
#define OPEN_FILE_CACHED      0x01u /* of an immutable file: the kernel's pages are read */
#define OPEN_FILE_READ        0x02u /* to its end */
#define OPEN_FILE_MAPPED      0x04u /* pages were read through it: it shows the newest content */
#define OPEN_FILE_FLUSHED     0x08u /* a descriptor of it was closed */
#define OPEN_FILE_NEEDS_FLUSH 0x10u /* its thread may have an older version open */
#define OPEN_FILE_DROPPED     0x20u /* its version lost its content to a limit */
#define OPEN_FILE_FLAGS       0x3fu

/* Embedded. */
struct open_file {
    uint64_t handle;  /* not 0 */
    uint64_t node;    /* id */
    uint64_t version; /* of a live file */
    uint64_t unique;  /* of the OPEN request */
    pid_t thread;     /* the reader's; 0: unknown */
    uint32_t flags;
};

/* The kernel lets processes open fewer files than that. A handle has 32 bits for the index. */
#define OPEN_TABLE_MAX (1u << 24)

struct open_slot {
    struct open_file *file; /* NULL: free */
    uint32_t next_free;
};

/* Embedded; zero is empty. Members are open_table.c's alone; others read n_slots. */
struct open_table {
    struct open_slot *slots;
    uint32_t n_slots;
    uint32_t first_free; /* index + 1; 0: none */
};

/* No file is open any more. */
void open_table_deinit(struct open_table *table);

/* Add a file, and give it a handle. Return: 0; -ENOMEM; -ENFILE. */
int open_table_add(struct open_table *table, struct open_file *file);
/*
 * Add one of an earlier process, with its handle. open_table_end_adopting() is to follow the last
 * one. Return: 0; -EEXIST; -EINVAL; -ENOMEM.
 */
int open_table_adopt(struct open_table *table, struct open_file *file);
void open_table_end_adopting(struct open_table *table);
void open_table_remove(struct open_table *table, const struct open_file *file);

/* Return: NULL if there is none. */
struct open_file *open_table_find(const struct open_table *table, uint64_t handle);
/* The one that an OPEN request has made. */
struct open_file *open_table_find_request(const struct open_table *table, uint64_t unique);

/* The place of a handle: less than n_slots. */
uint32_t open_table_index(uint64_t handle);
/* Return: the open file at a place, or NULL. */
struct open_file *open_table_at(const struct open_table *table, uint32_t index);

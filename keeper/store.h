/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Stored descriptors with their names, in the order of storing. The keeper never reads from one,
 * writes to one or maps one: it duplicates, polls and closes them.
 */
#include <poll.h>

#include "keeper/message.h"

/* All of them go in one message to a client: SCM_MAX_FD of the kernel. */
#define KEEPER_FDS_MAX     253
#define KEEPER_FIRST_PLACE 3 /* of a stored descriptor in a new process: SD_LISTEN_FDS_START */

struct keeper_entry {
    int fd;
    bool is_polled; /* closed when poll(2) reports POLLHUP or POLLERR */
    char name[KEEPER_NAME_MAX + 1];
};

struct keeper_store {
    struct keeper_entry entries[KEEPER_FDS_MAX];
    size_t n;
    size_t max; /* at most KEEPER_FDS_MAX */
};

/*
 * Store a descriptor, which is the store's from here on, also when it is closed because it is not
 * stored.
 * @name: valid
 */
enum keeper_put {
    KEEPER_PUT_STORED,
    KEEPER_PUT_DUPLICATE, /* the same open file is stored, under the name that it was given first */
    KEEPER_PUT_FULL,
};
enum keeper_put keeper_store_put(struct keeper_store *store, int consume_fd, const char *name,
                                 bool is_polled);

/* Close all descriptors of this name. Return: how many. */
size_t keeper_store_remove(struct keeper_store *store, const char *name);
void keeper_store_clear(struct keeper_store *store);

/* Write one element for each stored descriptor; the fd of one that is not polled is -1. */
void keeper_store_fill_polled(const struct keeper_store *store, struct pollfd *polled);
/*
 * Close the descriptors that hung up.
 * @polled: as keeper_store_fill_polled() wrote them, the store unchanged since, and poll(2) after
 * it Return: how many.
 */
size_t keeper_store_close_hung(struct keeper_store *store, const struct pollfd *polled);

/* Names with ":" between them, as in LISTEN_FDNAMES. */
#define KEEPER_NAMES_SIZE ((size_t)KEEPER_FDS_MAX * (KEEPER_NAME_MAX + 1) + 1)
void keeper_store_join_names(const struct keeper_store *store, char ret_names[KEEPER_NAMES_SIZE]);

/*
 * Make the stored descriptors 3, 4, ... of this process, not close-on-exec. For a forked child
 * before execve(2): what was open with these numbers is replaced. Return: 0; -errno.
 */
int keeper_store_place(const struct keeper_store *store);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Memory for secret bytes that stay: locked into RAM, kept out of core dumps and of forked
 * children, and wiped on release. One block is one mapping, so it goes back to the kernel whole.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "base/error.h"

/*
 * Harden the process as a whole; called once, before the first secret arrives: no core dumps, no
 * ptrace by other processes of the user, and all memory locked as far as the limits allow (as root
 * everything, transient copies included; otherwise just what secmem_alloc() returns).
 * Return: 0; 1 when only the blocks can be locked; -errno with @e when core dumps could not be
 * switched off.
 */
#define SECMEM_BLOCKS_ONLY 1
int secmem_harden(struct error *e);

/*
 * As secmem_harden(), for a process that starts programs for somebody: the hard limit of core files
 * stays, as an ordinary user could not give it back to them.
 */
int secmem_harden_lending(struct error *e);

/*
 * What secmem_harden_lending() changes and a program would inherit. One that is started for
 * somebody is to find these as they were: whether it may dump core is not ours to say.
 */
struct secmem_inherited {
    struct rlimit core;
    struct rlimit memlock;
    int filter_fd; /* of /proc/self/coredump_filter; -1 if there is none */
    unsigned filter;
};

/* Keep what is there now; to be called before secmem_harden_lending(). */
void secmem_inherited_save(struct secmem_inherited *ret_inherited);
void secmem_inherited_deinit(struct secmem_inherited *inherited);
/* Put it in place for a program to be started, and take it back. The process stays undumpable. */
void secmem_inherited_lend(const struct secmem_inherited *inherited);
void secmem_inherited_unlend(const struct secmem_inherited *inherited);

/*
 * Return: zeroed memory of @len bytes, the caller's to give to secmem_free(); NULL when there is no
 * memory. A block that cannot be locked is still returned and counted in secmem_unlocked_bytes().
 * Thread: any.
 */
void *secmem_alloc(size_t len);

/* Forbid writing to a block from now on, until it is freed. */
void secmem_seal(void *block);

/* Wipe and unmap. NULL is fine. Thread: any. */
void secmem_free(void *block);

size_t secmem_bytes(void);          /* in blocks now, whole pages */
size_t secmem_unlocked_bytes(void); /* the part of it that could not be locked */

/* How much this process may lock after secmem_harden(). Return: bytes; -1 for any amount. */
int64_t secmem_lockable_bytes(void);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Memory for secret bytes that live long: locked into RAM, kept out of core dumps and of forked
 * children, and wiped when it is freed. See secmem.c.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "base/error.h"

/*
 * Harden the process as a whole, once, before the first secret arrives: no core dumps, no ptrace by
 * other processes of the user, and memory locked as far as the limits allow: as root all of it,
 * transient copies included; else the blocks of secmem_alloc() only.
 * Return: 0; SECMEM_BLOCKS_ONLY; -errno with @e if core dumps cannot be turned off.
 */
#define SECMEM_BLOCKS_ONLY 1
int secmem_harden(struct error *e);

/*
 * As secmem_harden(), for a process that starts a user's programs: the hard limit of core files is
 * unchanged, as an ordinary user could not restore it for them.
 */
int secmem_harden_restorable(struct error *e);

/*
 * Settings that secmem_harden_restorable() changes and a started program would inherit. It gets the
 * user's settings instead: whether it may dump core is the user's choice.
 */
struct secmem_inherited {
    struct rlimit core;
    struct rlimit memlock;
    int filter_fd; /* of /proc/self/coredump_filter; -1 if there is none */
    unsigned filter;
};

/* Save the present settings; call it before secmem_harden_restorable(). */
void secmem_inherited_save(struct secmem_inherited *ret_inherited);
void secmem_inherited_deinit(struct secmem_inherited *inherited);
/* Restore the settings for a program that is being started, and undo it. The process itself stays
 * undumpable. */
void secmem_inherited_restore(const struct secmem_inherited *inherited);
void secmem_inherited_undo_restore(const struct secmem_inherited *inherited);

/*
 * Return: zeroed memory of @len bytes, for secmem_free(); NULL when out of memory. A block that
 * cannot be locked is returned, too, and counted in secmem_unlocked_bytes().
 * Thread: any.
 */
void *secmem_alloc(size_t len);

/* Make a block read-only until it is freed. */
void secmem_seal(void *block);

/* Wipe and unmap. @block may be NULL. Thread: any. */
void secmem_free(void *block);

/* What blocks take now, in whole pages; the part of it that could not be locked. Thread: any. */
size_t secmem_bytes(void);
size_t secmem_unlocked_bytes(void);

/* Return: how many bytes the process may lock after secmem_harden(); -1: no limit. */
int64_t secmem_lockable_bytes(void);

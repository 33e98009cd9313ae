/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A keeper's own directory, for its notification socket. See directory.c. */
#include <stddef.h>

#define KEEPER_DIRECTORY_SIZE 64 /* of its path */
#define KEEPER_SOCKET_NAME    "notify"

/*
 * Make one that only this user can enter, in the first of some directories.
 * @parents: @n paths; NULL and relative ones are left out
 * @ret_path: "" on failure
 * Return: a descriptor, the caller's: while it is open the directory is in use; -errno.
 */
int keeper_directory_make(const char *const *parents, size_t n,
                          char ret_path[static KEEPER_DIRECTORY_SIZE]);

/* Remove those below @parent that keepers of this user have left which were killed. */
void keeper_directory_remove_abandoned(const char *parent);

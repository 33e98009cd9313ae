/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A reflector keeps one object in the store equal to what the API server has for its key: it lists
 * that once, then watches it. See reflector.c; its states are those of watch.c.
 *
 * Any of its calls may end in a subscriber of the store that frees the reflector.
 *
 * Thread: the event loop's.
 */
#include "cache/store.h"
#include "fetcher/api/watch.h"

struct reflector;

/*
 * @store, @key, @io: borrowed, outlive the reflector
 * Return: 0, *ret_reflector is the caller's; -ENOMEM.
 */
int reflector_new(struct store *store, const struct object_key *key, const struct watch_io *io,
                  void *userdata, struct reflector **ret_reflector);
/* May be called from within any of the store's callbacks. Return: NULL. */
struct reflector *reflector_free(struct reflector *reflector);
DEFINE_CLEANUP(struct reflector *, reflector_free)

/* To start it, and to report what happens to its requests. */
struct watch *reflector_watch(struct reflector *reflector);

/* If the object is immutable and therefore not watched: list it again. */
void reflector_refresh(struct reflector *reflector);

/*
 * Notice within a minute when the API server withdraws the right to read the object. It does not
 * end a watch because of that, so from now on watches are short.
 */
void reflector_check_rights(struct reflector *reflector);

/* How many watches were opened after the first one, for any reason. */
unsigned long reflector_restarts(const struct reflector *reflector);

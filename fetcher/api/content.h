/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a reflector does to the store: how its objects are requested, and what it makes of them. The
 * lists, watches and retries are the reflector's. One content for each key, by the key's kind.
 *
 * A call may end in a subscriber of the store that frees the reflector; the content lives until
 * ops->free().
 *
 * Thread: the event loop's.
 */
#include "base/buf.h"
#include "cache/store.h"
#include "encoding/json.h"

struct content_ops;

struct content {
    const struct content_ops *ops;
    struct store *store;
    const struct object_key *key; /* the store's */
};

/*
 * replace(), put() and remove() Return: 0; -ENOMEM, after which only another list helps; another
 * error, with @e, if the objects as they are now cannot be used: the store keeps what it has.
 */
struct content_ops {
    const char *allow; /* the remedy of a 403, see protocol_explain_refusal() */
    /* Append the path, with its query up to the selectors. Return: as buf_add(). */
    int (*add_path)(const struct content *content, struct buf *path);
    /* Whether an object of the kind belongs to the key. */
    bool (*is_own)(const struct content *content, const cJSON *object);
    /* Whether a list has older objects than the store; NULL: not known. */
    bool (*is_older)(const struct content *content, const cJSON *items);
    /* A list: these are all objects. */
    int (*replace)(struct content *content, const cJSON *items, mono_us received_at,
                   struct error *e);
    /* An object of the key was added or modified, or deleted. */
    int (*put)(struct content *content, const cJSON *object, mono_us received_at, struct error *e);
    int (*remove)(struct content *content, const cJSON *object, mono_us received_at,
                  struct error *e);
    /* Whether the object cannot change any more (G19). NULL: never. */
    bool (*is_immutable)(const struct content *content);
    /*
     * The server does not know the path (404). NULL: a path that each API server has.
     * Return: whether add_path() gives another one now; false with @e, and add_path() begins again.
     */
    bool (*next_path)(struct content *content, struct error *e);
    void (*free)(struct content *content);
};

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The records of a tree. Each is the whole of a node at one time, not what was done to it: the last
 * record of an id is what counts. So the state after any commit is a tree, and reading it needs no
 * knowledge of calls.
 *
 *   NODE     id, parent, name, attributes; of a link its target.
 *            Without a parent: unlinked, but the kernel may hold it
 *   OBJECT   names of the object that owns the contents that refer to this record
 *   CONTENT  the bytes of a file. They are the record's unchecked part, with a checksum of
 *            their own: when the file is freed, or has other content, they are overwritten
 *   VERSION  the same of an older version of a live file.
 *            It counts as long as an open file of it has a place (open_state.c)
 *   FREED    the kernel has forgotten the node
 *
 * Contents of one OBJECT record become one object again, so that what was one block of locked
 * memory is one in the next process as well.
 *
 * tree_recorder.c writes them, tree_state.c reads them.
 */
#include "handover/open_state.h"
#include "volume/payload.h"

enum record_type {
    RECORD_NODE = 1,
    RECORD_OBJECT = 2,
    RECORD_CONTENT = 3,
    RECORD_FREED = 4,
    RECORD_VERSION = 5,
    RECORD_OPENS = OPEN_STATE_TYPE,
};

#define FLAG_UNLISTED    0x01u
#define FLAG_LIVE        0x02u
#define FLAG_HAS_CONTENT 0x04u
#define FLAG_UNANNOUNCED 0x08u
#define FLAG_NEW         0x10u
#define FLAG_REMOVED     0x20u
#define FLAGS_KNOWN      0x3fu

/* A path, or a name and a target: what follows the checked part of a node. */
#define TEXTS_MAX ((size_t)2 * PAYLOAD_PATH_MAX)

#define OBJECT_TEXTS     5
#define OBJECT_TEXT_SIZE ((size_t)256)

/* The checked part of a record of a node, before name and target. */
struct stored_node {
    uint64_t id;
    uint64_t parent; /* 0: unlinked; the root is its own */
    uint64_t cookie;
    uint64_t next_cookie; /* of a directory */
    uint64_t held_for;    /* of a file */
    uint64_t content_len; /* the same */
    uint64_t live_version;
    int64_t changed_s;
    uint32_t changed_ns;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t name_len;
    uint32_t target_len;
    uint32_t kind;
    uint32_t flags;
};

struct stored_object {
    uint32_t kind;
    uint32_t is_immutable;
    uint32_t lens[OBJECT_TEXTS]; /* of namespace, name, uid, resourceVersion, type, which follow */
    uint32_t reserved;
};

struct stored_content {
    uint64_t id;
    uint64_t object_at; /* offset of its RECORD_OBJECT */
    uint64_t sum;
};

struct stored_version {
    uint64_t id;
    uint64_t number;
    uint64_t object_at; /* as above */
    uint64_t sum;
    uint64_t len; /* also of content that was dropped */
    uint64_t volume;
    int64_t changed_s;
    uint64_t changed_ns;
};

_Static_assert(sizeof(struct stored_node) == 96, "no padding");
_Static_assert(sizeof(struct stored_object) == 32, "no padding");

/* No node has this id. */
#define ID_OF_REMOVED 0u

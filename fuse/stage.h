/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The stage: what the next mkdir or mknod through the mount makes. Content does not travel through
 * the system calls: the publisher stages it in the tree, and the call of that name makes a
 * directory that is full at once, or a file.
 *
 * Thread: any that holds the tree's lock.
 */
#include <sys/types.h>

#include "volume/payload.h"

struct node;
struct node_table;

/* Threads that change a tree at a time, each with a stage of its own: see publisher_pool.h. */
#define STAGES_MAX 65u

struct staged_node {
    const struct payload_file *file; /* a live file with this content; borrowed */
    uint64_t volume;                 /* that it belongs to: node id of the directory */
    bool is_committed;               /* the volume shows it: see enum live_presence */
    uint64_t copy_of;                /* or a copy of that node, with all that is below it */
    uint64_t again;                  /* or that unlinked node gets a name again */
};

/* Embedded; zero to begin with. Members are stage.c's alone. */
struct stage {
    pid_t thread;       /* whose next call makes it; 0: nothing is staged */
    char *payload_name; /* of the directory that is filled with the payload; NULL for none */
    struct payload *payload;
    bool is_live;
    struct staged_node node;
};

void stage_deinit(struct stage *stage);

/*
 * A directory @name is made with the files of @payload, and what directories their paths need (F2:
 * 0755). NULL forgets it.
 * @payload: a reference is taken
 * @is_live: whether the files are live
 * Return: 0 or -ENOMEM, then what was staged stays.
 */
int stage_set_payload(struct stage *stage, const char *name, struct payload *payload, bool is_live);
/* NULL: none. */
void stage_set_node(struct stage *stage, const struct staged_node *node);

/*
 * Take the stage of @thread out of STAGES_MAX of them, or a free one, and let go of one that is
 * empty.
 */
struct stage *stage_take(struct stage *stages, pid_t thread);
void stage_release(struct stage *stage);
/* Return: the stage of @thread; an empty one if nothing is staged by it. */
const struct stage *stage_peek(const struct stage *stages, pid_t thread);

/*
 * Make what is staged, under a name that is free.
 * Return: 0, *ret_node is linked; -ENOMEM; -ESTALE when the staged node is gone or of another kind;
 * of a file -EROFS when nothing is staged. A directory for which nothing is staged is empty.
 */
int stage_make_directory(const struct stage *stage, struct node_table *t, struct node *parent,
                         const char *name, mode_t mode, struct node **ret_node);
int stage_make_file(const struct stage *stage, struct node_table *t, struct node *parent,
                    const char *name, struct node **ret_node);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The data of the publisher, and what its two halves do with it: publisher.c, on the loop's thread,
 * and publisher_steps.c, on the publisher's threads. Other files use publisher.h.
 *
 * Thread: the loop's and the publisher's, with the lock held, unless said otherwise.
 */
#include <pthread.h>

#include <systemd/sd-event.h>

#include "base/list.h"
#include "fuse/mount_monitor.h"
#include "fuse/publish_queue.h"
#include "fuse/publish_trace.h"
#include "fuse/publisher_outcome.h"
#include "fuse/publisher_pool.h"
#include "fuse/update_room.h"
#include "fuse/volume_writer.h"

struct publisher_volume {
    struct publisher *publisher;
    struct volume_writer writer; /* that of the thread that works on the volume */
    mono_us update_received_at;  /* the same, of the update under way */
    const struct publisher_callbacks *callbacks;
    void *userdata;

    /* under the publisher's lock */
    struct publish_entry entry;
    bool keeps_directory;    /* when it is removed */
    struct payload *pending; /* submitted; NULL for none */
    mono_us pending_received_at;
    struct update_room room;
    struct list finished; /* in publisher.finished until the loop has fetched the result */
    struct publisher_result result;
    size_t n_mounted_parts;
    uint64_t directory_id; /* once it is known; else 0 */
    bool lets_opens;       /* see publisher_let_opens() */
    mono_us blocked_since; /* 0: no thread is blocked */
    struct list changed;   /* in publisher.changed_volumes until the loop has fetched these two */
    int target_fd;         /* the process's, not the thread's; -1 if there is none */
    bool is_binding;       /* a thread uses target_fd */
    unsigned long mount_attr; /* of the binding, as what follows */
    publisher_bound_fn *on_bound;
    void *bound_userdata;
    struct list bound; /* in publisher.bound until the loop has fetched the outcome */
    int bound_error;
    uint64_t mount_id;
    struct kept_error bound_text;
};

struct publisher_thread {
    struct publisher *publisher;
    pthread_t thread;
    pthread_cond_t gets_lead; /* while it stands by */

    /* under the publisher's lock */
    struct publisher_member member;
    struct publisher_volume *volume; /* it works on that, without the lock; NULL for none */
};

struct publisher {
    struct session *session;
    struct volume_writer_host writers;
    struct mount_subscription *mounts; /* NULL: what is mounted alone is not known */
    int done_fd; /* eventfd: there is an outcome, or the loop has to look after the threads */
    sd_event_source *done_source;
    sd_event_source *check_timer; /* when the leader may be blocked */

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    struct publish_queue queue;
    struct publisher_pool pool;
    bool is_checked;  /* check_timer is set */
    void *by_name;    /* tsearch(3) tree of volumes */
    size_t n_volumes; /* in it */
    uint64_t room;    /* the sum of all volumes */
    void *by_group;   /* the same of groups */
    struct list finished;
    struct list bound;
    struct list changed_volumes;
    struct publish_trace trace;
    bool is_stopping;
    bool must_resume; /* opens, which the loop has not done */
    bool is_probed;   /* and the loop has not fetched that */
    publisher_probed_fn *probed;
    void *probed_userdata;
};

static inline struct publisher_volume *publisher_volume_of(struct publish_entry *entry)
{
    return CONTAINER_OF(entry, struct publisher_volume, entry);
}

static inline struct publisher_thread *publisher_thread_of(struct publisher_member *member)
{
    return CONTAINER_OF(member, struct publisher_thread, member);
}

/* Takes the place of a removed volume of the name. Return: 0 or -ENOMEM. */
int publisher_index_volume(struct publisher *p, struct publisher_volume *v);
/* Without effect when another volume has its place. */
void publisher_unindex_volume(struct publisher *p, struct publisher_volume *v);
/* Return: the volume of that directory, borrowed, if it is not removed; NULL. */
struct publisher_volume *publisher_find_volume(const struct publisher *p, const char *name);

/* ---- groups: the volumes of one pod */

/* @name: NULL for none. Return: 0 or -ENOMEM. */
int publisher_join_group(struct publisher *p, struct publisher_volume *v, const char *name);
/* Does nothing for a volume without a group. */
void publisher_leave_group(struct publisher *p, struct publisher_volume *v);
/* A thread that works on @v (NULL for none) is blocked now, and is not any more. */
void publisher_group_blocked(struct publisher_volume *v);
void publisher_group_returned(struct publisher_volume *v);

/* ---- outcomes, and the end of a volume */

/* Have the loop fetch an outcome. @link: of a volume, in that list already or not */
void publisher_report(struct publisher *p, struct list *list, struct list *link);

/* Note since when a thread is blocked in a volume, 0 for none, and report a change. */
void publisher_set_blocked(struct publisher *p, struct publisher_volume *v, mono_us since);

/*
 * Whether opens of the volume's live files wait for the end of its update. They do not while a
 * directory is held for which it waits itself, which may be for ever.
 */
void publisher_let_opens(struct publisher *p, struct publisher_volume *v, bool lets);

/* @publisher: borrowed. Return: it is the caller's; NULL if there is no memory. */
struct publisher_thread *publisher_thread_new(struct publisher *publisher);
/* Return: NULL. */
struct publisher_thread *publisher_thread_free(struct publisher_thread *thread);
/* The lead may have been given to one that stands by. */
void publisher_wake_leader(struct publisher *p);
/* Wait for the lead, for as long as the thread may stand by. */
void publisher_stand_by(struct publisher_thread *thread);

/* Wait on the condition. @until: SPAN_FOREVER for no limit */
void publisher_wait(struct publisher *p, mono_us until);

/* The volume is in no list and in no index. */
void publisher_volume_free(struct publisher_volume *v);

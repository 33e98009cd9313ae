/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The publish queue: decides what the publisher does next, for which volume, and until when it
 * waits. It is pure: the time is an argument, outcomes are reported to it, and it makes no calls.
 * See publish_queue.c.
 *
 * Thread: any that holds the publisher's lock.
 */
#include "base/clock.h"
#include "base/list.h"

/* Live files that an update left out, because their readers have them open, are tried again then.
 */
#define PUBLISH_CATCH_UP_AFTER SPAN_SEC(1)

enum publish_action {
    PUBLISH_ACTION_WAIT,         /* for a request, until wait_until at most */
    PUBLISH_ACTION_PROBE,        /* show that the threads are alive */
    PUBLISH_ACTION_REMOVE,       /* the volume's directory */
    PUBLISH_ACTION_BIND,         /* mount the volume on its target */
    PUBLISH_ACTION_COMMIT,       /* the second half of the volume's update */
    PUBLISH_ACTION_SCAN,         /* reconcile with the mounts that the monitor has scanned */
    PUBLISH_ACTION_FOLLOW,       /* have what the scan found in the volume follow updates */
    PUBLISH_ACTION_PUBLISH,      /* the first half of an update to the submitted payload */
    PUBLISH_ACTION_CATCH_UP,     /* the first half of an update of live files alone */
    PUBLISH_ACTION_REQUEST_SCAN, /* from the monitor */
    PUBLISH_ACTION_CLEAN,        /* remove the volume's old generations */
};

struct publish_step {
    enum publish_action action;
    struct publish_entry *entry; /* NULL for WAIT, PROBE and SCAN */
    mono_us wait_until;          /* WAIT; SPAN_FOREVER: for a request alone */
};

/* Embedded. Members are publish_queue.c's alone. */
struct publish_queue {
    bool needs_scan; /* an old generation stays until its mounts were scanned */
    bool is_probe_requested;
    bool is_scanned;
    bool defers_suspects; /* no thread is left that could block in their place */
    bool defers_slow;     /* no thread is left for their steps */
    mono_us scanned_at;
    struct list removing;
    struct list binding;
    struct list draining;
    struct list following;
    struct list submitted; /* those that may be published now */
    struct list postponed; /* those that wait for the end of the last update */
    struct list behind;    /* by catch_up_at */
    struct list cleaning;  /* by clean_at */
};

enum update_state {
    UPDATE_IDLE,
    UPDATE_BEGINNING, /* the thread works on the first half */
    UPDATE_DRAINING,  /* readers of live files are awaited */
    UPDATE_COMMITTING /* the thread works on the second half */
};

enum old_state {
    OLD_NONE,            /* no old generation, as far as is known */
    OLD_AWAITS_READERS,  /* those that have just followed ..data to it */
    OLD_AWAITS_SCAN,     /* of mounts: which parts of it are mounted alone */
    OLD_CLEANING,        /* the thread removes it */
    OLD_AWAITS_NEXT_TRY, /* removing it failed */
};

/* Volumes of one pod. While a thread is blocked for one of them, no step of the others begins. */
struct publish_group {
    size_t n_blocked;
};

/* A volume's place in the queue. Embedded; it is not freed before it is removed. */
struct publish_entry {
    enum update_state update;
    enum old_state old;
    bool is_removed;
    bool is_busy;                /* a thread works on a step of the volume */
    struct publish_group *group; /* borrowed; NULL: it has none */
    bool is_postponed;           /* "submitted" is in publish_queue.postponed, if in any list */
    bool is_catching_up;         /* the update under way is of live files alone */
    mono_us suspect_until;       /* a thread was blocked in the volume's directory; 0: never */
    mono_us slow_until;          /* a step of the volume took long; 0: never */
    mono_us drain_until;         /* DRAINING */
    mono_us catch_up_at;         /* while in publish_queue.behind */
    mono_us clean_at;            /* while in publish_queue.cleaning */
    mono_us replaced_at;         /* a scan from then on shows all mounts of the old generations */
    unsigned n_old;              /* generations to remove, at most */
    struct list removing;
    struct list binding;
    struct list draining;
    struct list following;
    struct list submitted;
    struct list behind;
    struct list cleaning;
};

/* Names for traces and debugging, such as "publish", "idle", "awaits-readers". Return: a constant.
 */
const char *publish_action_name(enum publish_action action);
const char *publish_update_name(enum update_state state);
const char *publish_old_name(enum old_state state);

/* @needs_scan: see struct publish_queue */
void publish_queue_init(struct publish_queue *queue, bool needs_scan);
void publish_entry_init(struct publish_entry *entry);

/* ---- requests */

/* Have a thread show that threads take steps: see publisher_probe(). */
void publish_queue_probe(struct publish_queue *queue);
/* There is a payload for the volume. One that is submitted already keeps its place. */
void publish_queue_submit(struct publish_queue *queue, struct publish_entry *entry);
void publish_queue_bind(struct publish_queue *queue, struct publish_entry *entry);
void publish_queue_cancel_bind(struct publish_queue *queue, struct publish_entry *entry);
/* Drops all other requests of the volume. Outcomes that are reported afterwards have no effect. */
void publish_queue_remove(struct publish_queue *queue, struct publish_entry *entry);
/* The monitor has the result of a scan. */
void publish_queue_notify_scan(struct publish_queue *queue);
/* A scan has found parts of the volume that do not follow updates yet. */
void publish_queue_follow(struct publish_queue *queue, struct publish_entry *entry);
/* Live files of the volume lag behind what it shows. @at: not before then */
void publish_queue_catch_up(struct publish_queue *queue, struct publish_entry *entry, mono_us at);

/* ---- the thread */

/* Visit the volumes that drain: @entry is the cursor. */
#define publish_queue_for_each_draining(entry, queue)                                              \
    list_for_each (entry, &(queue)->draining, draining)

/* Until when readers of the volume are awaited; 0: no longer. Before each publish_queue_next(). */
void publish_queue_set_drain(struct publish_entry *entry, mono_us until);
/*
 * Whether the commit of a volume that drains waits for a directory that a process holds, of another
 * volume of its group, or of as many as the publisher can bear. After publish_queue_defer().
 */
bool publish_queue_is_held_up(const struct publish_queue *queue, const struct publish_entry *entry,
                              mono_us now);
/* Whether the old generations of a volume may stay for longer: there are not too many of them. */
bool publish_queue_may_keep_old(const struct publish_entry *entry);
/* When the newest scan began whose result was notified. Before each publish_queue_next(), too. */
void publish_queue_set_scanned_at(struct publish_queue *queue, mono_us at);

/* Pass over suspects and slow volumes, or no longer. Before each publish_queue_next(), too. */
void publish_queue_defer(struct publish_queue *queue, bool suspects, bool slow);

/*
 * What to do next. It counts as begun, and its volume as busy: no other step of the volume is
 * returned before publish_queue_done(). The functions below report the outcome of COMMIT, PUBLISH,
 * CATCH_UP and CLEAN, and a REMOVE that failed.
 */
struct publish_step publish_queue_next(struct publish_queue *queue, mono_us now);

/* A thread ended its step, before the outcome is reported. Not after a REMOVE that succeeded. */
void publish_queue_done(struct publish_entry *entry);

/* A thread is blocked in the volume's directory. */
void publish_queue_suspect(struct publish_entry *entry, mono_us now);
bool publish_queue_is_suspect(const struct publish_entry *entry, mono_us now);

/* A step of the volume took long. */
void publish_queue_slow(struct publish_entry *entry, mono_us now);
bool publish_queue_is_slow(const struct publish_entry *entry, mono_us now);

/*
 * The first half of an update, PUBLISH or CATCH_UP, is done.
 * @has_begun: false when it failed or is not needed: no second half follows. For PUBLISH
 * publish_queue_published() reports the failure.
 */
void publish_queue_begun(struct publish_queue *queue, struct publish_entry *entry, bool has_begun);

struct publish_outcome {
    bool is_partial; /* live files were left out */
    bool leaves_old; /* an old generation has to be removed, or what a failed update left behind */
};

/* An update to a payload ended, well or not. */
void publish_queue_published(struct publish_queue *queue, struct publish_entry *entry,
                             struct publish_outcome outcome, mono_us now);
/* An update of live files alone ended. */
void publish_queue_caught_up(struct publish_queue *queue, struct publish_entry *entry);
/* @r: 0; -errno: tried again later, except after -ENOTCONN: the mount is gone */
void publish_queue_cleaned(struct publish_queue *queue, struct publish_entry *entry, int r,
                           mono_us now);
/* REMOVE failed; it is tried again later. */
void publish_queue_removal_failed(struct publish_queue *queue, struct publish_entry *entry,
                                  mono_us now);

/* ---- the end */

/* Take out what is removed and waits for the thread. Return: NULL if there is none. */
struct publish_entry *publish_queue_take_removed(struct publish_queue *queue);
bool publish_queue_is_empty(const struct publish_queue *queue);

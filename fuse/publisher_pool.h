/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The publisher pool: which thread of a publisher leads, and when another one has to take the lead.
 * It is pure: the time is an argument, and it starts and ends no thread. See publisher_pool.c.
 *
 * Thread: any that holds the publisher's lock.
 */
#include "base/clock.h"
#include "base/list.h"

/*
 * A step makes some ten system calls, of which each takes microseconds. So long the other volumes
 * wait, once, when a volume's directory blocks a thread for the first time.
 */
#define PUBLISHER_BLOCKED_AFTER SPAN_MS(250)

/* Each has its stack in locked memory, and one is enough for a volume whose reader blocks it. */
#define PUBLISHER_BLOCKED_MAX 64u

/*
 * A volume whose step took PUBLISHER_SLOW_AFTER is slow: it has many files, or its readers keep the
 * directory's lock busy. Its next steps leave the lead to another thread, so that the other volumes
 * do not wait for them. One thread is enough for the volumes of one reader who makes requests
 * without end; more are for those that a loaded machine makes slow.
 */
#define PUBLISHER_SLOW_AFTER SPAN_MS(3)
#define PUBLISHER_SLOW_MAX   4u

/* All threads: those that are blocked or stand by, and the one that leads. */
#define PUBLISHER_THREADS_MAX (PUBLISHER_BLOCKED_MAX + 1)

/*
 * A thread that another one leads for stands by to take the lead: on a busy machine each volume has
 * a slow step now and then, and starting a thread costs more than the step. One for each thread of
 * a slow volume is enough.
 */
#define PUBLISHER_STANDBY_MAX PUBLISHER_SLOW_MAX
#define PUBLISHER_STANDBY_FOR SPAN_SEC(30)

enum publisher_member_state {
    MEMBER_LEADING, /* takes the next step */
    MEMBER_WORKING, /* on a step; leads */
    MEMBER_BLOCKED, /* on a step; another thread leads, or has to be started */
    MEMBER_STANDBY, /* has no step, and waits for the lead */
    MEMBER_ENDED,
};

enum publisher_step_kind {
    PUBLISHER_STEP_OUTSIDE, /* of directories that readers can reach: it cannot be blocked */
    PUBLISHER_STEP_USUAL,
    PUBLISHER_STEP_SLOW,    /* earlier ones of the volume were slow */
    PUBLISHER_STEP_SUSPECT, /* earlier ones of the volume were blocked */
};

/* One thread. Embedded. */
struct publisher_member {
    enum publisher_member_state state;
    enum publisher_step_kind kind; /* of the last step */
    mono_us began_at;
    mono_us standby_until; /* STANDBY */
    bool has_to_probe;     /* its next step is a probe */
    struct list link;
};

/* Embedded. Members are publisher_pool.c's alone. */
struct publisher_pool {
    struct list members;
    struct publisher_member *leader; /* NULL: none */
    size_t n_blocked;
    size_t n_slow; /* of them, those with a step of a slow volume */
    size_t n_standby;
};

void publisher_pool_init(struct publisher_pool *pool);

/* A thread was started because publisher_pool_needs_leader(): it leads. */
void publisher_pool_add(struct publisher_pool *pool, struct publisher_member *member);
/* The thread is gone. */
void publisher_pool_remove(struct publisher_pool *pool, struct publisher_member *member);

/* Whether a thread has to be started. */
bool publisher_pool_needs_leader(const struct publisher_pool *pool);
bool publisher_pool_has_blocked(const struct publisher_pool *pool);
/* Whether as many threads are blocked as may be. */
bool publisher_pool_is_full(const struct publisher_pool *pool);
/* Whether as many threads work on steps of slow volumes as may. */
bool publisher_pool_is_full_of_slow(const struct publisher_pool *pool);

/* Whether the leader has to probe before it takes a step; it is asked once for each lead. */
bool publisher_pool_take_probe(struct publisher_member *leader);

/*
 * The leader begins a step. With SLOW and SUSPECT it gives up the lead, unless the pool is full: to
 * one that stands by, if there is one.
 * @kind: not SLOW when publisher_pool_is_full_of_slow()
 */
void publisher_pool_begin(struct publisher_pool *pool, struct publisher_member *member,
                          enum publisher_step_kind kind, mono_us now);
/* The step is done. Return: whether the thread leads or stands by; otherwise it has to end. */
bool publisher_pool_end(struct publisher_pool *pool, struct publisher_member *member, mono_us now);
/* One that stands by looks at the time. Return: whether it has to end. */
bool publisher_pool_expire(struct publisher_pool *pool, struct publisher_member *member,
                           mono_us now);

/*
 * Take the lead from a leader that has worked on its step for too long, and give it to one that
 * stands by, if there is one. In a full pool it keeps it.
 * Return: the member that is blocked now; NULL if there is none.
 */
struct publisher_member *publisher_pool_check(struct publisher_pool *pool, mono_us now);

/*
 * A thread has worked on its step for PUBLISHER_BLOCKED_AFTER. It does not count among those of
 * slow volumes any more, as it would keep their place for as long as it is blocked. Return: whether
 * a step of a slow volume may begin that might not before
 */
bool publisher_pool_note_blocked(struct publisher_pool *pool, struct publisher_member *member);

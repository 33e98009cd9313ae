/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that lists a directory holds the directory's lock while the kernel copies names to the
 * process's memory. If that memory is a page that does not become available (userfaultfd, a file of
 * the process's own FUSE file system), the publisher's mkdir or rename there waits in the kernel,
 * and no signal ends that. So one thread leads: it takes the steps of the publish queue. One that
 * is blocked stays with its volume, and a new one leads:
 *
 *                 begin()                check()
 *     LEADING ---------------> WORKING ------------> BLOCKED
 *      ^ ^  ^                     |                     |
 *      | |  +------- end() -------+                     | end()
 *      | +----------------------------------------------+------> ENDED
 *      |          there is no leader                    |          ^
 *      |                                  another leads |          | expire()
 *      +----------------------------------------------- STANDBY ---+
 *          the leader begins a slow step, or is blocked
 *
 *  - A step of a volume that has blocked a thread before, or was slow, gives up the lead when it
 *    begins, so that the other volumes do not wait again.
 *  - A step outside of volumes, such as a probe, is answered by the FUSE workers alone. If it does
 *    not return they hang, and another thread would hang as well. The first step of a leader after
 *    one that is blocked is such a probe, so that workers that hang cost two threads, and health
 *    checks fail.
 *  - With PUBLISHER_BLOCKED_MAX blocked threads the leader keeps the lead during each step.
 */
#include "fuse/publisher_pool.h"

#define BIT(state) (1u << (state))

/* Bits of the states that may follow each. */
static const unsigned edges[] = {
    [MEMBER_LEADING] = BIT(MEMBER_WORKING),
    [MEMBER_WORKING] = BIT(MEMBER_LEADING) | BIT(MEMBER_BLOCKED),
    [MEMBER_BLOCKED] = BIT(MEMBER_LEADING) | BIT(MEMBER_STANDBY) | BIT(MEMBER_ENDED),
    [MEMBER_STANDBY] = BIT(MEMBER_LEADING) | BIT(MEMBER_ENDED),
    [MEMBER_ENDED] = 0,
};

static void move(struct publisher_member *m, enum publisher_member_state state)
{
    assert((edges[m->state] & BIT(state)) != 0);
    m->state = state;
}

void publisher_pool_init(struct publisher_pool *pool)
{
    *pool = (struct publisher_pool){.n_blocked = 0};
    list_init(&pool->members);
}

void publisher_pool_add(struct publisher_pool *pool, struct publisher_member *member)
{
    assert(publisher_pool_needs_leader(pool));
    *member = (struct publisher_member){.state = MEMBER_LEADING,
                                        .has_to_probe = publisher_pool_has_blocked(pool)};
    list_append(&pool->members, &member->link);
    pool->leader = member;
}

void publisher_pool_remove(struct publisher_pool *pool, struct publisher_member *member)
{
    assert(member->state != MEMBER_BLOCKED);
    if (pool->leader == member)
        pool->leader = NULL;
    pool->n_standby -= member->state == MEMBER_STANDBY;
    list_remove(&member->link);
}

bool publisher_pool_needs_leader(const struct publisher_pool *pool)
{
    return pool->leader == NULL;
}

bool publisher_pool_has_blocked(const struct publisher_pool *pool)
{
    return pool->n_blocked > 0;
}

bool publisher_pool_is_full(const struct publisher_pool *pool)
{
    return pool->n_blocked >= PUBLISHER_BLOCKED_MAX;
}

bool publisher_pool_is_full_of_slow(const struct publisher_pool *pool)
{
    return pool->n_slow >= PUBLISHER_SLOW_MAX;
}

static struct publisher_member *find_standby(const struct publisher_pool *pool)
{
    struct publisher_member *m;

    list_for_each (m, &pool->members, link)
        if (m->state == MEMBER_STANDBY)
            return m;
    return NULL;
}

static void give_up_lead(struct publisher_pool *pool, struct publisher_member *m)
{
    struct publisher_member *next = pool->n_standby > 0 ? find_standby(pool) : NULL;

    assert(pool->leader == m && !publisher_pool_is_full(pool));
    move(m, MEMBER_BLOCKED);
    pool->n_blocked++;
    pool->leader = next;
    if (next == NULL)
        return;
    move(next, MEMBER_LEADING);
    pool->n_standby--;
}

bool publisher_pool_take_probe(struct publisher_member *leader)
{
    bool has_to_probe = leader->has_to_probe;

    assert(leader->state == MEMBER_LEADING);
    leader->has_to_probe = false;
    return has_to_probe;
}

void publisher_pool_begin(struct publisher_pool *pool, struct publisher_member *member,
                          enum publisher_step_kind kind, mono_us now)
{
    assert(pool->leader == member);
    assert(kind != PUBLISHER_STEP_SLOW || !publisher_pool_is_full_of_slow(pool));
    member->kind = kind;
    member->began_at = now;
    move(member, MEMBER_WORKING);
    pool->n_slow += kind == PUBLISHER_STEP_SLOW;
    if (kind >= PUBLISHER_STEP_SLOW && !publisher_pool_is_full(pool))
        give_up_lead(pool, member);
}

/* Another one leads. */
static void stand_by(struct publisher_pool *pool, struct publisher_member *m, mono_us now)
{
    if (pool->n_standby >= PUBLISHER_STANDBY_MAX) {
        move(m, MEMBER_ENDED);
        return;
    }
    m->standby_until = now + PUBLISHER_STANDBY_FOR;
    move(m, MEMBER_STANDBY);
    pool->n_standby++;
}

bool publisher_pool_end(struct publisher_pool *pool, struct publisher_member *member, mono_us now)
{
    pool->n_slow -= member->kind == PUBLISHER_STEP_SLOW;
    if (member->state == MEMBER_BLOCKED) {
        assert(pool->n_blocked > 0);
        pool->n_blocked--;
        if (pool->leader == NULL)
            pool->leader = member;
    }
    if (pool->leader == member)
        move(member, MEMBER_LEADING);
    else
        stand_by(pool, member, now);
    return member->state != MEMBER_ENDED;
}

bool publisher_pool_expire(struct publisher_pool *pool, struct publisher_member *member,
                           mono_us now)
{
    if (member->state != MEMBER_STANDBY || now < member->standby_until)
        return false;
    move(member, MEMBER_ENDED);
    pool->n_standby--;
    return true;
}

struct publisher_member *publisher_pool_check(struct publisher_pool *pool, mono_us now)
{
    struct publisher_member *m = pool->leader;

    if (m == NULL || m->state != MEMBER_WORKING || m->kind == PUBLISHER_STEP_OUTSIDE ||
        now - m->began_at < PUBLISHER_BLOCKED_AFTER || publisher_pool_is_full(pool))
        return NULL;
    give_up_lead(pool, m);
    if (pool->leader != NULL)
        pool->leader->has_to_probe = true;
    return m;
}

bool publisher_pool_note_blocked(struct publisher_pool *pool, struct publisher_member *member)
{
    bool was_full = publisher_pool_is_full_of_slow(pool);

    if (member->kind != PUBLISHER_STEP_SLOW)
        return false;
    member->kind = PUBLISHER_STEP_SUSPECT;
    assert(pool->n_slow > 0);
    pool->n_slow--;
    return was_full;
}

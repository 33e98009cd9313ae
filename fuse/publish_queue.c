/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work is done in this order: a probe, as the watchdog waits for it; removals, as a name may be
 * requested again; mounts on targets, as a pod waits for them; updates whose readers were awaited;
 * scans of mounts, and what they found, as they decide what an update concerns; payloads; live
 * files that catch up; old generations. Within each kind the oldest request is first; a payload
 * counts from the moment at which the volume may be published. Until then it is in a list of its
 * own, so that a step costs the same however many volumes wait.
 *
 * There may be more than one thread (publisher_pool.c), and each volume is worked on by one of them
 * at most: no step begins for a volume that is busy.
 *
 * A volume in whose directory a thread was blocked is suspect for SUSPECT_FOR: the publisher keeps
 * a thread ready for the others before it begins a step of it. If it has none, suspects wait. It
 * does the same for SLOW_FOR after a step that took long, with fewer threads. So that a pod has one
 * blocked thread at most, its other volumes wait for that one.
 *
 * An update has two halves. Between them readers that have just opened a live file are awaited
 * (live_switch.c), while the thread works on other volumes:
 *
 *              next(): PUBLISH, CATCH_UP            begun(true)
 *       IDLE -------------------------> BEGINNING -------------> DRAINING
 *        ^                                  |                       | next(): COMMIT
 *        +-------- begun(false) ------------+                       v
 *        +------------- published(), caught_up() -------------- COMMITTING
 *
 * What an update replaces is removed later:
 *
 *               published()                   next()
 *       NONE ----------------> AWAITS_READERS -----> AWAITS_SCAN <-+ next(), not scanned yet
 *        ^                           |  ^                |   |  +--+
 *        |                    next() |  +- published() --+   | next()
 *        | cleaned(0)                v                       |
 *        +----------------------- CLEANING <-----------------+
 *                    cleaned(-errno) |  ^
 *                                    v  | next(), after CLEAN_AGAIN
 *                              AWAITS_NEXT_TRY
 *
 *  - AWAITS_READERS: for CLEAN_AFTER the old generation stays, so that a reader that has followed
 *    ..data to it finds its file. So long the next update of the volume waits, too.
 *  - AWAITS_SCAN: where files are live, the parts of the old generation that are mounted alone have
 *    to be known before it goes, and the scan of many mounts takes its time (mount_monitor.c). An
 *    update does not wait for that, unless the volume has OLD_GENERATIONS_MAX of them, each with
 *    the memory of a payload; then the old ones go unscanned.
 *  - AWAITS_NEXT_TRY: an update does not wait for that either.
 *
 * A volume that is removed leaves all of this at once. A removal that fails waits for its next try
 * as cleaning does.
 */
#include "fuse/publish_queue.h"

/*
 * How long a reader may take from ..data to the file behind it; an undisturbed one takes some
 * microseconds, one that loses its processor some milliseconds. It is also what a watch on a key's
 * own file waits for its DELETE_SELF.
 */
#define CLEAN_AFTER SPAN_MS(10)
#define CLEAN_AGAIN SPAN_SEC(1) /* after a failure, which is one of memory */

#define OLD_GENERATIONS_MAX 16u

#define SUSPECT_FOR SPAN_SEC(600) /* each time costs other volumes PUBLISHER_BLOCKED_AFTER */

#define SLOW_FOR SPAN_SEC(30)

#define SCAN_POLL  SPAN_MS(2) /* a scan that finds no change is not notified */
#define DRAIN_POLL 200u       /* us: a read, which ends the wait, is not notified either */

#define BIT(state) (1u << (state))

/* Bits of the states that may follow each. */
static const unsigned update_edges[] = {
    [UPDATE_IDLE] = BIT(UPDATE_BEGINNING),
    [UPDATE_BEGINNING] = BIT(UPDATE_DRAINING) | BIT(UPDATE_IDLE),
    [UPDATE_DRAINING] = BIT(UPDATE_COMMITTING),
    [UPDATE_COMMITTING] = BIT(UPDATE_IDLE),
};

static const unsigned old_edges[] = {
    [OLD_NONE] = BIT(OLD_AWAITS_READERS),
    [OLD_AWAITS_READERS] = BIT(OLD_AWAITS_SCAN) | BIT(OLD_CLEANING),
    [OLD_AWAITS_SCAN] = BIT(OLD_AWAITS_SCAN) | BIT(OLD_AWAITS_READERS) | BIT(OLD_CLEANING),
    [OLD_CLEANING] = BIT(OLD_NONE) | BIT(OLD_AWAITS_NEXT_TRY),
    [OLD_AWAITS_NEXT_TRY] = BIT(OLD_AWAITS_READERS) | BIT(OLD_AWAITS_SCAN) | BIT(OLD_CLEANING),
};

static void update_move(struct publish_entry *e, enum update_state state)
{
    assert((update_edges[e->update] & BIT(state)) != 0);
    e->update = state;
}

static void old_move(struct publish_entry *e, enum old_state state)
{
    assert((old_edges[e->old] & BIT(state)) != 0);
    e->old = state;
}

const char *publish_action_name(enum publish_action action)
{
    static const char *const names[] = {
        [PUBLISH_ACTION_WAIT] = "wait",         [PUBLISH_ACTION_PROBE] = "probe",
        [PUBLISH_ACTION_REMOVE] = "remove",     [PUBLISH_ACTION_BIND] = "bind",
        [PUBLISH_ACTION_COMMIT] = "commit",     [PUBLISH_ACTION_SCAN] = "scan",
        [PUBLISH_ACTION_FOLLOW] = "follow",     [PUBLISH_ACTION_PUBLISH] = "publish",
        [PUBLISH_ACTION_CATCH_UP] = "catch-up", [PUBLISH_ACTION_REQUEST_SCAN] = "request-scan",
        [PUBLISH_ACTION_CLEAN] = "clean",
    };

    return names[action];
}

const char *publish_update_name(enum update_state state)
{
    static const char *const names[] = {
        [UPDATE_IDLE] = "idle",
        [UPDATE_BEGINNING] = "beginning",
        [UPDATE_DRAINING] = "draining",
        [UPDATE_COMMITTING] = "committing",
    };

    return names[state];
}

const char *publish_old_name(enum old_state state)
{
    static const char *const names[] = {
        [OLD_NONE] = "none",
        [OLD_AWAITS_READERS] = "awaits-readers",
        [OLD_AWAITS_SCAN] = "awaits-scan",
        [OLD_CLEANING] = "cleaning",
        [OLD_AWAITS_NEXT_TRY] = "awaits-next-try",
    };

    return names[state];
}

void publish_queue_init(struct publish_queue *queue, bool needs_scan)
{
    *queue = (struct publish_queue){.needs_scan = needs_scan};
    list_init(&queue->removing);
    list_init(&queue->binding);
    list_init(&queue->draining);
    list_init(&queue->following);
    list_init(&queue->submitted);
    list_init(&queue->postponed);
    list_init(&queue->behind);
    list_init(&queue->cleaning);
}

void publish_entry_init(struct publish_entry *entry)
{
    *entry = (struct publish_entry){.update = UPDATE_IDLE, .old = OLD_NONE};
    list_init(&entry->removing);
    list_init(&entry->binding);
    list_init(&entry->draining);
    list_init(&entry->following);
    list_init(&entry->submitted);
    list_init(&entry->behind);
    list_init(&entry->cleaning);
}

/* Sorted by time. Nearly always the entry is the last one, as delays are nearly always the same. */
static void clean_at(struct publish_queue *q, struct publish_entry *e, mono_us at)
{
    struct list *after;

    e->clean_at = at;
    list_remove(&e->cleaning);
    for (after = q->cleaning.prev; after != &q->cleaning; after = after->prev)
        if (list_entry(after, struct publish_entry, cleaning)->clean_at <= at)
            break;
    list_append(after->next, &e->cleaning); /* "append" puts it before its argument */
}

/* The same for live files, most of which wait for PUBLISH_CATCH_UP_AFTER. */
static void insert_behind(struct publish_queue *q, struct publish_entry *e, mono_us at)
{
    struct list *after;

    e->catch_up_at = at;
    list_remove(&e->behind);
    for (after = q->behind.prev; after != &q->behind; after = after->prev)
        if (list_entry(after, struct publish_entry, behind)->catch_up_at <= at)
            break;
    list_append(after->next, &e->behind);
}

/* So that readers get their time; see the top. */
static bool may_publish(const struct publish_entry *e)
{
    return e->update == UPDATE_IDLE &&
           (e->old == OLD_NONE || e->old == OLD_AWAITS_NEXT_TRY ||
            (e->old == OLD_AWAITS_SCAN && publish_queue_may_keep_old(e)));
}

static void append_submitted(struct publish_queue *q, struct publish_entry *e)
{
    e->is_postponed = !may_publish(e);
    list_append(e->is_postponed ? &q->postponed : &q->submitted, &e->submitted);
}

/* After each change of a state that may_publish() looks at. */
static void sort_submitted(struct publish_queue *q, struct publish_entry *e)
{
    if (list_is_empty(&e->submitted) || e->is_postponed == !may_publish(e))
        return;
    list_remove(&e->submitted);
    append_submitted(q, e);
}

/* ---- requests */

void publish_queue_probe(struct publish_queue *queue)
{
    queue->is_probe_requested = true;
}

void publish_queue_submit(struct publish_queue *queue, struct publish_entry *entry)
{
    assert(!entry->is_removed);
    if (list_is_empty(&entry->submitted))
        append_submitted(queue, entry);
}

void publish_queue_bind(struct publish_queue *queue, struct publish_entry *entry)
{
    assert(!entry->is_removed && list_is_empty(&entry->binding));
    list_append(&queue->binding, &entry->binding);
}

void publish_queue_cancel_bind(struct publish_queue *queue, struct publish_entry *entry)
{
    list_remove(&entry->binding);
}

void publish_queue_remove(struct publish_queue *queue, struct publish_entry *entry)
{
    assert(!entry->is_removed);
    entry->is_removed = true;
    list_remove(&entry->binding);
    list_remove(&entry->draining);
    list_remove(&entry->following);
    list_remove(&entry->submitted);
    list_remove(&entry->behind);
    list_remove(&entry->cleaning);
    list_append(&queue->removing, &entry->removing);
}

void publish_queue_notify_scan(struct publish_queue *queue)
{
    queue->is_scanned = true;
}

void publish_queue_follow(struct publish_queue *queue, struct publish_entry *entry)
{
    assert(!entry->is_removed);
    if (list_is_empty(&entry->following))
        list_append(&queue->following, &entry->following);
}

void publish_queue_catch_up(struct publish_queue *queue, struct publish_entry *entry, mono_us at)
{
    assert(!entry->is_removed);
    insert_behind(queue, entry, at);
}

/* ---- the thread */

void publish_queue_set_drain(struct publish_entry *entry, mono_us until)
{
    assert(entry->update == UPDATE_DRAINING);
    entry->drain_until = until;
}

void publish_queue_set_scanned_at(struct publish_queue *queue, mono_us at)
{
    queue->scanned_at = at;
}

void publish_queue_defer(struct publish_queue *queue, bool suspects, bool slow)
{
    queue->defers_suspects = suspects;
    queue->defers_slow = slow;
}

void publish_queue_suspect(struct publish_entry *entry, mono_us now)
{
    entry->suspect_until = now + SUSPECT_FOR;
}

bool publish_queue_is_suspect(const struct publish_entry *entry, mono_us now)
{
    return now < entry->suspect_until;
}

void publish_queue_slow(struct publish_entry *entry, mono_us now)
{
    entry->slow_until = now + SLOW_FOR;
}

bool publish_queue_is_slow(const struct publish_entry *entry, mono_us now)
{
    return now < entry->slow_until;
}

bool publish_queue_may_keep_old(const struct publish_entry *entry)
{
    return entry->n_old < OLD_GENERATIONS_MAX;
}

static bool is_available(const struct publish_queue *q, const struct publish_entry *e, mono_us now)
{
    if (e->is_busy || (e->group != NULL && e->group->n_blocked > 0))
        return false;
    if (publish_queue_is_suspect(e, now))
        return !q->defers_suspects;
    return !q->defers_slow || !publish_queue_is_slow(e, now);
}

bool publish_queue_is_held_up(const struct publish_queue *queue, const struct publish_entry *entry,
                              mono_us now)
{
    return (entry->group != NULL && entry->group->n_blocked > 0) ||
           (queue->defers_suspects && publish_queue_is_suspect(entry, now));
}

static struct publish_entry *first_to_remove(const struct publish_queue *q, mono_us now)
{
    struct publish_entry *e;

    list_for_each (e, &q->removing, removing)
        if (is_available(q, e, now))
            return e;
    return NULL;
}

static struct publish_entry *first_to_bind(const struct publish_queue *q, mono_us now)
{
    struct publish_entry *e;

    list_for_each (e, &q->binding, binding)
        if (is_available(q, e, now))
            return e;
    return NULL;
}

static struct publish_entry *first_drained(const struct publish_queue *q, mono_us now)
{
    struct publish_entry *e;

    list_for_each (e, &q->draining, draining)
        if (e->drain_until <= now && is_available(q, e, now))
            return e;
    return NULL;
}

static struct publish_entry *first_to_follow(const struct publish_queue *q, mono_us now)
{
    struct publish_entry *e;

    list_for_each (e, &q->following, following)
        if (is_available(q, e, now))
            return e;
    return NULL;
}

static struct publish_entry *first_to_publish(const struct publish_queue *q, mono_us now)
{
    struct publish_entry *e;

    list_for_each (e, &q->submitted, submitted)
        if (is_available(q, e, now))
            return e;
    return NULL;
}

static bool may_catch_up(const struct publish_queue *q, const struct publish_entry *e, mono_us now)
{
    return e->update == UPDATE_IDLE && is_available(q, e, now);
}

static struct publish_entry *first_to_catch_up(const struct publish_queue *q, mono_us now)
{
    struct publish_entry *e;

    list_for_each (e, &q->behind, behind) {
        if (e->catch_up_at > now)
            return NULL;
        if (may_catch_up(q, e, now))
            return e;
    }
    return NULL;
}

/* Sorted by time. */
static struct publish_entry *first_to_clean(const struct publish_queue *q, mono_us now)
{
    struct publish_entry *e;

    list_for_each (e, &q->cleaning, cleaning)
        if (is_available(q, e, now))
            return e;
    return NULL;
}

static struct publish_step begin_update(struct publish_queue *q, struct publish_entry *e,
                                        enum publish_action action)
{
    update_move(e, UPDATE_BEGINNING);
    e->is_catching_up = action == PUBLISH_ACTION_CATCH_UP;
    list_remove(e->is_catching_up ? &e->behind : &e->submitted);
    sort_submitted(q, e);
    return (struct publish_step){.action = action, .entry = e};
}

static struct publish_step begin_commit(struct publish_entry *e)
{
    update_move(e, UPDATE_COMMITTING);
    list_remove(&e->draining);
    return (struct publish_step){.action = PUBLISH_ACTION_COMMIT, .entry = e};
}

static struct publish_step begin_cleaning(struct publish_queue *q, struct publish_entry *e,
                                          mono_us now)
{
    list_remove(&e->cleaning);
    if (e->is_removed)
        return (struct publish_step){.action = PUBLISH_ACTION_REMOVE, .entry = e};
    if (q->needs_scan && publish_queue_may_keep_old(e) && q->scanned_at < e->replaced_at) {
        old_move(e, OLD_AWAITS_SCAN);
        clean_at(q, e, now + SCAN_POLL);
        sort_submitted(q, e);
        return (struct publish_step){.action = PUBLISH_ACTION_REQUEST_SCAN, .entry = e};
    }
    old_move(e, OLD_CLEANING);
    sort_submitted(q, e);
    return (struct publish_step){.action = PUBLISH_ACTION_CLEAN, .entry = e};
}

/* A request whose list is left by beginning it. */
static struct publish_step begin_request(struct publish_entry *e, struct list *link,
                                         enum publish_action action)
{
    list_remove(link);
    return (struct publish_step){.action = action, .entry = e};
}

static mono_us earlier(mono_us a, mono_us b)
{
    return a < b ? a : b;
}

static mono_us drain_poll(const struct publish_queue *q, mono_us now)
{
    const struct publish_entry *e;

    list_for_each (e, &q->draining, draining)
        if (is_available(q, e, now))
            return now + DRAIN_POLL;
    return SPAN_FOREVER;
}

static struct publish_step wait_for_work(const struct publish_queue *q, mono_us now)
{
    struct publish_step step = {.action = PUBLISH_ACTION_WAIT};
    const struct publish_entry *oldest = first_to_clean(q, now), *e;

    step.wait_until = drain_poll(q, now);
    if (oldest != NULL)
        step.wait_until = earlier(step.wait_until, oldest->clean_at);
    list_for_each (e, &q->behind, behind)
        if (may_catch_up(q, e, now)) {
            step.wait_until = earlier(step.wait_until, e->catch_up_at);
            break;
        }
    return step;
}

static struct publish_step choose(struct publish_queue *q, mono_us now)
{
    struct publish_entry *e;

    if (q->is_probe_requested) {
        q->is_probe_requested = false;
        return (struct publish_step){.action = PUBLISH_ACTION_PROBE};
    }
    if ((e = first_to_remove(q, now)) != NULL)
        return begin_request(e, &e->removing, PUBLISH_ACTION_REMOVE);
    if ((e = first_to_bind(q, now)) != NULL)
        return begin_request(e, &e->binding, PUBLISH_ACTION_BIND);
    if ((e = first_drained(q, now)) != NULL)
        return begin_commit(e);
    if (q->is_scanned) {
        q->is_scanned = false;
        return (struct publish_step){.action = PUBLISH_ACTION_SCAN};
    }
    if ((e = first_to_follow(q, now)) != NULL)
        return begin_request(e, &e->following, PUBLISH_ACTION_FOLLOW);
    if ((e = first_to_publish(q, now)) != NULL)
        return begin_update(q, e, PUBLISH_ACTION_PUBLISH);
    if ((e = first_to_catch_up(q, now)) != NULL)
        return begin_update(q, e, PUBLISH_ACTION_CATCH_UP);
    if ((e = first_to_clean(q, now)) != NULL && e->clean_at <= now)
        return begin_cleaning(q, e, now);
    return wait_for_work(q, now);
}

struct publish_step publish_queue_next(struct publish_queue *queue, mono_us now)
{
    const struct publish_step step = choose(queue, now);

    if (step.entry != NULL)
        step.entry->is_busy = true;
    return step;
}

void publish_queue_done(struct publish_entry *entry)
{
    assert(entry->is_busy);
    entry->is_busy = false;
}

void publish_queue_begun(struct publish_queue *queue, struct publish_entry *entry, bool has_begun)
{
    if (entry->is_removed)
        return;
    update_move(entry, has_begun ? UPDATE_DRAINING : UPDATE_IDLE);
    sort_submitted(queue, entry);
    if (!has_begun)
        return;
    entry->drain_until = 0;
    list_append(&queue->draining, &entry->draining);
}

void publish_queue_published(struct publish_queue *queue, struct publish_entry *entry,
                             struct publish_outcome outcome, mono_us now)
{
    struct publish_entry *e = entry;

    if (e->is_removed)
        return;
    assert(!e->is_catching_up);
    if (e->update != UPDATE_IDLE)
        update_move(e, UPDATE_IDLE);
    if (outcome.is_partial)
        publish_queue_catch_up(queue, e, now + PUBLISH_CATCH_UP_AFTER);
    if (outcome.leaves_old) {
        old_move(e, OLD_AWAITS_READERS);
        clean_at(queue, e, now + CLEAN_AFTER);
        e->replaced_at = e->clean_at;
        e->n_old++;
    }
    sort_submitted(queue, e);
}

void publish_queue_caught_up(struct publish_queue *queue, struct publish_entry *entry)
{
    if (entry->is_removed)
        return;
    assert(entry->is_catching_up);
    update_move(entry, UPDATE_IDLE);
    sort_submitted(queue, entry);
}

void publish_queue_cleaned(struct publish_queue *queue, struct publish_entry *entry, int r,
                           mono_us now)
{
    bool tries_again = r < 0 && r != -ENOTCONN;

    if (entry->is_removed)
        return;
    old_move(entry, tries_again ? OLD_AWAITS_NEXT_TRY : OLD_NONE);
    if (r == 0)
        entry->n_old = 0;
    if (tries_again)
        clean_at(queue, entry, now + CLEAN_AGAIN);
    sort_submitted(queue, entry);
}

void publish_queue_removal_failed(struct publish_queue *queue, struct publish_entry *entry,
                                  mono_us now)
{
    assert(entry->is_removed);
    clean_at(queue, entry, now + CLEAN_AGAIN);
}

struct publish_entry *publish_queue_take_removed(struct publish_queue *queue)
{
    struct publish_entry *e;

    if (!list_is_empty(&queue->removing))
        e = list_entry(queue->removing.next, struct publish_entry, removing);
    else if (!list_is_empty(&queue->cleaning))
        e = list_entry(queue->cleaning.next, struct publish_entry, cleaning);
    else
        return NULL;
    assert(e->is_removed);
    list_remove(&e->removing);
    list_remove(&e->cleaning);
    return e;
}

bool publish_queue_is_empty(const struct publish_queue *queue)
{
    return list_is_empty(&queue->removing) && list_is_empty(&queue->binding) &&
           list_is_empty(&queue->draining) && list_is_empty(&queue->following) &&
           list_is_empty(&queue->submitted) && list_is_empty(&queue->postponed) &&
           list_is_empty(&queue->behind) && list_is_empty(&queue->cleaning);
}

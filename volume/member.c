/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With `tls: hold` a member keeps the last object whose certificate and key matched and were not
 * expired when it arrived, and shows it as long as the newest object is no such pair. An accepted
 * pair is shown after its expiry, too, as there is no better one. With `check` the same holds for
 * an object with a value that is not what the checks say (check.c).
 *
 * The annotations of an object may stage its updates (staging.c): a member keeps what it shows
 * until its turn comes. A member that shows nothing takes the newest object, staged or not; but if
 * readers get content of an earlier process, an update of it is staged as well. Then there is no
 * older object, and the whole volume waits.
 *
 * An order of the node's administrator stages an update as well: a paused member keeps what it
 * shows, and one whose last update was undone shows what was there before, until the object's
 * content changes. That is kept for UNDO_FOR only, as nothing else needs it. Orders of an earlier
 * process go on with the content that readers get from it. What was undone is known by its place
 * (staging.c), a hash: one of 2^32 other contents is taken for it, and waits for a further update.
 *
 * With `onRevoked: remove` a member that we may not read any more counts as an optional object that
 * was deleted (G9), until we may read it again. This concerns content that was shown, by an earlier
 * process perhaps: a volume without any waits for its first one.
 */
#include "volume/member.h"

#include "volume/check.h"
#include "volume/staging.h"

/* A program that an update breaks is noticed within that time. */
#define UNDO_FOR SPAN_SEC(3600)

static void set_order(struct member *m, enum volume_order order)
{
    if (order == VOLUME_ORDER_UNDONE)
        m->order.undone = staging_place(m->volume->who, m->object);
    m->order.order = order;
    m->volume->n_order_changes++;
}

static bool is_bad_pair(const struct member *m)
{
    struct error ignored;

    return m->volume->spec->holds_tls && tls_is_pair(m->object) &&
           tls_pair_problem(&m->tls, clock_wall(), &ignored);
}

static const char *labels_of(const struct member *m)
{
    return m->volume->labels != NULL ? m->volume->labels(m->volume->userdata) : NULL;
}

static mono_us due_at(const struct member *m)
{
    const struct object_staging *staging = &m->object->staging;
    span_us delay = staging_delay(staging, staging_place(m->volume->who, m->object), labels_of(m));

    return delay == SPAN_FOREVER ? SPAN_FOREVER : m->offered_at + delay;
}

static bool is_staged(const struct object_staging *s)
{
    return s->is_paused || s->has_first || s->over != 0 || s->invalid != NULL;
}

/* Decide whether the newest object is shown. @now: sets due_at if it is staged */
static enum member_hold member_find_hold(struct member *m, mono_us now)
{
    if (is_bad_pair(m))
        return HOLD_TLS;
    if (m->is_invalid)
        return HOLD_CHECK;
    if (m->order.order != VOLUME_ORDER_NONE && (m->shown != NULL || m->volume->is_adopted)) {
        m->due_at = SPAN_FOREVER;
        return m->shown != NULL && object_same_content(m->shown, m->object) ? HOLD_NONE
                                                                            : HOLD_STAGED;
    }
    if (!is_staged(&m->object->staging))
        return HOLD_NONE;
    if (m->shown != NULL ? object_same_content(m->shown, m->object) : !m->volume->is_adopted)
        return HOLD_NONE;
    m->due_at = due_at(m);
    if (m->due_at <= now)
        return HOLD_NONE;
    return m->object->staging.invalid != NULL ? HOLD_INVALID : HOLD_STAGED;
}

void member_note_passed(struct member *m, struct object *object, mono_us now)
{
    if (m->passed == object)
        return;
    if (m->passed != NULL && object != NULL && m->order.order != VOLUME_ORDER_UNDONE &&
        !object_same_content(m->passed, object)) {
        object_unref(m->previous);
        m->previous = m->volume->keeps_previous ? object_ref(m->passed) : NULL;
        m->previous_until = now + UNDO_FOR;
    }
    object_unref(m->passed);
    m->passed = object != NULL ? object_ref(object) : NULL;
}

void member_show(struct member *m, mono_us now)
{
    m->hold = member_find_hold(m, now);
    if (m->hold != HOLD_NONE)
        return;
    object_unref(m->shown);
    m->shown = object_ref(m->object);
}

/* Whether the roll-out of the newest object goes on with @object: other metadata has changed. */
static bool goes_on(const struct member *m, const struct object *object)
{
    return m->hold == HOLD_STAGED && object_same_staging(m->object, object) &&
           object_same_content(m->object, object);
}

/* Return: 0; -EINVAL with the reason in @e. */
static int member_check(const struct member *m, struct error *e)
{
    return volume_check_object(m->volume->spec->checks, m->source, m->object, e);
}

static void member_set_object(struct member *m, struct object *object, mono_us now)
{
    struct error ignored = ERROR_INIT;

    assert(m->object == NULL || m->shown != NULL || m->hold != HOLD_NONE);
    if (!goes_on(m, object))
        m->offered_at = now;
    object_unref(m->object);
    m->object = object_ref(object);
    if (m->order.order == VOLUME_ORDER_UNDONE &&
        m->order.undone != staging_place(m->volume->who, object))
        set_order(m, VOLUME_ORDER_NONE);
    if (tls_is_pair(object))
        tls_pair_check(object, &m->tls);
    m->is_invalid = member_check(m, &ignored) < 0;
    member_show(m, now);
}

void member_clear(struct member *m)
{
    m->object = object_unref(m->object);
    m->shown = object_unref(m->shown);
    m->passed = object_unref(m->passed);
    m->previous = object_unref(m->previous);
    m->hold = HOLD_NONE;
}

bool member_update(struct member *m, mono_us now)
{
    const struct store_view *view = store_peek(m->subscription);
    bool is_revoked =
        m->volume->spec->removes_revoked && m->volume->is_shown && view->refusal == STORE_REVOKED;
    struct object *object = view->presence == STORE_PRESENT && !is_revoked ? view->object : NULL;

    if (view->presence == m->presence && object == m->object && is_revoked == m->is_revoked)
        return false;
    m->presence = view->presence;
    m->is_revoked = is_revoked;
    if (object != NULL)
        member_set_object(m, object, now);
    else
        member_clear(m);
    return true;
}

void member_explain_hold(const struct member *m, struct error *e)
{
    if (m->hold == HOLD_TLS)
        tls_pair_problem(&m->tls, clock_wall(), e);
    else if (m->hold == HOLD_CHECK)
        member_check(m, e);
    else if (m->order.order == VOLUME_ORDER_PAUSED)
        error_set(e, -EBUSY, "paused by `secretfs rollout pause`");
    else if (m->order.order == VOLUME_ORDER_UNDONE)
        error_set(e, -EBUSY, "undone by `secretfs rollout undo`");
    else
        staging_explain(&m->object->staging, labels_of(m), e);
}

bool member_may_show(const struct member *m, const struct object *object)
{
    if (m->shown == NULL || !streq(m->shown->uid, object->uid))
        return false;
    return (m->order.order == VOLUME_ORDER_NONE && !is_staged(&m->object->staging)) ||
           object_same_content(m->shown, object);
}

void member_show_adopted(struct member *m)
{
    if (m->object == NULL || m->shown != NULL || m->hold == HOLD_TLS || m->hold == HOLD_CHECK)
        return;
    m->hold = HOLD_NONE;
    m->shown = object_ref(m->object);
    if (m->order.order == VOLUME_ORDER_UNDONE)
        set_order(m, VOLUME_ORDER_NONE);
}

void member_order(struct member *m, enum volume_order order, mono_us now)
{
    set_order(m, order);
    if (m->object != NULL)
        member_show(m, now);
}

int member_undo(struct member *m, mono_us now)
{
    if (m->previous == NULL || m->object == NULL)
        return -ENOENT;
    object_unref(m->shown);
    m->shown = TAKE(m->previous);
    member_order(m, VOLUME_ORDER_UNDONE, now);
    return 0;
}

mono_us member_due_at(const struct member *m)
{
    mono_us due = m->hold == HOLD_STAGED ? m->due_at : SPAN_FOREVER;

    return m->previous != NULL && m->previous_until < due ? m->previous_until : due;
}

bool member_show_due(struct member *m, mono_us now)
{
    if (m->previous != NULL && m->previous_until <= now)
        m->previous = object_unref(m->previous);
    if (m->hold != HOLD_STAGED || m->due_at > now)
        return false;
    member_show(m, now);
    return true;
}

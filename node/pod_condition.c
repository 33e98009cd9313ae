/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An operator who has waited for status True revokes a credential then. So it stands for one thing
 * only: each consumer of each volume that reports has opened the newest content, and no process
 * holds older content open. Where consumers are not noted, or may have been missed, the status is
 * Unknown.
 *
 *   reason                 status    of a volume
 *   UpdateHeld             False     shows older content: the update is held, invalid, or fails
 *   OldVersionInUse        False     a consumer has opened, or holds open, older content only
 *   SourceDisconnected     False     there may be newer content
 *   ConsumersUnknown       Unknown   a consumer may be missing
 *   AllConsumersCurrent    True
 *
 * The pod's is the uppermost of its volumes'. The message of status True has nothing but the
 * objects with their versions, so that one can wait for that text; other messages have a sentence
 * for each volume of that reason. A message has no process names, numbers or times, which would
 * change, and with them the pod.
 *
 * What often ends by itself is written after a while only: a source that is away for less than
 * SOURCE_SETTLES may be the API server that restarts, for all pods of a cluster.
 */
#include "node/pod_condition.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"

#define SOURCE_SETTLES SPAN_SEC(30)
#define BRIEF_SETTLES  SPAN_SEC(2) /* events that are in the kernel's queue, files being closed */

static const struct {
    const char *name;
    const char *status;
    span_us settles;
} reasons[] = {
    [CONDITION_CURRENT] = {"AllConsumersCurrent", "True", 0},
    [CONDITION_UNKNOWN] = {"ConsumersUnknown", "Unknown", 0},
    [CONDITION_DISCONNECTED] = {"SourceDisconnected", "False", SOURCE_SETTLES},
    [CONDITION_OLD_IN_USE] = {"OldVersionInUse", "False", 0},
    [CONDITION_HELD] = {"UpdateHeld", "False", 0},
};
static_assert(ELEMENTS_OF(reasons) == CONDITION_REASONS, "one for each");

static const char *const gap_texts[] = {
    [CONDITION_GAP_NONE] = "",
    [CONDITION_GAP_NOT_NOTED] = "its consumers are not noted (--consumers)",
    [CONDITION_GAP_NO_POD] = "the pod cannot be watched",
    [CONDITION_GAP_EARLIER] = "a container started before its opens were noted; restart it",
    [CONDITION_GAP_MISSED] = "opens were missed; delete the pod",
    [CONDITION_GAP_BEHIND] = "many files are being opened",
};

const char *condition_reason_name(enum condition_reason reason)
{
    return reasons[reason].name;
}

const char *condition_status_name(enum condition_reason reason)
{
    return reasons[reason].status;
}

/* ---- a volume */

static bool is_held(enum reader_state reader)
{
    return reader == READER_HELD || reader == READER_STALE || reader == READER_FAILING;
}

static enum condition_reason judge(const struct condition_volume *volume)
{
    if (is_held(volume->reader))
        return CONDITION_HELD;
    if (volume->old[0] != '\0' || volume->has_held_files)
        return CONDITION_OLD_IN_USE;
    if (volume->reader != READER_CURRENT)
        return CONDITION_DISCONNECTED;
    return volume->gap != CONDITION_GAP_NONE ? CONDITION_UNKNOWN : CONDITION_CURRENT;
}

static const char *held_text(enum reader_state reader)
{
    switch (reader) {
    case READER_HELD:
        return "an update is held";
    case READER_STALE:
        return "the newest version is incomplete or invalid";
    case READER_FAILING:
        return "publishing the newest version fails";
    case READER_WAITING:
    case READER_CURRENT:
    case READER_DISCONNECTED:
        break;
    }
    return "";
}

/* What is said of a volume behind its objects. Return: borrowed, or @buf. */
static const char *text_of(const struct condition_volume *volume, enum condition_reason reason,
                           char buf[static CONDITION_MESSAGE_SIZE])
{
    switch (reason) {
    case CONDITION_HELD:
        return held_text(volume->reader);
    case CONDITION_OLD_IN_USE:
        if (volume->old[0] == '\0')
            return "files of an older version are open";
        snprintf(buf, CONDITION_MESSAGE_SIZE, "not opened yet by %s", volume->old);
        return buf;
    case CONDITION_DISCONNECTED:
        return "the source cannot be reached";
    case CONDITION_UNKNOWN:
        return gap_texts[volume->gap];
    case CONDITION_CURRENT:
        break;
    }
    return "";
}

/* ---- the pod */

void condition_add_part(char text[static CONDITION_MESSAGE_SIZE], const char *between,
                        const char *part)
{
    size_t len = strlen(text);

    if (len > 0 && len + strlen(between) + strlen(part) >= CONDITION_MESSAGE_SIZE)
        return;
    snprintf(text + len, CONDITION_MESSAGE_SIZE - len, "%s%s", len > 0 ? between : "", part);
}

static void add_sentence(struct condition *c, const struct condition_volume *volume)
{
    char buf[CONDITION_MESSAGE_SIZE], sentence[2 * CONDITION_MESSAGE_SIZE];

    snprintf(sentence, sizeof(sentence), "%s: %s", volume->objects,
             text_of(volume, c->reason, buf));
    condition_add_part(c->message, "; ", sentence);
}

void condition_add(struct condition *condition, const struct condition_volume *volume)
{
    struct condition *c = condition;
    enum condition_reason reason = judge(volume);
    bool is_earlier = volume->gap == CONDITION_GAP_EARLIER;
    bool is_brief =
        reason == CONDITION_UNKNOWN ? volume->gap == CONDITION_GAP_BEHIND : volume->old[0] == '\0';

    if (!c->has_volumes || reason > c->reason) {
        c->reason = reason;
        c->message[0] = '\0';
        c->waits_for_restart = c->is_brief = true;
    }
    c->has_volumes = true;
    condition_add_part(c->objects, ", ", volume->objects);
    if (reason < c->reason)
        return;
    c->waits_for_restart &= is_earlier;
    c->is_brief &= is_brief;
    if (reason == CONDITION_CURRENT)
        memcpy(c->message, c->objects, sizeof(c->message));
    else
        add_sentence(c, volume);
}

/* ---- when it is written */

void condition_keep_proof(struct condition *condition, const struct condition_known *known)
{
    if (condition->reason != CONDITION_UNKNOWN || !condition->waits_for_restart ||
        !streq(known->status, condition_status_name(CONDITION_CURRENT)) ||
        !streq(known->message, condition->objects))
        return;
    condition->reason = CONDITION_CURRENT;
    memcpy(condition->message, condition->objects, sizeof(condition->message));
}

static bool is_known(const struct condition *condition, const struct condition_known *known)
{
    return streq(known->status, condition_status_name(condition->reason)) &&
           streq(known->reason, condition_reason_name(condition->reason)) &&
           streq(known->message, condition->message);
}

span_us condition_delay(const struct condition *condition, const struct condition_known *known,
                        bool is_deleted)
{
    const char *current = condition_status_name(CONDITION_CURRENT);
    bool can_settle =
        condition->reason == CONDITION_UNKNOWN || condition->reason == CONDITION_OLD_IN_USE;

    if (!condition->has_volumes || is_known(condition, known))
        return SPAN_FOREVER;
    if (is_deleted && (condition->reason == CONDITION_CURRENT || !streq(known->status, current)))
        return SPAN_FOREVER;
    if (can_settle && condition->is_brief)
        return BRIEF_SETTLES;
    return reasons[condition->reason].settles;
}

bool condition_needs_polling(const struct condition *condition)
{
    return condition->reason == CONDITION_OLD_IN_USE || condition->reason == CONDITION_UNKNOWN;
}

void condition_note_written(struct condition_known *known, const struct condition *condition,
                            struct timespec now)
{
    const char *status = condition_status_name(condition->reason);

    if (!streq(known->status, status))
        clock_rfc3339(now, known->last_transition);
    snprintf(known->status, sizeof(known->status), "%s", status);
    snprintf(known->reason, sizeof(known->reason), "%s", condition_reason_name(condition->reason));
    memcpy(known->message, condition->message, sizeof(known->message));
}

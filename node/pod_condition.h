/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The condition secretfs.io/SecretsCurrent of a pod: from the states of its volumes and of their
 * consumers to status, reason and message, and when it is written to the pod. Pure: no clock, no
 * system calls. See pod_condition.c.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "serve/reader_state.h"

/* In the order of their precedence. */
enum condition_reason {
    CONDITION_CURRENT,
    CONDITION_UNKNOWN,
    CONDITION_DISCONNECTED,
    CONDITION_OLD_IN_USE,
    CONDITION_HELD,
};
#define CONDITION_REASONS (CONDITION_HELD + 1)

/* Of the condition: its reason, such as "AllConsumersCurrent", and its status, "True", "False" or
 * "Unknown". Constants. */
const char *condition_reason_name(enum condition_reason reason);
const char *condition_status_name(enum condition_reason reason);

/*
 * `kubectl describe` shows it in one line; a pod has a few volumes. What does not fit is left out.
 */
#define CONDITION_MESSAGE_SIZE 1024u

/* Why a consumer may be missing. */
enum condition_gap {
    CONDITION_GAP_NONE,
    CONDITION_GAP_NOT_NOTED, /* opens are not noted */
    CONDITION_GAP_NO_POD,    /* when its containers started is unknown */
    CONDITION_GAP_EARLIER,   /* a container started before opens were noted */
    CONDITION_GAP_MISSED,    /* opens were missed */
    CONDITION_GAP_BEHIND,    /* some are not in the table yet */
};

/* A volume of the pod. Texts are borrowed. */
struct condition_volume {
    const char *objects;      /* with the versions that it shows: "secret/prod/db@12" */
    enum reader_state reader; /* not READER_WAITING */
    enum condition_gap gap;
    const char *old;     /* who has opened older content only: "container web"; "": none */
    bool has_held_files; /* a process has older content open or mapped */
};

/* What a pod's condition should be. */
struct condition {
    bool has_volumes;
    enum condition_reason reason;
    bool waits_for_restart; /* it is CONDITION_UNKNOWN by CONDITION_GAP_EARLIER alone */
    bool is_brief;          /* the reason often ends by itself within a second */
    char message[CONDITION_MESSAGE_SIZE];
    char objects[CONDITION_MESSAGE_SIZE]; /* the message of CONDITION_CURRENT */
};

/* Add a part to a list of parts, unless it does not fit; the first one is cut then. */
void condition_add_part(char text[static CONDITION_MESSAGE_SIZE], const char *between,
                        const char *part);

/* Begin with a zeroed condition, and add each volume of the pod. */
void condition_add(struct condition *condition, const struct condition_volume *volume);

/* ---- when it is written */

/* What the pod has. Texts are empty if it has no such condition, or none that is known. */
struct condition_known {
    char status[8];
    char reason[32];
    char message[CONDITION_MESSAGE_SIZE];
    char last_transition[CLOCK_RFC3339_SIZE];
};

/*
 * What an earlier process proved still holds while the pod's volumes show the same versions: then
 * make @condition that.
 */
void condition_keep_proof(struct condition *condition, const struct condition_known *known);

/*
 * How long from @since on, when it became what it is, until the pod gets it.
 * @is_deleted: the pod ends: it gets only what ends a status True
 * Return: 0: now; SPAN_FOREVER: not at all.
 */
span_us condition_delay(const struct condition *condition, const struct condition_known *known,
                        bool is_deleted);

/* Whether the consumers have to be looked at again, as nothing reports a change of theirs. */
bool condition_needs_polling(const struct condition *condition);

/* Make @known what was written of @condition at @now. */
void condition_note_written(struct condition_known *known, const struct condition *condition,
                            struct timespec now);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * New content of a volume that a command of the administrator has to accept before it is shown.
 * Pure; a zeroed object is none.
 *
 *   NONE --offer--> CHECKING --end--> PASSED --drop: it is shown--> NONE
 *                      ^      \--end--> REFUSED --end, after another check--> PASSED
 *                      +--offer of other content, from any state; drop: to NONE
 */
#include "volume/payload.h"

/* A check may depend on what is outside of the content, such as a file that it includes. */
#define CANDIDATE_CHECK_AGAIN SPAN_SEC(60)

enum candidate_state {
    CANDIDATE_NONE,
    CANDIDATE_CHECKING,
    CANDIDATE_PASSED,
    CANDIDATE_REFUSED,
};

struct candidate {
    enum candidate_state state;
    struct payload *payload; /* a reference; NULL in NONE */
    mono_us received_at;     /* of the content */
    mono_us again_at;        /* in REFUSED: the next check; SPAN_FOREVER: it runs */
    struct kept_error reason;
};

/*
 * Content differs from what is shown. Other content replaces it: an earlier check is in vain.
 * Return: whether a check of @c->payload has to start; else it is the same content.
 */
bool candidate_offer(struct candidate *c, struct payload *payload, mono_us received_at);
/* There is none any more. */
void candidate_drop(struct candidate *c);

/*
 * A check has ended.
 * @payload: what was checked; nothing happens if it is not the candidate any more
 * @reason: why it is refused; NULL: it is accepted
 * Return: whether it was the candidate.
 */
bool candidate_end(struct candidate *c, const struct payload *payload, const char *reason,
                   mono_us now);

/* When candidate_check_again() is due; SPAN_FOREVER: not. */
mono_us candidate_due(const struct candidate *c);
/* Return: whether it is due, and another check of @c->payload has to start. */
bool candidate_check_again(struct candidate *c, mono_us now);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * New content of a volume that a command of the administrator has to accept before it is shown.
 * Pure; a zeroed object is none.
 *
 *   NONE --offer--> CHECKING --end--> PASSED --drop: it is shown--> NONE
 *                      ^      \--end--> REFUSED --end, after another check--> PASSED
 *                      +--offer of other content, from any state; withdraw, drop: to NONE
 *
 * The states are those of the newest content. One check runs, and one content waits: a check goes
 * on when newer content comes, so that content which changes faster than its check lasts is shown
 * as well, version by version. When an older one has ended, the newest is checked.
 */
#include "volume/payload.h"

/* A check may depend on what is outside of the content, such as a file that it includes. */
#define CANDIDATE_CHECK_AGAIN SPAN_SEC(60)
/* A command that did not run costs little, and the administrator who mends it waits for the update:
 * after a second, then after twice as long each time, up to the above. */
#define CANDIDATE_TRY_AGAIN   SPAN_SEC(1)

/* How a check has ended. */
enum volume_verdict {
    VOLUME_ACCEPTED,
    VOLUME_REFUSED,
    VOLUME_NOT_CHECKED, /* the command did not run, which says nothing of the content */
};

enum candidate_state {
    CANDIDATE_NONE,
    CANDIDATE_CHECKING, /* it is checked, or waits for the check of an older one */
    CANDIDATE_PASSED,
    CANDIDATE_REFUSED,
};

struct candidate {
    enum candidate_state state;
    struct payload *payload; /* the newest; a reference; NULL in NONE */
    mono_us received_at;     /* of the content */
    struct payload *running; /* what is being checked, the same or older; a reference; or NULL */
    mono_us running_received_at;
    bool runs_again;          /* it was refused before */
    mono_us again_at;         /* in REFUSED: the next check; SPAN_FOREVER: it runs */
    span_us try_again;        /* after a check that did not run; 0: the last one ran */
    struct kept_error reason; /* why the last one was refused; in CHECKING an older one */
};

/*
 * Content differs from what is shown. Other content replaces it, but for a check that runs and is
 * the first one of its content.
 */
void candidate_offer(struct candidate *c, struct payload *payload, mono_us received_at);
/* Return: whether a check has to start, of c->running. */
bool candidate_begin(struct candidate *c);
/* There is no newest content to show; a check of an older one goes on. */
void candidate_withdraw(struct candidate *c);
/* The check that runs is in vain. */
void candidate_cancel(struct candidate *c);
/* There is none any more, and a check is in vain. */
void candidate_drop(struct candidate *c);

/*
 * A check has ended.
 * @payload: what was checked; nothing happens if that is in vain
 * @reason: why it is not accepted
 * @ret_older: what was accepted if there is newer content; the caller's; else NULL
 * Return: whether it was c->running.
 */
bool candidate_end(struct candidate *c, const struct payload *payload, enum volume_verdict verdict,
                   const char *reason, mono_us now, struct payload **ret_older);

/* When candidate_check_again() is due; SPAN_FOREVER: not. */
mono_us candidate_due(const struct candidate *c);
/* Return: whether it is due, and another check of c->running has to start. */
bool candidate_check_again(struct candidate *c, mono_us now);

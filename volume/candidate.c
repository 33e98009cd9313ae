/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/candidate.h"

void candidate_cancel(struct candidate *c)
{
    if (c->runs_again)
        c->again_at = 0;
    c->running = payload_unref(c->running);
    c->runs_again = false;
}

void candidate_withdraw(struct candidate *c)
{
    if (c->runs_again)
        candidate_cancel(c);
    c->payload = payload_unref(c->payload);
    kept_error_clear(&c->reason);
    c->state = CANDIDATE_NONE;
}

void candidate_drop(struct candidate *c)
{
    candidate_withdraw(c);
    candidate_cancel(c);
}

static bool is_newest(const struct candidate *c, const struct payload *payload)
{
    return c->state != CANDIDATE_NONE && payload_same_content(c->payload, payload);
}

void candidate_offer(struct candidate *c, struct payload *payload, mono_us received_at)
{
    bool is_other = !is_newest(c, payload);

    if (is_other && c->runs_again)
        candidate_cancel(c);
    if (is_other && c->running == NULL)
        kept_error_clear(&c->reason);
    if (is_other) {
        c->state = CANDIDATE_CHECKING;
        c->received_at = received_at;
    }
    payload_ref(payload); /* its objects are newer, also if their content is not */
    payload_unref(c->payload);
    c->payload = payload;
}

static void run(struct candidate *c, bool again)
{
    c->running = payload_ref(c->payload);
    c->running_received_at = c->received_at;
    c->runs_again = again;
}

bool candidate_begin(struct candidate *c)
{
    if (c->state != CANDIDATE_CHECKING || c->running != NULL)
        return false;
    run(c, false);
    return true;
}

bool candidate_end(struct candidate *c, const struct payload *payload, const char *reason,
                   mono_us now, struct payload **ret_older)
{
    *ret_older = NULL;
    if (c->running == NULL || c->running != payload)
        return false;
    kept_error_set(&c->reason, reason != NULL ? reason : "");
    if (!is_newest(c, payload) && reason == NULL)
        *ret_older = payload_ref(c->running);
    candidate_cancel(c);
    if (*ret_older != NULL || !is_newest(c, payload))
        return true;
    c->state = reason != NULL ? CANDIDATE_REFUSED : CANDIDATE_PASSED;
    c->again_at = now + CANDIDATE_CHECK_AGAIN;
    return true;
}

mono_us candidate_due(const struct candidate *c)
{
    return c->state == CANDIDATE_REFUSED ? c->again_at : SPAN_FOREVER;
}

bool candidate_check_again(struct candidate *c, mono_us now)
{
    if (candidate_due(c) > now)
        return false;
    c->again_at = SPAN_FOREVER;
    run(c, true);
    return true;
}

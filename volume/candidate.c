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
    c->try_again = 0;
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

/* Return: how long to wait for the next check of what was not accepted. */
static span_us choose_delay(struct candidate *c, enum volume_verdict verdict)
{
    span_us delay = c->try_again != 0 ? c->try_again : CANDIDATE_TRY_AGAIN;

    if (verdict != VOLUME_NOT_CHECKED) {
        c->try_again = 0;
        return CANDIDATE_CHECK_AGAIN;
    }
    c->try_again = delay < CANDIDATE_CHECK_AGAIN / 2 ? delay * 2 : CANDIDATE_CHECK_AGAIN;
    return delay;
}

bool candidate_end(struct candidate *c, const struct payload *payload, enum volume_verdict verdict,
                   const char *reason, mono_us now, struct payload **ret_older)
{
    bool is_accepted = verdict == VOLUME_ACCEPTED, is_older;
    span_us delay;

    *ret_older = NULL;
    if (c->running == NULL || c->running != payload)
        return false;
    kept_error_set(&c->reason, is_accepted ? "" : reason);
    delay = choose_delay(c, verdict);
    is_older = !is_newest(c, payload);
    if (is_older && is_accepted)
        *ret_older = payload_ref(c->running);
    candidate_cancel(c);
    if (is_older)
        return true;
    c->state = is_accepted ? CANDIDATE_PASSED : CANDIDATE_REFUSED;
    c->again_at = now + delay;
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

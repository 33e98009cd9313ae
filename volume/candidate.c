/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/candidate.h"

void candidate_drop(struct candidate *c)
{
    payload_unref(c->payload);
    kept_error_clear(&c->reason);
    *c = (struct candidate){.state = CANDIDATE_NONE};
}

bool candidate_offer(struct candidate *c, struct payload *payload, mono_us received_at)
{
    if (c->state != CANDIDATE_NONE && payload_same_content(c->payload, payload))
        return false;
    candidate_drop(c);
    c->state = CANDIDATE_CHECKING;
    c->payload = payload_ref(payload);
    c->received_at = received_at;
    return true;
}

bool candidate_end(struct candidate *c, const struct payload *payload, const char *reason,
                   mono_us now)
{
    if (c->state == CANDIDATE_NONE || c->payload != payload)
        return false;
    assert(c->state == CANDIDATE_CHECKING || c->state == CANDIDATE_REFUSED);
    c->state = reason != NULL ? CANDIDATE_REFUSED : CANDIDATE_PASSED;
    c->again_at = now + CANDIDATE_CHECK_AGAIN;
    kept_error_set(&c->reason, reason != NULL ? reason : "");
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
    return true;
}

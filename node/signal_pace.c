/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   IDLE --update--> PENDING --begin--> SENDING --end--> IDLE
 *                       ^                  | update
 *                       +------end--- SENDING_AGAIN
 */
#include "node/signal_pace.h"

#include "base/util.h"

enum event { UPDATE, BEGIN, END, EVENTS };

#define INVALID (-1)

static const int next_states[][EVENTS] = {
    [SIGNAL_PACE_IDLE] = {SIGNAL_PACE_PENDING, INVALID, INVALID},
    [SIGNAL_PACE_PENDING] = {SIGNAL_PACE_PENDING, SIGNAL_PACE_SENDING, INVALID},
    [SIGNAL_PACE_SENDING] = {SIGNAL_PACE_SENDING_AGAIN, INVALID, SIGNAL_PACE_IDLE},
    [SIGNAL_PACE_SENDING_AGAIN] = {SIGNAL_PACE_SENDING_AGAIN, INVALID, SIGNAL_PACE_PENDING},
};

static void move(struct signal_pace *pace, enum event event)
{
    int next = next_states[pace->state][event];

    assert(next != INVALID);
    pace->state = (enum signal_pace_state)next;
}

void signal_pace_update(struct signal_pace *pace)
{
    move(pace, UPDATE);
}

mono_us signal_pace_due(const struct signal_pace *pace)
{
    if (pace->state != SIGNAL_PACE_PENDING)
        return SPAN_FOREVER;
    return pace->sent_at != 0 ? pace->sent_at + SIGNAL_PACE_INTERVAL : 0;
}

void signal_pace_begin(struct signal_pace *pace, mono_us now)
{
    move(pace, BEGIN);
    pace->sent_at = now;
}

void signal_pace_end(struct signal_pace *pace)
{
    move(pace, END);
}

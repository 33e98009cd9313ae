/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   IDLE --update--> PENDING --begin--> SENDING --end--> IDLE
 *                       ^                  | update
 *                       +------end--- SENDING_AGAIN
 */
#include "serve/update_pace.h"

#include "base/util.h"

enum event { UPDATE, BEGIN, END, EVENTS };

#define INVALID (-1)

static const int next_states[][EVENTS] = {
    [UPDATE_PACE_IDLE] = {UPDATE_PACE_PENDING, INVALID, INVALID},
    [UPDATE_PACE_PENDING] = {UPDATE_PACE_PENDING, UPDATE_PACE_SENDING, INVALID},
    [UPDATE_PACE_SENDING] = {UPDATE_PACE_SENDING_AGAIN, INVALID, UPDATE_PACE_IDLE},
    [UPDATE_PACE_SENDING_AGAIN] = {UPDATE_PACE_SENDING_AGAIN, INVALID, UPDATE_PACE_PENDING},
};

static void move(struct update_pace *pace, enum event event)
{
    int next = next_states[pace->state][event];

    assert(next != INVALID);
    pace->state = (enum update_pace_state)next;
}

void update_pace_update(struct update_pace *pace)
{
    move(pace, UPDATE);
}

mono_us update_pace_due(const struct update_pace *pace)
{
    if (pace->state != UPDATE_PACE_PENDING)
        return SPAN_FOREVER;
    return pace->sent_at != 0 ? pace->sent_at + UPDATE_PACE_INTERVAL : 0;
}

void update_pace_begin(struct update_pace *pace, mono_us now)
{
    move(pace, BEGIN);
    pace->sent_at = now;
}

void update_pace_end(struct update_pace *pace)
{
    move(pace, END);
}

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * When a volume's consumers are signalled: after an update, a second after the last time at the
 * soonest, and again after the last update. Pure; a zeroed object is a volume without an update.
 */
#include "base/clock.h"

/* A program that reloads needs some time for it, and a flood of updates is one. */
#define UPDATE_PACE_INTERVAL SPAN_SEC(1)

enum update_pace_state {
    UPDATE_PACE_IDLE,
    UPDATE_PACE_PENDING, /* an update is not signalled yet */
    UPDATE_PACE_SENDING,
    UPDATE_PACE_SENDING_AGAIN, /* an update came meanwhile, and is pending next */
};

struct update_pace {
    enum update_pace_state state;
    mono_us sent_at; /* 0: never */
};

/* An update is visible. */
void update_pace_update(struct update_pace *pace);
/* Return: when to send; SPAN_FOREVER: an update, or the end of sending, comes first. */
mono_us update_pace_due(const struct update_pace *pace);
/* It is due, and sending begins. */
void update_pace_begin(struct update_pace *pace, mono_us now);
void update_pace_end(struct update_pace *pace);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * When a volume's consumers are signalled: after an update, a second after the last time at the
 * soonest, and again after the last update. Pure; a zeroed object is a volume without an update.
 */
#include "base/clock.h"

/* A program that reloads needs some time for it, and a flood of updates is one. */
#define SIGNAL_PACE_INTERVAL SPAN_SEC(1)

enum signal_pace_state {
    SIGNAL_PACE_IDLE,
    SIGNAL_PACE_PENDING, /* an update is not signalled yet */
    SIGNAL_PACE_SENDING,
    SIGNAL_PACE_SENDING_AGAIN, /* an update came meanwhile, and is pending next */
};

struct signal_pace {
    enum signal_pace_state state;
    mono_us sent_at; /* 0: never */
};

/* An update is visible. */
void signal_pace_update(struct signal_pace *pace);
/* Return: when to send; SPAN_FOREVER: an update, or the end of sending, comes first. */
mono_us signal_pace_due(const struct signal_pace *pace);
/* It is due, and sending begins. */
void signal_pace_begin(struct signal_pace *pace, mono_us now);
void signal_pace_end(struct signal_pace *pace);

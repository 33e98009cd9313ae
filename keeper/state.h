/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The states of the keeper's child, and how long to wait before the next one.
 *
 *                 ready            silent
 *     STARTING ----------> READY ----------> ABORTING
 *      ^   ^ |               | |                |
 *      |   | |  hand over    | |                | end
 *      |   | +-------+-------+ |                |
 *      |   |         v         |                v
 *      |   +- end - HANDING_   +--- failure --> WAITING
 *      |            OVER                        |
 *      +---------------------- delay is over ---+
 *
 * A child that ends with success in STARTING or READY leads to ENDED. STOP leads to STOPPING, and
 * to ENDED when the child has ended; in WAITING to ENDED at once.
 */
#include "base/clock.h"

enum keeper_state {
    KEEPER_SAME, /* in the table: the event changes nothing */
    KEEPER_STARTING,
    KEEPER_READY,
    KEEPER_HANDING_OVER, /* the child lets go, the next one starts without a delay */
    KEEPER_STOPPING,     /* the child ends, and with it the keeper */
    KEEPER_ABORTING,     /* the watchdog has found it silent */
    KEEPER_WAITING,      /* no child until the delay is over */
    KEEPER_ENDED,
    KEEPER_N_STATES,
};

enum keeper_event {
    KEEPER_ON_READY,
    KEEPER_ON_STOPPING,  /* the child stops by itself */
    KEEPER_ON_STOP,      /* a signal to the keeper */
    KEEPER_ON_HAND_OVER, /* a signal to the keeper, and the next program has proved itself */
    /* The deadline of the state has passed. Where the state stays, the child is killed. */
    KEEPER_ON_TIMEOUT,
    KEEPER_ON_END,     /* exit status 0 */
    KEEPER_ON_FAILURE, /* another exit status, or a signal */
    KEEPER_N_EVENTS,
};

/* Return: the next state; KEEPER_SAME: the event changes nothing. */
enum keeper_state keeper_state_next(enum keeper_state state, enum keeper_event event);
bool keeper_state_has_child(enum keeper_state state);

/*
 * How long to wait before a start: nothing after the first failure, so that a daemon that was
 * killed is back at once; then twice as long each time.
 * @n_failures: ends of children since one was ready for KEEPER_STABLE_AFTER, at least 1
 */
#define KEEPER_FIRST_DELAY  SPAN_MS(100) /* ten starts a second are what a host bears for long */
#define KEEPER_STABLE_AFTER SPAN_SEC(10)
span_us keeper_backoff_delay(unsigned n_failures, span_us max);

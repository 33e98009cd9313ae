/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/state.h"

/* KEEPER_N_STATES: impossible, for without a child none ends. */
#define NEVER KEEPER_N_STATES

static const struct {
    bool has_child;
    enum keeper_state next[KEEPER_N_EVENTS];
} states[KEEPER_N_STATES] = {
    [KEEPER_STARTING] = {true,
                         {
                             [KEEPER_ON_READY] = KEEPER_READY,
                             [KEEPER_ON_STOPPING] = KEEPER_STOPPING,
                             [KEEPER_ON_STOP] = KEEPER_STOPPING,
                             [KEEPER_ON_HAND_OVER] = KEEPER_HANDING_OVER,
                             [KEEPER_ON_END] = KEEPER_ENDED,
                             [KEEPER_ON_FAILURE] = KEEPER_WAITING,
                         }},
    [KEEPER_READY] = {true,
                      {
                          [KEEPER_ON_STOPPING] = KEEPER_STOPPING,
                          [KEEPER_ON_STOP] = KEEPER_STOPPING,
                          [KEEPER_ON_HAND_OVER] = KEEPER_HANDING_OVER,
                          [KEEPER_ON_TIMEOUT] = KEEPER_ABORTING,
                          [KEEPER_ON_END] = KEEPER_ENDED,
                          [KEEPER_ON_FAILURE] = KEEPER_WAITING,
                      }},
    [KEEPER_HANDING_OVER] = {true,
                             {
                                 [KEEPER_ON_STOP] = KEEPER_STOPPING,
                                 [KEEPER_ON_END] = KEEPER_STARTING,
                                 [KEEPER_ON_FAILURE] = KEEPER_STARTING,
                             }},
    [KEEPER_STOPPING] = {true,
                         {
                             [KEEPER_ON_END] = KEEPER_ENDED,
                             [KEEPER_ON_FAILURE] = KEEPER_ENDED,
                         }},
    [KEEPER_ABORTING] = {true,
                         {
                             [KEEPER_ON_STOP] = KEEPER_STOPPING,
                             [KEEPER_ON_END] = KEEPER_WAITING,
                             [KEEPER_ON_FAILURE] = KEEPER_WAITING,
                         }},
    [KEEPER_WAITING] = {false,
                        {
                            [KEEPER_ON_STOP] = KEEPER_ENDED,
                            [KEEPER_ON_HAND_OVER] = KEEPER_STARTING,
                            [KEEPER_ON_TIMEOUT] = KEEPER_STARTING,
                            [KEEPER_ON_END] = NEVER,
                            [KEEPER_ON_FAILURE] = NEVER,
                        }},
    [KEEPER_ENDED] = {false, {[KEEPER_ON_END] = NEVER, [KEEPER_ON_FAILURE] = NEVER}},
};

bool keeper_state_has_child(enum keeper_state state)
{
    return states[state].has_child;
}

enum keeper_state keeper_state_next(enum keeper_state state, enum keeper_event event)
{
    enum keeper_state next = states[state].next[event];

    assert(next != NEVER);
    return next;
}

span_us keeper_backoff_delay(unsigned n_failures, span_us max)
{
    span_us delay = KEEPER_FIRST_DELAY;

    assert(n_failures > 0);
    if (n_failures == 1)
        return 0;
    while (--n_failures > 1 && delay < max)
        delay *= 2;
    return delay < max ? delay : max;
}

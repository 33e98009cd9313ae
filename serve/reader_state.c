/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/reader_state.h"

#include "base/util.h"

enum reader_state reader_state(const struct reader_facts *facts)
{
    if (!facts->is_shown)
        return READER_WAITING;
    if (facts->publish_fails)
        return READER_FAILING;
    if (facts->is_held)
        return READER_HELD;
    if (facts->is_stale)
        return READER_STALE;
    return facts->source_fails ? READER_DISCONNECTED : READER_CURRENT;
}

const char *reader_state_name(enum reader_state state)
{
    static const char *const names[] = {
        [READER_WAITING] = "waiting",
        [READER_CURRENT] = "current",
        [READER_DISCONNECTED] = "disconnected",
        [READER_FAILING] = "failing",
        [READER_HELD] = "held",
        [READER_STALE] = "stale",
    };

    static_assert(ELEMENTS_OF(names) == READER_STATES, "a name for each state");
    return names[state];
}

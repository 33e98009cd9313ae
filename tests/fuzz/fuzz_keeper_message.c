/* SPDX-License-Identifier: Apache-2.0 */
/* A message to the keeper: what it says about descriptors is within bounds, and what goes upward
 * holds none of it. */
#include <stdlib.h>

#include "keeper/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keeper_message m;

    if (keeper_message_parse((const char *)data, size, &m) < 0)
        return 0;
    assert(size <= KEEPER_MESSAGE_MAX && strlen(m.upward) <= size);
    assert(keeper_name_is_valid(m.name) && strlen(m.name) <= KEEPER_NAME_MAX);
    assert(m.main_pid >= 0);
    assert(!m.hands_over || (!m.stores && !m.removes && m.main_pid == 0 && m.upward[0] == '\0'));
    assert(!m.is_barrier || (!m.stores && !m.is_ready && m.upward[0] == '\0'));
    assert(str_after(m.upward, "FDSTORE") == NULL && strstr(m.upward, "\nFDSTORE") == NULL);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/keeper.h"

#include "cmd/shared/keeper_program.h"

int command_keeper(const struct invocation *invocation, int argc, char *argv[])
{
    struct error e = ERROR_INIT;

    keeper_program_exec(argv, &e);
    return command_failed(invocation, EXIT_FAILED, e.text);
}

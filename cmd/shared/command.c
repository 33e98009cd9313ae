/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/shared/command.h"

#include <stdio.h>

int command_failed(const struct invocation *invocation, enum exit_code code, const char *text)
{
    fflush(stdout);
    fprintf(stderr, "secretfs: %s\n", text);
    if (code == EXIT_USAGE && invocation->command != NULL)
        fprintf(stderr, "Run `%s %s --help` for usage.\n", invocation->program,
                invocation->command);
    else if (code == EXIT_USAGE)
        fprintf(stderr, "Run `%s --help` for usage.\n", invocation->program);
    return (int)code;
}

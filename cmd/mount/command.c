/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/mount/command.h"

#include "cmd/mount/mount.h"

int command_mount(const struct invocation *invocation, int argc, char *argv[])
{
    struct background background = BACKGROUND_NONE;
    struct mount_options options;
    struct error e = ERROR_INIT;
    int code = EXIT_OK;
    int r = mount_options_parse(argc, argv, &options, &e);

    if (r >= 0 && options.wants_help)
        mount_options_help(invocation->program);
    else if (r == -EINVAL)
        code = command_failed(invocation, EXIT_USAGE, e.text);
    else if (r < 0 || mount_run(&options, &background, &e) < 0)
        code = command_failed(invocation, EXIT_FAILED, e.text);
    mount_options_deinit(&options);
    background_failed(&background, code);
    return code;
}

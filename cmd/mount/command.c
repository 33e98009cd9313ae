/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/mount/command.h"

#include "cmd/mount/mount.h"

static int failed(const struct invocation *invocation, enum background background,
                  enum exit_code code, const struct error *e)
{
    if (background_report(background, e->text))
        return (int)code;
    return command_failed(invocation, code, e->text);
}

int command_mount(const struct invocation *invocation, int argc, char *argv[])
{
    enum background background = background_of_environment();
    struct mount_options options;
    struct error e = ERROR_INIT;
    int code = EXIT_OK;
    int r = mount_options_parse(argc, argv, &options, &e);

    if (r >= 0 && options.wants_help)
        mount_options_help(invocation->program);
    else if (r == -EINVAL)
        code = failed(invocation, background, EXIT_USAGE, &e);
    else if (r < 0 || mount_run(&options, background, invocation->line, &e) < 0)
        code = failed(invocation, background, EXIT_FAILED, &e);
    mount_options_deinit(&options);
    return code;
}

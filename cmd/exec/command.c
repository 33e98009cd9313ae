/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/exec/command.h"

#include "cmd/exec/exec.h"

int command_exec(const struct invocation *invocation, int argc, char *argv[])
{
    struct exec_options options;
    struct error e = ERROR_INIT;
    int r = exec_options_parse(argc, argv, &options, &e);
    int code = EXIT_OK;

    if (r < 0) {
        code = command_failed(invocation, r == -EINVAL ? EXIT_USAGE : EXIT_FAILED, e.text);
    } else if (options.wants_help) {
        exec_options_help(invocation->program);
    } else {
        log_setup(options.from.log_level, options.from.log_format, log_target_of_stderr());
        log_trace_set(options.from.trace);
        code = exec_run(&options, &e);
        if (e.text[0] != '\0') /* the code may be a shell's 126 or 127 */
            code = command_failed(invocation, (enum exit_code)code, e.text);
    }
    exec_options_deinit(&options);
    return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/node.h"

#include "base/log.h"
#include "node/check.h"
#include "node/node.h"

int command_node(const struct invocation *invocation, int argc, char *argv[])
{
    struct node_options options;
    struct error e = ERROR_INIT;
    int code = EXIT_OK;
    int r = node_options_parse(argc, argv, &options, &e);

    if (r >= 0 && options.wants_help) {
        node_options_help(invocation->program);
    } else if (r < 0) {
        code = command_failed(invocation, r == -EINVAL ? EXIT_USAGE : EXIT_FAILED, e.text);
    } else {
        log_setup(options.log_level, options.log_format, log_target_of_stderr());
        log_trace_set(options.trace);
        r = options.is_check ? node_check(&options, &e) : node_run(&options, &e);
        if (r < 0)
            code = command_failed(invocation, EXIT_FAILED, e.text);
    }
    node_options_deinit(&options);
    return code;
}

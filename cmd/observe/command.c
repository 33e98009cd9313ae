/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/observe/command.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arguments.h"
#include "cmd/observe/observe.h"
#include "cmd/shared/output.h"

struct observe_command {
    struct observe_options options;
    bool wants_help;
};

static void print_help(const struct invocation *invocation)
{
    printf("Usage: %s observe [options] PATH\n"
           "\n"
           "Print each update of a mounted Secret, ConfigMap or projected volume as it happens,\n"
           "of secretfs or of the kubelet: which files were added, changed or removed, the\n"
           "generation, and the inotify events in their order. Values are never printed.\n"
           "\n"
           "  -c, --count N        end after N updates\n"
           "  -o, --output FORMAT  text (default), or json: one object a line\n"
           "  -h, --help           show this help\n",
           invocation->program);
}

static int parse_count(const char *value, unsigned long *ret_count, struct error *e)
{
    char *end;

    errno = 0;
    *ret_count = strtoul(value, &end, 10);
    return isdigit((unsigned char)value[0]) != 0 && *end == '\0' && errno == 0 && *ret_count > 0
               ? 0
               : error_set(e, -EINVAL, "--count: invalid number \"%.32s\"", value);
}

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct observe_command *c = userdata;

    switch (option) {
    case 'c':
        return parse_count(value, &c->options.count, e);
    case 'o':
        return output_parse(value, &c->options.as_json, e);
    default:
        c->wants_help = true;
        return ARGUMENTS_ENOUGH;
    }
}

const struct option observe_long_options[] = {{"count", required_argument, NULL, 'c'},
                                              {"output", required_argument, NULL, 'o'},
                                              {"help", no_argument, NULL, 'h'},
                                              {0}};

int command_observe(const struct invocation *invocation, int argc, char *argv[])
{
    struct observe_command c = {.wants_help = false};
    struct error e = ERROR_INIT;

    if (arguments_parse(argc, argv, ":c:o:h", observe_long_options, set_option, &c, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (c.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    if (argc != optind + 1)
        return command_failed(invocation, EXIT_USAGE, "observe takes one path");
    c.options.path = argv[optind];
    return observe(&c.options, &e) < 0 ? command_failed(invocation, EXIT_FAILED, e.text) : EXIT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/observe/command.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arguments.h"
#include "cmd/observe/changes.h"
#include "cmd/observe/observe.h"
#include "cmd/shared/output.h"

struct observe_command {
    struct observe_options options;
    bool has_source; /* an option says where the object comes from */
    bool wants_help;
};

static void print_help(const struct invocation *invocation)
{
    printf(
        "Usage: %s observe [options] PATH...\n"
        "\n"
        "Print each update of mounted Secret, ConfigMap or projected volumes as it happens, of\n"
        "secretfs or of the kubelet: which files were added, changed or removed, the\n"
        "generation, and the inotify events in their order. As root, also which processes open\n"
        "files of it. Values are never printed.\n"
        "\n"
        "  -c, --count N        end after N updates of each volume\n"
        "      --object OBJECT  watch secret/NAME or configmap/NAME as well, and print how long\n"
        "                       after its change a volume shows it\n"
        "  -o, --output FORMAT  text (default), or json: one object a line\n"
        "  -h, --help           show this help\n"
        "\n"
        "Of --object:\n"
        "  -n, --namespace NS      its namespace (default: the context's, else \"default\")\n"
        "      --kubeconfig FILE   how to reach the API server (default: $KUBECONFIG,\n"
        "                          ~/.kube/config, the in-cluster service account)\n"
        "      --context NAME      context of the kubeconfig to use\n"
        "      --manifests DIR     read it from the YAML and JSON manifests in DIR\n",
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

enum { OPTION_OBJECT = SOURCE_OPTION_END };

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct observe_command *c = userdata;

    switch (option) {
    case 'c':
        return parse_count(value, &c->options.count, e);
    case 'o':
        return output_parse(value, &c->options.as_json, e);
    case OPTION_OBJECT:
        c->options.object = value;
        return 0;
    case 'h':
        c->wants_help = true;
        return ARGUMENTS_ENOUGH;
    default:
        c->has_source = true;
        return source_options_set(&c->options.from, option, value, e);
    }
}

const struct option observe_long_options[] = {
    {"count", required_argument, NULL, 'c'},
    {"object", required_argument, NULL, OPTION_OBJECT},
    {"output", required_argument, NULL, 'o'},
    {"namespace", required_argument, NULL, SOURCE_OPTION_NAMESPACE},
    {"kubeconfig", required_argument, NULL, SOURCE_OPTION_KUBECONFIG},
    {"context", required_argument, NULL, SOURCE_OPTION_CONTEXT},
    {"manifests", required_argument, NULL, SOURCE_OPTION_MANIFESTS},
    {"help", no_argument, NULL, 'h'},
    {0}};

static int check(const struct observe_command *c, int n_paths, struct error *e)
{
    struct object_key key;

    if (n_paths == 0)
        return error_set(e, -EINVAL, "observe takes paths of volumes");
    if (c->has_source && c->options.object == NULL)
        return error_set(e, -EINVAL,
                         "--namespace, --kubeconfig, --context and --manifests are of --object");
    if (c->options.object != NULL && changes_parse(c->options.object, &key, e) < 0)
        return -EINVAL;
    return source_options_check(&c->options.from, e);
}

static int run(const struct invocation *invocation, struct observe_command *c, int argc,
               char *argv[])
{
    struct error e = ERROR_INIT;

    if (arguments_parse(argc, argv, ":c:o:n:h", observe_long_options, set_option, c, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (c->wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    if (check(c, argc - optind, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    c->options.paths = argv + optind;
    c->options.n_paths = (size_t)(argc - optind);
    return observe(&c->options, &e) < 0 ? command_failed(invocation, EXIT_FAILED, e.text) : EXIT_OK;
}

int command_observe(const struct invocation *invocation, int argc, char *argv[])
{
    struct observe_command c = {.options.from = SOURCE_OPTIONS_INIT};
    int code = run(invocation, &c, argc, argv);

    source_options_deinit(&c.options.from);
    return code;
}

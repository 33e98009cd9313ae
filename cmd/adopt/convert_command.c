/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/adopt/convert_command.h"

#include <stdio.h>

#include "base/arguments.h"
#include "base/file_read.h"
#include "cmd/adopt/convert.h"
#include "cmd/adopt/rewrite.h"
#include "encoding/yaml_limits.h"

struct convert_command {
    const char *file; /* "-": standard input */
    struct convert_options options;
    bool wants_help;
};

static void print_help(const struct invocation *invocation)
{
    printf("Usage: %s convert -f FILE [options]\n"
           "\n"
           "Print the manifests of FILE with csi volumes of secretfs in the place of the pods'\n"
           "secret, configMap, downwardAPI and projected volumes, as the policy of deploy/adopt\n"
           "does it: the volumes that a container mounts get the suffix -secretfs, and csi\n"
           "volumes have their old names. All else stays as it is, comments included.\n"
           "\n"
           "  -f, --filename FILE           manifests in YAML or JSON; - is standard input\n"
           "      --revert                  take such a conversion back\n"
           "      --service-account-tokens  convert kube-api-access-* volumes, too\n"
           "  -h, --help                    show this help\n",
           invocation->program);
}

enum { OPTION_REVERT = 256, OPTION_TOKENS };

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct convert_command *c = userdata;

    switch (option) {
    case 'f':
        if (c->file != NULL)
            return error_set(e, -EINVAL, "convert takes one -f FILE");
        c->file = value;
        return 0;
    case OPTION_REVERT:
        c->options.reverts = true;
        return 0;
    case OPTION_TOKENS:
        c->options.adopts_tokens = true;
        return 0;
    default:
        c->wants_help = true;
        return ARGUMENTS_ENOUGH;
    }
}

const struct option convert_long_options[] = {
    {"filename", required_argument, NULL, 'f'},
    {"revert", no_argument, NULL, OPTION_REVERT},
    {"service-account-tokens", no_argument, NULL, OPTION_TOKENS},
    {"help", no_argument, NULL, 'h'},
    {0}};

static int parse(int argc, char *argv[], struct convert_command *c, struct error *e)
{
    int r = arguments_parse(argc, argv, ":f:h", convert_long_options, set_option, c, e);

    if (r != 0)
        return r < 0 ? r : 0;
    if (argc != optind || c->file == NULL)
        return error_set(e, -EINVAL, "convert takes -f FILE, or -f - for standard input");
    return 0;
}

/* Return: 0; -errno with @e, which names the file. */
static int load(const char *file, struct buf *text, struct error *e)
{
    int r;

    if (!streq(file, "-"))
        return file_load(file, text, e);
    r = buf_read_fd(text, STDIN_FILENO);
    return r < 0 ? error_set_errno(e, r, "cannot read standard input") : 0;
}

static int print(const struct buf *result, struct error *e)
{
    if (fwrite(buf_text(result), 1, result->len, stdout) == result->len && fflush(stdout) == 0)
        return 0;
    return error_set_errno(e, negative_errno(), "cannot print the result");
}

static int run(const struct convert_command *c, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(YAML_MAX_BYTES);
    _cleanup_(buf_deinit) struct buf result = BUF_INIT(REWRITE_MAX_BYTES);
    int r = load(c->file, &text, e);

    if (r < 0)
        return r;
    r = convert(buf_text(&text), text.len, &c->options, &result, e);
    if (r < 0)
        return error_prefix(e, r, "%.200s", streq(c->file, "-") ? "standard input" : c->file);
    return print(&result, e);
}

int command_convert(const struct invocation *invocation, int argc, char *argv[])
{
    struct convert_command c = {.file = NULL};
    struct error e = ERROR_INIT;

    if (parse(argc, argv, &c, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (c.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    return run(&c, &e) < 0 ? command_failed(invocation, EXIT_FAILED, e.text) : EXIT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/exec/options.h"

#include <signal.h>
#include <stdio.h>

#include "base/arguments.h"
#include "base/words.h"

enum option_code {
    OPTION_HELP = 'h',
    OPTION_ENV = SOURCE_OPTION_END,
    OPTION_ENV_FROM,
    OPTION_ENV_SPEC,
    OPTION_ENV_VOLUME,
    OPTION_ENV_NAMES,
    OPTION_OPTIONAL,
    OPTION_ON_CHANGE,
    OPTION_GRACE,
};

const struct option exec_long_options[] = {
    SOURCE_LONG_OPTIONS,
    {"env", required_argument, NULL, OPTION_ENV},
    {"env-from", required_argument, NULL, OPTION_ENV_FROM},
    {"env-spec", required_argument, NULL, OPTION_ENV_SPEC},
    {"env-volume", required_argument, NULL, OPTION_ENV_VOLUME},
    {"env-names", required_argument, NULL, OPTION_ENV_NAMES},
    {"optional", no_argument, NULL, OPTION_OPTIONAL},
    {"on-change", required_argument, NULL, OPTION_ON_CHANGE},
    {"grace", required_argument, NULL, OPTION_GRACE},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

void exec_options_help(const char *program)
{
    printf(
        "Usage: %s exec [options] -- COMMAND [ARGUMENT...]\n"
        "\n"
        "Run a command with Secrets and ConfigMaps in its environment, as a container has them.\n"
        "\n"
        "What goes into the environment:\n"
        "      --env VAR=secret/NAME/KEY, --env VAR=configmap/NAME/KEY\n"
        "                          the value of one key\n"
        "      --env-from secret/NAME[:PREFIX], --env-from configmap/NAME[:PREFIX]\n"
        "                          every key, with PREFIX before its name; --env wins over it\n"
        "      --env-spec FILE     the env: and envFrom: lists of a container, as YAML or JSON\n"
        "      --env-volume NAME=DIRECTORY\n"
        "                          where --env-spec's fileKeyRef finds the volume NAME\n"
        "      --env-names strict  skip keys that are not names of letters, digits, \"-\", \"_\" "
        "and\n"
        "                          \".\", as Kubernetes before 1.30; \"relaxed\" (the default)\n"
        "                          makes every key a variable\n"
        "      --optional          objects and keys of --env and --env-from may be missing\n"
        "\n"
        "What happens when a value changes:\n"
        "      --on-change ignore  nothing (the default): the command replaces secretfs\n"
        "      --on-change restart stop the command and start it again\n"
        "      --on-change signal:NAME\n"
        "                          send it a signal, such as signal:HUP\n"
        "      --grace DURATION    how long it may take to exit before it is killed (default:\n"
        "                          10s)\n"
        "\n"
        "Where the objects come from:\n" SOURCE_OPTIONS_HELP "\n" SOURCE_OPTIONS_LOG_HELP
        "  -h, --help              show this help\n"
        "\n"
        "Example:\n"
        "  %s exec -n prod --env PGPASSWORD=secret/db/password -- psql -h db\n",
        program, program);
}

/* ---- values */

/* @text: a name with or without SIG, or a number. Return: 0 for an unknown signal. */
static int parse_signal(const char *text)
{
    const char *name = str_after(text, "SIG") != NULL ? str_after(text, "SIG") : text;

    for (int signo = 1; signo < NSIG; signo++) {
        const char *known = sigabbrev_np(signo);
        char number[12];

        snprintf(number, sizeof(number), "%d", signo);
        if ((known != NULL && streq(name, known)) || streq(text, number))
            return signo;
    }
    return 0;
}

static int parse_on_change(const char *text, struct exec_options *o, struct error *e)
{
    static const char *const words[] = {[ON_CHANGE_IGNORE] = "ignore",
                                        [ON_CHANGE_RESTART] = "restart",
                                        [ON_CHANGE_SIGNAL] = "signal:NAME",
                                        NULL};
    const char *name = str_after(text, "signal:");
    int found = name == NULL ? words_find(words, "--on-change", text, e) : ON_CHANGE_SIGNAL;

    if (found < 0)
        return found;
    o->on_change = (enum on_change)found;
    o->signal = name != NULL ? parse_signal(name) : 0;
    return name == NULL || o->signal != 0
               ? 0
               : error_set(e, -EINVAL, "unknown signal \"%.32s\", expected a name such as HUP",
                           name);
}

const char *const exec_env_names_words[] = {
    [ENV_NAMES_RELAXED] = "relaxed", [ENV_NAMES_STRICT] = "strict", NULL};

static int parse_names(const char *text, struct exec_options *o, struct error *e)
{
    int found = words_find(exec_env_names_words, "--env-names", text, e);

    if (found < 0)
        return found;
    o->spec.names = (enum env_names)found;
    return 0;
}

static int add_file(struct exec_options *o, const char *path, struct error *e)
{
    int r = env_spec_add_file(&o->spec, path, e);

    return r == -EINVAL ? -EBADMSG : r; /* not a usage error */
}

static int add_to_spec(struct exec_options *o, int option, const char *value, struct error *e)
{
    int r;

    switch (option) {
    case OPTION_ENV:
        r = env_spec_add_key(&o->spec, value, o->is_optional, e);
        return r < 0 ? error_prefix(e, r, "--env") : 0;
    case OPTION_ENV_FROM:
        r = env_spec_add_object(&o->spec, value, o->is_optional, e);
        return r < 0 ? error_prefix(e, r, "--env-from") : 0;
    default:
        return add_file(o, value, e);
    }
}

/* ---- the command line */

/* Options that affect others, in any position. */
static int set_first(void *userdata, int option, const char *value, struct error *e)
{
    struct exec_options *o = userdata;

    int r;

    switch (option) {
    case OPTION_ENV_VOLUME:
        r = env_spec_add_volume(&o->spec, value, e);
        return r < 0 ? error_prefix(e, r, "--env-volume") : 0;
    case OPTION_ENV_NAMES:
        return parse_names(value, o, e);
    case OPTION_OPTIONAL:
        o->is_optional = true;
        return 0;
    case OPTION_HELP:
        o->wants_help = true;
        return ARGUMENTS_ENOUGH;
    default:
        return 0;
    }
}

static int set_second(void *userdata, int option, const char *value, struct error *e)
{
    struct exec_options *o = userdata;

    switch (option) {
    case OPTION_ENV:
    case OPTION_ENV_FROM:
    case OPTION_ENV_SPEC:
        return add_to_spec(o, option, value, e);
    case OPTION_ON_CHANGE:
        return parse_on_change(value, o, e);
    case OPTION_GRACE:
        return clock_parse_duration(value, &o->grace, e);
    case OPTION_ENV_VOLUME:
    case OPTION_ENV_NAMES:
    case OPTION_OPTIONAL:
        return 0;
    default:
        return source_options_set(&o->from, option, value, e);
    }
}

/* Without "--" a misplaced option would go to the wrong program, without a message. */
static int check_command(char *const argv[], int command_at, struct error *e)
{
    if (argv[command_at] == NULL)
        return error_set(e, -EINVAL, "a command is required: -- COMMAND [ARGUMENT...]");
    if (!streq(argv[command_at - 1], "--"))
        return error_set(e, -EINVAL,
                         "write -- before the command: secretfs exec [options] -- %.64s%s",
                         argv[command_at], argv[command_at + 1] != NULL ? " ..." : "");
    return 0;
}

static int parse_options(int argc, char *argv[], struct exec_options *o, struct error *e)
{
    static arguments_set_fn *const passes[] = {set_first, set_second};
    int r = 0;

    for (size_t i = 0; i < ELEMENTS_OF(passes) && r == 0; i++)
        r = arguments_parse(argc, argv, "+:n:h", exec_long_options, passes[i], o, e);
    o->command = argv + optind;
    return r == 0 ? check_command(argv, optind, e) : r;
}

int exec_options_parse(int argc, char *argv[], struct exec_options *ret_options, struct error *e)
{
    struct exec_options *o = ret_options;
    int r;

    *o = (struct exec_options){.from = SOURCE_OPTIONS_INIT, .grace = GRACE_DEFAULT};
    r = parse_options(argc, argv, o, e);
    if (r != 0)
        return r == ARGUMENTS_ENOUGH ? 0 : r;
    if (o->spec.n_sources == 0)
        return error_set(e, -EINVAL, "no variables: use --env, --env-from or --env-spec");
    return source_options_check(&o->from, e);
}

void exec_options_deinit(struct exec_options *options)
{
    source_options_deinit(&options->from);
    env_spec_deinit(&options->spec);
}

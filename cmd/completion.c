/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/completion.h"

#include "base/util.h"
#include "cmd/adopt/convert_command.h"
#include "cmd/adopt/status_command.h"
#include "cmd/audit/command.h"
#include "cmd/exec/options.h"
#include "cmd/health.h"
#include "cmd/mount/options.h"
#include "cmd/observe/command.h"
#include "cmd/rollout/command.h"
#include "cmd/shared/output.h"
#include "cmd/status/command.h"
#include "cmd/stop.h"
#include "cmd/unmount.h"
#include "cmd/upgrade.h"
#include "node/options.h"
#include "serve/update_action.h"
#include "volume/spec_words.h"

const char *const completion_commands[] = {
    "mount",   "exec",  "node",   "keeper", "unmount", "stop",    "upgrade", "status", "observe",
    "rollout", "audit", "health", "doctor", "adopt",   "convert", "version", "help",   NULL,
};

static const struct option doctor_long_options[] = {{"output", required_argument, NULL, 'o'}, {0}};

/* The arguments of a command that are not options; those after the second are like the second. */
static const struct subcommand {
    const char *name;
    const struct option *options, *more_options; /* NULL: none */
    struct completion arguments[2];
} commands[] = {
    {"mount",
     mount_long_options,
     NULL,
     {{.kind = COMPLETION_STORED}, {.kind = COMPLETION_DIRECTORIES}}},
    {"exec", exec_long_options, NULL, {{.kind = COMPLETION_FILES}, {.kind = COMPLETION_FILES}}},
    {"node", node_long_options, NULL, {{.kind = COMPLETION_NONE}}},
    {"keeper", NULL, NULL, {{.kind = COMPLETION_FILES}, {.kind = COMPLETION_FILES}}},
    {"unmount",
     unmount_long_options,
     NULL,
     {{.kind = COMPLETION_TARGETS}, {.kind = COMPLETION_TARGETS}}},
    {"umount",
     unmount_long_options,
     NULL,
     {{.kind = COMPLETION_TARGETS}, {.kind = COMPLETION_TARGETS}}},
    {"stop", stop_long_options, NULL, {{.kind = COMPLETION_NONE}}},
    {"upgrade", upgrade_long_options, NULL, {{.kind = COMPLETION_TARGETS}}},
    {"status", status_long_options, NULL, {{.kind = COMPLETION_TARGETS}}},
    {"observe",
     observe_long_options,
     NULL,
     {{.kind = COMPLETION_TARGETS}, {.kind = COMPLETION_TARGETS}}},
    {"rollout",
     rollout_long_options,
     NULL,
     {{.kind = COMPLETION_WORDS, .words = rollout_verbs}, {.kind = COMPLETION_OBJECTS}}},
    {"audit", audit_long_options, NULL, {{.kind = COMPLETION_FILES}}},
    {"health", health_long_options, NULL, {{.kind = COMPLETION_NONE}}},
    {"doctor", node_long_options, doctor_long_options, {{.kind = COMPLETION_NONE}}},
    {"adopt",
     adopt_long_options,
     NULL,
     {{.kind = COMPLETION_WORDS, .words = adopt_verbs}, {.kind = COMPLETION_NONE}}},
    {"convert", convert_long_options, NULL, {{.kind = COMPLETION_NONE}}},
    {"help", NULL, NULL, {{.kind = COMPLETION_COMMANDS}, {.kind = COMPLETION_NONE}}},
};

/* ---- values of options */

static const char *const on_change[] = {"ignore", "restart", "signal:HUP", NULL};

static const struct value {
    const char *option;
    const char *command; /* NULL: of any command */
    struct completion completion;
} values[] = {
    {"output", "status", {.kind = COMPLETION_WORDS, .words = status_output_words}},
    {"output", NULL, {.kind = COMPLETION_WORDS, .words = output_words}},
    {"namespace", "rollout", {.kind = COMPLETION_NAMESPACES}},
    {"namespace", "status", {.kind = COMPLETION_NAMESPACES}},
    {"pod", "status", {.kind = COMPLETION_PODS}},
    {"object", "status", {.kind = COMPLETION_OBJECTS}},
    {"object", "observe", {.kind = COMPLETION_STORED}},
    {"env", "exec", {.kind = COMPLETION_VARIABLE}},
    {"env-from", "exec", {.kind = COMPLETION_STORED}},
    {"log-level", NULL, {.kind = COMPLETION_WORDS, .words = log_level_words}},
    {"log-format", NULL, {.kind = COMPLETION_WORDS, .words = log_format_words}},
    {"rights", NULL, {.kind = COMPLETION_WORDS, .words = node_rights_words}},
    {"env-names", NULL, {.kind = COMPLETION_WORDS, .words = exec_env_names_words}},
    {"on-change", NULL, {.kind = COMPLETION_WORDS, .words = on_change}},
    {"on-revoked", NULL, {.kind = COMPLETION_WORDS, .words = volume_revoked_words}},
    {"on-update", NULL, {.kind = COMPLETION_WORDS, .words = update_action_words}},
    {"tls", NULL, {.kind = COMPLETION_WORDS, .words = volume_tls_words}},
    {"updates", NULL, {.kind = COMPLETION_WORDS, .words = volume_updates_words}},
    {"type", NULL, {.kind = COMPLETION_WORDS, .words = volume_type_words}},
    {"trace", NULL, {.kind = COMPLETION_WORDS, .words = log_trace_words}},
    {"consumers", NULL, {.kind = COMPLETION_WORDS, .words = node_switch_words}},
    {"report-conditions", NULL, {.kind = COMPLETION_WORDS, .words = node_switch_words}},
    {"keep-previous", NULL, {.kind = COMPLETION_WORDS, .words = node_switch_words}},
    {"ui", NULL, {.kind = COMPLETION_WORDS, .words = node_switch_words}},
    {"kubeconfig", NULL, {.kind = COMPLETION_FILES}},
    {"config", NULL, {.kind = COMPLETION_FILES}},
    {"audit", NULL, {.kind = COMPLETION_FILES}},
    {"volume", NULL, {.kind = COMPLETION_FILES}},
    {"env-spec", NULL, {.kind = COMPLETION_FILES}},
    {"filename", NULL, {.kind = COMPLETION_FILES}},
    {"endpoint", NULL, {.kind = COMPLETION_FILES}},
    {"registration-path", NULL, {.kind = COMPLETION_FILES}},
    {"manifests", NULL, {.kind = COMPLETION_DIRECTORIES}},
    {"kubelet-root", NULL, {.kind = COMPLETION_DIRECTORIES}},
    {"run-dir", NULL, {.kind = COMPLETION_DIRECTORIES}},
    {"volumes-dir", NULL, {.kind = COMPLETION_DIRECTORIES}},
};

static struct completion value_of(const struct subcommand *command, const struct option *option)
{
    for (size_t i = 0; i < ELEMENTS_OF(values); i++)
        if (streq(values[i].option, option->name) &&
            (values[i].command == NULL || streq(values[i].command, command->name)))
            return values[i].completion;
    return (struct completion){.kind = COMPLETION_NONE};
}

/* ---- words of the command line */

static const struct subcommand *find_command(const char *name)
{
    for (size_t i = 0; i < ELEMENTS_OF(commands); i++)
        if (streq(commands[i].name, name))
            return &commands[i];
    return NULL;
}

static const struct option *find_in(const struct option *options, const char *word, size_t len)
{
    bool is_long = str_after(word, "--") != NULL;

    for (const struct option *o = options; o != NULL && o->name != NULL; o++)
        if (is_long ? strlen(o->name) + 2 == len && memcmp(o->name, word + 2, len - 2) == 0
                    : len == 2 && o->val == word[1])
            return o;
    return NULL;
}

/* @word: "--name" or "-n", of @len bytes. Return: NULL for an unknown option. */
static const struct option *find_option(const struct subcommand *command, const char *word,
                                        size_t len)
{
    const struct option *found = find_in(command->options, word, len);

    return found != NULL ? found : find_in(command->more_options, word, len);
}

/* Whether the word is an option whose value is the next word. */
static const struct option *awaits_value(const struct subcommand *command, const char *word)
{
    const struct option *option = word[0] == '-' ? find_option(command, word, strlen(word)) : NULL;

    return option != NULL && option->has_arg == required_argument ? option : NULL;
}

/* The place behind the words before it. */
struct place {
    const struct option *value_of; /* the option that awaits its value; NULL: none */
    size_t n_arguments;            /* words that are no options */
    bool is_past_options;          /* behind "--" */
};

static struct place find_place(const struct subcommand *command, const char *const *words, size_t n)
{
    struct place place = {.n_arguments = 0};

    for (size_t i = 0; i < n; i++) {
        if (place.value_of != NULL)
            place.value_of = NULL;
        else if (place.is_past_options || words[i][0] != '-')
            place.n_arguments++;
        else if (streq(words[i], "--"))
            place.is_past_options = true;
        else
            place.value_of = awaits_value(command, words[i]);
    }
    return place;
}

/* "--name=VALUE". Return: NULL for another word. */
static const struct option *find_option_with_value(const struct subcommand *command,
                                                   const char *word, const char **ret_value)
{
    const char *equals = str_after(word, "--") != NULL ? strchr(word, '=') : NULL;

    if (equals == NULL)
        return NULL;
    *ret_value = equals + 1;
    return find_option(command, word, (size_t)(equals - word));
}

/* "--output=js": the value behind the "=". Return: whether @word is one. */
static bool find_value_behind(const struct subcommand *command, const char *word,
                              struct completion *ret_completion)
{
    const char *value;
    const struct option *option = find_option_with_value(command, word, &value);

    if (option == NULL)
        return false;
    *ret_completion = value_of(command, option);
    ret_completion->prefix_len = (size_t)(value - word);
    return true;
}

struct completion completion_find(const char *const *words, size_t n)
{
    static const struct completion first = {.kind = COMPLETION_COMMANDS};
    struct completion found = {.kind = COMPLETION_NONE};
    const struct subcommand *command;
    struct place place;

    assert(n > 0);
    if (n == 1)
        return first;
    command = find_command(words[0]);
    if (command == NULL)
        return found;
    place = find_place(command, words + 1, n - 2);
    if (place.value_of != NULL)
        return value_of(command, place.value_of);
    if (!place.is_past_options && words[n - 1][0] == '-')
        return find_value_behind(command, words[n - 1], &found)
                   ? found
                   : (struct completion){.kind = COMPLETION_OPTIONS,
                                         .options = command->options,
                                         .more_options = command->more_options};
    return command->arguments[place.n_arguments > 0];
}

void completion_visit_options(const char *const *words, size_t n, completion_option_fn *set,
                              void *userdata)
{
    const struct subcommand *command = n > 1 ? find_command(words[0]) : NULL;
    const struct option *awaited = NULL;

    if (command == NULL)
        return;
    for (size_t i = 1; i < n - 1 && (awaited != NULL || !streq(words[i], "--")); i++) {
        const char *value = words[i];
        const struct option *option =
            awaited != NULL ? awaited : find_option_with_value(command, words[i], &value);

        if (option != NULL)
            set(userdata, option->val, value);
        awaited = option == NULL ? awaits_value(command, words[i]) : NULL;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/command_list.h"

#include <limits.h>
#include <pwd.h>

#include "encoding/field.h"

static int no_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the commands");
}

/* ---- words */

/* A number is both user and group. Return: 0; -EINVAL with @e. */
static int parse_user(const char *text, struct command *command, struct error *e)
{
    size_t len = strspn(text, "0123456789");
    const struct passwd *entry;

    if (len > 0 && len <= 9 && text[len] == '\0') {
        command->uid = (uid_t)strtoul(text, NULL, 10);
        command->gid = command->uid;
        return 0;
    }
    entry = getpwnam(text);
    if (entry == NULL)
        return error_set(e, -EINVAL, "unknown user \"%.64s\": use a user of this host or a number",
                         text);
    command->uid = entry->pw_uid;
    command->gid = entry->pw_gid;
    return 0;
}

/* "10s". Return: 0; -EINVAL with @e. */
static int parse_timeout(const char *text, struct command *command, struct error *e)
{
    size_t len = strspn(text, "0123456789");
    unsigned long sec = len > 0 && len <= 3 ? strtoul(text, NULL, 10) : 0;

    if (sec == 0 || SPAN_SEC(sec) > COMMAND_TIMEOUT_MAX || !streq(text + len, "s"))
        return error_set(e, -EINVAL, "invalid timeout \"%.32s\": use 1s to %llus", text,
                         (unsigned long long)(COMMAND_TIMEOUT_MAX / SPAN_SEC(1)));
    command->timeout = SPAN_SEC(sec);
    return 0;
}

static int check_program(const char *path, struct error *e)
{
    if (path[0] == '/' && strlen(path) < PATH_MAX)
        return 0;
    return error_set(e, -EINVAL, "expected the absolute path of a program, not \"%.128s\"", path);
}

/* ---- the list */

static int parse_argv(const cJSON *json, const struct field *field, char ***ret_argv,
                      struct error *e)
{
    size_t n = (size_t)cJSON_GetArraySize(json), i = 0;
    const cJSON *argument;
    char **argv;

    if (!cJSON_IsArray(json) || n == 0 || n > COMMAND_ARGUMENTS_MAX)
        return field_error(field, e,
                           error_set(e, -EINVAL, "expected a program and at most %u arguments",
                                     COMMAND_ARGUMENTS_MAX - 1));
    argv = calloc(n + 1, sizeof(*argv));
    if (argv == NULL)
        return no_memory(e);
    *ret_argv = argv;
    cJSON_ArrayForEach (argument, json) {
        if (!cJSON_IsString(argument))
            return field_error(&FIELD_AT(field, i), e, error_set(e, -EINVAL, "expected a string"));
        argv[i] = strdup(argument->valuestring);
        if (argv[i++] == NULL)
            return no_memory(e);
    }
    assert(argv[0] != NULL);
    return check_program(argv[0], e) < 0 ? field_error(&FIELD_AT(field, 0), e, -EINVAL) : 0;
}

static int set_name(const char *name, struct command *command, struct error *e)
{
    if (!command_name_is_valid(name))
        return error_set(e, -EINVAL,
                         "invalid name \"%.64s\": use lower-case letters, digits and dashes", name);
    command->name = strdup(name);
    return command->name != NULL ? 0 : no_memory(e);
}

static void set_defaults(struct command *command)
{
    *command = (struct command){.uid = COMMAND_OWN_USER, .timeout = COMMAND_TIMEOUT};
}

static int parse_words(const cJSON *json, const struct field *field, struct command *command,
                       struct error *e)
{
    const char *name, *timeout = NULL, *user = NULL;
    int r = field_read_required_text(json, field, "name", &name, e);

    if (r == 0)
        r = field_read_text(json, field, "timeout", &timeout, e);
    if (r == 0)
        r = field_read_text(json, field, "user", &user, e);
    if (r < 0)
        return r;
    r = set_name(name, command, e);
    if (r < 0)
        return field_error(&FIELD(field, "name"), e, r);
    r = timeout != NULL ? parse_timeout(timeout, command, e) : 0;
    if (r < 0)
        return field_error(&FIELD(field, "timeout"), e, r);
    r = user != NULL ? parse_user(user, command, e) : 0;
    return r < 0 ? field_error(&FIELD(field, "user"), e, r) : 0;
}

static int parse_command(const cJSON *json, const struct field *field, struct command *command,
                         struct error *e)
{
    char **argv = NULL;
    int r = field_check_members(json, field, "name, command, timeout, user", e);

    if (r == 0)
        r = parse_words(json, field, command, e);
    if (r < 0)
        return r;
    r = parse_argv(field_member(json, "command"), &FIELD(field, "command"), &argv, e);
    command->argv = argv;
    return r;
}

int command_list_parse(const cJSON *json, struct command_list *ret_list, struct error *e)
{
    const struct field field = FIELD(NULL, "commands");
    struct command_list *list = ret_list;
    size_t n = (size_t)cJSON_GetArraySize(json);
    const cJSON *entry;
    int r = field_check_list(json, &field, e);

    *list = (struct command_list){.n = 0};
    if (r < 0)
        return r;
    if (n > COMMANDS_MAX)
        return field_error(&field, e, error_set(e, -E2BIG, "more than %u commands", COMMANDS_MAX));
    list->commands = calloc(n + 1, sizeof(*list->commands));
    if (list->commands == NULL)
        return no_memory(e);
    cJSON_ArrayForEach (entry, json) {
        struct command *command = &list->commands[list->n];
        const struct field at = FIELD_AT(&field, list->n);

        set_defaults(command);
        list->n++;
        r = parse_command(entry, &at, command, e);
        if (r == 0 && command_list_find(list, command->name) != command)
            r = field_error(&FIELD(&at, "name"), e, error_set(e, -EINVAL, "duplicate name"));
        if (r < 0)
            return r;
    }
    return 0;
}

/* "NAME=PROGRAM" */
static int set_words(struct command *command, const char *text, struct error *e)
{
    _cleanup_(freep) char *name = strndup(text, strcspn(text, "="));
    const char *program = strchr(text, '=');
    char **argv = calloc(2, sizeof(*argv));
    int r;

    command->argv = argv;
    if (name == NULL || argv == NULL)
        return no_memory(e);
    r = set_name(name, command, e);
    program = program != NULL ? program + 1 : "";
    if (r == 0)
        r = check_program(program, e);
    if (r < 0)
        return r;
    argv[0] = strdup(program);
    return argv[0] != NULL ? 0 : no_memory(e);
}

int command_list_add(struct command_list *list, const char *text, struct error *e)
{
    struct command *grown;
    int r;

    if (list->n >= COMMANDS_MAX)
        return error_set(e, -E2BIG, "more than %u commands", COMMANDS_MAX);
    grown = reallocarray(list->commands, list->n + 1, sizeof(*grown));
    if (grown == NULL)
        return no_memory(e);
    list->commands = grown;
    set_defaults(&grown[list->n++]);
    r = set_words(&grown[list->n - 1], text, e);
    if (r == 0 && command_list_find(list, grown[list->n - 1].name) != &grown[list->n - 1])
        return error_set(e, -EINVAL, "duplicate name \"%s\"", grown[list->n - 1].name);
    return r;
}

int command_list_set_user(struct command_list *list, const char *user, struct error *e)
{
    int r = 0;

    for (size_t i = 0; i < list->n && r == 0; i++)
        r = parse_user(user, &list->commands[i], e);
    return r;
}

void command_list_deinit(struct command_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        struct command *command = &list->commands[i];

        for (size_t k = 0; command->argv != NULL && command->argv[k] != NULL; k++)
            free(command->argv[k]);
        free((void *)(uintptr_t)command->argv);
        free((void *)(uintptr_t)command->name);
    }
    free(list->commands);
    *list = (struct command_list){.n = 0};
}

const struct command *command_list_find(const struct command_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->commands[i].name != NULL && streq(list->commands[i].name, name))
            return &list->commands[i];
    return NULL;
}

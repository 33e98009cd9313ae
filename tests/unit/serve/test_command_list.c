/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/command_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "encoding/yaml.h"
#include "tests/unit/failmalloc.h"

static int parse(const char *yaml, struct command_list *list, struct error *e)
{
    cJSON *json = NULL;
    int r;

    assert_int_equal(yaml_parse_one(yaml, strlen(yaml), &json, e), 0);
    r = command_list_parse(json, list, e);
    cJSON_Delete(json);
    return r;
}

static void refuse(const char *yaml, const char *text)
{
    struct command_list list;
    struct error e = ERROR_INIT;

    if (parse(yaml, &list, &e) != -EINVAL || strncmp(e.text, text, strlen(text)) != 0)
        fail_msg("%s: \"%s\", not \"%s\"", yaml, e.text, text);
    command_list_deinit(&list);
}

#define WHOLE                                                                                      \
    "[{name: a, command: [/bin/a, -x, b c], timeout: 60s, user: root}, {name: b-2, command: "      \
    "[/b], user: \"12345\"}, {name: c, command: [/c]}]"

static void test_commands(void **state)
{
    const struct command *command;
    struct command_list list;
    struct error e = ERROR_INIT;

    assert_int_equal(parse(WHOLE, &list, &e), 0);
    assert_int_equal(list.n, 3);
    command = command_list_find(&list, "a");
    assert_non_null(command);
    assert_string_equal(command->argv[0], "/bin/a");
    assert_string_equal(command->argv[1], "-x");
    assert_string_equal(command->argv[2], "b c");
    assert_null(command->argv[3]);
    assert_int_equal(command->timeout, SPAN_SEC(60));
    assert_int_equal(command->uid, 0);
    command = command_list_find(&list, "b-2");
    assert_int_equal(command->uid, 12345);
    assert_int_equal(command->gid, 12345);
    command = command_list_find(&list, "c");
    assert_int_equal(command->uid, COMMAND_OWN_USER);
    assert_int_equal(command->timeout, SPAN_SEC(10));
    assert_null(command_list_find(&list, "/c"));
    command_list_deinit(&list);
    assert_int_equal(parse("[]", &list, &e), 0);
    assert_int_equal(list.n, 0);
    command_list_deinit(&list);
}

static void test_faults(void **state)
{
    refuse("{}", "commands: expected a list");
    refuse("[{command: [/a]}]", "commands[0].name: required");
    refuse("[{name: a}]", "commands[0].command: expected a program and at most 63 arguments");
    refuse("[{name: a, command: /bin/a}]", "commands[0].command: expected a program");
    refuse("[{name: a, command: []}]", "commands[0].command: expected a program");
    refuse("[{name: a, command: [a]}]",
           "commands[0].command[0]: expected the absolute path of a program, not \"a\"");
    refuse("[{name: a, command: [/a, 5]}]", "commands[0].command[1]: expected a string");
    refuse("[{name: ../a, command: [/a]}]", "commands[0].name: invalid name \"../a\": use");
    refuse("[{name: a, command: [/a]}, {name: a, command: [/b]}]",
           "commands[1].name: duplicate name");
    refuse("[{name: a, command: [/a], timeout: 61s}]",
           "commands[0].timeout: invalid timeout \"61s\": use 1s to 60s");
    refuse("[{name: a, command: [/a], timeout: 0s}]", "commands[0].timeout: invalid timeout");
    refuse("[{name: a, command: [/a], timeout: 5m}]", "commands[0].timeout: invalid timeout");
    refuse("[{name: a, command: [/a], user: no-such-user}]",
           "commands[0].user: unknown user \"no-such-user\": use a user of this host or a number");
    refuse("[{name: a, command: [/a], shell: true}]", "commands[0].shell: unknown field");
}

static void test_limits(void **state)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(65536);
    struct command_list list;
    struct error e = ERROR_INIT;

    assert_int_equal(buf_add_text(&text, "["), 0);
    for (unsigned i = 0; i <= COMMANDS_MAX; i++)
        assert_int_equal(buf_addf(&text, "{name: c%u, command: [/a]},", i), 0);
    assert_int_equal(buf_add_text(&text, "]"), 0);
    assert_int_equal(parse(buf_text(&text), &list, &e), -E2BIG);
    assert_string_equal(e.text, "commands: more than 64 commands");
    command_list_deinit(&list);
    buf_reset(&text);
    assert_int_equal(buf_add_text(&text, "[{name: a, command: ["), 0);
    for (unsigned i = 0; i <= COMMAND_ARGUMENTS_MAX; i++)
        assert_int_equal(buf_add_text(&text, "/a,"), 0);
    assert_int_equal(buf_add_text(&text, "]}]"), 0);
    refuse(buf_text(&text), "commands[0].command: expected a program and at most 63 arguments");
}

static void test_commands_of_a_line(void **state)
{
    struct command_list list = {.n = 0};
    const struct command *command;
    struct error e = ERROR_INIT;

    assert_int_equal(command_list_add(&list, "a=/bin/a=b", &e), 0);
    assert_int_equal(command_list_add(&list, "b=/b", &e), 0);
    assert_int_equal(command_list_set_user(&list, "17", &e), 0);
    command = command_list_find(&list, "a");
    assert_non_null(command);
    assert_string_equal(command->argv[0], "/bin/a=b");
    assert_null(command->argv[1]);
    assert_int_equal(command->uid, 17);
    assert_int_equal(command_list_find(&list, "b")->uid, 17);
    assert_int_equal(command_list_add(&list, "b=/c", &e), -EINVAL);
    assert_string_equal(e.text, "duplicate name \"b\"");
    assert_int_equal(command_list_add(&list, "c", &e), -EINVAL);
    assert_string_equal(e.text, "expected the absolute path of a program, not \"\"");
    assert_int_equal(command_list_add(&list, "=/c", &e), -EINVAL);
    assert_int_equal(command_list_set_user(&list, "no-such-user", &e), -EINVAL);
    while (list.n < COMMANDS_MAX) {
        char text[32];

        snprintf(text, sizeof(text), "c%zu=/c", list.n);
        assert_int_equal(command_list_add(&list, text, &e), 0);
    }
    assert_int_equal(command_list_add(&list, "z=/c", &e), -E2BIG);
    command_list_deinit(&list);
}

static int try_parse(void *userdata)
{
    struct command_list list;
    struct error e = ERROR_INIT;
    int r = command_list_parse(userdata, &list, &e);

    command_list_deinit(&list);
    return r;
}

static void test_memory_can_be_short(void **state)
{
    static const char some[] = "[{name: a, command: [/bin/a, b], user: \"5\"}]";
    cJSON *json = NULL;

    assert_int_equal(yaml_parse_one(some, strlen(some), &json, NULL), 0);
    failmalloc_try(try_parse, json);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_commands_of_a_line),
        cmocka_unit_test(test_memory_can_be_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

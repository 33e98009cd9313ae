/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cmd/completion.h"
#include "cmd/status/command.h"
#include "node/options.h"

#define WORDS_MAX 8

/* @line: words separated by blanks; the one behind the last blank is completed */
static struct completion find(const char *line)
{
    static char text[256];
    const char *words[WORDS_MAX];
    size_t n = 0;
    char *rest = text;

    snprintf(text, sizeof(text), "%s", line);
    while (rest != NULL && n < WORDS_MAX)
        words[n++] = strsep(&rest, " ");
    return completion_find(words, n);
}

static void test_places(void **state)
{
    static const struct {
        const char *line;
        enum completion_kind kind;
        const char *word; /* the first of .words */
        size_t prefix_len;
    } cases[] = {
        {"", COMPLETION_COMMANDS, NULL, 0},
        {"st", COMPLETION_COMMANDS, NULL, 0},
        {"help ", COMPLETION_COMMANDS, NULL, 0},
        {"help status ", COMPLETION_NONE, NULL, 0},
        {"unknown ", COMPLETION_NONE, NULL, 0},
        {"version -", COMPLETION_NONE, NULL, 0},
        {"status ", COMPLETION_TARGETS, NULL, 0},
        {"umount ", COMPLETION_TARGETS, NULL, 0},
        {"stop ", COMPLETION_NONE, NULL, 0},
        {"upgrade ", COMPLETION_TARGETS, NULL, 0},
        {"upgrade --a", COMPLETION_OPTIONS, NULL, 0},
        {"status -", COMPLETION_OPTIONS, NULL, 0},
        {"status --out", COMPLETION_OPTIONS, NULL, 0},
        {"status -o ", COMPLETION_WORDS, "text", 0},
        {"status --output ", COMPLETION_WORDS, "text", 0},
        {"status --output=w", COMPLETION_WORDS, "text", 9},
        {"status --unknown=w", COMPLETION_OPTIONS, NULL, 0},
        {"status -w ", COMPLETION_TARGETS, NULL, 0},
        {"status --pod ", COMPLETION_PODS, NULL, 0},
        {"status --object=", COMPLETION_OBJECTS, NULL, 9},
        {"status -n ", COMPLETION_NAMESPACES, NULL, 0},
        {"mount -n ", COMPLETION_NONE, NULL, 0},
        {"mount ", COMPLETION_STORED, NULL, 0},
        {"mount --optional --uid 7 ", COMPLETION_STORED, NULL, 0},
        {"mount secret/db ", COMPLETION_DIRECTORIES, NULL, 0},
        {"mount secret/db -f ", COMPLETION_DIRECTORIES, NULL, 0},
        {"mount --manifests ", COMPLETION_DIRECTORIES, NULL, 0},
        {"mount --volume ", COMPLETION_FILES, NULL, 0},
        {"exec --env ", COMPLETION_VARIABLE, NULL, 0},
        {"exec --env=A=secret/", COMPLETION_VARIABLE, NULL, 6},
        {"exec --env-from ", COMPLETION_STORED, NULL, 0},
        {"observe /a ", COMPLETION_TARGETS, NULL, 0},
        {"unmount /a ", COMPLETION_TARGETS, NULL, 0},
        {"observe --object ", COMPLETION_STORED, NULL, 0},
        {"exec -- ls -", COMPLETION_FILES, NULL, 0},
        {"exec -", COMPLETION_OPTIONS, NULL, 0},
        {"doctor -o ", COMPLETION_WORDS, "text", 0},
        {"doctor --rights=", COMPLETION_WORDS, "node", 9},
        {"rollout ", COMPLETION_WORDS, "status", 0},
        {"rollout status ", COMPLETION_OBJECTS, NULL, 0},
        {"adopt ", COMPLETION_WORDS, "status", 0},
        {"adopt status ", COMPLETION_NONE, NULL, 0},
        {"convert -f ", COMPLETION_FILES, NULL, 0},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        const struct completion found = find(cases[i].line);

        if (found.kind != cases[i].kind || found.prefix_len != cases[i].prefix_len)
            fail_msg("\"%s\" gave %d, %zu", cases[i].line, (int)found.kind, found.prefix_len);
        if (cases[i].word != NULL)
            assert_string_equal(found.words[0], cases[i].word);
    }
}

/* They are the tables that the commands parse with. */
static void test_options_are_the_commands(void **state)
{
    const struct completion of_status = find("status -"), of_doctor = find("doctor -");

    assert_ptr_equal(of_status.options, status_long_options);
    assert_null(of_status.more_options);
    assert_ptr_equal(of_doctor.options, node_long_options);
    assert_string_equal(of_doctor.more_options[0].name, "output");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_options_are_the_commands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

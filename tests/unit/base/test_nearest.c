/* SPDX-License-Identifier: Apache-2.0 */
#include "base/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"

static const char *const known[] = {
    "mount", "unmount", "status",
    "exec",  "a",       "aVeryLongWordThatHasMoreBytesThanAreComparedAsNoNameOfAnOptionIsSo"};

static const struct {
    const char *word;
    const char *found; /* NULL: none is near */
} cases[] = {
    {"mout", "mount"},
    {"MOUNT", "mount"},
    {"umount", "mount"}, /* as near as unmount, and offered first */
    {"unmont", "unmount"},
    {"stats", "status"},
    {"xeec", "exec"}, /* a swap is one step */
    {"stauts", "status"},
    {"sta", "status"}, /* shortened */
    {"st", NULL},
    {"xcee", NULL},
    {"frobnicate", NULL},
    {"x", NULL}, /* all of "a" would be replaced */
    {"", NULL},
    {"aVeryLongWordThatHasMoreBytesThanAreComparedAsNoNameOfAnOptionIsSo", NULL},
};

static void nearest_word_is_found(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct nearest nearest = NEAREST_INIT(cases[i].word, strlen(cases[i].word));

        for (size_t j = 0; j < ELEMENTS_OF(known); j++)
            nearest_offer(&nearest, known[j], strlen(known[j]));
        if (cases[i].found == NULL ? nearest.found_len != 0
                                   : nearest.found == NULL || !streq(nearest.found, cases[i].found))
            fail_msg("\"%s\": %s", cases[i].word, nearest.found != NULL ? nearest.found : "none");
    }
}

static void words_need_no_terminator(void **state)
{
    struct nearest nearest = NEAREST_INIT("lable=x", 5);

    nearest_offer(&nearest, "label, name", 5);
    assert_int_equal(nearest.found_len, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nearest_word_is_found),
                                       cmocka_unit_test(words_need_no_terminator)};

    return cmocka_run_group_tests_name("nearest", tests, NULL, NULL);
}

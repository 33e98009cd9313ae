/* SPDX-License-Identifier: Apache-2.0 */
#include "base/name_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define NAME_63 "a23456789012345678901234567890123456789012345678901234567890123"

static void assert_printed(const struct name_list *list, const char *expected)
{
    struct error text;

    name_list_print(list, &text);
    assert_string_equal(text.text, expected);
}

static void offer_all(struct name_list *list, const char *const *names)
{
    for (; *names != NULL; names++)
        name_list_offer(list, *names);
}

static void nearest_comes_first(void **state)
{
    static const struct {
        const char *wanted;
        const char *names[5];
        const char *printed;
    } cases[] = {
        {"nope", {NULL}, "none"},
        {"nope", {"web", "db"}, "db, web"},
        {"web-tsl", {"db", "web", "web-tls"}, "web-tls, web, db"},
        {"x", {"c", "b", "a"}, "a, b, c"},
        {"db", {"DB", "dc"}, "DB, dc"},
        {"x", {NAME_63 "4"}, "1 with long names"},
        {"x", {NAME_63 "4", "b"}, "b and 1 more"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct name_list list = NAME_LIST_INIT(cases[i].wanted);

        offer_all(&list, cases[i].names);
        assert_printed(&list, cases[i].printed);
    }
}

/* However many there are, eight are shown, and these are the nearest, in each order of the names.
 */
static void list_is_bounded(void **state)
{
    for (int way = 0; way < 2; way++) {
        struct name_list list = NAME_LIST_INIT("s-00");
        char name[16];

        for (int i = 0; i < 100; i++) {
            snprintf(name, sizeof(name), "s-%02d", way == 0 ? i : 99 - i);
            name_list_offer(&list, name);
        }
        assert_printed(&list, "s-00, s-01, s-02, s-03, s-04, s-05, s-06, s-07 and 92 more");
    }
}

/* A text has room for what comes before the names. */
static void long_names_leave_room(void **state)
{
    struct name_list list = NAME_LIST_INIT("x");
    struct error text;

    for (int i = 0; i < 8; i++)
        name_list_offer(&list, NAME_63);
    assert_int_equal(list.n_shown, 8);
    name_list_print(&list, &text);
    assert_true(strlen(text.text) < ERROR_TEXT_MAX / 2 + 32);
    assert_non_null(strstr(text.text, NAME_63 " and 5 more"));
}

static void a_part_of_the_names_says_so(void **state)
{
    struct name_list list = NAME_LIST_INIT("x");

    list.is_part = true;
    name_list_offer(&list, "db");
    assert_printed(&list, "db and more");
}

static void repeated_name_is_shown_once(void **state)
{
    struct name_list list = NAME_LIST_INIT("x");

    for (int i = 0; i < 3; i++) {
        name_list_offer_once(&list, "ebs");
        name_list_offer_once(&list, "db");
    }
    assert_printed(&list, "db, ebs");
}

/* A wanted name that is too long to be compared: by their order. */
static void long_wanted_name(void **state)
{
    struct name_list list = NAME_LIST_INIT(NAME_63 NAME_63);
    static const char *const names[] = {"web", "db", NULL};

    offer_all(&list, names);
    assert_printed(&list, "db, web");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_comes_first),
        cmocka_unit_test(list_is_bounded),
        cmocka_unit_test(long_names_leave_room),
        cmocka_unit_test(a_part_of_the_names_says_so),
        cmocka_unit_test(repeated_name_is_shown_once),
        cmocka_unit_test(long_wanted_name),
    };

    return cmocka_run_group_tests_name("name_list", tests, NULL, NULL);
}

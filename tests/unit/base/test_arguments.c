/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arguments.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"

#define WORDS_MAX 8

enum { OPTION_LONG = 256, OPTION_BAD };

static const struct option long_options[] = {{"long", required_argument, NULL, OPTION_LONG},
                                             {"bad", no_argument, NULL, OPTION_BAD},
                                             {"help", no_argument, NULL, 'h'},
                                             {0}};

/* The options set, each as "OPTION=VALUE " */
struct seen {
    char text[256];
};

static int set(void *userdata, int option, const char *value, struct error *e)
{
    struct seen *seen = userdata;
    size_t used = strlen(seen->text);

    if (option == OPTION_BAD)
        return error_set(e, -ERANGE, "that is bad");
    snprintf(seen->text + used, sizeof(seen->text) - used, "%s=%s ",
             option == OPTION_LONG ? "long" : (char[]){(char)option, '\0'},
             value != NULL ? value : "");
    return option == 'h' ? ARGUMENTS_ENOUGH : 0;
}

static const struct {
    const char *short_options;
    const char *line;
    int result;
    const char *seen;
    const char *rest;  /* the first argument that is not an option, on success */
    const char *error; /* the error, on failure */
} cases[] = {
    {":ab:h", "c", 0, "", "(end)", ""},
    {":ab:h", "c -a -b x --long=y rest", 0, "a= b=x long=y ", "rest", ""},
    {":ab:h", "c rest -a", 0, "a= ", "rest", ""},
    {"+:ab:h", "c -a rest -a", 0, "a= ", "rest", ""},
    {":ab:h", "c -a -- -b", 0, "a= ", "-b", ""},
    {":ab:h", "c -h --nonsense", ARGUMENTS_ENOUGH, "h= ", NULL, ""},
    {":ab:h", "c -a --bad -a", -ERANGE, "a= ", NULL, "that is bad"},
    {":ab:h", "c --nonsense", -EINVAL, "", NULL, "unknown option --nonsense"},
    {":ab:h", "c --lng=x", -EINVAL, "", NULL, "unknown option --lng=x; did you mean \"--long\"?"},
    {":ab:h", "c -azb x", -EINVAL, "a= ", NULL, "unknown option -z"},
    {":ab:h", "c -a --long", -EINVAL, "a= ", NULL, "option --long needs a value"},
    {":ab:h", "c -b", -EINVAL, "", NULL, "option -b needs a value"},
};

/* One after the other, as getopt(3) has a state of its own. */
static void options_are_set_in_order(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        char words[64], *argv[WORDS_MAX + 2] = {NULL}, *at = words, end[] = "(end)";
        struct error e = ERROR_INIT;
        struct seen seen = {""};
        int argc = 0, r;

        stpcpy(words, cases[i].line);
        while (argc < WORDS_MAX && (argv[argc] = strsep(&at, " ")) != NULL)
            argc++;
        argv[argc] = NULL;
        r = arguments_parse(argc, argv, cases[i].short_options, long_options, set, &seen, &e);
        if (r != cases[i].result || !streq(seen.text, cases[i].seen) ||
            !streq(e.text, cases[i].error))
            fail_msg("\"%s\": %d, set %s, error \"%s\"", cases[i].line, r, seen.text, e.text);
        if (r == 0)
            assert_string_equal(argv[optind] != NULL ? argv[optind] : end, cases[i].rest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(options_are_set_in_order)};

    return cmocka_run_group_tests_name("arguments", tests, NULL, NULL);
}

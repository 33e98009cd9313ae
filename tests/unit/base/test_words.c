/* SPDX-License-Identifier: Apache-2.0 */
#include "base/words.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *const formats[] = {"text", "wide", "json", NULL};

static void known_word_has_its_place(void **state)
{
    for (int i = 0; formats[i] != NULL; i++)
        assert_int_equal(words_find(formats, "format", formats[i], NULL), i);
    assert_int_equal(words_find_part(formats, "format", "json,wide", 4, NULL), 2);
}

static void unknown_word_is_answered_with_the_known_ones(void **state)
{
    static const struct {
        const char *word;
        const char *text;
    } cases[] = {
        {"jsno",
         "invalid format \"jsno\", expected one of: text, wide, json; did you mean \"json\"?"},
        {"JSON",
         "invalid format \"JSON\", expected one of: text, wide, json; did you mean \"json\"?"},
        {"xml", "invalid format \"xml\", expected one of: text, wide, json"},
        {"", "invalid format \"\", expected one of: text, wide, json"},
        {"jsonjson", "invalid format \"jsonjson\", expected one of: text, wide, json"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct error e = ERROR_INIT;

        assert_int_equal(words_find(formats, "format", cases[i].word, &e), -EINVAL);
        assert_string_equal(e.text, cases[i].text);
    }
    assert_int_equal(words_find(formats, "format", "xml", NULL), -EINVAL);
}

/* Neither a long word nor a long list is more than a message holds. */
static void message_is_bounded(void **state)
{
    static const char *many[200];
    char word[1000];
    struct error e = ERROR_INIT;

    memset(word, 'x', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    assert_int_equal(words_find(formats, "format", word, &e), -EINVAL);
    assert_int_equal(strlen(e.text),
                     strlen("invalid format \"\", expected one of: text, wide, json") +
                         NEAREST_WORD_MAX_LEN);
    for (size_t i = 0; i + 1 < ELEMENTS_OF(many); i++)
        many[i] = "word";
    assert_int_equal(words_find(many, "format", "wrod", &e), -EINVAL);
    assert_int_equal(strlen(e.text), ERROR_TEXT_MAX - 1);
}

static void hint_repeats_what_stands_before(void **state)
{
    struct nearest nearest = NEAREST_INIT("logn", 4);
    struct error e = ERROR_INIT;

    nearest_offer(&nearest, "long", 4);
    error_set(&e, -EINVAL, "unknown option --logn");
    assert_int_equal(words_hint(&nearest, "--", &e, -EINVAL), -EINVAL);
    assert_string_equal(e.text, "unknown option --logn; did you mean \"--long\"?");
    assert_int_equal(words_hint(&nearest, "--", NULL, -EINVAL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_word_has_its_place),
        cmocka_unit_test(unknown_word_is_answered_with_the_known_ones),
        cmocka_unit_test(message_is_bounded),
        cmocka_unit_test(hint_repeats_what_stands_before),
    };

    return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "volume/spec_words.h"

#include "tests/unit/failmalloc.h"

static void items_of_a_command_line(void **state)
{
    static const struct {
        const char *text;
        const char *key;
        const char *path; /* NULL: refused */
        mode_t mode;
    } table[] = {
        {"k=p", "k", "p", VOLUME_MODE_UNSET},
        {"k=d/p:0400", "k", "d/p", 0400},
        {"k=p:256", "k", "p", 0400},
        {"k=p:0o440", "k", "p", 0440},
        {"k=p:0", "k", "p", 0},
        {"k=a=b", "k", "a=b", VOLUME_MODE_UNSET},
        {"k=a:b", "k", "a:b", VOLUME_MODE_UNSET},
        {"k=a:1:0644", "k", "a:1", 0644},
        {"k=p:0778", "", NULL, 0},
        {"k=p:01000", "", NULL, 0},
        {"k=p:644", "", NULL, 0},
        {"k=p:4x", "", NULL, 0},
        {"k", "", NULL, 0},
        {"=p", "", NULL, 0},
        {"k=", "", NULL, 0},
        {"k=/p", "", NULL, 0},
        {"k=..p", "", NULL, 0},
    };

    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
        struct volume_source *source;
        struct error e = ERROR_INIT;
        int r;

        assert_int_equal(volume_spec_new(VOLUME_SECRET, &spec), 0);
        assert_int_equal(volume_spec_add_source(spec, OBJECT_SECRET, "s", &source), 0);
        r = volume_item_parse(source, table[i].text, &e);
        if ((r == 0) != (table[i].path != NULL))
            fail_msg("\"%s\" gave %d, \"%s\"", table[i].text, r, e.text);
        if (r < 0) {
            assert_string_not_equal(e.text, "");
            continue;
        }
        assert_string_equal(source->items[0].key, table[i].key);
        assert_string_equal(source->items[0].path, table[i].path);
        assert_int_equal(source->items[0].mode, table[i].mode);
    }
}

/* L6 */
static void types(void **state)
{
    static const struct {
        const char *text;
        const char *type; /* NULL: refused */
    } table[] = {
        {"Opaque", "Opaque"},
        {"tls", "kubernetes.io/tls"},
        {"basic-auth", "kubernetes.io/basic-auth"},
        {"ssh-auth", "kubernetes.io/ssh-auth"},
        {"dockercfg", "kubernetes.io/dockercfg"},
        {"dockerconfigjson", "kubernetes.io/dockerconfigjson"},
        {"service-account-token", "kubernetes.io/service-account-token"},
        {"bootstrap-token", "bootstrap.kubernetes.io/token"},
        {"example.org/own", "example.org/own"},
        {"tsl", NULL},
        {"", NULL},
    };

    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
        struct error e;
        int r;

        assert_int_equal(volume_spec_new(VOLUME_SECRET, &spec), 0);
        r = volume_type_parse(spec, table[i].text, &e);
        assert_int_equal(r, table[i].type != NULL ? 0 : -EINVAL);
        if (r == 0)
            assert_string_equal(spec->type, table[i].type);
    }
}

static int parse_argument(void *userdata)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    struct volume_source *source;
    struct error e;
    int r = volume_spec_new(VOLUME_SECRET, &spec);

    if (r == 0)
        r = volume_spec_add_source(spec, OBJECT_SECRET, "s", &source);
    if (r == 0)
        r = volume_item_parse(source, "k=p:0400", &e);
    return r;
}

static void allocation_failures_are_reported(void **state)
{
    failmalloc_try(parse_argument, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_of_a_command_line),
        cmocka_unit_test(types),
        cmocka_unit_test(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests_name("spec_words", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/env_file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/cleanup.h"

/* ---- Y35: lines */

static const struct {
    const char *rule;
    const char *text;
    const char *value; /* of the key A; NULL: none */
} values[] = {
    {"a line", "A='1'\n", "1"},
    {"the last line needs no end", "A='1'", "1"},
    {"others before it", "B='2'\nA='1'\n", "1"},
    {"the first of a key", "A='1'\nA='2'\n", "1"},
    {"an empty file", "", NULL},
    {"only others", "B='2'\n", NULL},
    {"a key of another name", "AA='1'\n", NULL},
    {"blank lines and comments", "\n  \t\n# A='0'\n \t# '\nA='1'", "1"},
    {"blanks before the name", " \tA='1'", "1"},
    {"blanks within a name belong to it", "A B='2'\nA='1'", "1"},
    {"what follows the value", "A='1' # it's one\n", "1"},
    {"a comment right after the quote", "A='1'#\n", "1"},
    {"blanks after the quote", "A='1' \t\n", "1"},
    {"nothing is special between quotes", "A='$B \\n \"x\" #y = '\n", "$B \\n \"x\" #y = "},
    {"several lines", "A='1\n 2 \n\n#3'\n", "1\n 2 \n\n#3"},
    {"several lines of another key", "B='1\nA='\nA='2'\n", "2"},
    {"an = in a value", "B='A='\nA='b=c'\n", "b=c"},
    {"\\r\\n is \\n", "B='x'\r\nA='1\r\n2'\r\n", "1\n2"},
    {"another \\r stays", "A='1\r2\r'", "1\r2\r"},
    {"an empty value counts as missing", "A=''\nA='1'\n", NULL},
    {"a blank after = is an empty value", "A= '1'\nA='2'\n", NULL},
    {"a blank after another's =", "B= x\nA='1'\n", "1"},
    {"what follows the key is not read", "A='1'\nnonsense\n", "1"},
};

static void values_are_found(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(values); i++) {
        _cleanup_(buf_deinit) struct buf value = BUF_INIT(64);
        struct error e = ERROR_INIT;
        int r = env_file_find(values[i].text, strlen(values[i].text), "A", &value, &e);

        if (r != (values[i].value != NULL ? 0 : ENV_FILE_WITHOUT_KEY))
            fail_msg("%s: %d, %s", values[i].rule, r, e.text);
        if (values[i].value != NULL && !streq(buf_text(&value), values[i].value))
            fail_msg("%s: got %s", values[i].rule, buf_text(&value));
    }
}

static const struct {
    const char *text;
    const char *message;
} invalid[] = {
    {"B='dummy'\ndummy\n", "line 2: = is missing"},
    {"='dummy'\n", "line 1: the name before = is missing"},
    {"A ='dummy'\n", "line 1: remove the blanks before ="},
    {"A\t='dummy'\n", "line 1: remove the blanks before ="},
    {"A=dummy\n", "line 1: the value is not in single quotes"},
    {"A=\"dummy\"\n", "line 1: the value is not in single quotes"},
    {"A=\n", "line 1: the value is not in single quotes"},
    {"A='dummy'dummy\n", "line 1: text after the closing '"},
    {"A='dummy\n2' x\n", "line 2: text after the closing '"},
    {"\nA='dummy\n\n", "line 2: the closing ' is missing"},
    {"export A='dummy'\nB='2", "line 2: the closing ' is missing"},
};

static void invalid_lines_are_named(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(invalid); i++) {
        _cleanup_(buf_deinit) struct buf value = BUF_INIT(64);
        struct error e = ERROR_INIT;
        int r = env_file_find(invalid[i].text, strlen(invalid[i].text), "A", &value, &e);

        if (r != -EBADMSG || strstr(e.text, invalid[i].message) == NULL ||
            strstr(e.text, "dummy") != NULL)
            fail_msg("%s: %d, %s", invalid[i].text, r, e.text);
    }
}

static void long_value_is_refused(void **state)
{
    static const char *const texts[] = {"A='12345'", "A='1\n2\n3\n'"};

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        _cleanup_(buf_deinit) struct buf value = BUF_INIT(4);
        struct error e = ERROR_INIT;

        assert_int_equal(env_file_find(texts[i], strlen(texts[i]), "A", &value, &e), -EFBIG);
    }
}

/* ---- files */

struct directory {
    char path[64];
    int fd;
};

static void put(const struct directory *d, const char *name, const char *text)
{
    _cleanup_(fd_closep) int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int setup(void **state)
{
    static struct directory d;

    snprintf(d.path, sizeof(d.path), "/tmp/test-env-file-XXXXXX");
    assert_non_null(mkdtemp(d.path));
    d.fd = open(d.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(d.fd >= 0);
    assert_int_equal(mkdirat(d.fd, "volume", 0700), 0);
    put(&d, "outside", "outside");
    put(&d, "volume/a", "A='1'\n");
    assert_int_equal(mkfifoat(d.fd, "volume/fifo", 0600), 0);
    assert_int_equal(symlinkat("../outside", d.fd, "volume/up"), 0);
    assert_int_equal(symlinkat("/a", d.fd, "volume/root"), 0);
    *state = &d;
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"volume/a", "volume/fifo", "volume/up", "volume/root",
                                        "outside"};
    const struct directory *d = *state;

    for (size_t i = 0; i < ELEMENTS_OF(names); i++)
        assert_int_equal(unlinkat(d->fd, names[i], 0), 0);
    assert_int_equal(unlinkat(d->fd, "volume", AT_REMOVEDIR), 0);
    close(d->fd);
    return rmdir(d->path);
}

static void files_are_read_within_the_directory(void **state)
{
    static const struct {
        const char *directory, *path;
        int result;
    } cases[] = {
        {"volume", "a", 0},          {"volume", "/a", 0},
        {"volume", "root", 0}, /* "/" is the volume */
        {"volume", "up", -ENOENT},   {"volume", "none", -ENOENT},
        {"volume", "fifo", -EINVAL}, {"volume", "/", -EINVAL},
        {"none", "a", -ENOENT},
    };
    const struct directory *d = *state;

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(buf_deinit) struct buf text = BUF_INIT(64);
        char directory[128];
        struct error e = ERROR_INIT;
        int r;

        snprintf(directory, sizeof(directory), "%s/%s", d->path, cases[i].directory);
        r = env_file_load(directory, cases[i].path, &text, &e);
        if (r != cases[i].result || (r == 0) != streq(buf_text(&text), "A='1'\n"))
            fail_msg("%s: %d, %s", cases[i].path, r, e.text);
        if (r < 0 && strstr(e.text, directory) == NULL)
            fail_msg("%s", e.text);
    }
}

static void long_file_is_refused(void **state)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(4);
    const struct directory *d = *state;
    char directory[128];
    struct error e = ERROR_INIT;

    snprintf(directory, sizeof(directory), "%s/volume", d->path);
    assert_int_equal(env_file_load(directory, "a", &text, &e), -EFBIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_found),
        cmocka_unit_test(invalid_lines_are_named),
        cmocka_unit_test(long_value_is_refused),
        cmocka_unit_test_setup_teardown(files_are_read_within_the_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(long_file_is_refused, setup, teardown),
    };

    return cmocka_run_group_tests_name("env_file", tests, NULL, NULL);
}

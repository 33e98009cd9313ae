/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "encoding/json.h"

#define OUTPUT_MAX 65536

/* Standard error goes to a file while lines are written. */
static void capture(void (*write_lines)(void), char *ret_output)
{
    _cleanup_(fd_closep) int saved = dup(STDERR_FILENO);
    _cleanup_(fd_closep) int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    ssize_t len;

    assert_true(saved >= 0 && fd >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    write_lines();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    len = pread(fd, ret_output, OUTPUT_MAX - 1, 0);
    assert_true(len >= 0);
    ret_output[len] = '\0';
}

static void write_pairs(void)
{
    log_info("something happened", "object", "secret/default/db", "nothing", NULL, "n",
             LOG_NUM(-7));
    log_debug("not at this level", "key", "value");
    log_warn("\"quoted\"\n", "key", "a\"b\\c\nd\x01");
}

static void test_text(void **state)
{
    char output[OUTPUT_MAX];

    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    capture(write_pairs, output);
    assert_non_null(
        strstr(output, "Z INFO something happened object=\"secret/default/db\" n=\"-7\"\n"));
    assert_non_null(strstr(output, "key=\"a\\\"b\\\\c\\nd\\u0001\"\n"));
    assert_null(strstr(output, "not at this level"));
}

/* The lines of @output as JSON; fails if one of them is not. */
static cJSON *parse_lines(char *output)
{
    cJSON *lines = cJSON_CreateArray();

    for (char *line = output, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        cJSON *json = cJSON_ParseWithLength(line, (size_t)(end - line));

        if (json == NULL)
            fail_msg("no JSON: %.*s", (int)(end - line), line);
        cJSON_AddItemToArray(lines, json);
    }
    return lines;
}

static void test_json(void **state)
{
    char output[OUTPUT_MAX];
    const cJSON *line;
    cJSON *lines;

    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, LOG_TARGET_STDERR);
    capture(write_pairs, output);
    lines = parse_lines(output);
    assert_int_equal(cJSON_GetArraySize(lines), 2);
    line = cJSON_GetArrayItem(lines, 0);
    assert_string_equal(json_text(line, "level"), "info");
    assert_string_equal(json_text(line, "msg"), "something happened");
    assert_string_equal(json_text(line, "n"), "-7");
    assert_null(json_member(line, "nothing"));
    line = cJSON_GetArrayItem(lines, 1);
    assert_string_equal(json_text(line, "msg"), "\"quoted\"\n");
    assert_string_equal(json_text(line, "key"), "a\"b\\c\nd\x01");
    cJSON_Delete(lines);
}

/* Lines of every length around the limit, cut in a message, a key and a value. */
static void write_long_lines(void)
{
    char text[2600];

    for (size_t len = 1900; len < 2100; len++) {
        memset(text, 'x', len);
        text[len] = '\0';
        log_info(text, "key", "value", "another", "value");
        log_info("long value", "key", text, "another", "value", "third", "value");
    }
    memset(text, '\n', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_info(text, "key", text, "another", text);
}

static void check_long_lines(enum log_format format)
{
    static char output[2 * 1024 * 1024];
    char template[] = "/tmp/test_log.XXXXXX";
    _cleanup_(fd_closep) int saved = dup(STDERR_FILENO);
    _cleanup_(fd_closep) int fd = mkstemp(template);
    ssize_t len;
    size_t n_cut = 0;

    assert_true(saved >= 0 && fd >= 0);
    assert_int_equal(unlink(template), 0);
    log_setup(LOG_LEVEL_INFO, format, LOG_TARGET_STDERR);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    write_long_lines();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    len = pread(fd, output, sizeof(output) - 1, 0);
    assert_true(len > 0);
    output[len] = '\0';
    if (format == LOG_FORMAT_JSON)
        cJSON_Delete(parse_lines(output));
    for (char *line = output, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        assert_true(end - line < 2048);
        n_cut += memmem(line, (size_t)(end - line), "...", 3) != NULL;
    }
    assert_true(n_cut > 100);
}

static void test_long_lines_are_cut(void **state)
{
    check_long_lines(LOG_FORMAT_TEXT);
    check_long_lines(LOG_FORMAT_JSON);
}

static void test_names(void **state)
{
    enum log_level level;
    enum log_format format;

    assert_int_equal(log_level_parse("log-level", "debug", &level, NULL), 0);
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_int_equal(log_level_parse("log-level", "Debug", &level, NULL), -EINVAL);
    assert_int_equal(log_format_parse("log-format", "json", &format, NULL), 0);
    assert_int_equal(format, LOG_FORMAT_JSON);
    assert_int_equal(log_format_parse("log-format", "xml", &format, NULL), -EINVAL);
}

static int count_evaluation(int *n)
{
    return ++*n;
}

static void test_debug_costs_nothing_when_off(void **state)
{
    int n = 0;

    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    log_debug("off", "n", LOG_NUM(count_evaluation(&n)));
    assert_int_equal(n, 0);
    assert_false(log_enabled(LOG_LEVEL_DEBUG));
    assert_true(log_enabled(LOG_LEVEL_WARN));
}

static void write_traces(void)
{
    int n = 0;

    log_trace(LOG_TRACE_GRPC, "call answered", "method", "Probe", "error", NULL, "code", "OK");
    log_trace(LOG_TRACE_FUSE, "off", "n", LOG_NUM(count_evaluation(&n)));
    log_debug("not at this level");
    assert_int_equal(n, 0);
}

static void test_trace_writes_its_categories_at_any_level(void **state)
{
    char output[OUTPUT_MAX];
    const cJSON *line;
    cJSON *lines;

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    capture(write_traces, output);
    assert_string_equal(output, "");
    log_trace_set(1u << LOG_TRACE_GRPC | 1u << LOG_TRACE_STORE);
    capture(write_traces, output);
    assert_string_equal(output + strcspn(output, " "), " TRACE call answered category=\"grpc\" "
                                                       "method=\"Probe\" code=\"OK\"\n");
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_JSON, LOG_TARGET_STDERR);
    capture(write_traces, output);
    log_trace_set(0);
    lines = parse_lines(output);
    assert_int_equal(cJSON_GetArraySize(lines), 1);
    line = cJSON_GetArrayItem(lines, 0);
    assert_string_equal(json_text(line, "level"), "trace");
    assert_string_equal(json_text(line, "category"), "grpc");
    assert_string_equal(json_text(line, "code"), "OK");
    cJSON_Delete(lines);
}

static void test_trace_categories_are_parsed(void **state)
{
    const char *const bad[] = {"", ",", "fuse,", ",fuse", "fuse,,http", "fus", "fusee", "Fuse"};
    unsigned mask = 0;
    struct error e = ERROR_INIT;

    assert_int_equal(log_trace_parse("fuse", &mask, &e), 0);
    assert_int_equal(mask, 1u << LOG_TRACE_FUSE);
    assert_int_equal(
        log_trace_parse("volume,grpc,fuse,fuse,http,node,publisher,reflector,store", &mask, &e), 0);
    assert_int_equal(mask, (1u << LOG_TRACE_N_CATEGORIES) - 1);
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        assert_int_equal(log_trace_parse(bad[i], &mask, NULL), -EINVAL);
    assert_int_equal(log_trace_parse("http,nfs,fuse", &mask, &e), -EINVAL);
    assert_string_equal(e.text, "invalid trace category \"nfs\", expected one of: fuse, grpc, "
                                "http, node, publisher, reflector, store, volume");
    assert_int_equal(mask, (1u << LOG_TRACE_N_CATEGORIES) - 1);
}

static enum log_target target;

static void find_target(void)
{
    target = log_target_of_stderr();
}

static void find_target_with_stream(void)
{
    struct stat status;
    char text[64];

    assert_int_equal(fstat(STDERR_FILENO, &status), 0);
    snprintf(text, sizeof(text), "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    assert_int_equal(setenv("JOURNAL_STREAM", text, 1), 0);
    target = log_target_of_stderr();
}

/* A service manager that connects standard error to the journal sets JOURNAL_STREAM; children
 * inherit it. */
static void test_standard_error_may_be_the_journal(void **state)
{
    static char output[OUTPUT_MAX];

    capture(find_target_with_stream, output);
    assert_int_equal(target, LOG_TARGET_SYSTEM);
    assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1), 0); /* redirected since */
    capture(find_target, output);
    assert_int_equal(target, LOG_TARGET_STDERR);
    assert_int_equal(setenv("JOURNAL_STREAM", "nonsense", 1), 0);
    capture(find_target, output);
    assert_int_equal(target, LOG_TARGET_STDERR);
    assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
    capture(find_target, output);
    assert_int_equal(target, LOG_TARGET_STDERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_trace_writes_its_categories_at_any_level),
        cmocka_unit_test(test_trace_categories_are_parsed),
        cmocka_unit_test(test_standard_error_may_be_the_journal),
        cmocka_unit_test(test_debug_costs_nothing_when_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

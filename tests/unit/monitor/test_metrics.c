/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "monitor/metrics.h"

#include "tests/unit/failmalloc.h"

/*
 * A strict reader of the exposition format: every family has HELP, then TYPE, then its samples and
 * nothing else's; a sample is not repeated; a histogram's buckets grow, end with +Inf and agree
 * with its count. Fails the test at the first thing that is wrong.
 */
struct reader {
    const char *at;
    char family[128];
    char kind[16];
    char seen[64][256]; /* names and labels so far */
    size_t n_seen;
    double last_bucket, last_le;
    char bucket_labels[256];
};

static void expect(struct reader *r, const char *text)
{
    size_t len = strlen(text);

    if (strncmp(r->at, text, len) != 0)
        fail_msg("expected '%s' at '%.40s'", text, r->at);
    r->at += len;
}

static void read_name(struct reader *r, char *name, size_t size)
{
    size_t n = 0;

    assert_true(isalpha((unsigned char)*r->at) || *r->at == '_');
    while (isalnum((unsigned char)*r->at) || *r->at == '_') {
        assert_true(n + 1 < size);
        name[n++] = *r->at++;
    }
    name[n] = '\0';
}

/* A quoted value with nothing but the three escapes in it. */
static void read_value(struct reader *r)
{
    expect(r, "\"");
    while (*r->at != '"') {
        assert_true(*r->at != '\0' && *r->at != '\n');
        if (*r->at == '\\') {
            r->at++;
            assert_non_null(strchr("\\\"n", *r->at));
        }
        r->at++;
    }
    r->at++;
}

static double read_number(struct reader *r)
{
    char *end;
    double n = strtod(r->at, &end);

    assert_true(end > r->at && !isspace((unsigned char)*r->at));
    r->at = end;
    return n;
}

static void check_bucket(struct reader *r, const char *labels, size_t labels_len, double le,
                         double n)
{
    bool is_next = strlen(r->bucket_labels) == labels_len &&
                   strncmp(labels, r->bucket_labels, labels_len) == 0 && !isinf(r->last_le);

    if (is_next) {
        assert_true(le > r->last_le);
        assert_true(n >= r->last_bucket);
    }
    snprintf(r->bucket_labels, sizeof(r->bucket_labels), "%.*s", (int)labels_len, labels);
    r->last_le = le;
    r->last_bucket = n;
}

static void read_sample(struct reader *r)
{
    const char *start = r->at, *labels_end = NULL, *suffix;
    char name[128], label[64];
    double le = NAN, n;

    read_name(r, name, sizeof(name));
    suffix = str_after(name, r->family);
    assert_non_null(suffix);
    if (*r->at == '{') {
        do {
            r->at++;
            labels_end = r->at - 1;
            read_name(r, label, sizeof(label));
            expect(r, "=");
            if (streq(label, "le"))
                le = strtod(r->at + 1, NULL);
            read_value(r);
        } while (*r->at == ',');
        if (isnan(le))
            labels_end = r->at;
        expect(r, "}");
    }
    assert_true(r->n_seen < ELEMENTS_OF(r->seen));
    snprintf(r->seen[r->n_seen], sizeof(r->seen[0]), "%.*s", (int)(r->at - start), start);
    for (size_t i = 0; i < r->n_seen; i++)
        assert_string_not_equal(r->seen[i], r->seen[r->n_seen]);
    r->n_seen++;
    expect(r, " ");
    n = read_number(r);
    expect(r, "\n");
    if (!streq(r->kind, "histogram")) {
        assert_string_equal(suffix, "");
        assert_true(le != le);
        return;
    }
    if (streq(suffix, "_bucket")) {
        assert_true(le == le);
        check_bucket(r, start + strlen(name), (size_t)(labels_end - start) - strlen(name), le, n);
        return;
    }
    assert_true(streq(suffix, "_sum") || streq(suffix, "_count"));
    assert_true(isinf(r->last_le));
    if (streq(suffix, "_count"))
        assert_true(n == r->last_bucket);
}

static void read_all(const char *text)
{
    struct reader r = {.at = text};

    while (*r.at != '\0') {
        char name[128];

        if (*r.at != '#') {
            read_sample(&r);
            continue;
        }
        expect(&r, "# HELP ");
        read_name(&r, r.family, sizeof(r.family));
        expect(&r, " ");
        r.at += strcspn(r.at, "\n");
        expect(&r, "\n# TYPE ");
        read_name(&r, name, sizeof(name));
        assert_string_equal(name, r.family);
        expect(&r, " ");
        read_name(&r, r.kind, sizeof(r.kind));
        expect(&r, "\n");
        assert_true(streq(r.kind, "counter") || streq(r.kind, "gauge") ||
                    streq(r.kind, "histogram"));
        assert_true(*r.at != '#' && *r.at != '\0');
    }
}

static const double buckets[] = {0.001, 0.25, 1, 10};
static const struct metric_definition definitions[] = {
    {.name = "test_done_total",
     .help = "What was done.",
     .kind = METRIC_COUNTER,
     .labels = {"result", "reason"}},
    {.name = "test_size_bytes", .help = "Backslash \\ and\nnewline.", .kind = METRIC_GAUGE},
    {.name = "test_wait_seconds",
     .help = "A wait.",
     .kind = METRIC_HISTOGRAM,
     .labels = {"op"},
     .buckets = buckets,
     .n_buckets = ELEMENTS_OF(buckets)},
};
enum { DONE, SIZE, WAIT, N_METRICS };

struct fixture {
    struct metrics *metrics;
    struct metric *metric[N_METRICS];
    struct buf text;
};

static void set_up(struct fixture *f)
{
    f->text = BUF_INIT(4u << 20);
    assert_int_equal(metrics_new(&f->metrics), 0);
    for (size_t i = 0; i < N_METRICS; i++)
        assert_int_equal(metrics_add(f->metrics, &definitions[i], &f->metric[i]), 0);
}

static void tear_down(struct fixture *f)
{
    buf_deinit(&f->text);
    assert_null(metrics_free(f->metrics));
}

static const char *render(struct fixture *f)
{
    buf_reset(&f->text);
    assert_int_equal(metrics_render(f->metrics, &f->text), 0);
    read_all(buf_text(&f->text));
    return buf_text(&f->text);
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("there is no '%s' in:\n%s", part, text);
}

static void test_renders_every_kind(void **state)
{
    static const double waits[] = {0.001, 0.0011, 0.25, 7, 1000};
    struct fixture f;
    const char *text;

    set_up(&f);
    metric_count(f.metric[DONE], 1, LABELS("ok", ""));
    metric_count(f.metric[DONE], 2, LABELS("ok", ""));
    metric_count(f.metric[DONE], 1, LABELS("error", "NotFound"));
    metric_set(f.metric[SIZE], 12345678, NULL);
    for (size_t i = 0; i < ELEMENTS_OF(waits); i++)
        metric_observe(f.metric[WAIT], waits[i], LABELS("read"));
    metric_observe(f.metric[WAIT], 0.5, LABELS("open"));
    text = render(&f);
    assert_has(text, "# HELP test_done_total What was done.\n# TYPE test_done_total counter\n"
                     "test_done_total{result=\"ok\",reason=\"\"} 3\n"
                     "test_done_total{result=\"error\",reason=\"NotFound\"} 1\n");
    assert_has(text, "# HELP test_size_bytes Backslash \\\\ and\\nnewline.\n"
                     "# TYPE test_size_bytes gauge\ntest_size_bytes 12345678\n");
    assert_has(text, "# TYPE test_wait_seconds histogram\n"
                     "test_wait_seconds_bucket{op=\"read\",le=\"0.001\"} 1\n"
                     "test_wait_seconds_bucket{op=\"read\",le=\"0.25\"} 3\n"
                     "test_wait_seconds_bucket{op=\"read\",le=\"1\"} 3\n"
                     "test_wait_seconds_bucket{op=\"read\",le=\"10\"} 4\n"
                     "test_wait_seconds_bucket{op=\"read\",le=\"+Inf\"} 5\n"
                     "test_wait_seconds_sum{op=\"read\"} 1007.2521\n"
                     "test_wait_seconds_count{op=\"read\"} 5\n"
                     "test_wait_seconds_bucket{op=\"open\",le=\"0.001\"} 0\n");
    tear_down(&f);
}

static void test_what_has_no_value_is_not_shown(void **state)
{
    struct fixture f;

    set_up(&f);
    assert_string_equal(
        render(&f),
        "# HELP " METRIC_DROPPED_NAME
        " Values of metrics that were dropped because a limit was reached or memory ran out.\n"
        "# TYPE " METRIC_DROPPED_NAME " counter\n" METRIC_DROPPED_NAME " 0\n");
    metric_set(f.metric[SIZE], 1, NULL);
    assert_has(render(&f), "test_size_bytes 1\n");
    metric_clear(f.metric[SIZE]);
    assert_null(strstr(render(&f), "test_size_bytes"));
    tear_down(&f);
}

static void test_escapes_values(void **state)
{
    char too_long[METRIC_VALUE_MAX + 10];
    struct fixture f;
    const char *text;

    set_up(&f);
    metric_count(f.metric[DONE], 1, LABELS("a\\b\"c\nd", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x91"));
    metric_count(f.metric[DONE], 1, LABELS("\xff\xc3", "\xf5\x80\x80\x80|\xe2\x82"));
    metric_count(f.metric[DONE], 1, LABELS("surrogate", "\xed\xa0\x80"));
    metric_count(f.metric[DONE], 1, LABELS("overlong", "\xe0\x80\x80"));
    /* the last byte that is kept is the first half of a character */
    memset(too_long, 'x', sizeof(too_long));
    too_long[METRIC_VALUE_MAX - 1] = '\xc3';
    too_long[METRIC_VALUE_MAX] = '\xa9';
    too_long[sizeof(too_long) - 1] = '\0';
    metric_count(f.metric[DONE], 1, LABELS("long", too_long));
    metric_count(f.metric[DONE], 1, LABELS("long", too_long));
    text = render(&f);
    assert_has(text,
               "{result=\"a\\\\b\\\"c\\nd\",reason=\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x91\"}");
    assert_has(text, "{result=\"??\",reason=\"????|??\"}");
    assert_has(text, "{result=\"surrogate\",reason=\"???\"}");
    assert_has(text, "{result=\"overlong\",reason=\"???\"}");
    assert_has(text, "xxx?\"} 2\n");
    tear_down(&f);
}

static void test_numbers(void **state)
{
    static const struct {
        double n;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {1.0 / 3, "0.3333333333333333"},
        {1e14, "100000000000000"},
        {1e21, "1e+21"},
        {INFINITY, "+Inf"},
        {-INFINITY, "-Inf"},
        {NAN, "NaN"},
        {1753440000.123, "1753440000.123"},
    };
    struct fixture f;

    set_up(&f);
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        char line[64];

        snprintf(line, sizeof(line), "\ntest_size_bytes %s\n", cases[i].text);
        metric_set(f.metric[SIZE], cases[i].n, NULL);
        assert_has(render(&f), line);
    }
    tear_down(&f);
}

static void test_limits(void **state)
{
    static const struct metric_definition spare = {
        .name = "spare", .help = "", .kind = METRIC_GAUGE};
    struct fixture f;
    struct metric *metric;
    char value[16];

    set_up(&f);
    for (unsigned i = 0; i < METRIC_SERIES_MAX + 3; i++) {
        snprintf(value, sizeof(value), "%u", i);
        metric_count(f.metric[DONE], 1, LABELS(value, ""));
    }
    assert_int_equal(metrics_render(f.metrics, &f.text), 0);
    assert_has(buf_text(&f.text), METRIC_DROPPED_NAME " 3\n");
    assert_has(buf_text(&f.text), "{result=\"999\",reason=\"\"} 1\n");
    assert_null(strstr(buf_text(&f.text), "{result=\"1000\""));
    buf_deinit(&f.text);
    f.text = BUF_INIT(1000);
    assert_int_equal(metrics_render(f.metrics, &f.text), -EFBIG);
    for (size_t i = N_METRICS + 1; i < METRICS_MAX; i++)
        assert_int_equal(metrics_add(f.metrics, &spare, &metric), 0);
    assert_int_equal(metrics_add(f.metrics, &spare, &metric), -ENOSPC);
    tear_down(&f);
}

static void collect(void *userdata)
{
    struct fixture *f = userdata;

    metric_set(f->metric[SIZE], 42, NULL);
}

static void test_collectors(void **state)
{
    struct fixture f;

    set_up(&f);
    for (size_t i = 0; i < METRICS_COLLECTORS_MAX; i++)
        assert_int_equal(metrics_add_collector(f.metrics, collect, &f), 0);
    assert_int_equal(metrics_add_collector(f.metrics, collect, &f), -ENOSPC);
    assert_has(render(&f), "test_size_bytes 42\n");
    tear_down(&f);
}

/* What is counted without memory is dropped, and does no harm. */
static int try_everything(void *userdata)
{
    _cleanup_(metrics_freep) struct metrics *metrics = NULL;
    struct buf text = BUF_INIT(4u << 20);
    struct metric *metric[N_METRICS];
    int r = metrics_new(&metrics);

    for (size_t i = 0; i < N_METRICS && r >= 0; i++)
        r = metrics_add(metrics, &definitions[i], &metric[i]);
    if (r < 0)
        return r;
    metric_count(metric[DONE], 1, LABELS("a", "b"));
    metric_observe(metric[WAIT], 1, LABELS("a"));
    r = metrics_render(metrics, &text);
    buf_deinit(&text);
    return r;
}

static void test_without_memory(void **state)
{
    failmalloc_try(try_everything, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renders_every_kind),
        cmocka_unit_test(test_what_has_no_value_is_not_shown),
        cmocka_unit_test(test_escapes_values),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_collectors),
        cmocka_unit_test(test_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

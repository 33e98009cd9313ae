/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "fetcher/http/client.h"
#include "monitor/http_server.h"
#include "node/metrics.h"

#include "tests/unit/failmalloc.h"

struct fixture {
    struct source source;
    struct node_metrics *metrics;
    struct buf text;
    int n_sources;
    bool is_other; /* another client */
    bool is_registered;
};

static const struct http_stats stats = {.codes = {{.status = 200, .n = 10}, {.status = 0, .n = 2}},
                                        .n_codes = 2,
                                        .connections = 1,
                                        .n_waiting = 5};
static const struct http_stats other_stats = {.codes = {{.status = 200, .n = 10}}, .n_codes = 1};

static void count_source(const struct source *source, struct source_counts *ret_counts)
{
    const struct fixture *f =
        CONTAINER_OF((struct source *)(uintptr_t)source, struct fixture, source);

    *ret_counts = (struct source_counts){
        .requests = f->is_other ? &other_stats : &stats, .n_watches = 7, .n_restarts = 3};
}

static const struct source_ops source_ops = {.count = count_source};
static const struct source_ops silent_ops = {0};

static void collect(void *userdata, struct node_metrics *metrics)
{
    const struct fixture *f = userdata;

    for (int i = 0; i < f->n_sources; i++)
        node_metrics_collect_source(metrics, &f->source);
    node_metrics_collect_mounted_parts(metrics, 4, 1);
    node_metrics_collect_held(metrics, 4096, 3);
    node_metrics_collect_registration(metrics, f->is_registered);
}

static void set_up(struct fixture *f)
{
    *f = (struct fixture){.source = {.ops = &source_ops}, .text = BUF_INIT(HTTP_SERVER_BODY_MAX)};
    assert_int_equal(node_metrics_new(collect, f, &f->metrics), 0);
}

static void tear_down(struct fixture *f)
{
    buf_deinit(&f->text);
    assert_null(node_metrics_free(f->metrics));
}

static void assert_line(struct fixture *f, const char *line)
{
    buf_reset(&f->text);
    assert_int_equal(node_metrics_render(f->metrics, &f->text), 0);
    if (strstr(buf_text(&f->text), line) == NULL)
        fail_msg("there is no '%s' in:\n%s", line, buf_text(&f->text));
}

static void test_publish_answers_are_counted(void **state)
{
    struct fixture f;

    set_up(&f);
    node_metrics_count_call(f.metrics, "NodePublishVolume", "OK", SPAN_MS(2));
    node_metrics_count_call(f.metrics, "NodePublishVolume", "OK", SPAN_MS(3));
    node_metrics_count_call(f.metrics, "NodePublishVolume", "NotFound", SPAN_SEC(90));
    node_metrics_count_call(f.metrics, "Probe", "OK", 10);
    assert_line(&f, "\nsecretfs_node_publish_total{result=\"success\",reason=\"\"} 2\n");
    assert_line(&f, "\nsecretfs_node_publish_total{result=\"failure\",reason=\"NotFound\"} 1\n");
    assert_line(&f, "\nsecretfs_csi_requests_total{method=\"Probe\",code=\"OK\"} 1\n");
    assert_line(&f, "\nsecretfs_node_publish_duration_seconds_bucket{le=\"0.0025\"} 1\n");
    assert_line(&f, "\nsecretfs_node_publish_duration_seconds_bucket{le=\"30\"} 2\n");
    assert_line(&f, "\nsecretfs_node_publish_duration_seconds_sum 90.005\n");
    assert_line(&f, "\nsecretfs_node_publish_duration_seconds_count 3\n");
    tear_down(&f);
}

static void test_updates_and_events(void **state)
{
    struct metric_counts counts;
    struct fixture f;

    set_up(&f);
    node_metrics_observe_update(f.metrics, 400);
    node_metrics_observe_update(f.metrics, SPAN_MS(20));
    node_metrics_count_event(f.metrics, "posted");
    assert_line(&f, "\nsecretfs_update_propagation_seconds_bucket{le=\"0.0005\"} 1\n");
    assert_line(&f, "\nsecretfs_update_propagation_seconds_count 2\n");
    assert_line(&f, "\nsecretfs_pod_events_total{result=\"posted\"} 1\n");
    counts = node_metrics_updates(f.metrics);
    assert_int_equal(counts.n, 2);
    assert_int_equal(counts.in_buckets[0], 1);
    assert_int_equal(counts.in_buckets[counts.n_bounds], 0);
    assert_true(counts.bounds[0] == 0.0005 && counts.sum > 0.0203 && counts.sum < 0.0205);
    tear_down(&f);
}

static void test_sources_are_summed(void **state)
{
    struct fixture f;

    set_up(&f);
    f.n_sources = 2;
    /* neither a second rendering nor a shared client counts twice */
    assert_line(&f, "\nrest_client_requests_total{code=\"200\"} 10\n");
    assert_line(&f, "\nrest_client_requests_total{code=\"<error>\"} 2\n");
    assert_line(&f, "\nsecretfs_watches 14\n");
    assert_line(&f, "\nsecretfs_api_connections 1\n");
    assert_line(&f, "\nsecretfs_api_requests_waiting 5\n");
    assert_line(&f, "\nsecretfs_watch_restarts_total 6\n");
    tear_down(&f);
}

static void test_counts_of_a_freed_source_are_retained(void **state)
{
    struct fixture f;

    set_up(&f);
    f.n_sources = 1;
    node_metrics_retain_source(f.metrics, &f.source, false);
    assert_line(&f, "\nrest_client_requests_total{code=\"200\"} 10\n");
    assert_line(&f, "\nsecretfs_watch_restarts_total 6\n");
    assert_line(&f, "\nsecretfs_watches 7\n");
    node_metrics_retain_source(f.metrics, &f.source, true);
    f.is_other = true;
    assert_line(&f, "\nrest_client_requests_total{code=\"200\"} 20\n");
    f.n_sources = 0;
    node_metrics_retain_source(f.metrics, &f.source, true);
    assert_line(&f, "\nrest_client_requests_total{code=\"200\"} 20\n");
    assert_line(&f, "\nrest_client_requests_total{code=\"<error>\"} 2\n");
    assert_line(&f, "\nsecretfs_watch_restarts_total 9\n");
    tear_down(&f);
}

static void test_source_without_counts(void **state)
{
    struct fixture f;

    set_up(&f);
    f.source.ops = &silent_ops;
    f.n_sources = 1;
    node_metrics_retain_source(f.metrics, &f.source, true);
    assert_line(&f, "\nsecretfs_watches 0\n");
    tear_down(&f);
}

static void test_states_are_collected(void **state)
{
    struct fixture f;

    set_up(&f);
    assert_line(&f, "\nsecretfs_volumes{state=\"waiting\"} 0\n");
    assert_line(&f, "\nsecretfs_volumes{state=\"stale\"} 0\n");
    assert_line(&f, "\nsecretfs_lone_mounts{live=\"true\"} 4\n");
    assert_line(&f, "\nsecretfs_lone_mounts{live=\"false\"} 1\n");
    assert_line(&f, "\nsecretfs_registered 0\n");
    assert_line(&f, "\nsecretfs_held_bytes 4096\n");
    assert_line(&f, "\nsecretfs_held_files_dropped_total 3\n");
    f.is_registered = true;
    assert_line(&f, "\nsecretfs_registered 1\n");
    assert_line(&f, "\nsecretfs_build_info{version=\"");
    assert_line(&f, "\nsecretfs_secret_bytes 0\n");
    assert_line(&f, "\nprocess_open_fds ");
    tear_down(&f);
}

static int try_rendering(void *userdata)
{
    _cleanup_(node_metrics_freep) struct node_metrics *metrics = NULL;
    struct fixture f = {.source = {.ops = &source_ops}, .n_sources = 1};
    struct buf text = BUF_INIT(HTTP_SERVER_BODY_MAX);
    int r = node_metrics_new(collect, &f, &metrics);

    if (r < 0)
        return r;
    node_metrics_count_call(metrics, "NodePublishVolume", "OK", 1);
    r = node_metrics_render(metrics, &text);
    node_metrics_retain_source(metrics, &f.source, true);
    buf_deinit(&text);
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(try_rendering, NULL);
}

static void collect_consumers(void *userdata, struct node_metrics *metrics)
{
    const struct published early = {.options = {.namespace = "prod"}, .updated_at = 1};
    const struct published late = {.options = {.namespace = "prod"}, .updated_at = clock_boot()};
    const struct published other = {.options = {.namespace = "test"}, .updated_at = 1};
    const bool *has_old = userdata;

    node_metrics_collect_consumers(metrics, &early,
                                   &(struct consumers_counts){.n_current = 2, .n_old = *has_old});
    node_metrics_collect_consumers(metrics, &late, &(struct consumers_counts){.n_current = 3});
    node_metrics_collect_consumers(metrics, &other, &(struct consumers_counts){.n_current = 1});
}

static void test_consumers_by_namespace(void **state)
{
    bool has_old = true;
    struct fixture f = {.text = BUF_INIT(HTTP_SERVER_BODY_MAX)};

    assert_int_equal(node_metrics_new(collect_consumers, &has_old, &f.metrics), 0);
    assert_line(&f, "secretfs_consumers{namespace=\"prod\",state=\"old\"} 1\n");
    assert_line(&f, "secretfs_consumers{namespace=\"prod\",state=\"current\"} 5\n");
    assert_line(&f, "secretfs_consumers{namespace=\"test\",state=\"old\"} 0\n");
    assert_null(strstr(buf_text(&f.text), "secretfs_rollout_age_seconds 0\n"));
    has_old = false;
    assert_line(&f, "secretfs_rollout_age_seconds 0\n");
    assert_line(&f, "secretfs_consumers{namespace=\"prod\",state=\"old\"} 0\n");
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_publish_answers_are_counted),
        cmocka_unit_test(test_updates_and_events),
        cmocka_unit_test(test_sources_are_summed),
        cmocka_unit_test(test_counts_of_a_freed_source_are_retained),
        cmocka_unit_test(test_source_without_counts),
        cmocka_unit_test(test_states_are_collected),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_consumers_by_namespace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

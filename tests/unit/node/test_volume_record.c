/* SPDX-License-Identifier: Apache-2.0 */
#include "node/volume_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/buf.h"
#include "tests/unit/failmalloc.h"
#include "volume/staging.h"

static struct volume_spec *spec;

static struct volume_record make(void)
{
    return (struct volume_record){.target = "/pods/u/mount",
                                  .namespace = "prod",
                                  .pod = "web-0",
                                  .pod_uid = "u",
                                  .service_account = "web",
                                  .source = "/etc/kubeconfig",
                                  .spec = spec};
}

static void test_same_after_reading(void **state)
{
    const struct volume_record record = make();
    struct volume_record_document document;
    struct error e = ERROR_INIT;
    char *text = NULL;

    assert_int_equal(volume_record_print(&record, &text), 0);
    assert_int_equal(volume_record_parse(text, &document, &e), 0);
    assert_string_equal(document.record.target, record.target);
    assert_string_equal(document.record.namespace, record.namespace);
    assert_string_equal(document.record.pod, record.pod);
    assert_string_equal(document.record.pod_uid, record.pod_uid);
    assert_string_equal(document.record.service_account, record.service_account);
    assert_string_equal(document.record.source, record.source);
    assert_ptr_equal(document.record.spec, document.spec);
    assert_string_equal(document.spec->sources[0].name, "db");
    free(text);
    volume_record_deinit(&document);
}

static void test_orders(void **state)
{
    const struct volume_kept_order orders[] = {
        {.order = VOLUME_ORDER_UNDONE, .undone = STAGING_PLACES - 1}};
    struct volume_record record = make();
    struct volume_record_document document;
    char *text = NULL;

    assert_int_equal(spec->n_sources, 1);
    record.orders = orders;
    assert_int_equal(volume_record_print(&record, &text), 0);
    assert_int_equal(volume_record_parse(text, &document, NULL), 0);
    assert_int_equal(document.record.orders[0].order, VOLUME_ORDER_UNDONE);
    assert_true(document.record.orders[0].undone == STAGING_PLACES - 1);
    free(text);
    volume_record_deinit(&document);
}

/* Of a damaged note, or of a newer program: the volume is not shown as if there were no order. */
static void test_invalid_orders(void **state)
{
    static const char *const orders[] = {
        "{}",
        "7",
        "{\"order\":\"paused\"}",
        "{\"order\":\"paused\",\"source\":1}",
        "{\"order\":\"paused\",\"source\":0.5}",
        "{\"order\":\"paused\",\"source\":-1}",
        "{\"order\":\"later\",\"source\":0}",
        "{\"order\":\"undone\",\"source\":0}",
        "{\"order\":\"undone\",\"source\":0,\"content\":1e300}",
    };
    struct volume_record record = make();
    char *text = NULL;

    assert_int_equal(volume_record_print(&record, &text), 0);
    for (size_t i = 0; i < ELEMENTS_OF(orders); i++) {
        _cleanup_(buf_deinit) struct buf changed = BUF_INIT(65536);
        struct volume_record_document document;
        struct error e = ERROR_INIT;

        assert_int_equal(buf_addf(&changed, "{\"orders\":[%s],%s", orders[i], text + 1), 0);
        assert_int_equal(volume_record_parse(buf_text(&changed), &document, &e), -EINVAL);
        assert_string_equal(e.text, "invalid record of a volume: an order is invalid");
    }
    free(text);
}

static void test_notified(void **state)
{
    static const char *const invalid[] = {"-1", "0.5", "\"7\"", "1e300", "null"};
    struct volume_record record = make();
    struct volume_record_document document;
    struct error e = ERROR_INIT;
    char *text = NULL;

    assert_int_equal(volume_record_print(&record, &text), 0);
    assert_null(strstr(text, "notified"));
    assert_int_equal(volume_record_parse(text, &document, &e), 0);
    assert_int_equal(document.record.notified, 0);
    volume_record_deinit(&document);
    for (size_t i = 0; i < ELEMENTS_OF(invalid); i++) {
        _cleanup_(buf_deinit) struct buf changed = BUF_INIT(65536);

        assert_int_equal(buf_addf(&changed, "{\"notified\":%s,%s", invalid[i], text + 1), 0);
        assert_int_equal(volume_record_parse(buf_text(&changed), &document, &e), -EINVAL);
        assert_string_equal(e.text, "invalid record of a volume: its `notified` is invalid");
    }
    free(text);
    record.notified = UINT64_C(999999999999999);
    assert_int_equal(volume_record_print(&record, &text), 0);
    assert_int_equal(volume_record_parse(text, &document, NULL), 0);
    assert_true(document.record.notified == record.notified);
    volume_record_deinit(&document);
    free(text);
}

/* The kubelet does not always name the pod's service account. */
static void test_members_that_may_be_missing(void **state)
{
    struct volume_record record = make();
    struct volume_record_document document;
    struct error e = ERROR_INIT;
    char *text = NULL;

    record.pod = record.pod_uid = record.service_account = record.source = NULL;
    assert_int_equal(volume_record_print(&record, &text), 0);
    assert_int_equal(volume_record_parse(text, &document, &e), 0);
    assert_null(document.record.pod);
    assert_null(document.record.pod_uid);
    assert_null(document.record.service_account);
    assert_null(document.record.source);
    free(text);
    volume_record_deinit(&document);
}

static void test_invalid_texts_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "{}",
        "{\"target\": \"/a\", \"namespace\": \"b\"}",
        "{\"target\": \"/a\", \"spec\": {\"kind\": \"secret\"}}",
        "{\"namespace\": \"b\", \"spec\": {\"kind\": \"secret\"}}",
    };

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        struct volume_record_document document = {.json = NULL};
        struct error e = ERROR_INIT;

        assert_int_equal(volume_record_parse(texts[i], &document, &e), -EINVAL);
        assert_string_not_equal(e.text, "");
        assert_null(document.json);
    }
}

static int try_both(void *userdata)
{
    const struct volume_record record = make();
    struct volume_record_document document = {.json = NULL};
    char *text = NULL;
    int r = volume_record_print(&record, &text);

    if (r == 0)
        r = volume_record_parse(text, &document, NULL);
    free(text);
    volume_record_deinit(&document);
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(try_both, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_after_reading),
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_invalid_orders),
        cmocka_unit_test(test_notified),
        cmocka_unit_test(test_members_that_may_be_missing),
        cmocka_unit_test(test_invalid_texts_are_refused),
        cmocka_unit_test(test_no_memory),
    };
    struct volume_source *source;
    int r = volume_spec_new(VOLUME_SECRET, &spec);

    assert(r == 0);
    r = volume_spec_add_source(spec, OBJECT_SECRET, "db", &source);
    assert(r == 0);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    volume_spec_free(spec);
    return r;
}

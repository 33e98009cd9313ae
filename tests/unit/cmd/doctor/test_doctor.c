/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "cmd/doctor/api.h"
#include "cmd/doctor/report.h"
#include "cmd/doctor/host.h"
#include "encoding/json.h"

#include "tests/unit/failmalloc.h"

static const struct doctor_options node = {
    .driver_name = "csi.secretfs.io",
    .node_id = "node-1",
    .kubelet_root = "/var/lib/kubelet",
    .run_dir = "/run/secretfs",
    .endpoint = "/var/lib/kubelet/plugins/csi.secretfs.io/csi.sock",
    .registration_path = "/var/lib/kubelet/plugins_registry/csi.secretfs.io-reg.sock",
    .rights = "node",
};

/* ---- the report */

static void test_report(void **state)
{
    struct doctor_report report = {0};
    struct buf text = BUF_INIT(10000);
    cJSON *json = NULL;

    assert_int_equal(doctor_result_of(&report), DOCTOR_OK);
    doctor_add(&report, DOCTOR_OK, "one", "all is %s", "well");
    doctor_add(&report, DOCTOR_WARN, "two", "\"so\" so");
    doctor_remedy(&report, "do %d things", 2);
    assert_int_equal(doctor_result_of(&report), DOCTOR_WARN);
    doctor_add(&report, DOCTOR_FAIL, "three", "no good");
    doctor_add(&report, DOCTOR_OK, "four", "well again");
    assert_int_equal(doctor_result_of(&report), DOCTOR_FAIL);
    assert_int_equal(doctor_print(&report, &text), 0);
    assert_string_equal(buf_text(&text), "ok    one             all is well\n"
                                         "warn  two             \"so\" so: do 2 things\n"
                                         "fail  three           no good\n"
                                         "ok    four            well again\n");
    buf_reset(&text);
    assert_int_equal(doctor_print_json(&report, &text), 0);
    assert_int_equal(json_parse(text.data, text.len, &json, NULL), 0);
    assert_string_equal(json_text(json, "result"), "fail");
    assert_int_equal(cJSON_GetArraySize(json_member(json, "checks")), 4);
    assert_string_equal(json_text(cJSON_GetArrayItem(json_member(json, "checks"), 1), "remedy"),
                        "do 2 things");
    cJSON_Delete(json);
    buf_deinit(&text);
}

static int try_printing(void *userdata)
{
    struct buf text = BUF_INIT(10000);
    int r = doctor_print(userdata, &text);

    if (r == 0)
        r = doctor_print_json(userdata, &text);
    buf_deinit(&text);
    return r;
}

static void test_report_without_memory(void **state)
{
    struct doctor_report report = {0};

    doctor_add(&report, DOCTOR_OK, "one", "all is well");
    doctor_remedy(&report, "nothing");
    failmalloc_try(try_printing, &report);
}

/* ---- findings */

static const struct doctor_finding *finding(const struct doctor_report *report, const char *check)
{
    for (size_t i = 0; i < report->n_findings; i++)
        if (streq(report->findings[i].check, check))
            return &report->findings[i];
    return NULL;
}

/* @words: in the text or in the remedy; NULL: any. */
static void assert_found(const struct doctor_report *report, const char *check,
                         enum doctor_result result, const char *words)
{
    const struct doctor_finding *f = finding(report, check);

    if (f == NULL) {
        fail_msg("nothing is said of %s", check);
        return;
    }
    if (f->result != result || (words != NULL && strstr(f->text.text, words) == NULL &&
                                strstr(f->remedy.text, words) == NULL))
        fail_msg("%s is found to be %d: %s: %s", check, f->result, f->text.text, f->remedy.text);
    /* a check that does not pass has a remedy */
    if (f->result != DOCTOR_OK && f->remedy.text[0] == '\0')
        fail_msg("no remedy for %s", f->text.text);
}

/* ---- the host */

static const struct doctor_host well = {
    .is_root = true,
    .fuse_offer = UINT64_MAX,
    .kernel = "6.18.0",
    .kubelet_root_is_shared = true,
    .run_dir_mode = 0755,
    .locked_limit_bytes = -1,
    .node_runs = true,
    .node_is_registered = true,
};

static struct doctor_report judge_host(const struct doctor_host *host)
{
    struct doctor_report report = {0};

    doctor_host_evaluate(host, &node, &report);
    return report;
}

static void test_a_host_that_is_well(void **state)
{
    struct doctor_report report = judge_host(&well);

    assert_int_equal(doctor_result_of(&report), DOCTOR_OK);
    assert_true(report.n_findings >= 11);
    for (size_t i = 0; i < report.n_findings; i++)
        assert_string_equal(report.findings[i].remedy.text, "");
}

/* --registration-path=none: without a kubelet */
static void test_without_registration(void **state)
{
    struct doctor_options alone = node;
    struct doctor_host host = well;
    struct doctor_report report = {0};

    alone.registration_path = NULL;
    host.node_is_registered = false;
    doctor_host_evaluate(&host, &alone, &report);
    assert_null(finding(&report, "registration"));
    assert_null(finding(&report, "registered"));
    assert_int_equal(doctor_result_of(&report), DOCTOR_OK);
}

static void test_fuse(void **state)
{
    struct doctor_host host = well;
    struct doctor_report report;

    host.fuse_device = host.fuse_mount = -ENOENT;
    report = judge_host(&host);
    assert_found(&report, "fuse-device", DOCTOR_FAIL, "load the kernel's fuse module");
    assert_null(finding(&report, "fuse-mount"));
    host.fuse_device = host.fuse_mount = -EPERM;
    report = judge_host(&host);
    assert_found(&report, "fuse-device", DOCTOR_FAIL, "with access to the device");
    host.fuse_device = 0;
    report = judge_host(&host);
    assert_found(&report, "fuse-mount", DOCTOR_FAIL, "CAP_SYS_ADMIN");
    host.is_root = false;
    report = judge_host(&host);
    assert_found(&report, "fuse-mount", DOCTOR_WARN, "CAP_SYS_ADMIN");
    assert_found(&report, "user", DOCTOR_WARN, "root");
}

static void test_old_kernels(void **state)
{
    struct doctor_host host = well;
    struct doctor_report report;

    host.fuse_offer = UINT32_MAX;
    host.fusermount = -ENOENT;
    memcpy(host.kernel, "6.1.0-x", 8);
    report = judge_host(&host);
    assert_found(&report, "shared-mappings", DOCTOR_WARN, "Linux 6.1.0-x has no");
    assert_found(&report, "shared-mappings", DOCTOR_WARN, "Linux 6.6");
    assert_found(&report, "file-handles", DOCTOR_WARN, "CAP_DAC_READ_SEARCH");
    assert_found(&report, "user-namespaces", DOCTOR_WARN, "Linux 6.12");
    assert_found(&report, "fusermount3", DOCTOR_WARN, "package fuse3");
    host.fuse_offer |= UINT64_C(1) << 36;
    report = judge_host(&host);
    assert_found(&report, "shared-mappings", DOCTOR_OK, NULL);
    assert_found(&report, "user-namespaces", DOCTOR_WARN, "hostUsers: false");
    /* a kernel that could not be asked is not judged */
    host.fuse_offer = 0;
    report = judge_host(&host);
    assert_null(finding(&report, "shared-mappings"));
    assert_null(finding(&report, "file-handles"));
    assert_null(finding(&report, "user-namespaces"));
}

static void test_kubelet(void **state)
{
    struct doctor_host host = well;
    struct doctor_report report;

    host.kubelet_root_is_shared = false;
    report = judge_host(&host);
    assert_found(&report, "kubelet-root", DOCTOR_WARN, "Bidirectional");
    host.kubelet_root = -ENOENT;
    report = judge_host(&host);
    assert_found(&report, "kubelet-root", DOCTOR_FAIL, "--kubelet-root");
}

static void test_sockets_and_registration(void **state)
{
    struct doctor_host host = well;
    struct doctor_report report;

    host.endpoint = -ENOENT;
    host.registration = -EACCES;
    report = judge_host(&host);
    assert_found(&report, "csi-socket", DOCTOR_FAIL,
                 "the --endpoint or --kubelet-root of the running");
    assert_found(&report, "registration", DOCTOR_FAIL, "as root");
    host.node_is_registered = false;
    report = judge_host(&host);
    assert_found(&report, "registered", DOCTOR_FAIL, "the kubelet has not registered the driver");
    memcpy(host.node_registration_error, "no such node", 13);
    report = judge_host(&host);
    assert_found(&report, "registered", DOCTOR_FAIL, "rejected the registration: no such node");
    host.node_runs = false;
    host.registration = -ECONNREFUSED;
    report = judge_host(&host);
    assert_found(&report, "csi-socket", DOCTOR_FAIL, "start `secretfs node`");
    assert_found(&report, "registration", DOCTOR_FAIL, "start `secretfs node`");
    assert_null(finding(&report, "registered"));
}

static void test_run_dir(void **state)
{
    struct doctor_host host = well;
    struct doctor_report report;

    host.run_dir = -ENOENT;
    report = judge_host(&host);
    assert_found(&report, "run-dir", DOCTOR_OK, "will be created");
    host.run_dir = -ENOTDIR;
    report = judge_host(&host);
    assert_found(&report, "run-dir", DOCTOR_FAIL, "--run-dir");
    host.run_dir = 0;
    host.run_dir_mode = 0777;
    report = judge_host(&host);
    assert_found(&report, "run-dir", DOCTOR_FAIL, "mode 0777");
    host.run_dir_mode = 0755;
    host.run_dir_owner = 1000;
    report = judge_host(&host);
    assert_found(&report, "run-dir", DOCTOR_FAIL, "chown root");
}

static void test_memory_and_stale_mounts(void **state)
{
    struct doctor_host host = well;
    struct doctor_report report;

    host.locked_limit_bytes = INT64_C(8) << 20;
    host.n_stale = 3;
    memcpy(host.stale, "/mnt/db", 8);
    report = judge_host(&host);
    assert_found(&report, "locked-memory", DOCTOR_WARN, "8192 KiB");
    assert_found(&report, "stale-mounts", DOCTOR_WARN, "/mnt/db");
    host.locked_limit_bytes = INT64_C(256) << 20;
    report = judge_host(&host);
    assert_found(&report, "locked-memory", DOCTOR_OK, NULL);
}

/* ---- volumes */

static void add_volume(struct doctor_host *host, const char *text)
{
    cJSON *json = NULL;

    assert_int_equal(json_parse(text, strlen(text), &json, NULL), 0);
    doctor_volumes_add(host->volumes, json);
    cJSON_Delete(json);
}

#define VOLUME(mountpoint, state, error)                                                           \
    "{\"mountpoint\":\"" mountpoint "\",\"volume\":{\"state\":\"" state "\"" error                 \
    "},\"source\":{\"error\":\"no route\"}}"
#define REASON(text) ",\"error\":\"" text "\""

static void test_volumes_that_are_not_current(void **state)
{
    static const struct {
        const char *volume, *text, *remedy;
    } cases[] = {
        {VOLUME("/a", "failing", REASON("no space")), "1 failing, such as /a: no space", "retried"},
        {VOLUME("/b", "stale", REASON("no key")), "1 stale, such as /b: no key", "the object"},
        {VOLUME("/c", "held", REASON("no match")), "1 held, such as /c: no match", "annotation"},
        {VOLUME("/d", "disconnected", ""), "1 disconnected, such as /d: no route", "network"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct doctor_host host = well;
        struct doctor_report report;

        add_volume(&host, cases[i].volume);
        report = judge_host(&host);
        assert_found(&report, "volumes", DOCTOR_WARN, cases[i].text);
        assert_found(&report, "volumes", DOCTOR_WARN, cases[i].remedy);
    }
}

static void test_volumes_are_counted_by_state(void **state)
{
    struct doctor_host host = well;
    struct doctor_report report;

    add_volume(&host, VOLUME("/a", "current", ""));
    add_volume(&host, VOLUME("/b", "waiting", ""));
    add_volume(&host, VOLUME("/c", "other", ""));
    add_volume(&host, "{}");
    report = judge_host(&host);
    assert_found(&report, "volumes", DOCTOR_OK, NULL);
    add_volume(&host, VOLUME("/d", "stale", ""));
    add_volume(&host, VOLUME("/e", "stale", ""));
    report = judge_host(&host);
    assert_found(&report, "volumes", DOCTOR_WARN, "2 stale, such as /d");
}

/* A path or a reason of another process adds no line to the report. */
static void test_control_characters_become_blanks(void **state)
{
    struct doctor_host host = well;
    struct doctor_report report;

    add_volume(&host, VOLUME("/a", "stale", REASON("x\\nok    volumes\\u001b[2J")));
    report = judge_host(&host);
    assert_found(&report, "volumes", DOCTOR_WARN, "/a: x ok    volumes [2J");
}

/* The collector works on any host. */
static void test_looking(void **state)
{
    struct doctor_report report = {0};
    struct doctor_host host;

    doctor_host_collect(&node, &host);
    assert_true(host.kernel[0] != '\0');
    doctor_host_evaluate(&host, &node, &report);
    assert_true(report.n_findings >= 8);
}

/* ---- the API server */

static const struct timespec now = {.tv_sec = 1767323045};

#define DRIVER(mode, info, attach, more)                                                           \
    "{\"spec\":{\"volumeLifecycleModes\":[\"" mode "\"],\"podInfoOnMount\":" info                  \
    ",\"attachRequired\":" attach more "}}"
#define GOOD_DRIVER DRIVER("Ephemeral", "true", "false", "")

struct api_case {
    struct doctor_api api;
    struct doctor_options options;
    struct doctor_report report;
};

static void set_answer(struct api_case *c, enum doctor_request request, int status,
                       const char *body)
{
    struct doctor_answer *answer = &c->api.answers[request];

    cJSON_Delete(answer->json);
    *answer = (struct doctor_answer){.status = status};
    assert_int_equal(json_parse(body, strlen(body), &answer->json, NULL), 0);
}

/* A server and a node that are well. */
static void set_up(struct api_case *c)
{
    *c = (struct api_case){.options = node};
    c->api.has_config = c->api.has_credentials = c->api.has_certificate = true;
    c->api.certificate_expiry.tv_sec = now.tv_sec + 30 * 86400;
    memcpy(c->api.server, "https://api:6443", 17);
    memcpy(c->api.origin, "/etc/kubernetes/kubelet.conf", 29);
    set_answer(c, DOCTOR_VERSION, 200, "{\"gitVersion\":\"v1.33.1\"}");
    set_answer(c, DOCTOR_IDENTITY, 201,
               "{\"status\":{\"userInfo\":{\"username\":\"system:node:node-1\"}}}");
    set_answer(c, DOCTOR_DRIVER, 200, GOOD_DRIVER);
    set_answer(c, DOCTOR_NODE, 200,
               "{\"spec\":{\"drivers\":[{\"name\":\"other\"},{\"name\":\"csi.secretfs.io\"}]}}");
    set_answer(c, DOCTOR_READ_SECRETS, 201, "{\"status\":{\"allowed\":false}}");
    set_answer(c, DOCTOR_POST_EVENTS, 201, "{\"status\":{\"allowed\":true}}");
    set_answer(c, DOCTOR_READ_PODS, 200, "{\"items\":[]}");
}

static const struct doctor_report *judge(struct api_case *c)
{
    c->report = (struct doctor_report){0};
    doctor_api_evaluate(&c->api, &c->options, now, &c->report);
    return &c->report;
}

static void tear_down(struct api_case *c)
{
    doctor_api_deinit(&c->api);
}

static void test_an_api_that_is_well(void **state)
{
    struct api_case c;

    set_up(&c);
    assert_int_equal(doctor_result_of(judge(&c)), DOCTOR_OK);
    assert_int_equal(c.report.n_findings, 9);
    assert_found(&c.report, "api-server", DOCTOR_OK, "v1.33.1");
    c.options.rights = "daemon";
    set_answer(&c, DOCTOR_IDENTITY, 201,
               "{\"status\":{\"userInfo\":{\"username\":\"system:serviceaccount:a:b\"}}}");
    assert_int_equal(doctor_result_of(judge(&c)), DOCTOR_OK);
    /* a server without SelfSubjectReview passes */
    set_answer(&c, DOCTOR_IDENTITY, 404, "{}");
    assert_int_equal(doctor_result_of(judge(&c)), DOCTOR_OK);
    assert_null(finding(&c.report, "identity"));
    memcpy(c.api.certificate_user, "system:node:node-1", 19);
    assert_found(judge(&c), "identity", DOCTOR_WARN, "--rights node");
    tear_down(&c);
}

static void test_no_way_to_the_server(void **state)
{
    struct api_case c;

    set_up(&c);
    c.api.answers[DOCTOR_VERSION].status = 0;
    error_set(&c.api.answers[DOCTOR_VERSION].error, -EIO, "nothing listens there");
    assert_found(judge(&c), "api-server", DOCTOR_FAIL, NULL);
    assert_null(finding(&c.report, "csi-driver"));
    c.api.has_credentials = false;
    error_set(&c.api.error, -EIO, "the key is no PEM");
    assert_found(judge(&c), "credentials", DOCTOR_FAIL, NULL);
    c.api.has_config = false;
    assert_found(judge(&c), "kubeconfig", DOCTOR_FAIL, "--kubeconfig");
    assert_int_equal(c.report.n_findings, 1);
    tear_down(&c);
}

static void test_credentials(void **state)
{
    struct api_case c;

    set_up(&c);
    c.api.certificate_expiry.tv_sec = now.tv_sec + 3600;
    assert_found(judge(&c), "credentials", DOCTOR_WARN, "is valid until");
    c.api.certificate_expiry.tv_sec = now.tv_sec - 1;
    assert_found(judge(&c), "credentials", DOCTOR_FAIL, "expired");
    c.api.has_certificate = false;
    assert_found(judge(&c), "credentials", DOCTOR_OK, NULL);
    set_answer(&c, DOCTOR_VERSION, 401, "{}");
    assert_found(judge(&c), "api-server", DOCTOR_FAIL, "401");
    tear_down(&c);
}

static void test_identities(void **state)
{
    struct api_case c;

    set_up(&c);
    c.options.node_id = "node-2";
    assert_found(judge(&c), "identity", DOCTOR_FAIL, "not node-2");
    c.options.rights = "daemon";
    assert_found(judge(&c), "identity", DOCTOR_WARN, "--rights node");
    c.options.rights = "pod";
    assert_null(finding(judge(&c), "identity"));
    c.options.rights = "node";
    set_answer(&c, DOCTOR_IDENTITY, 201, "{\"status\":{\"userInfo\":{\"username\":\"admin\"}}}");
    assert_found(judge(&c), "identity", DOCTOR_WARN, "admin, not a node");
    tear_down(&c);
}

static void test_drivers(void **state)
{
    static const struct {
        const char *body, *words;
    } cases[] = {
        {"{}", "volumeLifecycleModes"},
        {DRIVER("Persistent", "true", "false", ""), "volumeLifecycleModes"},
        {DRIVER("Ephemeral", "false", "false", ""), "podInfoOnMount"},
        {DRIVER("Ephemeral", "true", "true", ""), "attachRequired"},
    };
    struct api_case c;

    set_up(&c);
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        set_answer(&c, DOCTOR_DRIVER, 200, cases[i].body);
        assert_found(judge(&c), "csi-driver", DOCTOR_FAIL, cases[i].words);
    }
    set_answer(&c, DOCTOR_DRIVER, 404, "{}");
    assert_found(judge(&c), "csi-driver", DOCTOR_FAIL, "CSIDriver csi.secretfs.io does not exist");
    assert_found(judge(&c), "csi-driver", DOCTOR_FAIL, "kubectl apply -k deploy/csidriver (");
    c.options.rights = "pod";
    assert_found(judge(&c), "csi-driver", DOCTOR_FAIL,
                 "kubectl apply -k deploy/csidriver-tokens (");
    c.options.driver_name = "csi.example"; /* which that command would not make */
    assert_found(judge(&c), "csi-driver", DOCTOR_FAIL, "create it as deploy/csidriver-tokens (");
    c.options.driver_name = "csi.secretfs.io";
    set_answer(&c, DOCTOR_DRIVER, 200, GOOD_DRIVER);
    assert_found(judge(&c), "csi-driver", DOCTOR_FAIL, "tokenRequests");
    set_answer(&c, DOCTOR_DRIVER, 200,
               DRIVER("Ephemeral", "true", "false", ",\"tokenRequests\":[{\"audience\":\"\"}]"));
    assert_found(judge(&c), "csi-driver", DOCTOR_WARN, "requiresRepublish");
    set_answer(&c, DOCTOR_DRIVER, 200,
               DRIVER("Ephemeral", "true", "false",
                      ",\"requiresRepublish\":true,\"tokenRequests\":[{\"audience\":\"\"}]"));
    assert_found(judge(&c), "csi-driver", DOCTOR_OK, NULL);
    tear_down(&c);
}

static void test_node_and_rights(void **state)
{
    struct api_case c;

    set_up(&c);
    set_answer(&c, DOCTOR_NODE, 200, "{\"spec\":{\"drivers\":null}}");
    assert_found(judge(&c), "csi-node", DOCTOR_FAIL, "not registered on node node-1");
    set_answer(&c, DOCTOR_NODE, 404, "{}");
    assert_found(judge(&c), "csi-node", DOCTOR_WARN, "--node-id");
    set_answer(&c, DOCTOR_READ_SECRETS, 201, "{\"status\":{\"allowed\":true}}");
    set_answer(&c, DOCTOR_POST_EVENTS, 201, "{\"status\":{\"allowed\":false}}");
    assert_found(judge(&c), "rights", DOCTOR_WARN, "every secret of the cluster");
    assert_found(judge(&c), "events", DOCTOR_WARN, "deploy/");
    set_answer(&c, DOCTOR_POST_EVENTS, 403, "{}");
    assert_null(finding(judge(&c), "events"));
    assert_found(judge(&c), "pods", DOCTOR_OK, "can read the pods of node node-1");
    set_answer(&c, DOCTOR_READ_PODS, 403, "{}");
    assert_found(judge(&c), "pods", DOCTOR_WARN, "deploy/rbac/pods");
    set_answer(&c, DOCTOR_READ_PODS, 503, "{}");
    assert_null(finding(judge(&c), "pods"));
    tear_down(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_report_without_memory),
        cmocka_unit_test(test_a_host_that_is_well),
        cmocka_unit_test(test_without_registration),
        cmocka_unit_test(test_fuse),
        cmocka_unit_test(test_old_kernels),
        cmocka_unit_test(test_kubelet),
        cmocka_unit_test(test_sockets_and_registration),
        cmocka_unit_test(test_run_dir),
        cmocka_unit_test(test_memory_and_stale_mounts),
        cmocka_unit_test(test_volumes_that_are_not_current),
        cmocka_unit_test(test_volumes_are_counted_by_state),
        cmocka_unit_test(test_control_characters_become_blanks),
        cmocka_unit_test(test_looking),
        cmocka_unit_test(test_an_api_that_is_well),
        cmocka_unit_test(test_no_way_to_the_server),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_identities),
        cmocka_unit_test(test_drivers),
        cmocka_unit_test(test_node_and_rights),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

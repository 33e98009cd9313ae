/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "node/options.h"

#include "fetcher/http/client.h"
#include "tests/unit/failmalloc.h"

#define WORDS_MAX 12

static char config_path[] = "/tmp/secretfs-node-options-XXXXXX";

/* @line: words separated by blanks, after "node" */
static int parse(const char *line, struct node_options *o, struct error *e)
{
    char *argv[WORDS_MAX] = {NULL};
    static char copy[1024];
    int argc = 0;

    snprintf(copy, sizeof(copy), "node %s", line);
    for (char *at = copy, *word; (word = strsep(&at, " ")) != NULL;)
        if (*word != '\0') {
            assert_true(argc < WORDS_MAX - 1);
            argv[argc++] = word;
        }
    return node_options_parse(argc, argv, o, e);
}

static void parse_well(const char *line, struct node_options *o)
{
    struct error e = ERROR_INIT;

    if (parse(line, o, &e) != 0)
        fail_msg("%s: %s", line, e.text);
}

static void write_config(const char *text)
{
    FILE *f = fopen(config_path, "we");

    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
}

static void test_defaults(void **state)
{
    struct node_options o;

    unsetenv("NODE_NAME");
    parse_well("", &o);
    assert_string_equal(o.driver_name, "csi.secretfs.io");
    assert_string_equal(o.kubelet_root, "/var/lib/kubelet");
    assert_string_equal(o.endpoint, "/var/lib/kubelet/plugins/csi.secretfs.io/csi.sock");
    assert_string_equal(o.registration_path,
                        "/var/lib/kubelet/plugins_registry/csi.secretfs.io-reg.sock");
    assert_string_equal(o.run_dir, "/run/secretfs");
    assert_string_equal(o.volumes_dir, "/etc/secretfs/volumes.d");
    assert_int_equal(o.rights, NODE_RIGHTS_NODE);
    assert_int_equal(o.log_level, LOG_LEVEL_INFO);
    assert_int_not_equal(o.node_id[0], '\0');
    for (const char *c = o.node_id; *c != '\0'; c++)
        assert_false(*c >= 'A' && *c <= 'Z');
    node_options_deinit(&o);
}

static void test_node_id_defaults_to_host_name(void **state)
{
    struct node_options o;

    assert_int_equal(setenv("NODE_NAME", "from-environment", 1), 0);
    parse_well("", &o);
    assert_string_equal(o.node_id, "from-environment");
    node_options_deinit(&o);
    parse_well("--node-id=given", &o);
    assert_string_equal(o.node_id, "given");
    node_options_deinit(&o);
    unsetenv("NODE_NAME");
}

static void test_check(void **state)
{
    struct node_options o;
    struct error e = ERROR_INIT;

    parse_well("", &o);
    assert_false(o.is_check);
    node_options_deinit(&o);
    parse_well("--check", &o);
    assert_true(o.is_check);
    node_options_deinit(&o);
    assert_int_equal(parse("--metrics-bind-address=invalid", &o, &e), -EINVAL);
    assert_non_null(strstr(e.text, "metrics-bind-address"));
    node_options_deinit(&o);
}

static void test_derived_paths(void **state)
{
    struct node_options o;

    parse_well("--kubelet-root=/data/kubelet// --driver-name x.example --run-dir /r/", &o);
    assert_string_equal(o.kubelet_root, "/data/kubelet");
    assert_string_equal(o.endpoint, "/data/kubelet/plugins/x.example/csi.sock");
    assert_string_equal(o.registration_path, "/data/kubelet/plugins_registry/x.example-reg.sock");
    assert_string_equal(o.run_dir, "/r");
    node_options_deinit(&o);
    parse_well("--registration-path=none", &o);
    assert_null(o.registration_path);
    node_options_deinit(&o);
}

static void test_endpoint_forms(void **state)
{
    static const char *const ways[] = {"--endpoint=/a/csi.sock", "--endpoint=unix:/a/csi.sock",
                                       "--endpoint=unix:///a/csi.sock"};
    struct node_options o;

    for (size_t i = 0; i < ELEMENTS_OF(ways); i++) {
        parse_well(ways[i], &o);
        assert_string_equal(o.endpoint, "/a/csi.sock");
        node_options_deinit(&o);
    }
}

static void test_levels(void **state)
{
    struct node_options o;

    parse_well("--v=4", &o);
    assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
    node_options_deinit(&o);
    parse_well("--log-level=error --log-format=json --rights=pod", &o);
    assert_int_equal(o.log_level, LOG_LEVEL_ERROR);
    assert_int_equal(o.log_format, LOG_FORMAT_JSON);
    assert_int_equal(o.rights, NODE_RIGHTS_POD);
    assert_int_equal(o.rate_limit.per_sec, HTTP_DEFAULT_QPS);
    assert_int_equal(o.rate_limit.burst, HTTP_DEFAULT_BURST);
    node_options_deinit(&o);
    parse_well("--kube-api-qps=0 --kube-api-burst=100000", &o);
    assert_int_equal(o.rate_limit.per_sec, 0);
    assert_int_equal(o.rate_limit.burst, 100000);
    node_options_deinit(&o);
}

static void test_switch(void **state)
{
    static const struct {
        const char *text;
        bool is_on;
    } ways[] = {
        {"consumers: on\n", true}, {"consumers: \"on\"\n", true}, {"consumers: off\n", false}};
    struct node_options o;
    char line[256];

    snprintf(line, sizeof(line), "--config=%s", config_path);
    for (size_t i = 0; i < ELEMENTS_OF(ways); i++) {
        write_config(ways[i].text);
        parse_well(line, &o);
        assert_int_equal(o.notes_consumers, ways[i].is_on);
        node_options_deinit(&o);
    }
    parse_well("--consumers=on", &o);
    assert_true(o.notes_consumers);
    assert_false(o.reports_conditions);
    node_options_deinit(&o);
    parse_well("--report-conditions=on", &o);
    assert_true(o.reports_conditions);
    assert_false(o.keeps_previous);
    node_options_deinit(&o);
    parse_well("--keep-previous=on", &o);
    assert_true(o.keeps_previous);
    node_options_deinit(&o);
}

static void test_ui_is_for_this_host_only(void **state)
{
    static const char *const refused[] = {":9811", "0", "10.0.0.1:9811", "[::]:80"};
    struct node_options o;
    struct error e;

    parse_well("", &o);
    assert_false(o.serves_ui);
    node_options_deinit(&o);
    parse_well("--ui=on", &o);
    assert_true(o.serves_ui);
    node_options_deinit(&o);
    parse_well("--ui=on --metrics-bind-address=[::1]:80", &o);
    node_options_deinit(&o);
    for (size_t i = 0; i < ELEMENTS_OF(refused); i++) {
        char line[128];

        snprintf(line, sizeof(line), "--ui=on --metrics-bind-address=%s", refused[i]);
        assert_int_equal(parse(line, &o, &e), -EINVAL);
        assert_non_null(strstr(e.text, "ui takes a metrics-bind-address of this host only"));
        node_options_deinit(&o);
    }
}

static void test_command_line_overrides_file(void **state)
{
    struct node_options o;
    char line[128];

    write_config("# comment\n"
                 "rights: daemon\n"
                 "kubelet-root: /from/file\n"
                 "metrics-bind-address: 0\n"
                 "node-id: \"17\"\n"
                 "v: 5\n");
    snprintf(line, sizeof(line), "--kubelet-root=/from/line --config=%s", config_path);
    parse_well(line, &o);
    assert_int_equal(o.rights, NODE_RIGHTS_DAEMON);
    assert_string_equal(o.kubelet_root, "/from/line");
    assert_string_equal(o.metrics_address, "0");
    assert_string_equal(o.node_id, "17");
    assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
    node_options_deinit(&o);
    write_config("commands: [{name: a, command: [/bin/a, -b], timeout: 5s}]\n");
    parse_well(line, &o);
    assert_int_equal(o.commands.n, 1);
    assert_string_equal(o.commands.commands[0].argv[1], "-b");
    node_options_deinit(&o);
    write_config("# nothing but this\n");
    parse_well(line, &o);
    node_options_deinit(&o);
}

static void test_audit_takes_consumers(void **state)
{
    struct error e = ERROR_INIT;
    struct node_options o;

    parse_well("--consumers=on --audit=journal", &o);
    assert_string_equal(o.audit, "journal");
    node_options_deinit(&o);
    assert_int_equal(parse("--audit=journal", &o, &e), -EINVAL);
    assert_string_equal(e.text, "--audit takes --consumers on");
    node_options_deinit(&o);
}

static void test_invalid_files(void **state)
{
    static const struct {
        const char *text;
        const char *message;
    } faults[] = {
        {"nodeid: a\n", "unknown option \"nodeid\"; did you mean \"node-id\"?"},
        {"config: /etc/x\n", "unknown option \"config\""},
        {"help: true\n", "unknown option \"help\""},
        {"kube-api-qps: -1\n", "kube-api-qps takes a whole number from 0 to 100000"},
        {"kube-api-qps: 1.5\n", "kube-api-qps takes a whole number"},
        {"kube-api-qps: 100001\n", "kube-api-qps takes a whole number"},
        {"kube-api-burst: 0\n", "kube-api-burst takes a whole number from 1 to 100000"},
        {"kube-api-burst: \"\"\n", "kube-api-burst takes a whole number"},
        {"rights: root\n", "invalid rights \"root\", expected one of: node, pod, daemon"},
        {"kubelet-root: [a]\n", "kubelet-root takes a string or a number"},
        {"consumers: 1\n", "invalid consumers \"1\", expected one of: on, off"},
        {"consumers: on\naudit: log\n", "audit takes an absolute path of a file"},
        {"report-conditions: maybe\n",
         "invalid report-conditions \"maybe\", expected one of: on, off"},
        {"ui: 1\n", "invalid ui \"1\", expected one of: on, off"},
        {"commands: /bin/sh\n", "commands: expected a list"},
        {"commands: [{name: a, command: [sh]}]\n",
         "commands[0].command[0]: expected the absolute path of a program"},
        {"commands: []\ncommands: []\n", "duplicate"},
        {"kubelet-root: true\n", "kubelet-root takes a string or a number"},
        {"run-dir: here\n", "run-dir takes an absolute path"},
        {"- rights\n", "options are written as"},
        {"a: b: c\n", "line 1"},
    };
    struct node_options o;
    char line[128];

    snprintf(line, sizeof(line), "--config=%s", config_path);
    for (size_t i = 0; i < ELEMENTS_OF(faults); i++) {
        struct error e = ERROR_INIT;

        write_config(faults[i].text);
        assert_int_equal(parse(line, &o, &e), -EINVAL);
        if (strstr(e.text, faults[i].message) == NULL || strstr(e.text, config_path) == NULL)
            fail_msg("%s: %s", faults[i].text, e.text);
        node_options_deinit(&o);
    }
    {
        struct error e = ERROR_INIT;

        assert_int_equal(parse("--config=/nowhere/node.yaml", &o, &e), -ENOENT);
        assert_non_null(strstr(e.text, "/nowhere/node.yaml"));
        node_options_deinit(&o);
    }
}

static void test_invalid_arguments(void **state)
{
    static const struct {
        const char *line;
        const char *message;
    } faults[] = {
        {"--driver-name=-x", "invalid driver name"},
        {"--driver-name=a_b", "invalid driver name"},
        {"--endpoint=tcp://127.0.0.1:1", "absolute path"},
        {"--kubelet-root=kubelet", "absolute path"},
        {"--registration-path=x", "absolute path"},
        {"--node-id=", "node-id is empty"},
        {"--rights=all", "invalid rights \"all\", expected one of: node, pod, daemon"},
        {"--log-level=loud", "invalid log-level \"loud\", expected one of: error, warn"},
        {"--log-format=xml", "invalid log-format \"xml\", expected one of: text, json"},
        {"--v=x", "v takes a number"},
        {"--v=", "v takes a number"},
        {"--manifests=/m --kubeconfig=/k", "either from a directory or from an API server"},
        {"--nodeid=a", "unknown option"},
        {"--rights", "needs a value"},
        {"start", "options only"},
    };
    struct node_options o;

    for (size_t i = 0; i < ELEMENTS_OF(faults); i++) {
        struct error e = ERROR_INIT;

        assert_int_equal(parse(faults[i].line, &o, &e), -EINVAL);
        if (strstr(e.text, faults[i].message) == NULL)
            fail_msg("%s: %s", faults[i].line, e.text);
        node_options_deinit(&o);
    }
}

static int parse_config_with_what_memory_there_is(void *userdata)
{
    struct node_options o;
    int r = parse(userdata, &o, NULL);

    node_options_deinit(&o);
    return r;
}

static void test_no_memory(void **state)
{
    char line[128];

    write_config("v: 5\nkubelet-root: /from/file/\n");
    snprintf(line, sizeof(line), "--driver-name=x --config=%s", config_path);
    failmalloc_try(parse_config_with_what_memory_there_is, line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_node_id_defaults_to_host_name),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_derived_paths),
        cmocka_unit_test(test_endpoint_forms),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_switch),
        cmocka_unit_test(test_ui_is_for_this_host_only),
        cmocka_unit_test(test_command_line_overrides_file),
        cmocka_unit_test(test_audit_takes_consumers),
        cmocka_unit_test(test_invalid_files),
        cmocka_unit_test(test_invalid_arguments),
        cmocka_unit_test(test_no_memory),
    };
    int fd = mkstemp(config_path);
    int r;

    assert(fd >= 0);
    close(fd);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(config_path);
    return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's text about processes, in which they choose names. */
#include "consumers/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ID  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define UID "11111111-2222-3333-4444-555555555555"

#define NUMBERS_3_TO_21 "1 1 1 0 -1 4194304 10 0 0 0 1 2 0 0 20 0 1 0 "

static void test_stat_of_a_process(void **state)
{
    struct identity_process p;

    assert_true(identity_parse_stat("42 (nginx) S " NUMBERS_3_TO_21 "987654 1 2\n", &p));
    assert_int_equal(p.pid, 42);
    assert_int_equal(p.start_ticks, 987654);
    assert_string_equal(p.comm, "nginx");
    assert_false(p.has_ended);
    assert_true(identity_parse_stat("42 (nginx) Z " NUMBERS_3_TO_21 "7\n", &p));
    assert_true(p.has_ended);
}

static void test_name_with_parentheses_and_controls(void **state)
{
    struct identity_process p;

    assert_true(identity_parse_stat("42 (a) Z 1 (\x1b\n\xc3 b) S " NUMBERS_3_TO_21 "5\n", &p));
    assert_int_equal(p.start_ticks, 5);
    assert_string_equal(p.comm, "a)?Z?1?(????b");
    assert_false(p.has_ended);
}

static void test_invalid_stat_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "42",
        "42 (a",
        "42 (a)",
        "42 (a) S 1 2 3\n",
        ")( S " NUMBERS_3_TO_21 "5\n",
        "0 (a) S " NUMBERS_3_TO_21 "5\n",
        "-1 (a) S " NUMBERS_3_TO_21 "5\n",
        "4294967296 (a) S " NUMBERS_3_TO_21 "5\n",
        "42 (a) S " NUMBERS_3_TO_21 "x\n",
        "42 (a) S " NUMBERS_3_TO_21 "99999999999999999999999\n",
    };
    struct identity_process p = {.pid = 7};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_false(identity_parse_stat(texts[i], &p));
    assert_int_equal(p.pid, 7);
}

static void test_container_of_systemd(void **state)
{
    struct identity_group g;

    identity_parse_cgroup("0::/kubepods.slice/kubepods-burstable.slice/"
                          "kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice/"
                          "cri-containerd-" ID ".scope\n",
                          false, &g);
    assert_string_equal(g.pod_uid, UID);
    assert_string_equal(g.container, ID);
    assert_string_equal(g.unit, "");
    assert_string_equal(g.cgroup,
                        "/kubepods.slice/kubepods-burstable.slice/"
                        "kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice/"
                        "cri-containerd-" ID ".scope");
}

static void test_names_of_directories(void **state)
{
    char uid[IDENTITY_POD_SIZE], id[IDENTITY_CONTAINER_SIZE];

    assert_true(identity_parse_pod("pod" UID, uid));
    assert_string_equal(uid, UID);
    assert_true(identity_parse_pod(
        "kubepods-besteffort-pod11111111_2222_3333_4444_555555555555.slice", uid));
    assert_string_equal(uid, UID);
    assert_false(identity_parse_pod("kubepods-besteffort.slice", uid));
    assert_false(identity_parse_pod("", uid));
    assert_true(identity_parse_container("cri-containerd-" ID ".scope", id));
    assert_string_equal(id, ID);
    assert_true(identity_parse_container(ID, id));
    assert_false(identity_parse_container("init.scope", id));
    assert_false(identity_parse_container("", id));
}

static void test_below_a_directory(void **state)
{
    static const char text[] = "12:memory:/a/b/c\n1:name=systemd:/a/b\n0::/x (deleted)\n";

    assert_true(identity_is_below(text, "memory", "/a/b"));
    assert_true(identity_is_below(text, "memory", "/a/b/c"));
    assert_false(identity_is_below(text, "memory", "/a/b/c/d"));
    assert_false(identity_is_below(text, "memory", "/a/"));
    assert_false(identity_is_below(text, "memory", "/b"));
    assert_true(identity_is_below(text, "name=systemd", "/a/b"));
    assert_false(identity_is_below(text, "name=systemd", "/a/b/c"));
    assert_false(identity_is_below(text, "", "/x"));
    assert_false(identity_is_below(text, "pids", "/a"));
    assert_false(identity_is_below("0::/x/../a/b\n", "", "/a/b"));
    assert_false(identity_is_below("", "", "/a"));
}

static void test_container_of_cgroup_1(void **state)
{
    struct identity_group g;

    identity_parse_cgroup("9:name=systemd:/\n"
                          "4:memory:/kubepods/burstable/pod" UID "/" ID "\n"
                          "0::/\n",
                          true, &g);
    assert_string_equal(g.pod_uid, UID);
    assert_string_equal(g.container, ID);
    assert_string_equal(g.cgroup, "memory/kubepods/burstable/pod" UID "/" ID);
}

/* What a container makes within its own directory is below it. */
static void test_container_cannot_pose_as_another(void **state)
{
    struct identity_group g;

    identity_parse_cgroup("0::/kubepods/pod" UID "/" ID
                          "/kubepods/pod99999999-2222-3333-4444-555555555555/"
                          "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\n",
                          false, &g);
    assert_string_equal(g.pod_uid, UID);
    assert_string_equal(g.container, ID);
    assert_string_equal(g.cgroup, "/kubepods/pod" UID "/" ID);
}

/* A kubelet with cgroupsPerQOS: false; Docker; podman. */
static void test_container_without_a_pod_in_its_path(void **state)
{
    static const char *const paths[] = {"/k8s.io/" ID, "/docker/" ID,
                                        "/machine.slice/libpod-" ID ".scope"};
    struct identity_group g;
    char text[256];

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        snprintf(text, sizeof(text), "2:cpu:/\n1:name=systemd:%s/init.scope\n0::/\n", paths[i]);
        identity_parse_cgroup(text, true, &g);
        assert_string_equal(g.pod_uid, "");
        assert_string_equal(g.container, ID);
        assert_string_equal(g.unit, "");
        snprintf(text, sizeof(text), "systemd%s", paths[i]);
        assert_string_equal(g.cgroup, text);
    }
}

/* A service could remove such a directory, and be forgotten while it runs. */
static void test_container_below_a_service_is_the_service(void **state)
{
    struct identity_group g;

    identity_parse_cgroup("0::/system.slice/app.service/" ID "\n", false, &g);
    assert_string_equal(g.container, "");
    assert_string_equal(g.unit, "app.service");
    assert_string_equal(g.cgroup, "/system.slice/app.service");
}

static void test_unit_of_a_service(void **state)
{
    struct identity_group g;

    identity_parse_cgroup("0::/system.slice/nginx.service\n", false, &g);
    assert_string_equal(g.unit, "nginx.service");
    assert_string_equal(g.cgroup, "/system.slice/nginx.service");
    assert_string_equal(g.container, "");
    identity_parse_cgroup("1:name=systemd:/system.slice/nginx.service\n0::/\n", true, &g);
    assert_string_equal(g.cgroup, "systemd/system.slice/nginx.service");
    identity_parse_cgroup("0::/system.slice/nginx.service/part\n", true, &g);
    assert_string_equal(g.cgroup, "unified/system.slice/nginx.service");
}

/* A login's processes have nothing in common. */
static void test_scope_is_named_and_is_no_group(void **state)
{
    struct identity_group g;

    identity_parse_cgroup("0::/user.slice/user-0.slice/session-1.scope\n", false, &g);
    assert_string_equal(g.unit, "session-1.scope");
    assert_false(identity_group_exists(&g));
    assert_false(identity_group_same(&g, &g));
}

static void test_invalid_pod_is_none(void **state)
{
    struct identity_group g;

    identity_parse_cgroup("0::/kubepods/pod11111111-2222-3333-4444-55555555555x/" ID "\n", false,
                          &g);
    assert_string_equal(g.pod_uid, "");
    assert_string_equal(g.container, ID);
}

static void test_unknown_groups_are_empty(void **state)
{
    static const char *const texts[] = {"",   "\n",  "0::/\n",         "x",
                                        "0:", "0::", "0::x/a.service", "4:memory:/a.service\n"};
    struct identity_group g;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        identity_parse_cgroup(texts[i], false, &g);
        assert_false(identity_group_exists(&g));
        assert_string_equal(g.unit, "");
    }
}

static void test_too_long_path_is_unknown(void **state)
{
    char text[2 * IDENTITY_CGROUP_SIZE];
    struct identity_group g;

    memset(text, 'a', sizeof(text));
    memcpy(text, "0::/", 4);
    snprintf(text + sizeof(text) - 20, 20, "/x.service");
    identity_parse_cgroup(text, false, &g);
    assert_string_equal(g.unit, "x.service");
    assert_false(identity_group_exists(&g));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stat_of_a_process),
        cmocka_unit_test(test_name_with_parentheses_and_controls),
        cmocka_unit_test(test_invalid_stat_is_refused),
        cmocka_unit_test(test_container_of_systemd),
        cmocka_unit_test(test_names_of_directories),
        cmocka_unit_test(test_below_a_directory),
        cmocka_unit_test(test_container_of_cgroup_1),
        cmocka_unit_test(test_container_cannot_pose_as_another),
        cmocka_unit_test(test_container_without_a_pod_in_its_path),
        cmocka_unit_test(test_container_below_a_service_is_the_service),
        cmocka_unit_test(test_unit_of_a_service),
        cmocka_unit_test(test_scope_is_named_and_is_no_group),
        cmocka_unit_test(test_invalid_pod_is_none),
        cmocka_unit_test(test_unknown_groups_are_empty),
        cmocka_unit_test(test_too_long_path_is_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "cmd/doctor/defaults.h"

#include "tests/unit/failmalloc.h"

#define MOUNT "{\"process\":\"mount\",\"pid\":1}"
#define OTHER                                                                                      \
    "{\"process\":\"node\",\"pid\":2,\"runDirectory\":\"/r\",\"rights\":\"pod\","                  \
    "\"registrationPath\":\"none\"}"
#define DEFAULT                                                                                    \
    "{\"process\":\"node\",\"pid\":3,\"driver\":\"d\",\"node\":\"n\",\"runDirectory\":"            \
    "\"/run/secretfs\",\"kubeletRoot\":\"/k\",\"endpoint\":\"/k/e\",\"registrationPath\":\"/k/"    \
    "r\","                                                                                         \
    "\"rights\":\"daemon\",\"kubeconfig\":\"/c\",\"context\":\"x\",\"version\":\"1\"}"

static cJSON *parse(const char *processes)
{
    char text[2000];
    cJSON *json = NULL;

    snprintf(text, sizeof(text), "{\"processes\":[%s]}", processes);
    assert_int_equal(json_parse(text, strlen(text), &json, NULL), 0);
    return json;
}

static void assert_defaults_of(const char *processes, const char *run_dir, const char *driver,
                               const char *file, const char *origin, const char *const *texts,
                               size_t n)
{
    struct doctor_defaults defaults;
    cJSON *list = parse(processes);

    assert_int_equal(doctor_defaults_find(list, run_dir, driver, file, &defaults), 0);
    assert_string_equal(defaults.origin.text, origin);
    assert_int_equal(defaults.n_texts, n);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(defaults.texts[i], texts[i]);
    doctor_defaults_deinit(&defaults);
    cJSON_Delete(list);
}

static void assert_defaults(const char *processes, const char *run_dir, const char *file,
                            const char *origin, const char *const *texts, size_t n)
{
    assert_defaults_of(processes, run_dir, NULL, file, origin, texts, n);
}

static void test_daemon_that_runs(void **state)
{
    static const char *const whole[] = {
        "--driver-name=d",   "--node-id=n",     "--run-dir=/run/secretfs",
        "--kubelet-root=/k", "--endpoint=/k/e", "--registration-path=/k/r",
        "--rights=daemon",   "--kubeconfig=/c", "--context=x",
    };
    static const char *const other[] = {"--run-dir=/r", "--registration-path=none", "--rights=pod"};
    static const char third[] = "those of the daemon that runs, process 3";
    static const char second[] = "those of the daemon that runs, process 2";

    /* the one of the default directory is preferred, wherever it stands in the list */
    assert_defaults(MOUNT "," OTHER "," DEFAULT, NULL, "/f", third, whole, ELEMENTS_OF(whole));
    assert_defaults(DEFAULT "," OTHER, NULL, "/f", third, whole, ELEMENTS_OF(whole));
    assert_defaults(MOUNT "," OTHER, NULL, "/f", second, other, ELEMENTS_OF(other));
    assert_defaults(DEFAULT "," OTHER, "/r", "/f", second, other, ELEMENTS_OF(other));
}

static void test_no_daemon(void **state)
{
    static const char *const file[] = {"--config=/f"};

    assert_defaults(MOUNT, NULL, "/f", "those of /f; no daemon runs", file, 1);
    assert_defaults(DEFAULT "," OTHER, "/elsewhere", "/f", "those of /f; no daemon runs", file, 1);
    assert_defaults("", NULL, NULL, "the defaults; no daemon runs", NULL, 0);
}

/* The socket of one driver is not that of another. */
static void test_daemon_of_another_driver(void **state)
{
    static const char *const file[] = {"--config=/f"};
    static const char *const of_d[] = {
        "--driver-name=d",   "--node-id=n",     "--run-dir=/run/secretfs",
        "--kubelet-root=/k", "--endpoint=/k/e", "--registration-path=/k/r",
        "--rights=daemon",   "--kubeconfig=/c", "--context=x",
    };
    static const char none[] = "those of /f; no daemon runs";

    assert_defaults_of(OTHER "," DEFAULT, NULL, "d", "/f",
                       "those of the daemon that runs, process 3", of_d, ELEMENTS_OF(of_d));
    assert_defaults_of(OTHER "," DEFAULT, NULL, "other", "/f", none, file, 1);
    assert_defaults_of(OTHER "," DEFAULT, "/run/secretfs", "other", "/f", none, file, 1);
}

static int try_finding(void *userdata)
{
    struct doctor_defaults defaults;
    int r = doctor_defaults_find(userdata, NULL, NULL, NULL, &defaults);

    doctor_defaults_deinit(&defaults);
    return r;
}

static void test_without_memory(void **state)
{
    cJSON *list = parse(DEFAULT);

    failmalloc_try(try_finding, list);
    cJSON_Delete(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_daemon_that_runs),
        cmocka_unit_test(test_no_daemon),
        cmocka_unit_test(test_daemon_of_another_driver),
        cmocka_unit_test(test_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

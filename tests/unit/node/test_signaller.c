/* SPDX-License-Identifier: Apache-2.0 */
/* Orders of signals to pods that this machine does not have. */
#include "node/signaller.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define ORDERS 20

static struct {
    sd_event *event;
    struct signaller *signaller;
    uint64_t n_done;
    struct pod_signal_result result;
} world;

static void on_done(void *userdata, uint64_t owner, const struct pod_signal *signal,
                    const struct pod_signal_result *result)
{
    assert_ptr_equal(userdata, &world);
    assert_int_equal(owner, world.n_done);
    assert_int_equal(signal->signal, SIGHUP);
    world.n_done++;
    world.result = *result;
}

static int set_up(void **state)
{
    memset(&world, 0, sizeof(world));
    assert_true(sd_event_new(&world.event) >= 0);
    assert_int_equal(signaller_new(world.event, on_done, &world, &world.signaller), 0);
    return 0;
}

static int tear_down(void **state)
{
    signaller_free(world.signaller);
    sd_event_unref(world.event);
    return 0;
}

static void order(uint64_t owner)
{
    const struct pod_signal signal = {.pod_uid = "11111111-2222-3333-4444-555555555555",
                                      .directory = "csi-none",
                                      .signal = SIGHUP};
    struct error e = ERROR_INIT;

    assert_int_equal(signaller_send(world.signaller, owner, &signal, &e), 0);
}

/* In their order, and not before the loop runs. */
static void test_results(void **state)
{
    for (uint64_t i = 0; i < ORDERS; i++)
        order(i);
    assert_int_equal(world.n_done, 0);
    while (world.n_done < ORDERS)
        assert_true(sd_event_run(world.event, UINT64_MAX) >= 0);
    assert_int_equal(world.result.n_sent + world.result.n_failed, 0);
    assert_string_equal(world.result.e.text,
                        "the daemon does not see the pod's control group below /sys/fs/cgroup");
}

/* The thread ends when it has sent all of them. */
static void test_end_with_orders(void **state)
{
    for (uint64_t i = 0; i < ORDERS; i++)
        order(i);
    world.signaller = signaller_free(world.signaller);
    assert_int_equal(world.n_done, ORDERS);
}

static void test_unused(void **state)
{
    assert_null(signaller_free(NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_results), TEST(test_end_with_orders),
                                       TEST(test_unused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

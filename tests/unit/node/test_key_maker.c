/* SPDX-License-Identifier: Apache-2.0 */
#include "node/key_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ORDERS 5

static struct {
    sd_event *event;
    struct key_maker *maker;
    struct key_order *orders[ORDERS];
    unsigned n_made, n_failed;
    struct error error;
} world;

static int set_up(void **state)
{
    memset(&world, 0, sizeof(world));
    assert_true(sd_event_new(&world.event) >= 0);
    assert_int_equal(key_maker_new(world.event, &world.maker), 0);
    return 0;
}

static int tear_down(void **state)
{
    key_maker_free(world.maker);
    sd_event_unref(world.event);
    return 0;
}

static void on_made(void *userdata, struct certificate_key *key, const struct error *e)
{
    struct key_order **order = userdata;

    *order = NULL;
    if (key != NULL)
        world.n_made++;
    else
        world.n_failed++;
    world.error = *e;
    certificate_key_free(key);
}

static void order(size_t i, const char *type)
{
    struct error e = ERROR_INIT;

    assert_int_equal(
        key_maker_order(world.maker, type, on_made, &world.orders[i], &world.orders[i], &e), 0);
}

static void wait_results(unsigned n)
{
    while (world.n_made + world.n_failed < n)
        assert_true(sd_event_run(world.event, UINT64_MAX) >= 0);
}

static void test_one_after_the_other(void **state)
{
    for (size_t i = 0; i < ORDERS; i++)
        order(i, "ED25519");
    wait_results(ORDERS);
    assert_int_equal(world.n_made, ORDERS);
    order(0, "ECDSAP256");
    wait_results(ORDERS + 1);
    assert_int_equal(world.n_made, ORDERS + 1);
}

static void test_failure(void **state)
{
    order(0, "DSA");
    wait_results(1);
    assert_int_equal(world.n_failed, 1);
    assert_string_equal(world.error.text, "invalid key type \"DSA\"");
}

/* Whether an order waits, is being worked on or is done: nothing is called. */
static void test_freed_orders(void **state)
{
    for (size_t i = 0; i < ORDERS; i++)
        order(i, i == 0 ? "RSA4096" : "ED25519");
    for (size_t i = 0; i + 1 < ORDERS; i++)
        world.orders[i] = key_order_free(world.orders[i]);
    wait_results(1);
    assert_int_equal(world.n_made, 1);
    for (unsigned round = 0; round < 20; round++) {
        order(0, "ED25519");
        world.orders[0] = key_order_free(world.orders[0]);
    }
    assert_int_equal(world.n_made, 1);
}

/* The end does not wait for a key that takes long. */
static void test_end_with_a_cancelled_order(void **state)
{
    order(0, "RSA4096");
    world.orders[0] = key_order_free(world.orders[0]);
    assert_int_equal(world.n_made, 0);
}

static void test_unused(void **state)
{
    assert_null(key_order_free(NULL));
    assert_null(key_maker_free(NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_after_the_other),        TEST(test_failure), TEST(test_freed_orders),
        TEST(test_end_with_a_cancelled_order), TEST(test_unused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct pair {
    pthread_mutex_t lock;
    pthread_cond_t condition;
    bool is_set;
    size_t stack_bytes;
};

static void *set(void *userdata)
{
    struct pair *p = userdata;
    pthread_attr_t attr;

    pthread_mutex_lock(&p->lock);
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstacksize(&attr, &p->stack_bytes);
        pthread_attr_destroy(&attr);
    }
    p->is_set = true;
    pthread_cond_signal(&p->condition);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void test_a_thread_with_its_stack_signals(void **state)
{
    struct pair p = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;

    condition_init(&p.condition);
    pthread_mutex_lock(&p.lock);
    assert_int_equal(thread_start(&thread, 256u << 10, set, &p), 0);
    while (!p.is_set)
        assert_true(condition_wait(&p.condition, &p.lock, SPAN_FOREVER));
    pthread_mutex_unlock(&p.lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(p.stack_bytes >= 256u << 10);
    assert_true(p.stack_bytes <= 1u << 20); /* TSan adds room of its own */
    pthread_cond_destroy(&p.condition);
}

static void test_a_stack_that_is_too_large(void **state)
{
    pthread_t thread;

    assert_int_equal(thread_start(&thread, SIZE_MAX / 2, set, NULL), -EAGAIN);
}

static void test_a_time_that_has_passed(void **state)
{
    struct pair p = {.lock = PTHREAD_MUTEX_INITIALIZER};

    condition_init(&p.condition);
    pthread_mutex_lock(&p.lock);
    assert_false(condition_wait(&p.condition, &p.lock, clock_mono()));
    pthread_mutex_unlock(&p.lock);
    pthread_cond_destroy(&p.condition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_thread_with_its_stack_signals),
        cmocka_unit_test(test_a_stack_that_is_too_large),
        cmocka_unit_test(test_a_time_that_has_passed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* The kernel's struct sched_attr. */
struct scheduling {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns;
    uint64_t unused[2];
};

static struct scheduling scheduling(void)
{
    struct scheduling s;

    assert_int_equal(syscall(SYS_sched_getattr, 0, &s, (unsigned)sizeof(s), 0u), 0);
    return s;
}

static void *note_scheduling(void *userdata)
{
    *(struct scheduling *)userdata = scheduling();
    return NULL;
}

/* In a thread of its own, so that the other tests keep the usual slice. */
static void *shorten_slice(void *userdata)
{
    struct scheduling before = scheduling(), after, inherited = {.size = 0};
    pthread_t thread;

    assert_int_equal(thread_shorten_slice(), 0);
    after = scheduling();
    assert_int_equal(after.policy, before.policy);
    assert_int_equal(after.nice, before.nice);
    *(bool *)userdata = before.runtime_ns != 0; /* Linux tells it where it has it */
    if (before.runtime_ns == 0)
        return NULL;
    assert_int_equal(after.runtime_ns, 100000);
    assert_int_equal(thread_start(&thread, 256u << 10, note_scheduling, &inherited), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(inherited.runtime_ns, 100000);
    return NULL;
}

static void test_a_short_slice_is_inherited(void **state)
{
    pthread_t thread;
    bool is_known = false;

    assert_int_equal(thread_start(&thread, 256u << 10, shorten_slice, &is_known), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (!is_known)
        skip();
}

static void *shorten_slice_of_batch(void *userdata)
{
    const struct sched_param none = {.sched_priority = 0};
    struct scheduling before;

    assert_int_equal(sched_setscheduler(0, SCHED_BATCH, &none), 0);
    before = scheduling();
    assert_int_equal(thread_shorten_slice(), 0);
    assert_int_equal(scheduling().policy, SCHED_BATCH);
    assert_int_equal(scheduling().runtime_ns, before.runtime_ns);
    return NULL;
}

static void test_a_policy_that_was_chosen_stays(void **state)
{
    pthread_t thread;

    assert_int_equal(thread_start(&thread, 256u << 10, shorten_slice_of_batch, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
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
        cmocka_unit_test(test_a_short_slice_is_inherited),
        cmocka_unit_test(test_a_policy_that_was_chosen_stays),
        cmocka_unit_test(test_a_time_that_has_passed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

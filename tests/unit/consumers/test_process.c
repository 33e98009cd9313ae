/* SPDX-License-Identifier: Apache-2.0 */
/* Which process a thread belongs to, by what this machine's kernel says of the test itself. */
#include "consumers/process.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct other_thread {
    pthread_t handle;
    pid_t id;
    pthread_barrier_t is_running;
    pthread_barrier_t may_end;
};

static void *run(void *userdata)
{
    struct other_thread *t = userdata;

    t->id = gettid();
    pthread_setname_np(pthread_self(), "a worker");
    pthread_barrier_wait(&t->is_running);
    pthread_barrier_wait(&t->may_end);
    return NULL;
}

static void start(struct other_thread *t)
{
    pthread_barrier_init(&t->is_running, NULL, 2);
    pthread_barrier_init(&t->may_end, NULL, 2);
    assert_int_equal(pthread_create(&t->handle, NULL, run, t), 0);
    pthread_barrier_wait(&t->is_running);
}

/* The kernel may show it for a moment after pthread_join() has returned. */
static void end(struct other_thread *t)
{
    char path[64];

    pthread_barrier_wait(&t->may_end);
    assert_int_equal(pthread_join(t->handle, NULL), 0);
    snprintf(path, sizeof(path), "/proc/self/task/%d", t->id);
    while (access(path, F_OK) == 0)
        usleep(1000);
    pthread_barrier_destroy(&t->is_running);
    pthread_barrier_destroy(&t->may_end);
}

static void test_thread_is_identified_as_its_process(void **state)
{
    struct consumer_identity first, other;
    struct other_thread t;

    assert_true(process_identify_opener(getpid(), process_ticks_now(), &first));
    assert_int_equal(first.process.pid, getpid());
    assert_int_equal(first.process.uid, geteuid());
    start(&t);
    assert_int_not_equal(t.id, getpid());
    assert_true(process_identify_opener(t.id, process_ticks_now(), &other));
    end(&t);
    assert_int_equal(other.process.pid, getpid());
    assert_int_equal(other.process.start_ticks, first.process.start_ticks);
    assert_string_equal(other.process.comm, first.process.comm);
    assert_string_equal(other.group.cgroup, first.group.cgroup);
    assert_int_equal(process_life(&other), CONSUMER_RUNS);
}

static void test_thread_that_has_ended(void **state)
{
    struct consumer_identity identity;
    struct other_thread t;

    start(&t);
    end(&t);
    assert_false(process_identify_opener(t.id, process_ticks_now(), &identity));
    assert_false(process_identify_opener(0, process_ticks_now(), &identity));
}

/* Its number was another thread's when that opened the file. */
static void test_thread_that_started_after_the_open(void **state)
{
    struct consumer_identity identity;
    uint64_t before = process_ticks_now();
    struct other_thread t;

    while (process_ticks_now() == before)
        usleep(1000);
    start(&t);
    assert_false(process_identify_opener(t.id, before, &identity));
    assert_true(process_identify_opener(t.id, process_ticks_now(), &identity));
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thread_is_identified_as_its_process),
        cmocka_unit_test(test_thread_that_has_ended),
        cmocka_unit_test(test_thread_that_started_after_the_open),
    };

    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/job_thread.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/lock.h"
#include "base/thread.h"

#define N_THREADS 3

struct world {
    sd_event *event;
    struct job_thread *thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    size_t n_running, n_wanted; /* a job waits until so many run */
    size_t n_done, n_freed;
};

static struct world world;

struct numbered {
    struct job job;
    int number;
};

static void run(struct job *job)
{
    LOCK_GUARD(&world.lock);
    world.n_running++;
    pthread_cond_broadcast(&world.changed);
    while (world.n_running < world.n_wanted)
        pthread_cond_wait(&world.changed, &world.lock);
}

static void done(void *userdata, struct job *job_consumed)
{
    world.n_done++;
    free(CONTAINER_OF(job_consumed, struct numbered, job));
}

static void free_job(struct job *job_consumed)
{
    world.n_freed++;
    free(CONTAINER_OF(job_consumed, struct numbered, job));
}

static const struct job_kind several = {.name = "several",
                                        .n_threads = N_THREADS,
                                        .confinement = CONFINEMENT_WORKER,
                                        .run = run,
                                        .done = done,
                                        .free = free_job};

static int set_up(void **state)
{
    world = (struct world){.lock = PTHREAD_MUTEX_INITIALIZER};
    condition_init(&world.changed);
    assert_true(sd_event_new(&world.event) >= 0);
    assert_int_equal(job_thread_new(world.event, &several, NULL, &world.thread), 0);
    return 0;
}

static int tear_down(void **state)
{
    job_thread_free(world.thread);
    sd_event_unref(world.event);
    pthread_cond_destroy(&world.changed);
    return 0;
}

static struct numbered *add(int number)
{
    struct numbered *n = calloc(1, sizeof(*n));

    assert_non_null(n);
    n->number = number;
    assert_int_equal(job_thread_add(world.thread, &n->job), 0);
    return n;
}

static void wait_done(size_t n)
{
    while (world.n_done < n)
        assert_true(sd_event_run(world.event, UINT64_MAX) >= 0);
}

static void test_as_many_jobs_as_threads_run_at_once(void **state)
{
    world.n_wanted = N_THREADS; /* with fewer threads the jobs would wait for ever */
    for (int i = 0; i < N_THREADS; i++)
        add(i);
    wait_done(N_THREADS);
}

static void test_one_job_more_waits_for_a_thread(void **state)
{
    struct numbered *last;

    world.n_wanted = N_THREADS + 1;
    for (int i = 0; i < N_THREADS; i++)
        add(i);
    {
        LOCK_GUARD(&world.lock);
        while (world.n_running < N_THREADS)
            pthread_cond_wait(&world.changed, &world.lock);
    }
    last = add(N_THREADS);
    assert_true(job_thread_take_back(world.thread, &last->job)); /* no thread has it */
    {
        LOCK_GUARD(&world.lock);
        world.n_wanted = N_THREADS;
        pthread_cond_broadcast(&world.changed);
    }
    wait_done(N_THREADS);
    free(last);
}

static void test_a_job_that_runs_is_not_taken_back(void **state)
{
    struct numbered *n;

    world.n_wanted = 2;
    n = add(0);
    {
        LOCK_GUARD(&world.lock);
        while (world.n_running < 1)
            pthread_cond_wait(&world.changed, &world.lock);
    }
    assert_false(job_thread_take_back(world.thread, &n->job));
    add(1);
    wait_done(2);
}

static void test_threads_start_early(void **state)
{
    assert_int_equal(job_thread_start(world.thread), 0);
    add(0);
    wait_done(1);
}

static void test_the_end_waits_for_all_jobs(void **state)
{
    for (int i = 0; i < 10; i++)
        add(i);
    world.thread = job_thread_free(world.thread);
    assert_int_equal(world.n_running, 10);
    assert_int_equal(world.n_done, 0);
    assert_int_equal(world.n_freed, 10);
}

static void test_all_jobs_are_reported_at_the_end(void **state)
{
    for (int i = 0; i < 10; i++)
        add(i);
    job_thread_finish(world.thread);
    assert_int_equal(world.n_running, 10);
    assert_int_equal(world.n_done, 10);
    world.thread = job_thread_free(world.thread);
    assert_int_equal(world.n_freed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_as_many_jobs_as_threads_run_at_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_one_job_more_waits_for_a_thread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_all_jobs_are_reported_at_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_job_that_runs_is_not_taken_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads_start_early, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_end_waits_for_all_jobs, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

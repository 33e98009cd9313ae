/* SPDX-License-Identifier: Apache-2.0 */
/* This program starts itself again, as secretfs does. */
#include "serve/commands.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/command.h"

/* More than there are threads. */
#define SLOW 6

struct world {
    sd_event *event;
    struct command_list list;
    struct commands *commands;
    struct commands_run *runs[SLOW];
    unsigned n_done;
};

static int set_up(void **state)
{
    static const char text[] =
        "[{\"name\": \"slow\", \"command\": [\"/bin/sleep\", \"1000\"], \"timeout\": \"60s\"},"
        " {\"name\": \"fast\", \"command\": [\"/bin/true\"], \"timeout\": \"60s\"}]";
    struct world *w = calloc(1, sizeof(*w));
    cJSON *json = cJSON_Parse(text);

    assert(w != NULL);
    assert_int_equal(sd_event_new(&w->event), 0);
    assert_int_equal(command_list_parse(json, &w->list, NULL), 0);
    cJSON_Delete(json);
    assert_int_equal(commands_new(w->event, &w->list, &w->commands, NULL), 0);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    commands_free(w->commands);
    command_list_deinit(&w->list);
    sd_event_unref(w->event);
    free(w);
    return 0;
}

static void on_done(void *userdata, const struct payload *payload, int result,
                    const struct error *e)
{
    struct world *w = userdata;

    assert_string_equal(e->text, "");
    assert_int_equal(result, 0);
    w->n_done++;
}

static void never(void *userdata, const struct payload *payload, int result, const struct error *e)
{
    fail_msg("it ended: %s", e->text);
}

static struct commands_run *run(struct world *w, const char *name, const char *namespace,
                                commands_done_fn *done)
{
    const struct commands_order order = {
        .name = name, .is_check = true, .volume = "secret/a/b", .namespace = namespace};
    struct commands_run *run = NULL;

    assert_int_equal(commands_run(w->commands, &order, done, w, &run, NULL), 0);
    return run;
}

static void wait_done(struct world *w, unsigned n)
{
    while (w->n_done < n)
        assert_true(sd_event_run(w->event, UINT64_MAX) >= 0);
}

static void a_namespace_does_not_hold_another(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < SLOW; i++)
        w->runs[i] = run(w, "slow", "slow", never);
    for (unsigned i = 1; i <= 3; i++) {
        run(w, "fast", "fast", on_done);
        wait_done(w, i);
    }
}

static void one_that_waits_can_be_cancelled(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < SLOW; i++)
        w->runs[i] = run(w, "slow", "slow", never);
    run(w, "fast", "slow", on_done);
    for (size_t i = SLOW; i-- > 0;)
        commands_cancel(w->runs[i]);
    wait_done(w, 1);
    assert_int_equal(commands_counts(w->commands).checks[COMMANDS_PASSED], 1);
}

int main(int argc, char *argv[])
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_namespace_does_not_hold_another),
        TEST(one_that_waits_can_be_cancelled),
    };

    if (argc > 1 && streq(argv[1], COMMAND_BECOME))
        return command_become(argc - 2, argv + 2);
    return cmocka_run_group_tests_name("commands", tests, NULL, NULL);
}

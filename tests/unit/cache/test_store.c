/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "cache/store.h"

#include "tests/unit/failmalloc.h"

#define MAX_STEPS 64

/* A scripted source, which records requests. */
struct script {
    struct store *store;
    const char *answer; /* resourceVersion to put from within watch(), or NULL */
    bool answer_absent;
    int refuse;            /* the result of watch() */
    char asked[MAX_STEPS]; /* "w" and "u" in the order of calls */
    size_t n_asked;
};

/* A scripted subscriber, which records notifications. */
struct reader {
    struct store_subscription *subscription;
    unsigned n_calls;
    char seen[MAX_STEPS * 4];      /* the resourceVersions, "-" for absent, "!" for failing */
    unsigned leave_at;             /* unsubscribe in this call, counted from 1 */
    struct reader *follow_at_once; /* subscribe this one in the first call */
    struct reader *make_leave;     /* unsubscribe that one in the first call */
    struct script *script;
};

static const struct object_key key_a = {OBJECT_SECRET, "default", "a", NULL};
static const struct object_key key_b = {OBJECT_SECRET, "default", "b", NULL};

static struct object *make_object(const struct object_key *key, const char *resource_version)
{
    const struct object like = {.key = *key, .resource_version = resource_version};
    struct object *object = NULL;

    assert_int_equal(object_new(&like, NULL, 0, &object, NULL), 0);
    return object;
}

static int script_watch(void *userdata, const struct object_key *key, struct error *e)
{
    struct script *script = userdata;

    script->asked[script->n_asked++] = 'w';
    if (script->answer != NULL)
        store_put(script->store, make_object(key, script->answer), 1);
    if (script->answer_absent)
        store_remove(script->store, key, 1);
    return script->refuse < 0 ? error_set(e, script->refuse, "refused") : 0;
}

static void script_unwatch(void *userdata, const struct object_key *key)
{
    struct script *script = userdata;

    script->asked[script->n_asked++] = 'u';
}

static void script_refresh(void *userdata, const struct object_key *key)
{
    struct script *script = userdata;

    script->asked[script->n_asked++] = 'r';
    if (script->answer != NULL)
        store_put(script->store, make_object(key, script->answer), 1);
}

static void script_check_rights(void *userdata, const struct object_key *key)
{
    struct script *script = userdata;

    script->asked[script->n_asked++] = 'c';
}

static const struct store_source scripted = {.watch = script_watch,
                                             .unwatch = script_unwatch,
                                             .refresh = script_refresh,
                                             .check_rights = script_check_rights};

static void begin(struct script *script)
{
    assert_int_equal(store_new(&script->store), 0);
    store_set_source(script->store, &scripted, script);
}

static void on_change(void *userdata, const struct store_view *view);

static int follow(struct script *script, const struct object_key *key, struct reader *r)
{
    r->script = script;
    return store_subscribe(script->store, key, on_change, r, &r->subscription, NULL);
}

static void on_change(void *userdata, const struct store_view *view)
{
    struct reader *r = userdata;
    const char *what = view->source_state == STORE_SOURCE_FAILING ? "!"
                       : view->presence == STORE_ABSENT           ? "-"
                       : view->object != NULL                     ? view->object->resource_version
                                                                  : "?";

    strncat(r->seen, what, sizeof(r->seen) - strlen(r->seen) - 1);
    r->n_calls++;
    if (r->n_calls == r->leave_at)
        r->subscription = store_unsubscribe(r->subscription);
    if (r->n_calls == 1 && r->follow_at_once != NULL)
        assert_int_equal(follow(r->script, view->key, r->follow_at_once), 0);
    if (r->n_calls == 1 && r->make_leave != NULL)
        r->make_leave->subscription = store_unsubscribe(r->make_leave->subscription);
}

static void test_one_watch_per_key(void **state)
{
    struct script script = {.answer = NULL};
    struct reader one = {.n_calls = 0}, two = one, other = one;

    begin(&script);
    assert_int_equal(follow(&script, &key_a, &one), 0);
    assert_int_equal(follow(&script, &key_a, &two), 0);
    assert_int_equal(follow(&script, &key_b, &other), 0);
    assert_string_equal(script.asked, "ww");
    assert_int_equal(store_peek(one.subscription)->presence, STORE_UNKNOWN);
    assert_int_equal(store_peek(one.subscription)->source_state, STORE_SOURCE_STARTING);
    store_put(script.store, make_object(&key_a, "1"), 5);
    assert_string_equal(one.seen, "1");
    assert_string_equal(two.seen, "1");
    assert_string_equal(other.seen, "");
    assert_int_equal(store_peek(two.subscription)->received_at, 5);
    assert_null(store_unsubscribe(one.subscription));
    assert_string_equal(script.asked, "ww");
    store_put(script.store, make_object(&key_a, "2"), 6);
    assert_string_equal(one.seen, "1");
    assert_string_equal(two.seen, "12");
    assert_null(store_unsubscribe(two.subscription));
    assert_string_equal(script.asked, "wwu");
    store_put(script.store, make_object(&key_a, "3"), 7); /* no subscriber */
    assert_null(store_unsubscribe(other.subscription));
    assert_string_equal(script.asked, "wwuu");
    assert_null(store_unsubscribe(NULL));
    assert_null(store_free(script.store));
}

/* G19: the source requests immutable objects again, and no others. */
static void test_immutable_object_is_refreshed(void **state)
{
    const struct object like = {.key = key_a, .resource_version = "1", .is_immutable = true};
    struct script script = {.answer = NULL};
    struct reader one = {.n_calls = 0}, two = one, three = one;
    struct object *object = NULL;

    begin(&script);
    assert_int_equal(follow(&script, &key_a, &one), 0);
    assert_int_equal(follow(&script, &key_a, &two), 0);
    assert_string_equal(script.asked, "w");
    assert_int_equal(object_new(&like, NULL, 0, &object, NULL), 0);
    store_put(script.store, object, 1);
    script.answer = "2";
    assert_int_equal(follow(&script, &key_a, &three), 0);
    assert_string_equal(script.asked, "wr");
    assert_string_equal(one.seen, "12");
    assert_string_equal(three.seen, "2");
    assert_null(store_unsubscribe(one.subscription));
    assert_null(store_unsubscribe(two.subscription));
    assert_null(store_unsubscribe(three.subscription));
    assert_null(store_free(script.store));
}

static void test_last_object_stays_after_removal(void **state)
{
    struct script script = {.answer_absent = true};
    struct reader r = {.n_calls = 0};
    const struct store_view *view;

    begin(&script);
    assert_int_equal(follow(&script, &key_a, &r), 0);
    assert_string_equal(r.seen, "-");
    view = store_peek(r.subscription);
    assert_null(view->object);
    store_put(script.store, make_object(&key_a, "1"), 2);
    store_remove(script.store, &key_a, 3);
    store_remove(script.store, &key_a, 4); /* no news */
    assert_string_equal(r.seen, "-1-");
    assert_int_equal(view->presence, STORE_ABSENT);
    assert_int_equal(view->received_at, 3);
    assert_string_equal(view->object->resource_version, "1");
    store_put(script.store, make_object(&key_a, "2"), 5);
    assert_string_equal(r.seen, "-1-2");
    store_unsubscribe(r.subscription);
    store_free(script.store);
}

static void test_reports(void **state)
{
    struct script script = {.answer = "1"};
    struct reader r = {.n_calls = 0};
    struct error e = ERROR_INIT;
    const struct store_view *view;

    begin(&script);
    assert_int_equal(follow(&script, &key_a, &r), 0);
    view = store_peek(r.subscription);
    assert_int_equal(view->object == NULL, false);
    store_report(script.store, &key_a, STORE_SOURCE_LIVE, NULL);
    store_report(script.store, &key_a, STORE_SOURCE_LIVE, NULL);
    assert_int_equal(r.n_calls, 2);
    error_set(&e, -EIO, "one");
    store_report(script.store, &key_a, STORE_SOURCE_FAILING, &e);
    store_report(script.store, &key_a, STORE_SOURCE_FAILING, &e);
    assert_int_equal(r.n_calls, 3);
    assert_string_equal(kept_error_text(&view->source_error), "one");
    error_set(&e, -EIO, "two");
    store_report(script.store, &key_a, STORE_SOURCE_FAILING, &e);
    assert_int_equal(r.n_calls, 4);
    assert_string_equal(kept_error_text(&view->source_error), "two");
    store_report(script.store, &key_a, STORE_SOURCE_LIVE, NULL);
    assert_string_equal(kept_error_text(&view->source_error), "");
    assert_string_equal(r.seen, "11!!1");
    store_report(script.store, &key_b, STORE_SOURCE_LIVE, NULL); /* no subscriber */
    store_unsubscribe(r.subscription);
    store_free(script.store);
}

/* A reply that shows that we may read the object ends it; a failure of the source does not. */
static void test_forbidden(void **state)
{
    const struct error no_rights = {.text = "no rights"}, away = {.text = "away"};
    struct script script = {.answer = "1"};
    struct reader r = {.n_calls = 0};
    const struct store_view *view;

    begin(&script);
    assert_int_equal(follow(&script, &key_a, &r), 0);
    view = store_peek(r.subscription);
    assert_int_equal(view->refusal, STORE_NOT_REFUSED);
    store_refuse(script.store, &key_a, STORE_FORBIDDEN, &no_rights);
    store_refuse(script.store, &key_a, STORE_FORBIDDEN, &no_rights);
    assert_int_equal(r.n_calls, 2);
    assert_int_equal(view->refusal, STORE_FORBIDDEN);
    assert_int_equal(view->source_state, STORE_SOURCE_FAILING);
    assert_string_equal(kept_error_text(&view->source_error), "no rights");
    store_report(script.store, &key_a, STORE_SOURCE_FAILING, &away);
    assert_int_equal(view->refusal, STORE_FORBIDDEN);
    store_report(script.store, &key_a, STORE_SOURCE_LIVE, NULL);
    assert_int_equal(view->refusal, STORE_NOT_REFUSED);
    store_report(script.store, &key_a, STORE_SOURCE_FAILING, &no_rights);
    assert_int_equal(view->refusal, STORE_NOT_REFUSED);
    store_refuse(script.store, &key_a, STORE_FORBIDDEN, &no_rights); /* the same error */
    assert_int_equal(view->refusal, STORE_FORBIDDEN);
    store_put(script.store, make_object(&key_a, "2"), 2);
    assert_int_equal(view->refusal, STORE_NOT_REFUSED);
    store_remove(script.store, &key_a, 3);
    store_refuse(script.store, &key_a, STORE_FORBIDDEN, &no_rights);
    store_remove(script.store, &key_a, 4);
    assert_int_equal(view->refusal, STORE_NOT_REFUSED);
    assert_int_equal(r.n_calls, 10);
    store_refuse(script.store, &key_b, STORE_FORBIDDEN, &no_rights); /* no subscriber */
    store_unsubscribe(r.subscription);
    store_free(script.store);
}

/* Certain until an answer shows that we may read the object. */
static void test_revoked(void **state)
{
    const struct error no_rights = {.text = "no rights"}, away = {.text = "away"};
    struct script script = {.answer = "1"};
    struct reader r = {.n_calls = 0};
    const struct store_view *view;

    begin(&script);
    assert_int_equal(follow(&script, &key_a, &r), 0);
    view = store_peek(r.subscription);
    store_refuse(script.store, &key_a, STORE_FORBIDDEN, &no_rights);
    store_refuse(script.store, &key_a, STORE_REVOKED, &no_rights); /* the same error */
    assert_int_equal(view->refusal, STORE_REVOKED);
    assert_int_equal(r.n_calls, 3);
    store_report(script.store, &key_a, STORE_SOURCE_FAILING, &away);
    store_refuse(script.store, &key_a, STORE_FORBIDDEN, &no_rights);
    assert_int_equal(view->refusal, STORE_REVOKED);
    store_report(script.store, &key_a, STORE_SOURCE_LIVE, NULL);
    assert_int_equal(view->refusal, STORE_NOT_REFUSED);
    store_unsubscribe(r.subscription);
    store_free(script.store);
}

/* Requested once while the key has subscribers. */
static void test_rights_are_checked(void **state)
{
    static const struct store_source without = {.watch = script_watch, .unwatch = script_unwatch};
    struct script script = {.answer = NULL};
    struct reader r = {.n_calls = 0}, s = {.n_calls = 0};

    begin(&script);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(follow(&script, &key_a, &r), 0);
        assert_int_equal(follow(&script, &key_a, &s), 0);
        store_check_rights(r.subscription);
        store_check_rights(s.subscription);
        store_unsubscribe(r.subscription);
        store_unsubscribe(s.subscription);
    }
    assert_string_equal(script.asked, "wcuwcu");
    store_set_source(script.store, &without, &script);
    assert_int_equal(follow(&script, &key_a, &r), 0);
    store_check_rights(r.subscription);
    store_unsubscribe(r.subscription);
    store_free(script.store);
}

static void test_source_refuses(void **state)
{
    struct script script = {.refuse = -EACCES};
    struct reader r = {.n_calls = 0};
    struct error e = ERROR_INIT;

    begin(&script);
    assert_int_equal(store_subscribe(script.store, &key_a, on_change, &r, &r.subscription, &e),
                     -EACCES);
    assert_string_equal(e.text, "refused");
    assert_null(r.subscription);
    assert_string_equal(script.asked, "w"); /* no unwatch without a watch */
    script.refuse = 0;
    assert_int_equal(follow(&script, &key_a, &r), 0);
    store_unsubscribe(r.subscription);
    assert_string_equal(script.asked, "wwu");
    store_free(script.store);
}

static void test_callbacks_may_subscribe_and_unsubscribe(void **state)
{
    struct script script = {.answer = "1"};
    struct reader late = {.n_calls = 0}, leaves = {.leave_at = 1},
                  host = {.follow_at_once = &late, .make_leave = &leaves};

    begin(&script);
    /* the first change arrives before the subscription is returned, and ends it */
    assert_int_equal(follow(&script, &key_a, &leaves), 0);
    assert_null(leaves.subscription);
    assert_string_equal(script.asked, "wu");
    /* one that is subscribed in the middle of a round is part of it */
    assert_int_equal(follow(&script, &key_a, &host), 0);
    assert_string_equal(late.seen, "1");
    assert_string_equal(script.asked, "wuw");
    host.subscription = store_unsubscribe(host.subscription);
    assert_string_equal(script.asked, "wuw");
    late.leave_at = 2; /* the last one leaves while it is notified */
    store_put(script.store, make_object(&key_a, "2"), 2);
    assert_string_equal(script.asked, "wuwu");
    store_free(script.store);
}

static void test_callback_may_unsubscribe_another(void **state)
{
    struct script script = {.answer = NULL};
    struct reader victim = {.n_calls = 0}, killer = {.make_leave = &victim};

    begin(&script);
    assert_int_equal(follow(&script, &key_a, &killer), 0);
    assert_int_equal(follow(&script, &key_a, &victim), 0);
    store_put(script.store, make_object(&key_a, "1"), 1);
    assert_null(victim.subscription);
    assert_string_equal(victim.seen, "");
    assert_string_equal(killer.seen, "1");
    store_unsubscribe(killer.subscription);
    store_free(script.store);
}

/* Volumes of an earlier process subscribe before the kubelet has sent a token. */
static void test_source_is_connected_later(void **state)
{
    struct script script = {.answer = NULL};
    struct reader one = {.n_calls = 0}, two = one, gone = one, later = one;

    assert_int_equal(store_new(&script.store), 0);
    store_set_reason(script.store, "no token yet");
    assert_int_equal(follow(&script, &key_a, &one), 0);
    assert_int_equal(follow(&script, &key_a, &two), 0);
    assert_int_equal(follow(&script, &key_b, &gone), 0);
    assert_string_equal(kept_error_text(&store_peek(one.subscription)->source_error),
                        "no token yet");
    store_check_rights(two.subscription);
    store_check_rights(gone.subscription);
    assert_int_equal(store_peek(one.subscription)->presence, STORE_UNKNOWN);
    gone.subscription = store_unsubscribe(gone.subscription);
    script.answer = "1";
    assert_int_equal(store_connect_source(script.store, &scripted, &script, NULL), 0);
    assert_string_equal(script.asked, "wc");
    assert_string_equal(one.seen, "1");
    assert_string_equal(two.seen, "1");
    assert_int_equal(follow(&script, &key_b, &later), 0);
    assert_string_equal(script.asked, "wcw");
    assert_int_equal(store_connect_source(script.store, &scripted, &script, NULL), 0);
    assert_string_equal(script.asked, "wcw");
    store_report(script.store, &key_a, STORE_SOURCE_LIVE, NULL);
    assert_string_equal(kept_error_text(&store_peek(one.subscription)->source_error), "");
    store_unsubscribe(one.subscription);
    store_unsubscribe(two.subscription);
    assert_string_equal(script.asked, "wcwu");
    store_unsubscribe(later.subscription);
    store_free(script.store);
}

static void test_connecting_is_tried_again(void **state)
{
    struct script script = {.refuse = -ENOMEM};
    struct reader one = {.n_calls = 0}, two = one;

    assert_int_equal(store_new(&script.store), 0);
    assert_int_equal(follow(&script, &key_a, &one), 0);
    assert_int_equal(follow(&script, &key_b, &two), 0);
    assert_int_equal(store_connect_source(script.store, &scripted, &script, NULL), -ENOMEM);
    script.refuse = 0;
    assert_int_equal(store_connect_source(script.store, &scripted, &script, NULL), 0);
    assert_string_equal(script.asked, "www");
    store_unsubscribe(one.subscription);
    store_unsubscribe(two.subscription);
    assert_string_equal(script.asked, "wwwuu");
    store_free(script.store);
}

static int try_store(void *userdata)
{
    struct script script = {.answer = NULL};
    struct reader r = {.n_calls = 0};
    int result = store_new(&script.store);

    if (result < 0)
        return result;
    store_set_source(script.store, &scripted, &script);
    result = follow(&script, &key_a, &r);
    store_unsubscribe(r.subscription);
    store_free(script.store);
    return result;
}

static void test_allocation_failures_are_reported(void **state)
{
    failmalloc_try(try_store, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_watch_per_key),
        cmocka_unit_test(test_immutable_object_is_refreshed),
        cmocka_unit_test(test_last_object_stays_after_removal),
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_forbidden),
        cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_rights_are_checked),
        cmocka_unit_test(test_source_refuses),
        cmocka_unit_test(test_callbacks_may_subscribe_and_unsubscribe),
        cmocka_unit_test(test_callback_may_unsubscribe_another),
        cmocka_unit_test(test_source_is_connected_later),
        cmocka_unit_test(test_connecting_is_tried_again),
        cmocka_unit_test(test_allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

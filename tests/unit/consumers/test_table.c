/* SPDX-License-Identifier: Apache-2.0 */
/* The table of consumers, without a kernel: opens and updates in every order. */
#include "consumers/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define VOLUME 2u

/* A Secret with two keys; generation n has the node id 100 n, its files 100 n + 1 and on. */
struct content {
    struct object *object;
    struct payload *payload;
};

static struct content content_make(const char *version, const char *a, const char *b)
{
    const struct object like = {
        .key = {.kind = OBJECT_SECRET, .namespace = "ns", .name = "db"},
        .resource_version = version,
    };
    const struct object_input inputs[] = {{.key = "a", .text = a, .len = strlen(a)},
                                          {.key = "b", .text = b, .len = strlen(b)}};
    const struct payload_attributes attributes = {.mode = 0640};
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    struct content c;

    assert_int_equal(object_new(&like, inputs, 2, &c.object, NULL), 0);
    assert_int_equal(payload_builder_new(&builder), 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(payload_builder_add(builder, c.object->entries[i].key, c.object,
                                             &c.object->entries[i], &attributes, NULL),
                         0);
    assert_int_equal(payload_builder_finish(builder, &c.payload, NULL), 0);
    return c;
}

static void content_free(struct content *c)
{
    object_unref(c->object);
    payload_unref(c->payload);
}

#define CONTENT(name, version, a, b)                                                               \
    _cleanup_(content_free) struct content name = content_make(version, a, b)

static void publish(struct table *t, unsigned n, const struct content *c)
{
    assert_int_equal(table_publish(t, VOLUME, 100 * n, c->payload, false), 0);
}

static struct consumer_identity process(int pid, const char *comm)
{
    struct consumer_identity identity = {.process = {.pid = pid, .start_ticks = 1}};

    snprintf(identity.process.comm, sizeof(identity.process.comm), "%s", comm);
    return identity;
}

static struct consumer_identity contained(int pid, const char *comm)
{
    struct consumer_identity identity = process(pid, comm);

    snprintf(identity.group.cgroup, sizeof(identity.group.cgroup), "/kubepods/x");
    identity.group.cgroup_inode = 5;
    return identity;
}

static struct table_open open_of(unsigned n, const struct content *c, const char *key,
                                 const struct consumer_identity *identity)
{
    const struct object_entry *entry = object_find(c->object, key);

    return (struct table_open){
        .volume = VOLUME,
        .edition = 100 * n + 1 + (key[0] == 'b'),
        .content = {.object = c->object, .bytes = entry->bytes, .len = entry->len},
        .identity = identity,
        .at = {.tv_sec = n},
    };
}

/* @key: "a" or "b"; @identity: NULL for a process that has ended */
static int open_key(struct table *t, unsigned n, const struct content *c, const char *key,
                    const struct consumer_identity *identity)
{
    const struct table_open open = open_of(n, c, key, identity);

    return table_open(t, &open);
}

static void must_open(struct table *t, unsigned n, const struct content *c, const char *key,
                      int pid)
{
    const struct consumer_identity identity = process(pid, "test");

    assert_int_equal(open_key(t, n, c, key, &identity), 0);
}

struct answer {
    char text[8192]; /* "PID:current PID:old(KEY) " */
    unsigned gaps;
};

static void add_to_answer(void *userdata, const struct table_consumer *c)
{
    struct answer *answer = userdata;
    char keys[64] = "", *at = answer->text + strlen(answer->text);
    const char *version = "";
    bool is_old = false;

    for (size_t i = 0; i < c->n_keys; i++) {
        const struct table_key *key = &c->keys[i];
        size_t len = strlen(keys);

        if (!is_old)
            version = key->version;
        if (key->state == CONSUMER_OLD)
            snprintf(keys + len, sizeof(keys) - len, "-%s", key->key);
        is_old = is_old || key->state == CONSUMER_OLD;
    }
    assert_true(is_old == (c->state == CONSUMER_OLD));
    snprintf(at, sizeof(answer->text) - (size_t)(at - answer->text), "%d:%s%s@%s ",
             c->identity->process.pid, is_old ? "old" : "current", keys, version);
}

static struct answer ask(const struct table *t)
{
    struct answer answer = {.gaps = 0};

    assert_int_equal(table_visit(t, VOLUME, add_to_answer, &answer, &answer.gaps), 0);
    return answer;
}

#define ASSERT_ANSWER(t, expected) assert_string_equal(ask(t).text, expected)
#define TABLE(t)                                                                                   \
    _cleanup_(table_freep) struct table *t = NULL;                                                 \
    assert_int_equal(table_new(&t), 0)

static void test_consumer_is_old_until_it_opens_the_new_version(void **state)
{
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "X", "y");
    TABLE(t);

    publish(t, 1, &one);
    must_open(t, 1, &one, "a", 7);
    must_open(t, 1, &one, "a", 8);
    ASSERT_ANSWER(t, "7:current@1 8:current@1 ");
    publish(t, 2, &two);
    ASSERT_ANSWER(t, "7:old-a@1 8:old-a@1 ");
    must_open(t, 2, &two, "a", 8);
    ASSERT_ANSWER(t, "7:old-a@1 8:current@2 ");
    assert_int_equal(ask(t).gaps, 0);
}

static void test_key_that_did_not_change_makes_no_consumer_old(void **state)
{
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "X", "y");
    TABLE(t);

    publish(t, 1, &one);
    must_open(t, 1, &one, "b", 7);
    publish(t, 2, &two);
    ASSERT_ANSWER(t, "7:current@1 ");
}

static void test_each_key_counts(void **state)
{
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "X", "Y");
    TABLE(t);

    publish(t, 1, &one);
    must_open(t, 1, &one, "a", 7);
    must_open(t, 1, &one, "b", 7);
    publish(t, 2, &two);
    must_open(t, 2, &two, "b", 7);
    ASSERT_ANSWER(t, "7:old-a@1 ");
    must_open(t, 2, &two, "a", 7);
    ASSERT_ANSWER(t, "7:current@2 ");
}

static void test_open_that_is_noted_before_its_update(void **state)
{
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "X", "y");
    TABLE(t);

    publish(t, 1, &one);
    must_open(t, 1, &one, "a", 7);
    must_open(t, 2, &two, "a", 7);
    must_open(t, 2, &two, "a", 8);
    publish(t, 2, &two);
    ASSERT_ANSWER(t, "7:current@2 8:current@2 ");
}

static void test_open_that_is_noted_after_the_next_update(void **state)
{
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "X", "y");
    TABLE(t);

    publish(t, 1, &one);
    publish(t, 2, &two);
    must_open(t, 1, &one, "a", 7);
    must_open(t, 1, &one, "b", 8);
    ASSERT_ANSWER(t, "7:old-a@1 8:current@1 ");
    must_open(t, 2, &two, "a", 9);
    must_open(t, 1, &one, "a", 9); /* by a descriptor of the old directory */
    ASSERT_ANSWER(t, "7:old-a@1 8:current@1 9:current@2 ");
}

/* The bytes in between may have been read. */
static void test_earlier_bytes_that_return_are_a_new_version(void **state)
{
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "X", "y");
    CONTENT(three, "3", "x", "y");
    TABLE(t);

    publish(t, 1, &one);
    must_open(t, 1, &one, "a", 7);
    publish(t, 2, &two);
    publish(t, 3, &three);
    ASSERT_ANSWER(t, "7:old-a@1 ");
}

static void test_recycled_pid_is_another_consumer(void **state)
{
    struct consumer_identity later = process(7, "test");
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "X", "y");
    TABLE(t);

    publish(t, 1, &one);
    must_open(t, 1, &one, "a", 7);
    publish(t, 2, &two);
    later.process.start_ticks = 2;
    assert_int_equal(open_key(t, 2, &two, "a", &later), 0);
    ASSERT_ANSWER(t, "7:old-a@1 7:current@2 ");
}

static void test_removed_key_is_old(void **state)
{
    CONTENT(one, "1", "x", "y");
    const struct payload empty = {.n_files = 0};
    TABLE(t);

    publish(t, 1, &one);
    must_open(t, 1, &one, "a", 7);
    assert_int_equal(table_publish(t, VOLUME, 200, &empty, false), 0);
    ASSERT_ANSWER(t, "7:old-a@1 ");
}

/* Values of no bytes have no place of their own. */
static void test_empty_values_count_for_each_other(void **state)
{
    CONTENT(one, "1", "", "");
    CONTENT(two, "2", "", "Y");
    TABLE(t);

    publish(t, 1, &one);
    must_open(t, 1, &one, "b", 7);
    publish(t, 2, &two);
    ASSERT_ANSWER(t, "7:old-b@1 ");
}

/* ---- the end of processes */

static enum consumer_life life_of_odd_pids(void *userdata, const struct consumer_identity *identity)
{
    if (identity->process.pid % 2 == 1)
        return CONSUMER_RUNS;
    return identity_group_exists(&identity->group) ? CONSUMER_ENDED : CONSUMER_GONE;
}

static void sweep(struct table *t)
{
    table_sweep(t, VOLUME, life_of_odd_pids, NULL);
}

static void test_ended_process_of_no_group_is_gone(void **state)
{
    CONTENT(one, "1", "x", "y");
    TABLE(t);

    publish(t, 1, &one);
    must_open(t, 1, &one, "a", 7);
    must_open(t, 1, &one, "a", 8);
    sweep(t);
    ASSERT_ANSWER(t, "7:current@1 ");
}

static void test_ended_processes_of_a_container_count_by_name(void **state)
{
    const struct consumer_identity first = contained(8, "cat"), second = contained(10, "cat"),
                                   other = contained(12, "sh");
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "X", "y");
    TABLE(t);

    publish(t, 1, &one);
    assert_int_equal(open_key(t, 1, &one, "a", &first), 0);
    assert_int_equal(open_key(t, 1, &one, "a", &other), 0);
    sweep(t);
    ASSERT_ANSWER(t, "0:current@1 0:current@1 ");
    publish(t, 2, &two);
    ASSERT_ANSWER(t, "0:old-a@1 0:old-a@1 ");
    assert_int_equal(open_key(t, 2, &two, "a", &second), 0);
    sweep(t);
    ASSERT_ANSWER(t, "0:current@2 0:old-a@1 ");
}

static void test_order_of_merging_is_indifferent(void **state)
{
    const struct consumer_identity first = contained(8, "cat"), second = contained(10, "cat");
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "X", "y");
    TABLE(t);

    publish(t, 1, &one);
    assert_int_equal(open_key(t, 1, &one, "b", &first), 0);
    publish(t, 2, &two);
    assert_int_equal(open_key(t, 2, &two, "a", &first), 0);
    assert_int_equal(open_key(t, 1, &one, "a", &second), 0);
    sweep(t);
    ASSERT_ANSWER(t, "0:current@2 ");
}

/* ---- gaps */

static void test_unidentified_process_is_a_gap_once_it_is_old(void **state)
{
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "X", "y");
    TABLE(t);

    publish(t, 1, &one);
    assert_int_equal(open_key(t, 1, &one, "a", NULL), 0);
    ASSERT_ANSWER(t, "");
    assert_int_equal(ask(t).gaps, 0);
    publish(t, 2, &two);
    assert_int_equal(ask(t).gaps, TABLE_GAP_ENDED);
    assert_int_equal(open_key(t, 2, &two, "a", NULL), 0);
    assert_int_equal(ask(t).gaps, TABLE_GAP_ENDED);
}

static void test_unidentified_process_on_the_newest_is_no_gap(void **state)
{
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "x", "Y");
    TABLE(t);

    publish(t, 1, &one);
    assert_int_equal(open_key(t, 1, &one, "a", NULL), 0);
    publish(t, 2, &two);
    assert_int_equal(ask(t).gaps, 0);
    assert_int_equal(open_key(t, 1, &one, "b", NULL), 0); /* noted late */
    assert_int_equal(ask(t).gaps, TABLE_GAP_ENDED);
}

static void test_lost_events_are_a_gap_of_all_volumes(void **state)
{
    CONTENT(one, "1", "x", "y");
    TABLE(t);

    publish(t, 1, &one);
    table_note_lost(t, 0);
    assert_int_equal(ask(t).gaps, TABLE_GAP_LOST);
    table_remove(t, VOLUME);
    publish(t, 2, &one); /* a new volume: all its opens are seen */
    assert_int_equal(ask(t).gaps, 0);
}

static void test_lost_opens_of_one_volume(void **state)
{
    CONTENT(one, "1", "x", "y");
    TABLE(t);

    publish(t, 1, &one);
    table_note_lost(t, VOLUME + 1);
    assert_int_equal(ask(t).gaps, 0);
    table_note_lost(t, VOLUME);
    assert_int_equal(ask(t).gaps, TABLE_GAP_LOST);
}

/* Editions of an earlier process say nothing about what is older, so bytes are compared. */
static void test_older_content_of_an_adopted_volume(void **state)
{
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "z", "y");
    CONTENT(three, "3", "u", "y");
    TABLE(t);

    assert_int_equal(table_publish(t, VOLUME, 0, two.payload, true), 0);
    must_open(t, 1, &one, "a", 10);
    must_open(t, 2, &two, "a", 11);
    must_open(t, 3, &three, "a", 12); /* before the update is reported */
    assert_string_equal(ask(t).text, "10:old-a@1 11:current@2 12:old-a@3 ");
    must_open(t, 2, &two, "a", 10);
    assert_string_equal(ask(t).text, "10:current@2 11:current@2 12:old-a@3 ");
    publish(t, 3, &three);
    assert_string_equal(ask(t).text, "10:old-a@2 11:old-a@2 12:current@3 ");
}

static void test_adopted_volume_has_a_gap(void **state)
{
    CONTENT(one, "1", "x", "y");
    TABLE(t);

    assert_int_equal(table_publish(t, VOLUME, 0, one.payload, true), 0);
    publish(t, 1, &one);
    assert_int_equal(ask(t).gaps, TABLE_GAP_ADOPTED);
}

static void test_number_of_consumers_is_limited(void **state)
{
    const struct consumer_identity late = process(1001, "test");
    CONTENT(one, "1", "x", "y");
    struct table_open open;
    TABLE(t);

    publish(t, 1, &one);
    for (int i = 0; i < (int)TABLE_CONSUMERS_MAX; i++)
        must_open(t, 1, &one, "a", 2 + i);
    assert_int_equal(open_key(t, 1, &one, "a", &late), TABLE_IS_FULL);
    sweep(t);
    assert_int_equal(open_key(t, 1, &one, "a", &late), 0);
    assert_int_equal(ask(t).gaps, 0);
    open = open_of(1, &one, "a", &late);
    table_note_full(t, &open);
    assert_int_equal(ask(t).gaps, TABLE_GAP_FULL);
}

static void test_unknown_volume_is_ignored(void **state)
{
    const struct consumer_identity identity = process(7, "test");
    CONTENT(one, "1", "x", "y");
    struct table_open open;
    unsigned gaps;
    TABLE(t);

    assert_int_equal(open_key(t, 1, &one, "a", &identity), 0);
    assert_int_equal(table_visit(t, VOLUME, add_to_answer, NULL, &gaps), -ENOENT);
    table_remove(t, VOLUME);
    open = open_of(1, &one, "a", &identity);
    table_note_full(t, &open);
    sweep(t);
}

/* ---- first opens */

/* "PID:KEY@VERSION "; "-" for a process that is not identified */
static void add_first(void *userdata, const struct table_open *open,
                      const struct object_entry *entry)
{
    char *text = userdata, *at = text + strlen(text);
    const char *version = open->content.object->resource_version;

    assert_true(at - text < 900);
    if (open->identity != NULL)
        snprintf(at, 64, "%d:%s@%s ", open->identity->process.pid, entry->key, version);
    else
        snprintf(at, 64, "-:%s@%s ", entry->key, version);
}

#define FIRST_OPENS(t, text)                                                                       \
    char text[1024] = "";                                                                          \
    TABLE(t);                                                                                      \
    table_report_first(t, add_first, text)

static void test_first_open_of_each_version_is_reported(void **state)
{
    CONTENT(one, "1", "x", "y");
    CONTENT(two, "2", "X", "y");
    FIRST_OPENS(t, text);

    publish(t, 1, &one);
    must_open(t, 1, &one, "a", 7);
    must_open(t, 1, &one, "a", 7);
    must_open(t, 1, &one, "b", 7);
    must_open(t, 1, &one, "a", 8);
    publish(t, 2, &two);
    must_open(t, 2, &two, "a", 7);
    must_open(t, 1, &one, "a", 7); /* noted late */
    must_open(t, 2, &two, "b", 7); /* the bytes are the same, the version is not */
    assert_string_equal(text, "7:a@1 7:b@1 8:a@1 7:a@2 7:b@2 ");
}

/* As in a projected volume of which another object has changed. */
static void test_generation_of_the_same_version_is_no_first_open(void **state)
{
    CONTENT(one, "1", "x", "y");
    FIRST_OPENS(t, text);

    publish(t, 1, &one);
    must_open(t, 1, &one, "a", 7);
    publish(t, 2, &one);
    must_open(t, 2, &one, "a", 7);
    assert_string_equal(text, "7:a@1 ");
}

static void test_each_open_of_unknown_consumers_is_reported(void **state)
{
    CONTENT(one, "1", "x", "y");
    const struct table_open beyond = open_of(1, &one, "b", NULL);
    FIRST_OPENS(t, text);

    table_note_full(t, &beyond); /* an unknown volume has no name either */
    publish(t, 1, &one);
    assert_int_equal(open_key(t, 1, &one, "a", NULL), 0);
    assert_int_equal(open_key(t, 1, &one, "a", NULL), 0);
    table_note_full(t, &beyond);
    table_note_full(t, &beyond);
    assert_string_equal(text, "-:a@1 -:a@1 -:b@1 -:b@1 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer_is_old_until_it_opens_the_new_version),
        cmocka_unit_test(test_key_that_did_not_change_makes_no_consumer_old),
        cmocka_unit_test(test_each_key_counts),
        cmocka_unit_test(test_open_that_is_noted_before_its_update),
        cmocka_unit_test(test_open_that_is_noted_after_the_next_update),
        cmocka_unit_test(test_earlier_bytes_that_return_are_a_new_version),
        cmocka_unit_test(test_recycled_pid_is_another_consumer),
        cmocka_unit_test(test_removed_key_is_old),
        cmocka_unit_test(test_empty_values_count_for_each_other),
        cmocka_unit_test(test_ended_process_of_no_group_is_gone),
        cmocka_unit_test(test_ended_processes_of_a_container_count_by_name),
        cmocka_unit_test(test_order_of_merging_is_indifferent),
        cmocka_unit_test(test_unidentified_process_is_a_gap_once_it_is_old),
        cmocka_unit_test(test_unidentified_process_on_the_newest_is_no_gap),
        cmocka_unit_test(test_lost_events_are_a_gap_of_all_volumes),
        cmocka_unit_test(test_lost_opens_of_one_volume),
        cmocka_unit_test(test_older_content_of_an_adopted_volume),
        cmocka_unit_test(test_adopted_volume_has_a_gap),
        cmocka_unit_test(test_number_of_consumers_is_limited),
        cmocka_unit_test(test_unknown_volume_is_ignored),
        cmocka_unit_test(test_first_open_of_each_version_is_reported),
        cmocka_unit_test(test_generation_of_the_same_version_is_no_first_open),
        cmocka_unit_test(test_each_open_of_unknown_consumers_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/live_file.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include <cmocka.h>

#include "cache/secmem.h"
#include "fuse/held.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/live_volume.h"

#define SEARCHED 1024 /* open files of one file that are searched for a thread's */

/* The size that a thread gets. */
static off_t size_for(struct live_volume *v, uint64_t id, pid_t thread)
{
    struct stat stat;

    assert_int_equal(tree_stat(v->tree, id, &stat), 0);
    live_file_stat(v->tree, thread, &stat);
    return stat.st_size;
}

/* ---- open files */

static void open_file_keeps_its_version(void **state)
{
    struct live_volume *v = *state;
    struct live_open *old = open_file(v, v->a), *new;

    change(v, "a=newer");
    new = open_file(v, v->a);
    assert_has(v, v->a, old, "one");
    assert_reads(v, v->a, old, 1, 1, "n");
    assert_reads(v, v->a, old, 2, 100, "e");
    assert_reads(v, v->a, old, 3, 100, "");
    assert_reads(v, v->a, old, 300, 100, "");
    assert_reads(v, v->a, old, 0, 0, "");
    assert_has(v, v->a, new, "newer");
    live_file_close(v->tree, old);
    live_file_close(v->tree, new);
}

/* The memory of a version goes when its last open file is closed. */
static void old_content_goes_with_its_last_open_file(void **state)
{
    struct live_volume *v = *state;
    size_t before = secmem_bytes();
    struct live_open *first = open_file(v, v->a), *second = open_file(v, v->a);

    change(v, "a=newer");
    assert_true(secmem_bytes() > before);
    live_file_close(v->tree, first);
    assert_true(secmem_bytes() > before);
    assert_has(v, v->a, second, "one");
    live_file_close(v->tree, second);
    assert_int_equal(secmem_bytes(), before);
    change(v, "a=newest");
    assert_int_equal(secmem_bytes(), before);
}

#define BIG_BYTES 900000
#define N_OLD     40

/* Change "a" to BIG_BYTES that begin with a number. */
static void change_to_big(struct live_volume *v, size_t number)
{
    static char text[BIG_BYTES + 16];
    size_t len = (size_t)snprintf(text, sizeof(text), "a=%08zu", number);

    memset(text + len, 'x', BIG_BYTES - 8);
    change(v, text);
}

/* The oldest ones go; the others, and those of the newest version, are read. */
static void older_versions_are_limited(void **state)
{
    struct live_volume *v = *state;
    struct live_open *opens[N_OLD + 1];
    size_t before = secmem_bytes();
    struct file_content part;
    struct stat stat;

    for (size_t i = 0; i <= N_OLD; i++) {
        change_to_big(v, i);
        opens[i] = open_file(v, v->a);
    }
    assert_true(secmem_bytes() - before <= HELD_VOLUME_BYTES_MAX + (2u << 20));
    assert_true(tree_usage(v->tree).held_bytes <= HELD_VOLUME_BYTES_MAX);
    assert_int_equal(live_file_read(v->tree, opens[0], 0, 8, &part), -ESTALE);
    live_open_stat(opens[0], &stat);
    assert_int_equal(stat.st_size, BIG_BYTES);
    assert_reads(v, v->a, opens[N_OLD - 1], 0, 8, "00000039");
    assert_reads(v, v->a, opens[N_OLD], 0, 8, "00000040");
    assert_true(tree_usage(v->tree).n_dropped > 0);
    for (size_t i = 0; i <= N_OLD; i++)
        live_file_close(v->tree, opens[i]);
    assert_int_equal(tree_usage(v->tree).held_bytes, 0);
}

/* The publisher's opens do not count against it, and each close makes room. */
static void open_files_of_a_volume_are_limited(void **state)
{
    const struct live_opener reader = {.thread = READER, .may_wait = true}, publisher = {0};
    struct live_volume *v = *state;
    struct live_open *open = NULL, *last = NULL;

    for (unsigned i = 0; i < LIVE_OPENS_MAX; i++)
        last = open_file(v, i % 2 == 0 ? v->a : v->b);
    assert_int_equal(live_file_open(v->tree, v->a, &reader, &open), -ENFILE);
    assert_int_equal(live_file_open(v->tree, v->c, &reader, &open), -ENFILE);
    assert_int_equal(live_file_open(v->tree, v->a, &publisher, &open), 0);
    live_file_close(v->tree, open);
    live_file_close(v->tree, last);
    open_file(v, v->c);
    assert_int_equal(live_file_open(v->tree, v->a, &reader, &open), -ENFILE);
    live_file_close_all(v->tree);
    assert_opens_with(v, v->a, "one");
}

/* They are adopted before it is known of which volume a file outside of its directory is. */
static void open_files_count_in_the_volume_of_their_file(void **state)
{
    const struct live_opener reader = {.thread = READER, .may_wait = true};
    struct live_volume *v = *state;
    struct live_open *open = NULL, *last = NULL;
    struct stat stat;

    assert_int_equal(tree_mkdir(v->tree, gettid(), TREE_ROOT_ID, "w", 0755, &stat), 0);
    for (unsigned i = 0; i < LIVE_OPENS_MAX; i++)
        last = open_file(v, v->a);
    live_file_set_volume(v->tree, v->a, stat.st_ino);
    assert_int_equal(live_file_open(v->tree, v->a, &reader, &open), -ENFILE);
    assert_opens_with(v, v->b, "two");
    live_file_close(v->tree, last);
    open_file(v, v->a);
    live_file_close_all(v->tree);
    assert_opens_with(v, v->a, "one");
}

/* The kernel releases them no more. */
static void what_is_open_at_the_end_is_closed(void **state)
{
    struct live_volume *v = *state;
    size_t before;

    open_file(v, v->a);
    change(v, "a=newer");
    open_file(v, v->a);
    before = secmem_bytes();
    live_file_close_all(v->tree);
    assert_true(secmem_bytes() < before);
    assert_int_equal(tree_usage(v->tree).held_bytes, 0);
}

/* Other keys of the object have changed. */
static void open_file_keeps_no_older_object_of_the_same_content(void **state)
{
    struct live_volume *v = *state;
    size_t before = secmem_bytes();
    struct live_open *opens[N_OLD];

    for (size_t i = 0; i < N_OLD; i++) {
        opens[i] = open_file(v, v->a);
        change(v, "a=one");
        assert_int_equal(secmem_bytes(), before);
    }
    for (size_t i = 0; i < N_OLD; i++) {
        assert_has(v, v->a, opens[i], "one");
        live_file_close(v->tree, opens[i]);
    }
}

static void only_files_are_opened(void **state)
{
    struct live_volume *v = *state;
    struct live_open *open = NULL;

    assert_int_equal(live_file_open(v->tree, v->generation,
                                    &(struct live_opener){.thread = READER, .may_wait = true},
                                    &open),
                     -EISDIR);
    assert_int_equal(live_file_open(v->tree, find(v->tree, v->volume, "l"),
                                    &(struct live_opener){.thread = READER, .may_wait = true},
                                    &open),
                     -EINVAL);
    assert_int_equal(live_file_open(v->tree, 4711,
                                    &(struct live_opener){.thread = READER, .may_wait = true},
                                    &open),
                     -ESTALE);
    assert_null(open);
}

static void immutable_files_are_counted_only(void **state)
{
    struct live_volume *v = *state;
    struct live_open *open;
    struct live_switch *s;

    v->generation = make_generation(v->tree, v->volume, "h", "a=old", false);
    v->a = find(v->tree, v->generation, "a");
    open = open_cached(v, v->a);
    assert_true(is_settled(v, v->a));
    assert_int_equal(size_for(v, v->a, READER), 3);
    assert_int_equal(live_file_make(v->tree, v->a), 0);
    s = prepare(v, "a=newer");
    assert_true(live_switch_is_partial(s));
    live_switch_free(s);
    live_file_close(v->tree, open);
    s = prepare(v, "a=newer");
    assert_false(live_switch_is_partial(s));
    live_switch_free(s);
}

/* Reading to the end, and closing, may come after the file is gone, or a newer version is there. */
static void what_is_gone_is_closed_as_well(void **state)
{
    struct live_volume *v = *state;
    struct live_open *open = open_file(v, v->a), *older = open_file(v, v->b);

    change(v, "d/b=newer");
    assert_has(v, v->b, older, "two");
    live_file_close(v->tree, older);
    tree_detach(v->tree, v->a);
    assert_has(v, v->a, open, "one");
    live_file_close(v->tree, open);
    assert_true(is_settled(v, v->a));
    assert_true(is_settled(v, v->b));
}

/* ---- the attributes of what a thread has open */

static void size_goes_with_the_open_file(void **state)
{
    struct live_volume *v = *state;
    struct live_open *open = open_file(v, v->a);

    change(v, "a=newer");
    assert_int_equal(size_for(v, v->a, READER), 3);
    assert_int_equal(size_for(v, v->a, OTHER), 5);
    assert_reads(v, v->a, open, 0, 2, "on");
    assert_int_equal(size_for(v, v->a, READER), 3);
    assert_reads(v, v->a, open, 2, 100, "e");
    assert_int_equal(size_for(v, v->a, READER), 3); /* it may be read once more */
    live_file_close(v->tree, open);
    assert_int_equal(size_for(v, v->a, READER), 5);
}

/* The times are those of the version, too; all else is the file's. */
static void times_go_with_the_size(void **state)
{
    struct live_volume *v = *state;
    struct stat before, now, answer, of_new;
    struct live_open *old, *new;

    assert_int_equal(tree_stat(v->tree, v->a, &before), 0);
    old = open_file(v, v->a);
    change(v, "a=newer");
    assert_int_equal(tree_chmod(v->tree, v->a, 0400), 0);
    new = open_as(v, v->a, OTHER);
    assert_int_equal(tree_stat(v->tree, v->a, &now), 0);
    answer = now;
    live_file_stat(v->tree, READER, &answer);
    assert_memory_equal(&answer.st_mtim, &before.st_mtim, sizeof(answer.st_mtim));
    assert_memory_equal(&answer.st_ctim, &before.st_ctim, sizeof(answer.st_ctim));
    assert_int_equal(answer.st_size, 3);
    answer.st_mtim = now.st_mtim;
    answer.st_ctim = now.st_ctim;
    answer.st_size = now.st_size;
    assert_memory_equal(&answer, &now, sizeof(answer));

    assert_memory_not_equal(&now.st_mtim, &before.st_mtim, sizeof(now.st_mtim));
    of_new = (struct stat){.st_ino = v->a};
    live_open_stat(new, &of_new);
    assert_memory_equal(&of_new.st_mtim, &now.st_mtim, sizeof(now.st_mtim));
    assert_int_equal(of_new.st_size, 5);
    live_open_stat(old, &of_new);
    assert_memory_equal(&of_new.st_mtim, &before.st_mtim, sizeof(before.st_mtim));
    assert_int_equal(of_new.st_size, 3);
    live_file_close(v->tree, old);
    live_file_close(v->tree, new);
}

static void newest_open_file_of_a_thread_counts(void **state)
{
    struct live_volume *v = *state;
    struct live_open *first = open_file(v, v->a), *second, *others;

    change(v, "a=newer");
    second = open_file(v, v->a);
    change(v, "a=newest");
    others = open_as(v, v->a, OTHER);
    assert_int_equal(size_for(v, v->a, READER), 5);
    assert_int_equal(size_for(v, v->a, OTHER), 6);
    live_file_close(v->tree, second);
    assert_int_equal(size_for(v, v->a, READER), 3); /* the one that is left */
    live_file_close(v->tree, first);
    assert_int_equal(size_for(v, v->a, READER), 6);
    live_file_close(v->tree, others);
}

/* tail -F opens a file again to compare the two, and closes it: fstat(2) of the first comes next,
 * and may be answered before the release. */
static void flushed_file_counts_only_alone(void **state)
{
    struct live_volume *v = *state;
    struct live_open *first = open_file(v, v->a), *second;

    assert_false(live_file_info(v->tree, first).needs_flush);
    second = open_file(v, v->a);
    assert_false(
        live_file_info(v->tree, second).needs_flush); /* the same version: no request at close(2) */
    live_file_close(v->tree, second);
    change(v, "a=newer");
    second = open_file(v, v->a);
    assert_true(live_file_info(v->tree, second).needs_flush);
    change(v, "a=newest");
    live_file_flush(v->tree, second);
    assert_int_equal(size_for(v, v->a, READER), 3);
    live_file_close(v->tree, first);
    assert_int_equal(size_for(v, v->a, READER), 5); /* as of a descriptor that was duplicated */
    live_file_close(v->tree, second);
    assert_int_equal(size_for(v, v->a, READER), 6);
}

static void oldest_are_not_found_among_too_many(void **state)
{
    struct live_volume *v = *state;
    struct live_open *first = open_file(v, v->a), *others[SEARCHED];

    for (size_t i = 0; i < ELEMENTS_OF(others); i++)
        others[i] = open_as(v, v->a, OTHER);
    change(v, "a=newer");
    assert_int_equal(size_for(v, v->a, READER), 5);
    assert_int_equal(size_for(v, v->a, OTHER), 3);
    assert_has(v, v->a, first, "one");
    live_file_close(v->tree, others[0]);
    assert_int_equal(size_for(v, v->a, READER), 3);
    for (size_t i = 1; i < ELEMENTS_OF(others); i++)
        live_file_close(v->tree, others[i]);
    live_file_close(v->tree, first);
}

/* A reader in a pid namespace that the kernel cannot name it in: it may be any. */
static void unknown_thread_is_never_matched(void **state)
{
    struct live_volume *v = *state;
    struct live_open *open = open_as(v, v->a, 0);

    change(v, "a=newer");
    assert_int_equal(size_for(v, v->a, 0), 5);
    assert_int_equal(size_for(v, v->a, READER), 5);
    assert_has(v, v->a, open, "one");
    assert_int_equal(size_for(v, v->a, 0), 5);
    live_file_close(v->tree, open);
}

static void other_files_are_not_matched(void **state)
{
    struct live_volume *v = *state;
    struct live_open *open = open_file(v, v->a);
    struct stat gone = {.st_ino = 4711, .st_size = 42};
    struct stat directory;

    change(v, "a=newer d/b=newer");
    assert_int_equal(size_for(v, v->b, READER), 5);
    assert_int_equal(size_for(v, v->a, READER), 3);
    live_file_stat(v->tree, READER, &gone);
    assert_int_equal(gone.st_size, 42);
    assert_int_equal(tree_stat(v->tree, v->generation, &directory), 0);
    assert_int_equal(size_for(v, v->generation, READER), directory.st_size);
    live_file_close(v->tree, open);
}

/* It shows the newest content from now on, so the thread gets the size of another, or the file's.
 */
static void mapped_file_is_not_found(void **state)
{
    struct live_volume *v = *state;
    struct live_open *older = open_file(v, v->a), *mapped;
    struct stat stat = {.st_ino = v->a};

    change(v, "a=newer");
    mapped = open_file(v, v->a);
    change(v, "a=newest");
    assert_int_equal(size_for(v, v->a, READER), 5);
    live_file_note_pages(v->tree, mapped);
    assert_int_equal(size_for(v, v->a, READER), 3);
    live_file_close(v->tree, older);
    assert_int_equal(size_for(v, v->a, READER), 6);
    live_open_stat(mapped, &stat); /* of this one */
    assert_int_equal(stat.st_size, 5);
    assert_has(v, v->a, mapped, "newer");
    assert_false(is_settled(v, v->a));
    live_file_close(v->tree, mapped);
    assert_true(is_settled(v, v->a));
}

/* ---- whether attributes may be kept */

static void settled_again_when_no_older_version_is_open(void **state)
{
    struct live_volume *v = *state;
    struct live_open *first, *second, *third;

    assert_true(is_settled(v, v->a));
    first = open_file(v, v->a);
    assert_true(is_settled(v, v->a));
    change(v, "a=newer");
    assert_false(is_settled(v, v->a));
    assert_has(v, v->a, first, "one");
    assert_false(is_settled(v, v->a)); /* reading it is not enough */
    second = open_file(v, v->a);
    change(v, "a=newest");
    third = open_file(v, v->a);
    assert_false(is_settled(v, v->a));
    live_file_close(v->tree, third);
    assert_false(is_settled(v, v->a));
    live_file_close(v->tree, first);
    assert_false(is_settled(v, v->a));
    live_file_close(v->tree, second);
    assert_true(is_settled(v, v->a));
}

static void what_never_changes_is_settled(void **state)
{
    struct live_volume *v = *state;
    uint64_t g = make_generation(v->tree, v->volume, "h", "a=one", false);

    assert_true(is_settled(v, find(v->tree, g, "a")));
    assert_true(is_settled(v, g));
    assert_true(is_settled(v, find(v->tree, v->volume, "l")));
    assert_true(is_settled(v, 4711));
}

/* ---- becoming live */

static void files_of_a_directory_become_live(void **state)
{
    struct live_volume *v = *state;
    uint64_t g = make_generation(v->tree, v->volume, "h", "a=1 d/b=2 d/e/c=3", false);
    uint64_t d = find(v->tree, g, "d");
    struct stat empty;

    assert_false(live_file_is_live(v->tree, g));
    assert_false(live_file_is_live(v->tree, d));
    assert_int_equal(live_file_make(v->tree, d), 0);
    assert_true(live_file_is_live(v->tree, d));
    assert_true(live_file_is_live(v->tree, find(v->tree, d, "b")));
    assert_true(live_file_is_live(v->tree, find(v->tree, d, "e")));
    assert_true(live_file_is_live(v->tree, find(v->tree, d, "e/c")));
    assert_false(live_file_is_live(v->tree, find(v->tree, g, "a")));
    assert_false(live_file_is_live(v->tree, g)); /* its first file is not */
    assert_int_equal(live_file_make(v->tree, find(v->tree, g, "a")), 0);
    assert_true(live_file_is_live(v->tree, g));
    assert_opens_with(v, find(v->tree, g, "d/e/c"), "3");

    assert_int_equal(tree_mkdir(v->tree, gettid(), v->volume, "empty", 0755, &empty), 0);
    assert_int_equal(live_file_make(v->tree, empty.st_ino), 0);
    assert_false(live_file_is_live(v->tree, empty.st_ino));
    assert_int_equal(live_file_make(v->tree, find(v->tree, v->volume, "l")), 0);
    assert_false(live_file_is_live(v->tree, find(v->tree, v->volume, "l")));
    assert_int_equal(live_file_make(v->tree, 4711), -ESTALE);
    assert_false(live_file_is_live(v->tree, 4711));
}

/* What is known of its open files stays. */
static void live_file_becomes_live_once(void **state)
{
    struct live_volume *v = *state;
    struct live_open *old = open_file(v, v->a), *new;

    change(v, "a=newer");
    new = open_as(v, v->a, OTHER);
    assert_int_equal(live_file_make(v->tree, v->generation), 0);
    assert_false(is_settled(v, v->a));
    assert_int_equal(size_for(v, v->a, READER), 3);
    assert_opens_with(v, v->a, "newer");
    live_file_close(v->tree, old);
    assert_true(is_settled(v, v->a)); /* the other one is of the newest version */
    live_file_close(v->tree, new);
}

/* ---- memory can be short */

static int open_and_close(void *userdata)
{
    struct live_volume *v = userdata;
    struct live_open *open = NULL;
    int r = live_file_open(v->tree, v->a, &(struct live_opener){.thread = READER, .may_wait = true},
                           &open);

    if (r == 0)
        live_file_close(v->tree, open);
    return r;
}

/* What could not be opened is not waited for, nor does it keep the attributes from being kept. */
static void memory_can_be_short_for_open_files(void **state)
{
    struct live_volume *v = *state;
    struct live_switch *s;

    failmalloc_try(open_and_close, v);
    s = prepare(v, "a=newer");
    assert_int_equal(live_switch_drain_until(s), 0);
    finish(v, s);
    assert_true(is_settled(v, v->a));
    assert_int_equal(size_for(v, v->a, READER), 5);
}

/* Some of them may be live then; the next time all are. */
static int make_live(void *userdata)
{
    static const struct tree_options options = {.root_mode = 0755};
    _cleanup_(tree_freep) struct tree *tree = NULL;
    struct payload *payload = userdata;
    struct stat stat;
    int r = tree_new(&options, &tree);

    if (r == 0)
        r = tree_stage(tree, "g", payload, false);
    if (r == 0)
        r = tree_mkdir(tree, gettid(), TREE_ROOT_ID, "g", 0755, &stat);
    if (r == 0)
        r = live_file_make(tree, stat.st_ino);
    if (r == 0)
        assert_true(live_file_is_live(tree, stat.st_ino));
    return r;
}

static void memory_can_be_short_for_live_files(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("a=1 d/b=2");

    failmalloc_try(make_live, payload);
}

/* ---- readers in other threads */

struct reader {
    struct live_volume *volume;
    pid_t thread;
    atomic_bool is_over;
    unsigned n_torn;
};

/* open, fstat, read: three answers of one version. */
static bool is_whole(const struct reader *reader, struct live_open *open)
{
    struct live_volume *v = reader->volume;
    struct stat stat;
    struct file_content part;
    const char *text;
    bool is_same;

    if (tree_stat(v->tree, v->a, &stat) < 0)
        return false;
    live_file_stat(v->tree, reader->thread, &stat);
    text = stat.st_size == 5 ? "first" : "other-one";
    if (live_file_read(v->tree, open, 0, 100, &part) < 0)
        return false;
    is_same = stat.st_size == (off_t)part.len && part.len == strlen(text) &&
              memcmp(part.bytes, text, part.len) == 0;
    object_unref(part.object);
    return is_same;
}

static void *read_over_and_over(void *userdata)
{
    struct reader *reader = userdata;
    struct live_volume *v = reader->volume;

    while (!atomic_load(&reader->is_over)) {
        struct live_open *open = NULL;
        const struct live_opener opener = {.thread = reader->thread, .may_wait = true};
        int r = live_file_open(v->tree, v->a, &opener, &open);

        if (r == -EAGAIN)
            continue;
        if (r < 0) {
            reader->n_torn++;
            break;
        }
        reader->n_torn += !is_whole(reader, open);
        live_file_close(v->tree, open);
    }
    return NULL;
}

static void readers_get_whole_versions(void **state)
{
    struct live_volume *v = *state;
    struct reader readers[2];
    pthread_t threads[ELEMENTS_OF(readers)];
    size_t i;

    change(v, "a=first");
    for (i = 0; i < ELEMENTS_OF(readers); i++) {
        readers[i] = (struct reader){.volume = v, .thread = READER + (pid_t)i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_over_and_over, &readers[i]), 0);
    }
    for (unsigned n = 0; n < 200; n++) {
        change(v, "a=other-one");
        change(v, "a=first");
    }
    for (i = 0; i < ELEMENTS_OF(readers); i++) {
        atomic_store(&readers[i].is_over, true);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(readers[i].n_torn, 0);
    }
    assert_true(is_settled(v, v->a));
}

/* ---- what an observer sees */

struct seen {
    unsigned n;
    uint64_t volume;
    uint64_t edition;
    pid_t thread;
    char text[64];
};

/* Called with the tree's lock held. */
static void see(void *userdata, const struct live_opened *opened)
{
    struct seen *seen = userdata;
    const struct file_content *content = &opened->file.content;

    seen->n++;
    seen->volume = opened->file.volume;
    seen->edition = opened->file.edition;
    seen->thread = opened->thread;
    snprintf(seen->text, sizeof(seen->text), "%.*s", (int)content->len,
             (const char *)content->bytes);
}

static void must_see(struct live_volume *v, struct seen *seen, uint64_t id, const char *text)
{
    unsigned n = seen->n;

    live_file_close(v->tree, open_file(v, id));
    assert_int_equal(seen->n, n + 1);
    assert_int_equal(seen->volume, v->volume);
    assert_int_equal(seen->thread, READER);
    assert_string_equal(seen->text, text);
}

/* An update gives its edition to all that it shows, also if its bytes stay. */
static void observer_sees_each_open(void **state)
{
    struct live_volume *v = *state;
    struct seen seen = {.n = 0};
    uint64_t first, update;

    live_file_observe(v->tree, see, &seen);
    must_see(v, &seen, v->a, "one");
    first = seen.edition;
    update = tree_take_edition(v->tree);
    assert_true(update > first);
    change(v, "a=newer d/b=two");
    must_see(v, &seen, v->a, "newer");
    assert_true(seen.edition > update);
    must_see(v, &seen, v->b, "two");
    assert_true(seen.edition > update);
    must_see(v, &seen, v->c, "three"); /* the update has no such file */
    assert_true(seen.edition < update);
    live_file_observe(v->tree, NULL, NULL);
    live_file_close(v->tree, open_file(v, v->a));
    assert_int_equal(seen.n, 4);
}

static void observer_does_not_see_the_publisher(void **state)
{
    struct live_volume *v = *state;
    const struct live_opener publisher = {.thread = OTHER};
    struct seen seen = {.n = 0};
    struct live_open *open;

    live_file_observe(v->tree, see, &seen);
    assert_int_equal(live_file_open(v->tree, v->a, &publisher, &open), 0);
    live_file_close(v->tree, open);
    assert_int_equal(seen.n, 0);
}

/* It is as old as it was where it came from. */
static void copy_has_volume_and_edition_of_its_original(void **state)
{
    struct live_volume *v = *state;
    const struct staged_node copy = {.copy_of = v->a};
    struct seen seen = {.n = 0};
    struct stat elsewhere, stat;
    uint64_t edition;

    assert_int_equal(tree_mkdir(v->tree, gettid(), TREE_ROOT_ID, ".live", 0755, &elsewhere), 0);
    live_file_observe(v->tree, see, &seen);
    must_see(v, &seen, v->a, "one");
    edition = seen.edition;
    tree_stage_node(v->tree, &copy);
    assert_int_equal(tree_mknod(v->tree, gettid(), elsewhere.st_ino, "a", &stat), 0);
    tree_stage_node(v->tree, NULL);
    must_see(v, &seen, stat.st_ino, "one");
    assert_int_equal(seen.edition, edition);
    /* the two take each other's place, and the original loses its name there */
    assert_int_equal(tree_exchange(v->tree, elsewhere.st_ino, "a", v->generation, "a"), 0);
    must_see(v, &seen, v->a, "one");
    must_see(v, &seen, stat.st_ino, "one");
    assert_int_equal(tree_unlink(v->tree, elsewhere.st_ino, "a"), 0);
}

static void removed_file_keeps_its_volume(void **state)
{
    struct live_volume *v = *state;
    struct seen seen = {.n = 0};
    struct stat stat;

    assert_int_equal(tree_lookup(v->tree, v->generation, "a", &stat), 0);
    live_file_observe(v->tree, see, &seen);
    assert_int_equal(tree_unlink(v->tree, v->generation, "a"), 0);
    must_see(v, &seen, v->a, "one");
    tree_forget(v->tree, v->a, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, live_volume_setup, live_volume_teardown)
    const struct CMUnitTest tests[] = {
        TEST(open_file_keeps_its_version),
        TEST(old_content_goes_with_its_last_open_file),
        TEST(older_versions_are_limited),
        TEST(open_files_of_a_volume_are_limited),
        TEST(open_files_count_in_the_volume_of_their_file),
        TEST(what_is_open_at_the_end_is_closed),
        TEST(open_file_keeps_no_older_object_of_the_same_content),
        TEST(only_files_are_opened),
        TEST(immutable_files_are_counted_only),
        TEST(what_is_gone_is_closed_as_well),
        TEST(size_goes_with_the_open_file),
        TEST(times_go_with_the_size),
        TEST(newest_open_file_of_a_thread_counts),
        TEST(flushed_file_counts_only_alone),
        TEST(oldest_are_not_found_among_too_many),
        TEST(unknown_thread_is_never_matched),
        TEST(other_files_are_not_matched),
        TEST(mapped_file_is_not_found),
        TEST(settled_again_when_no_older_version_is_open),
        TEST(what_never_changes_is_settled),
        TEST(files_of_a_directory_become_live),
        TEST(live_file_becomes_live_once),
        TEST(memory_can_be_short_for_open_files),
        TEST(memory_can_be_short_for_live_files),
        TEST(readers_get_whole_versions),
        TEST(observer_sees_each_open),
        TEST(observer_does_not_see_the_publisher),
        TEST(copy_has_volume_and_edition_of_its_original),
        TEST(removed_file_keeps_its_volume),
    };

    return cmocka_run_group_tests_name("live file", tests, NULL, NULL);
}

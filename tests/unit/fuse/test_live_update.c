/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A live update on a tree without a mount: system calls are stood in for by what a worker would
 * have answered, and are recorded, as are the notifications of the kernel and the events of
 * watchers.
 */
#include "fuse/live_update.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fuse/inotify_events.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/make_payload.h"
#include "tests/unit/tree_calls.h"

/* ---- the stand-ins */

static int try_open(uint64_t id)
{
    struct live_open *open = NULL;
    int r = live_file_open(kernel.tree, id, &(struct live_opener){.thread = 0, .may_wait = true},
                           &open);

    if (r == 0)
        live_file_close(kernel.tree, open);
    return r;
}

static bool waits(uint64_t id)
{
    int r = try_open(id);

    assert_true(r == 0 || r == -EAGAIN);
    return r == -EAGAIN;
}

/* Readers still wait, as the kernel learns of the new content only now. */
void inotify_raise_modify(int fd_consumed)
{
    struct stat stat;

    if (fd_consumed < 0)
        return;
    note("modify", kernel.paths[fd_consumed]);
    assert_int_equal(tree_find_path(kernel.tree, TREE_ROOT_ID, kernel.paths[fd_consumed], &stat),
                     0);
    assert_true(waits(stat.st_ino));
    close(fd_consumed);
}

/* What the kernel is to forget, and once with nothing when opens go on. */
void session_notify(struct session *session, const struct notification *all, size_t n)
{
    assert_null(session);
    if (n == 0)
        note("resume", "");
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(all[i].kind, NOTIFY_ATTRIBUTES);
        assert_false(live_file_is_settled(kernel.tree, all[i].id));
        assert_true(waits(all[i].id));
        note("forget", "");
    }
}

/* ---- what the tests do and see */

/* The directory "L" with live files, as the current generation, or a directory taken out of it. */
static void make_directory(const char *files)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make(files);
    struct stat stat;

    assert_int_equal(tree_stage(kernel.tree, "L", payload, true), 0);
    assert_int_equal(tree_mkdir(kernel.tree, gettid(), TREE_ROOT_ID, "L", 0755, &stat), 0);
    assert_int_equal(tree_stage(kernel.tree, "L", NULL, false), 0);
}

static int setup(void **state)
{
    static const struct tree_options options = {.root_mode = 0755, .answers_open = true};

    memset(&kernel, 0, sizeof(kernel));
    kernel.is_writing = true;
    assert_int_equal(tree_new(&options, &kernel.tree), 0);
    return 0;
}

static int teardown(void **state)
{
    kernel.tree = tree_free(kernel.tree);
    return 0;
}

/* Count a reference of the kernel to what has a path. Return: its id. */
static uint64_t hold(const char *path)
{
    struct path parts;
    struct stat stat;

    path_init(&parts, ROOT_FD, path);
    assert_int_equal(tree_lookup(kernel.tree, parts.parent, parts.name, &stat), 0);
    return stat.st_ino;
}

/* NULL for an immutable file. */
static struct live_open *open_file(const char *path)
{
    struct live_open *open = NULL;

    assert_int_equal(live_file_open(kernel.tree, find(path),
                                    &(struct live_opener){.thread = 0, .may_wait = true}, &open),
                     0);
    return open;
}

static void init(struct live_update *update, const char *files)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make(files);

    live_update_init(update, NULL, kernel.tree, payload);
}

static void add(struct live_update *update, uint64_t id, const char *path, const char *location,
                bool is_directory)
{
    const struct live_mount mount = {
        .id = id, .path = path, .location = location, .is_directory = is_directory};

    assert_int_equal(live_update_add(update, &mount), 0);
}

/* Of the directory "L", which shows all of a payload. */
static void init_directory(struct live_update *update, const char *files)
{
    const struct live_mount generation = {
        .id = find("L"), .path = "", .location = "L", .is_directory = true, .is_generation = true};

    init(update, files);
    assert_int_equal(live_update_add(update, &generation), 0);
}

static void begin(struct live_update *update)
{
    assert_int_equal(live_update_begin(update, ROOT_FD), 0);
}

/* The commit, and what comes after. */
static void end(struct live_update *update)
{
    live_switch_commit(update->live_switch);
    note("commit", "");
    live_update_end(update, ROOT_FD);
    live_update_deinit(update);
}

static void update_directory(const char *files)
{
    struct live_update update;

    init_directory(&update, files);
    begin(&update);
    end(&update);
}

/* ---- directories */

/* New names before the commit, with their content; events after it, then opens go on. */
static void order_of_steps(void **state)
{
    struct live_update update;
    struct stat stat;
    uint64_t a;

    make_directory("a=1 b=2 d/c=3 gone=4");
    a = find("L/a");
    init_directory(&update, "a=new b=2 d/c=newer d/n=5 e/f=6");
    assert_int_equal(live_update_drain_until(&update), 0);
    assert_false(live_update_is_partial(&update));
    begin(&update);
    assert_string_equal(kernel.calls, " open:L mkdir:L/d mknod:L/d/n mkdir:L/e mknod:L/e/f forget: "
                                      "forget:");
    assert_true(has_content(find("L/d/n"), "5"));
    assert_true(waits(find("L/d/n")) && waits(find("L/e/f")));
    assert_true(live_file_is_live(kernel.tree, find("L/e/f")));
    assert_true(has_content(a, "1"));
    assert_true(exists("L/gone"));
    assert_int_equal(tree_mknod(kernel.tree, gettid(), TREE_ROOT_ID, "x", &stat),
                     -EROFS); /* as ever */
    kernel.calls[0] = '\0';
    end(&update);
    assert_string_equal(kernel.calls,
                        " commit: modify:L/a modify:L/d/c resume: open:L rmdir:L/d unlink:L/gone "
                        "rmdir:L/e");
    assert_false(waits(a) || waits(find("L/d/n")) || waits(find("L/e/f")));
    assert_int_equal(find("L/a"), a);
    assert_true(has_content(a, "new"));
    assert_true(has_content(find("L/d/c"), "newer"));
    assert_false(exists("L/gone"));
}

static void nothing_happens_when_nothing_changes(void **state)
{
    struct live_update update;

    make_directory("a=1 d/b=2");
    init_directory(&update, "a=1 d/b=2");
    begin(&update);
    assert_string_equal(kernel.calls, " open:L");
    kernel.calls[0] = '\0';
    end(&update);
    assert_string_equal(kernel.calls, " commit: open:L rmdir:L/d");
    assert_true(exists("L/d/b"));
}

/* Directories that are empty go as well, however deep. */
static void directories_go_with_their_last_file(void **state)
{
    make_directory("a=1 d/e/f=2 d/e/g=3");
    update_directory("a=1 d/e/g=3");
    assert_false(exists("L/d/e/f"));
    assert_true(exists("L/d/e/g"));
    update_directory("a=1");
    assert_false(exists("L/d"));
    update_directory("");
    assert_true(exists("L"));
    assert_false(exists("L/a"));
    update_directory("d/e/f=4");
    assert_true(has_content(find("L/d/e/f"), "4"));
}

/* One that is mounted alone stays, as nothing could return to it. */
static void directory_that_is_mounted_alone_stays(void **state)
{
    struct live_update update;

    make_directory("a=1 d/e/f=2");
    init_directory(&update, "a=1");
    add(&update, find("L/d/e"), "d/e", NULL, true);
    begin(&update);
    end(&update);
    assert_true(exists("L/d/e"));
    assert_false(exists("L/d/e/f"));
}

/* A directory that shows a part: what is elsewhere in the payload does not come into it. */
static void directory_of_a_part(void **state)
{
    struct live_update update;

    make_directory("b=1 gone=2");
    init(&update, "a=x d/b=3 d/e/n=4 dd/y=z");
    add(&update, find("L"), "d", "L", true);
    begin(&update);
    end(&update);
    assert_string_equal(kernel.calls,
                        " open:L mkdir:L/e mknod:L/e/n forget: commit: modify:L/b resume: open:L "
                        "unlink:L/gone rmdir:L/e");
    assert_true(has_content(find("L/b"), "3"));
    assert_true(has_content(find("L/e/n"), "4"));
    assert_false(exists("L/a"));
    assert_false(exists("L/y"));
}

/* The payload has a file where it had the directory: nothing is left to show. */
static void directory_that_is_a_file_now(void **state)
{
    struct live_update update;

    make_directory("b=1");
    init(&update, "d=x");
    add(&update, find("L"), "d", "L", true);
    begin(&update);
    end(&update);
    assert_string_equal(kernel.calls, " open:L commit: open:L unlink:L/b");
}

/* A volume's owner decides, at any time, what is a file and what a directory. */
static void something_else_in_a_files_way(void **state)
{
    struct live_update update;

    make_directory("a=1 d/b=2");
    init_directory(&update, "a=new d=x");
    assert_int_equal(live_update_begin(&update, ROOT_FD), -EEXIST);
    live_update_deinit(&update);
    init_directory(&update, "a/b=x d/b=new");
    assert_int_equal(live_update_begin(&update, ROOT_FD), -ENOTDIR);
    live_update_deinit(&update);
    assert_true(has_content(find("L/a"), "1"));
    assert_true(has_content(find("L/d/b"), "2"));
    assert_true(live_file_is_settled(kernel.tree, find("L/a")));
}

/* ---- files */

static void single_file(void **state)
{
    struct live_update update;

    make_directory("7=old");
    init(&update, "d/key=new other=x");
    add(&update, find("L/7"), "d/key", "L/7", false);
    begin(&update);
    end(&update);
    assert_string_equal(kernel.calls, " forget: commit: modify:L/7 resume:");
    assert_true(has_content(find("L/7"), "new"));
}

/* A key that disappears leaves the last content. */
static void single_file_whose_key_is_gone(void **state)
{
    struct live_update update;

    make_directory("7=old");
    init(&update, "other=x");
    add(&update, find("L/7"), "key", "L/7", false);
    begin(&update);
    end(&update);
    assert_string_equal(kernel.calls, " commit:");
    assert_true(has_content(find("L/7"), "old"));
}

/* It follows without an event, which only a name can raise. */
static void file_without_a_name(void **state)
{
    struct live_update update;
    uint64_t id;

    make_directory("a=old");
    id = hold("L/a");
    assert_int_equal(tree_unlink(kernel.tree, find("L"), "a"), 0);
    init(&update, "a=new");
    add(&update, id, "a", NULL, false);
    begin(&update);
    end(&update);
    assert_string_equal(kernel.calls, " forget: commit: resume:");
    assert_true(has_content(id, "new"));
}

/* ---- files that return */

/* The key is gone and comes back: what is in use becomes the same file again, with the commit. */
static void file_in_use_returns(void **state)
{
    struct live_update update;
    uint64_t id;

    make_directory("a=1 d/b=2");
    id = hold("L/d/b");
    update_directory("a=1");
    assert_false(exists("L/d"));
    kernel.calls[0] = '\0';
    init_directory(&update, "a=1 d/b=3");
    begin(&update);
    assert_false(exists("L/d/b"));
    assert_true(has_content(id, "2"));
    end(&update);
    assert_string_equal(kernel.calls, " open:L forget: commit: mkdir:L mkdir:L/d mknod:L/d/b "
                                      "modify:L/d/b resume: open:L rmdir:L/d");
    assert_int_equal(find("L/d/b"), id);
    assert_true(has_content(id, "3"));
    update_directory("a=1 d/b=4");
    assert_true(has_content(id, "4"));
}

/* With the content that it had: there is nothing to switch, but it has its name again. */
static void file_returns_unchanged(void **state)
{
    uint64_t id;

    make_directory("a=1 b=2");
    id = hold("L/b");
    update_directory("a=1");
    kernel.calls[0] = '\0';
    update_directory("a=1 b=2");
    assert_string_equal(kernel.calls, " open:L commit: mkdir:L mknod:L/b open:L");
    assert_int_equal(find("L/b"), id);
}

/* What is not in use is a new file. */
static void file_that_was_forgotten_is_another_one(void **state)
{
    uint64_t id;

    make_directory("a=1 b=2");
    id = find("L/b");
    update_directory("a=1");
    update_directory("a=1 b=2");
    assert_int_not_equal(find("L/b"), id);
}

/* ---- new files: a reader of one finds nothing older elsewhere */

static void new_file_alone_is_opened_after_the_commit(void **state)
{
    struct live_update update;

    make_directory("a=1");
    init_directory(&update, "a=1 n=2");
    begin(&update);
    assert_true(waits(find("L/n")));
    assert_false(live_file_is_settled(kernel.tree, find("L/n")));
    assert_false(waits(find("L/a"))); /* it stays as it is */
    live_switch_commit(update.live_switch);
    assert_true(waits(find("L/n")));
    kernel.calls[0] = '\0';
    end(&update);
    assert_string_equal(kernel.calls, " commit: resume: open:L");
    assert_false(waits(find("L/n")));
    assert_true(live_file_is_settled(kernel.tree, find("L/n")));
}

/* Its watchers have got CREATE and could not open it: they get MODIFY when they can. */
static void new_file_of_an_update_that_is_not_committed(void **state)
{
    struct live_update update;

    make_directory("a=1");
    init_directory(&update, "a=1 n=2");
    begin(&update);
    kernel.calls[0] = '\0';
    live_update_deinit(&update);
    assert_string_equal(kernel.calls, " resume:");
    assert_int_equal(try_open(find("L/n")), -ENOENT);
    kernel.calls[0] = '\0';
    update_directory("a=1 n=2");
    assert_string_equal(kernel.calls, " open:L forget: commit: modify:L/n resume: open:L");
    assert_false(waits(find("L/n")));
    kernel.calls[0] = '\0';
    update_directory("a=1 n=2");
    assert_string_equal(kernel.calls, " open:L commit: open:L");
}

/* The same without a switch. */
static void new_file_of_an_update_that_does_not_begin(void **state)
{
    struct live_update update;

    make_directory("a=1");
    init_directory(&update, "a=new m=2 n=3");
    kernel.countdown = 3;
    assert_int_equal(live_update_begin(&update, ROOT_FD), -EIO);
    assert_string_equal(kernel.calls, " open:L mknod:L/m mknod:L/n resume:");
    assert_int_equal(try_open(find("L/m")), -ENOENT);
    live_update_deinit(&update);
    assert_false(waits(find("L/a")));
    update_directory("a=new");
    assert_false(exists("L/m"));
}

/* ---- a switch that waits, is left, or is not whole */

static void open_files_are_waited_for(void **state)
{
    struct live_update update;
    struct live_open *open;

    make_directory("a=1 b=2");
    open = open_file("L/a");
    init_directory(&update, "a=new b=2");
    begin(&update);
    assert_true(live_update_drain_until(&update) > 0);
    live_file_close(kernel.tree, open);
    assert_int_equal(live_update_drain_until(&update), 0);
    end(&update);
    assert_int_equal(live_update_drain_until(&update), 0);
}

static void update_that_is_not_committed(void **state)
{
    struct live_update update;

    make_directory("a=1 b=2");
    init_directory(&update, "a=new b=2");
    begin(&update);
    assert_true(waits(find("L/a")));
    kernel.calls[0] = '\0';
    live_update_deinit(&update);
    assert_string_equal(kernel.calls, " resume:");
    assert_false(waits(find("L/a")));
    assert_true(has_content(find("L/a"), "1"));
    live_update_deinit(&update); /* of an empty one */
    assert_string_equal(kernel.calls, " resume:");
}

static void update_that_leaves_files_out(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("a=1");
    struct live_update update;
    struct live_open *open;
    struct stat stat;

    assert_int_equal(tree_stage(kernel.tree, "L", payload, false), 0);
    assert_int_equal(tree_mkdir(kernel.tree, gettid(), TREE_ROOT_ID, "L", 0755, &stat), 0);
    open = open_file("L/a");
    assert_true(live_file_info(kernel.tree, open).is_cached);
    assert_int_equal(live_file_make(kernel.tree, stat.st_ino), 0);
    init_directory(&update, "a=new");
    begin(&update);
    assert_true(live_update_is_partial(&update));
    end(&update);
    assert_true(has_content(find("L/a"), "1"));
    live_file_close(kernel.tree, open);
    update_directory("a=new");
    assert_true(has_content(find("L/a"), "new"));
}

/* ---- failures */

/*
 * Either nothing was committed and readers have the old content, or all of it was; what was left
 * undone is done by the next update.
 * Return: whether there was an n-th call.
 */
static bool try_update(void **state, unsigned n)
{
    struct live_update update;
    bool has_failed;
    uint64_t held;
    int r;

    assert_int_equal(teardown(state), 0);
    assert_int_equal(setup(state), 0);
    make_directory("a=1 b=2 d/c=3 gone=4 x/y=5");
    held = hold("L/b");
    update_directory("a=1 d/c=3 gone=4 x/y=5");
    init_directory(&update, "a=new b=2 d/c=new n/m=6");
    kernel.countdown = n;
    r = live_update_begin(&update, ROOT_FD);
    assert_true(r == 0 || r == -EIO);
    if (r == 0)
        end(&update);
    else
        live_update_deinit(&update);
    kernel.countdown = 0;
    has_failed = kernel.has_failed;
    assert_true(has_content(find("L/a"), r == 0 ? "new" : "1"));
    assert_true(has_content(find("L/d/c"), r == 0 ? "new" : "3"));
    assert_true(live_file_is_settled(kernel.tree, find("L/a")));
    if (exists("L/n/m"))
        assert_int_equal(try_open(find("L/n/m")), r == 0 ? 0 : -ENOENT);
    update_directory("a=new b=2 d/c=new n/m=6");
    assert_true(has_content(find("L/a"), "new"));
    assert_true(has_content(find("L/d/c"), "new"));
    assert_true(has_content(find("L/n/m"), "6"));
    assert_int_equal(find("L/b"), held);
    assert_false(exists("L/gone"));
    assert_false(exists("L/x"));
    return has_failed;
}

static void every_call_may_fail(void **state)
{
    unsigned n = 1;

    while (try_update(state, n))
        n++;
    assert_true(n > 8); /* so many calls there are at least */
}

struct attempt {
    struct payload *first, *second;
};

static int add_parts(struct live_update *update)
{
    struct live_mount mount = {.id = find("L"), .path = "", .location = "L", .is_directory = true};
    int r = live_update_add(update, &mount);

    mount = (struct live_mount){.id = find("L/a"), .path = "a"};
    return r == 0 ? live_update_add(update, &mount) : r;
}

static int update_with_little_memory(void *userdata)
{
    static const struct tree_options options = {.root_mode = 0755, .answers_open = true};
    const struct attempt *attempt = userdata;
    struct live_update update = {0};
    struct stat stat;
    int r;

    memset(&kernel, 0, sizeof(kernel));
    kernel.is_writing = true;
    r = tree_new(&options, &kernel.tree);
    if (r == 0)
        r = tree_stage(kernel.tree, "L", attempt->first, true);
    if (r == 0)
        r = tree_mkdir(kernel.tree, gettid(), TREE_ROOT_ID, "L", 0755, &stat);
    if (r == 0) {
        hold("L/gone");
        assert_int_equal(tree_unlink(kernel.tree, stat.st_ino, "gone"), 0);
        live_update_init(&update, NULL, kernel.tree, attempt->second);
        r = add_parts(&update);
    }
    if (r == 0)
        r = live_update_begin(&update, ROOT_FD);
    if (r == 0)
        end(&update);
    live_update_deinit(&update);
    kernel.tree = tree_free(kernel.tree);
    return r;
}

static void memory_can_be_short(void **state)
{
    struct attempt attempt = {.first = payload_make("a=1 d/b=2 gone=3"),
                              .second = payload_make("a=new d/n=4 gone=5")};

    failmalloc_try(update_with_little_memory, &attempt);
    payload_unref(attempt.first);
    payload_unref(attempt.second);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(order_of_steps),
        TEST(nothing_happens_when_nothing_changes),
        TEST(directories_go_with_their_last_file),
        TEST(directory_that_is_mounted_alone_stays),
        TEST(directory_of_a_part),
        TEST(directory_that_is_a_file_now),
        TEST(something_else_in_a_files_way),
        TEST(single_file),
        TEST(single_file_whose_key_is_gone),
        TEST(file_without_a_name),
        TEST(file_in_use_returns),
        TEST(file_returns_unchanged),
        TEST(file_that_was_forgotten_is_another_one),
        TEST(new_file_alone_is_opened_after_the_commit),
        TEST(new_file_of_an_update_that_is_not_committed),
        TEST(new_file_of_an_update_that_does_not_begin),
        TEST(open_files_are_waited_for),
        TEST(update_that_is_not_committed),
        TEST(update_that_leaves_files_out),
        TEST(every_call_may_fail),
        cmocka_unit_test(memory_can_be_short),
    };

    return cmocka_run_group_tests_name("live update", tests, NULL, NULL);
}

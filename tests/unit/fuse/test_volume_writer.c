/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume writer on a tree without a mount: the system calls that it makes are stood in for by
 * what a worker would have answered, and are recorded, as are the writable view, the
 * notifications of the kernel and the events of watchers. What is mounted alone is the real object.
 */
#include "fuse/volume_writer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "fuse/inotify_events.h"
#include "fuse/mount_root.h"
#include "fuse/names.h"
#include "fuse/shown_payload.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/make_payload.h"
#include "tests/unit/tree_calls.h"

/* ---- the stand-ins */

int symlinkat(const char *target, int fd, const char *relative)
{
    struct path path;
    struct stat stat;

    path_init(&path, fd, relative);
    if (fails("symlink", path.whole))
        return -1;
    return answer_made(kernel.tree,
                       tree_symlink(kernel.tree, path.parent, path.name, target, &stat), &stat);
}

int renameat(int fd, const char *relative, int new_fd, const char *new_relative)
{
    struct path path, new_path;

    path_init(&path, fd, relative);
    path_init(&new_path, new_fd, new_relative);
    if (fails("rename", new_path.whole))
        return -1;
    return answer(tree_rename(kernel.tree, path.parent, path.name, new_path.parent, new_path.name));
}

int renameat2(int fd, const char *relative, int new_fd, const char *new_relative, unsigned flags)
{
    struct path path, new_path;

    path_init(&path, fd, relative);
    path_init(&new_path, new_fd, new_relative);
    assert_int_equal(flags, RENAME_EXCHANGE);
    if (fails("exchange", path.whole))
        return -1;
    return answer(
        tree_exchange(kernel.tree, path.parent, path.name, new_path.parent, new_path.name));
}

int fchmodat(int fd, const char *relative, mode_t mode, int flags)
{
    struct path path;

    path_init(&path, fd, relative);
    assert_int_equal(flags, 0);
    if (fails("chmod", path.whole))
        return -1;
    return answer(path.id_error < 0 ? path.id_error : tree_chmod(kernel.tree, path.id, mode));
}

int fchownat(int fd, const char *relative, uid_t uid, gid_t gid, int flags)
{
    struct path path;

    path_init(&path, fd, relative);
    assert_int_equal(flags, AT_SYMLINK_NOFOLLOW);
    if (fails("chown", path.whole))
        return -1;
    return answer(path.id_error < 0 ? path.id_error : tree_chown(kernel.tree, path.id, uid, gid));
}

int fstatat(int fd, const char *relative, struct stat *stat, int flags)
{
    struct path path;

    path_init(&path, fd, relative);
    assert_int_equal(flags, AT_SYMLINK_NOFOLLOW);
    if (fails("stat", path.whole))
        return -1;
    return answer(path.id_error < 0 ? path.id_error : tree_stat(kernel.tree, path.id, stat));
}

void inotify_raise_modify(int fd_consumed)
{
    if (fd_consumed < 0)
        return;
    note("modify", kernel.paths[fd_consumed]);
    close(fd_consumed);
}

int session_begin_write(struct session *session, int *ret_root_fd)
{
    assert_null(session);
    assert_false(kernel.is_writing);
    kernel.is_writing = true;
    if (fails("write", "")) {
        kernel.is_writing = false;
        return -ENOTCONN;
    }
    *ret_root_fd = ROOT_FD;
    return 0;
}

void session_end_write(struct session *session, int root_fd)
{
    assert_null(session);
    assert_true(kernel.is_writing);
    assert_int_equal(root_fd, ROOT_FD);
    kernel.is_writing = false;
}

bool session_may_have_lost_replies(const struct session *session)
{
    assert_null(session);
    return false;
}

void session_notify(struct session *session, const struct notification *all, size_t n)
{
    assert_null(session);
    if (n == 0)
        note("resume", "");
    for (size_t i = 0; i < n; i++)
        note(all[i].kind == NOTIFY_ATTRIBUTES ? "forget" : "forget-name", "");
}

/* ---- a volume */

struct fixture {
    struct volume_writer_host host;
    struct volume_writer writer; /* of "v" */
};

static int setup_with(void **state, bool answers_open)
{
    const struct tree_options options = {.root_mode = 0755, .answers_open = answers_open};
    static struct fixture f;

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    memset(&kernel, 0, sizeof(kernel));
    kernel.has_volumes = true;
    f = (struct fixture){.host = {.answers_open = answers_open}};
    assert_int_equal(tree_new(&options, &kernel.tree), 0);
    f.host.tree = kernel.tree;
    assert_int_equal(live_mounts_new(NULL, kernel.tree, answers_open, &f.host.live_mounts), 0);
    assert_int_equal(volume_writer_init(&f.writer, &f.host, "v"), 0);
    f.writer.dir.mode = 0755;
    *state = &f;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, true);
}

/* No file is live. */
static int setup_immutable(void **state)
{
    return setup_with(state, false);
}

static int setup_in_place(void **state)
{
    struct fixture *f;

    setup(state);
    f = *state;
    f->writer.changes_in_place = true;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    volume_writer_deinit(&f->writer);
    f->host.live_mounts = live_mounts_free(f->host.live_mounts);
    kernel.tree = tree_free(kernel.tree);
    assert_false(kernel.is_writing);
    return 0;
}

static int begin(struct fixture *f, const char *files)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make(files);
    int r = volume_writer_begin(&f->writer, payload);

    assert_false(kernel.is_writing); /* while readers are waited for */
    return r;
}

static int end(struct fixture *f, struct writer_result *ret_written)
{
    *ret_written = (struct writer_result){.generation = ""};
    return volume_writer_end(&f->writer, ret_written);
}

/* Return: the generation that it shows. */
static struct writer_result update(struct fixture *f, const char *files)
{
    struct writer_result written;

    assert_int_equal(begin(f, files), 0);
    assert_int_equal(end(f, &written), 0);
    assert_string_not_equal(written.generation, "");
    return written;
}

/* The path of what a volume shows as @name. Return: until the next call. */
static const char *shown(struct fixture *f, const char *name)
{
    static char path[PATH_SIZE];
    char *current = NULL;
    uint64_t id;
    bool is_root = streq(f->writer.dir.name, ".");

    assert_int_equal(writer_find_current(kernel.tree, f->writer.dir.id, &current, &id), 0);
    snprintf(path, sizeof(path), "%s%s%s/%s", is_root ? "" : f->writer.dir.name, is_root ? "" : "/",
             current, name);
    free(current);
    return path;
}

static bool shows(struct fixture *f, const char *name, const char *text)
{
    return has_content(find(shown(f, name)), text);
}

static struct live_open *open_file(uint64_t id)
{
    struct live_open *open = NULL;

    assert_int_equal(live_file_open(kernel.tree, id,
                                    &(struct live_opener){.thread = 0, .may_wait = true}, &open),
                     0);
    return open;
}

static bool waits(uint64_t id)
{
    struct live_open *open = NULL;
    int r = live_file_open(kernel.tree, id, &(struct live_opener){.thread = 0, .may_wait = true},
                           &open);

    if (r == 0)
        live_file_close(kernel.tree, open);
    return r == -EAGAIN;
}

/* A scan finds one mount, or none. @suffix: what the kernel adds to the path */
static void scan(struct fixture *f, const char *path, const char *suffix)
{
    char root[PATH_SIZE], *roots[] = {root};
    struct mounted_parts parts = {.roots = roots, .n = path != NULL};
    mono_us before = clock_mono();

    do
        parts.began_at = clock_mono();
    while (parts.began_at == before);
    snprintf(root, sizeof(root), "/%s%s", path != NULL ? path : "", suffix);
    kernel.is_writing = true;
    live_mounts_reconcile(f->host.live_mounts, &parts);
    live_mounts_follow(f->host.live_mounts, ROOT_FD, NULL);
    kernel.is_writing = false;
}

/* The kernel holds what is mounted. Return: its id. */
static uint64_t hold(const char *path)
{
    struct path parts;
    struct stat stat;

    path_init(&parts, ROOT_FD, path);
    assert_int_equal(tree_lookup(kernel.tree, parts.parent, parts.name, &stat), 0);
    return stat.st_ino;
}

/* What a volume shows as @name is mounted alone, and becomes live. Return: its id. */
static uint64_t mount_alone(struct fixture *f, const char *name)
{
    char path[PATH_SIZE];
    uint64_t id;

    snprintf(path, sizeof(path), "%s", shown(f, name));
    id = hold(path);
    scan(f, path, "");
    assert_int_equal(live_mounts_count(f->host.live_mounts, f->writer.dir.name), 1);
    kernel.calls[0] = '\0';
    return id;
}

/* ---- immutable files */

static void nothing_is_prepared_for_immutable_files(void **state)
{
    struct fixture *f = *state;
    struct writer_result written;
    struct stat stat;

    f->writer.dir.uid = 12;
    f->writer.dir.gid = 34;
    f->writer.dir.mode = 0750;
    assert_int_equal(begin(f, "a=1 d/b=2"), 0);
    assert_int_equal(volume_writer_drain_until(&f->writer), 0);
    assert_false(volume_writer_is_partial(&f->writer));
    assert_string_equal(kernel.calls, "");
    assert_false(f->writer.has_generation);
    assert_int_equal(end(f, &written), 0);
    assert_string_equal(kernel.calls,
                        " write: mkdir:v chown:v chmod:v stat:v open:v mkdir:v/TS chmod:v/TS "
                        "symlink:v/..data_tmp rename:v/..data symlink:v/a symlink:v/d");
    assert_true(f->writer.has_generation);
    assert_true(shows(f, "d/b", "2"));
    assert_false(live_file_is_live(kernel.tree, find(shown(f, ""))));
    assert_int_equal(tree_stat(kernel.tree, f->writer.dir.id, &stat), 0);
    assert_int_equal(stat.st_uid, 12);
    assert_int_equal(stat.st_gid, 34);
    assert_int_equal(stat.st_mode & 07777, 0750);
    assert_int_equal(volume_writer_begin_catching_up(&f->writer), -ENOENT);
}

static void old_generations_are_cleaned(void **state)
{
    struct fixture *f = *state;
    struct writer_result first = update(f, "a=1"), second = update(f, "a=2");
    char path[PATH_SIZE];

    assert_string_not_equal(first.generation, second.generation);
    snprintf(path, sizeof(path), "v/%s", first.generation);
    assert_true(exists(path));
    assert_int_equal(volume_dir_clean(&f->writer.dir), 0);
    assert_false(exists(path));
    assert_true(shows(f, "a", "2"));
}

/* As a volume that was removed is gone only once it is no longer in use. */
static void directory_of_the_same_name(void **state)
{
    struct fixture *f = *state;
    struct volume_writer next;
    struct writer_result written;

    update(f, "a=1");
    assert_int_equal(volume_writer_init(&next, &f->host, "v"), 0);
    {
        _cleanup_(payload_unrefp) struct payload *payload = payload_make("a=2");
        int r = volume_writer_begin(&next, payload);

        assert_int_equal(r == 0 ? volume_writer_end(&next, &written) : r, -EEXIST);
        assert_int_equal(volume_writer_remove(&f->writer), 0);
        assert_false(exists("v"));
        assert_int_equal(volume_writer_begin(&next, payload), 0);
        assert_int_equal(volume_writer_end(&next, &written), 0);
    }
    assert_true(exists("v/..data"));
    volume_writer_deinit(&next);
}

static void volume_in_the_root(void **state)
{
    struct fixture *f = *state;
    uint64_t a;

    volume_writer_deinit(&f->writer);
    assert_int_equal(volume_writer_init(&f->writer, &f->host, "."), 0);
    f->writer.changes_in_place = f->host.answers_open;
    update(f, "a=1");
    a = find(shown(f, "a"));
    assert_true(exists("..data"));
    update(f, "a=2");
    assert_true(shows(f, "a", "2"));
    assert_int_equal(find(shown(f, "a")) == a, f->host.answers_open);
    assert_int_equal(volume_writer_remove(&f->writer), 0);
    assert_true(exists("..data"));
}

/* ---- what is mounted alone of generations */

static void file_that_is_mounted_alone_follows(void **state)
{
    struct fixture *f = *state;
    char location[64], calls[256];
    struct writer_result written;
    uint64_t id;

    update(f, "a=1 b=1");
    id = mount_alone(f, "a");
    snprintf(location, sizeof(location), LIVE_DIRECTORY "/%" PRIu64, id);
    assert_int_equal(begin(f, "a=2 b=2"), 0);
    assert_string_equal(kernel.calls, " write: open:v forget:");
    assert_true(f->writer.makes_generation);
    assert_true(waits(id));
    assert_true(has_content(id, "1"));
    assert_true(shows(f, "a", "1"));
    kernel.calls[0] = '\0';
    assert_int_equal(end(f, &written), 0);
    snprintf(calls, sizeof(calls),
             " write: open:v mkdir:v/TS chmod:v/TS symlink:v/..data_tmp "
             "symlink:v/TS/..replaced rename:v/..data unlink:v/TS/..replaced "
             "modify:%s resume:",
             location);
    assert_string_equal(kernel.calls, calls);
    assert_false(waits(id));
    assert_int_equal(find(location), id);
    assert_true(has_content(id, "2"));
    assert_true(shows(f, "a", "2"));
    assert_true(shows(f, "b", "2"));
    assert_false(live_file_is_live(kernel.tree, find(shown(f, "a"))));
}

static void directory_that_is_mounted_alone_follows(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE];
    uint64_t id;

    update(f, "a=1 d/b=1 d/c=1");
    id = mount_alone(f, "d");
    update(f, "a=2 d/b=2 d/n=2");
    snprintf(path, sizeof(path), LIVE_DIRECTORY "/%" PRIu64 "/b", id);
    assert_true(has_content(find(path), "2"));
    path[strlen(path) - 1] = 'n';
    assert_true(has_content(find(path), "2"));
    path[strlen(path) - 1] = 'c';
    assert_false(exists(path));
    assert_true(shows(f, "d/n", "2"));
}

/* Return: whether the volume, which is updated all the same, had to catch up. */
static bool update_and_catch_up(struct fixture *f, const char *files)
{
    struct writer_result written;
    bool is_partial;

    assert_int_equal(begin(f, files), 0);
    is_partial = volume_writer_is_partial(&f->writer);
    assert_int_equal(end(f, &written), 0);
    if (is_partial) {
        assert_int_equal(volume_writer_begin_catching_up(&f->writer), 0);
        assert_false(volume_writer_is_partial(&f->writer));
        volume_writer_end_catching_up(&f->writer);
    }
    return is_partial;
}

static bool has_below(uint64_t directory, const char *path, const char *text)
{
    struct stat stat;

    return tree_find_path(kernel.tree, directory, path, &stat) == 0 && S_ISREG(stat.st_mode) &&
           has_content(stat.st_ino, text);
}

/* A file of it becomes a directory, and the reverse. */
static void conflict_in_a_directory_that_is_mounted_alone(void **state)
{
    struct fixture *f = *state;
    uint64_t d;

    update(f, "a=1 d/b=1 d/c=1");
    d = mount_alone(f, "d");
    assert_true(update_and_catch_up(f, "a=2 d/b/x=2 d/c=2"));
    assert_true(shows(f, "a", "2"));
    assert_true(shows(f, "d/b/x", "2"));
    assert_true(has_below(d, "b/x", "2"));
    assert_true(has_below(d, "c", "2"));
    assert_true(update_and_catch_up(f, "a=3 d/b=3 d/c/x=3"));
    assert_true(has_below(d, "b", "3"));
    assert_true(has_below(d, "c/x", "3"));
    assert_false(update_and_catch_up(f, "a=4 d=4")); /* it has no file then */
    assert_true(shows(f, "d", "4"));
    assert_false(update_and_catch_up(f, "a=5 d/b=5 d/c=5"));
    assert_true(shows(f, "a", "5"));
    assert_true(has_below(d, "b", "5"));
    assert_true(has_below(d, "c", "5"));
}

/* Its generation is no longer the current one, and could not be removed yet. */
static void file_of_an_older_generation_follows(void **state)
{
    struct fixture *f = *state;
    uint64_t b;

    update(f, "a=1 b=1");
    b = mount_alone(f, "b");
    update(f, "a/x=2 b=2");
    assert_true(has_content(b, "2"));
    update(f, "a/x=3 b=3");
    assert_true(shows(f, "b", "3"));
    assert_true(has_content(b, "3"));
}

/* ---- readers that have just opened a file */

static void readers_get_their_time(void **state)
{
    struct fixture *f = *state;
    struct live_open *open;
    struct writer_result written;
    uint64_t id;

    update(f, "a=1");
    id = find(shown(f, "a"));
    open = open_file(id);
    assert_int_equal(volume_writer_drain_until(&f->writer), 0);
    assert_int_equal(begin(f, "a=2"), 0);
    assert_true(volume_writer_drain_until(&f->writer) > 0);
    live_file_close(kernel.tree, open);
    assert_int_equal(volume_writer_drain_until(&f->writer), 0);
    assert_int_equal(end(f, &written), 0);
    assert_int_equal(volume_writer_drain_until(&f->writer), 0);
    assert_true(has_content(id, "2"));
}

static void update_that_is_given_up(void **state)
{
    struct fixture *f = *state;
    uint64_t a, b;

    update(f, "a=1 b=1");
    a = find(shown(f, "a"));
    b = find(shown(f, "b"));
    assert_int_equal(begin(f, "a=2 b=1"), 0);
    assert_true(waits(a));
    assert_int_equal(begin(f, "a=1 b=2"), 0); /* by the next one */
    assert_false(waits(a));
    assert_true(waits(b));
    kernel.calls[0] = '\0';
    volume_writer_deinit(&f->writer);
    assert_string_equal(kernel.calls, " resume:");
    assert_false(waits(b));
    assert_true(has_content(a, "1"));
    assert_true(has_content(b, "1"));
    assert_int_equal(volume_writer_init(&f->writer, &f->host, "v"), 0);
}

/* ---- in place */

static void files_change_in_place(void **state)
{
    struct fixture *f = *state;
    struct writer_result first = update(f, "a=1 d/b=1 gone=1"), second;
    uint64_t a = find(shown(f, "a")), b = find(shown(f, "d/b"));

    assert_true(f->writer.makes_generation);
    assert_true(live_file_is_live(kernel.tree, a));
    kernel.calls[0] = '\0';
    assert_int_equal(begin(f, "a=2 d/b=2 new=2"), 0);
    assert_string_equal(kernel.calls, " write: open:v open:v/TS mknod:v/TS/new forget: forget:");
    assert_false(f->writer.makes_generation);
    assert_true(waits(a));
    assert_true(has_content(a, "1"));
    kernel.calls[0] = '\0';
    assert_int_equal(end(f, &second), 0);
    assert_string_equal(kernel.calls,
                        " write: open:v symlink:v/..data_tmp rename:v/..data symlink:v/new "
                        "unlink:v/gone modify:v/TS/a modify:v/TS/d/b resume: open:v/TS "
                        "rmdir:v/TS/d unlink:v/TS/gone");
    assert_string_equal(second.generation, first.generation);
    assert_true(second.visible_at >= first.visible_at);
    assert_int_equal(find(shown(f, "a")), a);
    assert_int_equal(find(shown(f, "d/b")), b);
    assert_true(has_content(a, "2"));
    assert_true(has_content(b, "2"));
    assert_true(shows(f, "new", "2"));
    assert_true(live_file_is_live(kernel.tree, find(shown(f, "new"))));
    assert_false(exists(shown(f, "gone")));
}

/* What is mounted alone is part of the generation, and changes once. */
static void file_in_place_that_is_mounted_alone(void **state)
{
    struct fixture *f = *state;
    uint64_t a;

    update(f, "a=1 b=1");
    a = mount_alone(f, "a");
    update(f, "a=2 b=1");
    assert_int_equal(find(shown(f, "a")), a);
    assert_true(has_content(a, "2"));
    update(f, "b=1"); /* what is removed keeps its content */
    assert_true(has_content(a, "2"));
    assert_false(exists(shown(f, "a")));
    update(f, "a=3 b=1"); /* and is the same file when it returns */
    assert_int_equal(find(shown(f, "a")), a);
    assert_true(has_content(a, "3"));
}

/* A file becomes a directory, or the reverse: readers get the one or the other. */
static void conflict_makes_a_new_generation(void **state)
{
    static const char *const all[] = {"a/x=2 b=2 d/e=2", "a=3 b=3 d/e=3", "a=4 b=4 d=4"};
    static const char *const files[] = {"a/x", "a", "d"}, *const texts[] = {"2", "3", "4"};
    struct fixture *f = *state;
    struct writer_result before = update(f, "a=1 b=1 d/e=1"), after;
    uint64_t b = mount_alone(f, "b");

    for (size_t i = 0; i < ELEMENTS_OF(all); i++) {
        assert_int_equal(begin(f, all[i]), 0);
        assert_true(f->writer.makes_generation);
        assert_true(waits(b));
        assert_int_equal(end(f, &after), 0);
        assert_string_not_equal(after.generation, before.generation);
        assert_true(shows(f, files[i], texts[i]));
        assert_true(shows(f, "b", texts[i]));
        assert_true(has_content(b, texts[i]));
        assert_int_not_equal(find(shown(f, "b")), b);
        assert_true(live_file_is_live(kernel.tree, find(shown(f, "b"))));
        assert_int_equal(volume_dir_clean(&f->writer.dir), 0);
        before = after;
    }
    /* it goes on in place after that, for what is mounted of older generations as well */
    after = update(f, "a=5 b=5 d=5");
    assert_string_equal(after.generation, before.generation);
    assert_true(shows(f, "b", "5"));
    assert_true(has_content(b, "5"));
}

/* ---- catching up */

/* It was mounted from a generation that went at the same time. */
static void late_mount_catches_up(void **state)
{
    struct fixture *f = *state;
    struct writer_result first;
    char path[PATH_SIZE];
    uint64_t id;

    assert_int_equal(volume_writer_begin_catching_up(&f->writer), -ENOENT);
    first = update(f, "a=1");
    id = hold(shown(f, "a"));
    update(f, "a=2");
    assert_int_equal(volume_dir_clean(&f->writer.dir), 0);
    snprintf(path, sizeof(path), "v/%s/a", first.generation);
    assert_false(exists(path));
    scan(f, path, "//deleted");
    assert_true(live_mounts_take_behind(f->host.live_mounts, "v"));
    assert_true(has_content(id, "1"));
    kernel.calls[0] = '\0';
    assert_int_equal(volume_writer_begin_catching_up(&f->writer), 0);
    assert_false(kernel.is_writing);
    assert_true(waits(id));
    volume_writer_end_catching_up(&f->writer);
    assert_string_equal(kernel.calls, " write: open:v forget: write: open:v resume:");
    assert_false(waits(id));
    assert_true(has_content(id, "2"));
}

/* A file that was open through the kernel's pages when it became live. */
static void file_that_is_left_out_catches_up(void **state)
{
    struct fixture *f = *state;
    struct writer_result written;
    struct live_open *open;
    uint64_t id;

    update(f, "a=1");
    open = open_file(find(shown(f, "a")));
    assert_true(live_file_info(kernel.tree, open).is_cached);
    id = mount_alone(f, "a");
    assert_int_equal(begin(f, "a=2"), 0);
    assert_true(volume_writer_is_partial(&f->writer));
    assert_int_equal(end(f, &written), 0);
    assert_true(has_content(id, "1"));
    assert_true(shows(f, "a", "2"));
    assert_int_equal(volume_writer_begin_catching_up(&f->writer), 0);
    assert_true(volume_writer_is_partial(&f->writer));
    volume_writer_end_catching_up(&f->writer);
    assert_true(has_content(id, "1"));
    live_file_close(kernel.tree, open);
    assert_int_equal(volume_writer_begin_catching_up(&f->writer), 0);
    assert_false(volume_writer_is_partial(&f->writer));
    volume_writer_end_catching_up(&f->writer);
    assert_true(has_content(id, "2"));
}

/* ---- the end of a volume */

static void removed_volume_lets_go_of_its_mounts(void **state)
{
    struct fixture *f = *state;
    uint64_t id;
    struct stat stat;

    update(f, "a=1");
    id = mount_alone(f, "a");
    assert_int_equal(begin(f, "a=2"), 0);
    assert_int_equal(volume_writer_remove(&f->writer), 0);
    assert_false(exists("v"));
    assert_false(waits(id));
    assert_true(has_content(id, "1"));
    assert_int_equal(live_mounts_count(f->host.live_mounts, "v"), 0);
    tree_forget(kernel.tree, id, 1);
    assert_int_equal(tree_stat(kernel.tree, id, &stat), -ESTALE);
}

static void volume_without_a_directory_is_removed(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(volume_writer_remove(&f->writer), 0);
    assert_string_equal(kernel.calls, "");
}

/* ---- failures */

/*
 * All that is live has the new content if the result says that readers see it, and else the old
 * one; what was left undone is done by the next update.
 * Return: whether there was an n-th call.
 */
static bool try_update(void **state, unsigned n, bool in_place)
{
    struct fixture *f = *state;
    struct writer_result written = {.generation = ""};
    uint64_t a;
    int r;

    assert_int_equal(teardown(state), 0);
    assert_int_equal(setup(state), 0);
    f->writer.changes_in_place = in_place;
    update(f, "a=1 d/b=1 gone=1");
    a = mount_alone(f, "a");
    kernel.countdown = n;
    r = begin(f, "a=2 d/b=2 new=2");
    if (r == 0)
        r = end(f, &written);
    kernel.countdown = 0;
    assert_false(kernel.is_writing);
    assert_true(r == 0 || r == -EIO || r == -ENOTCONN);
    assert_true(r < 0 || written.generation[0] != '\0');
    assert_true(has_content(a, written.generation[0] != '\0' ? "2" : "1"));
    assert_true(shows(f, "d/b", written.generation[0] != '\0' ? "2" : "1"));
    update(f, "a=3 d/b=3 new=3");
    assert_false(waits(a));
    assert_true(has_content(a, "3"));
    assert_true(shows(f, "a", "3"));
    assert_true(shows(f, "new", "3"));
    assert_false(exists(shown(f, "gone")));
    return kernel.has_failed;
}

static void every_call_may_fail(void **state)
{
    for (unsigned in_place = 0; in_place < 2; in_place++) {
        unsigned n = 1;

        while (try_update(state, n, in_place == 1))
            n++;
        assert_true(n > 8); /* so many calls there are at least */
    }
}

/* The directory is made by the next update. */
static void directory_may_not_be_made(void **state)
{
    struct fixture *f = *state;
    struct writer_result written;

    for (unsigned n = 1; n <= 5; n++) { /* write, mkdir, chown, chmod, stat */
        kernel.countdown = n;
        assert_true(begin(f, "a=1") < 0);
        assert_false(exists("v"));
        assert_int_equal(f->writer.dir.id, 0);
    }
    assert_int_equal(begin(f, "a=1"), 0);
    assert_int_equal(end(f, &written), 0);
    assert_true(shows(f, "a", "1"));
}

struct attempt {
    struct payload *payloads[3];
    bool in_place;
};

static int update_with_little_memory(void *userdata)
{
    static const struct tree_options options = {.root_mode = 0755, .answers_open = true};
    const struct attempt *attempt = userdata;
    struct volume_writer_host host = {.answers_open = true};
    struct volume_writer writer = {.host = &host};
    int r;

    memset(&kernel, 0, sizeof(kernel));
    kernel.has_volumes = true;
    r = tree_new(&options, &kernel.tree);
    host.tree = kernel.tree;
    if (r == 0)
        r = volume_writer_init(&writer, &host, "v");
    writer.changes_in_place = attempt->in_place;
    for (size_t i = 0; i < ELEMENTS_OF(attempt->payloads) && r == 0; i++) {
        struct writer_result written = {.generation = ""};

        r = volume_writer_begin(&writer, attempt->payloads[i]);
        if (r == 0)
            r = volume_writer_end(&writer, &written);
    }
    if (r == 0)
        r = volume_writer_begin_catching_up(&writer);
    if (r == 0)
        volume_writer_end_catching_up(&writer);
    volume_writer_deinit(&writer);
    kernel.tree = tree_free(kernel.tree);
    return r;
}

static void memory_can_be_short(void **state)
{
    struct attempt attempt = {
        .payloads = {payload_make("a=1 d/b=1"), payload_make("a=2 d/n=2"), payload_make("a/x=3")}};

    failmalloc_try(update_with_little_memory, &attempt);
    attempt.in_place = true;
    failmalloc_try(update_with_little_memory, &attempt);
    for (size_t i = 0; i < ELEMENTS_OF(attempt.payloads); i++)
        payload_unref(attempt.payloads[i]);
}

/* ---- the process is killed, and another one continues */

/* A writer of the next process. */
static void renew(struct fixture *f)
{
    volume_writer_deinit(&f->writer);
    assert_int_equal(volume_writer_init(&f->writer, &f->host, "v"), 0);
    f->writer.dir.mode = 0755;
    kernel.countdown = 0;
    kernel.has_failed = false;
}

/* Return: whether there was such a call. */
static bool update_and_kill(struct fixture *f, const char *files, unsigned countdown)
{
    struct writer_result written;
    bool was_killed;

    kernel.kills = true;
    kernel.countdown = countdown;
    if (begin(f, files) == 0)
        end(f, &written);
    was_killed = kernel.has_failed;
    renew(f);
    return was_killed;
}

/* The names in a volume, sorted, generations as "TS". Return: until the next call. */
static const char *list(const char *volume)
{
    static char text[PATH_SIZE];
    _cleanup_(names_deinit) struct names names = {0};
    size_t used = 0;

    assert_int_equal(names_read(&names, kernel.tree, find(volume)), 0);
    names_sort(&names);
    for (size_t i = 0; i < names.n; i++) {
        const char *name = names.all[i].text;

        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i > 0 ? " " : "",
                                 find_generation(name) != NULL ? "TS" : name);
    }
    assert_true(used < sizeof(text));
    return text;
}

/* What the volume shows is one update as a whole, the first or the second one. */
static void check_adopted(struct fixture *f)
{
    _cleanup_(payload_unrefp) struct payload *payload = NULL;
    char generation[GENERATION_NAME_SIZE];
    bool is_new;

    assert_int_equal(
        shown_payload_read(kernel.tree, find("v"), &payload, generation, &(struct error){0}), 0);
    assert_int_equal(volume_writer_adopt(&f->writer, payload), 0);
    assert_int_equal(volume_writer_clean(&f->writer), 0);
    is_new = shows(f, "a", "2");
    assert_int_equal(payload->n_files, 2);
    assert_string_equal(payload->files[1].path, is_new ? "new" : "gone");
    assert_string_equal(list("v"), is_new ? "TS ..data a new" : "TS ..data a gone");
}

/* Return: whether the update had a call of that number. */
static bool try_kill(void **state, unsigned countdown)
{
    struct fixture *f, neighbour;
    uint64_t id;
    bool was_killed;

    teardown(state);
    setup_immutable(state);
    f = *state;
    neighbour = (struct fixture){.host = f->host};
    assert_int_equal(volume_writer_init(&neighbour.writer, &neighbour.host, "w"), 0);
    neighbour.writer.dir.mode = 0755;
    update(&neighbour, "a=neighbour");
    id = find(shown(&neighbour, "a"));
    update(f, "a=1 gone=1");
    was_killed = update_and_kill(f, "a=2 new=2", countdown);
    check_adopted(f);
    update(f, "a=3");
    assert_true(shows(f, "a", "3"));
    assert_int_equal(find(shown(&neighbour, "a")), id);
    assert_string_equal(list("w"), "TS ..data a");
    volume_writer_deinit(&neighbour.writer);
    return was_killed;
}

static void process_may_be_killed_at_every_call(void **state)
{
    unsigned n = 1;

    while (try_kill(state, n))
        n++;
    assert_true(n > 8); /* so many calls there are at least */
}

/* An update does not wait until old generations go where that waits for a scan of mounts: they go
 * between its halves. */
static void earlier_update_is_finished_before_the_next(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = NULL;
    struct fixture *f = *state;
    char generation[GENERATION_NAME_SIZE];
    struct writer_result written;

    update(f, "a=1 gone=1");
    assert_true(update_and_kill(f, "a=2 new=2", 4));
    assert_int_equal(
        shown_payload_read(kernel.tree, find("v"), &payload, generation, &(struct error){0}), 0);
    assert_int_equal(volume_writer_adopt(&f->writer, payload), 0);
    assert_int_equal(begin(f, "a=3"), 0);
    assert_false(f->writer.dir.is_adopted);
    assert_int_equal(volume_writer_clean(&f->writer), 0);
    assert_int_equal(end(f, &written), 0);
    assert_true(shows(f, "a", "3"));
    assert_int_equal(volume_writer_clean(&f->writer), 0);
    assert_string_equal(list("v"), "TS ..data a");
}

/* What a process has left that was killed before the volume showed anything. */
static void remove_unpublished(struct fixture *f)
{
    char *current = NULL;
    uint64_t id;

    assert_int_equal(volume_dir_adopt(&f->writer.dir), 0);
    assert_int_equal(writer_find_current(kernel.tree, f->writer.dir.id, &current, &id), -ENOENT);
    assert_int_equal(volume_writer_remove(&f->writer), 0);
    assert_false(exists("v"));
    renew(f);
}

/* Return: whether the publish had such a call before readers could see it. */
static bool try_kill_first_publish(void **state, unsigned countdown)
{
    struct fixture *f;
    bool was_killed;

    teardown(state);
    setup_immutable(state);
    f = *state;
    was_killed = update_and_kill(f, "a=1", countdown) && !exists("v/..data");
    if (was_killed && exists("v"))
        remove_unpublished(f);
    if (was_killed) {
        update(f, "a=2");
        assert_true(shows(f, "a", "2"));
    }
    return was_killed;
}

static void process_may_be_killed_in_the_first_publish(void **state)
{
    unsigned n = 1;

    while (try_kill_first_publish(state, n))
        n++;
    assert_true(n > 5); /* so many calls there are at least */
}

int main(void)
{
#define TEST(f)           cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TEST_IMMUTABLE(f) cmocka_unit_test_setup_teardown(f, setup_immutable, teardown)
#define TEST_IN_PLACE(f)  cmocka_unit_test_setup_teardown(f, setup_in_place, teardown)
    const struct CMUnitTest tests[] = {
        TEST_IMMUTABLE(nothing_is_prepared_for_immutable_files),
        TEST_IMMUTABLE(old_generations_are_cleaned),
        TEST_IMMUTABLE(directory_of_the_same_name),
        TEST(directory_of_the_same_name),
        TEST_IMMUTABLE(volume_in_the_root),
        TEST(volume_in_the_root),
        TEST(file_that_is_mounted_alone_follows),
        TEST(directory_that_is_mounted_alone_follows),
        TEST(conflict_in_a_directory_that_is_mounted_alone),
        TEST_IN_PLACE(file_of_an_older_generation_follows),
        TEST_IN_PLACE(readers_get_their_time),
        TEST_IN_PLACE(update_that_is_given_up),
        TEST_IN_PLACE(files_change_in_place),
        TEST_IN_PLACE(file_in_place_that_is_mounted_alone),
        TEST_IN_PLACE(conflict_makes_a_new_generation),
        TEST(late_mount_catches_up),
        TEST(file_that_is_left_out_catches_up),
        TEST(removed_volume_lets_go_of_its_mounts),
        TEST(volume_without_a_directory_is_removed),
        TEST(every_call_may_fail),
        TEST(directory_may_not_be_made),
        TEST_IMMUTABLE(process_may_be_killed_at_every_call),
        TEST_IMMUTABLE(process_may_be_killed_in_the_first_publish),
        TEST_IMMUTABLE(earlier_update_is_finished_before_the_next),
        TEST(earlier_update_is_finished_before_the_next),
        cmocka_unit_test(memory_can_be_short),
    };

    return cmocka_run_group_tests_name("volume writer", tests, NULL, NULL);
}

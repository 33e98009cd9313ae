/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer on a tree without a mount: the system calls that it makes are stood in for by what a
 * worker would have answered, so that each of them can be recorded, and made to fail.
 */
#include "fuse/writer.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "tests/unit/assert_between.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/tree_answers.h"

#define DIR_FD    4711 /* the volume's directory; no real descriptor */
#define FS_GROUP  55
#define NAMES_MAX 32

/* ---- the stand-ins */

static struct {
    struct tree *tree;
    char calls[4096];   /* made so far, each with a blank before it; generations are "TS" */
    unsigned countdown; /* the call that makes it 0 fails; 0: none does */
    bool has_failed;
    uint32_t n_given;     /* what getrandom() gives: 1, 2, 3, ... */
    bool suffix_is_stuck; /* or always the same */
} kernel;

static bool is_generation(const char *name)
{
    return name[0] == '.' && name[1] == '.' && name[2] >= '0' && name[2] <= '9';
}

static void note(const char *call, const char *path)
{
    size_t used = strlen(kernel.calls); /* a storm is cut off */
    const char *below = strchr(path, '/');

    snprintf(kernel.calls + used, sizeof(kernel.calls) - used, " %s:%s%s", call,
             is_generation(path) ? "TS" : path, is_generation(path) && below != NULL ? below : "");
}

static bool fails(const char *call, const char *path)
{
    note(call, path);
    if (kernel.countdown == 0 || --kernel.countdown > 0)
        return false;
    kernel.has_failed = true;
    errno = EIO;
    return true;
}

/* Find what is at a path below the volume. Return: 0, ret_stat->st_ino is its id; -errno. */
static int find(const char *path, struct stat *ret_stat)
{
    if (*path == '\0')
        return -ENOENT;
    return tree_find_path(kernel.tree, TREE_ROOT_ID, streq(path, ".") ? "" : path, ret_stat);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
    struct stat stat;

    assert_int_equal(fd, DIR_FD);
    if (fails("mkdir", path))
        return -1;
    return answer_made(kernel.tree,
                       tree_mkdir(kernel.tree, gettid(), TREE_ROOT_ID, path, mode, &stat), &stat);
}

int symlinkat(const char *target, int fd, const char *path)
{
    assert_int_equal(fd, DIR_FD);
    return fails("symlink", path) ? -1 : answer_symlink(kernel.tree, target, path);
}

int renameat(int fd, const char *path, int new_fd, const char *new_path)
{
    assert_int_equal(fd, DIR_FD);
    assert_int_equal(new_fd, DIR_FD);
    if (fails("rename", new_path))
        return -1;
    return answer(tree_rename(kernel.tree, TREE_ROOT_ID, path, TREE_ROOT_ID, new_path));
}

int unlinkat(int fd, const char *path, int flags)
{
    bool is_directory = (flags & AT_REMOVEDIR) != 0;

    assert_int_equal(fd, DIR_FD);
    if (fails(is_directory ? "rmdir" : "unlink", path))
        return -1;
    return answer_unlink(kernel.tree, path, is_directory);
}

int fchmodat(int fd, const char *path, mode_t mode, int flags)
{
    struct stat stat;
    int r;

    assert_int_equal(fd, DIR_FD);
    assert_int_equal(flags, 0);
    if (fails("chmod", path))
        return -1;
    r = find(path, &stat);
    return answer(r == 0 ? tree_chmod(kernel.tree, stat.st_ino, mode) : r);
}

int fchownat(int fd, const char *path, uid_t uid, gid_t gid, int flags)
{
    struct stat stat;
    int r;

    assert_int_equal(fd, DIR_FD);
    assert_int_equal(flags, AT_SYMLINK_NOFOLLOW);
    if (fails("chown", path))
        return -1;
    r = find(path, &stat);
    return answer(r == 0 ? tree_chown(kernel.tree, stat.st_ino, uid, gid) : r);
}

int fstatat(int fd, const char *path, struct stat *stat, int flags)
{
    assert_int_equal(fd, DIR_FD);
    assert_int_equal(flags, AT_SYMLINK_NOFOLLOW);
    if (fails("stat", path))
        return -1;
    return answer(find(path, stat));
}

/* It is always the same second. */
int clock_gettime(clockid_t id, struct timespec *now)
{
    if (id != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, id, now);
    *now = (struct timespec){.tv_sec = 1700000000};
    return 0;
}

ssize_t getrandom(void *bytes, size_t len, unsigned flags)
{
    uint32_t suffix = kernel.suffix_is_stuck ? kernel.n_given : ++kernel.n_given;

    assert_int_equal(len, sizeof(suffix));
    if (fails("getrandom", ""))
        return -1;
    memcpy(bytes, &suffix, sizeof(suffix));
    return (ssize_t)len;
}

/* ---- a volume */

static void begin(gid_t fs_group)
{
    const struct tree_options options = {.gid = fs_group,
                                         .root_mode = fs_group != 0 ? 03777 : 01777};

    memset(&kernel, 0, sizeof(kernel));
    assert_int_equal(tree_new(&options, &kernel.tree), 0);
}

static void end(void)
{
    kernel.tree = tree_free(kernel.tree);
}

/* A payload of paths with blanks between them; each file holds @value. */
static struct payload *make_payload(const char *paths, const char *value)
{
    const struct object like = {.key = {.kind = OBJECT_SECRET, .namespace = "ns", .name = "s"}};
    const struct object_input input = {.key = "k", .text = value, .len = strlen(value)};
    const struct payload_attributes attributes = {
        .mode = 0640, .uid = PAYLOAD_ID_INHERITED, .gid = PAYLOAD_ID_INHERITED};
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    _cleanup_(object_unrefp) struct object *object = NULL;
    _cleanup_(freep) char *copy = strdup(paths);
    char *at = copy, *path;
    struct payload *payload = NULL;

    assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
    assert_int_equal(payload_builder_new(&builder), 0);
    while ((path = strsep(&at, " ")) != NULL)
        if (*path != '\0')
            assert_int_equal(
                payload_builder_add(builder, path, object, &object->entries[0], &attributes, NULL),
                0);
    assert_int_equal(payload_builder_finish(builder, &payload, NULL), 0);
    return payload;
}

static int publish_with(const struct writer_options *options, const char *paths, const char *value,
                        struct writer_result *ret_result)
{
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, value);

    return writer_publish(kernel.tree, DIR_FD, TREE_ROOT_ID, payload, options, ret_result);
}

static int publish(const char *paths, const char *value, struct writer_result *ret_result)
{
    static const struct writer_options options;

    return publish_with(&options, paths, value, ret_result);
}

static int clean(void)
{
    return writer_clean(kernel.tree, DIR_FD, TREE_ROOT_ID);
}

static void publish_well(const char *paths, const char *value)
{
    struct writer_result result = {.generation = ""};

    assert_int_equal(publish(paths, value, &result), 0);
    assert_string_not_equal(result.generation, "");
    assert_int_equal(clean(), 0);
}

/* What a hand, or a crash, left in the root. */
static void plant_link(const char *name, const char *target)
{
    struct stat stat;

    assert_int_equal(tree_symlink(kernel.tree, TREE_ROOT_ID, name, target, &stat), 0);
    tree_forget(kernel.tree, stat.st_ino, 1);
}

static void plant_directory(const char *name)
{
    struct stat stat;

    assert_int_equal(tree_mkdir(kernel.tree, gettid(), TREE_ROOT_ID, name, 0755, &stat), 0);
    tree_forget(kernel.tree, stat.st_ino, 1);
}

/* ---- what it looks like */

struct text {
    char s[1024];
};

static char *read_link(uint64_t id)
{
    char *target = NULL;

    assert_int_equal(tree_readlink(kernel.tree, id, &target), 0);
    return target;
}

struct lines {
    char all[NAMES_MAX][64];
    size_t n;
};

/* "name/" or "name>target", generations as "TS". The tree is locked, so ids are kept. */
static bool add_line(void *userdata, const char *name, const struct stat *stat, uint64_t cookie)
{
    struct lines *l = userdata;

    if (streq(name, ".") || streq(name, ".."))
        return true;
    assert_true(l->n < NAMES_MAX);
    snprintf(l->all[l->n++], sizeof(l->all[0]), "%s%s", is_generation(name) ? "TS" : name,
             S_ISDIR(stat->st_mode) ? "/" : ">");
    return true;
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* All that is in the root, sorted, with a blank before each. */
static struct text layout(void)
{
    struct lines lines = {.n = 0};
    struct text text = {""};

    assert_int_equal(tree_readdir(kernel.tree, TREE_ROOT_ID, 0, false, add_line, &lines), 0);
    qsort(lines.all, lines.n, sizeof(lines.all[0]), compare_lines);
    for (size_t i = 0; i < lines.n; i++) {
        size_t used = strlen(text.s), len = strlen(lines.all[i]);
        _cleanup_(freep) char *target = NULL;
        struct stat stat;
        int n;

        if (lines.all[i][len - 1] == '>') {
            lines.all[i][len - 1] = '\0';
            assert_int_equal(find(lines.all[i], &stat), 0);
            target = read_link(stat.st_ino);
            n = snprintf(text.s + used, sizeof(text.s) - used, " %s>%s", lines.all[i],
                         is_generation(target) ? "TS" : target);
        } else {
            n = snprintf(text.s + used, sizeof(text.s) - used, " %s", lines.all[i]);
        }
        assert_between(n, 1, sizeof(text.s) - used - 1);
    }
    return text;
}

/* Whether what ..data leads to holds these paths, each with this value. */
static bool shows(const char *paths, const char *value)
{
    _cleanup_(freep) char *generation = NULL, *copy = strdup(paths);
    char *at = copy, *path;
    struct stat stat;

    assert_int_equal(find("..data", &stat), 0);
    generation = read_link(stat.st_ino);
    assert_int_equal(find(generation, &stat), 0); /* it never dangles */
    while ((path = strsep(&at, " ")) != NULL) {
        struct file_content content;
        char whole[256];
        bool is_same;

        if (*path == '\0')
            continue;
        snprintf(whole, sizeof(whole), "%s/%s", generation, path);
        if (find(whole, &stat) < 0)
            return false;
        assert_int_equal(tree_read(kernel.tree, stat.st_ino, &content), 0);
        is_same = content.len == strlen(value) && memcmp(content.bytes, value, content.len) == 0;
        object_unref(content.object);
        if (!is_same)
            return false;
    }
    return true;
}

/* ---- which calls, in which order */

/* C1 to C3, D1 to D3: what a watcher sees. */
static void order_of_calls(void **state)
{
    begin(0);
    publish_well("a d/e/f", "1");
    assert_string_equal(kernel.calls, " getrandom: mkdir:TS chmod:TS symlink:..data_tmp "
                                      "rename:..data symlink:a symlink:d");
    assert_string_equal(layout().s, " ..data>TS TS/ a>..data/a d>..data/d"); /* A4, A7 */
    kernel.calls[0] = '\0';
    publish_well("b d/f", "2");
    assert_string_equal(kernel.calls,
                        " getrandom: mkdir:TS chmod:TS symlink:..data_tmp "
                        "symlink:TS/..replaced rename:..data unlink:TS/..replaced symlink:b "
                        "unlink:a stat:TS unlink:TS/a unlink:TS/d/e/f rmdir:TS/d/e rmdir:TS/d "
                        "rmdir:TS");
    assert_string_equal(layout().s, " ..data>TS TS/ b>..data/b d>..data/d"); /* C6 */
    end();
}

/* C4, D9, F15: the permissions pass comes before the switch, the root last. */
static void order_of_calls_with_a_group(void **state)
{
    begin(FS_GROUP);
    publish_well("a", "1");
    assert_string_equal(kernel.calls,
                        " getrandom: mkdir:TS chmod:TS chown:TS chmod:TS chown:. chmod:. "
                        "symlink:..data_tmp rename:..data symlink:a");
    kernel.calls[0] = '\0';
    assert_int_equal(publish("a", "2", &(struct writer_result){.generation = ""}), 0);
    assert_string_equal(kernel.calls,
                        " getrandom: mkdir:TS chmod:TS chown:TS chmod:TS chown:..data chown:a "
                        "chown:TS chmod:TS chown:. chmod:. symlink:..data_tmp "
                        "symlink:TS/..replaced rename:..data unlink:TS/..replaced");
    end();
}

/* A5, A6: a name that is taken is not used again; what has it stays as it is. */
static void name_that_is_taken(void **state)
{
    struct writer_result first = {.generation = ""}, result = {.generation = ""};

    begin(0);
    assert_int_equal(publish("a", "1", &first), 0);
    assert_string_equal(first.generation, "..2023_11_14_22_13_20.1");
    kernel.n_given = 0;
    assert_int_equal(publish("a", "2", &result), 0);
    assert_string_equal(result.generation, "..2023_11_14_22_13_20.2");
    assert_int_equal(clean(), 0);
    kernel.suffix_is_stuck = true;
    kernel.calls[0] = '\0';
    result.generation[0] = '\0';
    assert_int_equal(publish("a", "3", &result), -EEXIST);
    assert_string_equal(result.generation, "");
    assert_true(shows("a", "2"));
    assert_string_equal(layout().s, " ..data>TS TS/ a>..data/a");
    end();
}

/* ---- what a crash or a hand has left */

/* C10, Q5, C13, E6: what makes the kubelet fail, or stays there for ever. */
static void debris_is_cleared_away(void **state)
{
    begin(0);
    publish_well("a gone", "1");
    plant_link("..data_tmp", "..2020_01_01_00_00_00.1");
    plant_directory("..2020_01_01_00_00_00.1");
    plant_link("dangling", "..data/dangling");
    assert_int_equal(tree_unlink(kernel.tree, TREE_ROOT_ID, "gone"), 0);
    publish_well("a", "2");
    assert_string_equal(layout().s, " ..data>TS TS/ a>..data/a");
    assert_true(shows("a", "2"));
    end();
}

/* C5, E5: a link that is missing although its key did not change is made again. */
static void missing_link_is_made(void **state)
{
    begin(0);
    publish_well("a b", "1");
    assert_int_equal(tree_unlink(kernel.tree, TREE_ROOT_ID, "a"), 0);
    publish_well("a b", "2");
    assert_string_equal(layout().s, " ..data>TS TS/ a>..data/a b>..data/b");
    end();
}

/* C12: a real directory in a key's place stays, and is no error; E7: as does what is no link. */
static void directory_in_a_keys_place(void **state)
{
    begin(0);
    plant_directory("a");
    publish_well("a b", "1");
    assert_string_equal(layout().s, " ..data>TS TS/ a/ b>..data/b");
    assert_true(shows("a b", "1"));
    publish_well("b", "2");
    assert_string_equal(layout().s, " ..data>TS TS/ a/ b>..data/b");
    end();
}

/* ---- any call may fail, at any time */

static const struct {
    gid_t group;
    const char *before; /* NULL: it is the first write */
    const char *after;
} updates[] = {
    {0, NULL, "a d/e"},           {0, "a", "a"},  {0, "a b c", "c d/e/f"},
    {0, "d/e d/f g", "d/e"},      {0, "a b", ""}, {FS_GROUP, NULL, "a"},
    {FS_GROUP, "a b", "b d/e/f"},
};

static struct text layout_without_failure(gid_t group, const char *paths)
{
    struct text text;

    begin(group);
    publish_well(paths, "2");
    text = layout();
    end();
    return text;
}

/*
 * C8, C9: readers have the old content whole or the new content whole, and the result says which;
 * and the next publish finishes what was left undone.
 * Return: whether there was an n-th call.
 */
static bool try_update(size_t i, unsigned n, const struct text *expected)
{
    struct writer_result result = {.generation = ""};
    bool is_visible, has_failed;
    int r, cleaned;

    begin(updates[i].group);
    if (updates[i].before != NULL)
        publish_well(updates[i].before, "1");
    kernel.countdown = n;
    r = publish(updates[i].after, "2", &result);
    is_visible = result.generation[0] != '\0';
    cleaned = clean();
    kernel.countdown = 0;
    has_failed = kernel.has_failed;
    assert_true(r == 0 || r == -EIO);
    assert_true(cleaned == 0 || cleaned == -EIO);
    assert_true(r < 0 || is_visible);
    if (is_visible)
        assert_true(shows(updates[i].after, "2"));
    else if (updates[i].before != NULL)
        assert_true(shows(updates[i].before, "1"));
    publish_well(updates[i].after, "2");
    assert_string_equal(layout().s, expected->s);
    assert_true(shows(updates[i].after, "2"));
    end();
    return has_failed;
}

static void every_call_may_fail(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(updates); i++) {
        struct text expected = layout_without_failure(updates[i].group, updates[i].after);
        unsigned n = 1;

        while (try_update(i, n, &expected))
            n++;
        assert_true(n > 5); /* so many calls there are at least */
    }
}

/* ---- live files */

static const struct writer_options all_live = {.is_live = true};

/* The id of a file of the current generation. */
static uint64_t find_in_current(const char *path)
{
    _cleanup_(freep) char *name = NULL;
    struct stat stat;
    uint64_t id;

    assert_int_equal(writer_find_current(kernel.tree, TREE_ROOT_ID, &name, &id), 0);
    assert_int_equal(tree_find_path(kernel.tree, id, path, &stat), 0);
    return stat.st_ino;
}

/* A switch that gives the live files of the current generation @value. */
static struct live_switch *prepare(const char *paths, const char *value)
{
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, value);
    _cleanup_(freep) char *name = NULL;
    struct live_root root = {.path = ""};
    struct live_switch *s = NULL;

    assert_int_equal(writer_find_current(kernel.tree, TREE_ROOT_ID, &name, &root.id), 0);
    assert_int_equal(live_switch_new(kernel.tree, &root, 1, payload, &s), 0);
    return s;
}

static bool has_value(uint64_t id, const char *value)
{
    return tree_has_content(kernel.tree, id, value);
}

static void current_generation_is_found(void **state)
{
    struct writer_result result = {.generation = ""};
    char *name = NULL;
    struct stat stat;
    uint64_t id = 0;

    begin(0);
    assert_int_equal(writer_find_current(kernel.tree, TREE_ROOT_ID, &name, &id), -ENOENT);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(publish("a", "1", &result), 0);
        assert_int_equal(writer_find_current(kernel.tree, TREE_ROOT_ID, &name, &id), 0);
        assert_string_equal(name, result.generation);
        assert_int_equal(find(name, &stat), 0);
        assert_int_equal(id, stat.st_ino);
        free(name);
    }
    assert_int_equal(tree_unlink(kernel.tree, TREE_ROOT_ID, "..data"), 0);
    plant_link("..data", "..2020_01_01_00_00_00.1");
    assert_int_equal(writer_find_current(kernel.tree, TREE_ROOT_ID, &name, &id), -ENOENT);
    assert_int_equal(writer_find_current(kernel.tree, 4711, &name, &id), -ESTALE);
    end();
}

static void files_are_live_if_asked_for(void **state)
{
    struct writer_result result = {.generation = ""};

    begin(0);
    assert_int_equal(publish("a d/b", "1", &result), 0);
    assert_false(live_file_is_live(kernel.tree, find_in_current("a")));
    assert_false(live_file_is_live(kernel.tree, find_in_current("d/b")));
    assert_int_equal(publish_with(&all_live, "a d/b", "2", &result), 0);
    assert_true(live_file_is_live(kernel.tree, find_in_current("a")));
    assert_true(live_file_is_live(kernel.tree, find_in_current("d/b")));
    end();
}

/* Files of an older generation that are live change with the rename of ..data. */
static void publish_commits_a_switch(void **state)
{
    struct writer_options options = {.is_live = false};
    struct writer_result result = {.generation = ""};
    uint64_t old;

    begin(0);
    assert_int_equal(publish_with(&all_live, "a", "1", &result), 0);
    old = find_in_current("a");
    options.live_switch = prepare("a", "2");
    assert_true(has_value(old, "1"));
    assert_int_equal(publish_with(&options, "a", "2", &result), 0);
    assert_true(has_value(old, "2"));
    assert_true(shows("a", "2"));
    assert_int_not_equal(find_in_current("a"), old);
    live_switch_free(options.live_switch);
    end();
}

static int refresh(const char *paths, const char *value, struct live_switch *live_switch,
                   struct writer_result *ret_result)
{
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, value);
    const struct writer_options options = {.is_live = true, .live_switch = live_switch};

    return writer_refresh(kernel.tree, DIR_FD, TREE_ROOT_ID, payload, &options, ret_result);
}

/* ..data is made once more, to the same generation; links follow the payload. */
static void order_of_calls_in_place(void **state)
{
    struct writer_result first = {.generation = ""}, result = {.generation = ""};
    struct live_switch *s;
    uint64_t a, id;

    begin(FS_GROUP);
    assert_int_equal(publish_with(&all_live, "a gone", "1", &first), 0);
    a = find_in_current("a");
    s = prepare("a new", "2");
    kernel.calls[0] = '\0';
    assert_int_equal(refresh("a new", "2", s, &result), 0);
    live_switch_free(s);
    assert_string_equal(kernel.calls, " symlink:..data_tmp rename:..data symlink:new unlink:gone");
    assert_string_equal(result.generation, first.generation);
    assert_true(result.visible_at >= first.visible_at);
    assert_string_equal(layout().s, " ..data>TS TS/ a>..data/a new>..data/new");
    id = find_in_current("a");
    assert_int_equal(id, a);
    assert_true(has_value(a, "2"));
    assert_int_equal(clean(), 0);
    assert_string_equal(layout().s, " ..data>TS TS/ a>..data/a new>..data/new");
    end();
}

/* C10: a stale ..data_tmp is removed first. */
static void debris_is_cleared_away_in_place(void **state)
{
    struct writer_result result = {.generation = ""};

    begin(0);
    assert_int_equal(publish_with(&all_live, "a", "1", &result), 0);
    plant_link("..data_tmp", "..2020_01_01_00_00_00.1");
    assert_int_equal(refresh("a", "1", NULL, &result), 0);
    assert_string_equal(layout().s, " ..data>TS TS/ a>..data/a");
    end();
}

static void nothing_is_refreshed_before_the_first_publish(void **state)
{
    struct writer_result result = {.generation = ""};

    begin(0);
    assert_int_equal(refresh("a", "1", NULL, &result), -ENOENT);
    assert_string_equal(result.generation, "");
    assert_string_equal(kernel.calls, "");
    assert_string_equal(layout().s, "");
    end();
}

/*
 * Live files have their new content if the result says so, and only then.
 * Return: whether there was an n-th call.
 */
static bool try_switch(unsigned n, bool in_place)
{
    struct writer_options options = {.is_live = in_place};
    struct writer_result result = {.generation = ""};
    bool is_visible, has_failed;
    uint64_t old;
    int r;

    begin(FS_GROUP);
    assert_int_equal(publish_with(&all_live, "a b", "1", &result), 0);
    result.generation[0] = '\0';
    old = find_in_current("a");
    options.live_switch = prepare("a c", "2");
    kernel.countdown = n;
    r = in_place ? refresh("a c", "2", options.live_switch, &result)
                 : publish_with(&options, "a c", "2", &result);
    kernel.countdown = 0;
    has_failed = kernel.has_failed;
    is_visible = result.generation[0] != '\0';
    live_switch_free(options.live_switch);
    assert_true(r == 0 || r == -EIO);
    assert_true(r < 0 || is_visible);
    assert_true(has_value(old, is_visible ? "2" : "1"));
    /* and no later rename commits it */
    assert_int_equal(publish("a c", "3", &result), 0);
    assert_true(has_value(old, is_visible ? "2" : "1"));
    assert_int_equal(clean(), 0);
    assert_string_equal(layout().s, " ..data>TS TS/ a>..data/a c>..data/c");
    end();
    return has_failed;
}

static void every_call_may_fail_with_live_files(void **state)
{
    for (unsigned in_place = 0; in_place < 2; in_place++) {
        unsigned n = 1;

        while (try_switch(n, in_place == 1))
            n++;
        assert_true(n > 4);
    }
}

static int publish_twice(void *userdata)
{
    static const struct writer_options live = {.is_live = true};
    const struct tree_options options = {.gid = FS_GROUP, .root_mode = 03777};
    struct writer_result result = {.generation = ""};
    struct payload *const *payloads = userdata;
    char *current;
    uint64_t id;
    int r;

    memset(&kernel, 0, sizeof(kernel));
    r = tree_new(&options, &kernel.tree);
    if (r < 0)
        return r;
    for (size_t i = 0; i < 2 && r == 0; i++)
        r = writer_publish(kernel.tree, DIR_FD, TREE_ROOT_ID, payloads[i], &live, &result);
    if (r == 0)
        r = clean();
    if (r == 0)
        r = writer_refresh(kernel.tree, DIR_FD, TREE_ROOT_ID, payloads[0], &live, &result);
    if (r == 0)
        r = writer_find_current(kernel.tree, TREE_ROOT_ID, &current, &id);
    if (r == 0)
        free(current);
    end();
    return r;
}

static void memory_can_be_short(void **state)
{
    struct payload *payloads[] = {make_payload("a d/e", "1"), make_payload("b d/f", "2")};

    failmalloc_try(publish_twice, payloads);
    for (size_t i = 0; i < ELEMENTS_OF(payloads); i++)
        payload_unref(payloads[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_calls),
        cmocka_unit_test(order_of_calls_with_a_group),
        cmocka_unit_test(name_that_is_taken),
        cmocka_unit_test(debris_is_cleared_away),
        cmocka_unit_test(missing_link_is_made),
        cmocka_unit_test(directory_in_a_keys_place),
        cmocka_unit_test(every_call_may_fail),
        cmocka_unit_test(current_generation_is_found),
        cmocka_unit_test(files_are_live_if_asked_for),
        cmocka_unit_test(publish_commits_a_switch),
        cmocka_unit_test(order_of_calls_in_place),
        cmocka_unit_test(debris_is_cleared_away_in_place),
        cmocka_unit_test(nothing_is_refreshed_before_the_first_publish),
        cmocka_unit_test(every_call_may_fail_with_live_files),
        cmocka_unit_test(memory_can_be_short),
    };

    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}

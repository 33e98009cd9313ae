/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Updates of a volume by a sequence of the input's choice, of which each system call may fail. What
 * readers see is at any time all of one payload: the old one until the writer reports the new one
 * as visible. An update without a failure leaves its links alone, and clean its generation alone.
 */
#include <fcntl.h>
#include <unistd.h>

#include "fuse/writer.h"

#include "tests/unit/tree_answers.h"

#define DIR_FD 4711 /* no real descriptor */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const paths[] = {"a", "b", "d/x", "d/y", "d-z", "e/f/g", ".hidden"};

#define ALL_PATHS ((1u << ELEMENTS_OF(paths)) - 1)

/* A payload: some of the paths, each with one value. */
struct content {
    unsigned mask; /* 0: none was published yet */
    char value[2];
};

static struct {
    struct tree *tree;
    const uint8_t *at, *end; /* of the input */
    unsigned countdown;      /* the call that makes it 0 fails; 0: none does */
    struct content shown;
} run;

static uint8_t take_byte(void)
{
    return run.at < run.end ? *run.at++ : 0;
}

/* ---- the system calls, as a worker would answer them */

static bool fails(void)
{
    if (run.countdown == 0 || --run.countdown > 0)
        return false;
    errno = EIO;
    return true;
}

static int find_node(const char *path, struct stat *ret_stat)
{
    return tree_find_path(run.tree, TREE_ROOT_ID, streq(path, ".") ? "" : path, ret_stat);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
    const char *name;
    uint64_t parent;
    struct stat stat;
    int r = find_parent(run.tree, path, &parent, &name);

    assert(fd == DIR_FD);
    if (fails())
        return -1;
    if (r == 0)
        r = tree_mkdir(run.tree, gettid(), parent, name, mode, &stat);
    return answer_made(run.tree, r, &stat);
}

int symlinkat(const char *target, int fd, const char *path)
{
    assert(fd == DIR_FD);
    return fails() ? -1 : answer_symlink(run.tree, target, path);
}

int renameat(int fd, const char *path, int new_fd, const char *new_path)
{
    assert(fd == DIR_FD && new_fd == DIR_FD);
    return fails() ? -1 : answer(tree_rename(run.tree, TREE_ROOT_ID, path, TREE_ROOT_ID, new_path));
}

int unlinkat(int fd, const char *path, int flags)
{
    assert(fd == DIR_FD);
    return fails() ? -1 : answer_unlink(run.tree, path, (flags & AT_REMOVEDIR) != 0);
}

int fchmodat(int fd, const char *path, mode_t mode, int flags)
{
    struct stat stat;
    int r = find_node(path, &stat);

    assert(fd == DIR_FD && flags == 0);
    return fails() ? -1 : answer(r == 0 ? tree_chmod(run.tree, stat.st_ino, mode) : r);
}

int fchownat(int fd, const char *path, uid_t uid, gid_t gid, int flags)
{
    struct stat stat;
    int r = find_node(path, &stat);

    assert(fd == DIR_FD && flags == AT_SYMLINK_NOFOLLOW);
    return fails() ? -1 : answer(r == 0 ? tree_chown(run.tree, stat.st_ino, uid, gid) : r);
}

int fstatat(int fd, const char *path, struct stat *stat, int flags)
{
    assert(fd == DIR_FD && flags == AT_SYMLINK_NOFOLLOW);
    return fails() ? -1 : answer(find_node(path, stat));
}

/* ---- what readers see */

static bool shows(const char *generation, const char *path, const char *value)
{
    char whole[128];
    struct file_content content;
    struct stat stat;
    bool is_same;

    snprintf(whole, sizeof(whole), "%s/%s", generation, path);
    if (find_node(whole, &stat) < 0)
        return false;
    if (tree_read(run.tree, stat.st_ino, &content) < 0)
        return false;
    is_same = content.len == 1 && content.bytes[0] == (uint8_t)value[0];
    object_unref(content.object);
    return is_same;
}

static void check_shown(void)
{
    char *generation = NULL;
    uint64_t id;
    int r = writer_find_current(run.tree, TREE_ROOT_ID, &generation, &id);

    if (run.shown.mask == 0) {
        assert(r == -ENOENT);
        return;
    }
    assert(r == 0);
    for (size_t i = 0; i < ELEMENTS_OF(paths); i++)
        assert(shows(generation, paths[i], run.shown.value) == ((run.shown.mask >> i & 1) != 0));
    free(generation);
}

static bool is_wanted(const char *name, size_t len)
{
    for (size_t i = 0; i < ELEMENTS_OF(paths); i++)
        if ((run.shown.mask >> i & 1) != 0 && strncmp(paths[i], name, len) == 0 &&
            strcspn(paths[i], "/") == len)
            return true;
    return false;
}

static void check_links(void)
{
    struct stat stat;

    for (size_t i = 0; i < ELEMENTS_OF(paths); i++) {
        size_t len = strcspn(paths[i], "/");
        char name[16];

        snprintf(name, sizeof(name), "%.*s", (int)len, paths[i]);
        assert((find_node(name, &stat) == 0) == is_wanted(name, len));
    }
    assert(find_node("..data_tmp", &stat) == -ENOENT);
}

static bool count_generation(void *userdata, const char *name, const struct stat *stat,
                             uint64_t cookie)
{
    size_t *n = userdata;

    *n += S_ISDIR(stat->st_mode) && !streq(name, ".") && !streq(name, "..");
    return true;
}

static size_t count_generations(void)
{
    size_t n = 0;

    tree_readdir(run.tree, TREE_ROOT_ID, 0, false, count_generation, &n);
    return n;
}

/* ---- the steps */

static struct payload *make_payload(const struct content *content)
{
    const struct object like = {.key = {.kind = OBJECT_SECRET, .namespace = "ns", .name = "s"}};
    const struct object_input input = {.key = "k", .text = content->value, .len = 1};
    const struct payload_attributes attributes = {
        .mode = 0640, .uid = PAYLOAD_ID_INHERITED, .gid = PAYLOAD_ID_INHERITED};
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    _cleanup_(object_unrefp) struct object *object = NULL;
    struct payload *payload = NULL;
    int r = object_new(&like, &input, 1, &object, NULL);

    if (r == 0)
        r = payload_builder_new(&builder);
    for (size_t i = 0; i < ELEMENTS_OF(paths) && r == 0; i++)
        if ((content->mask >> i & 1) != 0)
            r = payload_builder_add(builder, paths[i], object, &object->entries[0], &attributes,
                                    NULL);
    if (r == 0)
        r = payload_builder_finish(builder, &payload, NULL);
    assert(r == 0);
    return payload;
}

static void publish(void)
{
    static const struct writer_options options;
    struct content content = {.mask = take_byte() & ALL_PATHS, .value = "0"};
    struct writer_result result = {.generation = ""};
    struct payload *payload;
    int r;

    content.mask |= content.mask == 0;
    content.value[0] = (char)('a' + take_byte() % 26);
    run.countdown = take_byte() % 64;
    payload = make_payload(&content);
    r = writer_publish(run.tree, DIR_FD, TREE_ROOT_ID, payload, &options, &result);
    run.countdown = 0;
    payload_unref(payload);
    if (result.generation[0] != '\0')
        run.shown = content;
    assert(r < 0 || result.generation[0] != '\0');
    check_shown();
    if (r == 0)
        check_links();
}

static void clean(void)
{
    int r;

    run.countdown = take_byte() % 32;
    r = writer_clean(run.tree, DIR_FD, TREE_ROOT_ID);
    run.countdown = 0;
    check_shown();
    assert(r < 0 || count_generations() == (run.shown.mask != 0));
}

static void finish(void)
{
    int r;

    run.countdown = take_byte() % 32;
    r = writer_finish(run.tree, DIR_FD, TREE_ROOT_ID);
    run.countdown = 0;
    check_shown();
    if (r == 0)
        check_links();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tree_options options = {.root_mode = 01777};

    memset(&run, 0, sizeof(run));
    run.at = data;
    run.end = data + size;
    options.root_mode = take_byte() % 2 == 0 ? 01777 : 03777; /* the latter has an fsGroup */
    if (tree_new(&options, &run.tree) < 0)
        return 0;
    while (run.at < run.end)
        switch (take_byte() % 4) {
        case 0:
        case 1:
            publish();
            break;
        case 2:
            clean();
            break;
        case 3:
            finish();
            break;
        }
    tree_free(run.tree);
    return 0;
}

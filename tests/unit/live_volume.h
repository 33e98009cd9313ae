/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A tree with a volume of live files, for tests, which close all that they open. For inclusion
 * behind <cmocka.h>.
 */
#include "fuse/live_switch.h"
#include "tests/unit/make_payload.h"

#define READER 11 /* a thread */
#define OTHER  12

struct live_volume {
    struct tree *tree;
    uint64_t volume; /* "v" in the root, with a link "l" */
    uint64_t generation;
    uint64_t a, b, c; /* a, d/b, d/e/c with "one", "two", "three" */
};

static inline uint64_t find(struct tree *tree, uint64_t directory, const char *path)
{
    struct stat stat;

    assert_int_equal(tree_find_path(tree, directory, path, &stat), 0);
    return stat.st_ino;
}

/* Return: the id of the directory @name in @parent, with a reference. */
static inline uint64_t make_generation(struct tree *tree, uint64_t parent, const char *name,
                                       const char *files, bool is_live)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make(files);
    struct stat stat;

    assert_int_equal(tree_stage(tree, name, payload, is_live), 0);
    assert_int_equal(tree_mkdir(tree, gettid(), parent, name, 0755, &stat), 0);
    assert_int_equal(tree_stage(tree, name, NULL, false), 0);
    return stat.st_ino;
}

static inline int live_volume_setup(void **state)
{
    static const struct tree_options options = {.root_mode = 0755, .answers_open = true};
    static struct live_volume v;
    struct stat stat;

    v = (struct live_volume){0};
    assert_int_equal(tree_new(&options, &v.tree), 0);
    assert_int_equal(tree_mkdir(v.tree, gettid(), TREE_ROOT_ID, "v", 0755, &stat), 0);
    v.volume = stat.st_ino;
    assert_int_equal(tree_symlink(v.tree, v.volume, "l", "t", &stat), 0);
    v.generation = make_generation(v.tree, v.volume, "g", "a=one d/b=two d/e/c=three", true);
    v.a = find(v.tree, v.generation, "a");
    v.b = find(v.tree, v.generation, "d/b");
    v.c = find(v.tree, v.generation, "d/e/c");
    *state = &v;
    return 0;
}

static inline int live_volume_teardown(void **state)
{
    struct live_volume *v = *state;

    v->tree = tree_free(v->tree);
    return 0;
}

/* ---- open files */

static inline struct live_open *open_as(struct live_volume *v, uint64_t id, pid_t thread)
{
    struct live_open *open = NULL;

    assert_int_equal(live_file_open(v->tree, id,
                                    &(struct live_opener){.thread = thread, .may_wait = true},
                                    &open),
                     0);
    return open;
}

static inline struct live_open *open_file(struct live_volume *v, uint64_t id)
{
    return open_as(v, id, READER);
}

/* Of an immutable file. */
static inline struct live_open *open_cached(struct live_volume *v, uint64_t id)
{
    struct live_open *open = open_file(v, id);

    assert_true(live_file_info(v->tree, open).is_cached);
    return open;
}

static inline void assert_reads(struct live_volume *v, uint64_t id, struct live_open *open,
                                size_t offset, size_t size, const char *text)
{
    struct file_content part;

    assert_int_equal(live_file_read(v->tree, open, offset, size, &part), 0);
    assert_int_equal(part.len, strlen(text));
    assert_memory_equal(part.bytes, text, part.len);
    object_unref(part.object);
}

/* All of it is read. */
static inline void assert_has(struct live_volume *v, uint64_t id, struct live_open *open,
                              const char *text)
{
    struct stat stat = {.st_ino = id};

    assert_non_null(open);
    live_open_stat(open, &stat);
    assert_int_equal(stat.st_size, strlen(text));
    assert_reads(v, id, open, 0, 100, text);
}

static inline void assert_opens_with(struct live_volume *v, uint64_t id, const char *text)
{
    struct live_open *open = open_file(v, id);

    assert_has(v, id, open, text);
    live_file_close(v->tree, open);
}

static inline void assert_waits(struct live_volume *v, uint64_t id)
{
    struct live_open *open;

    assert_int_equal(live_file_open(v->tree, id,
                                    &(struct live_opener){.thread = READER, .may_wait = true},
                                    &open),
                     -EAGAIN);
}

static inline bool is_settled(struct live_volume *v, uint64_t id)
{
    return live_file_is_settled(v->tree, id);
}

/* ---- switches of the whole generation */

static inline struct live_switch *prepare(struct live_volume *v, const char *files)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make(files);
    const struct live_root root = {.id = v->generation, .path = ""};
    struct live_switch *s = NULL;

    assert_int_equal(live_switch_new(v->tree, &root, 1, payload, &s), 0);
    return s;
}

/* Commit it, and end it. */
static inline void finish(struct live_volume *v, struct live_switch *s_consumed)
{
    live_switch_commit(s_consumed);
    live_switch_free(s_consumed);
}

static inline void change(struct live_volume *v, const char *files)
{
    finish(v, prepare(v, files));
}

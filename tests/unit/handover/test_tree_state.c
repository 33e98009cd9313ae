/* SPDX-License-Identifier: Apache-2.0 */
/* Each change of a tree is followed by reading the state as a process would that finds it then. */
#include "handover/tree_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "fuse/live_switch.h"
#include "fuse/tree.h"
#include "handover/tree_recorder.h"
#include "tests/unit/make_payload.h"

#define SIZE ((size_t)256 * 1024)

static const struct tree_options options = {.uid = 7, .gid = 8, .root_mode = 01777};

struct fixture {
    struct tree *tree;
    struct tree_recorder recorder;
    uint8_t *memory;
    struct state state;
    unsigned n_low;
    unsigned n_facts;
};

static void on_low(void *userdata)
{
    struct fixture *f = userdata;

    f->n_low++;
}

static void add_fact(void *userdata, struct state *state)
{
    struct fixture *f = userdata;

    f->n_facts++;
    state_append(state, TREE_STATE_TYPE_MAX + 1, "fact", 4, NULL, 0);
}

static void begin_state(struct fixture *f, uint64_t size, uint64_t number)
{
    f->memory = calloc(1, size);
    state_create(&f->state, f->memory, size, number, "1.2.3");
}

static uint64_t requested_bytes;

static void request_room(void *userdata, uint64_t bytes)
{
    requested_bytes = bytes;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct state *old = NULL;

    assert_int_equal(tree_new(&options, &f->tree), 0);
    tree_recorder_init(&f->recorder, tree_nodes(f->tree), on_low, request_room, f);
    begin_state(f, SIZE, 1);
    assert_int_equal(tree_recorder_switch(&f->recorder, &f->state, add_fact, f, &old), 0);
    assert_null(old);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    tree_recorder_deinit(&f->recorder);
    tree_free(f->tree);
    free(f->memory);
    free(f);
    return 0;
}

/* ---- a tree as text */

static void describe(struct buf *text, const struct node *n)
{
    char line[1024];

    snprintf(line, sizeof(line), "%llu in %llu \"%s\" %llu kind %d %o %u:%u %lld.%ld",
             (unsigned long long)n->id, (unsigned long long)(n->parent != NULL ? n->parent->id : 0),
             n->name != NULL ? n->name : "",
             (unsigned long long)(n->parent != NULL ? n->cookie : 0), (int)n->kind, n->mode, n->uid,
             n->gid, (long long)n->changed.tv_sec, n->changed.tv_nsec);
    assert_int_equal(buf_add(text, line, strlen(line)), 0);
    if (n->kind == NODE_DIRECTORY)
        snprintf(line, sizeof(line), " next %llu children %zu directories %zu\n",
                 (unsigned long long)n->directory.next_cookie, n->directory.n_children,
                 n->directory.n_subdirectories);
    else if (n->kind == NODE_LINK)
        snprintf(line, sizeof(line), " -> %s%s\n", n->target, n->is_unlisted ? " unlisted" : "");
    else
        snprintf(line, sizeof(line), " \"%.*s\" %zu held for %llu cached %u live %lld\n",
                 n->file.content.object != NULL ? (int)n->file.content.len : 0,
                 n->file.content.object != NULL ? (const char *)n->file.content.bytes : "",
                 n->file.content.len, (unsigned long long)held_volume(&n->file.held),
                 n->file.n_cached_opens,
                 n->file.live != NULL ? (long long)n->file.live->version : -1);
    assert_int_equal(buf_add(text, line, strlen(line)), 0);
}

static void describe_live(struct buf *text, const struct node_live *live)
{
    const struct node_version *v;
    char line[1024];

    snprintf(line, sizeof(line), "  opens %u unread %u older %u presence %d unannounced %d\n",
             live->n_opens, live->n_unread, live->n_older_opens, (int)live->presence,
             live->is_unannounced);
    assert_int_equal(buf_add(text, line, strlen(line)), 0);
    list_for_each (v, &live->versions, link) {
        snprintf(line, sizeof(line), "  version %llu \"%.*s\" %zu opens %u shown %u\n",
                 (unsigned long long)v->number, v->content.object != NULL ? (int)v->content.len : 0,
                 v->content.object != NULL ? (const char *)v->content.bytes : "", v->content.len,
                 v->n_opens, v->n_shown);
        assert_int_equal(buf_add(text, line, strlen(line)), 0);
    }
}

/* Open files of nodes that are gone are not taken over. */
static void describe_opens(struct buf *text, struct node_table *t)
{
    char line[1024];

    for (uint32_t i = 0; i < t->opens.n_slots; i++) {
        const struct open_file *file = open_table_at(&t->opens, i);

        if (file == NULL || node_by_id(t, file->node) == NULL)
            continue;
        snprintf(line, sizeof(line), "open %llx of %llu version %llu by %d request %llu flags %x\n",
                 (unsigned long long)file->handle, (unsigned long long)file->node,
                 (unsigned long long)file->version, file->thread, (unsigned long long)file->unique,
                 file->flags);
        assert_int_equal(buf_add(text, line, strlen(line)), 0);
    }
}

static char *describe_tree(struct tree *tree)
{
    struct node_table *t = tree_nodes(tree);
    struct buf text = BUF_INIT(65536);
    char line[128];

    for (uint64_t id = 1; id < t->next_id; id++) {
        const struct node *n = node_by_id(t, id);

        if (n != NULL)
            describe(&text, n);
        if (n != NULL && n->kind == NODE_FILE && n->file.live != NULL)
            describe_live(&text, n->file.live);
    }
    describe_opens(&text, t);
    snprintf(line, sizeof(line), "nodes %zu content %zu held %zu\n", t->n_nodes, t->content_bytes,
             t->held.bytes);
    assert_int_equal(buf_add(&text, line, strlen(line)), 0);
    return text.data;
}

/* What the next process would make of the state. */
static struct tree *read_tree(const struct fixture *f)
{
    _cleanup_(freep) uint8_t *copy = malloc(SIZE);
    struct tree *tree = NULL;
    struct state state;
    struct error e = ERROR_INIT;

    memcpy(copy, f->memory, SIZE);
    assert_int_equal(tree_new(&(struct tree_options){.root_mode = 0700}, &tree), 0);
    assert_int_equal(state_open(&state, copy, SIZE, &e), 0);
    if (tree_state_read(&state, tree_nodes(tree), &e) < 0)
        fail_msg("%s", e.text);
    return tree;
}

static void check(struct fixture *f)
{
    struct tree *read = read_tree(f);
    char *expected = describe_tree(f->tree), *found = describe_tree(read);

    assert_string_equal(found, expected);
    free(expected);
    free(found);
    live_file_close_all(read);
    tree_free(read);
}

/* ---- changes, each of which is checked */

static uint64_t make_generation(struct fixture *f, const char *name, const char *files)
{
    struct payload *payload = payload_make(files);
    struct stat stat;

    assert_int_equal(tree_stage(f->tree, name, payload, false), 0);
    assert_int_equal(tree_mkdir(f->tree, gettid(), TREE_ROOT_ID, name, 0700, &stat), 0);
    assert_int_equal(tree_stage(f->tree, name, NULL, false), 0);
    payload_unref(payload);
    check(f);
    return stat.st_ino;
}

static void make_link(struct fixture *f, uint64_t parent, const char *name, const char *target)
{
    struct stat stat;

    assert_int_equal(tree_symlink(f->tree, parent, name, target, &stat), 0);
    check(f);
    tree_forget(f->tree, stat.st_ino, 1);
    check(f);
}

static void publish(struct fixture *f, const char *generation, const char *files)
{
    uint64_t id = make_generation(f, generation, files);

    assert_int_equal(tree_chmod(f->tree, id, 0755), 0);
    assert_int_equal(tree_chown(f->tree, id, 4, 5), 0);
    check(f);
    make_link(f, TREE_ROOT_ID, "..data_tmp", generation);
    assert_int_equal(tree_rename(f->tree, TREE_ROOT_ID, "..data_tmp", TREE_ROOT_ID, "..data"), 0);
    check(f);
}

static uint64_t look_up(struct fixture *f, uint64_t parent, const char *name)
{
    struct stat stat;

    assert_int_equal(tree_lookup(f->tree, parent, name, &stat), 0);
    return stat.st_ino;
}

static bool contains(const struct fixture *f, const char *text)
{
    return memmem(f->memory, SIZE, text, strlen(text)) != NULL;
}

static void test_updates(void **state)
{
    struct fixture *f = *state;
    uint64_t first, file;

    check(f);
    publish(f, "..1", "a=dummy-1 d/e/b=dummy-2");
    make_link(f, TREE_ROOT_ID, "a", "..data/a");
    make_link(f, TREE_ROOT_ID, "d", "..data/d");
    first = look_up(f, TREE_ROOT_ID, "..1");
    file = look_up(f, first, "a");
    publish(f, "..2", "a=dummy-3 d/e/b=dummy-2");
    make_link(f, first, "..replaced", ".");
    assert_int_equal(tree_unlink(f->tree, first, "..replaced"), 0);
    assert_int_equal(tree_unlink(f->tree, first, "a"), 0);
    check(f); /* the reader of the file holds it */
    assert_true(contains(f, "dummy-1"));
    tree_forget(f->tree, file, 1);
    check(f);
    assert_false(contains(f, "dummy-1")); /* overwritten at once */
    assert_true(contains(f, "dummy-3"));
}

static void test_what_the_kernel_holds_of_an_unlinked_directory(void **state)
{
    struct fixture *f = *state;
    uint64_t top = make_generation(f, "..1", "a=dummy-1 d/e/b=dummy-2");
    uint64_t d = look_up(f, top, "d"), e = look_up(f, d, "e"), b = look_up(f, e, "b");

    tree_forget(f->tree, e, 1);
    tree_forget(f->tree, d, 1);
    tree_detach(f->tree, top);
    check(f);
    tree_forget(f->tree, top, 1);
    check(f);
    tree_forget(f->tree, b, 1);
    check(f);
    assert_false(contains(f, "dummy-1") || contains(f, "dummy-2"));
}

static void test_live_files(void **state)
{
    struct fixture *f = *state;
    uint64_t top = make_generation(f, "..1", "a=dummy-1 b=dummy-2");
    uint64_t a = look_up(f, top, "a"), b = look_up(f, top, "b");
    struct payload *payload = payload_make("a=dummy-3");

    assert_int_equal(live_file_make(f->tree, a), 0);
    check(f);
    {
        const struct file_content content = {.object = payload->files[0].object,
                                             .bytes = payload->files[0].bytes,
                                             .len = payload->files[0].len};
        struct node_table *t = tree_nodes(f->tree);

        NODE_TABLE_GUARD(t);
        node_set_content(t, node_by_id(t, a), &content);
        node_by_id(t, a)->file.live->version++;
    }
    check(f);
    assert_false(contains(f, "dummy-1"));
    assert_int_equal(tree_exchange(f->tree, top, "a", top, "b"), 0);
    check(f);
    tree_forget(f->tree, b, 1);
    payload_unref(payload);
}

/* ---- open files */

static uint64_t n_requests; /* so far; the kernel numbers them in steps of 2 */

static struct live_open *open_by(struct fixture *f, uint64_t id, pid_t thread)
{
    const struct live_opener opener = {
        .unique = ++n_requests * 2, .thread = thread, .may_wait = true};
    struct live_open *open = NULL;

    assert_int_equal(live_file_open(f->tree, id, &opener, &open), 0);
    check(f);
    return open;
}

static void close_it(struct fixture *f, struct live_open *open)
{
    live_file_close(f->tree, open);
    check(f);
}

static void read_it(struct fixture *f, struct live_open *open)
{
    struct file_content part;

    assert_int_equal(live_file_read(f->tree, open, 0, 1 << 20, &part), 0);
    object_unref(part.object);
    check(f);
}

static void switch_content(struct fixture *f, uint64_t top, const char *files)
{
    struct payload *payload = payload_make(files);
    const struct live_root root = {.id = top, .path = "", .volume = TREE_ROOT_ID};
    struct live_switch *s = NULL;

    assert_int_equal(live_switch_new(f->tree, &root, 1, payload, &s), 0);
    check(f);
    live_switch_commit(s);
    check(f);
    live_switch_free(s);
    payload_unref(payload);
    check(f);
}

static void test_open_files(void **state)
{
    struct fixture *f = *state;
    uint64_t top = make_generation(f, "..1", "a=dummy-1 b=dummy-b"), a, b;
    struct live_open *cached, *first, *second, *third;

    a = look_up(f, top, "a");
    b = look_up(f, top, "b");
    cached = open_by(f, b, 5);
    assert_int_equal(live_file_make(f->tree, top), 0);
    check(f);
    first = open_by(f, a, 6);
    read_it(f, first);
    switch_content(f, top, "a=dummy-2 b=dummy-b");
    assert_true(contains(f, "dummy-1"));
    live_file_announce(f->tree, a);
    check(f);
    second = open_by(f, a, 6);
    live_file_flush(f->tree, second);
    live_file_note_pages(f->tree, second);
    check(f);
    switch_content(f, top, "a=dummy-3");
    third = open_by(f, a, 7);
    close_it(f, first);
    assert_false(contains(f, "dummy-1"));
    assert_true(contains(f, "dummy-2"));
    close_it(f, cached);
    tree_forget(f->tree, b, 1);
    close_it(f, third);
    close_it(f, second);
    assert_false(contains(f, "dummy-2"));
    tree_forget(f->tree, a, 1);
}

/* The places grow, and go into the next state. */
static void test_many_open_files(void **state)
{
    struct fixture *f = *state;
    uint64_t top = make_generation(f, "..1", "a=dummy-1"), a = look_up(f, top, "a");
    uint8_t *before = f->memory;
    struct live_open *opens[300];
    struct state *old = NULL;

    assert_int_equal(live_file_make(f->tree, a), 0);
    for (size_t i = 0; i < ELEMENTS_OF(opens); i++) {
        opens[i] = open_by(f, a, (pid_t)i);
        if (i % 50 == 49)
            switch_content(f, top, i % 100 == 49 ? "a=dummy-2" : "a=dummy-1");
    }
    begin_state(f, SIZE, 2);
    assert_int_equal(tree_recorder_switch(&f->recorder, &f->state, add_fact, f, &old), 0);
    check(f);
    free(before);
    for (size_t i = 0; i < ELEMENTS_OF(opens); i++)
        close_it(f, opens[i * 7 % ELEMENTS_OF(opens)]);
    tree_forget(f->tree, a, 1);
}

/* RELEASE comes after FORGET: the next process does not take it over. */
static void test_open_file_of_a_freed_node(void **state)
{
    struct fixture *f = *state;
    uint64_t top = make_generation(f, "..1", "a=dummy-1"), a = look_up(f, top, "a");
    struct live_open *open;

    assert_int_equal(live_file_make(f->tree, a), 0);
    open = open_by(f, a, 6);
    switch_content(f, top, "a=dummy-2");
    assert_int_equal(tree_unlink(f->tree, top, "a"), 0);
    check(f);
    tree_forget(f->tree, a, 1);
    tree_free(read_tree(f));
    close_it(f, open);
    assert_false(contains(f, "dummy-1"));
}

/* A version that lost its content to a limit stays lost. */
static void test_dropped_version(void **state)
{
    struct fixture *f = *state;
    uint64_t top = make_generation(f, "..1", "a=dummy-1"), a = look_up(f, top, "a");
    struct file_content part;
    struct live_open *open;

    assert_int_equal(live_file_make(f->tree, a), 0);
    open = open_by(f, a, 6);
    switch_content(f, top, "a=dummy-2");
    {
        struct node_table *t = tree_nodes(f->tree);

        NODE_TABLE_GUARD(t);
        t->held.bytes += HELD_BYTES_MAX;
        held_limit(&t->held, TREE_ROOT_ID);
        t->held.bytes -= HELD_BYTES_MAX;
    }
    assert_int_equal(live_file_read(f->tree, open, 0, 10, &part), -ESTALE);
    assert_false(contains(f, "dummy-1"));
    check(f);
    close_it(f, open);
    tree_forget(f->tree, a, 1);
}

/* What an update has made, and what it has not removed yet. */
static void test_names_of_live_files(void **state)
{
    struct fixture *f = *state;
    uint64_t top = make_generation(f, "..1", "a=dummy-1");
    struct payload *payload = payload_make("b=dummy-b");
    const struct staged_node staged = {.file = &payload->files[0]};
    struct stat stat;

    assert_int_equal(live_file_make(f->tree, top), 0);
    tree_stage_node(f->tree, &staged);
    assert_int_equal(tree_mknod(f->tree, gettid(), top, "b", &stat), 0);
    tree_stage_node(f->tree, NULL);
    check(f);
    assert_false(live_file_is_shown(f->tree, stat.st_ino));
    switch_content(f, top, "b=dummy-b");
    assert_true(live_file_is_shown(f->tree, stat.st_ino));
    assert_int_equal(tree_find(f->tree, top, "a", &stat), 0);
    assert_false(live_file_is_shown(f->tree, stat.st_ino));
    payload_unref(payload);
}

static void test_next_state(void **state)
{
    struct fixture *f = *state;
    uint8_t *before = f->memory;
    struct state *old = NULL, next, *previous = &f->state;
    uint64_t first;

    publish(f, "..1", "a=dummy-1");
    first = look_up(f, TREE_ROOT_ID, "..1");
    look_up(f, first, "a");
    publish(f, "..2", "a=dummy-2");
    assert_int_equal(tree_unlink(f->tree, first, "a"), 0);
    f->memory = calloc(1, SIZE);
    state_create(&next, f->memory, SIZE, 2, "1.2.3");
    assert_int_equal(tree_recorder_switch(&f->recorder, &next, add_fact, f, &old), 0);
    assert_ptr_equal(old, previous);
    check(f);
    assert_true(contains(f, "fact") && contains(f, "dummy-1"));
    assert_true(state_used_bytes(&next) < tree_recorder_bytes_needed(&f->recorder) + 1024);
    publish(f, "..3", "a=dummy-4 b=dummy-5");
    tree_recorder_add_facts(&f->recorder, add_fact, f);
    assert_int_equal(f->n_facts, 3);
    check(f);
    free(before);
    tree_recorder_deinit(&f->recorder); /* before its state is out of scope */
}

#define LARGE_SIZE  ((size_t)4 << 20)
#define LARGE_BYTES ((size_t)OBJECT_DATA_MAX_BYTES + 1)

static struct payload *make_trust_bundle(void)
{
    const struct object like = {
        .key = {.kind = OBJECT_CLUSTER_TRUST_BUNDLE, .namespace = "", .name = "dummy"}};
    const struct payload_attributes attributes = {
        .mode = 0640, .uid = PAYLOAD_ID_INHERITED, .gid = PAYLOAD_ID_INHERITED};
    struct payload_builder *builder = NULL;
    struct object *object = NULL;
    struct payload *payload = NULL;
    struct object_input input = {.key = "k", .len = LARGE_BYTES, .encoding = OBJECT_RAW};
    char *text = calloc(1, LARGE_BYTES);

    input.text = text;
    assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
    assert_int_equal(payload_builder_new(&builder), 0);
    assert_int_equal(
        payload_builder_add(builder, "a", object, &object->entries[0], &attributes, NULL), 0);
    assert_int_equal(payload_builder_finish(builder, &payload, NULL), 0);
    payload_builder_free(builder);
    object_unref(object);
    free(text);
    return payload;
}

/* Trust bundles together may be larger than a Secret. */
static void test_large_object(void **state)
{
    struct fixture *f = *state;
    struct payload *payload = make_trust_bundle();
    uint8_t *large = calloc(1, LARGE_SIZE);
    struct state *old = NULL, next, opened;
    struct tree *tree = NULL;
    struct error e = ERROR_INIT;
    struct stat stat;

    state_create(&next, large, LARGE_SIZE, 2, "1.2.3");
    assert_int_equal(tree_recorder_switch(&f->recorder, &next, add_fact, f, &old), 0);
    assert_int_equal(tree_stage(f->tree, "..1", payload, false), 0);
    assert_int_equal(tree_mkdir(f->tree, gettid(), TREE_ROOT_ID, "..1", 0700, &stat), 0);
    assert_int_equal(tree_stage(f->tree, "..1", NULL, false), 0);
    payload_unref(payload);
    tree_recorder_deinit(&f->recorder); /* before its state is out of scope */
    assert_int_equal(tree_new(&(struct tree_options){.root_mode = 0700}, &tree), 0);
    assert_int_equal(state_open(&opened, large, LARGE_SIZE, &e), 0);
    if (tree_state_read(&opened, tree_nodes(tree), &e) < 0)
        fail_msg("%s", e.text);
    tree_free(tree);
    free(large);
}

static void test_full_state(void **state)
{
    struct fixture *f = *state;
    struct state *old = NULL, next, opened;
    struct error e = ERROR_INIT;
    uint8_t *small = calloc(1, STATE_SIZE_MIN);
    _cleanup_(freep) char *files = malloc(STATE_SIZE_MIN);
    struct payload *payload;
    struct stat stat;

    snprintf(files, STATE_SIZE_MIN, "a=%0*d", (int)STATE_SIZE_MIN - 100, 7);
    state_create(&next, small, STATE_SIZE_MIN, 2, "1.2.3");
    assert_int_equal(tree_recorder_switch(&f->recorder, &next, add_fact, f, &old), 0);
    assert_true(tree_recorder_is_complete(&f->recorder));
    payload = payload_make(files);
    assert_int_equal(tree_stage(f->tree, "..1", payload, false), 0);
    assert_int_equal(tree_mkdir(f->tree, gettid(), TREE_ROOT_ID, "..1", 0700, &stat), 0);
    assert_int_equal(tree_stage(f->tree, "..1", NULL, false), 0);
    payload_unref(payload);
    assert_int_equal(f->n_low, 1);
    assert_false(tree_recorder_is_complete(&f->recorder));
    assert_int_equal(state_open(&opened, small, STATE_SIZE_MIN, &e), STATE_DISCARDED);
    /* the tree is served all the same, and the next state has all of it */
    state_create(&f->state, memset(f->memory, 0, SIZE), SIZE, 3, "1.2.3");
    assert_int_equal(tree_recorder_switch(&f->recorder, &f->state, add_fact, f, &old), 0);
    assert_null(old);
    check(f);
    free(small);
}

static void test_adopted_nodes_are_held(void **state)
{
    struct fixture *f = *state;
    struct file_content content;
    struct tree *read;
    struct stat stat;
    uint64_t top = make_generation(f, "..1", "a=dummy-1"), a = look_up(f, top, "a");

    read = read_tree(f);
    assert_int_equal(tree_unlink(read, top, "a"), 0);
    tree_forget(read, a, 1);
    assert_int_equal(tree_read(read, a, &content), 0);
    assert_memory_equal(content.bytes, "dummy-1", content.len);
    object_unref(content.object);
    assert_int_equal(tree_symlink(read, TREE_ROOT_ID, "new", "x", &stat), 0);
    assert_true(stat.st_ino > a); /* no id is used twice */
    tree_free(read);
}

/* What the kernel has forgotten is freed, in any order; what it holds stays. */
static void test_adopted_nodes_are_released(void **state)
{
    struct fixture *f = *state;
    uint64_t top = make_generation(f, "..1", "a=dummy-1 d/b=dummy-2"), a = look_up(f, top, "a");
    uint64_t d = look_up(f, top, "d"), b = look_up(f, d, "b"), ids[8];
    struct tree *read = read_tree(f);
    struct node_table *t = tree_nodes(read);

    assert_int_equal(node_list_adopted_unlinked(t, NULL, 0), 0); /* all have names */
    assert_int_equal(tree_unlink(read, top, "a"), 0);
    tree_detach(read, top);
    assert_int_equal(node_list_adopted_unlinked(t, ids, 8), 4);
    {
        NODE_TABLE_GUARD(t);
        node_release_adopted(t, a);
        node_release_adopted(t, a);
        node_release_adopted(t, top);
        node_release_adopted(t, d);
    }
    assert_int_equal(tree_usage(read).n_nodes, 4); /* the root, and b in d in ..1 */
    {
        NODE_TABLE_GUARD(t);
        node_release_adopted(t, b);
    }
    assert_int_equal(tree_usage(read).n_nodes, 1);
    tree_free(read);
}

static int read_changed(const struct fixture *f, uint64_t bit, struct error *e)
{
    static _Alignas(64) uint8_t copy[SIZE];
    struct tree *tree = NULL;
    struct state state;
    int r;

    memcpy(copy, f->memory, SIZE);
    copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(tree_new(&options, &tree), 0);
    r = state_open(&state, copy, SIZE, e);
    if (r == 0)
        r = tree_state_read(&state, tree_nodes(tree), e);
    tree_free(tree);
    return r;
}

/* Contents have checksums of their own. */
static void test_damaged_content_is_refused(void **state)
{
    struct fixture *f = *state;
    const uint8_t *at;
    struct error e = ERROR_INIT;

    publish(f, "..1", "a=dummy-1");
    at = memmem(f->memory, SIZE, "dummy-1", 7);
    assert_non_null(at);
    for (uint64_t bit = 0; bit < UINT64_C(7) * 8; bit++)
        assert_int_equal(read_changed(f, (uint64_t)(at - f->memory) * 8 + bit, &e), -EBADMSG);
    assert_non_null(strstr(e.text, "the stored state is contradictory: node "));
    assert_non_null(strstr(e.text, "has damaged content"));
}

/* So have open files, but for their flags. */
static void test_damaged_open_file_is_refused(void **state)
{
    struct fixture *f = *state;
    uint64_t top = make_generation(f, "..1", "a=dummy-1"), a = look_up(f, top, "a");
    const uint64_t request = UINT64_C(0x123456789abcdef0);
    const struct live_opener opener = {.unique = request, .may_wait = true};
    struct live_open *open = NULL;
    struct error e = ERROR_INIT;
    const uint8_t *at;

    assert_int_equal(live_file_make(f->tree, a), 0);
    assert_int_equal(live_file_open(f->tree, a, &opener, &open), 0);
    check(f);
    at = memmem(f->memory, SIZE, &request, sizeof(request));
    assert_non_null(at);
    for (uint64_t bit = 0; bit < 64; bit++)
        assert_int_equal(read_changed(f, (uint64_t)(at - f->memory) * 8 + bit, &e), -EBADMSG);
    assert_non_null(strstr(e.text, "the stored state is damaged: invalid open file"));
    live_file_close(f->tree, open);
    tree_forget(f->tree, a, 1);
}

/* ---- names that were removed */

static bool add_name(void *userdata, const char *name, const struct stat *stat, uint64_t cookie)
{
    struct buf *text = userdata;
    char line[64];

    snprintf(line, sizeof(line), " %s%s", name, S_ISDIR(stat->st_mode) ? "/" : "");
    return buf_add(text, line, strlen(line)) == 0;
}

/* Of a state, read as the next process does where the kernel may have missed that. */
static void read_removed(struct state *state, struct tree **ret_tree)
{
    struct error e = ERROR_INIT;

    assert_int_equal(tree_new(&options, ret_tree), 0);
    tree_nodes(*ret_tree)->lists_removed = true;
    if (tree_state_read(state, tree_nodes(*ret_tree), &e) < 0)
        fail_msg("%s", e.text);
}

static void check_removed(struct tree *tree, uint64_t id, const char *expected)
{
    struct buf text = BUF_INIT(1024);

    assert_int_equal(buf_add(&text, "", 0), 0);
    assert_int_equal(tree_take_removed(tree, id, add_name, &text), 0);
    assert_string_equal(text.data != NULL ? text.data : "", expected);
    buf_deinit(&text);
}

static void test_removed_names(void **state)
{
    struct fixture *f = *state;
    struct state opened, next;
    struct state *old = NULL;
    struct tree *tree = NULL, *later = NULL;
    struct tree_recorder recorder;
    uint8_t *memory = calloc(1, SIZE);
    struct error e = ERROR_INIT;
    uint64_t second;

    publish(f, "..1", "a=dummy-1");
    make_link(f, TREE_ROOT_ID, "gone", "..data/gone");
    publish(f, "..2", "a=dummy-2 b=dummy-3");
    second = look_up(f, TREE_ROOT_ID, "..2");
    assert_int_equal(tree_unlink(f->tree, second, "b"), 0);
    assert_int_equal(tree_unlink(f->tree, TREE_ROOT_ID, "gone"), 0);
    assert_int_equal(tree_unlink(f->tree, look_up(f, TREE_ROOT_ID, "..1"), "a"), 0);
    assert_int_equal(tree_rmdir(f->tree, TREE_ROOT_ID, "..1"), 0);

    /* those of the removed directory are left out; the process that reads them records them again
     */
    assert_int_equal(state_open(&opened, f->memory, SIZE, &e), 0);
    read_removed(&opened, &tree);
    state_create(&next, memory, SIZE, 2, "1.2.3");
    tree_recorder_init(&recorder, tree_nodes(tree), on_low, request_room, f);
    assert_int_equal(tree_recorder_switch(&recorder, &next, add_fact, f, &old), 0);
    assert_true(state_used_bytes(&next) <= tree_recorder_bytes_needed(&recorder));
    assert_int_equal(state_open(&opened, memory, SIZE, &e), 0);
    read_removed(&opened, &later);
    for (unsigned i = 0; i < 2; i++) {
        struct tree *each = i == 0 ? tree : later;

        check_removed(each, second, " b");
        check_removed(each, TREE_ROOT_ID, " ..1/ ..data_tmp ..data gone ..data_tmp");
        check_removed(each, TREE_ROOT_ID, "");
    }
    tree_recorder_deinit(&recorder);
    tree_free(tree);
    tree_free(later);
    free(memory);
}

/* A publisher asks for it before it begins an update. */
static void test_room_is_requested(void **state)
{
    struct fixture *f = *state;

    node_table_make_room(tree_nodes(f->tree), 12345);
    assert_int_equal(requested_bytes, 12345);
    assert_int_equal(tree_recorder_free_bytes(&f->recorder), SIZE - state_used_bytes(&f->state));
    tree_recorder_deinit(&f->recorder);
    node_table_make_room(tree_nodes(f->tree), 1);
    assert_int_equal(requested_bytes, 12345);
    assert_int_equal(tree_recorder_free_bytes(&f->recorder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_room_is_requested, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removed_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_updates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_the_kernel_holds_of_an_unlinked_directory, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_live_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_open_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_file_of_a_freed_node, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dropped_version, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_of_live_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_open_file_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_next_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_object, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_adopted_nodes_are_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_adopted_nodes_are_released, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_content_is_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

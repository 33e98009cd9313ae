/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is mounted alone, on a tree without a mount: system calls are stood in for by what a worker
 * would have answered, the kernel's references are the test's.
 */
#include "fuse/live_mounts.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "fuse/live_file.h"
#include "fuse/mount_root.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/make_payload.h"
#include "tests/unit/tree_answers.h"

#define ROOT_FD 4711 /* no real descriptor */
#define G       "..2023_11_14_22_13_20.1"
#define FILES   "a=1 d/b=2 d/e/c=3 dd=4"

/* ---- the stand-ins */

static struct {
    struct tree *tree;
    unsigned countdown; /* the call that makes it 0 fails; 0: none does */
    bool has_failed;
    bool fails_always;
    char forgotten[256]; /* names that the kernel was notified of, each with a blank before it */
    void (*on_exchange)(struct live_mounts *mounts); /* in the middle of the next one */
    struct live_mounts *mounts;
} kernel;

static bool fails(void)
{
    if (!kernel.fails_always && (kernel.countdown == 0 || --kernel.countdown > 0))
        return false;
    kernel.has_failed = true;
    errno = EIO;
    return true;
}

static int make(const char *path, mode_t mode)
{
    const char *name;
    uint64_t parent;
    struct stat stat;
    int r = find_parent(kernel.tree, path, &parent, &name);

    if (r == 0)
        r = S_ISDIR(mode) ? tree_mkdir(kernel.tree, gettid(), parent, name, mode & 07777, &stat)
                          : tree_mknod(kernel.tree, gettid(), parent, name, &stat);
    return answer_made(kernel.tree, r, &stat);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
    assert_int_equal(fd, ROOT_FD);
    return fails() ? -1 : make(path, mode | S_IFDIR);
}

int mknodat(int fd, const char *path, mode_t mode, dev_t dev)
{
    assert_int_equal(fd, ROOT_FD);
    assert_int_equal(dev, 0);
    assert_true(S_ISREG(mode));
    return fails() ? -1 : make(path, mode);
}

int symlinkat(const char *target, int fd, const char *path)
{
    assert_int_equal(fd, ROOT_FD);
    return fails() ? -1 : answer_symlink(kernel.tree, target, path);
}

int renameat2(int fd, const char *path, int new_fd, const char *new_path, unsigned flags)
{
    uint64_t parent, new_parent;
    const char *name, *new_name;
    int r;

    assert_int_equal(fd, ROOT_FD);
    assert_int_equal(new_fd, ROOT_FD);
    assert_int_equal(flags, RENAME_EXCHANGE);
    if (kernel.on_exchange != NULL) {
        void (*call)(struct live_mounts * mounts) = kernel.on_exchange;

        kernel.on_exchange = NULL;
        call(kernel.mounts);
    }
    if (fails())
        return -1;
    r = find_parent(kernel.tree, path, &parent, &name);
    if (r == 0)
        r = find_parent(kernel.tree, new_path, &new_parent, &new_name);
    return answer(r == 0 ? tree_exchange(kernel.tree, parent, name, new_parent, new_name) : r);
}

/* What await_directory() asks for, in a directory that no process lists. */
int unlinkat(int fd, const char *path, int flags)
{
    assert_int_equal(fd, ROOT_FD);
    assert_string_equal(strrchr(path, '/'), "/..unused");
    assert_int_equal(flags, 0);
    return answer(-ENOENT);
}

void session_notify(struct session *session, const struct notification *all, size_t n)
{
    struct stat directory;

    assert_null(session);
    assert_int_equal(tree_find(kernel.tree, TREE_ROOT_ID, LIVE_DIRECTORY, &directory), 0);
    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(kernel.forgotten);

        assert_int_equal(all[i].kind, NOTIFY_ENTRY);
        assert_int_equal(all[i].id, directory.st_ino);
        snprintf(kernel.forgotten + used, sizeof(kernel.forgotten) - used, " %s", all[i].name);
    }
}

/* ---- volumes */

static uint64_t find(const char *path)
{
    struct stat stat;

    assert_int_equal(tree_find_path(kernel.tree, TREE_ROOT_ID, path, &stat), 0);
    return stat.st_ino;
}

/* The directory @name in @parent, filled with files. */
static void make_filled_of(uint64_t parent, const char *name, struct payload *payload, bool is_live)
{
    struct stat stat;

    assert_int_equal(tree_stage(kernel.tree, name, payload, is_live), 0);
    assert_int_equal(tree_mkdir(kernel.tree, gettid(), parent, name, 0755, &stat), 0);
    assert_int_equal(tree_stage(kernel.tree, name, NULL, false), 0);
    tree_forget(kernel.tree, stat.st_ino, 1);
}

static void make_filled(uint64_t parent, const char *name, const char *files, bool is_live)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make(files);

    make_filled_of(parent, name, payload, is_live);
}

/* The volume @name with the one generation G; "." for one in the root. */
static void make_volume(const char *name, const char *files, bool is_live)
{
    struct stat stat = {.st_ino = TREE_ROOT_ID};

    if (!streq(name, "."))
        assert_int_equal(tree_mkdir(kernel.tree, gettid(), TREE_ROOT_ID, name, 0755, &stat), 0);
    make_filled(stat.st_ino, G, files, is_live);
}

static int setup(void **state)
{
    static const struct tree_options options = {.root_mode = 0755, .answers_open = true};
    struct live_mounts *mounts = NULL;

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    memset(&kernel, 0, sizeof(kernel));
    assert_int_equal(tree_new(&options, &kernel.tree), 0);
    assert_int_equal(live_mounts_new(NULL, kernel.tree, true, &mounts), 0);
    make_volume("v", FILES, false);
    *state = mounts;
    return 0;
}

/* Where no file becomes live. */
static int setup_counting(void **state)
{
    struct live_mounts *mounts = NULL;

    assert_int_equal(setup(state), 0);
    live_mounts_free(*state);
    assert_int_equal(live_mounts_new(NULL, kernel.tree, false, &mounts), 0);
    *state = mounts;
    return 0;
}

static int teardown(void **state)
{
    assert_null(live_mounts_free(*state));
    kernel.tree = tree_free(kernel.tree);
    return 0;
}

/* A mount of it, or an open file, holds a node. Return: its id. */
static uint64_t hold(const char *path)
{
    const char *name;
    uint64_t parent;
    struct stat stat;

    assert_int_equal(find_parent(kernel.tree, path, &parent, &name), 0);
    assert_int_equal(tree_lookup(kernel.tree, parent, name, &stat), 0);
    return stat.st_ino;
}

static void let_go(uint64_t id)
{
    tree_forget(kernel.tree, id, 1);
}

/* The time, when it is later than all that was done before. */
static mono_us now(void)
{
    mono_us before = clock_mono(), after;

    do
        after = clock_mono();
    while (after == before);
    return after;
}

static bool reconcile_with(struct live_mounts *mounts, struct mounted_parts *parts)
{
    live_mounts_reconcile(mounts, parts);
    return live_mounts_follow(mounts, ROOT_FD, NULL);
}

/*
 * Reconcile with a scan that began at @began_at.
 * @roots: with blanks between them
 * Return: whether a rescan has to follow.
 */
static bool reconcile_as_of(struct live_mounts *mounts, const char *roots, mono_us began_at)
{
    _cleanup_(freep) char *copy = strdup(roots);
    struct mounted_parts parts = {.began_at = began_at};
    char *all[8], *at = copy, *root;

    parts.roots = all;
    while ((root = strsep(&at, " ")) != NULL)
        if (*root != '\0') {
            assert_true(parts.n < ELEMENTS_OF(all));
            all[parts.n++] = root;
        }
    return reconcile_with(mounts, &parts);
}

/* The same with a scan that began after all that was done before. */
static bool reconcile(struct live_mounts *mounts, const char *roots)
{
    return reconcile_as_of(mounts, roots, now());
}

static const char *live_root(uint64_t id)
{
    static char text[64];

    snprintf(text, sizeof(text), "/" LIVE_DIRECTORY "/%" PRIu64, id);
    return text;
}

struct listing {
    char text[256];
    uint64_t ids[8];
    size_t n;
};

static bool list_one(void *userdata, const struct live_mount *mount)
{
    struct listing *l = userdata;
    size_t used = strlen(l->text);

    assert_true(l->n < ELEMENTS_OF(l->ids));
    l->ids[l->n++] = mount->id;
    if (mount->location != NULL)
        assert_string_equal(mount->location, live_root(mount->id) + 1);
    snprintf(l->text + used, sizeof(l->text) - used, " '%s'%s%s", mount->path,
             mount->is_directory ? "/" : "", mount->location != NULL ? "@" : "");
    return true;
}

/* Each with its path, "/" behind a directory, "@" behind what has a name in LIVE_DIRECTORY. */
static struct listing list(struct live_mounts *mounts, const char *volume)
{
    struct listing l = {.n = 0};

    live_mounts_visit(mounts, volume, list_one, &l);
    return l;
}

struct changes {
    char text[256];
};

static void note_changed(void *userdata, const struct live_mounts_change *change)
{
    struct changes *c = userdata;
    size_t used = strlen(c->text);

    assert_false(change->needs_follow);
    snprintf(c->text + used, sizeof(c->text) - used, " %s=%zu%s", change->volume, change->n_mounted,
             change->is_behind ? "!" : "");
}

/* The volumes that have changed, each with its count, "!" behind one that is behind. */
static struct changes changes(struct live_mounts *mounts)
{
    struct changes c = {.text = ""};

    live_mounts_visit_changed(mounts, note_changed, &c);
    return c;
}

static bool has_content(uint64_t id, const char *text)
{
    return tree_has_content(kernel.tree, id, text);
}

static bool is_there(uint64_t id)
{
    struct stat stat;

    return tree_stat(kernel.tree, id, &stat) == 0;
}

static bool is_live(uint64_t id)
{
    return live_file_is_live(kernel.tree, id);
}

/* ---- warnings */

struct warnings {
    int fd;
    int saved; /* stderr */
};

static void begin_warnings(struct warnings *w)
{
    *w = (struct warnings){.fd = memfd_create("log", MFD_CLOEXEC), .saved = dup(STDERR_FILENO)};
    assert_true(dup2(w->fd, STDERR_FILENO) >= 0);
    log_setup(LOG_LEVEL_WARN, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
}

/* Return: how many there were. */
static size_t end_warnings(struct warnings *w)
{
    char text[4096] = "";
    size_t n = 0;

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    assert_true(dup2(w->saved, STDERR_FILENO) >= 0);
    assert_true(pread(w->fd, text, sizeof(text) - 1, 0) >= 0);
    for (const char *at = text; (at = strstr(at, "does not follow updates")) != NULL; at++)
        n++;
    close(w->fd);
    close(w->saved);
    return n;
}

/* ---- what a root of a mount says */

static void roots_tell_volume_and_path(void **state)
{
    static const struct {
        const char *root, *volume, *list;
    } all[] = {
        {"/v/" G "/a", "v", " 'a'"},
        {"/v/" G "/d", "v", " 'd'/"},
        {"/v/" G "/d/e/c", "v", " 'd/e/c'"},
        {"/v/" G, "v", " ''/"},
        {"/" G "/a", ".", " 'a'"},
        {"/" G "/d/e", ".", " 'd/e'/"},
        {"/" G, ".", " ''/"},
    };

    make_volume(".", FILES, false);
    for (size_t i = 0; i < ELEMENTS_OF(all); i++) {
        reconcile(*state, all[i].root);
        assert_int_equal(live_mounts_count(*state, all[i].volume), 1);
        assert_int_equal(live_mounts_count(*state, streq(all[i].volume, "v") ? "." : "v"), 0);
        assert_string_equal(list(*state, all[i].volume).text, all[i].list);
    }
}

static void roots_that_are_no_part_of_a_volume(void **state)
{
    static const char *const all[] = {
        "",
        "/",
        "/v",
        "/v/",
        "/v/l",
        "/v/" G "/absent",
        "/v/" G "/a/b",
        "/v/" G "/l",
        "/v/" G "/a//deleted", /* it is not */
        "/absent/" G "/a",
        "/w/v/" G "/a",
        "/" G "/a",
        "v/" G "/a",
        "//deleted",
        "/v//deleted",
        "/v/..data",
        "/v/..",
        "/.live",
        "/.live/",
        "/.live/0",
        "/.live/x",
        "/.live/99999",
        "/.live/99999//deleted",
    };
    static const char *const no_generations[] = {
        "..2023_11_14_22_13_20",   "..2023_11_14_22_13_20.",
        "..2023_11_14_22_13_20x1", "..2023_11_14_22_13_2",
        "..2023_11_14_22_13_2x.1", ".2023_11_14_22_13_20.1",
        "..2023_11_14_22_13_20.x", "..data"};
    char root[96];
    struct stat stat;

    for (size_t i = 0; i < ELEMENTS_OF(no_generations); i++) {
        make_filled(find("v"), no_generations[i], FILES, false);
        snprintf(root, sizeof(root), "/v/%s/a", no_generations[i]);
        find(root + 1);
        reconcile(*state, root);
        assert_int_equal(live_mounts_count(*state, "v"), 0);
    }
    assert_int_equal(tree_symlink(kernel.tree, find("v"), "l", "t", &stat), 0);
    assert_int_equal(tree_symlink(kernel.tree, find("v/" G), "l", "t", &stat), 0);
    for (size_t i = 0; i < ELEMENTS_OF(all); i++) {
        reconcile(*state, all[i]);
        assert_int_equal(live_mounts_count(*state, "v"), 0);
        assert_int_equal(live_mounts_count(*state, "."), 0);
        assert_string_equal(list(*state, "v").text, "");
    }
}

/* ---- becoming live */

static void file_is_taken_out_of_its_generation(void **state)
{
    uint64_t id = hold("v/" G "/a"), copy;
    struct stat stat, copy_stat;

    assert_int_equal(tree_chmod(kernel.tree, id, 0400), 0);
    assert_false(live_mounts_take_behind(*state, "v"));
    assert_true(reconcile(*state, "/v/" G "/a"));
    assert_true(is_live(id));
    assert_int_equal(find(live_root(id) + 1), id);
    copy = find("v/" G "/a");
    assert_int_not_equal(copy, id);
    assert_false(is_live(copy));
    assert_true(has_content(copy, "1"));
    assert_int_equal(tree_stat(kernel.tree, id, &stat), 0);
    assert_int_equal(tree_stat(kernel.tree, copy, &copy_stat), 0);
    assert_int_equal(copy_stat.st_mode, stat.st_mode);
    assert_memory_equal(&copy_stat.st_mtim, &stat.st_mtim, sizeof(stat.st_mtim));
    assert_string_equal(list(*state, "v").text, " 'a'@");
    assert_int_equal(list(*state, "v").ids[0], id);
    assert_int_equal(live_mounts_count(*state, "v"), 1);
    assert_int_equal(live_mounts_count(*state, "w"), 0);
    assert_string_equal(list(*state, "w").text, "");
    /* it has to be given the newest content, once */
    assert_false(live_mounts_take_behind(*state, "w"));
    assert_true(live_mounts_take_behind(*state, "v"));
    assert_false(live_mounts_take_behind(*state, "v"));
    /* mountinfo has its new path by now */
    assert_false(reconcile(*state, live_root(id)));
    assert_string_equal(list(*state, "v").text, " 'a'@");
    assert_int_equal(live_mounts_count(*state, "v"), 1);
    assert_false(live_mounts_take_behind(*state, "v"));
    assert_int_equal(find("v/" G "/a"), copy);
    assert_string_equal(kernel.forgotten, "");
    assert_int_equal(tree_mknod(kernel.tree, gettid(), TREE_ROOT_ID, "x", &stat),
                     -EROFS); /* as ever */
}

static void directory_is_taken_out_with_all_below_it(void **state)
{
    uint64_t id = hold("v/" G "/d"), b = find("v/" G "/d/b"), c = find("v/" G "/d/e/c");

    reconcile(*state, "/v/" G "/d");
    assert_string_equal(list(*state, "v").text, " 'd'/@");
    assert_int_equal(find(live_root(id) + 1), id);
    assert_true(is_live(b));
    assert_true(is_live(c));
    assert_false(is_live(find("v/" G "/d/b")));
    assert_false(is_live(find("v/" G "/d/e/c")));
    assert_true(has_content(find("v/" G "/d/b"), "2"));
    assert_true(has_content(find("v/" G "/d/e/c"), "3"));
}

/* A file of it that is mounted alone as well is live with it, and keeps it. */
static void file_of_a_directory_that_is_live(void **state)
{
    uint64_t d = hold("v/" G "/d"), b = hold("v/" G "/d/b");
    char root[96];

    reconcile(*state, "/v/" G "/d");
    snprintf(root, sizeof(root), "%s/b", live_root(d));
    reconcile(*state, root);
    assert_string_equal(list(*state, "v").text, " 'd'/@");
    assert_int_equal(live_mounts_count(*state, "v"), 1);
    assert_true(is_live(b));
    assert_int_equal(find(root + 1), b);
}

/* What is below a directory is taken out before it, so that each is what its container has. */
static void file_and_its_directory_in_one_look(void **state)
{
    uint64_t d = hold("v/" G "/d"), b = hold("v/" G "/d/b");
    char roots[128];
    int len;

    assert_true(reconcile(*state, "/v/" G "/d /v/" G "/d/b"));
    assert_string_equal(list(*state, "v").text, " 'd/b'@ 'd'/@");
    assert_int_equal(find(live_root(d) + 1), d);
    assert_int_equal(find(live_root(b) + 1), b);
    snprintf(roots, sizeof(roots), "%s/b", live_root(d));
    assert_int_not_equal(find(roots + 1), b);
    assert_true(is_live(find(roots + 1)));
    assert_false(is_live(find("v/" G "/d/b")));
    len = snprintf(roots, sizeof(roots), "%s", live_root(b));
    snprintf(roots + len, sizeof(roots) - (size_t)len, " %s", live_root(d));
    assert_false(reconcile(*state, roots));
    assert_string_equal(list(*state, "v").text, " 'd/b'@ 'd'/@");
}

/* Of several containers, which have mounted it before it was taken out. */
static void mounts_of_one_file_in_one_look(void **state)
{
    uint64_t id = hold("v/" G "/a");
    size_t n_nodes = tree_usage(kernel.tree).n_nodes;

    assert_true(reconcile(*state, "/v/" G "/a /v/" G "/a /v/" G "/a"));
    assert_string_equal(list(*state, "v").text, " 'a'@");
    assert_int_equal(list(*state, "v").ids[0], id);
    assert_int_equal(live_mounts_count(*state, "v"), 1);
    assert_int_equal(tree_usage(kernel.tree).n_nodes,
                     n_nodes + 3); /* with LIVE_DIRECTORY, and the link to its origin */
}

/* A scan that read mountinfo before the file was taken out, and whose result comes after. */
static void scan_that_began_before(void **state)
{
    uint64_t id = hold("v/" G "/a"), d = hold("v/" G "/d"), copy;
    mono_us before = now();

    assert_true(reconcile(*state, "/v/" G "/a /v/" G "/d"));
    copy = find("v/" G "/a");
    assert_false(reconcile_as_of(*state, "/v/" G "/a /v/" G "/d/b", before));
    assert_int_equal(find(live_root(id) + 1), id);
    assert_int_equal(find(live_root(d) + 1), d);
    assert_int_equal(find("v/" G "/a"), copy);
    assert_false(is_live(copy));
    assert_string_equal(list(*state, "v").text, " 'd'/@ 'a'@");
    assert_int_equal(live_mounts_count(*state, "v"), 2);
    /* it does not show that they are not mounted any more */
    assert_false(reconcile_as_of(*state, "", before));
    assert_string_equal(list(*state, "v").text, " 'd'/@ 'a'@");
    assert_int_equal(live_mounts_count(*state, "v"), 2);
    assert_string_equal(kernel.forgotten, "");
    /* what has a similar name is another file */
    assert_true(reconcile_as_of(*state, "/v/" G "/a /v/" G "/dd /v/" G "/d", before));
    assert_string_equal(list(*state, "v").text, " 'd'/@ 'a'@ 'dd'@");
    /* one that began later can */
    assert_false(reconcile(*state, ""));
    assert_int_equal(live_mounts_count(*state, "v"), 0);
}

/* The next container mounts what the name leads to by then. */
static void each_mount_of_a_file_is_live(void **state)
{
    uint64_t first = hold("v/" G "/a"), second;
    char roots[128];

    reconcile(*state, "/v/" G "/a");
    second = hold("v/" G "/a");
    snprintf(roots, sizeof(roots), "%s /v/" G "/a", live_root(first));
    reconcile(*state, roots);
    assert_string_equal(list(*state, "v").text, " 'a'@ 'a'@");
    assert_true(is_live(first));
    assert_true(is_live(second));
    assert_int_not_equal(first, second);
    assert_false(is_live(find("v/" G "/a")));
    assert_int_equal(live_mounts_count(*state, "v"), 2);
}

/* Mounted from a generation that went at the same time. */
static void unlinked_file_becomes_live(void **state)
{
    uint64_t id = hold("v/" G "/a");

    tree_detach(kernel.tree, id);
    reconcile(*state, "/v/" G "/a//deleted");
    assert_string_equal(list(*state, "v").text, " 'a'");
    assert_true(is_live(id));
    assert_int_equal(live_mounts_count(*state, "v"), 1);
    assert_true(live_mounts_take_behind(*state, "v"));
    reconcile(*state, "/v/" G "/a//deleted");
    assert_string_equal(list(*state, "v").text, " 'a'");
    assert_false(live_mounts_take_behind(*state, "v"));
}

static void note_volume(void *userdata, const struct live_opened *opened)
{
    uint64_t *volume = userdata;

    *volume = opened->file.volume;
}

/* Of an earlier process, so that nothing but its mount says of which volume it is. */
static void unlinked_file_has_its_volume(void **state)
{
    const struct live_opener reader = {.thread = gettid(), .may_wait = true};
    uint64_t id = hold("v/" G "/a"), volume = 0;
    struct live_open *open;

    assert_int_equal(live_file_make(kernel.tree, id), 0);
    tree_detach(kernel.tree, id);
    live_file_set_volume(kernel.tree, id, 0);
    reconcile(*state, "/v/" G "/a//deleted");
    live_file_observe(kernel.tree, note_volume, &volume);
    assert_int_equal(live_file_open(kernel.tree, id, &reader, &open), 0);
    live_file_close(kernel.tree, open);
    assert_int_equal(volume, find("v"));
}

/* The scan has read its root before that. No other one follows, as no mount has changed. */
static void file_unlinked_after_the_scan_becomes_live(void **state)
{
    uint64_t id = hold("v/" G "/a");

    tree_detach(kernel.tree, id);
    assert_false(reconcile(*state, "/v/" G "/a"));
    assert_string_equal(list(*state, "v").text, " 'a'");
    assert_true(is_live(id));
    assert_true(live_mounts_take_behind(*state, "v"));
}

/* It was found in its generation, from which an update takes it. */
static void file_unlinked_before_it_is_taken_out_becomes_live(void **state)
{
    char root[] = "/v/" G "/a", *roots[] = {root};
    struct mounted_parts parts = {.roots = roots, .n = 1, .began_at = now()};
    uint64_t id = hold("v/" G "/a");

    live_mounts_reconcile(*state, &parts);
    tree_detach(kernel.tree, id);
    assert_false(live_mounts_follow(*state, ROOT_FD, "v"));
    assert_string_equal(list(*state, "v").text, " 'a'");
    assert_true(is_live(id));
    assert_true(live_mounts_take_behind(*state, "v"));
}

/* Nothing can be made in it any more. */
static void unlinked_directory_does_not(void **state)
{
    uint64_t id = hold("v/" G "/d");

    tree_detach(kernel.tree, id);
    reconcile(*state, "/v/" G "/d//deleted");
    assert_string_equal(list(*state, "v").text, "");
    assert_false(is_live(id));
}

/* ---- a process holds a directory in the middle of an exchange */

/* No part becomes live yet. */
static void scan(struct live_mounts *mounts, const char *roots)
{
    _cleanup_(freep) char *copy = strdup(roots);
    char *all[4], *at = copy, *root;
    struct mounted_parts parts = {.roots = all, .began_at = now()};

    while ((root = strsep(&at, " ")) != NULL)
        all[parts.n++] = root;
    live_mounts_reconcile(mounts, &parts);
}

/* Parts of two volumes become live, of "w" in the middle of that of "v". */
static void follow_both(struct live_mounts *mounts, const char *roots,
                        void (*on_exchange)(struct live_mounts *mounts))
{
    scan(mounts, roots);
    kernel.mounts = mounts;
    kernel.on_exchange = on_exchange;
    live_mounts_follow(mounts, ROOT_FD, "v");
    assert_null(kernel.on_exchange);
}

static void defer(struct live_mounts *mounts)
{
    bool keeps = true;

    assert_false(live_mounts_follow(mounts, ROOT_FD, "w"));
    assert_string_equal(list(mounts, "w").text, ""); /* an update changes none of it */
    assert_int_equal(live_mounts_count(mounts, "w"), 1);
    assert_true(live_mounts_is_pending(mounts, "w", &keeps));
    assert_false(keeps);
    assert_false(live_mounts_is_pending(mounts, "v", &keeps)); /* it is being exchanged */
    assert_false(live_mounts_take_deferred(mounts));           /* it would be deferred again */
}

static void part_waits_for_the_exchange_of_another(void **state)
{
    struct live_mounts *mounts = *state;
    bool keeps;
    uint64_t v = hold("v/" G "/a"), w;

    make_volume("w", FILES, false);
    w = hold("w/" G "/a");
    assert_false(live_mounts_take_deferred(mounts));
    follow_both(mounts, "/v/" G "/a /w/" G "/a", defer);
    assert_true(is_live(v));
    assert_false(is_live(w));
    assert_true(live_mounts_take_deferred(mounts));
    assert_false(live_mounts_take_deferred(mounts));
    assert_true(live_mounts_follow(mounts, ROOT_FD, "w"));
    assert_true(is_live(w));
    assert_string_equal(list(mounts, "w").text, " 'a'@");
    assert_false(live_mounts_is_pending(mounts, "w", &keeps));
}

/* An update of its volume does not wait, and has its generation removed. */
static void defer_until_unlinked(struct live_mounts *mounts)
{
    bool keeps;

    defer(mounts);
    tree_detach(kernel.tree, find("w/" G "/a"));
    assert_false(live_mounts_follow(mounts, ROOT_FD, "w"));
    assert_string_equal(list(mounts, "w").text, " 'a'");
    assert_true(live_mounts_take_behind(mounts, "w"));
    assert_false(live_mounts_is_pending(mounts, "w", &keeps));
}

static void file_that_waits_is_unlinked(void **state)
{
    uint64_t w;

    hold("v/" G "/a");
    make_volume("w", FILES, false);
    w = hold("w/" G "/a");
    follow_both(*state, "/v/" G "/a /w/" G "/a", defer_until_unlinked);
    assert_true(is_live(w));
}

static void defer_directory(struct live_mounts *mounts)
{
    bool keeps = false;

    assert_false(live_mounts_follow(mounts, ROOT_FD, "w"));
    assert_true(live_mounts_is_pending(mounts, "w", &keeps));
    assert_true(keeps);
}

/* Nothing can be made in a directory that is removed. */
static void directory_that_waits_keeps_its_generation(void **state)
{
    uint64_t w;

    hold("v/" G "/a");
    make_volume("w", FILES, false);
    w = hold("w/" G "/d");
    follow_both(*state, "/v/" G "/a /w/" G "/d", defer_directory);
    assert_true(live_mounts_follow(*state, ROOT_FD, "w"));
    assert_true(is_live(w));
}

/* However often other mounts change meanwhile. */
static void defer_and_scan(struct live_mounts *mounts)
{
    struct warnings w;
    bool keeps;

    begin_warnings(&w);
    for (unsigned i = 0; i < 3; i++) {
        defer_directory(mounts);
        scan(mounts, "/v/" G "/a /w/" G "/d");
        scan(mounts, "/v/" G "/a /w/" G "/d");
    }
    assert_int_equal(end_warnings(&w), 1);
    scan(mounts, "/v/" G "/a");
    assert_true(live_mounts_is_pending(mounts, "w", &keeps));
    assert_false(keeps);
}

static void directory_that_waits_is_warned_of_once(void **state)
{
    hold("v/" G "/a");
    make_volume("w", FILES, false);
    hold("w/" G "/d");
    follow_both(*state, "/v/" G "/a /w/" G "/d", defer_and_scan);
}

/* Each is what its container has, whichever was mounted first. */
static void check_directory_and_file(uint64_t d, uint64_t b)
{
    char copy[80];

    assert_int_equal(find(live_root(d) + 1), d);
    assert_int_equal(find(live_root(b) + 1), b);
    snprintf(copy, sizeof(copy), "%s/b", live_root(d) + 1);
    assert_int_not_equal(find(copy), b);
}

static void file_of_a_directory_that_waits(void **state)
{
    uint64_t v = hold("v/" G "/a"), d, b;
    char roots[128];

    make_volume("w", FILES, false);
    d = hold("w/" G "/d");
    follow_both(*state, "/v/" G "/a /w/" G "/d", defer_directory);
    b = hold("w/" G "/d/b");
    snprintf(roots, sizeof(roots), "%s /w/" G "/d /w/" G "/d/b", live_root(v));
    assert_true(reconcile(*state, roots));
    check_directory_and_file(d, b);
}

static void look_again(struct live_mounts *mounts)
{
    scan(mounts, "/v/" G "/d /v/" G "/d/b");
}

/* It is mounted alone while its directory is exchanged, which it goes with. */
static void file_found_in_the_exchange_of_its_directory(void **state)
{
    uint64_t d = hold("v/" G "/d"), b = hold("v/" G "/d/b");
    char root[80];

    follow_both(*state, "/v/" G "/d", look_again);
    assert_string_equal(list(*state, "v").text, " 'd'/@");
    snprintf(root, sizeof(root), "%s/b", live_root(d));
    assert_int_equal(find(root + 1), b);
    assert_true(is_live(b));
    assert_false(reconcile(*state, root));
    assert_string_equal(list(*state, "v").text, " 'd'/@");
}

static void forget_deferred(struct live_mounts *mounts)
{
    bool keeps;

    assert_false(live_mounts_follow(mounts, ROOT_FD, "w"));
    live_mounts_forget(mounts, "w");
    assert_false(live_mounts_is_pending(mounts, "w", &keeps));
}

static void volume_that_waits_is_removed(void **state)
{
    hold("v/" G "/a");
    make_volume("w", FILES, false);
    hold("w/" G "/a");
    follow_both(*state, "/v/" G "/a /w/" G "/a", forget_deferred);
    assert_false(live_mounts_follow(*state, ROOT_FD, "w"));
    assert_int_equal(live_mounts_count(*state, "w"), 0);
}

/* All files of a volume that changes in place are live, and stay where they are. */
static void live_file_stays_where_it_is(void **state)
{
    uint64_t id, d;

    make_volume("in-place", FILES, true);
    id = hold("in-place/" G "/a");
    d = hold("in-place/" G "/d");
    assert_false(reconcile(*state, "/in-place/" G "/a /in-place/" G "/d"));
    assert_int_equal(find("in-place/" G "/a"), id);
    assert_int_equal(find("in-place/" G "/d"), d);
    assert_string_equal(list(*state, "in-place").text, " 'd'/ 'a'");
    assert_int_equal(live_mounts_count(*state, "in-place"), 2);
    reconcile(*state, "");
    assert_string_equal(kernel.forgotten, "");
}

static void mounts_past_the_maximum_do_not_follow(void **state)
{
    char *all[LIVE_MOUNTS_MAX + 1], files[(LIVE_MOUNTS_MAX + 1) * 16] = "";
    struct mounted_parts parts = {.roots = all, .n = ELEMENTS_OF(all)};
    size_t used = 0, n_live = 0;

    for (size_t i = 0; i < ELEMENTS_OF(all); i++) {
        used += (size_t)snprintf(files + used, sizeof(files) - used, "f%zu= ", i);
        assert_true(asprintf(&all[i], "/many/" G "/f%zu", i) > 0);
    }
    make_volume("many", files, false);
    parts.began_at = now();
    assert_true(reconcile_with(*state, &parts));
    assert_int_equal(live_mounts_count(*state, "many"), LIVE_MOUNTS_MAX);
    for (size_t i = 0; i < ELEMENTS_OF(all); i++) {
        struct stat stat;

        assert_int_equal(tree_find_path(kernel.tree, TREE_ROOT_ID, all[i] + 1, &stat), 0);
        n_live += is_live(stat.st_ino);
        free(all[i]);
    }
    assert_int_equal(n_live, 0); /* those in the generation are copies, or the one too many */
    /* other volumes have a maximum of their own */
    hold("v/" G "/a");
    reconcile(*state, "/v/" G "/a");
    assert_int_equal(live_mounts_count(*state, "v"), 1);
}

/* ---- volumes that have changed */

static void changed_volumes_are_visited(void **state)
{
    uint64_t a = hold("v/" G "/a"), other;
    char roots[128];

    make_volume("w", FILES, false);
    other = hold("w/" G "/a");
    assert_string_equal(changes(*state).text, "");
    reconcile(*state, "/v/" G "/a");
    assert_string_equal(changes(*state).text, " v=1!");
    assert_string_equal(changes(*state).text, "");
    snprintf(roots, sizeof(roots), "/w/" G "/a %s", live_root(a));
    reconcile(*state, roots);
    assert_string_equal(changes(*state).text, " w=1!");
    /* it is still held */
    reconcile(*state, live_root(other));
    assert_string_equal(changes(*state).text, " v=0");
    let_go(a);
    reconcile(*state, live_root(other));
    assert_string_equal(changes(*state).text, "");
    reconcile(*state, "");
    let_go(other);
    reconcile(*state, "");
    assert_string_equal(changes(*state).text, " w=0");
    assert_string_equal(changes(*state).text, "");
}

/* For any result of the scans between two visits. */
static void changes_before_a_visit_are_one(void **state)
{
    uint64_t a = hold("v/" G "/a");

    reconcile(*state, "/v/" G "/a");
    reconcile(*state, "");
    let_go(a);
    reconcile(*state, "");
    reconcile(*state, "/v/" G "/a /v/" G "/d");
    assert_string_equal(changes(*state).text, " v=2!");
    assert_string_equal(changes(*state).text, "");
}

/* The last count may have been reported to another volume of the name. */
static void volume_whose_name_is_used_again(void **state)
{
    reconcile(*state, "/v/" G "/a");
    assert_string_equal(changes(*state).text, " v=1!");
    live_mounts_forget(*state, "v");
    reconcile(*state, "/v/" G "/d");
    assert_string_equal(changes(*state).text, " v=1!");
    live_mounts_forget(*state, "v");
    assert_string_equal(changes(*state).text, " v=0");
    assert_string_equal(changes(*state).text, "");
}

/* ---- very many */

#define N_VOLUMES 50
#define N_FILES   1000

static void visit_none(void *userdata, const struct live_mounts_change *change)
{
    fail_msg("%s has not changed", change->volume);
}

static void count_full(void *userdata, const struct live_mounts_change *change)
{
    struct changes *c = userdata;

    assert_int_equal(change->n_mounted, N_FILES);
    assert_true(change->is_behind);
    c->text[0]++;
}

static bool note_location(void *userdata, const struct live_mount *mount)
{
    struct mounted_parts *parts = userdata;

    assert_true(asprintf(&parts->roots[parts->n++], "/%s", mount->location) > 0);
    return true;
}

static void make_many_volumes(void)
{
    _cleanup_(payload_unrefp) struct payload *payload = NULL;
    char files[N_FILES * 8] = "", name[16];
    size_t used = 0;

    for (size_t i = 0; i < N_FILES; i++)
        used += (size_t)snprintf(files + used, sizeof(files) - used, "f%zu= ", i);
    payload = payload_make(files);
    for (size_t i = 0; i < N_VOLUMES; i++) {
        struct stat stat;

        snprintf(name, sizeof(name), "v%zu", i);
        assert_int_equal(tree_mkdir(kernel.tree, gettid(), TREE_ROOT_ID, name, 0755, &stat), 0);
        make_filled_of(stat.st_ino, G, payload, false);
    }
}

/* Each file twice, as if two containers had mounted it. */
static void scan_files(struct mounted_parts *parts)
{
    for (size_t i = 0; i < 2 * N_VOLUMES * N_FILES; i++)
        assert_true(asprintf(&parts->roots[parts->n++], "/v%zu/" G "/f%zu", i / 2 % N_VOLUMES,
                             i / 2 / N_VOLUMES) > 0);
    parts->began_at = now();
}

/* What they have become. */
static void scan_live_files(struct mounted_parts *parts, struct live_mounts *mounts)
{
    char volume[16];

    for (size_t i = 0; i < N_VOLUMES; i++) {
        snprintf(volume, sizeof(volume), "v%zu", i);
        live_mounts_visit(mounts, volume, note_location, parts);
    }
    assert_int_equal(parts->n, N_VOLUMES * N_FILES);
    parts->began_at = now();
}

static void scan_nothing(struct mounted_parts *parts)
{
    while (parts->n > 0)
        free(parts->roots[--parts->n]);
    parts->began_at = now();
}

/* A step that walks all members for each of them takes minutes here. */
static void very_many_mounts(void **state)
{
    static char *roots[2 * N_VOLUMES * N_FILES];
    struct mounted_parts parts = {.roots = roots};
    struct changes full = {.text = ""};

    make_many_volumes();
    scan_files(&parts);
    assert_true(reconcile_with(*state, &parts));
    live_mounts_visit_changed(*state, count_full, &full);
    assert_int_equal(full.text[0], N_VOLUMES);
    assert_false(reconcile_with(*state, &parts)); /* it is outdated */
    live_mounts_visit_changed(*state, visit_none, NULL);
    scan_nothing(&parts);
    scan_live_files(&parts, *state);
    assert_false(reconcile_with(*state, &parts));
    live_mounts_visit_changed(*state, visit_none, NULL);
    live_mounts_forget(*state, "v7");
    assert_string_equal(changes(*state).text, " v7=0");
    scan_nothing(&parts);
    assert_false(reconcile_with(*state, &parts));
    assert_int_equal(live_mounts_count(*state, "v8"), 0);
    assert_string_equal(list(*state, "v8").text, "");
}

/* ---- release */

static void what_is_no_longer_mounted_loses_its_name(void **state)
{
    uint64_t id = hold("v/" G "/a");
    char names[64];
    struct stat stat;

    snprintf(names, sizeof(names), " %" PRIu64 " %" PRIu64 ".from", id, id);
    reconcile(*state, "/v/" G "/a");
    reconcile(*state, "");
    assert_string_equal(kernel.forgotten, names);
    assert_int_equal(tree_find_path(kernel.tree, TREE_ROOT_ID, live_root(id) + 1, &stat), -ENOENT);
    /* a container may still have it, whose mounts are not scanned */
    assert_true(is_live(id));
    assert_string_equal(list(*state, "v").text, " 'a'");
    assert_int_equal(live_mounts_count(*state, "v"), 0);
    reconcile(*state, "");
    assert_string_equal(kernel.forgotten, names); /* once */
    assert_string_equal(list(*state, "v").text, " 'a'");
    let_go(id);
    assert_false(is_there(id));
    reconcile(*state, "");
    assert_string_equal(list(*state, "v").text, "");
}

static void directory_that_is_no_longer_mounted(void **state)
{
    uint64_t d = hold("v/" G "/d"), copy;

    reconcile(*state, "/v/" G "/d");
    copy = find("v/" G "/d/e/c");
    reconcile(*state, "");
    assert_string_equal(list(*state, "v").text, " 'd'/");
    assert_true(is_live(d));
    let_go(d);
    assert_false(is_there(d));
    reconcile(*state, "");
    assert_string_equal(list(*state, "v").text, "");
    assert_true(has_content(copy, "3"));
}

/* What has no name any more may be mounted once more all the same. */
static void mount_that_is_found_again(void **state)
{
    uint64_t id = hold("v/" G "/a");
    char root[96];

    reconcile(*state, "/v/" G "/a");
    reconcile(*state, "");
    assert_int_equal(live_mounts_count(*state, "v"), 0);
    snprintf(root, sizeof(root), "%s//deleted", live_root(id));
    reconcile(*state, root);
    assert_int_equal(live_mounts_count(*state, "v"), 1);
    assert_string_equal(list(*state, "v").text, " 'a'");
}

static void forgotten_volume(void **state)
{
    uint64_t a = hold("v/" G "/a"), d = hold("v/" G "/d"), other;
    char roots[160];

    make_volume("w", FILES, false);
    other = hold("w/" G "/a");
    reconcile(*state, "/v/" G "/a /w/" G "/a /v/" G "/d");
    live_mounts_forget(*state, "v");
    assert_string_equal(list(*state, "v").text, "");
    assert_int_equal(live_mounts_count(*state, "v"), 0);
    assert_string_equal(list(*state, "w").text, " 'a'@");
    snprintf(roots, sizeof(roots), " %" PRIu64 " %" PRIu64 ".from %" PRIu64 " %" PRIu64 ".from", d,
             d, a, a);
    assert_string_equal(kernel.forgotten, roots);
    assert_true(has_content(a, "1")); /* it keeps its content until it is no longer in use */
    snprintf(roots, sizeof(roots), "%s//deleted", live_root(a));
    reconcile(*state, roots);
    assert_string_equal(list(*state, "v").text, "");
    let_go(a);
    let_go(d);
    assert_false(is_there(a));
    assert_false(is_there(d));
    assert_true(is_there(other));
    live_mounts_forget(*state, "absent");
}

/* ---- where files are not live */

static void mounts_are_counted_only(void **state)
{
    uint64_t a = hold("v/" G "/a");
    size_t n_nodes = tree_usage(kernel.tree).n_nodes;

    assert_false(reconcile(*state, "/v/" G "/a /v/" G "/a /v/" G "/d /.live/5"));
    assert_int_equal(live_mounts_count(*state, "v"), 3);
    assert_string_equal(list(*state, "v").text, " 'd'/ 'a' 'a'");
    assert_int_equal(find("v/" G "/a"), a);
    assert_false(is_live(a));
    assert_int_equal(tree_usage(kernel.tree).n_nodes, n_nodes);
    reconcile(*state, "/v/" G "/a");
    assert_int_equal(live_mounts_count(*state, "v"), 1);
    reconcile(*state, "");
    assert_int_equal(live_mounts_count(*state, "v"), 0);
    assert_string_equal(list(*state, "v").text, "");
    reconcile(*state, "/v/" G "/a");
    live_mounts_forget(*state, "v");
    assert_int_equal(live_mounts_count(*state, "v"), 0);
    assert_string_equal(kernel.forgotten, "");
}

/* ---- failures */

/* What cannot be taken out stays where it is, and the next scan retries. */
static void every_call_may_fail(void **state)
{
    unsigned n = 0;

    do {
        uint64_t a, d;
        size_t n_nodes;
        bool has_taken;

        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
        a = hold("v/" G "/a");
        d = hold("v/" G "/d");
        n_nodes = tree_usage(kernel.tree).n_nodes;
        kernel.countdown = ++n;
        has_taken = reconcile(*state, "/v/" G "/a");
        kernel.countdown = 0;
        assert_int_equal(has_taken, !kernel.has_failed);
        if (kernel.has_failed) {
            assert_string_equal(list(*state, "v").text, "");
            assert_int_equal(find("v/" G "/a"), a);
            assert_false(is_live(a));
            assert_true(tree_usage(kernel.tree).n_nodes <= n_nodes + 1); /* LIVE_DIRECTORY */
        }
        reconcile(*state, "/v/" G "/a /v/" G "/d");
        assert_true(is_live(d));
    } while (kernel.has_failed);
    assert_int_equal(n, 5); /* the first that was too many */
}

/* @is_failing: no call works. Return: the number of warnings of a scan. */
static size_t warnings_of(struct live_mounts *mounts, const char *roots, bool is_failing)
{
    struct warnings w;

    begin_warnings(&w);
    kernel.fails_always = is_failing;
    reconcile(mounts, roots);
    kernel.fails_always = false;
    return end_warnings(&w);
}

/* Once for all of them, until all follow. */
static void what_does_not_follow_is_warned_of_once(void **state)
{
    uint64_t a = hold("v/" G "/a"), d = hold("v/" G "/d");
    char roots[128];
    int len;

    assert_int_equal(warnings_of(*state, "/v/" G "/a /v/" G "/d", true), 1);
    assert_int_equal(warnings_of(*state, "/v/" G "/a /v/" G "/d", true), 0);
    assert_false(is_live(a));
    assert_int_equal(warnings_of(*state, "/v/" G "/a /v/" G "/d", false), 0);
    assert_true(is_live(a));
    len = snprintf(roots, sizeof(roots), "%s", live_root(a));
    len += snprintf(roots + len, sizeof(roots) - (size_t)len, " %s", live_root(d));
    snprintf(roots + len, sizeof(roots) - (size_t)len, " /v/" G "/dd");
    assert_int_equal(warnings_of(*state, roots, true), 1);
    assert_int_equal(warnings_of(*state, roots, true), 0);
    assert_string_equal(list(*state, "v").text, " 'd'/@ 'a'@");
    /* what is gone is no failure */
    assert_int_equal(warnings_of(*state, "/v/" G "/absent", true), 0);
}

/* It was taken out already when memory was short: it becomes live at the next scan. */
static void memory_is_short_for_what_was_taken_out(void **state)
{
#ifdef FAILMALLOC_IS_OFF
    skip();
#else
    unsigned long n = 0;

    do {
        bool was_live, was_behind;
        uint64_t id;

        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
        id = hold("v/" G "/a");
        failmalloc.countdown = ++n;
        failmalloc.has_failed = false;
        failmalloc.is_on = true;
        reconcile(*state, "/v/" G "/a");
        failmalloc.is_on = false;
        was_live = is_live(id);
        was_behind = live_mounts_take_behind(*state, "v");
        reconcile(*state, find("v/" G "/a") != id ? live_root(id) : "/v/" G "/a");
        assert_true(is_live(id));
        assert_int_equal(live_mounts_count(*state, "v"), 1);
        assert_true(live_mounts_take_behind(*state, "v") || (was_live && was_behind));
    } while (failmalloc.has_failed);
#endif
}

static int come_and_go(void *userdata)
{
    static const struct tree_options options = {.root_mode = 0755, .answers_open = true};
    char *a = strdupa("/v/" G "/a"), *d = strdupa("/v/" G "/d"), *roots[] = {a, d};
    struct mounted_parts parts = {.roots = roots, .n = 2}, none = {.n = 0};
    struct live_mounts *mounts = NULL;
    struct payload *payload = userdata;
    struct stat stat;
    int r;

    memset(&kernel, 0, sizeof(kernel));
    r = tree_new(&options, &kernel.tree);
    if (r == 0)
        r = tree_mkdir(kernel.tree, gettid(), TREE_ROOT_ID, "v", 0755, &stat);
    if (r == 0)
        r = tree_stage(kernel.tree, G, payload, false);
    if (r == 0)
        r = tree_mkdir(kernel.tree, gettid(), stat.st_ino, G, 0755, &stat);
    if (r == 0)
        r = live_mounts_new(NULL, kernel.tree, true, &mounts);
    if (r == 0) {
        hold("v/" G "/a");
        parts.began_at = now();
        reconcile_with(mounts, &parts);
        none.began_at = now();
        reconcile_with(mounts, &none);
        changes(mounts);
        parts.began_at = now();
        reconcile_with(mounts, &parts);
        live_mounts_forget(mounts, "v");
    }
    live_mounts_free(mounts);
    kernel.tree = tree_free(kernel.tree);
    return r;
}

static void memory_can_be_short(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make(FILES);

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    failmalloc_try(come_and_go, payload);
    assert_null(live_mounts_free(NULL));
}

int main(void)
{
#define TEST(f)          cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TEST_COUNTING(f) cmocka_unit_test_setup_teardown(f, setup_counting, teardown)
    const struct CMUnitTest tests[] = {
        TEST_COUNTING(roots_tell_volume_and_path),
        TEST_COUNTING(roots_that_are_no_part_of_a_volume),
        TEST(file_is_taken_out_of_its_generation),
        TEST(directory_is_taken_out_with_all_below_it),
        TEST(file_of_a_directory_that_is_live),
        TEST(file_and_its_directory_in_one_look),
        TEST(mounts_of_one_file_in_one_look),
        TEST(scan_that_began_before),
        TEST(each_mount_of_a_file_is_live),
        TEST(unlinked_file_becomes_live),
        TEST(unlinked_file_has_its_volume),
        TEST(file_unlinked_after_the_scan_becomes_live),
        TEST(file_unlinked_before_it_is_taken_out_becomes_live),
        TEST(unlinked_directory_does_not),
        TEST(part_waits_for_the_exchange_of_another),
        TEST(file_that_waits_is_unlinked),
        TEST(directory_that_waits_keeps_its_generation),
        TEST(directory_that_waits_is_warned_of_once),
        TEST(file_of_a_directory_that_waits),
        TEST(file_found_in_the_exchange_of_its_directory),
        TEST(volume_that_waits_is_removed),
        TEST(live_file_stays_where_it_is),
        TEST(mounts_past_the_maximum_do_not_follow),
        TEST(changed_volumes_are_visited),
        TEST(changes_before_a_visit_are_one),
        TEST(volume_whose_name_is_used_again),
        TEST(very_many_mounts),
        TEST(what_is_no_longer_mounted_loses_its_name),
        TEST(directory_that_is_no_longer_mounted),
        TEST(mount_that_is_found_again),
        TEST(forgotten_volume),
        TEST_COUNTING(mounts_are_counted_only),
        TEST(every_call_may_fail),
        TEST(what_does_not_follow_is_warned_of_once),
        TEST(memory_is_short_for_what_was_taken_out),
        cmocka_unit_test(memory_can_be_short),
    };

    return cmocka_run_group_tests_name("live mounts", tests, NULL, NULL);
}

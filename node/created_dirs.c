/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory is recorded before it is created. If the process is killed in between, the record
 * names a directory that was not created, which is harmless: prune() removes empty directories
 * only. In the other order a killed process would leave a directory for ever.
 *
 * The file has one path in each line, parents before children. It is replaced as a whole.
 */
#include "node/created_dirs.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/privileged.h"
#include "node/safe_path.h"
#include "node/target.h"

#define MODE 0755 /* the mount on it decides who may enter */

#define FILE_MAX_BYTES 1048576u /* 128 for each directory; /run is in memory */

struct created_dirs {
    char *path;
    char *new_path;
    char **dirs; /* in the order of their creation */
    size_t n;
};

/* ---- the record */

static size_t find(const struct created_dirs *d, const char *path)
{
    size_t i = 0;

    while (i < d->n && !streq(d->dirs[i], path))
        i++;
    return i;
}

static int record(struct created_dirs *d, const char *path)
{
    if (find(d, path) < d->n)
        return 0;
    if (d->n == CREATED_DIRS_MAX)
        return -E2BIG;
    d->dirs[d->n] = strdup(path);
    if (d->dirs[d->n] == NULL)
        return -ENOMEM;
    d->n++;
    return 0;
}

static void forget(struct created_dirs *d, size_t i)
{
    assert(i < d->n);
    free(d->dirs[i]);
    memmove(&d->dirs[i], &d->dirs[i + 1], (d->n - i - 1) * sizeof(d->dirs[0]));
    d->n--;
}

static int write_text(const char *path, const struct buf *text)
{
    _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        return negative_errno();
    for (size_t done = 0; done < text->len;) {
        ssize_t n = write(fd, text->data + done, text->len - done);

        if (n < 0)
            return negative_errno();
        done += (size_t)n;
    }
    return 0;
}

/* A failure is not fatal: without the file, directories outlive a process that is killed. */
static void save(struct created_dirs *d)
{
    struct buf text = BUF_INIT(FILE_MAX_BYTES);
    int r = 0;

    for (size_t i = 0; i < d->n && r == 0; i++)
        r = buf_addf(&text, "%s\n", d->dirs[i]);
    if (r == 0)
        r = write_text(d->new_path, &text);
    if (r == 0 && rename(d->new_path, d->path) < 0)
        r = negative_errno();
    if (r < 0)
        log_warn("cannot record the created directories; they stay if the process is killed",
                 "file", d->path, "error", strerrordesc_np(-r));
    buf_deinit(&text);
}

/* Return: 0 or -ENOMEM. */
static int load(struct created_dirs *d)
{
    struct buf text = BUF_INIT(FILE_MAX_BYTES);
    int r = buf_read_file(&text, AT_FDCWD, d->path);
    char *at = text.data, *line;

    if (r < 0 && r != -ENOMEM) {
        log_debug("cannot read the record of created directories", "file", d->path, "error",
                  strerrordesc_np(-r));
        r = 0;
        at = NULL;
    }
    while (r == 0 && (line = strsep(&at, "\n")) != NULL)
        r = line[0] == '/' ? record(d, line) : 0;
    buf_deinit(&text);
    return r == -E2BIG ? 0 : r;
}

/* ---- creating */

/* Return: 0, also if it exists; -errno. */
static int create_one(struct created_dirs *d, const char *path, struct error *e)
{
    _cleanup_(fd_closep) int parent_fd = -1;
    const char *name;
    struct statx st;
    int r;

    parent_fd = safe_path_open_parent(path, &name, e);
    if (parent_fd < 0)
        return parent_fd;
    /* do not query a mount on it, which may be our own or dead; the walk checks a link */
    if (statx(parent_fd, name, AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) == 0)
        return S_ISDIR(st.stx_mode) || S_ISLNK(st.stx_mode) ? 0 : -ENOTDIR;
    if (errno != ENOENT)
        return negative_errno();
    r = record(d, path);
    if (r < 0)
        return r;
    save(d);
    r = mkdirat(parent_fd, name, MODE) < 0 ? negative_errno() : 0;
    /* with this mode for any umask: users of the volume pass through it */
    if (r == 0 && fchmodat(parent_fd, name, MODE, 0) == 0)
        return 0;
    if (r == 0) {
        r = negative_errno();
        unlinkat(parent_fd, name, AT_REMOVEDIR);
    }
    forget(d, find(d, path));
    save(d);
    return r == -EEXIST ? 0 : error_set_errno(e, r, "cannot create the directory %s", path);
}

static int make(struct created_dirs *dirs, const char *path, struct error *e)
{
    _cleanup_(freep) char *part = strdup(path);
    int r = part != NULL ? 0 : -ENOMEM;

    assert(path[0] == '/');
    for (char *slash = part; r == 0 && slash != NULL;) {
        slash = strchr(slash + 1, '/');
        if (slash != NULL)
            *slash = '\0';
        r = create_one(dirs, part, e);
        if (r == 0 && slash != NULL)
            *slash = '/';
    }
    if (r == -EPERM)
        return r; /* with the directory that is unsafe */
    if (r == -E2BIG)
        return error_set(e, r, "cannot create the directory %s: %u others exist already", path,
                         CREATED_DIRS_MAX);
    return r < 0
               ? error_set_errno(e, r, "cannot create the directory %s", part != NULL ? part : path)
               : 0;
}

/* ---- removing */

/* Return: whether it is gone. */
static bool remove_one(const char *path)
{
    const char *name;
    _cleanup_(fd_closep) int parent_fd = safe_path_open_parent(path, &name, NULL);

    if (parent_fd < 0)
        return parent_fd == -ENOENT;
    return unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

static void remove_all(struct created_dirs *dirs, const char *path)
{
    _cleanup_(freep) char *part = strdup(path);
    char *slash = part;

    assert(path[0] == '/');
    while (slash != NULL && part[0] != '\0') {
        size_t i = find(dirs, part);

        /* a directory that is not empty stays recorded: it may contain other targets */
        if (i == dirs->n || !remove_one(part))
            break;
        forget(dirs, i);
        slash = strrchr(part, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    save(dirs);
}

static void prune(struct created_dirs *dirs, created_dirs_needed_fn *is_needed, void *userdata)
{
    const struct target_area anywhere = {.root = NULL};

    /* children before parents */
    for (size_t i = dirs->n; i-- > 0;) {
        if (is_needed(userdata, dirs->dirs[i]))
            continue;
        /* of a volume whose file was removed while no daemon ran */
        target_detach_ours(&anywhere, dirs->dirs[i], NULL);
        if (remove_one(dirs->dirs[i]))
            forget(dirs, i);
    }
    save(dirs);
}

/* ---- by the privileged thread, as the directories may be anywhere */

struct dirs_call {
    struct created_dirs *dirs;
    const char *path;
    struct error *e;
    created_dirs_needed_fn *is_needed;
    void *userdata;
};

static int run_make(void *arguments)
{
    const struct dirs_call *c = arguments;

    return make(c->dirs, c->path, c->e);
}

static int run_remove(void *arguments)
{
    const struct dirs_call *c = arguments;

    remove_all(c->dirs, c->path);
    return 0;
}

static int run_prune(void *arguments)
{
    const struct dirs_call *c = arguments;

    prune(c->dirs, c->is_needed, c->userdata);
    return 0;
}

int created_dirs_make(struct created_dirs *dirs, const char *path, struct error *e)
{
    struct dirs_call c = {.dirs = dirs, .path = path, .e = e};

    return privileged_call(run_make, &c);
}

void created_dirs_remove(struct created_dirs *dirs, const char *path)
{
    struct dirs_call c = {.dirs = dirs, .path = path};

    privileged_call(run_remove, &c);
}

void created_dirs_prune(struct created_dirs *dirs, created_dirs_needed_fn *is_needed,
                        void *userdata)
{
    struct dirs_call c = {.dirs = dirs, .is_needed = is_needed, .userdata = userdata};

    privileged_call(run_prune, &c);
}

/* ---- new and free */

int created_dirs_new(const char *path, struct created_dirs **ret_dirs, struct error *e)
{
    _cleanup_(created_dirs_freep) struct created_dirs *d = calloc(1, sizeof(*d));
    int r = -ENOMEM;

    if (d == NULL)
        return error_set_errno(e, r, "cannot record directories");
    d->path = strdup(path);
    d->dirs = calloc(CREATED_DIRS_MAX, sizeof(d->dirs[0]));
    if (asprintf(&d->new_path, "%s.new", path) < 0)
        d->new_path = NULL;
    if (d->path != NULL && d->dirs != NULL && d->new_path != NULL)
        r = load(d);
    if (r < 0)
        return error_set_errno(e, r, "cannot record directories");
    *ret_dirs = TAKE(d);
    return 0;
}

struct created_dirs *created_dirs_free(struct created_dirs *dirs)
{
    if (dirs == NULL)
        return NULL;
    for (size_t i = 0; i < dirs->n; i++)
        free(dirs->dirs[i]);
    free(dirs->dirs);
    free(dirs->path);
    free(dirs->new_path);
    free(dirs);
    return NULL;
}

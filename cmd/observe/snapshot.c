/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/observe/snapshot.h"

#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <openssl/evp.h>

#include "base/cleanup.h"

#define READ_BYTES 16384

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)

static int digest_of(int fd, uint8_t digest[static SHA256_DIGEST_LENGTH])
{
    _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t bytes[READ_BYTES];
    ssize_t n = 0;
    bool is_ok = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;

    while (is_ok && (n = read(fd, bytes, sizeof(bytes))) > 0)
        is_ok = EVP_DigestUpdate(context, bytes, (size_t)n) == 1;
    explicit_bzero(bytes, sizeof(bytes));
    if (n < 0)
        return negative_errno();
    return is_ok && EVP_DigestFinal_ex(context, digest, NULL) == 1 ? 0 : -ENOMEM;
}

/* Return: 0; 1 for what is not a regular file; -errno. */
static int read_file(int dir_fd, const char *path, struct snapshot_file *ret_file)
{
    /* not blocking: anything may be in a directory that is not a volume */
    _cleanup_(fd_closep) int fd =
        openat(dir_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat status;

    if (fd < 0)
        return negative_errno();
    if (fstat(fd, &status) < 0)
        return negative_errno();
    ret_file->device = status.st_dev;
    ret_file->inode = status.st_ino;
    return S_ISREG(status.st_mode) ? digest_of(fd, ret_file->digest) : 1;
}

static int add_file(struct snapshot *s, int dir_fd, const char *path)
{
    struct snapshot_file file = {0}, *files;
    int r = read_file(dir_fd, path, &file);

    if (r != 0)
        return r > 0 ? 0 : r;
    if (s->n == SNAPSHOT_FILES_MAX)
        return -E2BIG;
    files = reallocarray(s->files, s->n + 1, sizeof(*files));
    if (files == NULL)
        return -ENOMEM;
    s->files = files;
    file.path = strdup(path);
    if (file.path == NULL)
        return -ENOMEM;
    s->files[s->n++] = file;
    return 0;
}

static int compare_paths(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int compare_files(const void *a, const void *b)
{
    const struct snapshot_file *x = a, *y = b;

    return strcmp(x->path, y->path);
}

/* @root: ends with "/" */
static int add_all(struct snapshot *s, FTS *tree, int dir_fd, const char *root)
{
    FTSENT *entry;
    int r = 0;

    while (r == 0 && (errno = 0, entry = fts_read(tree)) != NULL) {
        if (entry->fts_info == FTS_F)
            r = add_file(s, dir_fd, entry->fts_path + strlen(root));
        else if (entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR ||
                 entry->fts_info == FTS_NS)
            r = -entry->fts_errno;
    }
    return r == 0 && errno != 0 ? negative_errno() : r;
}

int snapshot_read(int dir_fd, struct snapshot *ret_snapshot, struct error *e)
{
    char root[32];
    char *const roots[] = {root, NULL};
    struct snapshot s = {0};
    FTS *tree;
    int r;

    snprintf(root, sizeof(root), "/proc/self/fd/%d/", dir_fd);
    tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, compare_paths);
    r = tree != NULL ? add_all(&s, tree, dir_fd, root) : negative_errno();
    if (tree != NULL)
        fts_close(tree);
    if (r < 0) {
        snapshot_deinit(&s);
        if (r == -E2BIG)
            return error_set(e, r, "there are more than %u files", SNAPSHOT_FILES_MAX);
        return error_set_errno(e, r == -ESTALE ? -ENOENT : r, "cannot read the files");
    }
    if (s.n > 0)
        qsort(s.files, s.n, sizeof(*s.files), compare_files);
    *ret_snapshot = s;
    return 0;
}

void snapshot_deinit(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->n; i++)
        free(snapshot->files[i].path);
    free(snapshot->files);
    *snapshot = (struct snapshot){0};
}

const char *snapshot_find(const struct snapshot *snapshot, dev_t device, ino_t inode)
{
    for (size_t i = 0; i < snapshot->n; i++)
        if (snapshot->files[i].inode == inode && snapshot->files[i].device == device)
            return snapshot->files[i].path;
    return NULL;
}

int snapshot_compare(const struct snapshot *from, const struct snapshot *to,
                     snapshot_change_fn *report, void *userdata)
{
    size_t i = 0, j = 0;
    int r = 0;

    while (r == 0 && (i < from->n || j < to->n)) {
        const struct snapshot_file *old = from->files + i, *new = to->files + j;
        int order = i == from->n ? 1 : j == to->n ? -1 : strcmp(old->path, new->path);

        if (order < 0)
            r = report(userdata, SNAPSHOT_REMOVED, old->path);
        else if (order > 0)
            r = report(userdata, SNAPSHOT_ADDED, new->path);
        else if (memcmp(old->digest, new->digest, sizeof(old->digest)) != 0)
            r = report(userdata, SNAPSHOT_CHANGED, new->path);
        i += order <= 0;
        j += order >= 0;
    }
    return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The record of created directories, as a process that was killed may have left it: each directory
 * that is read from it is an absolute path. Nothing is removed here, as all are needed. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "node/created_dirs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_needed(void *userdata, const char *path)
{
    unsigned *n = userdata;

    assert(path[0] == '/' && strchr(path, '\n') == NULL);
    (*n)++;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(fd_closep) int fd = memfd_create("created-dirs", MFD_CLOEXEC);
    struct created_dirs *dirs = NULL;
    struct error e = ERROR_INIT;
    unsigned n = 0;
    char path[64];

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (created_dirs_new(path, &dirs, &e) < 0)
        return 0;
    created_dirs_prune(dirs, is_needed, &n);
    assert(n <= CREATED_DIRS_MAX);
    created_dirs_free(dirs);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A directory of a test's own, in memory where possible, as some tests make thousands of files. For
 * inclusion behind <cmocka.h>.
 */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PRIVATE_DIR_SIZE 32

/* Make it, and change to it. @ret_path: absolute */
static inline void private_dir_enter(char ret_path[static PRIVATE_DIR_SIZE])
{
    const char *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    snprintf(ret_path, PRIVATE_DIR_SIZE, "%s/secretfs.XXXXXX", memory);
    assert_non_null(mkdtemp(ret_path));
    assert_int_equal(chdir(ret_path), 0);
}

static inline int private_dir_remove_one(const char *path, const struct stat *status, int type,
                                         struct FTW *walk)
{
    return remove(path);
}

/* Remove it with all that is in it, and change to the root. */
static inline void private_dir_leave(const char *path)
{
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(nftw(path, private_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

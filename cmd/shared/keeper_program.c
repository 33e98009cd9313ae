/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper is a program of its own, so that it needs no library and little memory, and an upgrade
 * of secretfs leaves it alone. It lies beside secretfs.
 */
#include "cmd/shared/keeper_program.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#define KEEPER "secretfs-keeper"

/* Return: 0; -errno of readlink(2); -ENAMETOOLONG. */
static int find_keeper(char ret_path[static PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", ret_path, PATH_MAX);
    char *name;

    if (len < 0)
        return negative_errno();
    if ((size_t)len + sizeof(KEEPER) >= PATH_MAX)
        return -ENAMETOOLONG;
    ret_path[len] = '\0';
    name = strrchr(ret_path, '/') + 1;
    memcpy(name, KEEPER, sizeof(KEEPER));
    return 0;
}

int keeper_program_exec(char *argv[], struct error *e)
{
    static char keeper[] = KEEPER;
    char path[PATH_MAX];
    int r = find_keeper(path);

    argv[0] = keeper;
    if (r == 0) {
        execv(path, argv);
        r = negative_errno();
    }
    return error_set_errno(e, r, "cannot run " KEEPER ", which belongs beside secretfs");
}

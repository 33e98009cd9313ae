/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/leader.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/cleanup.h"

#define STAT_SIZE 256 /* the name has 64 bytes at most, and the state follows it */

bool keeper_leader_is_dead(pid_t pid)
{
    _cleanup_(fd_closep) int fd = -1;
    char path[32], text[STAT_SIZE];
    const char *state;
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (len <= 0)
        return false;
    text[len] = '\0';
    state = strrchr(text, ')'); /* the name may hold any character */
    return state != NULL && (str_after(state, ") Z") != NULL || str_after(state, ") X") != NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"

int process_run(const char *const argv[])
{
    posix_spawnattr_t attr;
    sigset_t none;
    pid_t pid;
    int status, r;

    assert(argv[0] != NULL);
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attr, &none);
    /* the prototype lacks const for historical reasons; argv is not written to */
    r = posix_spawnp(&pid, argv[0], NULL, &attr, (char *const *)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&attr);
    if (r != 0)
        return -r;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return negative_errno();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

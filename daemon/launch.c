/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A child is made by posix_spawn(), which shares our memory with it until it calls execve(): no
 * copy of a secret comes to be in another process. Its limits are lent for that moment by this
 * process, as there is no place in posix_spawn() to set them.
 */
#include "daemon/launch.h"

#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

void launch_init(struct launch *launch)
{
    (void)pthread_sigmask(SIG_SETMASK, NULL, &launch->mask);
    (void)sigaction(SIGPIPE, NULL, &launch->on_sigpipe);
    secmem_inherited_save(&launch->limits);
}

void launch_deinit(struct launch *launch)
{
    secmem_inherited_deinit(&launch->limits);
}

/* ---- finding it */

static const char *path_of(char *const envp[])
{
    for (; *envp != NULL; envp++) {
        const char *path = str_after(*envp, "PATH=");

        if (path != NULL)
            return path;
    }
    return PATH_DEFAULT;
}

/* Return: 0 for a file that can be run; -EACCES for one that cannot, -ENOENT for none. */
static int check_file(const char *file)
{
    struct stat status;

    if (stat(file, &status) < 0)
        return errno == EACCES ? -EACCES : -ENOENT;
    return S_ISREG(status.st_mode) && access(file, X_OK) == 0 ? 0 : -EACCES;
}

/* As a shell does: an empty element is the working directory, a file that cannot be run is passed
 * over. @ret_file: the caller's */
static int find_on_path(const char *name, const char *path, char **ret_file)
{
    int result = -ENOENT;

    while (true) {
        size_t len = strcspn(path, ":");
        _cleanup_(freep) char *file = NULL;
        int r;

        if (asprintf(&file, "%.*s%s%s", (int)len, path, len > 0 ? "/" : "", name) < 0)
            return -ENOMEM;
        r = check_file(file);
        if (r == 0) {
            *ret_file = TAKE(file);
            return 0;
        }
        if (r == -EACCES)
            result = r;
        if (path[len] == '\0')
            return result;
        path += len + 1;
    }
}

static int find_command(const char *name, char *const envp[], char **ret_file, struct error *e)
{
    int r;

    if (strchr(name, '/') == NULL && *name != '\0') {
        r = find_on_path(name, path_of(envp), ret_file);
    } else {
        r = check_file(name);
        if (r == 0) {
            *ret_file = strdup(name);
            r = *ret_file != NULL ? 0 : -ENOMEM;
        }
    }
    if (r == -ENOENT)
        return error_set(e, r, "cannot run %.256s: command not found", name);
    return r < 0 ? error_set_errno(e, r, "cannot run %.256s", name) : 0;
}

/* The file was there a moment ago, so it is what it names behind "#!" that is not. */
static int execution_failed(const char *file, int r, struct error *e)
{
    if (r == -ENOENT)
        return error_set(e, -ENOEXEC, "cannot run %.256s: its interpreter does not exist", file);
    if (r == -E2BIG)
        return error_set(e, r, "cannot run %.256s: arguments and environment are too large", file);
    return error_set_errno(e, r, "cannot run %.256s", file);
}

int launch_exit_status(int result)
{
    return result == -ENOENT ? 127 : 126;
}

/* ---- starting it */

int launch_replace(const struct launch *launch, char *const argv[], char *const envp[],
                   struct error *e)
{
    _cleanup_(freep) char *file = NULL;
    int r = find_command(argv[0], envp, &file, e);

    if (r < 0)
        return r;
    (void)sigaction(SIGPIPE, &launch->on_sigpipe, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &launch->mask, NULL);
    secmem_inherited_lend(&launch->limits);
    (void)execve(file, argv, envp);
    return execution_failed(file, negative_errno(), e);
}

static int set_attributes(posix_spawnattr_t *attr, const struct launch *launch)
{
    short flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK;
    sigset_t defaults;
    int r;

    (void)sigemptyset(&defaults);
    if (launch->on_sigpipe.sa_handler != SIG_IGN) {
        (void)sigaddset(&defaults, SIGPIPE);
        flags |= POSIX_SPAWN_SETSIGDEF;
    }
    r = posix_spawnattr_setflags(attr, flags);
    if (r == 0)
        r = posix_spawnattr_setpgroup(attr, 0);
    if (r == 0)
        r = posix_spawnattr_setsigmask(attr, &launch->mask);
    return r != 0 ? r : posix_spawnattr_setsigdefault(attr, &defaults);
}

/* Return: 0, or a positive errno as all functions of this family do. */
static int spawn(const struct launch *launch, const char *file, char *const argv[],
                 char *const envp[], int tty_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int r = posix_spawn_file_actions_init(&actions);

    if (r != 0)
        return r;
    (void)posix_spawnattr_init(&attr);
    r = set_attributes(&attr, launch);
    if (r == 0 && tty_fd >= 0)
        r = posix_spawn_file_actions_addtcsetpgrp_np(&actions, tty_fd);
    if (r == 0) {
        secmem_inherited_lend(&launch->limits);
        r = posix_spawn(ret_pid, file, &actions, &attr, argv, envp);
        secmem_inherited_unlend(&launch->limits);
    }
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&actions);
    return r;
}

int launch_spawn(const struct launch *launch, char *const argv[], char *const envp[], int tty_fd,
                 pid_t *ret_pid, struct error *e)
{
    _cleanup_(freep) char *file = NULL;
    int r = find_command(argv[0], envp, &file, e);

    if (r < 0)
        return r;
    r = spawn(launch, file, argv, envp, tty_fd, ret_pid);
    return r != 0 ? execution_failed(file, -r, e) : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * posix_spawn() creates the child; it shares our memory until execve(), so no other process ever
 * has a copy of a secret. posix_spawn() cannot set limits: this process takes on the inherited ones
 * for that moment, and the child inherits them.
 */
#include "cmd/exec/launch.h"

#include <dirent.h>
#include <limits.h>
#include <linux/close_range.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

/* ---- descriptors */

static int descriptor_compare(const void *a, const void *b)
{
    const int *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static int add_descriptor(struct launch *launch, int fd)
{
    int *more = reallocarray(launch->descriptors, launch->n_descriptors + 1, sizeof(*more));

    if (more == NULL)
        return -ENOMEM;
    launch->descriptors = more;
    launch->descriptors[launch->n_descriptors++] = fd;
    return 0;
}

static int add_descriptors(struct launch *launch)
{
    _cleanup_(dir_closep) DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    int r = 0;

    if (dir == NULL)
        return negative_errno();
    while (r >= 0 && (entry = readdir(dir)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);

        if (entry->d_name[0] != '.' && fd != dirfd(dir))
            r = add_descriptor(launch, fd);
    }
    if (launch->n_descriptors > 0)
        qsort(launch->descriptors, launch->n_descriptors, sizeof(int), descriptor_compare);
    return r;
}

/*
 * Our descriptors are close-on-exec, but libraries open some that are not (libcurl's socket pairs).
 * All but the inherited ones get the flag.
 */
static void keep_descriptors(const struct launch *launch)
{
    unsigned first = 0;

    for (size_t i = 0; i < launch->n_descriptors; i++) {
        unsigned fd = (unsigned)launch->descriptors[i];

        assert(fd >= first); /* they are sorted */
        if (fd > first)
            close_range(first, fd - 1, CLOSE_RANGE_CLOEXEC);
        first = fd + 1;
    }
    close_range(first, UINT_MAX, CLOSE_RANGE_CLOEXEC);
}

int launch_init(struct launch *launch, struct error *e)
{
    int r;

    *launch = (struct launch){.descriptors = NULL};
    pthread_sigmask(SIG_SETMASK, NULL, &launch->mask);
    sigaction(SIGPIPE, NULL, &launch->on_sigpipe);
    r = add_descriptors(launch);
    secmem_inherited_save(&launch->limits); /* opens a descriptor, so after add_descriptors() */
    return r < 0 ? error_set_errno(e, r, "cannot list open descriptors") : 0;
}

void launch_deinit(struct launch *launch)
{
    secmem_inherited_deinit(&launch->limits);
    free(launch->descriptors);
}

/* ---- finding the command */

static const char *path_of(char *const envp[])
{
    for (; *envp != NULL; envp++) {
        const char *path = str_after(*envp, "PATH=");

        if (path != NULL)
            return path;
    }
    return PATH_DEFAULT;
}

/* Return: 0 for an executable file; -EACCES for another file; -ENOENT. */
static int check_file(const char *file)
{
    struct stat status;

    if (stat(file, &status) < 0)
        return errno == EACCES ? -EACCES : -ENOENT;
    return S_ISREG(status.st_mode) && access(file, X_OK) == 0 ? 0 : -EACCES;
}

/* As a shell does: an empty element is the working directory; other files than executable ones are
 * skipped. @ret_file: the caller's */
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
        error_set(e, r, "cannot run %.256s: command not found", name);
    else if (r < 0)
        error_set_errno(e, r, "cannot run %.256s", name);
    return r;
}

/* find_command() has found the file, so ENOENT is about the interpreter that it names. */
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

/* ---- starting the command */

int launch_replace(const struct launch *launch, char *const argv[], char *const envp[],
                   struct error *e)
{
    _cleanup_(freep) char *file = NULL;
    int r = find_command(argv[0], envp, &file, e);

    if (r < 0)
        return r;
    sigaction(SIGPIPE, &launch->on_sigpipe, NULL);
    pthread_sigmask(SIG_SETMASK, &launch->mask, NULL);
    keep_descriptors(launch);
    secmem_inherited_restore(&launch->limits);
    execve(file, argv, envp);
    return execution_failed(file, negative_errno(), e);
}

static int set_attributes(posix_spawnattr_t *attr, const struct launch *launch)
{
    short flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK;
    sigset_t defaults;
    int r;

    sigemptyset(&defaults);
    if (launch->on_sigpipe.sa_handler != SIG_IGN) {
        sigaddset(&defaults, SIGPIPE);
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
    posix_spawnattr_init(&attr);
    r = set_attributes(&attr, launch);
    if (r == 0 && tty_fd >= 0)
        r = posix_spawn_file_actions_addtcsetpgrp_np(&actions, tty_fd);
    if (r == 0) {
        keep_descriptors(launch);
        secmem_inherited_restore(&launch->limits);
        r = posix_spawn(ret_pid, file, &actions, &attr, argv, envp);
        secmem_inherited_undo_restore(&launch->limits);
    }
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
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

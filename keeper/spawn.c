/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/spawn.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "keeper/background.h"
#include "keeper/report.h"

#define EXIT_CANNOT_RUN 126 /* as shells have them */
#define EXIT_NOT_FOUND  127

static void set_number(const char *name, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, number);
    setenv(name, text, 1);
}

/*
 * What the keeper's own service manager has said to the keeper is not for the child. FDSTORE stays
 * unset: it would promise that descriptors outlive a SIGTERM as well.
 */
static void clear_environment(void)
{
    static const char *const names[] = {
        "NOTIFY_SOCKET", "WATCHDOG_USEC",  "WATCHDOG_PID",   "FDSTORE", "LISTEN_PID",
        "LISTEN_FDS",    "LISTEN_PIDFDID", "LISTEN_FDNAMES", "MAINPID", KEEPER_BACKGROUND_VARIABLE};

    for (size_t i = 0; i < ELEMENTS_OF(names); i++)
        unsetenv(names[i]);
}

static void set_environment(const struct keeper_spawn *spawn)
{
    static char names[KEEPER_NAMES_SIZE];

    clear_environment();
    if (spawn->notify_socket != NULL)
        setenv("NOTIFY_SOCKET", spawn->notify_socket, 1);
    if (spawn->background != NULL)
        setenv(KEEPER_BACKGROUND_VARIABLE, spawn->background, 1);
    if (spawn->watchdog > 0) {
        set_number("WATCHDOG_USEC", spawn->watchdog);
        set_number("WATCHDOG_PID", (uint64_t)getpid());
    }
    if (spawn->store->n > 0) {
        keeper_store_join_names(spawn->store, names);
        set_number("LISTEN_FDS", spawn->store->n);
        set_number("LISTEN_PID", (uint64_t)getpid());
        setenv("LISTEN_FDNAMES", names, 1);
    }
}

/* Without it the command does as well, unless its arguments have relative paths. */
static void enter_directory(const char *path)
{
    if (path[0] != '\0' && chdir(path) < 0)
        keeper_warn("cannot change to %s: %s", path, strerror(errno));
}

/* Above the stored descriptors, and inherited. Return: 0; -errno. */
static int place_end(const struct keeper_spawn *spawn, int fd)
{
    return fcntl(fd, F_DUPFD, KEEPER_FIRST_PLACE + (int)spawn->store->n) < 0 ? negative_errno() : 0;
}

static __attribute__((noreturn)) void run(const struct keeper_spawn *spawn, int end_fd)
{
    int r;

    set_environment(spawn);
    enter_directory(spawn->directory);
    if (spawn->errors_fd > 0)
        dup2(spawn->errors_fd, STDERR_FILENO);
    r = place_end(spawn, end_fd);
    if (r == 0)
        r = keeper_store_place(spawn->store);
    if (r < 0) {
        keeper_error("cannot hand descriptors over: %s", strerror(-r));
        _exit(EXIT_CANNOT_RUN);
    }
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, spawn->mask, NULL);
    execvp(spawn->argv[0], spawn->argv);
    r = errno;
    keeper_error("cannot run %s: %s", spawn->argv[0], strerror(r));
    _exit(r == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN);
}

int keeper_spawn(const struct keeper_spawn *spawn, struct keeper_process *ret_process)
{
    int ends[2], r;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return negative_errno();
    pid = fork();
    if (pid == 0)
        run(spawn, ends[1]);
    r = pid < 0 ? negative_errno() : 0;
    fd_close(ends[1]);
    if (r < 0) {
        fd_close(ends[0]);
        return r;
    }
    *ret_process = (struct keeper_process){.pid = pid, .end_fd = ends[0]};
    return 0;
}

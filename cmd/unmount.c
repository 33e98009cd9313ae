/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unmounts, and waits until the process that served the mount has ended, or continues since other
 * mounts of the file system exist, in containers perhaps. It does not wait for a node daemon, which
 * continues without one of its volumes, nor for a process that is stopped or hangs: that one is
 * reported. Nothing here sends a request to the file system.
 */
#include "cmd/unmount.h"

#include <poll.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/pidfd.h>

#include "base/arguments.h"
#include "base/buf.h"
#include "base/process.h"
#include "encoding/json.h"
#include "monitor/status_socket.h"
#include "serve/mounts.h"

#define END_TIMEOUT_MS 10000 /* far longer than a process that answers takes to end */
#define END_POLL_MS    250   /* then it is asked whether it continues */

static void print_help(const struct invocation *invocation)
{
    printf("Usage: %s unmount [-l] MOUNTPOINT...\n"
           "\n"
           "Unmount secretfs mounts and wait until their processes have ended. umount and\n"
           "fusermount3 -u work as well.\n"
           "\n"
           "  -l, --lazy  detach a busy mount now; its process ends with the last open file\n"
           "  -h, --help  show this help\n",
           invocation->program);
}

static int unmount_as_user(const char *path, bool lazily, struct error *e)
{
    const char *const argv[] = {"fusermount3", "-u", lazily ? "-z" : "-q", "--", path, NULL};
    int r = process_run(argv);

    if (r < 0)
        return error_set_errno(e, r, "cannot run fusermount3 (package fuse3)");
    return r == 0
               ? 0
               : error_set(e, -EBUSY, "fusermount3 could not unmount %s: it may be in use", path);
}

static int refuse_below(const char *path, struct error *e)
{
    return error_set(e, -EINVAL,
                     "%s is below the mount point of a secretfs mount; give the mount point", path);
}

/* umount2(2) would send requests for a path below the mount point. */
static int check_mountpoint(const char *path, const struct mount_entry *entry, struct error *e)
{
    return entry->is_below ? refuse_below(path, e) : 0;
}

static int unmount(const char *path, bool lazily, struct error *e)
{
    if (umount2(path, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) == 0)
        return 0;
    if (errno == EPERM)
        return unmount_as_user(path, lazily, e);
    if (errno == EBUSY)
        return error_set(e, -EBUSY,
                         "%s is in use: end the processes that use it, or detach it with --lazy",
                         path);
    if (errno == EINVAL)
        return refuse_below(path, e);
    return error_set_errno(e, negative_errno(), "cannot unmount %s", path);
}

/* The first line of a status document describes the process. */
static bool is_node(const struct buf *document)
{
    _cleanup_(cJSON_Deletep) cJSON *process = NULL;
    const char *text = buf_text(document), *kind;

    json_parse(text, strcspn(text, "\n"), &process, NULL);
    kind = json_text(process, "process");
    return kind != NULL && streq(kind, "node");
}

/* The process that serves the mount, as far as it is known before the mount goes. */
struct server {
    int status_fd;  /* -1: it is dead, or another user's */
    int process_fd; /* -1: unknown */
    pid_t pid;
    bool is_node;
    bool is_silent; /* it is stopped or hangs */
};

static void server_deinit(struct server *s)
{
    fd_close(s->status_fd);
    fd_close(s->process_fd);
}

/* The next process has the connection, and answers; or there is none. */
static void forget_ended(struct server *s)
{
    s->process_fd = fd_close(s->process_fd);
    if (s->is_silent)
        s->status_fd = fd_close(s->status_fd);
    s->is_silent = false;
}

static void server_query(struct server *s, const struct mount_entry *entry)
{
    _cleanup_(buf_deinit) struct buf document = BUF_INIT(STATUS_DOCUMENT_MAX);
    int r;

    if (status_socket_connect_mount(entry, false, STATUS_TIMEOUT_MS, &s->status_fd, NULL) < 0)
        return;
    s->pid = status_socket_process(s->status_fd);
    if (s->pid > 0)
        s->process_fd = pidfd_open(s->pid, 0);
    r = buf_read_fd(&document, s->status_fd);
    s->is_silent = r == -EAGAIN;
    s->is_node = r == 0 && is_node(&document);
    if (status_socket_has_ended(s->status_fd))
        forget_ended(s);
}

/* Whether it serves mounts of the file system that exist elsewhere. */
static bool serves_others(const struct mount_entry *entry)
{
    _cleanup_(buf_deinit) struct buf document = BUF_INIT(STATUS_DOCUMENT_MAX);
    _cleanup_(cJSON_Deletep) cJSON *process = NULL;
    _cleanup_(fd_closep) int fd = -1;
    const char *text;

    if (status_socket_connect_mount(entry, false, STATUS_TIMEOUT_MS, &fd, NULL) < 0 ||
        buf_read_fd(&document, fd) < 0)
        return false;
    text = buf_text(&document);
    json_parse(text, strcspn(text, "\n"), &process, NULL);
    return cJSON_IsTrue(json_member(process, "servesOtherMounts"));
}

/* Return: whether it has ended, or continues to serve other mounts. */
static bool wait_process(struct pollfd *process, const struct mount_entry *entry)
{
    for (int waited = 0; waited < END_TIMEOUT_MS; waited += END_POLL_MS)
        if (poll(process, 1, END_POLL_MS) != 0 || serves_others(entry))
            return true;
    return false;
}

static int report_server(const struct server *s, const char *path, const char *what,
                         struct error *e)
{
    return error_set(e, -ETIMEDOUT,
                     "%.200s was unmounted, but process %d, which served it, %s; end it with kill "
                     "-KILL %d",
                     path, (int)s->pid, what, (int)s->pid);
}

/*
 * The process closes the connection when the mount is gone, then it exits.
 * Return: 0, also if it continues to serve mounts elsewhere; -ETIMEDOUT with @e.
 */
static int server_wait(const struct server *s, const struct mount_entry *entry, const char *path,
                       struct error *e)
{
    struct pollfd connection = {.fd = s->status_fd, .events = 0};
    struct pollfd process = {.fd = s->process_fd, .events = POLLIN};

    if (s->is_silent)
        return report_server(s, path, "does not answer: it is stopped or hangs", e);
    if (s->status_fd < 0 || s->is_node)
        return 0;
    if (s->process_fd < 0)
        poll(&connection, 1, END_TIMEOUT_MS);
    else if (!wait_process(&process, entry))
        return report_server(s, path, "does not end", e);
    return 0;
}

struct unmount_options {
    bool is_lazy;
    bool wants_help;
};

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct unmount_options *o = userdata;

    o->is_lazy |= option == 'l';
    o->wants_help |= option == 'h';
    return o->wants_help ? ARGUMENTS_ENOUGH : 0;
}

const struct option unmount_long_options[] = {
    {"lazy", no_argument, NULL, 'l'}, {"help", no_argument, NULL, 'h'}, {0}};

static int unmount_one(const char *mountpoint, bool lazily, struct error *e)
{
    _cleanup_(server_deinit) struct server server = {.status_fd = -1, .process_fd = -1};
    struct mount_entry entry;
    int r = mounts_find(mountpoint, &entry, e);

    if (r >= 0)
        r = check_mountpoint(mountpoint, &entry, e);
    if (r < 0)
        return r;
    /* the mount of a dead process, or of one that is stopped, can still be unmounted */
    server_query(&server, &entry);
    r = unmount(mountpoint, lazily, e);
    return r < 0 ? r : server_wait(&server, &entry, mountpoint, e);
}

int command_unmount(const struct invocation *invocation, int argc, char *argv[])
{
    struct unmount_options options = {.is_lazy = false};
    struct error e = ERROR_INIT;
    int code = EXIT_OK;

    if (arguments_parse(argc, argv, ":lh", unmount_long_options, set_option, &options, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (options.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    if (argc == optind)
        return command_failed(invocation, EXIT_USAGE, "unmount takes a mount point");
    /* one that cannot be unmounted keeps none of the others mounted */
    for (int i = optind; i < argc; i++)
        if (unmount_one(argv[i], options.is_lazy, &e) < 0)
            code = command_failed(invocation, EXIT_FAILED, e.text);
    return code;
}

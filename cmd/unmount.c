/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unmounts, and waits until the process that served the mount has ended. It does not wait for a
 * node daemon, which continues without one of its volumes.
 */
#include "cmd/unmount.h"

#include <poll.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "base/arguments.h"
#include "base/buf.h"
#include "base/process.h"
#include "encoding/json.h"
#include "monitor/status_socket.h"
#include "serve/mounts.h"

#define END_TIMEOUT_MS 10000 /* far longer than a process takes to end */

static void print_help(const struct invocation *invocation)
{
    printf("Usage: %s unmount [-l] MOUNTPOINT\n"
           "\n"
           "Unmount a secretfs mount and wait until its process has ended. umount and\n"
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
        return error_set(e, -EINVAL,
                         "%s is below the mount point of a secretfs mount; give the mount point",
                         path);
    return error_set_errno(e, negative_errno(), "cannot unmount %s", path);
}

/* Return: a pidfd of the process at the other end of the status socket; -1 on failure. */
static int open_process(int status_fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(status_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid <= 0)
        return -1;
    return pidfd_open(peer.pid, 0);
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

/* The process closes the connection when the mount is gone, then it exits. */
static void wait_for_end(int status_fd, int process_fd)
{
    _cleanup_(buf_deinit) struct buf document = BUF_INIT(STATUS_DOCUMENT_MAX);
    struct pollfd connection = {.fd = status_fd, .events = 0};
    struct pollfd process = {.fd = process_fd, .events = POLLIN};
    int r = buf_read_fd(&document, status_fd);

    if (r == 0 && is_node(&document))
        return;
    if (r == 0)
        poll(&connection, 1, END_TIMEOUT_MS);
    if (process_fd >= 0)
        poll(&process, 1, END_TIMEOUT_MS);
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

int command_unmount(const struct invocation *invocation, int argc, char *argv[])
{
    static const struct option long_options[] = {
        {"lazy", no_argument, NULL, 'l'}, {"help", no_argument, NULL, 'h'}, {0}};
    _cleanup_(fd_closep) int status_fd = -1, process_fd = -1;
    struct unmount_options options = {.is_lazy = false};
    struct error e = ERROR_INIT;
    struct mount_entry entry;
    const char *mountpoint;

    if (arguments_parse(argc, argv, ":lh", long_options, set_option, &options, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (options.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    if (argc - optind != 1)
        return command_failed(invocation, EXIT_USAGE, "unmount takes one mount point");
    mountpoint = argv[optind];
    if (mounts_find(mountpoint, &entry, &e) < 0)
        return command_failed(invocation, EXIT_FAILED, e.text);
    /* the mount of a dead process can still be unmounted */
    if (status_socket_connect(mountpoint, false, &status_fd, NULL) == 0)
        process_fd = open_process(status_fd);
    if (unmount(mountpoint, options.is_lazy, &e) < 0)
        return command_failed(invocation, EXIT_FAILED, e.text);
    if (status_fd >= 0)
        wait_for_end(status_fd, process_fd);
    return EXIT_OK;
}

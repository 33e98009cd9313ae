/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket's file outlives a process that was killed, and keeps the next one from binding. So an
 * existing file is examined first: a socket that refuses a connection belonged to a process that
 * has ended, and is replaced; one that accepts it belongs to a running process, and is left alone;
 * so is a file of any other type.
 *
 * The socket is bound to a hidden name beside its own, made private, listened on, and only then
 * renamed to its own name. So a client that sees the name can connect. The kubelet does so as soon
 * as inotify reports a new socket; it ignores names that begin with a dot (R3). If two processes
 * start at the same moment both succeed, and clients reach the later one.
 */
#include "grpc/unix_socket.h"

#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define DIRECTORY_MODE 0750 /* as the kubelet's own */
#define HIDDEN_SUFFIX  ".new"

static int address_set(const char *path, struct sockaddr_un *ret_address, struct error *e)
{
    /* the hidden name has a dot in front, too */
    const size_t max = sizeof(ret_address->sun_path) - 1 - 1 - strlen(HIDDEN_SUFFIX);
    size_t len = strlen(path);

    if (path[0] != '/' || path[len - 1] == '/')
        return error_set(e, -EINVAL,
                         "invalid socket path \"%.200s\": expected the absolute path of a file",
                         path);
    if (len > max)
        return error_set(e, -EINVAL,
                         "the path %.200s is too long for a socket: the limit is %zu bytes", path,
                         max);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path, path, len + 1);
    return 0;
}

static void hidden_address(const struct sockaddr_un *address, struct sockaddr_un *ret_hidden)
{
    const char *name = strrchr(address->sun_path, '/') + 1;

    *ret_hidden = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret_hidden->sun_path, sizeof(ret_hidden->sun_path), "%.*s.%s" HIDDEN_SUFFIX,
             (int)(name - address->sun_path), address->sun_path, name);
}

static int create_directories(const char *path, struct error *e)
{
    char directory[PATH_MAX];

    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path), path);
        if (mkdir(directory, DIRECTORY_MODE) < 0 && errno != EEXIST)
            return error_set_errno(e, negative_errno(), "cannot create the directory %s",
                                   directory);
    }
    return 0;
}

/* Return: 0 if the path is free or can be replaced. */
static int check_path(const struct sockaddr_un *address, struct error *e)
{
    _cleanup_(fd_closep) int fd = -1;
    struct stat status;

    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT
                   ? 0
                   : error_set_errno(e, negative_errno(), "cannot stat %s", address->sun_path);
    if (!S_ISSOCK(status.st_mode))
        return error_set(e, -EEXIST,
                         "%s exists and is not a socket: remove it, or choose another path",
                         address->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(e, negative_errno(), "cannot create a socket");
    /* EAGAIN: its queue is full */
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
        return error_set(e, -EADDRINUSE,
                         "another process listens on %s: stop it, or choose another path",
                         address->sun_path);
    if (errno != ECONNREFUSED && errno != ENOENT)
        return error_set_errno(e, negative_errno(), "cannot connect to %s", address->sun_path);
    return 0;
}

/* Return: 0, and @s listens under the hidden name. */
static int listen_hidden(struct unix_socket *s, const struct sockaddr_un *hidden, int backlog)
{
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0)
        return negative_errno();
    if (unlink(hidden->sun_path) < 0 && errno != ENOENT)
        return negative_errno();
    if (bind(s->fd, (const struct sockaddr *)hidden, sizeof(*hidden)) < 0)
        return negative_errno();
    if (chmod(hidden->sun_path, 0600) < 0 || listen(s->fd, backlog) < 0 ||
        lstat(hidden->sun_path, &s->file) < 0) {
        int r = negative_errno();

        unlink(hidden->sun_path);
        return r;
    }
    return 0;
}

int unix_socket_listen(const char *path, int backlog, struct unix_socket *ret_socket,
                       struct error *e)
{
    struct unix_socket s = {.fd = -1};
    struct sockaddr_un hidden;
    int r = address_set(path, &s.address, e);

    if (r == 0)
        r = create_directories(path, e);
    if (r == 0)
        r = check_path(&s.address, e);
    if (r < 0)
        return r;
    hidden_address(&s.address, &hidden);
    r = listen_hidden(&s, &hidden, backlog);
    if (r == 0 && rename(hidden.sun_path, s.address.sun_path) < 0) {
        r = negative_errno();
        unlink(hidden.sun_path);
    }
    if (r < 0) {
        s.fd = fd_close(s.fd);
        return error_set_errno(e, r, "cannot listen on %s", path);
    }
    *ret_socket = s;
    return 0;
}

/* The kernel names the process that has called listen(2) last as the peer of a client. */
int unix_socket_take_over(const struct kept_socket *keep, const char *path, int backlog,
                          struct unix_socket *ret_socket)
{
    struct unix_socket s = {.fd = -1};
    int r = address_set(path, &s.address, NULL);

    if (r < 0)
        return r;
    if (lstat(path, &s.file) < 0)
        return -ENOENT;
    s.fd = kept_socket_take_file(keep, &s.file);
    if (s.fd >= 0 && listen(s.fd, backlog) < 0)
        s.fd = fd_close(s.fd);
    if (s.fd < 0)
        return -ENOENT;
    *ret_socket = s;
    return 0;
}

void unix_socket_keep(const struct unix_socket *s, const struct kept_socket *keep)
{
    kept_socket_put_file(keep, &s->file, s->fd);
}

bool unix_socket_is_in_place(const struct unix_socket *s)
{
    struct stat status;

    return s->fd >= 0 && lstat(s->address.sun_path, &status) == 0 &&
           status.st_dev == s->file.st_dev && status.st_ino == s->file.st_ino;
}

void unix_socket_close(struct unix_socket *s)
{
    if (unix_socket_is_in_place(s))
        unlink(s->address.sun_path);
    unix_socket_leave(s);
}

void unix_socket_leave(struct unix_socket *s)
{
    s->fd = fd_close(s->fd);
}

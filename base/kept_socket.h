/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A listening socket that may outlive the process: the next process of the service takes it over,
 * and a client that connects between the two waits in its queue. Which process keeps it meanwhile
 * is behind functions (handover/kept_sockets.h).
 *
 * Thread: the event loop's.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct kept_socket_ops {
    /* Return: a descriptor, the caller's; -ENOENT: nothing under this label is kept, and nothing
     * else of this name is kept any more. */
    int (*take)(void *userdata, const char *name, const char *label);
    /* Keep a duplicate of @fd, and nothing else of this name. @fd: open until remove() or the end
     */
    void (*put)(void *userdata, const char *name, const char *label, int fd);
    void (*remove)(void *userdata, const char *name);
    bool (*is_left)(void *userdata, const char *name);
};

/* Strings are borrowed; they and all of it outlive the owner of the socket. */
struct kept_socket {
    const struct kept_socket_ops *ops;
    void *userdata;
    const char *name;   /* among the sockets of the service */
    const char *tag;    /* a socket with another tag is not taken over; NULL: none */
    bool is_on_request; /* a new socket is kept only when its owner requests it */
};

/* In all functions @keep may be NULL: then the socket ends with the process. */

/*
 * Take the socket of an earlier process. A label says which socket it is, so that one that is not
 * the one of this place any more is not taken; it has only characters that a name in a descriptor
 * store may have.
 * Return: a listening descriptor, the caller's; -ENOENT.
 */
int kept_socket_take(const struct kept_socket *keep, const char *label);
void kept_socket_put(const struct kept_socket *keep, const char *label, int fd);

/*
 * The same for a Unix socket, by the inode of its file. As long as a socket is kept, so is its
 * inode, and no other file has the same number.
 */
int kept_socket_take_file(const struct kept_socket *keep, const struct stat *file);
void kept_socket_put_file(const struct kept_socket *keep, const struct stat *file, int fd);

/* The next process makes a new one. */
void kept_socket_remove(const struct kept_socket *keep);

/* Whether the next process takes it over, so that its file stays. */
bool kept_socket_is_left(const struct kept_socket *keep);

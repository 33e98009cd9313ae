/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The mount namespaces of the processes that can be seen, and visits to them.
 *
 * Nothing of a namespace is held between calls, not even a descriptor: that would keep it, and
 * whatever is mounted in it, when its last process is gone.
 *
 * Thread: one whose working directory, root and mount namespace are its own (CLONE_FS).
 */
#include <sys/types.h>

#include "base/util.h"

struct mount_namespace {
    uint64_t id; /* its inode number */
    pid_t pid;   /* a process in it; may be gone at any time */
};

/*
 * @proc_fd: of /proc
 * Return: whether it could be looked at; if not, another process of the same namespace is tried.
 */
typedef bool mount_namespaces_visit_fn(void *userdata, int proc_fd,
                                       const struct mount_namespace *namespace);

/* Visit each namespace once. Return: 0; -errno of reading /proc; -ENOMEM. */
int mount_namespaces_visit(mount_namespaces_visit_fn *visit, void *userdata);

/* Whether all processes of the machine can be seen, and not just those of a container. */
bool mount_namespaces_see_all(void);

/* A visit. */
struct mount_namespace_stay {
    int home_fd; /* -1 while at home */
    int root_fd;
};

#define MOUNT_NAMESPACE_STAY_INIT                                                                  \
    (struct mount_namespace_stay)                                                                  \
    {                                                                                              \
        .home_fd = -1, .root_fd = -1                                                               \
    }

/*
 * Make the calling thread one of @namespace; its root is that of the namespace.
 * Return: 0; -ESRCH when its process is gone; -errno, then the thread is at home.
 */
int mount_namespace_enter(const struct mount_namespace *namespace,
                          struct mount_namespace_stay *ret_stay);
/* Back home, from wherever; nothing to do at home. */
void mount_namespace_leave(struct mount_namespace_stay *stay);

/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/mount_namespaces.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define PID_NS_INITIAL 4026531836u /* PROC_PID_INIT_INO of the kernel's proc_ns.h */

/* The namespaces that were visited already. */
struct seen {
    uint64_t *ids;
    size_t n;
    size_t capacity;
};

static void seen_deinit(struct seen *seen)
{
    free(seen->ids);
}

static bool seen_has(const struct seen *seen, uint64_t id)
{
    for (size_t i = 0; i < seen->n; i++)
        if (seen->ids[i] == id)
            return true;
    return false;
}

static int seen_add(struct seen *seen, uint64_t id)
{
    if (seen->n == seen->capacity) {
        size_t capacity = seen->capacity == 0 ? 64 : seen->capacity * 2;
        uint64_t *ids = reallocarray(seen->ids, capacity, sizeof(*ids));

        if (ids == NULL)
            return -ENOMEM;
        seen->ids = ids;
        seen->capacity = capacity;
    }
    seen->ids[seen->n++] = id;
    return 0;
}

/* Return: whether the process is there and may be looked at. */
static bool find_namespace(int proc_fd, const char *pid, struct mount_namespace *ret_namespace)
{
    char path[64], target[64];
    ssize_t len;

    (void)snprintf(path, sizeof(path), "%.16s/ns/mnt", pid);
    len = readlinkat(proc_fd, path, target, sizeof(target) - 1);
    if (len < 0)
        return false;
    target[len] = '\0';
    ret_namespace->pid = (pid_t)strtol(pid, NULL, 10);
    return sscanf(target, "mnt:[%" SCNu64 "]", &ret_namespace->id) == 1;
}

int mount_namespaces_visit(mount_namespaces_visit_fn *visit, void *userdata)
{
    _cleanup_(dir_closep) DIR *proc = opendir("/proc");
    _cleanup_(seen_deinit) struct seen seen = {0};
    const struct dirent *entry;

    if (proc == NULL)
        return negative_errno();
    while (errno = 0, (entry = readdir(proc)) != NULL) {
        struct mount_namespace namespace;

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        if (!find_namespace(dirfd(proc), entry->d_name, &namespace) ||
            seen_has(&seen, namespace.id) || !visit(userdata, dirfd(proc), &namespace))
            continue;
        if (seen_add(&seen, namespace.id) < 0)
            return -ENOMEM;
    }
    return errno != 0 ? negative_errno() : 0;
}

bool mount_namespaces_see_all(void)
{
    struct stat own;

    return stat("/proc/self/ns/pid", &own) == 0 && own.st_ino == PID_NS_INITIAL;
}

static int enter(const struct mount_namespace *namespace, const struct mount_namespace_stay *stay)
{
    _cleanup_(fd_closep) int fd = -1;
    struct stat there;
    char path[64];

    if (stay->home_fd < 0 || stay->root_fd < 0)
        return negative_errno();
    (void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", namespace->pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : negative_errno();
    if (fstat(fd, &there) < 0 || there.st_ino != namespace->id)
        return -ESRCH;
    return setns(fd, CLONE_NEWNS) < 0 ? negative_errno() : 0;
}

static void stay_close(struct mount_namespace_stay *stay)
{
    stay->home_fd = fd_close(stay->home_fd);
    stay->root_fd = fd_close(stay->root_fd);
}

int mount_namespace_enter(const struct mount_namespace *namespace,
                          struct mount_namespace_stay *ret_stay)
{
    struct mount_namespace_stay stay = {
        .home_fd = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC),
        .root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC),
    };
    int r = enter(namespace, &stay);

    if (r < 0) {
        stay_close(&stay);
        return r;
    }
    *ret_stay = stay;
    return 0;
}

void mount_namespace_leave(struct mount_namespace_stay *stay)
{
    if (stay->home_fd < 0)
        return;
    /* setns() makes the namespace's own root ours; it need not be the one we were started with */
    if (setns(stay->home_fd, CLONE_NEWNS) < 0 || fchdir(stay->root_fd) < 0 || chroot(".") < 0)
        abort(); /* changes of mounts would go astray from here on */
    stay_close(stay);
}

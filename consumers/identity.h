/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the kernel's text about a process says of who reads a volume: a container of a pod, a unit
 * of systemd, or a process by itself. Pure: no system calls. Thread: any.
 *
 * Processes choose their names, and users the names of their units; what is kept of them is ASCII
 * that a terminal prints.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define IDENTITY_COMM_SIZE      16u  /* the kernel's TASK_COMM_LEN */
#define IDENTITY_CONTAINER_SIZE 65u  /* 64 hexadecimal digits */
#define IDENTITY_POD_SIZE       37u  /* a UUID */
#define IDENTITY_UNIT_SIZE      256u /* systemd's limit of a unit's name */
/* Below /sys/fs/cgroup. That of a container is about 200 long. */
#define IDENTITY_CGROUP_SIZE    512u

struct identity_process {
    pid_t pid;
    bool has_ended;       /* it is not reaped yet */
    uint64_t start_ticks; /* since boot: a recycled pid has another */
    uid_t uid;            /* effective; not of stat */
    char comm[IDENTITY_COMM_SIZE];
};

/* Empty texts: unknown or none. */
struct identity_group {
    char pod_uid[IDENTITY_POD_SIZE];
    char container[IDENTITY_CONTAINER_SIZE]; /* the runtime's id */
    char unit[IDENTITY_UNIT_SIZE];
    char cgroup[IDENTITY_CGROUP_SIZE]; /* below /sys/fs/cgroup, of the container or the service */
    uint64_t cgroup_inode;             /* tells it from a later one of that path; 0: unknown */
};

struct consumer_identity {
    struct identity_process process;
    struct identity_group group;
};

/*
 * Parse /proc/PID/stat. @text: NUL-terminated
 * Return: whether it is valid; else @ret_process is unchanged.
 */
bool identity_parse_stat(const char *text, struct identity_process *ret_process);

/*
 * Parse /proc/PID/cgroup. The outermost directory of a pod's container counts, since a container
 * may make others within its own; else that of another container, and else a unit's. A path that is
 * too long counts as unknown.
 * @text: NUL-terminated
 * @is_hybrid: cgroup 2 is mounted on /sys/fs/cgroup/unified
 * @ret_group: cgroup_inode is 0
 */
void identity_parse_cgroup(const char *text, bool is_hybrid, struct identity_group *ret_group);

/*
 * What the name of a directory of control groups says: "kubepods-burstable-podUID.slice", "podUID";
 * "cri-containerd-ID.scope", "ID".
 * Return: whether it is a pod's, or a container's; else the text may be anything.
 */
bool identity_parse_pod(const char *name, char ret_uid[static IDENTITY_POD_SIZE]);
bool identity_parse_container(const char *name, char ret_id[static IDENTITY_CONTAINER_SIZE]);

/*
 * Whether the process whose /proc/PID/cgroup is @text is in a control group or below it.
 * @controllers: of the hierarchy, as in that file: "" for cgroup 2, "name=systemd"
 * @path: in the hierarchy, without a slash at its end
 */
bool identity_is_below(const char *text, const char *controllers, const char *path);

/* Whether two processes are in one container or one service. False if either is in none. */
bool identity_group_same(const struct identity_group *a, const struct identity_group *b);
/* Whether a process is in a container or a service, which goes on when the process ends. */
static inline bool identity_group_exists(const struct identity_group *group)
{
    return group->cgroup[0] != '\0';
}

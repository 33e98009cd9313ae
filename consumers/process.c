/* SPDX-License-Identifier: Apache-2.0 */
#include "consumers/process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define CGROUP_ROOT      "/sys/fs/cgroup/"
#define HYBRID_CGROUP    CGROUP_ROOT "unified" /* cgroup 2 beside cgroup 1, as systemd mounts it */
#define STAT_TEXT_SIZE   1024u                 /* 52 numbers and a name of 15 bytes */
#define STATUS_TEXT_SIZE 256u /* Name, Umask, State and Tgid; a name takes up to 62 bytes */
#define TICKS_PER_SECOND 100u /* USER_HZ of all architectures but alpha */
/* Twelve hierarchies of cgroup 1 with paths of a container; lines past it are ignored. */
#define CGROUP_TEXT_SIZE 8192u

/* Return: whether the file was read; @text has its first lines. */
static bool read_text(const char *path, char *text, size_t size)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;

    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

static bool read_stat(pid_t pid, struct identity_process *ret_process)
{
    char path[64], text[STAT_TEXT_SIZE];

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    return read_text(path, text, sizeof(text)) && identity_parse_stat(text, ret_process) &&
           ret_process->pid == pid;
}

/* The directory of a process has its effective user, whether or not it can be dumped. */
static bool read_uid(pid_t pid, uid_t *ret_uid)
{
    struct stat status;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d", pid);
    if (lstat(path, &status) < 0)
        return false;
    *ret_uid = status.st_uid;
    return true;
}

/* Return: 0: unknown. */
static int cgroup_inode(const struct identity_group *group, uint64_t *ret_inode)
{
    char path[sizeof(CGROUP_ROOT) + IDENTITY_CGROUP_SIZE];
    struct stat status;

    snprintf(path, sizeof(path), CGROUP_ROOT "%s", group->cgroup);
    if (lstat(path, &status) < 0)
        return negative_errno();
    *ret_inode = status.st_ino;
    return 0;
}

static bool read_group(pid_t pid, struct identity_group *ret_group)
{
    char path[64], text[CGROUP_TEXT_SIZE];

    snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
    if (!read_text(path, text, sizeof(text)))
        return false;
    identity_parse_cgroup(text, access(HYBRID_CGROUP, F_OK) == 0, ret_group);
    if (identity_group_exists(ret_group))
        cgroup_inode(ret_group, &ret_group->cgroup_inode);
    return true;
}

/* A process that was reaped has given its number back. */
static bool is_reaped(int pidfd)
{
    return syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0 && errno == ESRCH;
}

int process_event_pidfd(const struct fanotify_event_metadata *event)
{
    const struct fanotify_event_info_pidfd *info = (const void *)(event + 1);

    if (event->event_len < sizeof(*event) + sizeof(*info) ||
        info->hdr.info_type != FAN_EVENT_INFO_TYPE_PIDFD)
        return -1;
    return info->pidfd;
}

bool process_identify(pid_t pid, int pidfd, struct consumer_identity *ret_identity)
{
    struct consumer_identity identity;

    if (pid <= 0 || !read_stat(pid, &identity.process) || !read_uid(pid, &identity.process.uid) ||
        !read_group(pid, &identity.group) || is_reaped(pidfd))
        return false;
    *ret_identity = identity;
    return true;
}

/* Tgid is within the first lines of /proc/PID/status. Return: 0: unknown. */
static pid_t process_of(pid_t thread)
{
    char path[64], text[STATUS_TEXT_SIZE];
    const char *line;

    snprintf(path, sizeof(path), "/proc/%d/status", thread);
    if (!read_text(path, text, sizeof(text)))
        return 0;
    line = strstr(text, "\nTgid:\t"); /* the name comes first, in which a line break is escaped */
    return line != NULL ? (pid_t)strtol(line + strlen("\nTgid:\t"), NULL, 10) : 0;
}

uint64_t process_ticks_now(void)
{
    return clock_boot() / (SPAN_SEC(1) / TICKS_PER_SECOND);
}

/*
 * The number of the process is the thread's as long as the thread exists. What is read of the
 * thread is valid for the process, whose first thread may have ended.
 */
bool process_identify_opener(pid_t thread, uint64_t opened_ticks,
                             struct consumer_identity *ret_identity)
{
    struct consumer_identity identity;
    struct identity_process opener, again;
    pid_t pid;

    if (thread <= 0 || !read_stat(thread, &opener) || opener.start_ticks > opened_ticks ||
        !read_uid(thread, &opener.uid) || !read_group(thread, &identity.group))
        return false;
    pid = process_of(thread);
    identity.process = opener;
    if (pid != thread && !read_stat(pid, &identity.process))
        return false;
    identity.process.uid = opener.uid;
    if (!read_stat(thread, &again) || again.start_ticks != opener.start_ticks)
        return false;
    *ret_identity = identity;
    return true;
}

static bool is_running(const struct identity_process *process)
{
    struct identity_process now;

    return process->pid != 0 && read_stat(process->pid, &now) && !now.has_ended &&
           now.start_ticks == process->start_ticks;
}

static bool group_runs(const struct identity_group *group)
{
    uint64_t inode = 0;
    int r;

    if (!identity_group_exists(group))
        return false;
    r = cgroup_inode(group, &inode);
    if (r == -ENOENT)
        return group->cgroup_inode == 0; /* it was not there before: not to be found out */
    return r < 0 || group->cgroup_inode == 0 || inode == group->cgroup_inode;
}

enum consumer_life process_life(const struct consumer_identity *identity)
{
    if (is_running(&identity->process))
        return CONSUMER_RUNS;
    return group_runs(&identity->group) ? CONSUMER_ENDED : CONSUMER_GONE;
}

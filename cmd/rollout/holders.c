/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Only texts that the kernel makes of a process are read: nothing that the process has made is
 * opened or resolved, and no file system is asked.
 */
#include "cmd/rollout/holders.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/mountinfo.h"
#include "consumers/process.h"

#define REMOVED   " (deleted)"
#define PATH_SIZE 4096

struct search {
    const cJSON *volumes;
    struct buf *lines;
    size_t n_lines;
    int result;

    /* of the process that is looked at */
    pid_t pid;
    struct consumer_identity identity;
};

/* ---- which volume */

/* Whether the volume is of that pod: its target is below the pod's directory. */
static bool is_of_pod(const char *mountpoint, const char *pod_uid)
{
    char part[IDENTITY_POD_SIZE + 16];

    snprintf(part, sizeof(part), "/pods/%s/", pod_uid);
    return pod_uid[0] != '\0' && strstr(mountpoint, part) != NULL;
}

bool holders_match(const cJSON *volume, const char *path, const char *pod_uid)
{
    const char *mountpoint = json_text(volume, "mountpoint");
    const char *shown = json_text(json_member(volume, "volume"), "generation");
    const char *generation = strstr(path, "/..");
    const char *end = generation != NULL ? strchr(generation + 1, '/') : NULL;
    const char *rest = mountpoint != NULL ? str_after(path, mountpoint) : NULL;
    size_t len = strlen(path);

    if (mountpoint == NULL || end == NULL || len < sizeof(REMOVED) ||
        !streq(path + len - strlen(REMOVED), REMOVED))
        return false;
    generation++;
    if (shown != NULL && strlen(shown) == (size_t)(end - generation) &&
        strncmp(shown, generation, (size_t)(end - generation)) == 0)
        return false;
    return (rest != NULL && rest + 1 == generation) || is_of_pod(mountpoint, pod_uid);
}

static bool is_on(const cJSON *volume, dev_t device)
{
    struct statx status;

    return statx(AT_FDCWD, json_text(volume, "mountpoint"), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
                 STATX_INO, &status) == 0 &&
           makedev(status.stx_dev_major, status.stx_dev_minor) == device;
}

static bool has_held_files(const cJSON *volume)
{
    const cJSON *held = json_path(volume, "volume", "consumers", "heldFiles", NULL);

    return cJSON_IsNumber(held) && held->valuedouble > 0;
}

/* ---- a file of a process */

/* A container chooses where it mounts a volume: a terminal must not take that for a command. */
static void add_line(struct search *s, const cJSON *volume, const char *path, const char *how)
{
    const char *pod = json_text(volume, "pod");
    char shown[PATH_SIZE];

    if (s->result < 0 || s->n_lines++ >= HOLDERS_MAX)
        return;
    snprintf(shown, sizeof(shown), "%.*s", (int)(strlen(path) - strlen(REMOVED)), path);
    for (char *c = shown; *c != '\0'; c++)
        *c = iscntrl((unsigned char)*c) != 0 ? '?' : *c;
    s->result = buf_addf(s->lines, "%s: %s (%d) has %s %s\n",
                         pod != NULL ? pod : json_text(volume, "mountpoint"),
                         s->identity.process.comm, (int)s->pid, shown, how);
}

static void look_at(struct search *s, const char *path, dev_t device, const char *how)
{
    const cJSON *volume;

    cJSON_ArrayForEach (volume, s->volumes) {
        if (!has_held_files(volume) || !holders_match(volume, path, s->identity.group.pod_uid) ||
            !is_on(volume, device))
            continue;
        add_line(s, volume, path, how);
        return;
    }
}

static bool may_be_removed(const char *path)
{
    return strstr(path, "/..") != NULL && strstr(path, REMOVED) != NULL;
}

/* "mnt_id:	42" in fdinfo. Return: 0 if it is not there. */
static uint64_t mount_of_descriptor(const struct search *s, const char *name)
{
    char path[NAME_MAX + 32], line[128];
    uint64_t id = 0;
    FILE *fdinfo;

    snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)s->pid, name);
    fdinfo = fopen(path, "re");
    while (fdinfo != NULL && id == 0 && fgets(line, sizeof(line), fdinfo) != NULL)
        if (str_after(line, "mnt_id:") != NULL)
            id = strtoull(str_after(line, "mnt_id:"), NULL, 10);
    if (fdinfo != NULL)
        fclose(fdinfo);
    return id;
}

struct device_search {
    uint64_t mount_id;
    dev_t device; /* 0: not found */
};

static bool find_device(void *userdata, const struct mountinfo *mount)
{
    struct device_search *search = userdata;

    if (mount->id == search->mount_id)
        search->device = mount->device;
    return search->device == 0;
}

/* Return: 0 for a file whose mount was detached. */
static dev_t device_of_descriptor(const struct search *s, const char *name)
{
    struct device_search search = {.mount_id = mount_of_descriptor(s, name)};
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)s->pid);
    if (search.mount_id != 0)
        mountinfo_visit(AT_FDCWD, path, find_device, &search);
    return search.device;
}

static void look_at_descriptor(struct search *s, int dir_fd, const char *name)
{
    char path[PATH_SIZE];
    ssize_t len = readlinkat(dir_fd, name, path, sizeof(path) - 1);

    if (len <= 0)
        return;
    path[len] = '\0';
    if (may_be_removed(path))
        look_at(s, path, device_of_descriptor(s, name), "open");
}

static void look_at_descriptors(struct search *s)
{
    char name[64];
    DIR *dir;

    snprintf(name, sizeof(name), "/proc/%d/fd", (int)s->pid);
    dir = opendir(name);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.')
            look_at_descriptor(s, dirfd(dir), entry->d_name);
    if (dir != NULL)
        closedir(dir);
}

/* "7f92-7f93 r--s 00000000 00:44 19    /run/db/..2026_.../username (deleted)" */
static void look_at_mapping(struct search *s, char *line)
{
    unsigned major_number, minor_number;
    const char *path = strchr(line, '/');

    line[strcspn(line, "\n")] = '\0';
    if (path != NULL && may_be_removed(path) &&
        sscanf(line, "%*s %*s %*s %x:%x", &major_number, &minor_number) == 2)
        look_at(s, path, makedev(major_number, minor_number), "mapped");
}

static void look_at_mappings(struct search *s)
{
    char name[64];
    char *line = NULL;
    size_t size = 0;
    FILE *maps;

    snprintf(name, sizeof(name), "/proc/%d/maps", (int)s->pid);
    maps = fopen(name, "re");
    while (maps != NULL && getline(&line, &size, maps) > 0)
        look_at_mapping(s, line);
    free(line);
    if (maps != NULL)
        fclose(maps);
}

/* ---- all processes */

static void look_at_process(struct search *s, pid_t pid)
{
    _cleanup_(fd_closep) int pidfd = pidfd_open(pid, 0);

    s->pid = pid;
    if (pid <= 0 || pidfd < 0 || !process_identify(pid, pidfd, &s->identity))
        return;
    look_at_descriptors(s);
    look_at_mappings(s);
}

static bool is_any_held(const cJSON *volumes)
{
    const cJSON *volume;

    cJSON_ArrayForEach (volume, volumes) {
        if (has_held_files(volume))
            return true;
    }
    return false;
}

int holders_add(const cJSON *volumes, struct buf *lines)
{
    struct search s = {.volumes = volumes, .lines = lines};
    DIR *dir = is_any_held(volumes) ? opendir("/proc") : NULL;

    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        look_at_process(&s, (pid_t)strtol(entry->d_name, NULL, 10));
    if (dir != NULL)
        closedir(dir);
    if (s.result == 0 && s.n_lines > HOLDERS_MAX)
        s.result = buf_addf(lines, "... and %zu more such files\n", s.n_lines - HOLDERS_MAX);
    return s.result;
}

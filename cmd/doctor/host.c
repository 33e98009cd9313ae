/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/doctor/host.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/mountinfo.h"
#include "cache/secmem.h"
#include "cmd/status/gather.h"
#include "encoding/json.h"

/* Of the flags of INIT, with flags2 as the upper half. Source: include/uapi/linux/fuse.h */
#define OFFERS_DIRECT_IO_MMAP (UINT64_C(1) << 36) /* FUSE_DIRECT_IO_ALLOW_MMAP, Linux 6.6 */
#define OFFERS_IDMAP          (UINT64_C(1) << 40) /* FUSE_ALLOW_IDMAP, Linux 6.12 */

/* Below this a node of a few hundred secrets has some that are not locked: a block is a page. */
#define LOCKED_ENOUGH_BYTES (INT64_C(64) << 20)

/* ---- looking: FUSE and the kernel */

static int open_device(int *ret_fd)
{
    *ret_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return *ret_fd < 0 ? negative_errno() : 0;
}

static int set_option(int fs_fd, const char *name, const char *value)
{
    return fsconfig(fs_fd, FSCONFIG_SET_STRING, name, value, 0) < 0 ? negative_errno() : 0;
}

/*
 * The flags of the request that the kernel begins with.
 * Return: 0 if there is none to be read.
 */
static uint64_t read_offer(int device_fd)
{
    struct {
        struct fuse_in_header header;
        struct fuse_init_in init;
        char rest[FUSE_MIN_READ_BUFFER];
    } request;
    size_t least = offsetof(typeof(request), init.flags) + sizeof(request.init.flags);
    ssize_t n;

    memset(&request, 0, sizeof(request));
    n = read(device_fd, &request, sizeof(request));
    if (n < (ssize_t)least || request.header.opcode != FUSE_INIT)
        return 0;
    return request.init.flags | (uint64_t)request.init.flags2 << 32;
}

/* A file system that no path leads to, and that goes with its descriptors. */
static int try_mount(int device_fd, uint64_t *ret_offer)
{
    _cleanup_(fd_closep) int fs_fd = fsopen("fuse", FSOPEN_CLOEXEC);
    char fd_text[16], uid_text[16], gid_text[16];
    int r = 0;

    if (fs_fd < 0)
        return negative_errno();
    snprintf(fd_text, sizeof(fd_text), "%d", device_fd);
    snprintf(uid_text, sizeof(uid_text), "%u", geteuid());
    snprintf(gid_text, sizeof(gid_text), "%u", getegid());
    r = set_option(fs_fd, "fd", fd_text);
    if (r == 0)
        r = set_option(fs_fd, "rootmode", "40000");
    if (r == 0)
        r = set_option(fs_fd, "user_id", uid_text);
    if (r == 0)
        r = set_option(fs_fd, "group_id", gid_text);
    if (r == 0 && fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        r = negative_errno();
    if (r == 0)
        *ret_offer = read_offer(device_fd);
    return r;
}

static void look_at_kernel(struct doctor_host *host)
{
    _cleanup_(fd_closep) int device_fd = -1;
    struct utsname name;

    host->fuse_device = open_device(&device_fd);
    host->fuse_mount =
        host->fuse_device == 0 ? try_mount(device_fd, &host->fuse_offer) : host->fuse_device;
    if (uname(&name) == 0)
        snprintf(host->kernel, sizeof(host->kernel), "%s", name.release);
}

static int find_program(const char *name)
{
    _cleanup_(freep) char *directories = NULL;
    const char *path = getenv("PATH");
    char file[PATH_MAX], *at, *directory;

    at = directories = strdup(path != NULL ? path : "/usr/bin:/bin");
    if (directories == NULL)
        return -ENOMEM;
    while ((directory = strsep(&at, ":")) != NULL) {
        snprintf(file, sizeof(file), "%s/%s", directory, name);
        if (access(file, X_OK) == 0)
            return 0;
    }
    return -ENOENT;
}

/* ---- looking: paths and sockets */

struct propagation {
    uint64_t mount_id;
    bool is_shared;
};

static bool look_at_mount(void *userdata, const struct mountinfo *mount)
{
    struct propagation *propagation = userdata;

    if (mount->id != propagation->mount_id)
        return true;
    propagation->is_shared = mount->is_shared;
    return false;
}

static bool is_shared(const char *path)
{
    struct propagation propagation = {0};
    struct statx status;

    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_MNT_ID, &status) < 0)
        return false;
    propagation.mount_id = status.stx_mnt_id;
    mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", look_at_mount, &propagation);
    return propagation.is_shared;
}

static int try_socket(const char *path)
{
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (fd < 0)
        return negative_errno();
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN)
        return 0;
    return negative_errno();
}

static void look_at_paths(const struct doctor_options *options, struct doctor_host *host)
{
    struct stat status;

    host->kubelet_root = stat(options->kubelet_root, &status) < 0 ? negative_errno()
                         : S_ISDIR(status.st_mode)                ? 0
                                                                  : -ENOTDIR;
    host->kubelet_root_is_shared = host->kubelet_root == 0 && is_shared(options->kubelet_root);
    host->endpoint = try_socket(options->endpoint);
    host->registration =
        options->registration_path != NULL ? try_socket(options->registration_path) : 0;
    host->run_dir = lstat(options->run_dir, &status) < 0 ? negative_errno()
                    : S_ISDIR(status.st_mode)            ? 0
                                                         : -ENOTDIR;
    if (host->run_dir == 0) {
        host->run_dir_owner = status.st_uid;
        host->run_dir_mode = status.st_mode & 07777;
    }
}

/* ---- looking: programs */

static void look_at_volume(struct doctor_host *host, const cJSON *volume)
{
    const char *state = json_text(json_member(volume, "volume"), "state");

    if (state == NULL || !streq(state, "dead"))
        return;
    host->n_stale++;
    snprintf(host->stale, sizeof(host->stale), "%s", json_text(volume, "mountpoint"));
}

static void look_at_node(struct doctor_host *host, const cJSON *process)
{
    const char *error = json_text(process, "registrationError");
    const cJSON *limit = json_member(json_member(process, "memory"), "lockableBytes");

    host->node_runs = true;
    host->node_is_registered = json_is_true(process, "registered");
    snprintf(host->node_registration_error, sizeof(host->node_registration_error), "%s",
             error != NULL ? error : "");
    if (cJSON_IsNumber(limit))
        host->locked_limit_bytes = (int64_t)limit->valuedouble;
}

/* Of several only the one with that run directory is meant; a lock sees to it that there is one. */
static bool is_node(const cJSON *process, const struct doctor_options *options)
{
    const char *run_dir = json_text(process, "runDirectory");

    return run_dir != NULL && streq(run_dir, options->run_dir);
}

static void look_at_programs(const struct doctor_options *options, struct doctor_host *host)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    const cJSON *item;

    host->locked_limit_bytes = secmem_lockable_bytes();
    if (status_ask_all(&list, NULL) < 0)
        return;
    cJSON_ArrayForEach (item, json_member(list, "items")) {
        look_at_volume(host, item);
    }
    cJSON_ArrayForEach (item, json_member(list, "processes")) {
        if (is_node(item, options))
            look_at_node(host, item);
    }
}

void doctor_host_look(const struct doctor_options *options, struct doctor_host *ret_host)
{
    *ret_host = (struct doctor_host){.is_root = geteuid() == 0};
    look_at_kernel(ret_host);
    ret_host->fusermount = find_program("fusermount3");
    look_at_paths(options, ret_host);
    look_at_programs(options, ret_host);
}

/* ---- judging */

static void judge_user(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->is_root)
        return;
    doctor_add(report, DOCTOR_WARN, "user", "not root, so not everything could be looked at");
    doctor_remedy(report, "run it as root");
}

static void judge_fuse(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->fuse_device == 0) {
        doctor_add(report, DOCTOR_OK, "fuse-device", "/dev/fuse can be opened");
    } else {
        doctor_add(report, DOCTOR_FAIL, "fuse-device", "/dev/fuse: %s", strerror(-h->fuse_device));
        doctor_remedy(report, h->fuse_device == -ENOENT || h->fuse_device == -ENODEV
                                  ? "load the kernel's fuse module, and have containers given "
                                    "the device"
                                  : "run as root, with the device allowed");
        return;
    }
    if (h->fuse_mount == 0) {
        doctor_add(report, DOCTOR_OK, "fuse-mount", "a file system can be mounted");
        return;
    }
    doctor_add(report, h->is_root ? DOCTOR_FAIL : DOCTOR_WARN, "fuse-mount",
               "cannot mount a file system: %s", strerror(-h->fuse_mount));
    doctor_remedy(report, h->fuse_mount == -EPERM ? "it takes root with CAP_SYS_ADMIN"
                                                  : "look at the kernel's log");
}

/* What the file system can do with this kernel; nothing is said where it offered nothing. */
static void judge_offer(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->fuse_offer == 0)
        return;
    if ((h->fuse_offer & OFFERS_DIRECT_IO_MMAP) != 0) {
        doctor_add(report, DOCTOR_OK, "shared-mappings",
                   "files mounted by subPath follow updates and can be mapped shared");
    } else {
        doctor_add(report, DOCTOR_WARN, "shared-mappings",
                   "Linux %s has no FUSE_DIRECT_IO_ALLOW_MMAP: files mounted by subPath follow "
                   "updates, but cannot be mapped shared, as Java's FileChannel.map does",
                   h->kernel);
        doctor_remedy(report, "Linux 6.6 has it; programs that read such files need nothing");
    }
    if ((h->fuse_offer & OFFERS_IDMAP) != 0) {
        doctor_add(report, DOCTOR_OK, "user-namespaces", "pods may have hostUsers: false");
    } else {
        doctor_add(report, DOCTOR_WARN, "user-namespaces",
                   "Linux %s has no FUSE_ALLOW_IDMAP: pods with hostUsers: false and a volume of "
                   "secretfs do not start",
                   h->kernel);
        doctor_remedy(report, "Linux 6.12 has it");
    }
}

static void judge_fusermount(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->fusermount == 0)
        doctor_add(report, DOCTOR_OK, "fusermount3", "is there");
    else
        doctor_add(report, DOCTOR_WARN, "fusermount3",
                   "is not on PATH: ordinary users cannot mount, root can");
    if (h->fusermount < 0)
        doctor_remedy(report, "install the package fuse3");
}

static void judge_kubelet(const struct doctor_host *h, const struct doctor_options *o,
                          struct doctor_report *report)
{
    if (h->kubelet_root < 0) {
        doctor_add(report, DOCTOR_FAIL, "kubelet-root", "%s: %s", o->kubelet_root,
                   strerror(-h->kubelet_root));
        doctor_remedy(report, "give the kubelet's --root-dir as --kubelet-root");
    } else if (!h->kubelet_root_is_shared) {
        doctor_add(report, DOCTOR_WARN, "kubelet-root",
                   "%s is not in a shared mount: volumes mounted from a container or a service's "
                   "own namespace do not reach the kubelet and its pods",
                   o->kubelet_root);
        doctor_remedy(report,
                      "on the host `mount --make-rshared /`; in a container mountPropagation: "
                      "Bidirectional");
    } else {
        doctor_add(report, DOCTOR_OK, "kubelet-root", "%s is there, in a shared mount",
                   o->kubelet_root);
    }
}

static void judge_socket(int found, const char *check, const char *path, bool node_runs,
                         struct doctor_report *report)
{
    if (found == 0) {
        doctor_add(report, DOCTOR_OK, check, "%s is served", path);
        return;
    }
    doctor_add(report, DOCTOR_FAIL, check, "%s: %s", path, strerror(-found));
    if (found == -ECONNREFUSED || (found == -ENOENT && !node_runs))
        doctor_remedy(report, "start `secretfs node`; systemctl status secretfs says why it ended");
    else if (found == -ENOENT)
        doctor_remedy(report, "the program that runs has another --endpoint or --kubelet-root");
    else if (found == -EACCES || found == -EPERM)
        doctor_remedy(report, "run this as root");
}

static void judge_node(const struct doctor_host *h, const struct doctor_options *o,
                       struct doctor_report *report)
{
    judge_socket(h->endpoint, "csi-socket", o->endpoint, h->node_runs, report);
    if (o->registration_path != NULL)
        judge_socket(h->registration, "registration", o->registration_path, h->node_runs, report);
    if (!h->node_runs)
        return;
    if (h->node_is_registered) {
        doctor_add(report, DOCTOR_OK, "registered", "the kubelet has accepted the plug-in");
        return;
    }
    doctor_add(report, DOCTOR_FAIL, "registered", "%s%s",
               h->node_registration_error[0] != '\0' ? "the kubelet refused the plug-in: "
                                                     : "the kubelet has not asked for the plug-in",
               h->node_registration_error);
    /* R8: what failed within registration is not tried again by the kubelet */
    doctor_remedy(report, h->node_registration_error[0] != '\0'
                              ? "mend that, and restart secretfs"
                              : "see whether the kubelet runs, with the same --root-dir");
}

static void judge_run_dir(const struct doctor_host *h, const struct doctor_options *o,
                          struct doctor_report *report)
{
    bool is_open = h->run_dir_owner != 0 || (h->run_dir_mode & 0022) != 0;

    if (h->run_dir == -ENOENT) {
        doctor_add(report, DOCTOR_OK, "run-dir", "%s will be made", o->run_dir);
    } else if (h->run_dir < 0) {
        doctor_add(report, DOCTOR_FAIL, "run-dir", "%s: %s", o->run_dir, strerror(-h->run_dir));
        doctor_remedy(report, "remove what is there, or choose another --run-dir");
    } else if (is_open) {
        doctor_add(report, DOCTOR_FAIL, "run-dir", "others than root can write to %s (mode %04o)",
                   o->run_dir, h->run_dir_mode);
        doctor_remedy(report, "chown root %s; chmod go-w %s", o->run_dir, o->run_dir);
    } else {
        doctor_add(report, DOCTOR_OK, "run-dir", "%s is root's alone", o->run_dir);
    }
}

static void judge_memory(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->locked_limit_bytes < 0) {
        doctor_add(report, DOCTOR_OK, "locked-memory", "any amount of memory can be locked");
        return;
    }
    doctor_add(report, h->locked_limit_bytes >= LOCKED_ENOUGH_BYTES ? DOCTOR_OK : DOCTOR_WARN,
               "locked-memory", "up to %" PRId64 " KiB can be locked",
               h->locked_limit_bytes / 1024);
    if (h->locked_limit_bytes < LOCKED_ENOUGH_BYTES)
        doctor_remedy(report, "secrets beyond that could be swapped: LimitMEMLOCK=infinity, or "
                              "CAP_IPC_LOCK");
}

static void judge_stale(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->n_stale == 0) {
        doctor_add(report, DOCTOR_OK, "stale-mounts", "there are none");
        return;
    }
    doctor_add(report, DOCTOR_WARN, "stale-mounts",
               "%zu %s left of programs that are gone, such as %s", h->n_stale,
               h->n_stale == 1 ? "mount is" : "mounts are", h->stale);
    doctor_remedy(report, "restart the program if it was the node's, else `secretfs unmount`");
}

void doctor_host_judge(const struct doctor_host *host, const struct doctor_options *options,
                       struct doctor_report *report)
{
    judge_user(host, report);
    judge_fuse(host, report);
    judge_offer(host, report);
    judge_fusermount(host, report);
    judge_kubelet(host, options, report);
    judge_node(host, options, report);
    judge_run_dir(host, options, report);
    judge_memory(host, report);
    judge_stale(host, report);
}

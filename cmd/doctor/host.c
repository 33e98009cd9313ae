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
#include "cmd/status/request.h"
#include "encoding/json.h"

/* Of the flags of INIT, with flags2 as the upper half. Source: include/uapi/linux/fuse.h */
#define OFFERS_DIRECT_IO_MMAP (UINT64_C(1) << 36) /* FUSE_DIRECT_IO_ALLOW_MMAP, Linux 6.6 */
#define OFFERS_NO_EXPORT      (UINT64_C(1) << 38) /* FUSE_NO_EXPORT_SUPPORT, Linux 6.9 */
#define OFFERS_IDMAP          (UINT64_C(1) << 40) /* FUSE_ALLOW_IDMAP, Linux 6.12 */

/* A node with a few hundred secrets locks less: each takes a page or more. */
#define LOCKED_ENOUGH_BYTES (INT64_C(64) << 20)

/* ---- collecting: FUSE and the kernel */

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
 * Return: the flags of the INIT request, which the kernel sends first; 0 if it cannot be read.
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

/* The file system is attached to no path, and is destroyed when its descriptors are closed. */
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

static void collect_kernel(struct doctor_host *host)
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

/* ---- collecting: paths and sockets */

struct propagation {
    uint64_t mount_id;
    bool is_shared;
};

static bool match_mount(void *userdata, const struct mountinfo *mount)
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
    mountinfo_visit(AT_FDCWD, "/proc/self/mountinfo", match_mount, &propagation);
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

static void collect_paths(const struct doctor_options *options, struct doctor_host *host)
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

/* ---- collecting: secretfs processes */

static void collect_volume(struct doctor_host *host, const cJSON *volume)
{
    const char *state = json_text(json_member(volume, "volume"), "state");

    doctor_volumes_add(host->volumes, volume);
    if (state == NULL || !streq(state, "dead"))
        return;
    host->n_stale++;
    snprintf(host->stale, sizeof(host->stale), "%s", json_text(volume, "mountpoint"));
}

static void collect_node(struct doctor_host *host, const cJSON *process)
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

/* The node daemon locks its run directory, so there is one process for each. */
static bool is_node(const cJSON *process, const struct doctor_options *options)
{
    const char *run_dir = json_text(process, "runDirectory");

    return run_dir != NULL && streq(run_dir, options->run_dir);
}

static void collect_processes(const struct doctor_options *options, struct doctor_host *host)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    const cJSON *item;

    host->locked_limit_bytes = secmem_lockable_bytes();
    if (status_request_all(false, &list, NULL) < 0)
        return;
    cJSON_ArrayForEach (item, json_member(list, "items")) {
        collect_volume(host, item);
    }
    cJSON_ArrayForEach (item, json_member(list, "processes")) {
        if (is_node(item, options))
            collect_node(host, item);
    }
}

void doctor_host_collect(const struct doctor_options *options, struct doctor_host *ret_host)
{
    *ret_host = (struct doctor_host){.is_root = geteuid() == 0};
    collect_kernel(ret_host);
    ret_host->fusermount = find_program("fusermount3");
    collect_paths(options, ret_host);
    collect_processes(options, ret_host);
}

/* ---- evaluating */

static void evaluate_user(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->is_root)
        return;
    doctor_add(report, DOCTOR_WARN, "user", "not running as root: some checks are incomplete");
    doctor_remedy(report, "run secretfs doctor as root");
}

static void evaluate_fuse(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->fuse_device == 0) {
        doctor_add(report, DOCTOR_OK, "fuse-device", "/dev/fuse can be opened");
    } else {
        doctor_add(report, DOCTOR_FAIL, "fuse-device", "/dev/fuse: %s", strerror(-h->fuse_device));
        doctor_remedy(report, h->fuse_device == -ENOENT || h->fuse_device == -ENODEV
                                  ? "load the kernel's fuse module, and pass the device to "
                                    "containers"
                                  : "run as root, with access to the device");
        return;
    }
    if (h->fuse_mount == 0) {
        doctor_add(report, DOCTOR_OK, "fuse-mount", "can mount a file system");
        return;
    }
    doctor_add(report, h->is_root ? DOCTOR_FAIL : DOCTOR_WARN, "fuse-mount",
               "cannot mount a file system: %s", strerror(-h->fuse_mount));
    doctor_remedy(report, h->fuse_mount == -EPERM ? "run as root with CAP_SYS_ADMIN"
                                                  : "see the kernel's log");
}

/* Features of this kernel's FUSE; no finding if INIT could not be read. */
static void evaluate_offer(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->fuse_offer == 0)
        return;
    if ((h->fuse_offer & OFFERS_DIRECT_IO_MMAP) != 0) {
        doctor_add(report, DOCTOR_OK, "shared-mappings",
                   "files that are mounted by subPath can be mapped with MAP_SHARED");
    } else {
        doctor_add(report, DOCTOR_WARN, "shared-mappings",
                   "Linux %s has no FUSE_DIRECT_IO_ALLOW_MMAP: files that are mounted by subPath "
                   "cannot be mapped with MAP_SHARED, as Java's FileChannel.map does",
                   h->kernel);
        doctor_remedy(report,
                      "upgrade to Linux 6.6; programs that read such files are not affected");
    }
    if ((h->fuse_offer & OFFERS_NO_EXPORT) != 0) {
        doctor_add(report, DOCTOR_OK, "file-handles", "no file of a volume is opened by handle");
    } else {
        doctor_add(report, DOCTOR_WARN, "file-handles",
                   "Linux %s has no FUSE_NO_EXPORT_SUPPORT: a container with CAP_DAC_READ_SEARCH "
                   "can open the volumes of other pods by file handle",
                   h->kernel);
        doctor_remedy(report, "upgrade to Linux 6.9, or do not give containers this capability");
    }
    if ((h->fuse_offer & OFFERS_IDMAP) != 0) {
        doctor_add(report, DOCTOR_OK, "user-namespaces", "pods can have hostUsers: false");
    } else {
        doctor_add(report, DOCTOR_WARN, "user-namespaces",
                   "Linux %s has no FUSE_ALLOW_IDMAP: pods with hostUsers: false and a secretfs "
                   "volume do not start",
                   h->kernel);
        doctor_remedy(report, "upgrade to Linux 6.12");
    }
}

static void evaluate_fusermount(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->fusermount == 0)
        doctor_add(report, DOCTOR_OK, "fusermount3", "found on PATH");
    else
        doctor_add(report, DOCTOR_WARN, "fusermount3", "not found on PATH: only root can mount");
    if (h->fusermount < 0)
        doctor_remedy(report, "install the package fuse3");
}

static void evaluate_kubelet(const struct doctor_host *h, const struct doctor_options *o,
                             struct doctor_report *report)
{
    if (h->kubelet_root < 0) {
        doctor_add(report, DOCTOR_FAIL, "kubelet-root", "%s: %s", o->kubelet_root,
                   strerror(-h->kubelet_root));
        doctor_remedy(report, "give the kubelet's --root-dir as --kubelet-root");
    } else if (!h->kubelet_root_is_shared) {
        doctor_add(report, DOCTOR_WARN, "kubelet-root",
                   "%s is not in a shared mount: volumes that a container or a service with its "
                   "own namespace mounts do not propagate to the kubelet and its pods",
                   o->kubelet_root);
        doctor_remedy(report, "run `mount --make-rshared /` on the host; in a container set "
                              "mountPropagation: Bidirectional");
    } else {
        doctor_add(report, DOCTOR_OK, "kubelet-root", "%s is in a shared mount", o->kubelet_root);
    }
}

static void evaluate_socket(int found, const char *check, const char *path, bool node_runs,
                            struct doctor_report *report)
{
    if (found == 0) {
        doctor_add(report, DOCTOR_OK, check, "%s accepts connections", path);
        return;
    }
    doctor_add(report, DOCTOR_FAIL, check, "%s: %s", path, strerror(-found));
    if (found == -ECONNREFUSED || (found == -ENOENT && !node_runs))
        doctor_remedy(report,
                      "start `secretfs node`; `systemctl status secretfs` shows why it ended");
    else if (found == -ENOENT)
        doctor_remedy(report,
                      "give the --endpoint or --kubelet-root of the running `secretfs node`");
    else if (found == -EACCES || found == -EPERM)
        doctor_remedy(report, "run this as root");
}

static void evaluate_node(const struct doctor_host *h, const struct doctor_options *o,
                          struct doctor_report *report)
{
    evaluate_socket(h->endpoint, "csi-socket", o->endpoint, h->node_runs, report);
    if (o->registration_path != NULL)
        evaluate_socket(h->registration, "registration", o->registration_path, h->node_runs,
                        report);
    if (!h->node_runs || o->registration_path == NULL)
        return;
    if (h->node_is_registered) {
        doctor_add(report, DOCTOR_OK, "registered", "the kubelet has registered the driver");
        return;
    }
    doctor_add(report, DOCTOR_FAIL, "registered", "%s%s",
               h->node_registration_error[0] != '\0' ? "the kubelet rejected the registration: "
                                                     : "the kubelet has not registered the driver",
               h->node_registration_error);
    /* R8: the kubelet does not retry a failed registration, so the socket is made again */
    doctor_remedy(report, h->node_registration_error[0] != '\0'
                              ? "remove the cause; secretfs registers again by itself"
                              : "check that the kubelet runs with the same --root-dir");
}

static void evaluate_run_dir(const struct doctor_host *h, const struct doctor_options *o,
                             struct doctor_report *report)
{
    bool is_open = h->run_dir_owner != 0 || (h->run_dir_mode & 0022) != 0;

    if (h->run_dir == -ENOENT) {
        doctor_add(report, DOCTOR_OK, "run-dir", "%s will be created", o->run_dir);
    } else if (h->run_dir < 0) {
        doctor_add(report, DOCTOR_FAIL, "run-dir", "%s: %s", o->run_dir, strerror(-h->run_dir));
        doctor_remedy(report, "remove it, or choose another --run-dir");
    } else if (is_open) {
        doctor_add(report, DOCTOR_FAIL, "run-dir",
                   "other users than root can write to %s (mode %04o)", o->run_dir,
                   h->run_dir_mode);
        doctor_remedy(report, "chown root %s; chmod go-w %s", o->run_dir, o->run_dir);
    } else {
        doctor_add(report, DOCTOR_OK, "run-dir", "only root can write to %s", o->run_dir);
    }
}

static void evaluate_memory(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->locked_limit_bytes < 0) {
        doctor_add(report, DOCTOR_OK, "locked-memory", "no limit on locked memory");
        return;
    }
    doctor_add(report, h->locked_limit_bytes >= LOCKED_ENOUGH_BYTES ? DOCTOR_OK : DOCTOR_WARN,
               "locked-memory", "the limit on locked memory is %" PRId64 " KiB",
               h->locked_limit_bytes / 1024);
    if (h->locked_limit_bytes < LOCKED_ENOUGH_BYTES)
        doctor_remedy(report, "set LimitMEMLOCK=infinity or CAP_IPC_LOCK: secrets beyond the limit "
                              "may be swapped");
}

static void evaluate_stale(const struct doctor_host *h, struct doctor_report *report)
{
    if (h->n_stale == 0) {
        doctor_add(report, DOCTOR_OK, "stale-mounts", "none");
        return;
    }
    doctor_add(report, DOCTOR_WARN, "stale-mounts", "%zu %s, such as %s", h->n_stale,
               h->n_stale == 1 ? "mount of a dead process" : "mounts of dead processes", h->stale);
    doctor_remedy(report,
                  "restart the node daemon if it mounted them, else run `secretfs unmount`");
}

void doctor_host_evaluate(const struct doctor_host *host, const struct doctor_options *options,
                          struct doctor_report *report)
{
    evaluate_user(host, report);
    evaluate_fuse(host, report);
    evaluate_offer(host, report);
    evaluate_fusermount(host, report);
    evaluate_kubelet(host, options, report);
    evaluate_node(host, options, report);
    evaluate_run_dir(host, options, report);
    evaluate_memory(host, report);
    evaluate_stale(host, report);
    doctor_volumes_evaluate(host->volumes, report);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel ends a watch when the last directory entry and the last user of its inode are gone. A
 * file that was replaced has no entry any more, so a descriptor (O_PATH) is what keeps it. It is
 * opened by file handle, through the writable view: one that was opened through the consumer's own
 * mount would keep that mount, and the consumer's namespace, for as long as we live.
 *
 * How the watchers are told: the file is opened for writing, set to the size that it has, and
 * closed. The kernel makes MODIFY and CLOSE_WRITE of that, and keeps its pages.
 *
 * Who is watched is read off /proc/PID/fdinfo, which lists the inodes of each inotify and fanotify
 * instance. That is a look at every descriptor of the machine, so it is left until there are many
 * pins. Of processes that cannot be seen nothing is known; their watches end with the oldest pins.
 */
#include "fuse/watch_pins.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define PINS_LOOK_AT    16      /* of one followed file; below it nobody is looked at */
#define FDINFO_BYTES    1048576 /* an instance with some ten thousand watches */
#define FILEID_INO64    0x81    /* FILEID_INO64_GEN of the kernel's exportfs.h, which FUSE uses */
#define KERNEL_DEV(dev) (major(dev) << 20 | minor(dev)) /* as fdinfo has it */

struct pin {
    struct list link;
    char *volume;
    char *path;
    uint64_t node_id;
    bool is_watched; /* as of the last look */
    int fd;
};

static void pin_free(struct pin *pin)
{
    list_remove(&pin->link);
    (void)fd_close(pin->fd);
    free(pin->volume);
    free(pin->path);
    free(pin);
}

static bool pin_stands_for(const struct pin *pin, const char *volume, const char *path)
{
    return streq(pin->path, path) && streq(pin->volume, volume);
}

/* ---- files by their node ids */

int watch_open(int dir_fd, uint64_t node_id, int flags)
{
    struct {
        struct file_handle head;
        uint32_t words[3]; /* node id, high and low half, and generation; fs/fuse/inode.c */
    } handle = {
        .head = {.handle_bytes = sizeof(handle.words), .handle_type = FILEID_INO64},
        .words = {(uint32_t)(node_id >> 32), (uint32_t)node_id, 0},
    };
    int fd = open_by_handle_at(dir_fd, &handle.head, flags | O_CLOEXEC);

    return fd < 0 ? negative_errno() : fd;
}

void watch_tell(int fd_consumed)
{
    _cleanup_(fd_closep) int fd = fd_consumed;
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0 || ftruncate(fd, status.st_size) < 0)
        return; /* whoever watched it has been told that it is gone */
}

/* ---- who is watched */

static void note_watched(struct watch_pins *pins, dev_t device, const char *line)
{
    const char *at = strstr(line, " ino:");
    struct pin *pin;
    uint64_t node_id;
    unsigned number;

    if (at == NULL || sscanf(at, " ino:%" SCNx64 " sdev:%x", &node_id, &number) != 2 ||
        number != KERNEL_DEV(device))
        return;
    list_for_each (pin, &pins->all, link)
        if (pin->node_id == node_id)
            pin->is_watched = true;
}

static void look_at_instance(struct watch_pins *pins, dev_t device, int fdinfo_fd, const char *name)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(FDINFO_BYTES);
    char *line, *at;

    if (buf_read_file(&text, fdinfo_fd, name) < 0 || text.data == NULL)
        return;
    at = text.data;
    while ((line = strsep(&at, "\n")) != NULL)
        note_watched(pins, device, line);
}

static bool is_instance(int fd_dir_fd, const char *name)
{
    char target[64];
    ssize_t len = readlinkat(fd_dir_fd, name, target, sizeof(target) - 1);

    if (len < 0)
        return false;
    target[len] = '\0';
    return streq(target, "anon_inode:inotify") || streq(target, "anon_inode:[fanotify]");
}

static DIR *open_dir(int dir_fd, const char *path)
{
    int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (dir == NULL)
        (void)fd_close(fd);
    return dir;
}

static void look_at_process(struct watch_pins *pins, dev_t device, int proc_fd, const char *pid)
{
    _cleanup_(fd_closep) int process_fd = openat(proc_fd, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(dir_closep) DIR *fds = process_fd >= 0 ? open_dir(process_fd, "fd") : NULL;
    _cleanup_(dir_closep) DIR *infos = process_fd >= 0 ? open_dir(process_fd, "fdinfo") : NULL;
    const struct dirent *entry;

    if (fds == NULL || infos == NULL)
        return;
    while ((entry = readdir(fds)) != NULL)
        if (is_instance(dirfd(fds), entry->d_name))
            look_at_instance(pins, device, dirfd(infos), entry->d_name);
}

static void look_at_all(struct watch_pins *pins, dev_t device)
{
    _cleanup_(dir_closep) DIR *proc = opendir("/proc");
    const struct dirent *entry;
    struct pin *pin;

    list_for_each (pin, &pins->all, link)
        pin->is_watched = proc == NULL;
    while (proc != NULL && (entry = readdir(proc)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            look_at_process(pins, device, dirfd(proc), entry->d_name);
}

/* ---- the pins */

/* Let go of those that nobody watches, and of the oldest if there are too many nevertheless. */
static void thin_out(struct watch_pins *pins, dev_t device, const char *volume, const char *path)
{
    struct pin *pin, *tmp, *oldest = NULL;
    size_t n = 0;

    look_at_all(pins, device);
    list_for_each_safe (pin, tmp, &pins->all, link) {
        if (!pin_stands_for(pin, volume, path))
            continue;
        if (!pin->is_watched) {
            pin_free(pin);
            continue;
        }
        oldest = oldest == NULL ? pin : oldest;
        n++;
    }
    if (n >= WATCH_PINS_MAX)
        pin_free(oldest);
}

static struct pin *pin_new(int fd, const char *volume, const char *path, uint64_t node_id)
{
    struct pin *pin = calloc(1, sizeof(*pin));

    if (pin == NULL)
        return NULL;
    list_init(&pin->link);
    pin->fd = -1;
    pin->node_id = node_id;
    pin->volume = strdup(volume);
    pin->path = strdup(path);
    if (pin->volume == NULL || pin->path == NULL) {
        pin_free(pin);
        return NULL;
    }
    pin->fd = fd;
    return pin;
}

int watch_pins_add(struct watch_pins *pins, int dir_fd, dev_t device, const char *volume,
                   const char *path, uint64_t node_id)
{
    _cleanup_(fd_closep) int fd = -1;
    struct pin *pin;
    size_t n = 0;

    list_for_each (pin, &pins->all, link) {
        if (pin->node_id == node_id)
            return 0;
        n += pin_stands_for(pin, volume, path);
    }
    if (n >= PINS_LOOK_AT && n % PINS_LOOK_AT == 0)
        thin_out(pins, device, volume, path);
    fd = watch_open(dir_fd, node_id, O_PATH);
    if (fd < 0)
        return fd;
    pin = pin_new(fd, volume, path, node_id);
    if (pin == NULL)
        return -ENOMEM;
    (void)TAKE_FD(fd);
    list_append(&pins->all, &pin->link);
    return 0;
}

void watch_pins_tell(const struct watch_pins *pins, int dir_fd, watch_pins_match_fn *is_meant,
                     void *userdata)
{
    const struct pin *pin;

    list_for_each (pin, &pins->all, link)
        if (is_meant(userdata, pin->volume, pin->path))
            watch_tell(watch_open(dir_fd, pin->node_id, O_WRONLY));
}

void watch_pins_keep(struct watch_pins *pins, watch_pins_match_fn *is_meant, void *userdata)
{
    struct pin *pin, *tmp;

    list_for_each_safe (pin, tmp, &pins->all, link)
        if (!is_meant(userdata, pin->volume, pin->path))
            pin_free(pin);
}

void watch_pins_deinit(struct watch_pins *pins)
{
    struct pin *pin, *tmp;

    list_for_each_safe (pin, tmp, &pins->all, link)
        pin_free(pin);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel ends a watch when the last directory entry and the last user of its inode are gone. A
 * file that was replaced has no entry any more, so a descriptor (O_PATH) is what keeps it. It is
 * opened by file handle, through the writable view: one that was opened through the consumer's own
 * mount would keep that mount, and the consumer's namespace, for as long as we live.
 *
 * A directory is kept as it is, with its files, while the generation that it was in is removed: the
 * tree lets a directory go that has nothing but kept ones in it, and the kernel does not look. When
 * it is no longer needed it is emptied, and the kernel is asked to forget it; to remove it is not
 * possible, as nothing can be changed in a directory that is gone.
 *
 * Who is watched is read off /proc/PID/fdinfo, which lists the inodes of each inotify and fanotify
 * instance. That is a look at every descriptor of the machine, so it is left until there are some
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
#include "fuse/names.h"
#include "fuse/tell.h"
#include "fuse/writer.h"

#define PINS_LOOK_AT    8       /* of one followed file; below it nobody is looked at */
#define FDINFO_BYTES    1048576 /* an instance with some ten thousand watches */
#define FILEID_INO64    0x81    /* FILEID_INO64_GEN of the kernel's exportfs.h, which FUSE uses */
#define KERNEL_DEV(dev) (major(dev) << 20 | minor(dev)) /* as fdinfo has it */

struct pin {
    struct list link;
    char *volume;
    char *path;
    uint64_t node_id;
    bool is_directory;
    uint64_t parent_id;
    bool is_watched; /* as of the last look */
    int fd;
};

static bool pin_stands_for(const struct pin *pin, const char *volume, const char *path)
{
    return streq(pin->path, path) && streq(pin->volume, volume);
}

static void pin_free(struct pin *pin)
{
    list_remove(&pin->link);
    (void)fd_close(pin->fd);
    free(pin->volume);
    free(pin->path);
    free(pin);
}

static void empty_directory(struct watch_pins *pins, const struct pin *pin)
{
    _cleanup_(names_deinit) struct names names = {0};

    (void)names_read(&names, pins->tree, pin->node_id);
    for (size_t i = 0; i < names.n; i++)
        if (names.all[i].is_directory)
            (void)writer_remove(pins->tree, pin->fd, names.all[i].text);
        else
            (void)unlinkat(pin->fd, names.all[i].text, 0);
}

/* Nobody watches it, or nobody is to. */
static void pin_drop(struct watch_pins *pins, struct pin *pin)
{
    const char *slash = strrchr(pin->path, '/');

    if (pin->is_directory) {
        empty_directory(pins, pin);
        tree_keep(pins->tree, pin->node_id, false);
        pin->fd = fd_close(pin->fd);
        session_forget_later(pins->session, pin->parent_id, slash != NULL ? slash + 1 : pin->path);
    }
    pin_free(pin);
}

/* ---- by node ids */

/* Open a file or directory, linked or not. Return: a descriptor; -errno. */
static int open_node(int dir_fd, uint64_t node_id, int flags)
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

/* ---- who is watched */

static void note_watched(struct watch_pins *pins, const char *line)
{
    const char *at = strstr(line, " ino:");
    struct pin *pin;
    uint64_t node_id;
    unsigned number;

    if (at == NULL || sscanf(at, " ino:%" SCNx64 " sdev:%x", &node_id, &number) != 2 ||
        number != KERNEL_DEV(session_device(pins->session)))
        return;
    list_for_each (pin, &pins->all, link)
        if (pin->node_id == node_id ||
            (pin->is_directory && tree_is_in(pins->tree, node_id, pin->node_id)))
            pin->is_watched = true;
}

static void look_at_instance(struct watch_pins *pins, int fdinfo_fd, const char *name)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(FDINFO_BYTES);
    char *line, *at;

    if (buf_read_file(&text, fdinfo_fd, name) < 0 || text.data == NULL)
        return;
    at = text.data;
    while ((line = strsep(&at, "\n")) != NULL)
        note_watched(pins, line);
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

static void look_at_process(struct watch_pins *pins, int proc_fd, const char *pid)
{
    _cleanup_(fd_closep) int process_fd = openat(proc_fd, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(dir_closep) DIR *fds = process_fd >= 0 ? open_dir(process_fd, "fd") : NULL;
    _cleanup_(dir_closep) DIR *infos = process_fd >= 0 ? open_dir(process_fd, "fdinfo") : NULL;
    const struct dirent *entry;

    if (fds == NULL || infos == NULL)
        return;
    while ((entry = readdir(fds)) != NULL)
        if (is_instance(dirfd(fds), entry->d_name))
            look_at_instance(pins, dirfd(infos), entry->d_name);
}

static void look_at_all(struct watch_pins *pins)
{
    _cleanup_(dir_closep) DIR *proc = opendir("/proc");
    const struct dirent *entry;
    struct pin *pin;

    list_for_each (pin, &pins->all, link)
        pin->is_watched = proc == NULL;
    while (proc != NULL && (entry = readdir(proc)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            look_at_process(pins, dirfd(proc), entry->d_name);
}

/* ---- the pins */

void watch_pins_init(struct watch_pins *pins, struct session *session, struct tree *tree)
{
    pins->session = session;
    pins->tree = tree;
    list_init(&pins->all);
}

void watch_pins_deinit(struct watch_pins *pins)
{
    struct pin *pin, *tmp;

    list_for_each_safe (pin, tmp, &pins->all, link)
        pin_free(pin);
}

/* Let go of those that nobody watches, and of the oldest if there are too many nevertheless. */
static void thin_out(struct watch_pins *pins, const char *volume, const char *path)
{
    struct pin *pin, *tmp, *oldest = NULL;
    size_t n = 0;

    look_at_all(pins);
    list_for_each_safe (pin, tmp, &pins->all, link) {
        if (!pin_stands_for(pin, volume, path))
            continue;
        if (!pin->is_watched) {
            pin_drop(pins, pin);
            continue;
        }
        oldest = oldest == NULL ? pin : oldest;
        n++;
    }
    if (n >= WATCH_PINS_MAX)
        pin_drop(pins, oldest);
}

static struct pin *pin_new(const struct watch_pin_options *options)
{
    struct pin *pin = calloc(1, sizeof(*pin));

    if (pin == NULL)
        return NULL;
    list_init(&pin->link);
    pin->fd = -1;
    pin->node_id = options->node_id;
    pin->is_directory = options->is_directory;
    pin->parent_id = options->parent_id;
    pin->volume = strdup(options->volume);
    pin->path = strdup(options->path);
    if (pin->volume == NULL || pin->path == NULL) {
        pin_free(pin);
        return NULL;
    }
    return pin;
}

int watch_pins_add(struct watch_pins *pins, int dir_fd, const struct watch_pin_options *options)
{
    struct pin *pin;
    size_t n = 0;

    list_for_each (pin, &pins->all, link) {
        if (pin->node_id == options->node_id)
            return 0;
        n += pin_stands_for(pin, options->volume, options->path);
    }
    if (n >= PINS_LOOK_AT && n % PINS_LOOK_AT == 0)
        thin_out(pins, options->volume, options->path);
    pin = pin_new(options);
    if (pin == NULL)
        return -ENOMEM;
    pin->fd = open_node(dir_fd, options->node_id, O_PATH);
    if (pin->fd < 0) {
        int r = pin->fd;

        pin_free(pin);
        return r;
    }
    if (options->is_directory)
        tree_keep(pins->tree, options->node_id, true);
    list_append(&pins->all, &pin->link);
    return 0;
}

void watch_pins_tell(const struct watch_pins *pins, int dir_fd, watch_pins_match_fn *is_meant,
                     void *userdata)
{
    const struct pin *pin;

    list_for_each (pin, &pins->all, link)
        if (!pin->is_directory && is_meant(userdata, pin->volume, pin->path))
            tell_file(open_node(dir_fd, pin->node_id, O_WRONLY));
}

void watch_pins_tell_directories(const struct watch_pins *pins, const char *volume,
                                 const char *path, uint64_t shown_id, uint64_t new_id)
{
    const struct pin *pin;

    list_for_each (pin, &pins->all, link)
        if (pin->is_directory && pin_stands_for(pin, volume, path))
            tell_directory(pins->tree, pin->fd, pin->node_id, shown_id, new_id);
}

void watch_pins_keep(struct watch_pins *pins, watch_pins_match_fn *is_meant, void *userdata)
{
    struct pin *pin, *tmp;

    list_for_each_safe (pin, tmp, &pins->all, link)
        if (!is_meant(userdata, pin->volume, pin->path))
            pin_drop(pins, pin);
}

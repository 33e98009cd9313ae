/*
 * probe: what a container sees of its volumes, told line by line on standard output.
 *
 *     probe NAME=PATH...
 *
 * At first the listing of each path, which may be a directory or a file, then every event that
 * inotify has for it, and what its files hold after a change of theirs. A line is
 *
 *     NAME list PATH TYPE MODE UID GID SIZE [TARGET]
 *     NAME ready TIME
 *     NAME event TIME MASK COOKIE FILE
 *     NAME content TIME FILE HEX
 *
 * with TIME in nanoseconds of the real-time clock, MODE in octal, MASK in hexadecimal, and - for an
 * empty FILE or HEX. A directory's files are read after ..data was moved into it, which is when a
 * volume has a new generation, and new ones when their links are made; a file after every event.
 * Static, so that an image needs nothing but it.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* readers do not count: every reader of a volume makes such events */
#define EVENTS      (IN_ALL_EVENTS & ~(IN_ACCESS | IN_OPEN | IN_CLOSE_NOWRITE))
#define MAX_WATCHES 16 /* volumes of one pod in these tests */
#define MAX_SHOWN   64 /* bytes of a file; values in these tests are shorter */

struct watch {
    const char *name;
    const char *path;
    int wd;
    bool is_directory;
};

static struct watch watches[MAX_WATCHES];
static size_t n_watches;

static unsigned long long now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (unsigned long long)now.tv_sec * 1000000000ull + (unsigned long long)now.tv_nsec;
}

static char type_of(mode_t mode)
{
    if (S_ISLNK(mode))
        return 'l';
    return S_ISDIR(mode) ? 'd' : '-';
}

static void list(const struct watch *watch, const char *relative)
{
    char path[PATH_MAX], target[PATH_MAX] = "";
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", watch->path, relative);
    if (relative[0] == '\0')
        path[strlen(watch->path)] = '\0';
    if (lstat(path, &st) != 0)
        err(1, "%s", path);
    if (S_ISLNK(st.st_mode) && readlink(path, target, sizeof(target) - 1) < 0)
        err(1, "%s", path);
    printf("%s list %s %c %o %u %u %lld %s\n", watch->name, relative[0] ? relative : ".",
           type_of(st.st_mode), st.st_mode & 07777, st.st_uid, st.st_gid,
           S_ISDIR(st.st_mode) ? 0ll : (long long)st.st_size, target);
    if (!S_ISDIR(st.st_mode))
        return;

    DIR *dir = opendir(path);

    if (!dir)
        err(1, "%s", path);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char child[PATH_MAX];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(child, sizeof(child), "%s%s%s", relative, relative[0] ? "/" : "", entry->d_name);
        list(watch, child);
    }
    closedir(dir);
}

static void show(const struct watch *watch, const char *file)
{
    unsigned char bytes[MAX_SHOWN];
    char path[PATH_MAX];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", watch->path, file);
    if (file[0] == '\0')
        path[strlen(watch->path)] = '\0';
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
    if (n < 0 && errno == EISDIR) {
        /* a link to a directory; its files are left alone */
    } else if (n < 0) {
        printf("%s error %llu %s %s\n", watch->name, now_ns(), file[0] ? file : "-",
               strerror(errno));
    } else {
        printf("%s content %llu %s ", watch->name, now_ns(), file[0] ? file : "-");
        for (ssize_t i = 0; i < n; i++)
            printf("%02x", bytes[i]);
        printf("%s\n", n > 0 ? "" : "-");
    }
    if (fd >= 0)
        close(fd);
}

/* A new key's link comes before or after the generation that it leads to, by the kubelet's age. */
static void show_if_there(const struct watch *watch, const char *file)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", watch->path, file);
    if (access(path, F_OK) == 0)
        show(watch, file);
}

static void show_all(const struct watch *watch)
{
    DIR *dir = opendir(watch->path);

    if (!dir)
        err(1, "%s", watch->path);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            show(watch, entry->d_name);
    closedir(dir);
}

static void tell(const struct inotify_event *event)
{
    for (size_t i = 0; i < n_watches; i++) {
        const struct watch *watch = &watches[i];

        if (watch->wd != event->wd)
            continue;
        printf("%s event %llu %x %u %s\n", watch->name, now_ns(), event->mask, event->cookie,
               event->len > 0 && event->name[0] ? event->name : "-");
        if (!watch->is_directory)
            show(watch, "");
        else if ((event->mask & IN_MOVED_TO) && strcmp(event->name, "..data") == 0)
            show_all(watch);
        else if ((event->mask & (IN_CREATE | IN_ISDIR)) == IN_CREATE && event->name[0] != '.')
            show_if_there(watch, event->name);
    }
}

static void add(int fd, char *argument)
{
    struct watch *watch = &watches[n_watches];
    char *equals = strchr(argument, '=');
    struct stat st;

    if (!equals || n_watches >= MAX_WATCHES)
        errx(2, "usage: probe NAME=PATH...");
    *equals = '\0';
    watch->name = argument;
    watch->path = equals + 1;
    watch->wd = inotify_add_watch(fd, watch->path, EVENTS);
    if (watch->wd < 0 || stat(watch->path, &st) != 0)
        err(1, "%s", watch->path);
    watch->is_directory = S_ISDIR(st.st_mode);
    n_watches++;
    list(watch, "");
    if (watch->is_directory)
        show_all(watch);
    else
        show(watch, "");
    printf("%s ready %llu\n", watch->name, now_ns());
}

int main(int argc, char **argv)
{
    char buffer[65536] __attribute__((aligned(__alignof__(struct inotify_event))));
    int fd = inotify_init1(IN_CLOEXEC);

    if (fd < 0)
        err(1, "inotify");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++)
        add(fd, argv[i]);
    for (;;) {
        ssize_t n = read(fd, buffer, sizeof(buffer));

        if (n <= 0)
            err(1, "inotify");
        for (char *at = buffer; at < buffer + n;) {
            const struct inotify_event *event = (const void *)at;

            tell(event);
            at += sizeof(*event) + event->len;
        }
    }
}

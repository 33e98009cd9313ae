/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long the calls of a reader take, while what serves it ends and is replaced.
 *
 *     waits request PATH    statfs(2) of a mount point: the daemon answers each
 *     waits read PATH       open, read and close of a file: the kernel answers, once it was read
 *
 * It makes the call in a loop, with a short pause, so that it leaves the processor to others. For
 * each line on standard input it prints the number of calls since the last one, and the nanoseconds
 * that the longest of them took. A call that fails ends it.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "bench/program.h"

#define PAUSE_NS 200000

static void request(const char *path)
{
    struct statfs ignored;

    if (statfs(path, &ignored) < 0)
        die(path, strerror(errno));
}

static void read_file(const char *path)
{
    char bytes[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, bytes, sizeof(bytes)) < 0)
        die(path, strerror(errno));
    close(fd);
}

/* Return: whether there was a line; the end of input ends the program. */
static bool has_line(void)
{
    struct pollfd poll_fd = {.fd = STDIN_FILENO, .events = POLLIN};
    char line[16];

    if (poll(&poll_fd, 1, 0) <= 0)
        return false;
    if (fgets(line, sizeof(line), stdin) == NULL)
        exit(0);
    return true;
}

int main(int argc, char **argv)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    long long n = 0, longest_ns = 0;
    bool is_request;

    if (argc != 3)
        return 2;
    is_request = streq(argv[1], "request");
    while (true) {
        long long begin_ns = now_ns(), took_ns;

        (is_request ? request : read_file)(argv[2]);
        took_ns = now_ns() - begin_ns;
        n++;
        longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
        if (has_line()) {
            printf("%lld %lld\n", n, longest_ns);
            fflush(stdout);
            n = longest_ns = 0;
        }
        nanosleep(&pause, NULL);
    }
}

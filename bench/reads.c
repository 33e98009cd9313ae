/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to read a volume that is warm.
 *
 *   reads compare DIR DIR ROUNDS [OPERATION...]
 *                                   the same operations in both, ns per operation and round
 *   reads repeat DIR COUNT          that many reads, and now and then each other operation
 *   reads repeat DIR COUNT OPERATION
 *                                   that operation alone
 *
 * Without names all operations are done, for which a directory has to be a volume, with links.
 * The two directories take turns in slices of some milliseconds, and who is first changes with each
 * round, so that other load on the machine affects both alike. `compare` prints a line per
 * operation and round: its name, and the nanoseconds in the first and in the second directory.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "bench/program.h"

#define FILES_MAX  2048
#define FDS_MAX    64 /* so many of them are kept open if pread is measured */
#define READ_BYTES 65536
#define PATH_BYTES 512
#define SLICE_NS   4000000 /* shorter than a scheduler's turn, long against the clock's own cost */
#define OTHERS_PER 100     /* `repeat` does the other operations once in so many reads */

struct place {
    const char *dir;
    char paths[FILES_MAX][PATH_BYTES];
    size_t n_files;
    int fds[FDS_MAX];
    size_t n_fds;
};

static char content[READ_BYTES];

/* ---- operations; @i chooses the file */

static int read_whole(const struct place *p, size_t i)
{
    int fd = open(p->paths[i % p->n_files], O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return negative_errno();
    n = read(fd, content, sizeof(content));
    if (n < 0) {
        fd_close(fd);
        return negative_errno();
    }
    return close(fd) < 0 ? negative_errno() : 0;
}

static int stat_file(const struct place *p, size_t i)
{
    struct stat status;

    return stat(p->paths[i % p->n_files], &status) < 0 ? negative_errno() : 0;
}

static int list_names(const struct place *p, size_t i)
{
    DIR *dir = opendir(p->dir);

    if (dir == NULL)
        return negative_errno();
    while (readdir(dir) != NULL)
        continue;
    return closedir(dir) < 0 ? negative_errno() : 0;
}

static int pread_open(const struct place *p, size_t i)
{
    return pread(p->fds[i % p->n_fds], content, sizeof(content), 0) < 0 ? negative_errno() : 0;
}

static int read_link(const struct place *p, size_t i)
{
    return readlink(p->paths[i % p->n_files], content, sizeof(content)) < 0 ? negative_errno() : 0;
}

typedef int operation_fn(const struct place *p, size_t i);

static const struct operation {
    const char *name;
    operation_fn *run;
} operations[] = {
    {"open+read+close", read_whole}, {"stat", stat_file},     {"readdir", list_names},
    {"pread", pread_open},           {"readlink", read_link},
};

/* Those that were asked for, in the order of the table. */
static struct {
    const struct operation *list[ELEMENTS_OF(operations)];
    size_t n;
} chosen;

/* Return: 0; -EINVAL for a name that is not in the table. No names choose all. */
static int choose(char *const names[], size_t n_names)
{
    size_t n_found = 0;

    for (size_t i = 0; i < ELEMENTS_OF(operations); i++) {
        bool found = n_names == 0;

        for (size_t name = 0; name < n_names; name++)
            found = found || streq(names[name], operations[i].name);
        if (found)
            chosen.list[chosen.n++] = &operations[i];
        n_found += found;
    }
    return n_found < n_names ? -EINVAL : 0;
}

static bool is_chosen(operation_fn *run)
{
    for (size_t i = 0; i < chosen.n; i++)
        if (chosen.list[i]->run == run)
            return true;
    return false;
}

static int run_many(const struct operation *o, const struct place *p, size_t n)
{
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++)
        r = o->run(p, i);
    if (r < 0)
        fprintf(stderr, "reads: %s in %s: %s\n", o->name, p->dir, strerror(-r));
    return r;
}

/* ---- places */

static int place_add_file(struct place *p, const char *name)
{
    size_t i = p->n_files;
    int len;

    if (i == FILES_MAX)
        return -E2BIG;
    len = snprintf(p->paths[i], PATH_BYTES, "%s/%s", p->dir, name);
    if (len < 0 || len >= PATH_BYTES)
        return -ENAMETOOLONG;
    p->n_files++;
    if (p->n_fds == FDS_MAX || !is_chosen(pread_open))
        return 0;
    p->fds[p->n_fds] = open(p->paths[i], O_RDONLY | O_CLOEXEC);
    if (p->fds[p->n_fds] < 0)
        return negative_errno();
    p->n_fds++;
    return 0;
}

/* The volume's keys: all names but those that begin with two dots. */
static int place_init(struct place *p, const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    int r = 0;

    *p = (struct place){.dir = path};
    if (dir == NULL)
        return negative_errno();
    while (r == 0 && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            r = place_add_file(p, entry->d_name);
    closedir(dir);
    if (r == 0 && p->n_files == 0)
        r = -ENOENT;
    for (size_t i = 0; i < chosen.n && r == 0; i++)
        r = run_many(chosen.list[i], p, 2 * p->n_files);
    return r;
}

static void place_deinit(struct place *p)
{
    for (size_t i = 0; i < p->n_fds; i++)
        close(p->fds[i]);
}

/* ---- compare */

/* Return: ns, or -errno. */
static int64_t time_slice(const struct operation *o, const struct place *p, size_t n)
{
    int64_t begin = now_ns();
    int r = run_many(o, p, n);

    return r < 0 ? r : now_ns() - begin;
}

/* How many operations fill a slice. Return: 0 or -errno. */
static int calibrate(const struct operation *o, const struct place *p, size_t *ret_n)
{
    int64_t ns = 0;
    size_t n;

    for (n = 64; ns < SLICE_NS; n *= 2) {
        ns = time_slice(o, p, n);
        if (ns < 0)
            return (int)ns;
    }
    *ret_n = n / 2;
    return 0;
}

static int compare_round(const struct place places[2], const size_t counts[], size_t round)
{
    for (size_t i = 0; i < chosen.n; i++) {
        double ns[2];

        for (size_t turn = 0; turn < 2; turn++) {
            size_t which = (turn + round) % 2;
            int64_t taken = time_slice(chosen.list[i], &places[which], counts[i]);

            if (taken < 0)
                return (int)taken;
            ns[which] = (double)taken / (double)counts[i];
        }
        printf("%s %.1f %.1f\n", chosen.list[i]->name, ns[0], ns[1]);
    }
    return 0;
}

static int compare(const char *first, const char *second, size_t n_rounds)
{
    static struct place places[2];
    size_t counts[ELEMENTS_OF(operations)];
    int r = place_init(&places[0], first);

    if (r == 0)
        r = place_init(&places[1], second);
    for (size_t i = 0; i < chosen.n && r == 0; i++)
        r = calibrate(chosen.list[i], &places[1], &counts[i]);
    for (size_t round = 0; round < n_rounds && r == 0; round++)
        r = compare_round(places, counts, round);
    place_deinit(&places[0]);
    place_deinit(&places[1]);
    return r;
}

/* ---- repeat */

static int repeat_chosen(const char *dir, size_t n)
{
    static struct place place;
    int r = place_init(&place, dir);

    if (r == 0)
        r = run_many(chosen.list[0], &place, n);
    place_deinit(&place);
    return r;
}

static int repeat_all(const char *dir, size_t n)
{
    static struct place place;
    int r = place_init(&place, dir);

    for (size_t i = 0; i < n && r == 0; i++) {
        r = read_whole(&place, i);
        for (size_t o = 0; o < ELEMENTS_OF(operations) && r == 0 && i % OTHERS_PER == 0; o++)
            r = operations[o].run(&place, i / OTHERS_PER);
    }
    place_deinit(&place);
    return r;
}

/* Return: the number, or 0 when it is none. */
static size_t parse_count(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    return *end == '\0' ? n : 0;
}

static void usage(void)
{
    fputs("usage: reads compare DIR DIR ROUNDS [OPERATION...]\n"
          "       reads repeat DIR COUNT [OPERATION]\n",
          stderr);
    exit(2);
}

int main(int argc, char *argv[])
{
    bool compares = argc >= 5 && streq(argv[1], "compare");
    bool repeats = (argc == 4 || argc == 5) && streq(argv[1], "repeat");
    int first = compares ? 5 : 4; /* of the operations */
    size_t n = compares || repeats ? parse_count(argv[first - 1]) : 0;
    int r;

    if (n == 0 || choose(argv + first, (size_t)(argc - first)) < 0)
        usage();
    if (compares)
        r = compare(argv[2], argv[3], n);
    else
        r = chosen.n == 1 ? repeat_chosen(argv[2], n) : repeat_all(argv[2], n);
    if (r < 0)
        fprintf(stderr, "reads: %s\n", strerror(-r));
    return r < 0 || fflush(stdout) != 0 ? 1 : 0;
}

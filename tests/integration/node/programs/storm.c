/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads files in a loop as programs do, and judges what it sees:
 *
 *     storm HABIT SIZES PATH...
 *
 * Version N of a file has SIZES[N % how many] bytes, or as many as its first line says:
 * "NUMBER LENGTH CHECKSUM\n", ten, seven and eight digits, then blocks of 16 bytes that say the
 * number again, so that each page tells which version it is of. A version may be empty.
 *
 * A habit opens its files again and again, each content must be one version, and versions may not
 * go back. The number of the last version comes by standard input: the loop ends when that was
 * seen, or LATE_SECONDS later. Then one line of JSON says what was counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SIZE_MAX_BYTES (1u << 20)
#define PAGE           4096u
#define HEADER_LEN     28u
#define BLOCK_LEN      16u
#define SIZES_MAX      64
#define THREADS        4
#define HELD           8
#define FAULTS_MAX     5
#define PAUSE_US_MAX   40000u
#define UNSETTLED_US   500
#define LATE_SECONDS   60
#define SETTLE_SECONDS 10
#define ELEMENTS_OF(a) (sizeof(a) / sizeof((a)[0]))

struct counts {
    unsigned long rounds;
    unsigned long versions;     /* changes of the number */
    unsigned long empty;        /* contents of no bytes */
    unsigned long misses;       /* there was no such file */
    unsigned long size_differs; /* fstat(2) said something else than what was read to the end */
    unsigned long unsettled;    /* looks at a mapping in the middle of a change */
    unsigned long sigbus;
    unsigned long torn;
    unsigned long back;
    unsigned long errors;
    unsigned long late;
};

struct reader {
    struct counts counts;
    long last;
    const char *last_what; /* it was seen in */
    unsigned seed;
    uint8_t bytes[SIZE_MAX_BYTES + PAGE];
    size_t len;
};

static size_t sizes[SIZES_MAX];
static size_t n_sizes;
static char *const *paths;
static size_t n_paths;
static atomic_long final = -1; /* number of the last version */
static atomic_llong final_at;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char faults[FAULTS_MAX][256];
static size_t n_faults;

/* ---- small things */

__attribute__((format(printf, 1, 2))) static void add_fault(const char *format, ...)
{
    va_list list;

    pthread_mutex_lock(&lock);
    va_start(list, format);
    if (n_faults < FAULTS_MAX)
        vsnprintf(faults[n_faults++], sizeof(faults[0]), format, list);
    va_end(list);
    pthread_mutex_unlock(&lock);
}

static long long now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void pause_a_little(struct reader *r)
{
    usleep((useconds_t)rand_r(&r->seed) % PAUSE_US_MAX);
}

static void add_error(struct reader *r, const char *what)
{
    add_fault("%s: %s", what, strerror(errno));
    r->counts.errors++;
}

/* Return: whether the loop is to end. */
static bool is_over(struct reader *r)
{
    long number = atomic_load(&final);

    if (number < 0)
        return false;
    if (r->last >= number)
        return true;
    if (now_ms() < atomic_load(&final_at) + LATE_SECONDS * 1000LL)
        return false;
    add_fault("version %ld was never seen, but %ld", number, r->last);
    r->counts.late++;
    return true;
}

static uint32_t checksum(const uint8_t *bytes, size_t len)
{
    static uint32_t table[256];
    uint32_t crc = UINT32_MAX;

    if (table[1] == 0)
        for (uint32_t i = 256; i-- > 0;) {
            uint32_t c = i;

            for (int bit = 0; bit < 8; bit++)
                c = (c & 1) != 0 ? c >> 1 ^ 0xedb88320u : c >> 1;
            table[i] = c;
        }
    for (size_t i = 0; i < len; i++)
        crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xff];
    return ~crc;
}

/* ---- judging */

struct header {
    long number;
    size_t len;
    uint32_t crc;
};

static bool parse_header(const uint8_t *bytes, size_t len, struct header *ret_header)
{
    char text[HEADER_LEN + 1] = "";
    unsigned crc;

    if (len < HEADER_LEN)
        return false;
    memcpy(text, bytes, HEADER_LEN);
    if (sscanf(text, "%10ld %7zu %8x\n", &ret_header->number, &ret_header->len, &crc) != 3)
        return false;
    ret_header->crc = crc;
    return true;
}

/* Where the filling of a version differs from @bytes; @len if nowhere. */
static size_t find_difference(long number, const uint8_t *bytes, size_t len)
{
    char block[BLOCK_LEN + 1];

    snprintf(block, sizeof(block), "%015ld\n", number);
    for (size_t at = HEADER_LEN; at < len; at++)
        if (bytes[at] != (uint8_t)block[(at - HEADER_LEN) % BLOCK_LEN])
            return at;
    return len;
}

static bool may_be_empty(void)
{
    for (size_t i = 0; i < n_sizes; i++)
        if (sizes[i] == 0)
            return true;
    return false;
}

static void note_version(struct reader *r, const char *what, long number)
{
    if (number < r->last) {
        add_fault("%s: version %ld after %ld in %s", what, number, r->last, r->last_what);
        r->counts.back++;
    }
    r->counts.versions += number != r->last;
    r->last = number;
    r->last_what = what;
}

static void add_torn(struct reader *r, const char *what, const char *why, long number, size_t at)
{
    add_fault("%s: %s: version %ld, %zu bytes, at %zu: %.16s", what, why, number, r->len, at,
              at + BLOCK_LEN <= r->len ? (const char *)r->bytes + at : "");
    r->counts.torn++;
}

/* The content that was read to the end. Return: its number; -1 if it is empty or torn. */
static long judge(struct reader *r, const char *what)
{
    struct header h;
    size_t at;

    if (r->len == 0 && may_be_empty()) {
        r->counts.empty++;
        return -1;
    }
    if (!parse_header(r->bytes, r->len, &h)) {
        add_torn(r, what, "no header", -1, 0);
        return -1;
    }
    at = find_difference(h.number, r->bytes, r->len);
    if (h.len != r->len || at != r->len ||
        checksum(r->bytes + HEADER_LEN, r->len - HEADER_LEN) != h.crc) {
        add_torn(r, what, h.len != r->len ? "another length" : "torn", h.number, at);
        return -1;
    }
    note_version(r, what, h.number);
    return h.number;
}

/* ---- reading */

static int open_file(struct reader *r, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        r->counts.misses++;
    else if (fd < 0)
        add_error(r, path);
    return fd;
}

/* Reads on to the end, in pieces of at most @piece bytes. Return: whether it went well. */
static bool read_on(struct reader *r, int fd, size_t piece)
{
    ssize_t n;

    do {
        size_t room = sizeof(r->bytes) - r->len;

        n = read(fd, r->bytes + r->len, piece < room ? piece : room);
        if (n < 0)
            add_error(r, "read");
        else
            r->len += (size_t)n;
    } while (n > 0 && r->len < sizeof(r->bytes));
    return n == 0;
}

static bool read_all(struct reader *r, int fd, size_t piece)
{
    r->len = 0;
    return read_on(r, fd, piece);
}

static void check_size(struct reader *r, off_t size)
{
    if (size != (off_t)r->len)
        r->counts.size_differs++;
}

/* The size that fstat(2) says, read by one call. What it says is all that such a program reads. */
static void read_exactly(struct reader *r, int fd)
{
    struct stat status;
    uint8_t more;
    ssize_t n;

    if (fstat(fd, &status) < 0) {
        add_error(r, "fstat");
        return;
    }
    n = read(fd, r->bytes, (size_t)status.st_size);
    r->len = n < 0 ? 0 : (size_t)n;
    if (n < 0)
        add_error(r, "read");
    else if (n != status.st_size || read(fd, &more, 1) != 0)
        r->counts.size_differs++;
    judge(r, "fstat and read");
}

static void read_once(struct reader *r)
{
    int fd = open_file(r, paths[0]);

    if (fd < 0)
        return;
    read_exactly(r, fd);
    close(fd);
}

static void read_pieces(struct reader *r)
{
    int fd = open_file(r, paths[0]);

    if (fd < 0)
        return;
    if (read_all(r, fd, 700))
        judge(r, "pieces");
    close(fd);
}

/* os.ReadFile: a buffer of the size and 512 bytes, read until the end. */
static void read_as_go(struct reader *r)
{
    struct stat status;
    int fd = open_file(r, paths[0]);

    if (fd < 0)
        return;
    if (fstat(fd, &status) < 0)
        add_error(r, "fstat");
    else if (read_all(r, fd, (size_t)status.st_size + 512)) {
        check_size(r, status.st_size);
        judge(r, "Go");
    }
    close(fd);
}

/* fseek(3), ftell(3): the size by lseek(2). */
static void read_by_seeking(struct reader *r)
{
    int fd = open_file(r, paths[0]);
    off_t size;

    if (fd < 0)
        return;
    size = lseek(fd, 0, SEEK_END);
    if (size < 0 || lseek(fd, 0, SEEK_SET) < 0)
        add_error(r, "lseek");
    else if (read_all(r, fd, SIZE_MAX_BYTES)) {
        check_size(r, size);
        judge(r, "lseek and read");
    }
    close(fd);
}

/* Python's shutil.copyfile, Go's io.Copy, a web server: from descriptor to descriptor. */
static void read_by_sendfile(struct reader *r)
{
    int fd = open_file(r, paths[0]);
    int copy = memfd_create("copy", MFD_CLOEXEC);
    ssize_t n;

    while (fd >= 0 && (n = sendfile(copy, fd, NULL, SIZE_MAX_BYTES)) > 0)
        ;
    if (fd >= 0 && n < 0)
        add_error(r, "sendfile");
    else if (fd >= 0 && lseek(copy, 0, SEEK_SET) == 0 && read_all(r, copy, SIZE_MAX_BYTES))
        judge(r, "sendfile");
    if (fd >= 0)
        close(fd);
    close(copy);
}

/* Each path in turn: at no time may one show less than what another has shown already. */
static void read_each(struct reader *r)
{
    for (size_t i = 0; i < n_paths; i++) {
        int fd = open_file(r, paths[i]);

        if (fd < 0)
            continue;
        if (read_all(r, fd, SIZE_MAX_BYTES))
            judge(r, paths[i]);
        close(fd);
    }
}

/* A directory and names in it: a generation that is held open is one version. */
static void read_generation(struct reader *r)
{
    int dir_fd = open(paths[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    long first = -1;

    if (dir_fd < 0) {
        add_error(r, paths[0]);
        return;
    }
    for (size_t i = 1; i < n_paths; i++) {
        int fd = openat(dir_fd, paths[i], O_RDONLY | O_CLOEXEC);
        long number = -1;

        if (fd < 0) {
            r->counts.misses++;
            continue;
        }
        if (read_all(r, fd, SIZE_MAX_BYTES))
            number = judge(r, paths[i]);
        if (number >= 0 && first >= 0 && number != first)
            add_torn(r, paths[i], "of another version than its generation", number, 0);
        first = number >= 0 ? number : first;
        close(fd);
    }
    close(dir_fd);
}

/* ---- descriptors that are held */

struct held {
    int fd;
    long number;
    size_t len;
};

static void hold(struct reader *r, struct held *held)
{
    held->fd = open_file(r, paths[0]);
    if (held->fd < 0)
        return;
    if (read_all(r, held->fd, SIZE_MAX_BYTES))
        held->number = judge(r, "held");
    held->len = r->len;
}

/* Once more as a whole, by pread(2) or from the start. What fstat(2) says may be newer. */
static void check_held(struct reader *r, const struct held *held)
{
    long last = r->last, number;
    struct stat status;
    ssize_t n;

    if (fstat(held->fd, &status) < 0)
        add_error(r, "fstat");
    r->len = 0;
    if (rand_r(&r->seed) % 2 == 0) {
        n = pread(held->fd, r->bytes, sizeof(r->bytes), 0);
        r->len = n < 0 ? 0 : (size_t)n;
        if (n < 0)
            add_error(r, "pread");
    } else if (lseek(held->fd, 0, SEEK_SET) != 0 || !read_all(r, held->fd, SIZE_MAX_BYTES)) {
        add_error(r, "second read");
    }
    check_size(r, status.st_size);
    r->last = held->number;
    number = judge(r, "held, second read");
    if (number != held->number || r->len != held->len)
        add_torn(r, "held", "another version through the same descriptor", number, 0);
    r->last = last;
}

static void hold_some(struct reader *r)
{
    static struct held all[HELD];
    static size_t next;
    struct held *held = &all[next++ % HELD];

    if (next > HELD && held->fd >= 0) {
        check_held(r, held);
        close(held->fd);
    }
    hold(r, held);
}

/* ---- opened by one thread, read by another */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int fd;
    bool is_full;
    bool is_over;
} hand = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void *read_handed(void *userdata)
{
    struct reader *r = userdata;
    struct stat status;

    pthread_mutex_lock(&hand.lock);
    while (!hand.is_over) {
        if (!hand.is_full) {
            pthread_cond_wait(&hand.changed, &hand.lock);
            continue;
        }
        if (fstat(hand.fd, &status) < 0)
            add_error(r, "fstat");
        else if (read_all(r, hand.fd, SIZE_MAX_BYTES)) {
            check_size(r, status.st_size);
            judge(r, "handed");
        }
        close(hand.fd);
        r->counts.rounds++;
        hand.is_full = false;
        pthread_cond_broadcast(&hand.changed);
    }
    pthread_mutex_unlock(&hand.lock);
    return NULL;
}

static void hand_over(struct reader *r)
{
    static pthread_t thread;

    hand.fd = open_file(r, paths[0]);
    if (hand.fd < 0)
        return;
    if (thread == 0 && pthread_create(&thread, NULL, read_handed, r) != 0)
        abort();
    pthread_mutex_lock(&hand.lock);
    hand.is_full = true;
    pthread_cond_broadcast(&hand.changed);
    while (hand.is_full)
        pthread_cond_wait(&hand.changed, &hand.lock);
    pthread_mutex_unlock(&hand.lock);
    r->counts.rounds--; /* which the other thread counts */
}

/* ---- mappings */

static _Thread_local sigjmp_buf on_fault;
static _Thread_local const uint8_t *fault_at;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    fault_at = info->si_addr;
    siglongjmp(on_fault, 1);
}

enum look {
    LOOK_WHOLE,
    LOOK_UNSETTLED,
    LOOK_SIGBUS,
};

/*
 * A mapping is as long as the file was when it was made: of a longer version it shows the
 * beginning, and behind a shorter one zeros to the end of its page.
 */
static bool is_one_version(const struct reader *r, long *ret_number)
{
    struct header h;
    size_t len;

    if (!parse_header(r->bytes, r->len, &h))
        return false;
    len = h.len < r->len ? h.len : r->len;
    if (find_difference(h.number, r->bytes, len) != len)
        return false;
    for (size_t i = len; i < r->len; i++)
        if (r->bytes[i] != 0)
            return false;
    *ret_number = h.number;
    return true;
}

static enum look look_at(struct reader *r, const uint8_t *mapping, size_t len, long *ret_number)
{
    if (sigsetjmp(on_fault, 1) != 0)
        return LOOK_SIGBUS;
    memcpy(r->bytes, mapping, len);
    r->len = len;
    return is_one_version(r, ret_number) ? LOOK_WHOLE : LOOK_UNSETTLED;
}

/* Only a version that ends before the page explains it. */
static void judge_sigbus(struct reader *r, const uint8_t *mapping, long since)
{
    size_t offset = (size_t)(fault_at - mapping);
    bool is_explained = since < 0;

    r->counts.sigbus++;
    read_pieces(r);
    for (long n = since; n <= r->last + 2 * (long)n_sizes && !is_explained; n++)
        is_explained = n >= 0 && (sizes[(size_t)n % n_sizes] + PAGE - 1) / PAGE * PAGE <= offset;
    if (is_explained)
        return;
    add_fault("SIGBUS at %zu between the versions %ld and %ld", offset, since, r->last);
    r->counts.errors++;
}

/* Looks until @changes versions were seen, or the last one. */
static void look_at_versions(struct reader *r, const uint8_t *mapping, size_t len, int changes)
{
    long long unsettled_since = 0;
    long since = r->last, number = -1;

    for (int seen = 0; seen <= changes && !is_over(r);) {
        enum look look = look_at(r, mapping, len, &number);

        if (look == LOOK_SIGBUS) {
            judge_sigbus(r, mapping, since);
            return;
        }
        if (look == LOOK_WHOLE) {
            seen += seen == 0 || number != r->last;
            note_version(r, "mapping", number);
            unsettled_since = 0;
            since = number;
            pause_a_little(r);
            continue;
        }
        r->counts.unsettled++;
        usleep(UNSETTLED_US);
        unsettled_since = unsettled_since == 0 ? now_ms() : unsettled_since;
        if (now_ms() > unsettled_since + SETTLE_SECONDS * 1000LL) {
            add_torn(r, "mapping", "does not settle", r->last,
                     find_difference(r->last, r->bytes, r->len));
            return;
        }
    }
}

static void map(struct reader *r, int flags, int changes)
{
    int fd = open_file(r, paths[0]);
    struct stat status;
    void *mapping;

    if (fd < 0)
        return;
    if (fstat(fd, &status) < 0) {
        add_error(r, "fstat");
    } else if (status.st_size == 0) {
        r->counts.empty++;
    } else {
        mapping = mmap(NULL, (size_t)status.st_size, PROT_READ, flags, fd, 0);
        if (mapping == MAP_FAILED) {
            add_error(r, "mmap");
        } else {
            look_at_versions(r, mapping, (size_t)status.st_size, changes);
            munmap(mapping, (size_t)status.st_size);
        }
    }
    close(fd);
}

static void map_private(struct reader *r)
{
    map(r, MAP_PRIVATE, 5);
}

static void map_shared(struct reader *r)
{
    map(r, MAP_SHARED, 5);
}

/* FileChannel.map, read once and let go. */
static void map_as_java(struct reader *r)
{
    map(r, MAP_SHARED, 0);
}

/* ---- watching: only what an event told of is read */

static void watch(struct reader *r)
{
    static int inotify_fd = -1;
    char events[4096];
    struct pollfd fds = {.events = POLLIN};

    if (inotify_fd < 0) {
        inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (inotify_add_watch(inotify_fd, paths[0], IN_CLOSE_WRITE) < 0)
            add_error(r, "inotify");
    }
    fds.fd = inotify_fd;
    if (poll(&fds, 1, 100) > 0 && read(inotify_fd, events, sizeof(events)) > 0)
        read_once(r);
}

/* ---- all of it */

typedef void habit_fn(struct reader *r);

static const struct {
    const char *name;
    habit_fn *work;
    unsigned n_threads;
} habits[] = {
    {"once", read_once, 1},       {"threads", read_once, THREADS},    {"handed", hand_over, 1},
    {"held", hold_some, 1},       {"pieces", read_pieces, 1},         {"go", read_as_go, 1},
    {"seek", read_by_seeking, 1}, {"sendfile", read_by_sendfile, 1},  {"private", map_private, 1},
    {"shared", map_shared, 1},    {"java", map_as_java, 1},           {"watch", watch, 1},
    {"each", read_each, 1},       {"generation", read_generation, 1},
};

static habit_fn *work;

static void *read_in_a_loop(void *userdata)
{
    struct reader *r = userdata;

    while (!is_over(r)) {
        work(r);
        r->counts.rounds++;
        pause_a_little(r);
    }
    return NULL;
}

static void *wait_for_end(void *userdata)
{
    long number = 0;

    if (scanf("%ld", &number) != 1)
        _exit(EXIT_FAILURE);
    atomic_store(&final_at, now_ms());
    atomic_store(&final, number);
    return NULL;
}

static void print(const struct reader *all, unsigned n_readers)
{
    static const char *const names[] = {"rounds",      "versions",  "empty",  "misses",
                                        "sizeDiffers", "unsettled", "sigbus", "torn",
                                        "back",        "errors",    "late"};
    unsigned long sums[ELEMENTS_OF(names)] = {0};

    _Static_assert(sizeof(sums) == sizeof(struct counts), "one name for each");
    for (unsigned i = 0; i < n_readers; i++)
        for (size_t j = 0; j < ELEMENTS_OF(sums); j++)
            sums[j] += ((const unsigned long *)&all[i].counts)[j];
    printf("{");
    for (size_t j = 0; j < ELEMENTS_OF(sums); j++)
        printf("\"%s\": %lu, ", names[j], sums[j]);
    printf("\"faults\": [");
    for (size_t i = 0; i < n_faults; i++) {
        printf("%s\"", i > 0 ? ", " : "");
        for (const char *c = faults[i]; *c != '\0'; c++)
            putchar(*c == '"' || *c == '\\' || (unsigned char)*c < ' ' ? ' ' : *c);
        printf("\"");
    }
    printf("]}\n");
}

/* "0,30,4000" */
static void parse_sizes(const char *text)
{
    char *end;

    for (const char *at = text; n_sizes < SIZES_MAX; at = end + 1) {
        sizes[n_sizes++] = strtoul(at, &end, 10);
        if (*end != ',')
            return;
    }
}

int main(int argc, char *argv[])
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};
    static struct reader readers[THREADS];
    pthread_t threads[THREADS], end;
    unsigned n = 0;

    for (size_t i = 0; argc > 3 && i < ELEMENTS_OF(habits); i++)
        if (strcmp(habits[i].name, argv[1]) == 0) {
            work = habits[i].work;
            n = habits[i].n_threads;
        }
    if (n == 0)
        return EXIT_FAILURE;
    parse_sizes(argv[2]);
    paths = argv + 3;
    n_paths = (size_t)argc - 3;
    sigaction(SIGBUS, &action, NULL);
    checksum(NULL, 0);
    if (pthread_create(&end, NULL, wait_for_end, NULL) != 0)
        return EXIT_FAILURE;
    for (unsigned i = 0; i < n; i++) {
        readers[i].last = -1;
        readers[i].seed = (unsigned)getpid() + i;
        if (pthread_create(&threads[i], NULL, read_in_a_loop, &readers[i]) != 0)
            return EXIT_FAILURE;
    }
    printf("reading\n");
    fflush(stdout);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    print(readers, n);
    return EXIT_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block is a mapping of its own: locked, excluded from core dumps (MADV_DONTDUMP) and from forked
 * children (MADV_DONTFORK), read-only once it is sealed, wiped and unmapped when it is freed.
 *
 * Locked. As root the process locks all of its memory, as pages are first used (mlockall with
 * MCL_ONFAULT). The limit of an ordinary user does not allow that; then only blocks are locked, and
 * if the limit is too low even for these, the bytes are counted: the program warns, and status
 * shows the number.
 *
 * No dumps. Core files are off (RLIMIT_CORE), other processes of the user can neither dump nor
 * ptrace this one (PR_SET_DUMPABLE), and coredump_filter is empty, in case the process is made
 * dumpable again. The order matters: PR_SET_DUMPABLE makes root the owner of /proc/self, so that
 * coredump_filter is written before.
 */
#include "cache/secmem.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define BLOCK_MAGIC 0x5ec3e7b10c4a9d21u

/* The start of the mapping; the bytes of the caller follow. */
struct block {
    uint64_t magic;
    size_t mapped_len;
    bool locked;
    _Alignas(max_align_t) unsigned char bytes[];
};

static atomic_size_t total_bytes;
static atomic_size_t unlocked_bytes;

static void raise_memlock_limit(void)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    struct rlimit limit;

    /* of root alone: then locking needs no capability any more, in no thread */
    if (setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0)
        return;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* No private anonymous memory in a core, also if the process is made dumpable again. */
static void empty_coredump_filter(void)
{
    _cleanup_(fd_closep) int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, "0", 1) < 0)
        return;
}

/* The soft limit turns core files off; with a hard limit of 0 it cannot be raised again. */
static int disable_core_files(bool for_good)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_CORE, &limit) < 0)
        return negative_errno();
    limit.rlim_cur = 0;
    if (for_good)
        limit.rlim_max = 0;
    return setrlimit(RLIMIT_CORE, &limit) < 0 ? negative_errno() : 0;
}

static int harden(bool for_good, struct error *e)
{
    int r = disable_core_files(for_good);

    empty_coredump_filter(); /* before PR_SET_DUMPABLE: see above */
    if (r < 0)
        return error_set_errno(e, r, "cannot turn core dumps off");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return error_set_errno(e, negative_errno(), "cannot make the process undumpable");
    raise_memlock_limit();
    /* a heap for each thread would reserve 64 MiB each, all of which counts as locked */
    mallopt(M_ARENA_MAX, 1);
    /* MCL_ONFAULT: pages are locked when they are first used */
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
        return SECMEM_BLOCKS_ONLY;
    return 0;
}

int secmem_harden(struct error *e)
{
    return harden(true, e);
}

int secmem_harden_restorable(struct error *e)
{
    return harden(false, e);
}

static void read_coredump_filter(struct secmem_inherited *inherited)
{
    char text[16] = "";

    if (inherited->filter_fd >= 0 && read(inherited->filter_fd, text, sizeof(text) - 1) > 0)
        inherited->filter = (unsigned)strtoul(text, NULL, 16);
}

static void write_coredump_filter(const struct secmem_inherited *inherited, unsigned filter)
{
    if (inherited->filter_fd >= 0 && dprintf(inherited->filter_fd, "0x%x", filter) < 0)
        return;
}

void secmem_inherited_save(struct secmem_inherited *ret_inherited)
{
    /* an undumpable process of a user can still write to it, but not open it */
    *ret_inherited = (struct secmem_inherited){
        .filter_fd = open("/proc/self/coredump_filter", O_RDWR | O_CLOEXEC)};
    getrlimit(RLIMIT_CORE, &ret_inherited->core);
    getrlimit(RLIMIT_MEMLOCK, &ret_inherited->memlock);
    read_coredump_filter(ret_inherited);
}

void secmem_inherited_deinit(struct secmem_inherited *inherited)
{
    inherited->filter_fd = fd_close(inherited->filter_fd);
}

void secmem_inherited_restore(const struct secmem_inherited *inherited)
{
    setrlimit(RLIMIT_CORE, &inherited->core);
    setrlimit(RLIMIT_MEMLOCK, &inherited->memlock);
    write_coredump_filter(inherited, inherited->filter);
}

void secmem_inherited_undo_restore(const struct secmem_inherited *inherited)
{
    disable_core_files(false);
    raise_memlock_limit();
    write_coredump_filter(inherited, 0);
}

static struct block *block_of(void *bytes)
{
    struct block *b = CONTAINER_OF(bytes, struct block, bytes);

    assert(b->magic == BLOCK_MAGIC);
    return b;
}

void *secmem_alloc(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), mapped_len;
    struct block *b;

    if (len > SIZE_MAX / 2)
        return NULL;
    mapped_len = (sizeof(*b) + len + page - 1) / page * page;
    b = mmap(NULL, mapped_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED)
        return NULL;
    madvise(b, mapped_len, MADV_DONTDUMP);
    madvise(b, mapped_len, MADV_DONTFORK);
    b->magic = BLOCK_MAGIC;
    b->mapped_len = mapped_len;
    b->locked = mlock(b, mapped_len) == 0;
    atomic_fetch_add(&total_bytes, mapped_len);
    if (!b->locked)
        atomic_fetch_add(&unlocked_bytes, mapped_len);
    return b->bytes;
}

void secmem_seal(void *block)
{
    struct block *b = block_of(block);

    mprotect(b, b->mapped_len, PROT_READ);
}

void secmem_free(void *block)
{
    struct block *b;
    size_t mapped_len;

    if (block == NULL)
        return;
    b = block_of(block);
    mapped_len = b->mapped_len;
    assert(mapped_len <= atomic_load(&total_bytes));
    atomic_fetch_sub(&total_bytes, mapped_len);
    if (!b->locked)
        atomic_fetch_sub(&unlocked_bytes, mapped_len);
    if (mprotect(b, mapped_len, PROT_READ | PROT_WRITE) == 0)
        explicit_bzero(b, mapped_len);
    munmap(b, mapped_len);
}

size_t secmem_bytes(void)
{
    return atomic_load(&total_bytes);
}

size_t secmem_unlocked_bytes(void)
{
    return atomic_load(&unlocked_bytes);
}

/* CAP_IPC_LOCK: the limit does not apply. */
static bool may_lock_all(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return syscall(SYS_capget, &header, data) == 0 &&
           (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0;
}

int64_t secmem_lockable_bytes(void)
{
    struct rlimit limit;

    /* the hard limit, as raise_memlock_limit() raises the soft one to it */
    if (may_lock_all() || getrlimit(RLIMIT_MEMLOCK, &limit) < 0 ||
        limit.rlim_max == RLIM_INFINITY || limit.rlim_max > INT64_MAX)
        return -1;
    return (int64_t)limit.rlim_max;
}

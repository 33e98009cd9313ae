/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memfd_secret(2) makes memory that the kernel neither swaps nor maps for itself, also while no
 * process has it open. Where the kernel does not offer it (before Linux 5.14, and by default before
 * 6.5), memfd_create(2) makes memory that is locked as long as a process maps it: between two
 * processes it may be swapped.
 */
#include "handover/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* linux/memfd.h of Linux 6.3 */
#endif

static int make_secret(void)
{
#ifdef SYS_memfd_secret
    return (int)syscall(SYS_memfd_secret, O_CLOEXEC);
#else
    errno = ENOSYS;
    return -1;
#endif
}

static int make_ordinary(void)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("secretfs-state", flags | MFD_NOEXEC_SEAL);

    return fd < 0 && errno == EINVAL ? memfd_create("secretfs-state", flags) : fd;
}

static int map(int fd, uint64_t size, int protection, struct shared_memory *ret_memory)
{
    void *bytes = mmap(NULL, size, protection, MAP_SHARED, fd, 0);

    if (bytes == MAP_FAILED)
        return negative_errno();
    madvise(bytes, size, MADV_DONTDUMP);
    madvise(bytes, size, MADV_DONTFORK);
    mlock2(bytes, size, MLOCK_ONFAULT); /* may fail: memory of memfd_secret(2) is locked anyway */
    *ret_memory = (struct shared_memory){.fd = fd, .bytes = bytes, .size = size};
    return 0;
}

static int make(int fd_borrowed, uint64_t size, struct shared_memory *ret_memory)
{
    if (fd_borrowed < 0 || ftruncate(fd_borrowed, (off_t)size) < 0)
        return negative_errno();
    /* of memfd_secret(2) the first size is the last one, and there are no seals */
    fcntl(fd_borrowed, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    return map(fd_borrowed, size, PROT_READ | PROT_WRITE, ret_memory);
}

int shared_memory_new(uint64_t size, struct shared_memory *ret_memory)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t whole = (size + page - 1) / page * page;
    int (*const kinds[])(void) = {make_secret, make_ordinary};
    int r = -EINVAL;

    for (size_t i = 0; i < ELEMENTS_OF(kinds); i++) {
        _cleanup_(fd_closep) int fd = kinds[i]();

        r = make(fd, whole, ret_memory);
        if (r == 0) {
            (void)TAKE_FD(fd);
            return 0;
        }
    }
    return r;
}

static int open_memory(int fd_consumed, int protection, struct shared_memory *ret_memory)
{
    _cleanup_(fd_closep) int fd = fd_consumed;
    struct stat status;
    int r;

    if (fstat(fd, &status) < 0)
        return negative_errno();
    if (!S_ISREG(status.st_mode) || status.st_size <= 0)
        return -EINVAL;
    r = map(fd, (uint64_t)status.st_size, protection, ret_memory);
    if (r == 0)
        (void)TAKE_FD(fd);
    return r;
}

int shared_memory_open(int fd_consumed, struct shared_memory *ret_memory)
{
    return open_memory(fd_consumed, PROT_READ | PROT_WRITE, ret_memory);
}

int shared_memory_open_read_only(int fd_consumed, struct shared_memory *ret_memory)
{
    return open_memory(fd_consumed, PROT_READ, ret_memory);
}

void shared_memory_deinit(struct shared_memory *memory)
{
    if (memory->bytes != NULL)
        munmap(memory->bytes, memory->size);
    fd_close(memory->fd);
    *memory = SHARED_MEMORY_NONE;
}

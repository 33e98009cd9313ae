/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl 7.88 has a buffer of 16 KiB for each request, and a watch keeps its own for as long as it
 * lives, although most of the time nothing is in it. From the heap such a buffer costs all of its
 * pages, as a list's buffer, which was full, becomes a watch's. So these buffers are made of pages
 * of their own, in slabs: a page costs memory from its first use until all of it is wiped or its
 * buffer is freed.
 *
 * A slab is unmapped with its last buffer. At most SLABS_MAX exist, for as many requests as the
 * admission lets run; beyond, and when no memory can be mapped, libcurl gets memory of the heap.
 *
 * As root all memory of the process is locked (cache/secmem.c), and pages that are locked are given
 * back by MADV_DONTNEED_LOCKED alone (Linux 5.18). Where that fails they are overwritten, and stay.
 */
#include "fetcher/http/page_buffers.h"

#include <assert.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/lock.h"
#include "base/util.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* linux/mman.h since 5.18 */
#endif

#define PAGE_BYTES 4096u
#define SLOT_BYTES ((size_t)(PAGE_BUFFER_BYTES + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES)
#define SLAB_SLOTS 64u /* one bit of slab.used each */
#define SLAB_BYTES (SLOT_BYTES * SLAB_SLOTS)
#define SLABS_MAX  256u /* as many requests as wait in a queue at most (admission.c) */
#define ALL_SLOTS  UINT64_MAX

struct slab {
    char *memory;
    uint64_t used;
};

/* An allocator has no user data, so this is one of the few globals. */
static struct {
    pthread_mutex_t lock;
    struct slab slabs[SLABS_MAX];
    size_t n_slabs;
} buffers = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The lock is held. Return: NULL for memory that is in none. */
static struct slab *slab_of(const void *p)
{
    uintptr_t at = (uintptr_t)p;

    for (size_t i = 0; i < buffers.n_slabs; i++) {
        uintptr_t begin = (uintptr_t)buffers.slabs[i].memory;

        if (at >= begin && at - begin < SLAB_BYTES)
            return &buffers.slabs[i];
    }
    return NULL;
}

/* The lock is held. Return: one with room; NULL when there is none and none can be mapped. */
static struct slab *slab_with_room(void)
{
    void *memory;

    for (size_t i = 0; i < buffers.n_slabs; i++)
        if (buffers.slabs[i].used != ALL_SLOTS)
            return &buffers.slabs[i];
    if (buffers.n_slabs == SLABS_MAX)
        return NULL;
    memory = mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    madvise(memory, SLAB_BYTES, MADV_DONTDUMP);
    madvise(memory, SLAB_BYTES, MADV_NOHUGEPAGE); /* one would be all of a slab's pages */
    buffers.slabs[buffers.n_slabs] = (struct slab){.memory = memory};
    return &buffers.slabs[buffers.n_slabs++];
}

static void release_pages(char *begin, size_t len)
{
    if (madvise(begin, len, MADV_DONTNEED_LOCKED) < 0)
        explicit_bzero(begin, len);
}

void *page_buffers_alloc(void)
{
    struct slab *slab;
    unsigned slot;

    LOCK_GUARD(&buffers.lock);
    slab = slab_with_room();
    if (slab == NULL)
        return NULL;
    slot = (unsigned)__builtin_ctzll(~slab->used);
    slab->used |= UINT64_C(1) << slot;
    return slab->memory + slot * SLOT_BYTES;
}

/* Spares the lock and the search for most blocks of the heap. */
static bool may_be_buffer(const void *p)
{
    return p != NULL && (uintptr_t)p % PAGE_BYTES == 0;
}

static bool is_in_slab(const void *p)
{
    LOCK_GUARD(&buffers.lock);
    return slab_of(p) != NULL;
}

bool page_buffers_have(const void *buffer)
{
    return may_be_buffer(buffer) && is_in_slab(buffer);
}

bool page_buffers_free(void *buffer)
{
    struct slab *slab;
    size_t slot;

    if (!may_be_buffer(buffer))
        return false;
    LOCK_GUARD(&buffers.lock);
    slab = slab_of(buffer);
    if (slab == NULL)
        return false;
    slot = (size_t)((char *)buffer - slab->memory) / SLOT_BYTES;
    assert(slab->memory + slot * SLOT_BYTES == buffer);
    assert((slab->used & UINT64_C(1) << slot) != 0);
    slab->used &= ~(UINT64_C(1) << slot);
    if (slab->used != 0) {
        release_pages(buffer, SLOT_BYTES);
        return true;
    }
    munmap(slab->memory, SLAB_BYTES);
    *slab = buffers.slabs[--buffers.n_slabs];
    return true;
}

static char *page_above(char *p)
{
    return p + (PAGE_BYTES - (uintptr_t)p % PAGE_BYTES) % PAGE_BYTES;
}

static bool is_zero(const char *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0;
}

void page_buffers_wipe(void *bytes, size_t len)
{
    char *begin = bytes, *end = begin + len;
    char *first = page_above(begin), *last = end - (uintptr_t)end % PAGE_BYTES;

    if (!is_in_slab(bytes)) {
        explicit_bzero(bytes, len);
        return;
    }
    explicit_bzero(begin, size_min(len, (size_t)(first - begin)));
    if (first <= last)
        explicit_bzero(last, (size_t)(end - last));
    /* what is left of an event that is shorter than a page */
    if (begin < first && is_zero(first - PAGE_BYTES))
        first -= PAGE_BYTES;
    if (last < end && is_zero(last))
        last += PAGE_BYTES;
    if (first < last)
        release_pages(first, (size_t)(last - first));
}

size_t page_buffers_mapped_bytes(void)
{
    LOCK_GUARD(&buffers.lock);
    return buffers.n_slabs * SLAB_BYTES;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/store.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY 1027 /* Linux 6.10 */
#endif

/* ---- the same open file */

/*
 * Without the two calls that know: a regular file, such as a memfd, is taken for the same if it is
 * the same inode. A device has one inode for all its open files, so that any two are different.
 */
static bool is_same_regular_file(int a, int b)
{
    struct stat sa, sb;

    return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && S_ISREG(sa.st_mode) &&
           sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* kcmp(2) is not permitted by the usual filter of system calls of a container. */
static bool is_same_open_file(int a, int b)
{
    long r = fcntl(a, F_DUPFD_QUERY, b);

    if (r >= 0)
        return r == 1;
    r = syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b);
    if (r >= 0)
        return r == 0;
    return is_same_regular_file(a, b);
}

static bool has_open_file(const struct keeper_store *s, int fd)
{
    for (size_t i = 0; i < s->n; i++)
        if (is_same_open_file(s->entries[i].fd, fd))
            return true;
    return false;
}

/* ---- changes */

enum keeper_put keeper_store_put(struct keeper_store *store, int consume_fd, const char *name,
                                 bool is_polled)
{
    _cleanup_(fd_closep) int fd = consume_fd;
    struct keeper_entry *entry = &store->entries[store->n];

    assert(keeper_name_is_valid(name) && store->max <= KEEPER_FDS_MAX);
    if (has_open_file(store, fd))
        return KEEPER_PUT_DUPLICATE;
    if (store->n >= store->max)
        return KEEPER_PUT_FULL;
    entry->fd = TAKE_FD(fd);
    entry->is_polled = is_polled;
    memcpy(entry->name, name, strlen(name) + 1);
    store->n++;
    return KEEPER_PUT_STORED;
}

static void remove_entry(struct keeper_store *s, size_t index)
{
    struct keeper_entry *entry = &s->entries[index];

    fd_close(entry->fd);
    s->n--;
    memmove(entry, entry + 1, (s->n - index) * sizeof(*entry));
}

size_t keeper_store_remove(struct keeper_store *store, const char *name)
{
    size_t n_before = store->n;

    for (size_t i = store->n; i-- > 0;)
        if (streq(store->entries[i].name, name))
            remove_entry(store, i);
    return n_before - store->n;
}

void keeper_store_clear(struct keeper_store *store)
{
    while (store->n > 0)
        remove_entry(store, store->n - 1);
}

/* ---- polling */

void keeper_store_fill_polled(const struct keeper_store *store, struct pollfd *polled)
{
    for (size_t i = 0; i < store->n; i++)
        polled[i] = (struct pollfd){.fd = store->entries[i].is_polled ? store->entries[i].fd : -1};
}

size_t keeper_store_close_hung(struct keeper_store *store, const struct pollfd *polled)
{
    size_t n_before = store->n;

    for (size_t i = store->n; i-- > 0;)
        if (polled[i].fd >= 0 && (polled[i].revents & (POLLHUP | POLLERR)) != 0)
            remove_entry(store, i);
    return n_before - store->n;
}

/* ---- handing over */

void keeper_store_join_names(const struct keeper_store *store, char ret_names[KEEPER_NAMES_SIZE])
{
    size_t len = 0;

    ret_names[0] = '\0';
    for (size_t i = 0; i < store->n; i++)
        len += (size_t)snprintf(ret_names + len, KEEPER_NAMES_SIZE - len, "%s%s", i > 0 ? ":" : "",
                                store->entries[i].name);
}

/* First above the places, so that no place is taken by one that has still to move. */
int keeper_store_place(const struct keeper_store *store)
{
    int moved[KEEPER_FDS_MAX];

    for (size_t i = 0; i < store->n; i++) {
        moved[i] = fcntl(store->entries[i].fd, F_DUPFD_CLOEXEC, KEEPER_FIRST_PLACE + (int)store->n);
        if (moved[i] < 0)
            return negative_errno();
    }
    for (size_t i = 0; i < store->n; i++)
        if (dup2(moved[i], KEEPER_FIRST_PLACE + (int)i) < 0)
            return negative_errno();
    return 0;
}

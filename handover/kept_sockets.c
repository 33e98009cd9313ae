/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket NAME is stored as "socket.NAME.LABEL". The label is its owner's, and says which socket
 * it is: of a Unix socket the inode of its file, so that the next process knows whether the path
 * still leads to it (base/kept_socket.h).
 *
 * A new socket is stored before the earlier one of its name is removed. A process that ends in
 * between leaves both, and the next one takes the one whose label is right.
 *
 * What is not taken is removed, and this process waits for that: as long as another process has the
 * socket open, a client that connects is not refused, and the address of a TCP socket is in use.
 */
#include "handover/kept_sockets.h"

#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"

#define PREFIX       "socket."
#define SYNC_TIMEOUT SPAN_SEC(5) /* a keeper responds within microseconds */

struct entry {
    const char *name;
    char stored[FD_STORE_NAME_MAX + 1]; /* "": it is not stored */
    int fd;                             /* borrowed while it is stored */
};

struct kept_sockets {
    struct fd_store *store;
    struct entry entries[KEPT_SOCKETS_MAX];
    size_t n;
    bool are_left;
};

static struct entry *entry_of(struct kept_sockets *all, const char *name)
{
    for (size_t i = 0; i < all->n; i++)
        if (streq(all->entries[i].name, name))
            return &all->entries[i];
    assert(all->n < KEPT_SOCKETS_MAX);
    all->entries[all->n] = (struct entry){.name = name, .fd = -1};
    return &all->entries[all->n++];
}

static void stored_name(const char *name, const char *label,
                        char ret_stored[static FD_STORE_NAME_MAX + 1])
{
    int len = snprintf(ret_stored, FD_STORE_NAME_MAX + 1, PREFIX "%s.%s", name, label);

    assert(len <= FD_STORE_NAME_MAX && fd_store_name_is_valid(ret_stored));
}

static void set_entry(struct entry *entry, const char *stored, int fd)
{
    memcpy(entry->stored, stored, strlen(stored) + 1);
    entry->fd = fd;
}

static void remove_stored(const struct kept_sockets *all, const char *stored)
{
    struct error e = ERROR_INIT;

    if (fd_store_remove(all->store, stored, &e) < 0)
        log_warn("cannot remove a stored socket", "name", stored, "error", e.text);
}

static void put_stored(const struct kept_sockets *all, const struct entry *entry)
{
    struct error e = ERROR_INIT;

    if (fd_store_put(all->store, entry->stored, entry->fd, FD_STORE_UNTIL_REMOVED, &e) < 0)
        log_warn("cannot store a socket; clients are refused until the next process listens",
                 "name", entry->stored, "error", e.text);
}

/* ---- taking */

/* @prefix: of the stored name. Return: 0, *ret_stored is one that was not taken; -ENOENT. */
static int find_received(const struct kept_sockets *all, const char *prefix,
                         char ret_stored[static FD_STORE_NAME_MAX + 1])
{
    const char *stored;

    for (size_t i = 0; (stored = fd_store_peek_name(all->store, i)) != NULL; i++)
        if (str_after(stored, prefix) != NULL) {
            snprintf(ret_stored, FD_STORE_NAME_MAX + 1, "%s", stored);
            return 0;
        }
    return -ENOENT;
}

static bool is_listening(int fd)
{
    int value = 0;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value != 0;
}

static void wait_removed(const struct kept_sockets *all)
{
    struct error e = ERROR_INIT;

    if (fd_store_sync(all->store, SYNC_TIMEOUT, &e) < 0)
        log_warn("the service manager does not respond", "error", e.text);
}

/*
 * Take all with this prefix.
 * @ret_is_stored: it still is; one that was removed has all of its name removed
 * Return: the one of the name @wanted; -ENOENT.
 */
static int take_all(const struct kept_sockets *all, const char *prefix, const char *wanted,
                    bool *ret_is_stored)
{
    char stored[FD_STORE_NAME_MAX + 1];
    int result = -ENOENT;
    bool has_removed = false;

    *ret_is_stored = true;

    while (find_received(all, prefix, stored) == 0) {
        int fd = fd_store_take(all->store, stored);

        if (result < 0 && streq(stored, wanted) && is_listening(fd)) {
            result = fd;
            continue;
        }
        fd_close(fd);
        remove_stored(all, stored);
        *ret_is_stored = *ret_is_stored && !streq(stored, wanted);
        has_removed = true;
    }
    if (has_removed)
        wait_removed(all);
    return result;
}

static int take(void *userdata, const char *name, const char *label)
{
    struct kept_sockets *all = userdata;
    char wanted[FD_STORE_NAME_MAX + 1], prefix[FD_STORE_NAME_MAX + 1];
    bool is_stored;
    int fd;

    stored_name(name, label, wanted);
    stored_name(name, "", prefix);
    fd = take_all(all, prefix, wanted, &is_stored);
    if (fd < 0)
        return fd;
    set_entry(entry_of(all, name), wanted, fd);
    if (!is_stored)
        put_stored(all, entry_of(all, name));
    return fd;
}

void kept_sockets_drop_rest(struct kept_sockets *all)
{
    bool ignored;

    (void)take_all(all, PREFIX, "", &ignored);
}

/* ---- storing */

/* A name may have several descriptors, so that one of the same name has to go first. */
static void put(void *userdata, const char *name, const char *label, int fd)
{
    struct kept_sockets *all = userdata;
    struct entry *entry = entry_of(all, name);
    char stored[FD_STORE_NAME_MAX + 1], earlier[FD_STORE_NAME_MAX + 1];
    bool is_same_name;

    stored_name(name, label, stored);
    memcpy(earlier, entry->stored, sizeof(earlier));
    is_same_name = streq(earlier, stored);
    if (is_same_name && entry->fd == fd)
        return;
    if (is_same_name)
        remove_stored(all, earlier);
    set_entry(entry, stored, fd);
    put_stored(all, entry);
    if (!is_same_name && earlier[0] != '\0')
        remove_stored(all, earlier);
}

static void remove_socket(void *userdata, const char *name)
{
    struct kept_sockets *all = userdata;
    struct entry *entry = entry_of(all, name);

    if (entry->stored[0] != '\0')
        remove_stored(all, entry->stored);
    set_entry(entry, "", -1);
}

static bool is_left(void *userdata, const char *name)
{
    struct kept_sockets *all = userdata;

    return all->are_left && entry_of(all, name)->stored[0] != '\0';
}

void kept_sockets_store_again(const struct kept_sockets *all)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->entries[i].stored[0] != '\0')
            put_stored(all, &all->entries[i]);
}

void kept_sockets_leave(struct kept_sockets *all)
{
    all->are_left = true;
}

/* ---- the object */

struct kept_socket kept_sockets_get(struct kept_sockets *all, const char *name)
{
    static const struct kept_socket_ops ops = {
        .take = take, .put = put, .remove = remove_socket, .is_left = is_left};

    assert(strchr(name, '.') == NULL);
    return (struct kept_socket){.ops = &ops, .userdata = all, .name = name};
}

int kept_sockets_new(struct fd_store *store, struct kept_sockets **ret_all)
{
    struct kept_sockets *all = calloc(1, sizeof(*all));

    if (all == NULL)
        return -ENOMEM;
    all->store = store;
    *ret_all = all;
    return 0;
}

struct kept_sockets *kept_sockets_free(struct kept_sockets *all)
{
    free(all);
    return NULL;
}

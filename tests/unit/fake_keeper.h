/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Keeps one socket for the next object that listens, as handover/kept_sockets.c does for processes.
 */
#include <stdio.h>

#include "base/cleanup.h"
#include "base/kept_socket.h"
#include "base/util.h"

struct fake_keeper {
    int fd; /* -1: none */
    char label[128];
    bool leaves;
};

#define FAKE_KEEPER_INIT ((struct fake_keeper){.fd = -1})

static void fake_keeper_remove(void *userdata, const char *name)
{
    struct fake_keeper *k = userdata;

    k->fd = fd_close(k->fd);
}

static int fake_keeper_take(void *userdata, const char *name, const char *label)
{
    struct fake_keeper *k = userdata;
    int fd = k->fd >= 0 && streq(k->label, label) ? dup(k->fd) : -ENOENT;

    if (fd < 0)
        fake_keeper_remove(k, name);
    return fd;
}

static void fake_keeper_put(void *userdata, const char *name, const char *label, int fd)
{
    struct fake_keeper *k = userdata;

    fake_keeper_remove(k, name);
    k->fd = dup(fd);
    snprintf(k->label, sizeof(k->label), "%s", label);
}

static bool fake_keeper_is_left(void *userdata, const char *name)
{
    const struct fake_keeper *k = userdata;

    return k->leaves && k->fd >= 0;
}

static inline struct kept_socket fake_keeper_keep(struct fake_keeper *keeper)
{
    static const struct kept_socket_ops ops = {.take = fake_keeper_take,
                                               .put = fake_keeper_put,
                                               .remove = fake_keeper_remove,
                                               .is_left = fake_keeper_is_left};

    return (struct kept_socket){.ops = &ops, .userdata = keeper, .name = "fake"};
}

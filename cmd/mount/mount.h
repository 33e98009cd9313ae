/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One mounted volume and everything behind it: source -> store -> volume -> publisher -> mount.
 *
 * Thread: the event loop's.
 */
#include "cmd/mount/background.h"
#include "cmd/mount/options.h"
#include "fetcher/source.h"
#include "serve/daemon.h"
#include "serve/published.h"

struct mount {
    struct daemon daemon;
    const struct mount_options *options;
    struct background *background;
    struct timespec started_at;

    struct store *store;
    struct source *source;
    char *namespace;
    struct published published;

    /* from the first payload on */
    struct tree *tree;
    struct session *session;
    struct publisher *publisher;
    struct status_socket *control;

    sd_event_source *wait_timer; /* --wait */
};

/*
 * Mount and serve until told to end by a signal or by unmounting.
 * @background: is told when the volume is readable
 * Return: 0; -errno with @e when it did not get that far.
 */
int mount_run(const struct mount_options *options, struct background *background, struct error *e);

/*
 * mount_run(), with a log, and in the background if that is asked for: then it returns in the child
 * only, and the parent waits to be told how it went.
 */
int mount_as_asked(const struct mount_options *options, struct background *background,
                   struct error *e);

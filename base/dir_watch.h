/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Reports that the content of a directory may have changed, by any link or mount on its path: see
 * dir_watch.c. The owner reads the directory to find out what changed, and renews the watch then.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/clock.h"

struct dir_watch;

struct dir_event {
    const char *name; /* the entry of the directory that changed; NULL: any may have */
    uint32_t mask;    /* inotify(7)'s, 0 if there is none */
    mono_us at;       /* when it was read from the kernel */
};

/* Must not call back into the watch. */
typedef void dir_watch_fn(void *userdata, const struct dir_event *event);

/*
 * @path:    absolute; need not exist
 * Return: 0, *ret_watch is the caller's; -errno with @e when the kernel gives no inotify instance.
 * Nothing is watched before the first dir_watch_renew().
 */
int dir_watch_new(sd_event *event, const char *path, dir_watch_fn *changed, void *userdata,
                  struct dir_watch **ret_watch, struct error *e);
struct dir_watch *dir_watch_free(struct dir_watch *watch);
DEFINE_CLEANUP(struct dir_watch *, dir_watch_free)

/*
 * Walk the path again and watch the directories and links on it. Call it before the directory is
 * read, so that a change is either read or reported afterwards; then dir_watch_follow() for entries
 * that are symlinks, then dir_watch_prune(), which drops watches that were not renewed.
 * Return: 0; -errno with @e if the path does not lead to a directory: the existing part is watched
 * then; -ENOSPC if the user's limit of watches is used up.
 */
int dir_watch_renew(struct dir_watch *watch, struct error *e);
/* Watch the file that the directory's entry @name, a symlink, leads to, and the way there. */
int dir_watch_follow(struct dir_watch *watch, const char *name, struct error *e);
void dir_watch_prune(struct dir_watch *watch);

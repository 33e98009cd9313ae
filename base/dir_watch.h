/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Notices when what a directory holds may have changed, however its path leads there: see
 * dir_watch.c. It says that something happened; its owner looks at the directory and finds out
 * what, and renews the watch at the same time.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/clock.h"

struct dir_watch;

struct dir_event {
    const char *name; /* the directory's entry that it is about; NULL: anything may have changed */
    uint32_t mask;    /* inotify(7)'s, 0 if there is none */
    mono_us at;       /* when it was read from the kernel */
};

/* May not call back into the watch. */
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
 * Follow the path anew and watch what it leads through. To be called before the directory is read,
 * so that a change is either seen by the reader or reported after. What is not followed again until
 * dir_watch_settle() is dropped there.
 * Return: 0; -errno with @e when the path leads nowhere or to no directory: the way to the missing
 * part is watched then; -ENOSPC when the user's limit of watches is used up.
 */
int dir_watch_renew(struct dir_watch *watch, struct error *e);
/* Watch the file that the directory's entry @name, a symlink, leads to, and the way there. */
int dir_watch_follow(struct dir_watch *watch, const char *name, struct error *e);
void dir_watch_settle(struct dir_watch *watch);

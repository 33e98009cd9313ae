/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The hand-over of one mount of a service, from an earlier process to this one and from this one to
 * the next. See mount_handover.c.
 *
 * Thread: the event loop's.
 */
#include "handover/handover.h"

/* Strings and pointers are borrowed; those of the handover outlive it. */
struct mount_handover_options {
    struct fd_store *store;
    const char *name;       /* of the file system among the stored descriptors */
    const char *mountpoint; /* absolute, resolved */
    bool answers_open;      /* files may be live */
    /*
     * Serve the mount: make the tree with handover_read_tree(), a session with @adoption, call
     * handover_begin(), and session_serve() last: what it answers is in the state. Return: 0;
     * -errno with @e, undo() may follow.
     */
    int (*serve)(void *userdata, struct handover *handover, struct session_adoption *adoption,
                 struct error *e);
    /*
     * The mount cannot be served: free what serve() has made, if anything; the session by
     * session_hand_over(). The handover is gone.
     */
    void (*undo)(void *userdata);
    void *userdata;
    /*
     * For mount_handover_check(): whether this program can use a note of the running process. NULL:
     * there are none. Return: 0; -errno with @e.
     */
    int (*check_note)(const char *key, const char *text, struct error *e);
};

enum mount_handover_verdict {
    MOUNT_HANDOVER_NONE = 1, /* nothing can be taken over, and nothing is left: mount */
};

/*
 * Take over the mount of an earlier process, or unmount it.
 * Return: 0: serve() has succeeded; MOUNT_HANDOVER_NONE; in both cases *ret_handover is the
 * caller's, for handover_begin() if nothing was taken over: NULL if descriptors cannot be stored.
 * -errno with @e: the mount remains stored, for another program or a later try.
 */
int mount_handover_take_over(sd_event *event, const struct mount_handover_options *options,
                             struct handover **ret_handover, struct error *e);

/*
 * Whether this program could take over the mount that a running process serves; changes nothing.
 * @options: store, name, mountpoint, answers_open, check_note
 * Return: 0, also if nothing is stored and nothing mounted; -ENODATA: what is mounted is not
 * stored; other -errno; with @e.
 */
int mount_handover_check(sd_event *event, const struct mount_handover_options *options,
                         struct error *e);

/*
 * Whether the next process of the service serves the mount after this one has ended: the service
 * manager keeps what is stored, also after a stop or because it requests a hand-over.
 * @is_requested: by DAEMON_HAND_OVER_SIGNAL
 * @handover: NULL is fine, and so is @store then
 */
bool mount_handover_is_due(struct handover *handover, const struct fd_store *store,
                           bool is_requested);

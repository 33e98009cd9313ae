/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A volume of a node: a published volume with a directory in one of the node's file systems, which
 * is mounted on a target on request. An owner embeds it: see struct node_volume_ops. See volume.c.
 *
 * Thread: the event loop's.
 */
#include "node/created_dirs.h"
#include "node/file_systems.h"
#include "node/identity.h"
#include "node/pods.h"
#include "node/shown.h"
#include "serve/published.h"
#include "serve/update_notifier.h"

struct node_volume;

/* What the volumes of a node share. Borrowed; outlives them. */
struct node_volume_context {
    sd_event *event;
    struct node_file_systems *file_systems;
    struct log_limit *source_log;
    const struct published_observer *observer; /* or NULL */
    struct store *pods;                        /* what volumes show of their pods; or NULL */
    struct node_pods *known_pods;              /* for their labels; or NULL */
    bool keeps_previous;                       /* see struct volume_options */
    struct commands *commands;                 /* of the administrator; NULL: none */
};

/* The result of a mount request. */
enum node_mount_result {
    NODE_MOUNT_DONE,
    NODE_MOUNT_UNCHANGED,      /* it was mounted already */
    NODE_MOUNT_MISSING,        /* an object or key is missing, or cannot be projected */
    NODE_MOUNT_FORBIDDEN,      /* the identity may not read an object */
    NODE_MOUNT_UNAVAILABLE,    /* no content yet, or the mount failed; the volume keeps trying */
    NODE_MOUNT_INVALID_TARGET, /* no volume may be mounted there */
};

/* What the struct that embeds a volume does for it. None of these may free the volume but free. */
struct node_volume_ops {
    /*
     * The end of a mount request; once for each node_volume_request_mount().
     * @e: empty when the volume is mounted
     */
    void (*mount_done)(struct node_volume *volume, enum node_mount_result result,
                       const struct error *e);
    /* There was no request for EXPIRE_AFTER, and the volume is not mounted. NULL: ignored. */
    void (*expired)(struct node_volume *volume);
    /* Call node_volume_deinit(), and free the struct. */
    void (*free)(struct node_volume *volume);
};

/* Strings are copied. */
struct node_volume_options {
    const char *id;     /* also the name of its directory; see node_volume_id_is_valid() */
    const char *target; /* where it is mounted on request */
    struct target_area area;
    /*
     * Borrowed; creates the target and missing directories above it, and removes them. NULL: only
     * the target is created and removed.
     */
    struct created_dirs *created_dirs;
    const char *namespace;       /* of its objects, and of the pod */
    const char *pod;             /* its name; NULL: not for a pod */
    const char *pod_uid;         /* or NULL */
    const char *service_account; /* of the pod; or NULL */
    struct update_action action; /* after updates; its strings outlive the volume */
    /* What the pod mounts decides about the file system, unless the spec does: an answer follows,
     * by node_volume_ask_pod() or node_volume_set_fs(). */
    bool pod_decides_fs;
    struct volume_spec *spec;  /* an unset uid or gid is set to the process's */
    bool borrows_spec;         /* the spec outlives the volume; else it is consumed */
    struct identity *identity; /* consumed */
    /*
     * What an earlier process shows on the target; borrowed. The volume is mounted from the
     * beginning. NULL: a new volume.
     */
    const struct node_shown *shown;
};

/* Named after what the volume waits for; see volume.c. */
enum node_volume_state {
    NODE_VOLUME_AWAITING_CONTENT,
    NODE_VOLUME_AWAITING_REQUEST,
    NODE_VOLUME_AWAITING_MOUNT,
    NODE_VOLUME_MOUNTED,
};

/* Other files read members, and change none, except where noted. */
struct node_volume {
    struct list link; /* for node/volumes */
    uint64_t number;  /* the same; grows with each volume that is added */
    const struct node_volume_ops *ops;
    const struct node_volume_context *context;
    char *id;
    char *target;
    char *root; /* of the area, or NULL */
    struct target_area area;
    struct created_dirs *created_dirs;
    char *namespace;
    char *pod;
    char *pod_uid;
    char *service_account;
    const struct node_shown *shown; /* until node_volume_init() returns; or NULL */
    enum node_fs fs;
    struct node_pods_query *pod_query; /* while the pod's answer is awaited; or NULL */
    sd_event_source *pod_timer;        /* while content waits for the pod's answer */
    struct volume_spec *spec;
    bool borrows_spec;
    struct identity *identity;
    struct published published;

    enum node_volume_state state;
    bool is_requested;         /* mount_done() follows */
    bool is_cancelled;         /* in AWAITING_MOUNT: unmount as soon as it is mounted */
    bool waits_indefinitely;   /* the request does not end before there is content */
    bool was_mounted;          /* by the last request, or by an earlier one */
    bool is_recorded;          /* the next process takes it over, if it is mounted then */
    bool has_recorded_orders;  /* and goes on with orders */
    unsigned recorded_changes; /* of orders, volume_order_changes() */
    uint64_t notified;         /* of its record; 0: no consumer is notified */
    bool is_notified_recorded; /* and that is there */
    bool is_left;              /* and does so now */
    unsigned reported_events;  /* node/volume_events.c changes it, and the next */
    unsigned deferred_events;
    struct update_notice notice; /* node/volume_notices.c changes it */
    struct kept_error error;     /* why the first payload was not published; else empty */
    uint64_t mount_id;           /* in MOUNTED */
    sd_event_source *timer;      /* REQUEST_TIMEOUT while a request waits, else EXPIRE_AFTER */
    sd_event_source *error_timer;
};

/* Whether @id is usable as a directory name. */
bool node_volume_id_is_valid(const char *id);

/*
 * What is recorded of a volume without orders for the next process, see volume_record.h.
 * Return: 0, *ret_text is the caller's to free(); -ENOMEM.
 */
int node_volume_print_record(const struct node_volume_options *options, char **ret_text);

/*
 * Subscribe to the volume's objects. Nothing is mounted before node_volume_request_mount().
 * @context, @ops: outlive the volume
 * Return: 0; -errno with @e. Either way node_volume_deinit() is due, and what is consumed is
 * consumed.
 */
int node_volume_init(struct node_volume *volume, const struct node_volume_context *context,
                     const struct node_volume_options *options, const struct node_volume_ops *ops,
                     struct error *e);
/* Unmounts it, and removes its directory. Not from within a callback of the volume. */
void node_volume_deinit(struct node_volume *volume);

/*
 * Choose the file system by what the volume's pod mounts, if options.pod_decides_fs left it
 * undecided. The answer may come later.
 */
void node_volume_ask_pod(struct node_volume *volume, struct node_pods *pods);
/* The watch brought a pod: if it is the volume's, its labels may be others. */
void node_volume_on_pod(struct node_volume *volume, const struct pod *pod);
/*
 * Choose the file system, unless it is chosen. Waiting content is published there; mount_done() may
 * come before this returns.
 * @fs: not NODE_FS_UNDECIDED
 */
void node_volume_set_fs(struct node_volume *volume, enum node_fs fs);

/*
 * Request the mount. mount_done() follows, possibly before this returns; at once if the volume is
 * mounted. One request at a time.
 * @waits_indefinitely: wait for content as long as it takes; errors do not end the request
 */
void node_volume_request_mount(struct node_volume *volume, bool waits_indefinitely);

/*
 * Cancel the request, if there is one. Return: whether mount_done() follows nevertheless, because
 * the mount is in progress; it is undone first.
 */
bool node_volume_cancel_request(struct node_volume *volume);

/* Unmount it from its target, if it is mounted, and remove the target. Return: 0; -errno, @e. */
int node_volume_unmount(struct node_volume *volume, struct error *e);

/*
 * This process ends, and the next one takes the volume over if it is recorded: node_volume_deinit()
 * leaves its mount and its directory as they are.
 */
void node_volume_leave(struct node_volume *volume);
/*
 * This process has failed, and no other one takes its volumes over: the mount stays nevertheless. A
 * container that starts gets an error then, not the empty directory below.
 */
void node_volume_leave_dead(struct node_volume *volume);

/* Whether it has consumers that are notified of its updates. */
bool node_volume_has_consumers(const struct node_volume *volume);
/* As shown_update(). */
uint64_t node_volume_shown_update(const struct node_volume *volume);
/* Consumers know of an update, and of those before: the next process does not notify of them. */
void node_volume_note_notified(struct node_volume *volume, uint64_t update);

/*
 * Leave the target to another volume, which is mounted there: this one will not unmount it. There
 * must be no request.
 */
void node_volume_release_target(struct node_volume *volume);

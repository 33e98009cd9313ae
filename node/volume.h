/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A volume of a node: a published volume with a directory in the node's file system, that is shown
 * on a target when somebody wants it. See node_volume.c.
 *
 * Thread: the event loop's.
 */
#include "node/created_dirs.h"
#include "node/identity.h"
#include "node/pods.h"
#include "node/target.h"
#include "serve/published.h"

struct node_volume;

/* The file system that a volume goes to; chosen once for its life, before its first content. */
enum node_fs {
    NODE_FS_UNDECIDED, /* node_volume_decide() says it */
    NODE_FS_STANDARD,  /* warm reads cost no request */
    NODE_FS_LIVE,      /* answers OPEN, so that a file that is mounted alone can follow */
};

/* "standard", "live"; "" while it is undecided. */
const char *node_fs_name(enum node_fs fs);

/* What all of them have in common; borrowed. */
struct node_volume_host {
    sd_event *event;
    /* Who writes volumes in a file system; @fs is decided. Return: 0; -errno with @e. */
    int (*choose_publisher)(void *userdata, enum node_fs fs, struct publisher **ret_publisher,
                            struct error *e);
    struct log_limit *source_log;
    /* For whoever watches all of them; may not give the volume up. */
    void (*changed)(void *userdata, struct node_volume *volume);       /* as published's */
    void (*updated)(void *userdata, const struct node_volume *volume); /* the same */
    void *userdata;
};

/* Strings are copied. */
struct node_volume_options {
    const char *id;     /* also the name of its directory; see node_volume_id_is_valid() */
    const char *target; /* where it is to be shown */
    struct target_area area;
    /*
     * Borrowed; makes the target and what is missing on the way, and removes what it made. NULL:
     * the target alone is made, and removed.
     */
    struct created_dirs *created_dirs;
    const char *namespace;     /* of its objects */
    const char *pod;           /* "NAMESPACE/NAME" of whom it is for; or NULL */
    const char *pod_uid;       /* or NULL */
    unsigned long mount_attr;  /* MOUNT_ATTR_* besides read-only, nosuid and nodev */
    enum node_fs fs;           /* NODE_FS_UNDECIDED: node_volume_decide() follows soon */
    struct volume_spec *spec;  /* its uid and gid may be unset, and are set then */
    bool borrows_spec;         /* it outlives the volume; else it is consumed */
    struct identity *identity; /* consumed */
};

/* What came of wanting a volume. */
enum node_volume_outcome {
    NODE_VOLUME_SHOWN,
    NODE_VOLUME_STILL_SHOWN, /* it was so already */
    NODE_VOLUME_MISSING,     /* what it is made of is not there, or cannot be shown */
    NODE_VOLUME_FORBIDDEN,   /* whoever asks may not see what it is made of */
    NODE_VOLUME_UNAVAILABLE, /* it could not be had until now; it is still being tried */
    NODE_VOLUME_BAD_TARGET,  /* no volume may be shown there */
};

struct node_volume_callbacks {
    /* Once for each node_volume_want(). May not give the volume up. @e: empty if it is shown. */
    void (*settled)(void *userdata, struct node_volume *volume, enum node_volume_outcome outcome,
                    const struct error *e);
    /* Nobody has wanted it for long, and it is not shown. May not give the volume up. */
    void (*abandoned)(void *userdata, struct node_volume *volume);
};

enum node_volume_state {
    NODE_VOLUME_FOLLOWING, /* nothing is in its directory yet */
    NODE_VOLUME_IN_PLACE,  /* its content is, and not shown */
    NODE_VOLUME_BINDING,
    NODE_VOLUME_BOUND,
};

/* Members are for looking at. */
struct node_volume {
    struct list link; /* for whoever has it */
    void *owner;      /* the same */
    const struct node_volume_host *host;
    const struct node_volume_callbacks *callbacks;
    void *userdata;
    uint64_t number; /* grows with each that node_volumes_add() is given */
    char *id;
    char *target;
    char *root; /* of the area, or NULL */
    struct target_area area;
    struct created_dirs *created_dirs;
    char *namespace;
    char *pod;
    char *pod_uid;
    unsigned long mount_attr;
    enum node_fs fs;
    struct node_pods_query *pod_query; /* owned; while the pod decides about fs; or NULL */
    sd_event_source *pod_timer;        /* content is there, and waits for that */
    struct volume_spec *spec;
    bool borrows_spec;
    struct identity *identity;
    struct published published;

    enum node_volume_state state;
    bool is_wanted;
    bool is_forgone;        /* while it is being bound */
    bool is_patient;        /* trouble is no reason to settle */
    bool was_shown;         /* it may be missed */
    unsigned told;          /* for whoever watches all of them: what was said of its troubles */
    struct error error;     /* why publishing it failed before it was in place; else empty */
    uint64_t mount_id;      /* if it is bound */
    sd_event_source *timer; /* while it is wanted: how long to wait; else: how long to live on */
    sd_event_source *trouble_timer;
};

/* Whether a text may be the name of a directory that cannot be taken for anything else. */
bool node_volume_id_is_valid(const char *id);

/*
 * Start to follow what it is made of. Nothing is shown before node_volume_want().
 * @host, @callbacks: outlive the volume
 * Return: 0, *ret_volume is the caller's; -errno with @e. What is consumed is so in any
 * case.
 */
int node_volume_new(const struct node_volume_host *host, const struct node_volume_options *options,
                    const struct node_volume_callbacks *callbacks, void *userdata,
                    struct node_volume **ret_volume, struct error *e);
/* Detaches it from its target, and forgets it. Not from within a callback. Return: NULL. */
struct node_volume *node_volume_free(struct node_volume *volume);
DEFINE_CLEANUP(struct node_volume *, node_volume_free)

/*
 * Say which file system it goes to, if it was undecided. Content that came meanwhile goes there.
 * settled() may come before this returns.
 * @fs: not NODE_FS_UNDECIDED
 */
void node_volume_decide(struct node_volume *volume, enum node_fs fs);

/*
 * Have it shown; settled() comes, possibly before this returns. If it is shown already, and still
 * there, that is at once.
 * @is_patient: wait as long as it takes, whatever the trouble is
 */
void node_volume_want(struct node_volume *volume, bool is_patient);

/*
 * Nobody waits any more. Return: whether settled() comes nevertheless, as it is being bound just
 * now; that will be undone first.
 */
bool node_volume_forgo(struct node_volume *volume);

/* Detach it from its target, if it is shown there, and remove the target. Return: 0; -errno, @e. */
int node_volume_hide(struct node_volume *volume, struct error *e);

/*
 * Another volume is shown on its target now, or is about to be: leave the target alone from here
 * on. Nobody may want it any more.
 */
void node_volume_yield(struct node_volume *volume);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A published volume: store -> volume -> payload -> publisher -> readers, with its log lines and
 * the numbers that status and metrics show. The owner decides where it is published and what
 * happens then. A mount has one, the node daemon has one for each volume. See published.c.
 *
 * Thread: the event loop's.
 */
#include "base/log.h"
#include "base/log_limit.h"
#include "consumers/consumers.h"
#include "fuse/publisher.h"
#include "serve/commands.h"
#include "serve/history.h"
#include "serve/reader_state.h"
#include "volume/volume.h"

struct published;

/*
 * Watches published volumes that it does not own, such as those of a node for metrics and events.
 * None of these may remove the volume. Each may be NULL.
 */
struct published_observer {
    /* As published_callbacks.changed, and called before it. */
    void (*changed)(void *userdata, struct published *p);
    /* Another payload is being published: published_is_pending() until readers see it. */
    void (*submitted)(void *userdata);
    /* Readers see another payload than before; p->update_latency_us has its latency. */
    void (*updated)(void *userdata, struct published *p);
    void *userdata;
};

/* Strings and pointers are borrowed and outlive the published volume. */
struct published_options {
    struct store *store;
    struct store *pods; /* for sources that are made of the volume's pod; or NULL */
    const struct volume_spec *spec;
    const char *namespace;                     /* of its objects */
    const char *pod;                           /* name of its pod, in @namespace; or NULL */
    const char *pod_uid;                       /* or NULL */
    const char *mountpoint;                    /* unique on the machine */
    const struct published_observer *observer; /* NULL: none */
    struct log_limit *source_log;  /* limits log lines about the source's state; NULL: no limit */
    struct volume_adopted adopted; /* of an earlier process */
    const char *adopted_generation;
    uint64_t adopted_directory; /* node id of the volume's directory */
    bool keeps_previous;        /* see struct volume_options */
    struct commands *commands;  /* that check content; NULL: none */
};

/* place() does not know the place yet: published_retry() follows. */
#define PUBLISHED_LATER 1

/* The owner. None of these may remove the published volume, not before they have returned. */
struct published_callbacks {
    /*
     * Choose the place of the first payload. May be called before published_init() returns.
     * Return: 0; PUBLISHED_LATER; -errno with @e, then failed() follows.
     */
    int (*place)(void *userdata, struct publisher_place *ret_place, struct error *e);
    /*
     * The first payload is in its place and may be shown to readers. Return: 0; -errno with @e,
     * then failed() follows.
     */
    int (*ready)(void *userdata, struct error *e);
    /*
     * The first payload could not be published. There is no automatic retry. (Later failures are
     * retried, and reported by changed().)
     */
    void (*failed)(void *userdata, int error, const struct error *e);
    /* The state of objects, certificates, publishing or mounted parts may have changed. */
    void (*changed)(void *userdata);
    /* As volume_callbacks.labels; NULL: the volume has no pod. */
    const char *(*labels)(void *userdata);
};

/* See published.c. */
enum published_state {
    PUBLISHED_AWAITING_PAYLOAD,
    PUBLISHED_AWAITING_PLACE,
    PUBLISHED_AWAITING_PUBLISH,
    PUBLISHED_READY,
    PUBLISHED_AWAITING_RETRY,
};

/* Other files read members, and change none. */
struct published {
    struct published_options options;
    const struct published_callbacks *callbacks;
    void *userdata;
    sd_event *event;
    mono_us started_at;
    struct volume *volume;              /* NULL until volume_new() has returned */
    struct publisher_volume *publisher; /* NULL until the place is known */
    enum published_state state;
    struct consumers *consumers; /* of its file system; NULL: opens are not seen */
    uint64_t directory_id;       /* the volume's among the consumers; 0: none */

    struct commands_run *check;         /* that runs; or NULL */
    sd_event_source *certificate_timer; /* fires when the next certificate expires */
    sd_event_source *staging_timer;     /* when a staged update is shown; NULL: none is due */
    char *own_who;                      /* of a volume without a pod; see volume_new() */
    sd_event_source *retry_timer;       /* in PUBLISHED_AWAITING_RETRY */

    bool is_unconfirmed;     /* the source has not yet delivered what readers get */
    struct payload *payload; /* the newest, published or submitted; NULL before the first */
    struct payload *shown;   /* what readers get; NULL before the first */
    mono_us pending_since;   /* @payload was submitted, and readers get an older one; or 0 */
    struct kept_error publish_error;       /* of the last publish; empty if it succeeded */
    char generation[GENERATION_NAME_SIZE]; /* of @shown, as what follows */
    uint64_t n_dropped;                    /* files of older content that readers lost, in all */
    bool has_dropped;                      /* some of them by the last update */
    struct history history;                /* of this process */
    size_t n_published;
    boot_us updated_at; /* 0: never */
    span_us update_latency_us;

    /* logged last */
    enum volume_state logged_state;
    bool logged_blocked; /* that publishing does not return */
    enum store_source_state logged_source_state;
    struct kept_error logged_source_error;
    bool *logged_certificates; /* for each source of the spec: its certificate is invalid */
};

/*
 * Subscribe to the objects, and publish the payloads that they make. With an adopted payload
 * place() and ready() are called at once; a payload of the same content is not published again.
 * @callbacks: outlive @p
 * Return: 0; -errno with @e. Either way published_deinit() is due.
 */
int published_init(struct published *p, sd_event *event, const struct published_options *options,
                   const struct published_callbacks *callbacks, void *userdata, struct error *e);
/*
 * Have the opens of the volume's files noted, with what it shows. Called by place() or not at all.
 * @consumers: of the file system that the volume is in; borrowed, outlives @p; NULL: none
 */
void published_set_consumers(struct published *p, struct consumers *consumers);

/* No callback is called any more. A zeroed object is fine. */
void published_deinit(struct published *p);

/* Try the first payload again, after failed() or PUBLISHED_LATER. Else it does nothing. */
void published_retry(struct published *p);

/* "awaiting-payload", "ready". Return: a constant. */
const char *published_state_name(const struct published *p);

/* Whether the last publish failed, after the volume was ready; it is retried. */
bool published_is_failing(const struct published *p);
/* Whether readers get older content since a process holds the volume's directory. */
bool published_is_blocked(const struct published *p);
/* Whether readers do not get what was submitted yet. */
bool published_is_pending(const struct published *p);
/* Whether that has been so for longer than a storm of updates takes. */
bool published_is_late(const struct published *p);

/* The state for readers, and why it is not READER_CURRENT: "" if unknown, else borrowed or in @e.
 */
enum reader_state published_reader_state(const struct published *p);
const char *published_reader_error(const struct published *p, struct error *e);

/*
 * The version of the object of source @i of the spec that readers get.
 * Return: borrowed; NULL: none, or nothing of it.
 */
const struct object *published_shown_object(const struct published *p, size_t i);

/*
 * What readers see: the bytes of the files, and the number of files, links and directories, with
 * the volume's own.
 */
void published_usage(const struct published *p, uint64_t *ret_bytes, uint64_t *ret_inodes);

/* Explain why there is no payload. Return: -errno, with @e. */
int published_why_missing(const struct published *p, struct error *e);

/* "secret/NAMESPACE/NAME", "projected/NAMESPACE/NAME-OF-THE-VOLUME". Return: @buf. */
#define PUBLISHED_TEXT_SIZE (VOLUME_TEXT_SIZE + OBJECT_NAMESPACE_MAX + 1)
const char *published_text(const struct published *p, char buf[static PUBLISHED_TEXT_SIZE]);
#define PUBLISHED_TEXT(p) published_text((p), (char[PUBLISHED_TEXT_SIZE]){""})

/* The volume's pod as pairs for log_write(), which leaves them out if there is none. */
#define PUBLISHED_LOG_POD(p)                                                                       \
    "namespace", (p)->options.pod != NULL ? (p)->options.namespace : NULL, "pod", (p)->options.pod

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A published volume: store -> volume -> payload -> publisher -> readers, with what is logged and
 * shown of it. Whose it is decides where it goes and what becomes of it; a mount has one, the node
 * daemon has one for each volume.
 *
 * Thread: the event loop's.
 */
#include "base/log.h"
#include "base/log_limit.h"
#include "fuse/publisher.h"
#include "volume/volume.h"

struct published;

/* Strings and pointers are borrowed and outlive the published volume. */
struct published_options {
    struct store *store;
    const struct volume_spec *spec;
    const char *namespace;        /* where its objects are */
    const char *pod;              /* "NAMESPACE/NAME" of whom it is for, for the log; or NULL */
    struct log_limit *source_log; /* for what the source's state is; NULL: without a limit */
};

#define PUBLISHED_LATER 1

/* None of them may give up the published volume; that has to wait until they are over. */
struct published_callbacks {
    /*
     * There is a first payload: where does it go? May be called before published_init() returns.
     * Return: 0; PUBLISHED_LATER when that is not known yet, and published_retry() follows; -errno
     * with @e, then failed() follows.
     */
    int (*place)(void *userdata, struct publisher_place *ret_place, struct error *e);
    /*
     * The first payload is in place; readers may be shown it. Return: 0; -errno with @e, then
     * failed() follows.
     */
    int (*ready)(void *userdata, struct error *e);
    /*
     * It could not be made ready. Nothing is tried again by itself; after it was ready, failures
     * are, and are not told.
     */
    void (*failed)(void *userdata, int error, const struct error *e);
    /* What is known of its objects and certificates, or how publishing goes, may have changed. */
    void (*changed)(void *userdata);
    /* Readers see another payload than before; update_latency_us tells since when. May be NULL. */
    void (*updated)(void *userdata);
};

/* Members are for looking at, by whoever shows them. */
struct published {
    struct published_options options;
    const struct published_callbacks *callbacks;
    void *userdata;
    sd_event *event;
    mono_us started_at;
    struct volume *volume;              /* NULL while it is being made */
    struct publisher_volume *publisher; /* from the first payload on */

    sd_event_source *certificate_timer; /* the next one expires */
    sd_event_source *retry_timer;
    bool is_ready;

    /* what is shown */
    struct payload *payload; /* the newest, published or about to be; NULL before the first */
    char generation[GENERATION_NAME_SIZE];
    size_t n_published;
    struct timespec updated_at;
    span_us update_latency_us;
    bool publish_is_failing;

    /* what was logged last */
    enum volume_state logged_state;
    enum store_source_state logged_source_state;
    struct error logged_source_error;
    bool *logged_certificates; /* for each source of the spec: that something is wrong */
};

/*
 * Start to follow the objects and to publish what comes of them.
 * @callbacks: outlive @p
 * Return: 0; -errno with @e. Either way published_deinit() is due.
 */
int published_init(struct published *p, sd_event *event, const struct published_options *options,
                   const struct published_callbacks *callbacks, void *userdata, struct error *e);
/* Nothing is called any more. All zero bytes are fine. */
void published_deinit(struct published *p);

/* Publish what could not be published, after failed() or PUBLISHED_LATER. */
void published_retry(struct published *p);

/* Why there is nothing to be seen, while there is no payload. Return: -errno, with @e. */
int published_why_missing(const struct published *p, struct error *e);

/* "secret/NAMESPACE/NAME", "projected/NAMESPACE/NAME-OF-THE-VOLUME". Return: @buf. */
#define PUBLISHED_TEXT_SIZE (VOLUME_TEXT_SIZE + OBJECT_NAMESPACE_MAX + 1)
const char *published_text(const struct published *p, char buf[static PUBLISHED_TEXT_SIZE]);
#define PUBLISHED_TEXT(p) published_text((p), (char[PUBLISHED_TEXT_SIZE]){""})

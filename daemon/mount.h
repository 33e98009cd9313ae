/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One mounted volume and everything behind it: source -> store -> volume -> publisher -> mount.
 *
 * Thread: the event loop's.
 */
#include "daemon/background.h"
#include "daemon/options.h"
#include "fetcher/source.h"
#include "fuse/publisher.h"
#include "volume/volume.h"

struct mount {
    const struct mount_options *options;
    struct background *background;
    struct timespec started_at;
    sd_event *event;

    struct store *store;
    struct source *source;
    char *namespace;
    struct volume *volume;

    /* from the first payload on */
    struct tree *tree;
    struct session *session;
    struct publisher *publisher;
    struct publisher_volume *published;
    struct control *control;

    sd_event_source *wait_timer;        /* --wait */
    sd_event_source *certificate_timer; /* the next one expires */
    sd_event_source *retry_timer;
    bool is_ready; /* readers see it, and whoever started us was told */
    struct error failure;

    /* what is shown */
    struct payload *payload; /* the newest, published or about to be */
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
 * Mount and serve until told to end by a signal or by unmounting.
 * @background: is told when the volume is readable
 * Return: 0; -errno with @e when it did not get that far.
 */
int mount_run(const struct mount_options *options, struct background *background, struct error *e);

/* The status document of a mount. Return: 0 or -errno. */
int mount_describe(const struct mount *mount, struct buf *document);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The document behind the page at /ui: what a browser shows of a node. Names, states and numbers;
 * never a value of an object. See ui.c.
 *
 * Thread: the event loop's.
 */
#include "node/metrics.h"
#include "node/status.h"

struct node_ui;

/*
 * Volumes are added one after the other up to these limits; others are counted. Each takes about
 * 15 us, so that an update waits for 4 ms, and has 0.7 to 2 KB. Each response is a copy, and every
 * user of the host can let all connections wait for theirs: the text is 32 MiB then at most.
 */
#define NODE_UI_VOLUMES_MAX  256u
#define NODE_UI_VOLUMES_TEXT (512u << 10) /* bytes after which none is added */
#define NODE_UI_INTERVAL     SPAN_MS(500) /* between two documents; all clients get the same one */

/* Borrowed; outlives the object. */
struct node_ui_context {
    const struct node_status *status;
    struct node_volumes *volumes;
    const struct node_metrics *metrics;
};

/* @context: copied. Return: 0, *ret_ui is the caller's; -ENOMEM. */
int node_ui_new(const struct node_ui_context *context, struct node_ui **ret_ui);
/* Return: NULL. */
struct node_ui *node_ui_free(struct node_ui *ui);
DEFINE_CLEANUP(struct node_ui *, node_ui_free)

/*
 * Append the document, as JSON without tags (encoding/json.h).
 * Return: 0; -ENOMEM; -EFBIG at the limit of @text.
 */
int node_ui_write(struct node_ui *ui, mono_us now, struct buf *text);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * From a publish request to a spec, which may need the pod. See publish_spec.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "csi/publish.h"
#include "node/pods.h"

struct publish_spec;

/* Borrowed; outlives the queries. */
struct publish_spec_context {
    sd_event *event;
    struct node_pods *pods;
    /* The release of a kernel on which pods with user namespaces cannot have volumes; else NULL. */
    const char *old_kernel;
};

/*
 * The end of publish_spec_get() that returned PUBLISH_SPEC_LATER; the query is freed before.
 * @r: 0, and @spec_consumed is the callee's; -errno with @e as publish_spec_get()
 */
typedef void publish_spec_fn(void *userdata, int r, struct volume_spec *spec_consumed,
                             const struct error *e);

/*
 * Make the spec of a request.
 * @request:   borrowed until the end
 * @done:      called if and only if this returns PUBLISH_SPEC_LATER, after it has returned
 * @ret_query: then the caller's, until @done is called
 * Return: 0, *ret_spec is the caller's; PUBLISH_SPEC_LATER; -EOPNOTSUPP with @e for a pod with a
 * user namespace on an old kernel; -EINVAL, -E2BIG with @e for attributes
 * that make no spec; -EAGAIN with @e if the pod cannot be read now; -ENOMEM with @e.
 */
#define PUBLISH_SPEC_LATER 1
int publish_spec_get(const struct publish_spec_context *context, const struct csi_publish *request,
                     publish_spec_fn *done, void *userdata, struct volume_spec **ret_spec,
                     struct publish_spec **ret_query, struct error *e);
/* @done will not be called. NULL is fine. Return: NULL. */
struct publish_spec *publish_spec_free(struct publish_spec *query);
DEFINE_CLEANUP(struct publish_spec *, publish_spec_free)

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The CSI node plug-in as the kubelet sees it: two sockets, the services behind them, and the
 * checks that need no knowledge of volumes. What a volume is, the handlers know. See plugin.c.
 *
 * Thread: the event loop's.
 */
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "grpc/call.h"
#include "volume/attributes.h"

struct csi_plugin;
struct csi_call;

#define CSI_GROUP_UNSET ((gid_t)-1)

/*
 * A request for an ephemeral volume of a pod, in order as far as can be told without knowing
 * volumes: ids, target, pod and namespace are there and valid. Borrowed until csi_call_reply(). It
 * holds what must be logged nowhere: attributes may be anything, tokens are tokens.
 */
struct csi_publish {
    const char *volume_id; /* the same for a volume's whole life; can be a file's name, as it is of
                              at most CSI_VOLUME_ID_MAX letters, digits and - _ . */
    const char *target_path; /* absolute, without . and .. */
    const char *fs_type;     /* "" if none is asked for */
    const char *pod_name;
    const char *pod_namespace;
    const char *pod_uid;
    const char *service_account;        /* "" if the kubelet does not say */
    const char *service_account_tokens; /* JSON, "" if there are none (U4) */
    bool is_read_only;
    gid_t mount_group;                         /* the pod's fsGroup, or CSI_GROUP_UNSET */
    const struct volume_attribute *attributes; /* the pod's own, without the kubelet's */
    size_t n_attributes;
};

#define CSI_VOLUME_ID_MAX 128 /* CSI's limit for a string field; the kubelet's are 68 long (S3) */

/*
 * What the plug-in asks of the program. A call that comes in by `publish` or `unpublish` is ended
 * by csi_call_reply(), once, at once or later; until then its volume is busy, and other calls for
 * it are answered with ABORTED (S14).
 */
struct csi_handlers {
    void (*publish)(void *userdata, struct csi_call *call, const struct csi_publish *request);
    void (*unpublish)(void *userdata, struct csi_call *call, const char *volume_id,
                      const char *target_path);
    /*
     * The caller's deadline is over, or the caller is gone. Nobody reads the answer any more, but
     * csi_call_reply() still has to come, now or when the work on the volume has really ended: it
     * is what ends the volume's being busy.
     */
    void (*cancelled)(void *userdata, struct csi_call *call);
    bool (*is_ready)(void *userdata);
    /* What the kubelet says about the plug-in; @error is its reason if it refused, else "". */
    void (*registration)(void *userdata, bool is_registered, const char *error);
    /* Every answer to any call, for logs and metrics; may be NULL. @method: "NodePublishVolume". */
    void (*answered)(void *userdata, const char *method, enum grpc_code code, span_us took);
};

struct csi_plugin_options {
    const char *endpoint;            /* absolute path of the CSI socket */
    const char *endpoint_of_kubelet; /* the same as the kubelet sees it; NULL: the same path */
    const char *registration_path;   /* absolute path of the registration socket; NULL: none */
    const char *driver_name;         /* R2 */
    const char *version;             /* the program's */
    const char *node_id;
    const struct grpc_limits *limits; /* NULL: grpc_limits_default */
};

/*
 * Listen on both sockets, on the CSI socket first. Directories that are missing are made, the
 * socket files of dead processes replaced.
 * @options:  strings are borrowed, and outlive the plug-in
 * @handlers: the same
 * Return: 0, *ret_plugin is the caller's; -EINVAL for options that cannot be used; -EADDRINUSE when
 * a living process listens there already; -ENOMEM; others' errors; all with @e.
 */
int csi_plugin_new(sd_event *event, const struct csi_plugin_options *options,
                   const struct csi_handlers *handlers, void *userdata,
                   struct csi_plugin **ret_plugin, struct error *e);
/*
 * Removes the sockets. Calls that are open are cancelled; csi_call_reply() has to come from within
 * `cancelled` then, or not at all. Return: NULL.
 */
struct csi_plugin *csi_plugin_free(struct csi_plugin *plugin);
DEFINE_CLEANUP(struct csi_plugin *, csi_plugin_free)

/* What a call is about; borrowed until csi_call_reply(). */
const char *csi_call_volume_id(const struct csi_call *call);
/* For the handlers' own use, NULL at first. */
void csi_call_set_userdata(struct csi_call *call, void *userdata);
void *csi_call_userdata(const struct csi_call *call);

/*
 * Answer a call; it is gone then, with all that it lent.
 * @message: for people, who read it in `kubectl describe pod`: short, says what to do, without
 *           secret bytes (T4); NULL for GRPC_OK
 */
void csi_call_reply(struct csi_call *call, enum grpc_code code, const char *message);

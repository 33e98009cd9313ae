/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The CSI node plug-in as the kubelet sees it: two sockets, the services behind them, and the
 * checks of requests that need no volume. The program's handlers do the rest. See plugin.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/kept_socket.h"
#include "csi/publish.h"
#include "grpc/call.h"

struct csi_plugin;
struct csi_call;

/* What a volume uses. */
struct csi_stats {
    uint64_t bytes;
    uint64_t inodes;
};

/*
 * The program's side. A call that comes in by `publish` or `unpublish` is ended by
 * csi_call_reply(), once, at once or later; until then its volume is busy, and other calls for it
 * are answered with ABORTED (S14).
 */
struct csi_handlers {
    void (*publish)(void *userdata, struct csi_call *call, const struct csi_publish *request);
    void (*unpublish)(void *userdata, struct csi_call *call, const char *volume_id,
                      const char *target_path);
    /*
     * The caller's deadline has passed, or the caller has disconnected. The answer reaches no
     * caller any more, but csi_call_reply() still has to follow, now or when the work on the volume
     * has really ended: it ends the time that the volume is busy.
     */
    void (*cancelled)(void *userdata, struct csi_call *call);
    /*
     * What the volume that is mounted on @path uses. NULL: no statistics are offered.
     * Return: false if there is none.
     */
    bool (*stats)(void *userdata, const char *volume_id, const char *path,
                  struct csi_stats *ret_stats);
    bool (*is_ready)(void *userdata);
    /* The kubelet has accepted the plug-in, or refused it with the reason @error, else "". */
    void (*registration)(void *userdata, bool is_registered, const char *error);
    /* Each answer to any call, for logs and metrics; may be NULL. @method: "NodePublishVolume". */
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
    /* the sockets outlive the process; NULL: they do not */
    const struct kept_socket *keep, *keep_registration;
};

/*
 * Listen on both sockets, on the CSI socket first. Missing directories are created, socket files of
 * ended processes replaced.
 * @options, @handlers: borrowed, outlive the plug-in
 * Return: 0, *ret_plugin is the caller's; -EINVAL for invalid options; -EADDRINUSE if another
 * process listens there; -ENOMEM; errors of the system and of sd-event; all with @e.
 */
int csi_plugin_new(sd_event *event, const struct csi_plugin_options *options,
                   const struct csi_handlers *handlers, void *userdata,
                   struct csi_plugin **ret_plugin, struct error *e);
/*
 * Removes the sockets unless the next process takes them over. Open calls are cancelled;
 * csi_call_reply() has to be called within `cancelled` then, or not at all. Return: NULL.
 */
struct csi_plugin *csi_plugin_free(struct csi_plugin *plugin);
DEFINE_CLEANUP(struct csi_plugin *, csi_plugin_free)

/* As registration_is_accepted(); false without a registration socket. */
bool csi_plugin_is_registered(const struct csi_plugin *plugin);

/* Return: the name of a method of either socket, as answered() is called with; NULL past the last.
 */
const char *csi_method_name(size_t i);

/* The volume that a call is for; borrowed until csi_call_reply(). */
const char *csi_call_volume_id(const struct csi_call *call);
/* A pointer for the handlers' use, NULL at first. */
void csi_call_set_userdata(struct csi_call *call, void *userdata);
void *csi_call_userdata(const struct csi_call *call);

/*
 * Answer a call and free it, with all that was borrowed from it.
 * @message: for people, who read it in `kubectl describe pod`: short, says what to do, without
 *           secret bytes (T4); NULL for GRPC_OK
 */
void csi_call_reply(struct csi_call *call, enum grpc_code code, const char *message);

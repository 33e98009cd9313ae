/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/plugin.h"

struct csi_plugin {
    int unused;
};

int csi_plugin_new(sd_event *event, const struct csi_plugin_options *options,
                   const struct csi_handlers *handlers, void *userdata,
                   struct csi_plugin **ret_plugin, struct error *e)
{
    (void)event;
    (void)options;
    (void)handlers;
    (void)userdata;
    (void)ret_plugin;
    return error_set(e, -EOPNOTSUPP, "the CSI plug-in is not there yet");
}

struct csi_plugin *csi_plugin_free(struct csi_plugin *plugin)
{
    free(plugin);
    return NULL;
}

const char *csi_call_volume_id(const struct csi_call *call)
{
    (void)call;
    return "";
}

void csi_call_set_userdata(struct csi_call *call, void *userdata)
{
    (void)call;
    (void)userdata;
}

void *csi_call_userdata(const struct csi_call *call)
{
    (void)call;
    return NULL;
}

void csi_call_reply(struct csi_call *call, enum grpc_code code, const char *message)
{
    (void)call;
    (void)code;
    (void)message;
}

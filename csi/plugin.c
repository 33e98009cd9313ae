/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CSI services that a node needs for ephemeral volumes: Identity, and of Node what publishes
 * without staging (S1, S2).
 *
 * Calls for one volume never run at the same time (S14). A volume is busy from the moment when the
 * program is asked for it until it has answered, also if the caller's deadline passed or the caller
 * disconnected in between: the kubelet asks again then, while the work of its first call goes on.
 * So a struct csi_call outlives its gRPC call:
 *
 *     publish --> (deadline passes, `cancelled`) --> csi_call_reply, which sends nothing
 *        |                                            ^
 *        +--------------------------------------------+-- until here: ABORTED to other calls
 *
 * ABORTED makes the kubelet try again soon and treat its volume as uncertain until it has an
 * answer, so that it also unpublishes a volume that it never saw published (T1).
 *
 * The registration socket is created after the CSI socket: the kubelet calls the CSI socket as soon
 * as it sees the other one.
 */
#include "csi/plugin.h"

#include <inttypes.h>
#include <stdio.h>

#include "csi/messages.h"
#include "csi/publish_request.h"
#include "csi/registration.h"
#include "grpc/server.h"

#define CALL_MAGIC      0x63736963u
#define NODE_ID_MAX     256u  /* CSI's limit */
#define CALLS_MAX       4096u /* one for each connection, and three times as many timed out */
#define DRIVER_NAME_MAX 63u   /* R2 */

#define TAG_SIZE 17 /* 64 bits in hexadecimal digits */

/* Source: NodeServiceCapability.RPC.Type of csi.v1. */
#define RPC_GET_VOLUME_STATS   2
#define RPC_VOLUME_MOUNT_GROUP 6

/* Source: VolumeUsage.Unit of csi.v1. */
#define UNIT_BYTES  1
#define UNIT_INODES 2

struct csi_plugin {
    const struct csi_plugin_options *options;
    const struct csi_handlers *handlers;
    void *userdata;
    struct grpc_server *server;
    struct registration *registration;
    struct kept_socket keep_registration; /* with the tag */
    char tag[TAG_SIZE];
    struct list calls;
    size_t n_calls;
};

struct csi_call {
    unsigned magic;
    struct csi_plugin *plugin;
    struct list link;
    struct grpc_call *grpc; /* NULL once it is cancelled */
    const char *volume_id;  /* borrowed from one of these two: */
    struct publish_request *publish;
    Csi__UnpublishRequest *unpublish;
    void *userdata;
};

/* ---- calls about a volume */

static struct csi_call *call_free(struct csi_call *call)
{
    assert(call->magic == CALL_MAGIC && call->plugin->n_calls > 0);
    list_remove(&call->link);
    call->plugin->n_calls--;
    publish_request_free(call->publish);
    if (call->unpublish != NULL)
        message_free(&call->unpublish->base);
    call->magic = 0;
    free(call);
    return NULL;
}

static void on_cancelled(void *userdata)
{
    struct csi_call *call = userdata;

    assert(call->magic == CALL_MAGIC && call->grpc != NULL);
    call->grpc = NULL;
    call->plugin->handlers->cancelled(call->plugin->userdata, call);
}

static bool is_busy(const struct csi_plugin *plugin, const char *volume_id)
{
    const struct csi_call *call;

    list_for_each (call, &plugin->calls, link)
        if (streq(call->volume_id, volume_id))
            return true;
    return false;
}

/* Return: the call; NULL if @grpc was refused. */
static struct csi_call *call_new(struct csi_plugin *plugin, struct grpc_call *grpc,
                                 const char *volume_id)
{
    struct csi_call *call;

    assert(volume_id[0] != '\0');
    if (is_busy(plugin, volume_id)) {
        grpc_call_fail(grpc, GRPC_ABORTED,
                       "an earlier call for this volume is still in progress: try again");
        return NULL;
    }
    call = plugin->n_calls < CALLS_MAX ? calloc(1, sizeof(*call)) : NULL;
    if (call == NULL) {
        grpc_call_fail(grpc, GRPC_RESOURCE_EXHAUSTED, "too many calls are in progress: try again");
        return NULL;
    }
    call->magic = CALL_MAGIC;
    call->plugin = plugin;
    call->grpc = grpc;
    call->volume_id = volume_id;
    list_append(&plugin->calls, &call->link);
    plugin->n_calls++;
    grpc_call_set_on_cancel(grpc, on_cancelled, call);
    return call;
}

const char *csi_call_volume_id(const struct csi_call *call)
{
    return call->volume_id;
}

void csi_call_set_userdata(struct csi_call *call, void *userdata)
{
    call->userdata = userdata;
}

void *csi_call_userdata(const struct csi_call *call)
{
    return call->userdata;
}

void csi_call_reply(struct csi_call *call, enum grpc_code code, const char *message)
{
    assert(call->magic == CALL_MAGIC);
    /* a cancelled call has no client to answer */
    if (call->grpc != NULL && code == GRPC_OK)
        grpc_call_reply(call->grpc, NULL, 0); /* the responses of both methods are empty */
    else if (call->grpc != NULL)
        grpc_call_fail(call->grpc, code, message != NULL ? message : "");
    call_free(call);
}

static void node_publish(void *userdata, struct grpc_call *grpc, const uint8_t *message, size_t len)
{
    struct csi_plugin *plugin = userdata;
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_UNKNOWN;
    _cleanup_(publish_request_freep) struct publish_request *request =
        publish_request_new(message, len, plugin->options->driver_name, &code, &e);
    struct csi_call *call;

    if (request == NULL) {
        grpc_call_fail(grpc, code, e.text);
        return;
    }
    call = call_new(plugin, grpc, request->view.volume_id);
    if (call == NULL)
        return;
    call->publish = TAKE(request);
    plugin->handlers->publish(plugin->userdata, call, &call->publish->view);
}

static void node_unpublish(void *userdata, struct grpc_call *grpc, const uint8_t *message,
                           size_t len)
{
    struct csi_plugin *plugin = userdata;
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_UNKNOWN;
    Csi__UnpublishRequest *request = unpublish_request_new(message, len, &code, &e);
    struct csi_call *call;

    if (request == NULL) {
        grpc_call_fail(grpc, code, e.text);
        return;
    }
    call = call_new(plugin, grpc, message_text(&request->volume_id));
    if (call == NULL) {
        message_free(&request->base);
        return;
    }
    call->unpublish = request;
    plugin->handlers->unpublish(plugin->userdata, call, call->volume_id,
                                message_text(&request->target_path));
}

/* ---- information about the plug-in */

static void get_plugin_info(void *userdata, struct grpc_call *call, const uint8_t *message,
                            size_t len)
{
    const struct csi_plugin *plugin = userdata;
    Csi__PluginInfo info;

    csi__plugin_info__init(&info);
    info.name = (char *)(uintptr_t)plugin->options->driver_name;
    info.vendor_version = (char *)(uintptr_t)plugin->options->version;
    message_reply(call, &info.base);
}

/* None: there is no controller, and each node can have each volume. */
static void get_plugin_capabilities(void *userdata, struct grpc_call *call, const uint8_t *message,
                                    size_t len)
{
    grpc_call_reply(call, NULL, 0);
}

static void probe(void *userdata, struct grpc_call *call, const uint8_t *message, size_t len)
{
    const struct csi_plugin *plugin = userdata;
    Csi__Flag ready = CSI__FLAG__INIT;
    Csi__Probe answer = CSI__PROBE__INIT;

    ready.value = plugin->handlers->is_ready(plugin->userdata);
    answer.ready = &ready;
    message_reply(call, &answer.base);
}

/*
 * With VOLUME_MOUNT_GROUP the kubelet passes the pod's fsGroup and does not change the files itself
 * (S4, S8); with GET_VOLUME_STATS it asks for kubelet_volume_stats_* (S12).
 */
static void node_get_capabilities(void *userdata, struct grpc_call *call, const uint8_t *message,
                                  size_t len)
{
    const struct csi_plugin *plugin = userdata;
    Csi__NodeRpc group = CSI__NODE_RPC__INIT, stats = CSI__NODE_RPC__INIT;
    Csi__NodeCapability with_group = CSI__NODE_CAPABILITY__INIT,
                        with_stats = CSI__NODE_CAPABILITY__INIT;
    Csi__NodeCapability *all[] = {&with_group, &with_stats};
    Csi__NodeCapabilities answer = CSI__NODE_CAPABILITIES__INIT;

    group.type = RPC_VOLUME_MOUNT_GROUP;
    with_group.rpc = &group;
    stats.type = RPC_GET_VOLUME_STATS;
    with_stats.rpc = &stats;
    answer.capabilities = all;
    answer.n_capabilities = plugin->handlers->stats != NULL ? 2 : 1;
    message_reply(call, &answer.base);
}

/* A volume has no room beside its content. */
static void reply_stats(struct grpc_call *call, const struct csi_stats *stats)
{
    Csi__Usage bytes = CSI__USAGE__INIT, inodes = CSI__USAGE__INIT, *all[] = {&bytes, &inodes};
    Csi__Stats answer = CSI__STATS__INIT;

    bytes.unit = UNIT_BYTES;
    bytes.total = bytes.used = (int64_t)stats->bytes;
    inodes.unit = UNIT_INODES;
    inodes.total = inodes.used = (int64_t)stats->inodes;
    answer.usage = all;
    answer.n_usage = ELEMENTS_OF(all);
    message_reply(call, &answer.base);
}

static void node_get_volume_stats(void *userdata, struct grpc_call *call, const uint8_t *message,
                                  size_t len)
{
    const struct csi_plugin *plugin = userdata;
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_UNKNOWN;
    struct csi_stats stats;
    Csi__StatsRequest *request = (Csi__StatsRequest *)message_unpack(
        &csi__stats_request__descriptor, message, len, &code, &e);

    if (request == NULL) {
        grpc_call_fail(call, code, e.text);
        return;
    }
    if (plugin->handlers->stats == NULL)
        grpc_call_fail(call, GRPC_UNIMPLEMENTED, "statistics of volumes are not offered");
    else if (request->volume_id.len == 0 || request->volume_path.len == 0 ||
             !message_is_text(&request->volume_id) || !message_is_text(&request->volume_path))
        grpc_call_fail(call, GRPC_INVALID_ARGUMENT,
                       "volume_id or volume_path is missing or invalid");
    else if (!plugin->handlers->stats(plugin->userdata, message_text(&request->volume_id),
                                      message_text(&request->volume_path), &stats))
        grpc_call_fail(call, GRPC_NOT_FOUND, "no such volume is mounted on that path");
    else
        reply_stats(call, &stats);
    message_free(&request->base);
}

static void node_get_info(void *userdata, struct grpc_call *call, const uint8_t *message,
                          size_t len)
{
    const struct csi_plugin *plugin = userdata;
    Csi__NodeInfo info;

    csi__node_info__init(&info);
    info.node_id = (char *)(uintptr_t)plugin->options->node_id;
    message_reply(call, &info.base);
}

static const struct grpc_method methods[] = {
    {"/csi.v1.Node/NodePublishVolume", "NodePublishVolume", node_publish},
    {"/csi.v1.Node/NodeUnpublishVolume", "NodeUnpublishVolume", node_unpublish},
    {"/csi.v1.Node/NodeGetCapabilities", "NodeGetCapabilities", node_get_capabilities},
    {"/csi.v1.Node/NodeGetVolumeStats", "NodeGetVolumeStats", node_get_volume_stats},
    {"/csi.v1.Node/NodeGetInfo", "NodeGetInfo", node_get_info},
    {"/csi.v1.Identity/GetPluginInfo", "GetPluginInfo", get_plugin_info},
    {"/csi.v1.Identity/GetPluginCapabilities", "GetPluginCapabilities", get_plugin_capabilities},
    {"/csi.v1.Identity/Probe", "Probe", probe},
};

const char *csi_method_name(size_t i)
{
    return i < ELEMENTS_OF(methods) ? methods[i].name
                                    : registration_method_name(i - ELEMENTS_OF(methods));
}

/* ---- the plug-in */

static void on_registration(void *userdata, bool is_registered, const char *error)
{
    struct csi_plugin *plugin = userdata;

    plugin->handlers->registration(plugin->userdata, is_registered, error);
}

static void on_answered(void *userdata, const char *method, enum grpc_code code, span_us took)
{
    struct csi_plugin *plugin = userdata;

    if (plugin->handlers->answered != NULL)
        plugin->handlers->answered(plugin->userdata, method, code, took);
}

static int check_options(const struct csi_plugin_options *options, struct error *e)
{
    if (!object_name_is_valid(options->driver_name) ||
        strlen(options->driver_name) > DRIVER_NAME_MAX)
        return error_set(e, -EINVAL,
                         "invalid CSI driver name \"%.64s\": expected a DNS name of at most %u "
                         "characters, such as csi.secretfs.io",
                         options->driver_name, DRIVER_NAME_MAX);
    if (options->node_id[0] == '\0' || strlen(options->node_id) > NODE_ID_MAX)
        return error_set(e, -EINVAL,
                         "the node id is empty or longer than %u bytes: use the name that the node "
                         "has in the cluster",
                         NODE_ID_MAX);
    return 0;
}

static int create_server(struct csi_plugin *plugin, sd_event *event, struct error *e)
{
    const struct grpc_server_options options = {
        .path = plugin->options->endpoint,
        .keep = plugin->options->keep,
        .methods = methods,
        .n_methods = ELEMENTS_OF(methods),
        .limits = plugin->options->limits,
        .answered = on_answered,
    };

    return grpc_server_new(event, &options, plugin, &plugin->server, e);
}

static const char *endpoint_of_kubelet(const struct csi_plugin_options *o)
{
    return o->endpoint_of_kubelet != NULL ? o->endpoint_of_kubelet : o->endpoint;
}

/* FNV-1a, with the NUL of the text. */
static uint64_t mix_text(uint64_t sum, const char *text)
{
    size_t len = strlen(text) + 1;

    for (size_t i = 0; i < len; i++)
        sum = (sum ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
    return sum;
}

/* What a kubelet learns when it registers the plug-in: with anything else it has to do so again. */
static const struct kept_socket *tagged_keep(struct csi_plugin *plugin)
{
    const struct csi_plugin_options *o = plugin->options;
    uint64_t sum = UINT64_C(0xcbf29ce484222325);

    if (o->keep_registration == NULL)
        return NULL;
    sum = mix_text(mix_text(mix_text(sum, o->driver_name), endpoint_of_kubelet(o)), o->node_id);
    snprintf(plugin->tag, sizeof(plugin->tag), "%016" PRIx64, sum);
    plugin->keep_registration = *o->keep_registration;
    plugin->keep_registration.tag = plugin->tag;
    plugin->keep_registration.is_on_request = true;
    return &plugin->keep_registration;
}

static int create_registration(struct csi_plugin *plugin, sd_event *event, struct error *e)
{
    const struct registration_options options = {
        .path = plugin->options->registration_path,
        .driver_name = plugin->options->driver_name,
        .endpoint = endpoint_of_kubelet(plugin->options),
        .keep = tagged_keep(plugin),
        .limits = plugin->options->limits,
        .status_changed = on_registration,
        .answered = on_answered,
    };

    if (plugin->options->registration_path == NULL)
        return 0;
    return registration_new(event, &options, plugin, &plugin->registration, e);
}

int csi_plugin_new(sd_event *event, const struct csi_plugin_options *options,
                   const struct csi_handlers *handlers, void *userdata,
                   struct csi_plugin **ret_plugin, struct error *e)
{
    _cleanup_(csi_plugin_freep) struct csi_plugin *plugin = NULL;
    int r = check_options(options, e);

    if (r < 0)
        return r;
    plugin = calloc(1, sizeof(*plugin));
    if (plugin == NULL)
        return error_set_errno(e, -ENOMEM, "cannot create the CSI plug-in");
    plugin->options = options;
    plugin->handlers = handlers;
    plugin->userdata = userdata;
    list_init(&plugin->calls);
    r = create_server(plugin, event, e);
    if (r == 0)
        r = create_registration(plugin, event, e);
    if (r == 0)
        *ret_plugin = TAKE(plugin);
    return r;
}

bool csi_plugin_is_registered(const struct csi_plugin *plugin)
{
    return plugin->registration != NULL && registration_is_accepted(plugin->registration);
}

struct csi_plugin *csi_plugin_free(struct csi_plugin *plugin)
{
    struct csi_call *call, *tmp;

    if (plugin == NULL)
        return NULL;
    registration_free(plugin->registration);
    grpc_server_free(plugin->server);
    /* cancelled, and not answered by the program */
    list_for_each_safe (call, tmp, &plugin->calls, link) {
        assert(call->grpc == NULL);
        call_free(call);
    }
    assert(plugin->n_calls == 0);
    free(plugin);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kubelet is answered, and what follows from it:
 *
 *   OK                   the content is mounted at the target
 *   INVALID_ARGUMENT     what the pod says makes no sense           final: the volume is forgotten,
 *   NOT_FOUND            an object or a key is not there            and nothing is left anywhere
 *   PERMISSION_DENIED    whoever asks may not have it               (T2)
 *   UNAVAILABLE          not yet: the volume lives on, and the kubelet comes again or unpublishes
 *                        it (T1)
 *
 * A volume that is published already never gets a final answer, whatever happens, as kubelets take
 * it away from under the running pod (U3).
 *
 * The kubelet says the same again whenever it likes (S13): after its own restart, when it is
 * uncertain, and with requiresRepublish all the time. Then nothing is looked at but whether the
 * mount is still there, and the service account's token, which is a new one now and then.
 */
#include "node/csi_service.h"

#include <stdio.h>

#include "node/monitor.h"
#include "version.h"

/* What it finds wastes memory and a watch, no more; it looks at each target. */
#define CHECK_EVERY SPAN_SEC(300)
#define CHECK_SLACK SPAN_SEC(10)

struct csi_service {
    struct node *node;
    struct csi_plugin *plugin;
    struct csi_plugin_options options;
    struct target_area area;
    bool is_registered;
    sd_event_source *check_timer;
    struct error registration_error;
};

bool csi_service_is_registered(const struct csi_service *csi)
{
    return csi->is_registered;
}

const char *csi_service_registration_error(const struct csi_service *csi)
{
    return csi->registration_error.text;
}

/* ---- answers */

static enum grpc_code code_of(enum node_volume_outcome outcome, bool was_shown)
{
    static const enum grpc_code codes[] = {
        [NODE_VOLUME_SHOWN] = GRPC_OK,
        [NODE_VOLUME_STILL_SHOWN] = GRPC_OK,
        [NODE_VOLUME_MISSING] = GRPC_NOT_FOUND,
        [NODE_VOLUME_FORBIDDEN] = GRPC_PERMISSION_DENIED,
        [NODE_VOLUME_UNAVAILABLE] = GRPC_UNAVAILABLE,
        [NODE_VOLUME_BAD_TARGET] = GRPC_INVALID_ARGUMENT,
    };

    return was_shown && codes[outcome] != GRPC_OK ? GRPC_UNAVAILABLE : codes[outcome];
}

/* For what is wrong before there is a volume. */
static enum grpc_code code_of_errno(int r)
{
    switch (r) {
    case -EINVAL:
    case -E2BIG:
        return GRPC_INVALID_ARGUMENT;
    case -EACCES:
        return GRPC_PERMISSION_DENIED;
    default:
        return GRPC_UNAVAILABLE;
    }
}

static void reply(struct csi_call *call, enum grpc_code code, const char *text)
{
    csi_call_reply(call, code, code == GRPC_OK ? NULL : text);
}

/* What the administrator can do about it is not what the API server's answer says. */
static void add_hint(const struct csi_service *csi, struct error *e)
{
    size_t len = strlen(e->text);

    if (csi->node->options->rights == NODE_RIGHTS_NODE)
        snprintf(e->text + len, sizeof(e->text) - len,
                 "; with the kubelet's rights the pod has to name a secret in "
                 "nodePublishSecretRef as well");
}

static void log_outcome(const struct node_volume *v, enum node_volume_outcome outcome,
                        enum grpc_code code, const struct error *e)
{
    if (outcome == NODE_VOLUME_SHOWN)
        log_info("published to a pod", "pod", v->pod, "target", v->target);
    else if (code != GRPC_OK)
        log_warn("cannot publish to a pod", "pod", v->pod, "code", grpc_code_name(code), "reason",
                 e->text);
}

static void on_settled(void *userdata, struct node_volume *volume, enum node_volume_outcome outcome,
                       const struct error *e)
{
    struct csi_service *csi = userdata;
    struct csi_call *call = TAKE(volume->owner);
    enum grpc_code code = code_of(outcome, volume->was_shown);
    struct error reason = *e;

    if (outcome == NODE_VOLUME_FORBIDDEN)
        add_hint(csi, &reason);
    log_outcome(volume, outcome, code, &reason);
    /* it is forgotten before the answer, so that the next request finds nothing of it */
    if (code != GRPC_OK && code != GRPC_UNAVAILABLE)
        node_volumes_drop(csi->node->volumes, volume);
    node_tell_status(csi->node);
    if (call != NULL)
        reply(call, code, reason.text);
}

static void on_abandoned(void *userdata, struct node_volume *volume)
{
    const struct csi_service *csi = userdata;

    log_info("nobody asks for a volume any more; giving it up", "pod", volume->pod);
    node_volumes_drop(csi->node->volumes, volume);
}

/* ---- from a request to a volume */

static int parse_spec(const struct csi_publish *request, struct volume_spec **ret_spec,
                      struct error *e)
{
    int r = volume_attributes_parse(request->attributes, request->n_attributes, ret_spec, e);

    if (r == 0 && request->mount_group != CSI_GROUP_UNSET)
        (*ret_spec)->fs_group = request->mount_group;
    return r;
}

static int make_volume(struct csi_service *csi, const struct csi_publish *request,
                       struct node_volume **ret_volume, struct error *e)
{
    static const struct node_volume_callbacks callbacks = {.settled = on_settled,
                                                           .abandoned = on_abandoned};
    const struct identity_request identity_request = {.namespace = request->pod_namespace,
                                                      .service_account = request->service_account,
                                                      .tokens = request->service_account_tokens};
    struct node_volume_options options = {.id = request->volume_id,
                                          .target = request->target_path,
                                          .area = csi->area,
                                          .namespace = request->pod_namespace,
                                          .pod_uid = request->pod_uid};
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    _cleanup_(freep) char *pod = NULL;
    int r = target_check(&csi->area, request->target_path, e);

    if (r == 0 && node_volumes_find(csi->node->volumes, request->volume_id) != NULL)
        r = error_set(e, -EINVAL, "the volume id belongs to a static volume");
    if (r == 0)
        r = parse_spec(request, &spec, e);
    if (r == 0)
        r = identities_get(csi->node->identities, &identity_request, &options.identity, e);
    if (r != 0)
        return r;
    if (asprintf(&pod, "%s/%s", request->pod_namespace, request->pod_name) < 0)
        pod = NULL; /* it is for the log */
    options.pod = pod;
    options.fs = spec->updates == VOLUME_UPDATES_IN_PLACE ? NODE_FS_LIVE : NODE_FS_UNDECIDED;
    options.spec = TAKE(spec);
    return node_volume_new(&csi->node->host, &options, &callbacks, csi, ret_volume, e);
}

/* ---- the file system */

static void decide(struct node_volume *v, enum node_pods_answer answer)
{
    node_volume_decide(v, answer == NODE_PODS_SUB_PATH ? NODE_FS_LIVE : NODE_FS_STANDARD);
}

static void on_pod(void *userdata, enum node_pods_answer answer)
{
    struct node_volume *v = userdata;

    v->pod_query = NULL;
    decide(v, answer);
}

/* Beside the fetching of the volume's objects. */
static void ask_pod(struct csi_service *csi, const struct csi_publish *request,
                    struct node_volume *v)
{
    char name[NODE_PODS_VOLUME_NAME_SIZE];
    const struct node_pods_volume volume = {.namespace = request->pod_namespace,
                                            .pod = request->pod_name,
                                            .pod_uid = request->pod_uid,
                                            .volume = name};
    enum node_pods_answer answer = NODE_PODS_UNKNOWN;

    if (v->fs != NODE_FS_UNDECIDED)
        return;
    if (node_pods_volume_name(request->target_path, name))
        answer = node_pods_ask(csi->node->pods, &volume, on_pod, v, &v->pod_query);
    if (answer != NODE_PODS_LATER)
        decide(v, answer);
}

static int add_volume(struct csi_service *csi, const struct csi_publish *request,
                      struct node_volume **ret_volume, struct error *e)
{
    int r = make_volume(csi, request, ret_volume, e);

    if (r == 0)
        r = node_volumes_add(csi->node->volumes, *ret_volume);
    if (r == 0)
        ask_pod(csi, request, *ret_volume);
    else if (e->text[0] == '\0')
        error_set_errno(e, r, "cannot set the volume up");
    if (r < 0)
        log_warn("cannot publish to a pod", "namespace", request->pod_namespace, "pod",
                 request->pod_name, "reason", e->text);
    return r;
}

/* ---- requests */

/* Only a volume of ours; a file's could have any name. */
static struct node_volume *find_volume(const struct csi_service *csi, const char *volume_id)
{
    struct node_volume *v = node_volumes_find(csi->node->volumes, volume_id);

    return v != NULL && v->userdata == csi ? v : NULL;
}

static void on_publish(void *userdata, struct csi_call *call, const struct csi_publish *request)
{
    struct csi_service *csi = userdata;
    struct error e = ERROR_INIT;
    struct node_volume *v;
    int r = 0;

    node_volumes_sweep(csi->node->volumes);
    v = find_volume(csi, request->volume_id);
    if (v != NULL && (!streq(v->target, request->target_path) || v->is_wanted)) {
        reply(call, GRPC_UNAVAILABLE, "the volume is in use with another target");
        return;
    }
    if (v == NULL)
        r = add_volume(csi, request, &v, &e);
    else if (identity_renew(v->identity, request->service_account_tokens, &e) < 0)
        log_debug("no new token", "pod", v->pod, "reason", e.text);
    if (r < 0) {
        reply(call, code_of_errno(r), e.text);
        return;
    }
    v->owner = call;
    csi_call_set_userdata(call, v);
    node_volume_want(v, false);
}

/* The mount goes first, then the target, and then what was mounted (S10, S11). */
static int take_down(struct csi_service *csi, const char *volume_id, const char *target_path,
                     struct error *e)
{
    struct node_volume *v = find_volume(csi, volume_id);
    int r = v != NULL ? node_volume_hide(v, e) : 0;

    if (r == 0)
        r = target_detach(&csi->area, target_path, e);
    if (r == 0)
        r = target_remove(&csi->area, target_path, e);
    if (r == 0 && v != NULL) {
        log_info("unpublished", "pod", v->pod, "target", v->target);
        node_volumes_remove(csi->node->volumes, v);
    }
    return r;
}

static void on_unpublish(void *userdata, struct csi_call *call, const char *volume_id,
                         const char *target_path)
{
    struct csi_service *csi = userdata;
    struct error e = ERROR_INIT;
    int r;

    node_volumes_sweep(csi->node->volumes);
    r = take_down(csi, volume_id, target_path, &e);
    if (r < 0)
        log_warn("cannot unpublish", "target", target_path, "reason", e.text);
    node_tell_status(csi->node);
    reply(call, r == 0 ? GRPC_OK : r == -EINVAL ? GRPC_INVALID_ARGUMENT : GRPC_INTERNAL, e.text);
}

static void on_cancelled(void *userdata, struct csi_call *call)
{
    struct node_volume *v = csi_call_userdata(call);

    if (node_volume_forgo(v))
        return; /* answered when that is undone */
    v->owner = NULL;
    csi_call_reply(call, GRPC_CANCELLED, "nobody waits for the answer any more");
}

static bool on_is_ready(void *userdata)
{
    const struct csi_service *csi = userdata;

    return node_is_serving(csi->node);
}

static void on_registration(void *userdata, bool is_registered, const char *error)
{
    struct csi_service *csi = userdata;

    csi->is_registered = is_registered;
    error_set(&csi->registration_error, 0, "%s", is_registered ? "" : error);
    if (is_registered)
        log_info("registered with the kubelet", "driver", csi->node->options->driver_name);
    else
        log_warn("the kubelet refuses the driver", "driver", csi->node->options->driver_name,
                 "reason", error);
    node_tell_status(csi->node);
}

static void on_answered(void *userdata, const char *method, enum grpc_code code, span_us took)
{
    const struct csi_service *csi = userdata;

    node_monitor_answered(csi->node->seeing, method, grpc_code_name(code), took);
}

/* ---- pods that are gone without a word */

/*
 * Should a kubelet forget a volume, there comes no unpublish (T2). When the pod's directory is gone
 * as well, nobody can want it any more.
 */
static bool drop_if_gone(void *userdata, const struct node_volume *volume)
{
    const struct csi_service *csi = userdata;

    if (volume->userdata != csi || !target_is_gone(&volume->area, volume->target))
        return true;
    log_warn("a pod's directory is gone, and with it its volume", "pod", volume->pod, "target",
             volume->target);
    node_volumes_drop(csi->node->volumes, node_volumes_find(csi->node->volumes, volume->id));
    return true;
}

void csi_service_check(struct csi_service *csi)
{
    node_volumes_visit(csi->node->volumes, drop_if_gone, csi);
}

static int on_check(sd_event_source *source, uint64_t usec, void *userdata)
{
    csi_service_check(userdata);
    sd_event_source_set_time(source, clock_mono() + CHECK_EVERY);
    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

/* ---- all of it */

int csi_service_new(struct node *node, struct csi_service **ret_csi, struct error *e)
{
    static const struct csi_handlers handlers = {
        .publish = on_publish,
        .unpublish = on_unpublish,
        .cancelled = on_cancelled,
        .is_ready = on_is_ready,
        .registration = on_registration,
        .answered = on_answered,
    };
    _cleanup_(csi_service_freep) struct csi_service *csi = calloc(1, sizeof(*csi));
    int r;

    if (csi == NULL)
        return error_set_errno(e, -ENOMEM, "cannot listen to the kubelet");
    csi->node = node;
    csi->area.root = node->target_root;
    csi->options = (struct csi_plugin_options){
        .endpoint = node->options->endpoint,
        .registration_path = node->options->registration_path,
        .driver_name = node->options->driver_name,
        .version = SECRETFS_VERSION,
        .node_id = node->options->node_id,
    };
    r = sd_event_add_time_relative(node->event, &csi->check_timer, CLOCK_MONOTONIC, CHECK_EVERY,
                                   CHECK_SLACK, on_check, csi);
    if (r < 0)
        return error_set_errno(e, r, "cannot set a timer");
    r = csi_plugin_new(node->event, &csi->options, &handlers, csi, &csi->plugin, e);
    if (r < 0)
        return r;
    *ret_csi = TAKE(csi);
    return 0;
}

static bool forget_call(void *userdata, const struct node_volume *volume)
{
    const struct csi_service *csi = userdata;
    struct node_volume *v = node_volumes_find(csi->node->volumes, volume->id);

    if (v->userdata == csi)
        v->owner = NULL;
    return true;
}

struct csi_service *csi_service_free(struct csi_service *csi)
{
    if (csi == NULL)
        return NULL;
    sd_event_source_disable_unref(csi->check_timer);
    csi_plugin_free(csi->plugin);
    /* what was being bound could not be answered any more */
    node_volumes_visit(csi->node->volumes, forget_call, csi);
    free(csi);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answers to NodePublishVolume:
 *
 *   OK                   the content is mounted on the target
 *   INVALID_ARGUMENT     invalid attributes or target               final: the volume is removed,
 *   NOT_FOUND            an object or key is missing                nothing of it is left (T2)
 *   PERMISSION_DENIED    the identity may not read an object
 *   UNAVAILABLE          not yet: the volume stays, and the kubelet retries or unpublishes it (T1)
 *
 * A volume that was mounted before gets no final answer, because a kubelet would then remove it
 * from the running pod (U3).
 *
 * The kubelet may repeat a call at any time (S13): after its restart, when it is uncertain, and
 * periodically with requiresRepublish. Such a call only checks that the mount is still the topmost
 * one at the target, which asks no file system, and takes over the newest service account token.
 *
 * The spec of a volume may need its pod (publish_spec.c). Until it is known there is no volume, and
 * the call is pending; the plug-in answers other calls for the same volume with ABORTED.
 *
 * Unpublish detaches all mounts of the target, removes its directory, and then the volume. What is
 * gone already is no error (S10, S11). vol_data.json beside the target is the kubelet's (S7).
 */
#include "node/csi_service.h"

#include <stdio.h>

#include "node/publish_spec.h"
#include "node/volume_record.h"
#include "version.h"

/* An orphan costs memory and a watch, and the check a few system calls for each volume. */
#define ORPHANS_PERIOD SPAN_SEC(300)
#define ORPHANS_SLACK  SPAN_SEC(10)

struct csi_service {
    struct csi_service_context context;
    struct publish_spec_context spec_context;
    struct csi_plugin *plugin;
    struct csi_plugin_options plugin_options;
    struct kept_socket keep, keep_registration;
    struct target_area area;
    bool is_registered;
    struct error registration_error;
    sd_event_source *orphans_timer;
    struct list pending; /* of struct csi_pending */
};

/* A publish request whose volume does not exist yet, as it waits for its pod. */
struct csi_pending {
    struct list link;
    struct csi_service *csi;
    struct csi_call *call;
    const struct csi_publish *request; /* the call's */
    struct publish_spec *query;
};

/* A volume of a pod. */
struct csi_volume {
    struct node_volume volume;
    struct csi_service *csi;
    struct csi_call *call; /* waits for the mount; NULL: none */
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

static enum grpc_code code_of_result(enum node_mount_result result, bool was_mounted)
{
    static const enum grpc_code codes[] = {
        [NODE_MOUNT_DONE] = GRPC_OK,
        [NODE_MOUNT_UNCHANGED] = GRPC_OK,
        [NODE_MOUNT_MISSING] = GRPC_NOT_FOUND,
        [NODE_MOUNT_FORBIDDEN] = GRPC_PERMISSION_DENIED,
        [NODE_MOUNT_UNAVAILABLE] = GRPC_UNAVAILABLE,
        [NODE_MOUNT_INVALID_TARGET] = GRPC_INVALID_ARGUMENT,
    };

    return was_mounted && codes[result] != GRPC_OK ? GRPC_UNAVAILABLE : codes[result];
}

/* For a failure to create the volume. */
static enum grpc_code code_of_errno(int r)
{
    switch (r) {
    case -EINVAL:
    case -E2BIG:
        return GRPC_INVALID_ARGUMENT;
    case -EACCES:
        return GRPC_PERMISSION_DENIED;
    case -EOPNOTSUPP:
        return GRPC_FAILED_PRECONDITION;
    default:
        return GRPC_UNAVAILABLE;
    }
}

static void reply(struct csi_call *call, enum grpc_code code, const char *text)
{
    csi_call_reply(call, code, code == GRPC_OK ? NULL : text);
}

/* The API server's message does not name this remedy. */
static void add_hint(const struct csi_service *csi, struct error *e)
{
    size_t len = strlen(e->text);

    if (csi->context.options->rights == NODE_RIGHTS_NODE)
        snprintf(e->text + len, sizeof(e->text) - len,
                 "; with the kubelet's rights the pod has to name a secret in "
                 "nodePublishSecretRef as well");
}

static void log_result(const struct node_volume *v, enum node_mount_result result,
                       enum grpc_code code, const struct error *e)
{
    if (result == NODE_MOUNT_DONE)
        log_info("published to a pod", PUBLISHED_LOG_POD(&v->published), "target", v->target);
    else if (code != GRPC_OK)
        log_warn("cannot publish to a pod", PUBLISHED_LOG_POD(&v->published), "code",
                 grpc_code_name(code), "reason", e->text);
}

static void notify_changed(const struct csi_service *csi)
{
    csi->context.changed(csi->context.userdata);
}

static void on_mount_done(struct node_volume *volume, enum node_mount_result result,
                          const struct error *e)
{
    struct csi_volume *v = CONTAINER_OF(volume, struct csi_volume, volume);
    struct csi_call *call = TAKE(v->call);
    enum grpc_code code = code_of_result(result, volume->was_mounted);
    struct error reason = *e;

    assert(code != GRPC_OK || volume->state == NODE_VOLUME_MOUNTED); /* T2 */
    if (result == NODE_MOUNT_FORBIDDEN)
        add_hint(v->csi, &reason);
    log_result(volume, result, code, &reason);
    /* removed before the answer, so that the next request does not find it */
    if (code != GRPC_OK && code != GRPC_UNAVAILABLE)
        node_volumes_drop(v->csi->context.volumes, volume);
    notify_changed(v->csi);
    if (call != NULL)
        reply(call, code, reason.text);
}

static void on_expired(struct node_volume *volume)
{
    const struct csi_volume *v = CONTAINER_OF(volume, struct csi_volume, volume);

    log_info("no publish request for a long time, removing the volume",
             PUBLISHED_LOG_POD(&volume->published));
    node_volumes_drop(v->csi->context.volumes, volume);
}

/* A call may still wait for a volume that is removed because its pod is gone: it is answered. */
static void csi_volume_free(struct node_volume *volume)
{
    struct csi_volume *v = CONTAINER_OF(volume, struct csi_volume, volume);
    struct csi_call *call = TAKE(v->call);

    node_volume_deinit(volume);
    free(v);
    if (call != NULL)
        reply(call, GRPC_UNAVAILABLE, "the volume was removed: the directory of its pod is gone");
}

static const struct node_volume_ops volume_ops = {
    .mount_done = on_mount_done, .expired = on_expired, .free = csi_volume_free};

/* Return: NULL for a static volume, and for NULL. */
static struct csi_volume *csi_volume_of(struct node_volume *volume)
{
    if (volume == NULL || volume->ops != &volume_ops)
        return NULL;
    return CONTAINER_OF(volume, struct csi_volume, volume);
}

/* ---- from a request to a volume */

/* @options: spec and identity are consumed */
static int add_volume(struct csi_service *csi, const struct node_volume_options *options,
                      struct csi_volume **ret_volume, struct error *e)
{
    struct csi_volume *v = calloc(1, sizeof(*v));
    int r;

    if (v == NULL) {
        volume_spec_free(options->spec);
        identity_unref(options->identity);
        return error_set_errno(e, -ENOMEM, "cannot set up the volume");
    }
    v->csi = csi;
    r = node_volume_init(&v->volume, csi->context.volume_context, options, &volume_ops, e);
    if (r < 0) {
        node_volume_leave(&v->volume); /* of an earlier process, for a later try */
        csi_volume_free(&v->volume);
        return r;
    }
    r = node_volumes_add(csi->context.volumes, &v->volume);
    if (r < 0)
        return error_set_errno(e, r, "cannot set up the volume");
    node_volume_ask_pod(&v->volume, csi->context.pods); /* while the objects are fetched */
    *ret_volume = v;
    return 0;
}

static int create_volume(struct csi_service *csi, const struct csi_publish *request,
                         struct volume_spec *spec_consumed, struct csi_volume **ret_volume,
                         struct error *e)
{
    const struct identity_request identity = {.namespace = request->pod_namespace,
                                              .service_account = request->service_account,
                                              .tokens = request->service_account_tokens};
    struct node_volume_options options = {.id = request->volume_id,
                                          .target = request->target_path,
                                          .area = csi->area,
                                          .namespace = request->pod_namespace,
                                          .pod = request->pod_name,
                                          .pod_uid = request->pod_uid,
                                          .service_account = request->service_account,
                                          .pod_decides_fs = true,
                                          .spec = spec_consumed};
    const struct volume_pod pod = {.name = request->pod_name,
                                   .uid = request->pod_uid,
                                   .service_account = request->service_account};
    int r = 0;

    assert(spec_consumed != NULL);
    if (node_volumes_find(csi->context.volumes, request->volume_id) != NULL)
        r = error_set(e, -EINVAL, "the volume id belongs to a static volume");
    if (r == 0)
        r = commands_check_name(csi->context.volume_context->commands, spec_consumed->check_command,
                                e);
    if (r == 0 && volume_spec_bind_pod(spec_consumed, &pod) < 0)
        r = error_set_errno(e, -ENOMEM, "cannot set up the volume");
    if (r == 0)
        r = identities_get(csi->context.identities, &identity, &options.identity, e);
    if (r == 0)
        return add_volume(csi, &options, ret_volume, e);
    volume_spec_free(spec_consumed);
    return r;
}

/* ---- requests */

static struct csi_volume *find_volume(const struct csi_service *csi, const char *volume_id)
{
    return csi_volume_of(node_volumes_find(csi->context.volumes, volume_id));
}

static void refuse(struct csi_call *call, const struct csi_publish *request, int r,
                   const struct error *e)
{
    log_warn("cannot publish to a pod", "namespace", request->pod_namespace, "pod",
             request->pod_name, "reason", e->text);
    reply(call, code_of_errno(r), e->text);
}

static void request_mount(struct csi_volume *v, struct csi_call *call)
{
    assert(v->call == NULL);
    v->call = call;
    csi_call_set_userdata(call, v);
    node_volume_request_mount(&v->volume, false);
}

/* @spec_consumed: if @r is 0 */
static void publish_spec_done(struct csi_service *csi, struct csi_call *call,
                              const struct csi_publish *request, int r,
                              struct volume_spec *spec_consumed, struct error *e)
{
    struct csi_volume *v = NULL;

    if (r == 0)
        r = create_volume(csi, request, spec_consumed, &v, e);
    if (r < 0) {
        refuse(call, request, r, e);
        return;
    }
    assert(v != NULL);
    request_mount(v, call);
}

static struct csi_pending *pending_free(struct csi_pending *pending)
{
    if (pending == NULL)
        return NULL;
    list_remove(&pending->link);
    publish_spec_free(pending->query);
    free(pending);
    return NULL;
}
DEFINE_CLEANUP(struct csi_pending *, pending_free)

static void on_spec(void *userdata, int r, struct volume_spec *spec_consumed, const struct error *e)
{
    struct csi_pending *pending = userdata;
    struct csi_service *csi = pending->csi;
    struct csi_call *call = pending->call;
    const struct csi_publish *request = pending->request;
    struct error reason = *e;

    pending->query = NULL; /* it was freed */
    pending_free(pending);
    publish_spec_done(csi, call, request, r, spec_consumed, &reason);
}

/* Return: PUBLISH_SPEC_LATER, and the call is pending; else as publish_spec_get(). */
static int get_spec(struct csi_service *csi, struct csi_call *call,
                    const struct csi_publish *request, struct volume_spec **ret_spec,
                    struct error *e)
{
    _cleanup_(pending_freep) struct csi_pending *pending = calloc(1, sizeof(*pending));
    int r;

    if (pending == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the request");
    pending->csi = csi;
    pending->call = call;
    pending->request = request;
    list_append(&csi->pending, &pending->link);
    r = publish_spec_get(&csi->spec_context, request, on_spec, pending, ret_spec, &pending->query,
                         e);
    if (r == PUBLISH_SPEC_LATER)
        (void)TAKE(pending);
    return r;
}

static void publish_new(struct csi_service *csi, struct csi_call *call,
                        const struct csi_publish *request)
{
    struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;
    int r = target_check(&csi->area, request->target_path, &e);

    if (r == 0)
        r = get_spec(csi, call, request, &spec, &e);
    if (r != PUBLISH_SPEC_LATER)
        publish_spec_done(csi, call, request, r, spec, &e);
}

static void publish_again(struct csi_volume *v, struct csi_call *call,
                          const struct csi_publish *request)
{
    struct error e = ERROR_INIT;

    if (!streq(v->volume.target, request->target_path) || v->volume.is_requested) {
        reply(call, GRPC_UNAVAILABLE, "the volume is in use with another target");
        return;
    }
    if (identity_renew(v->volume.identity, request->service_account_tokens, &e) < 0)
        log_debug("cannot renew the token", PUBLISHED_LOG_POD(&v->volume.published), "reason",
                  e.text);
    request_mount(v, call);
}

static void on_publish(void *userdata, struct csi_call *call, const struct csi_publish *request)
{
    struct csi_service *csi = userdata;
    struct csi_volume *v;

    node_volumes_sweep(csi->context.volumes);
    v = find_volume(csi, request->volume_id);
    if (v != NULL)
        publish_again(v, call, request);
    else
        publish_new(csi, call, request);
}

/* Unmount before the target is removed, and both before the volume (S10, S11). */
static int unpublish(struct csi_service *csi, const char *volume_id, const char *target_path,
                     struct error *e)
{
    struct csi_volume *v = find_volume(csi, volume_id);
    int r = v != NULL ? node_volume_unmount(&v->volume, e) : 0;

    if (r == 0)
        r = target_detach(&csi->area, target_path, e);
    if (r == 0)
        r = target_remove(&csi->area, target_path, e);
    if (r == 0 && v != NULL) {
        log_info("unpublished", PUBLISHED_LOG_POD(&v->volume.published), "target",
                 v->volume.target);
        node_volumes_remove(csi->context.volumes, &v->volume);
    }
    return r;
}

static void on_unpublish(void *userdata, struct csi_call *call, const char *volume_id,
                         const char *target_path)
{
    struct csi_service *csi = userdata;
    struct error e = ERROR_INIT;
    int r;

    node_volumes_sweep(csi->context.volumes);
    r = unpublish(csi, volume_id, target_path, &e);
    if (r < 0)
        log_warn("cannot unpublish", "target", target_path, "reason", e.text);
    notify_changed(csi);
    reply(call, r == 0 ? GRPC_OK : r == -EINVAL ? GRPC_INVALID_ARGUMENT : GRPC_INTERNAL, e.text);
}

static struct csi_pending *find_pending(const struct csi_service *csi, const struct csi_call *call)
{
    struct csi_pending *pending;

    list_for_each (pending, &csi->pending, link)
        if (pending->call == call)
            return pending;
    return NULL;
}

static void on_cancelled(void *userdata, struct csi_call *call)
{
    struct csi_volume *v = csi_call_userdata(call);

    if (v == NULL) {
        pending_free(find_pending(userdata, call));
        csi_call_reply(call, GRPC_CANCELLED, "the call was cancelled");
        return;
    }
    assert(v->call == call);
    if (node_volume_cancel_request(&v->volume))
        return; /* on_mount_done() replies */
    v->call = NULL;
    csi_call_reply(call, GRPC_CANCELLED, "the call was cancelled");
}

static bool on_stats(void *userdata, const char *volume_id, const char *path,
                     struct csi_stats *ret_stats)
{
    const struct csi_service *csi = userdata;
    const struct csi_volume *v = find_volume(csi, volume_id);

    if (v == NULL || v->volume.state != NODE_VOLUME_MOUNTED || !streq(v->volume.target, path))
        return false;
    published_usage(&v->volume.published, &ret_stats->bytes, &ret_stats->inodes);
    return true;
}

static bool on_is_ready(void *userdata)
{
    const struct csi_service *csi = userdata;

    return node_file_systems_are_serving(csi->context.volume_context->file_systems);
}

static void on_registration(void *userdata, bool is_registered, const char *error)
{
    struct csi_service *csi = userdata;

    csi->is_registered = is_registered;
    error_set(&csi->registration_error, 0, "%s", is_registered ? "" : error);
    if (is_registered)
        log_info("registered with the kubelet", "driver", csi->context.options->driver_name);
    else
        log_warn("the kubelet refuses the driver", "driver", csi->context.options->driver_name,
                 "reason", error);
    notify_changed(csi);
}

static void on_answered(void *userdata, const char *method, enum grpc_code code, span_us took)
{
    const struct csi_service *csi = userdata;

    node_metrics_count_call(csi->context.metrics, method, grpc_code_name(code), took);
}

/* ---- volumes of an earlier process */

struct take_over {
    struct csi_service *csi;
    struct error *e;
    int result;
    size_t n;
};

static int get_identity(const struct csi_service *csi, const struct volume_record *record,
                        struct identity **ret_identity, struct error *e)
{
    const struct identity_request request = {
        .namespace = record->namespace,
        .service_account = record->service_account != NULL ? record->service_account : ""};

    return identities_get_waiting(csi->context.identities, &request, ret_identity, e);
}

/* @document: its spec is taken */
static int adopt_volume(struct csi_service *csi, const char *id,
                        struct volume_record_document *document, const struct node_shown *shown,
                        struct error *e)
{
    struct node_volume_options options = {.id = id,
                                          .target = document->record.target,
                                          .area = csi->area,
                                          .namespace = document->record.namespace,
                                          .pod = document->record.pod,
                                          .pod_uid = document->record.pod_uid,
                                          .service_account = document->record.service_account,
                                          .shown = shown};
    struct csi_volume *v = NULL;
    int r = get_identity(csi, &document->record, &options.identity, e);

    if (r < 0)
        return r;
    options.spec = TAKE(document->spec);
    return add_volume(csi, &options, &v, e);
}

/* Return: 0; 1: a static volume; -ESTALE: the target does not show it; other -errno; with @e. */
static int take_over(struct csi_service *csi, const char *id, const char *text, struct error *e)
{
    struct node_file_systems *file_systems = csi->context.volume_context->file_systems;
    _cleanup_(volume_record_deinit) struct volume_record_document document = {.json = NULL};
    _cleanup_(node_shown_deinit) struct node_shown shown = {.payload = NULL};
    int r = volume_record_parse(text, &document, e);

    if (r == 0 && document.record.pod == NULL)
        return 1;
    if (r == 0)
        r = node_shown_find(file_systems, &csi->area, id, document.record.target, &shown, e);
    shown.orders = TAKE(document.orders);
    shown.notified = document.record.notified;
    return r == 0 ? adopt_volume(csi, id, &document, &shown, e) : r;
}

/* What no later try could change. */
static bool is_worthless(int r)
{
    return r == -EINVAL || r == -E2BIG || r == -ESTALE;
}

static bool on_record(void *userdata, const char *key, const char *text)
{
    struct take_over *t = userdata;
    struct error e = ERROR_INIT;
    char id[NOTE_KEY_MAX + 1]; /* a volume that is taken over may replace its record */
    int r;

    snprintf(id, sizeof(id), "%s", key);
    r = take_over(t->csi, id, text, &e);
    if (r == 0)
        t->n++;
    if (r == -ESTALE)
        log_info("a volume of an earlier process is gone", "id", id, "reason", e.text);
    else if (r < 0)
        log_error("cannot take over a volume", "id", id, "error", e.text);
    if (is_worthless(r))
        node_file_systems_drop_record(t->csi->context.volume_context->file_systems, id);
    else if (r < 0) {
        t->result = r;
        *t->e = e;
    }
    return t->result == 0;
}

int csi_service_take_over(struct csi_service *csi, struct error *e)
{
    struct take_over t = {.csi = csi, .e = e};

    node_file_systems_visit_records(csi->context.volume_context->file_systems, on_record, &t);
    if (t.result == 0 && t.n > 0)
        log_info("took over volumes", "volumes", LOG_NUM(t.n));
    return t.result;
}

/* ---- orphans */

/*
 * A kubelet that loses its state may never unpublish a volume (T2). When the directory of the pod
 * is gone, it will not.
 */
static bool drop_if_orphan(void *userdata, struct node_volume *volume)
{
    const struct csi_service *csi = userdata;

    if (csi_volume_of(volume) == NULL || !target_is_gone(&volume->area, volume->target))
        return true;
    log_warn("directory of a pod is gone, removing its volume",
             PUBLISHED_LOG_POD(&volume->published), "target", volume->target);
    node_volumes_drop(csi->context.volumes, volume);
    return true;
}

void csi_service_remove_orphans(struct csi_service *csi)
{
    node_volumes_visit(csi->context.volumes, drop_if_orphan, csi);
}

static int on_orphans_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    csi_service_remove_orphans(userdata);
    sd_event_source_set_time(source, clock_mono() + ORPHANS_PERIOD);
    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

/* ---- new and free */

int csi_service_new(const struct csi_service_context *context, struct csi_service **ret_csi,
                    struct error *e)
{
    static const struct csi_handlers handlers = {
        .publish = on_publish,
        .unpublish = on_unpublish,
        .cancelled = on_cancelled,
        .stats = on_stats,
        .is_ready = on_is_ready,
        .registration = on_registration,
        .answered = on_answered,
    };
    _cleanup_(csi_service_freep) struct csi_service *csi = calloc(1, sizeof(*csi));
    int r;

    if (csi == NULL)
        return error_set_errno(e, -ENOMEM, "cannot start the CSI service");
    csi->context = *context;
    csi->spec_context = (struct publish_spec_context){
        .event = context->event, .pods = context->pods, .old_kernel = context->old_kernel};
    list_init(&csi->pending);
    csi->area.root = context->target_root;
    csi->keep = kept_sockets_get(context->sockets, "csi");
    csi->keep_registration = kept_sockets_get(context->sockets, "registration");
    csi->plugin_options = (struct csi_plugin_options){
        .endpoint = context->options->endpoint,
        .registration_path = context->options->registration_path,
        .driver_name = context->options->driver_name,
        .version = SECRETFS_VERSION,
        .node_id = context->options->node_id,
        .keep = &csi->keep,
        .keep_registration = &csi->keep_registration,
    };
    r = sd_event_add_time_relative(context->event, &csi->orphans_timer, CLOCK_MONOTONIC,
                                   ORPHANS_PERIOD, ORPHANS_SLACK, on_orphans_timer, csi);
    if (r < 0)
        return error_set_errno(e, r, "cannot set a timer");
    r = csi_plugin_new(context->event, &csi->plugin_options, &handlers, csi, &csi->plugin, e);
    if (r < 0)
        return r;
    csi->is_registered = csi_plugin_is_registered(csi->plugin);
    if (csi->is_registered)
        log_info("the kubelet has registered the driver of the earlier process", "driver",
                 context->options->driver_name);
    *ret_csi = TAKE(csi);
    return 0;
}

static bool forget_call(void *userdata, struct node_volume *volume)
{
    struct csi_volume *v = csi_volume_of(volume);

    if (v != NULL)
        v->call = NULL;
    return true;
}

struct csi_service *csi_service_free(struct csi_service *csi)
{
    if (csi == NULL)
        return NULL;
    sd_event_source_disable_unref(csi->orphans_timer);
    /* before the plug-in: a removed volume may have a call to answer, and is not visited below */
    node_volumes_sweep(csi->context.volumes);
    csi_plugin_free(csi->plugin);
    /* the calls of mounts in progress are gone with the plug-in */
    node_volumes_visit(csi->context.volumes, forget_call, csi);
    free(csi);
    return NULL;
}

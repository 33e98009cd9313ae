/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With the attribute `podVolume: NAME` a volume is what another entry of its pod's volumes says.
 * The kubelet passes the name only, so the pod is read: from the watch of the node's pods if it is
 * known, else by a GET (pods.c). The entry is the API server's, which has checked it and filled in
 * defaults, and which gave the node the right to read the objects that it names.
 *
 * The pod is identified by the uid that the kubelet sends, so a volume never gets the entry of
 * another pod of the same name, nor of another namespace.
 *
 * Without an attribute that names an object the volume shows a secret: the one of its
 * nodePublishSecretRef if the pod can be read, else the one that has the volume's name.
 *
 * serviceAccountToken and clusterTrustBundle sources need the pod as well: modes and owners depend
 * on the user of its containers (Y13).
 *
 * | the pod                                     | the answer                                    |
 * |---------------------------------------------|-----------------------------------------------|
 * | has the volume                              | the spec of its entry                         |
 * | does not have it, or it is of another kind  | -EINVAL                                       |
 * | cannot be read, or not within POD_TIMEOUT   | -EAGAIN: the kubelet retries                  |
 * | is never read, as manifests have no pods    | -EINVAL                                       |
 *
 * Where the kernel has no FUSE_ALLOW_IDMAP, a pod with a user namespace (hostUsers: false) would
 * get its volume and then fail, as the container runtime cannot mount it with the pod's ids:
 * "invalid argument". So on such a kernel each volume's pod is read, and the answer names the
 * kernel. A pod that cannot be read gets its volume.
 */
#include "node/publish_spec.h"

#include "encoding/json.h"

/* As long as a request waits for content. */
#define POD_TIMEOUT SPAN_SEC(10)
#define TIMER_SLACK SPAN_MS(10)

struct publish_spec {
    const struct publish_spec_context *context;
    const struct csi_publish *request; /* borrowed */
    publish_spec_fn *done;
    void *userdata;
    struct node_pods_query *query;
    sd_event_source *timer;
};

struct publish_spec *publish_spec_free(struct publish_spec *query)
{
    if (query == NULL)
        return NULL;
    node_pods_query_free(query->query);
    sd_event_source_disable_unref(query->timer);
    free(query);
    return NULL;
}

/* ---- the spec */

/* Return: 0; -EOPNOTSUPP with @e if the pod cannot have volumes here. */
static int check_user_namespace(const char *old_kernel, const struct pod *pod, struct error *e)
{
    if (old_kernel == NULL || !pod->has_user_namespace)
        return 0;
    return error_set(e, -EOPNOTSUPP,
                     "a pod with hostUsers: false cannot have volumes of secretfs on this node: "
                     "Linux %.64s has no FUSE_ALLOW_IDMAP; use Linux 6.12 or later, or remove "
                     "hostUsers: false",
                     old_kernel);
}

/* @context: without its default, which is the volume's name in the pod */
static int parse(const struct csi_publish *request, const struct volume_attributes_context *context,
                 struct volume_spec **ret_spec, struct error *e)
{
    char name[NODE_PODS_VOLUME_NAME_SIZE];
    struct volume_attributes_context all = *context;
    int r;

    if (all.default_secret == NULL && node_pods_volume_name(request->target_path, name))
        all.default_secret = name;
    r = volume_attributes_parse(request->attributes, request->n_attributes, &all, ret_spec, e);
    if (r == 0 && request->mount_group != CSI_GROUP_UNSET)
        (*ret_spec)->fs_group = request->mount_group;
    return r;
}

static int parse_without_pod(const struct csi_publish *request, struct volume_spec **ret_spec,
                             struct error *e)
{
    static const struct volume_attributes_context nothing;

    return parse(request, &nothing, ret_spec, e);
}

/* @ret_entry: what podVolume names, borrowed; NULL without podVolume */
static int find_entry(const struct csi_publish *request, const cJSON *details,
                      const cJSON **ret_entry, struct error *e)
{
    const char *name = volume_attributes_pod_volume(request->attributes, request->n_attributes);

    *ret_entry = name != NULL ? pod_volume_entry(details, name) : NULL;
    if (name == NULL || *ret_entry != NULL)
        return 0;
    return error_set(
        e, -EINVAL,
        "volumeAttributes.podVolume: the pod has no volume \"%.64s\"; it has to be the "
        "name of an entry in spec.volumes of the same pod",
        name);
}

static int parse_with_pod(const struct publish_spec *q, const struct pod *pod,
                          struct volume_spec **ret_spec, struct error *e)
{
    const struct csi_publish *request = q->request;
    _cleanup_(cJSON_Deletep) cJSON *details = NULL;
    struct volume_attributes_context context = {.pod_volume = NULL};
    char name[NODE_PODS_VOLUME_NAME_SIZE];
    int r = check_user_namespace(q->context->old_kernel, pod, e);

    if (r < 0)
        return r;
    r = pod_details(pod, &details);
    if (r < 0)
        return error_set_errno(e, r, "cannot read the pod");
    r = find_entry(request, details, &context.pod_volume, e);
    if (node_pods_volume_name(request->target_path, name))
        context.default_secret = pod_publish_secret(details, name);
    if (r == 0)
        r = parse(request, &context, ret_spec, e);
    if (r == 0 && volume_spec_needs_pod_user(*ret_spec))
        pod_shared_user(details, &(*ret_spec)->pod_user);
    return r;
}

/* ---- the pod */

static int set_unreadable(const struct node_pods *pods, const struct csi_publish *request,
                          struct error *e)
{
    const char *problem = node_pods_problem(pods);

    if (!node_pods_are_readable(pods))
        return error_set(e, -EINVAL,
                         "the volume's attributes need the pod, which cannot be read: %s; name a "
                         "secret or configMap instead",
                         problem);
    return error_set(e, -EAGAIN,
                     "cannot read the pod %s/%s, which the volume's attributes need: %s",
                     request->pod_namespace, request->pod_name,
                     problem[0] != '\0' ? problem
                                        : "the API server did not send it, or it is larger than "
                                          "1 MiB");
}

/* Whether the volume has a default where the pod cannot be read: its own name. */
static bool has_default(const struct csi_publish *request)
{
    return !volume_attributes_name_object(request->attributes, request->n_attributes);
}

/* Whether the attributes alone make the spec. Return: 0; or why they do not, as parse(). */
static int parse_alone(const struct csi_publish *request, struct volume_spec **ret_spec,
                       struct error *e)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    int r;

    if (has_default(request) ||
        volume_attributes_pod_volume(request->attributes, request->n_attributes) != NULL)
        return PUBLISH_SPEC_LATER;
    r = parse_without_pod(request, &spec, e);
    if (r < 0)
        return r;
    if (volume_spec_needs_pod_user(spec))
        return PUBLISH_SPEC_LATER;
    *ret_spec = TAKE(spec);
    return 0;
}

static int parse_unreadable(const struct publish_spec *q, struct volume_spec **ret_spec,
                            struct error *e)
{
    int r;

    if (has_default(q->request))
        return parse_without_pod(q->request, ret_spec, e);
    r = parse_alone(q->request, ret_spec, e);
    return r == PUBLISH_SPEC_LATER ? set_unreadable(q->context->pods, q->request, e) : r;
}

static void finish(struct publish_spec *q, const struct pod *pod)
{
    struct volume_spec *spec = NULL;
    publish_spec_fn *done = q->done;
    void *userdata = q->userdata;
    struct error e = ERROR_INIT;
    int r = pod != NULL ? parse_with_pod(q, pod, &spec, &e) : parse_unreadable(q, &spec, &e);

    publish_spec_free(q);
    done(userdata, r, spec, &e);
}

static void on_pod(void *userdata, enum node_pods_answer answer, const struct pod *pod)
{
    struct publish_spec *q = userdata;

    q->query = NULL; /* it was freed */
    finish(q, pod);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
    finish(userdata, NULL);
    return 0;
}

/* Return: PUBLISH_SPEC_LATER, or as publish_spec_get(). */
static int get_pod(struct publish_spec *q, struct volume_spec **ret_spec, struct error *e)
{
    struct node_pods *pods = q->context->pods;
    char name[NODE_PODS_VOLUME_NAME_SIZE] = "";
    const struct node_pods_volume volume = {.namespace = q->request->pod_namespace,
                                            .pod = q->request->pod_name,
                                            .pod_uid = q->request->pod_uid,
                                            .volume = name};
    const struct pod *pod = node_pods_find(pods, &volume);
    int r;

    if (pod != NULL)
        return parse_with_pod(q, pod, ret_spec, e);
    node_pods_volume_name(q->request->target_path, name);
    if (node_pods_ask(pods, &volume, on_pod, q, &q->query) != NODE_PODS_LATER)
        return parse_unreadable(q, ret_spec, e);
    node_pods_query_expedite(q->query);
    r = sd_event_add_time_relative(q->context->event, &q->timer, CLOCK_MONOTONIC, POD_TIMEOUT,
                                   TIMER_SLACK, on_timeout, q);
    return r < 0 ? error_set_errno(e, r, "cannot set a timer") : PUBLISH_SPEC_LATER;
}

int publish_spec_get(const struct publish_spec_context *context, const struct csi_publish *request,
                     publish_spec_fn *done, void *userdata, struct volume_spec **ret_spec,
                     struct publish_spec **ret_query, struct error *e)
{
    _cleanup_(publish_spec_freep) struct publish_spec *q = NULL;
    int r = context->old_kernel == NULL ? parse_alone(request, ret_spec, e) : PUBLISH_SPEC_LATER;

    if (r != PUBLISH_SPEC_LATER)
        return r;
    q = calloc(1, sizeof(*q));
    if (q == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the request");
    q->context = context;
    q->request = request;
    q->done = done;
    q->userdata = userdata;
    r = get_pod(q, ret_spec, e);
    if (r == PUBLISH_SPEC_LATER)
        *ret_query = TAKE(q);
    return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubectl is asked for the object's metadata, never for its values, and for the pods of its
 * namespace.
 */
#include "cmd/rollout/cluster.h"

#include "cmd/rollout/pods.h"

struct reading {
    char version[64];
    struct rollout_pods *pods;
    struct error *e;
};

static int failed(int error, struct error *e)
{
    return error_set_errno(e, error, "cannot judge the pods");
}

static int on_version(void *userdata, const char *line, size_t len)
{
    struct reading *r = userdata;

    if (len == 0 || len >= sizeof(r->version))
        return error_set(r->e, -EINVAL, "invalid output of kubectl");
    memcpy(r->version, line, len);
    r->version[len] = '\0';
    return 0;
}

static int read_version(const struct rollout_cluster *cluster, struct reading *r)
{
    const char *namespace = cluster->namespace;
    const char *const words[] = {"get",
                                 cluster->object,
                                 "-o",
                                 "jsonpath={.metadata.resourceVersion}{\"\\n\"}",
                                 namespace != NULL ? "-n" : NULL,
                                 namespace,
                                 NULL};

    if (cluster->resource_version != NULL)
        return 0;
    return kubectl_read_lines(&cluster->kubectl, words, on_version, r, r->e);
}

static int on_pod(void *userdata, const char *line, size_t len)
{
    _cleanup_(cJSON_Deletep) cJSON *pod = NULL;
    struct reading *reading = userdata;
    int r = json_parse(line, len, &pod, reading->e);

    if (r < 0)
        return r;
    r = rollout_pods_add(reading->pods, pod);
    return r < 0 ? failed(r, reading->e) : 0;
}

static int read_pods(const struct rollout_cluster *cluster, struct reading *r)
{
    const char *namespace = cluster->namespace;
    const char *const words[] = {
        "get",     "pods", "-o", KUBECTL_EACH_ITEM("@"), namespace != NULL ? "-n" : NULL,
        namespace, NULL};

    return kubectl_read_lines(&cluster->kubectl, words, on_pod, r, r->e);
}

int rollout_cluster_judge(const struct rollout_cluster *cluster,
                          struct rollout_verdict *ret_verdict, struct buf *lines,
                          struct buf *reasons, struct error *e)
{
    struct reading reading = {.e = e};
    struct rollout_pods_query query = {.driver = cluster->driver,
                                       .resource_version = reading.version};
    _cleanup_(rollout_pods_freep) struct rollout_pods *pods = NULL;
    int r = rollout_pods_new(&query, &pods);

    if (r < 0)
        return failed(r, e);
    query.name = object_kind_parse(cluster->object, &query.kind);
    if (cluster->resource_version != NULL)
        query.resource_version = cluster->resource_version;
    reading.pods = pods;
    r = read_version(cluster, &reading);
    if (r == 0)
        r = read_pods(cluster, &reading);
    if (r < 0)
        return r;
    r = rollout_pods_finish(pods, ret_verdict, lines, reasons);
    if (r < 0)
        return failed(r, e);
    if (ret_verdict->n_volumes == 0)
        return error_set(e, -ENOENT,
                         "no pod of the namespace mounts %.200s by the driver %s; --driver names "
                         "another",
                         cluster->object, cluster->driver);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node with the driver has an entry in its CSINode object, which the kubelet makes. A daemon that
 * is a pod is found by a label that has the driver's name, whatever the release and its namespace
 * are. So a node whose daemon is a systemd service, or whose pod does not run, is known by name,
 * and is reported instead of left out.
 *
 * Any user who creates pods can give one the label, and would answer for a node. So the pods have
 * to be of one namespace, and the administrator says which one if they are not.
 *
 * `kubectl exec` takes a tenth of a second or more, most of which is waiting: HELPERS_MAX threads
 * run one each.
 */
#include "cmd/cluster/daemons.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/lock.h"
#include "base/name_list.h"
#include "encoding/json.h"
#include "monitor/status_socket.h"
#include "node/options.h"

#define HELPERS_MAX 16u
#define OUTPUT_MAX  ((size_t)4 * STATUS_DOCUMENT_MAX) /* indented */
#define ERRORS_MAX  ((size_t)65536)

/* as in deploy/daemonset and deploy/chart */
#define LABEL     "secretfs.io/driver="
#define CONTAINER "secretfs"
#define PROGRAM   "/usr/bin/secretfs"

/* of a driver, and of the value of a label (R2) */
#define DRIVER_NAME_SIZE 64

/* ---- options */

int cluster_set_option(struct cluster_choice *choice, int option, const char *value,
                       struct error *e)
{
    switch (option) {
    case CLUSTER_OPTION_NODE:
        choice->node = value;
        return 1;
    case CLUSTER_OPTION_DRIVER:
        choice->driver = value;
        return node_driver_name_check(value, e) < 0 ? -EINVAL : 1;
    case CLUSTER_OPTION_NAMESPACE:
        choice->namespace = value;
        return 1;
    default:
        return kubectl_set_option(&choice->kubectl, option, value) ? 1 : 0;
    }
}

bool cluster_option_is_given(const struct cluster_choice *choice)
{
    return choice->node != NULL || choice->driver != NULL || choice->namespace != NULL ||
           choice->kubectl.kubeconfig != NULL || choice->kubectl.context != NULL;
}

static const char *driver_of(const struct cluster *cluster)
{
    return cluster->choice.driver != NULL ? cluster->choice.driver : NODE_DRIVER_NAME_DEFAULT;
}

/* ---- memory */

static void daemon_deinit(struct cluster_daemon *daemon)
{
    free(daemon->node);
    free(daemon->namespace);
    free(daemon->pod);
    buf_deinit(&daemon->output);
    buf_deinit(&daemon->errors);
}

void cluster_deinit(struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->n; i++)
        daemon_deinit(&cluster->list[i]);
    free(cluster->list);
    cluster->list = NULL;
    cluster->n = 0;
}

/* ---- finding */

struct finding {
    struct cluster *cluster;
    bool has_node;           /* the chosen one is one of the cluster */
    struct name_list others; /* drivers that nodes have instead */
    struct error *e;
};

static int invalid_output(const struct finding *f)
{
    return error_set(f->e, -EINVAL, "invalid output of kubectl");
}

static int no_memory(const struct finding *f)
{
    return error_set_errno(f->e, -ENOMEM, "cannot list the nodes");
}

static int reserve(struct finding *f)
{
    struct cluster *cluster = f->cluster;
    size_t n = cluster->n_allocated == 0 ? 64 : cluster->n_allocated * 2;
    struct cluster_daemon *list;

    if (cluster->n == CLUSTER_NODES_MAX)
        return error_set(f->e, -E2BIG, "more than %u nodes: choose one with --node",
                         CLUSTER_NODES_MAX);
    if (cluster->n < cluster->n_allocated)
        return 0;
    list = reallocarray(cluster->list, n, sizeof(*list));
    if (list == NULL)
        return no_memory(f);
    cluster->list = list;
    cluster->n_allocated = n;
    return 0;
}

/* @namespace, @pod: NULL for a node without a pod */
static int add(struct finding *f, const char *node, const char *namespace, const char *pod)
{
    struct cluster_daemon daemon = {
        .node = strdup(node),
        .namespace = namespace != NULL ? strdup(namespace) : NULL,
        .pod = pod != NULL ? strdup(pod) : NULL,
        .output = BUF_INIT(OUTPUT_MAX),
        .errors = BUF_INIT(ERRORS_MAX),
    };
    int r = reserve(f);

    if (r == 0 && (daemon.node == NULL || (pod != NULL && daemon.pod == NULL) ||
                   (namespace != NULL && daemon.namespace == NULL)))
        r = no_memory(f);
    if (r < 0)
        daemon_deinit(&daemon);
    else
        f->cluster->list[f->cluster->n++] = daemon;
    return r;
}

static bool is_chosen(const struct cluster *cluster, const char *node)
{
    return cluster->choice.node == NULL || streq(cluster->choice.node, node);
}

static bool is_found(const struct cluster *cluster, const char *node)
{
    for (size_t i = 0; i < cluster->n; i++)
        if (streq(cluster->list[i].node, node))
            return true;
    return false;
}

static bool has_named(const cJSON *list, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach (item, list) {
        const char *text = json_text(item, "name");

        if (text != NULL && streq(text, name))
            return true;
    }
    return false;
}

/* A keeper's pod has the label, too, but another container. */
static bool is_daemon(const cJSON *pod)
{
    const char *phase = json_text(json_member(pod, "status"), "phase");

    return phase != NULL && streq(phase, "Running") &&
           has_named(json_path(pod, "spec", "containers", NULL), CONTAINER);
}

/* Pods that are found have one namespace, so that it is the first one's. */
static int check_namespace(const struct finding *f, const char *namespace)
{
    const char *first = f->cluster->n > 0 ? f->cluster->list[0].namespace : namespace;

    if (streq(first, namespace))
        return 0;
    return error_set(f->e, -EEXIST,
                     "pods of two namespaces, %.63s and %.63s, have the label " LABEL
                     "%s: name the DaemonSet's with --driver-namespace",
                     first, namespace, driver_of(f->cluster));
}

static int on_pod(void *userdata, const char *line, size_t len)
{
    _cleanup_(cJSON_Deletep) cJSON *pod = NULL;
    struct finding *f = userdata;
    int r = json_parse(line, len, &pod, f->e);
    const cJSON *metadata = json_member(pod, "metadata");
    const char *name = json_text(metadata, "name"), *in = json_text(metadata, "namespace");
    const char *node = json_text(json_member(pod, "spec"), "nodeName");

    if (r < 0)
        return r;
    if (name == NULL || in == NULL)
        return invalid_output(f);
    if (node == NULL || !is_daemon(pod) || !is_chosen(f->cluster, node))
        return 0;
    r = check_namespace(f, in);
    return r < 0 || is_found(f->cluster, node) ? r : add(f, node, in, name);
}

/* Many nodes have the same drivers. */
static void offer_drivers(struct finding *f, const cJSON *drivers)
{
    const cJSON *driver;

    cJSON_ArrayForEach (driver, drivers) {
        const char *name = json_text(driver, "name");

        if (name != NULL)
            name_list_offer_once(&f->others, name);
    }
}

static int on_csi_node(void *userdata, const char *line, size_t len)
{
    _cleanup_(cJSON_Deletep) cJSON *node = NULL;
    struct finding *f = userdata;
    int r = json_parse(line, len, &node, f->e);
    const char *name = json_text(json_member(node, "metadata"), "name");
    const cJSON *drivers = json_path(node, "spec", "drivers", NULL);

    if (r < 0)
        return r;
    if (name == NULL)
        return invalid_output(f);
    if (!is_chosen(f->cluster, name))
        return 0;
    f->has_node = true;
    offer_drivers(f, drivers);
    if (!has_named(drivers, driver_of(f->cluster)) || is_found(f->cluster, name))
        return 0;
    return add(f, name, NULL, NULL);
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct cluster_daemon *)a)->node,
                  ((const struct cluster_daemon *)b)->node);
}

/* Why no daemon was found. */
static int none_found(const struct finding *f)
{
    const char *node = f->cluster->choice.node, *driver = driver_of(f->cluster);
    struct error others;

    name_list_print(&f->others, &others);
    if (node != NULL && !f->has_node)
        return error_set(f->e, -ENOENT,
                         "the cluster has no node %.253s: see `kubectl get csinodes`", node);
    if (node != NULL)
        return error_set(f->e, -ENOENT,
                         "node %.253s does not have the driver %s; it has: %s; --driver names one",
                         node, driver, others.text);
    return error_set(
        f->e, -ENOENT,
        "no node has the driver %s; drivers of the cluster: %s; --driver names one. On "
        "a host, run `secretfs status`",
        driver, others.text);
}

static int find_pods(struct finding *f)
{
    const struct cluster_choice *choice = &f->cluster->choice;
    char label[sizeof(LABEL) + DRIVER_NAME_SIZE];
    const char *const words[] = {"get",
                                 "pods",
                                 "-l",
                                 label,
                                 "-o",
                                 KUBECTL_EACH_ITEM("@"),
                                 choice->namespace != NULL ? "-n" : "-A",
                                 choice->namespace,
                                 NULL};

    snprintf(label, sizeof(label), LABEL "%s", driver_of(f->cluster));
    return kubectl_read_lines(&choice->kubectl, words, on_pod, f, f->e);
}

int cluster_find(struct cluster *cluster, struct error *e)
{
    static const char *const nodes[] = {"get", "csinodes", "-o", KUBECTL_EACH_ITEM("@"), NULL};
    struct finding f = {.cluster = cluster, .e = e, .others = NAME_LIST_INIT(driver_of(cluster))};
    int r = find_pods(&f);

    if (r == 0)
        r = kubectl_read_lines(&cluster->choice.kubectl, nodes, on_csi_node, &f, e);
    if (r < 0)
        return r;
    if (cluster->n == 0)
        return none_found(&f);
    qsort(cluster->list, cluster->n, sizeof(*cluster->list), compare);
    return 0;
}

/* ---- running */

struct run {
    const struct cluster *cluster;
    const char *const *words;
    pthread_mutex_t lock;
    size_t next; /* guarded: the daemon that a helper takes */
};

static struct cluster_daemon *take_next(struct run *run)
{
    LOCK_GUARD(&run->lock);
    return run->next < run->cluster->n ? &run->cluster->list[run->next++] : NULL;
}

static void run_one(const struct run *run, struct cluster_daemon *daemon)
{
    const char *words[KUBECTL_WORDS_MAX + 1] = {
        "exec", "-n", daemon->namespace, daemon->pod, "-c", CONTAINER, "--", PROGRAM};
    const char *argv[KUBECTL_ARGV_MAX];
    size_t n = 8;

    if (daemon->pod == NULL)
        return;
    for (size_t i = 0; run->words[i] != NULL; i++) {
        assert(n < KUBECTL_WORDS_MAX);
        words[n++] = run->words[i];
    }
    words[n] = NULL;
    kubectl_argv(&run->cluster->choice.kubectl, words, argv);
    daemon->result = process_read(argv, &daemon->output, &daemon->errors);
}

static void *help(void *userdata)
{
    struct run *run = userdata;
    struct cluster_daemon *daemon;

    while ((daemon = take_next(run)) != NULL)
        run_one(run, daemon);
    return NULL;
}

void cluster_run(struct cluster *cluster, const char *const words[])
{
    struct run run = {.cluster = cluster, .words = words, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t helpers[HELPERS_MAX];
    size_t n = 0;

    while (n + 1 < size_min(HELPERS_MAX, cluster->n) &&
           pthread_create(&helpers[n], NULL, help, &run) == 0)
        n++;
    help(&run); /* so that it works without helpers */
    while (n > 0)
        pthread_join(helpers[--n], NULL);
}

/* The last line that the command wrote to standard error, without kubectl's own about the exit. */
static void last_line(const char *text, const char **ret_line, int *ret_len)
{
    *ret_line = "";
    *ret_len = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        if (len > 0 && str_after(text, "command terminated with exit code") == NULL) {
            *ret_line = text;
            *ret_len = (int)size_min(len, 400);
        }
        text += text[len] == '\n' ? len + 1 : len;
    }
}

int cluster_error(const struct cluster_daemon *daemon, struct error *e)
{
    const char *line;
    int len;

    if (daemon->pod == NULL)
        return error_set(e, -EIO,
                         "node %s: the driver is registered, but no pod of the DaemonSet runs "
                         "there: run secretfs on that host",
                         daemon->node);
    last_line(buf_text(&daemon->errors), &line, &len);
    if (daemon->result < 0)
        error_set_errno(e, daemon->result, "cannot run kubectl");
    else if (len > 0)
        error_set(e, -EIO, "%.*s", len, line);
    else
        error_set(e, -EIO, "kubectl exec failed with exit status %d", daemon->result);
    return error_prefix(e, -EIO, "node %s, pod %s/%s", daemon->node, daemon->namespace,
                        daemon->pod);
}

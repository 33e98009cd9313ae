/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Liveness: the file systems are connected (`mount`), and the publishers and FUSE workers respond
 * (`threads`); a response to the request itself shows that the event loop runs. Readiness: also the
 * kubelet has registered the plug-in (`registered`), and a source has responded once (`source`).
 *
 * The check `threads` is pending until a probe is answered. The HTTP pages count that as passed,
 * since they respond at once; a thread that hangs fails the next request. `secretfs health`
 * requests again until the probe is answered.
 */
#include "node/health.h"

#include <stdio.h>

#include "monitor/status_document.h"
#include "monitor/status_socket.h"

struct node_health {
    struct node_health_context context;
    struct kept_socket keep;
    struct status_socket *socket; /* NULL: it does not listen */
    bool has_answer;              /* a source has responded once */
};

/* ---- the checks */

static void check_mount(const struct node_health *health, struct health_check *check)
{
    *check = (struct health_check){.name = "mount"};
    if (!node_file_systems_are_serving(health->context.file_systems))
        error_set(&check->problem, -EIO, "the connection of the file system was aborted");
}

static void check_threads(const struct node_health *health, struct health_check *check)
{
    *check = (struct health_check){.name = "threads"};
    check->is_pending =
        watchdog_check(health->context.watchdog, &check->problem) == WATCHDOG_PENDING;
}

static void check_registration(const struct node_health *health, struct health_check *check)
{
    const struct csi_service *csi = health->context.csi;
    const char *error = csi_service_registration_error(csi);

    *check = (struct health_check){.name = "registered"};
    if (csi_service_is_registered(csi) || health->context.options->registration_path == NULL)
        return;
    error_set(&check->problem, -EAGAIN, "the kubelet %s%s",
              error[0] != '\0' ? "refuses the plug-in: " : "has not asked for the plug-in yet",
              error);
}

/* Whether a source of the identity has answered a request. Return: whether to look further. */
static bool find_answer(void *userdata, const struct identity *identity)
{
    bool *has_answer = userdata;
    struct source_counts counts = {0};

    if (identity->source == NULL)
        return true;
    if (identity->source->ops->count == NULL) {
        *has_answer = true; /* manifests can always be read */
        return false;
    }
    identity->source->ops->count(identity->source, &counts);
    for (size_t i = 0; i < counts.requests->n_codes; i++)
        *has_answer = *has_answer || counts.requests->codes[i].status / 100 == 2;
    return !*has_answer;
}

/* Without volumes there were no requests to a source. */
static void check_source(struct node_health *health, struct health_check *check)
{
    *check = (struct health_check){.name = "source"};
    if (!health->has_answer)
        identities_visit(health->context.identities, find_answer, &health->has_answer);
    if (!health->has_answer && node_volumes_count(health->context.volumes) > 0)
        error_set(&check->problem, -EAGAIN, "no API server has answered yet");
}

size_t node_health_check(struct node_health *health, bool is_readiness,
                         struct health_check checks[static NODE_HEALTH_CHECKS_MAX])
{
    size_t n = 0;

    check_mount(health, &checks[n++]);
    check_threads(health, &checks[n++]);
    if (is_readiness) {
        check_registration(health, &checks[n++]);
        check_source(health, &checks[n++]);
    }
    assert(n <= NODE_HEALTH_CHECKS_MAX);
    return n;
}

/* ---- the socket */

/* A status_write_fn: the document of health_document(). */
static int write_document(void *userdata, bool is_debug, uint64_t *cursor, struct buf *text)
{
    struct health_check checks[NODE_HEALTH_CHECKS_MAX];
    size_t n_live = node_health_check(userdata, false, checks);
    size_t n = node_health_check(userdata, true, checks);

    return status_document_print(health_document(checks, n_live, n), text);
}

static void listen_for_probes(struct node_health *health)
{
    const char *run_dir = health->context.options->run_dir;
    _cleanup_(freep) char *path = NULL;
    struct error e = ERROR_INIT;
    int r;

    if (asprintf(&path, "%s/%s", run_dir, NODE_HEALTH_SOCKET) < 0) {
        path = NULL;
        r = error_set_errno(&e, -ENOMEM, "cannot create the health socket");
    } else {
        r = status_socket_new_at(health->context.event, path, &health->keep, write_document, health,
                                 &health->socket, &e);
    }
    if (r < 0)
        log_warn("cannot open the health socket; `secretfs health` will fail", "reason", e.text);
}

int node_health_new(const struct node_health_context *context, struct node_health **ret_health)
{
    struct node_health *health = calloc(1, sizeof(*health));

    if (health == NULL)
        return -ENOMEM;
    health->context = *context;
    health->keep = kept_sockets_get(context->sockets, "health");
    listen_for_probes(health);
    *ret_health = health;
    return 0;
}

struct node_health *node_health_free(struct node_health *health)
{
    if (health == NULL)
        return NULL;
    status_socket_free(health->socket);
    free(health);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "node/pages.h"

#include "monitor/health.h"
#include "monitor/http_server.h"

struct node_pages {
    struct node_pages_context context;
    struct http_server *server; /* NULL: it does not listen */
    bool has_answer;            /* some source has answered once */
};

/* ---- health */

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

static void check_mount(const struct node_pages *pages, struct health_check *check)
{
    *check = (struct health_check){.name = "mount"};
    if (!node_file_systems_are_serving(pages->context.file_systems))
        error_set(&check->problem, -EIO, "the connection of the file system was aborted");
}

static void check_registration(const struct node_pages *pages, struct health_check *check)
{
    const struct csi_service *csi = pages->context.csi;
    const char *error = csi_service_registration_error(csi);

    *check = (struct health_check){.name = "registered"};
    if (csi_service_is_registered(csi) || pages->context.options->registration_path == NULL)
        return;
    error_set(&check->problem, -EAGAIN, "the kubelet %s%s",
              error[0] != '\0' ? "refuses the plug-in: " : "has not asked for the plug-in yet",
              error);
}

/* Without volumes there were no requests to a source. */
static void check_source(struct node_pages *pages, struct health_check *check)
{
    *check = (struct health_check){.name = "source"};
    if (!pages->has_answer)
        identities_visit(pages->context.identities, find_answer, &pages->has_answer);
    if (!pages->has_answer && node_volumes_count(pages->context.volumes) > 0)
        error_set(&check->problem, -EAGAIN, "no API server has answered yet");
}

/* ---- pages */

static int answer_live(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    struct health_check check;

    check_mount(userdata, &check);
    return health_answer("livez", &check, 1, is_verbose, answer);
}

static int answer_health(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    struct health_check check;

    check_mount(userdata, &check);
    return health_answer("healthz", &check, 1, is_verbose, answer);
}

static int answer_ready(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    struct health_check checks[3];

    check_mount(userdata, &checks[0]);
    check_registration(userdata, &checks[1]);
    check_source(userdata, &checks[2]);
    return health_answer("readyz", checks, ELEMENTS_OF(checks), is_verbose, answer);
}

static int answer_metrics(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    const struct node_pages *pages = userdata;

    answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return node_metrics_render(pages->context.metrics, &answer->body);
}

static const struct http_server_route routes[] = {
    {"/metrics", answer_metrics},
    {"/healthz", answer_health},
    {"/livez", answer_live},
    {"/readyz", answer_ready},
    {NULL, NULL},
};

/* ---- the object */

static int listen_for_scrapes(struct node_pages *pages, struct error *e)
{
    const char *address = pages->context.options->metrics_address;
    struct sockaddr_storage parsed;
    struct error reason = ERROR_INIT;
    socklen_t len;
    int r = http_server_parse_address(address, &parsed, &len, e);

    if (r < 0)
        return error_prefix(e, r, "metrics-bind-address");
    if (r == HTTP_SERVER_OFF)
        return 0;
    if (http_server_new(pages->context.event, address, routes, pages, &pages->server, &reason) < 0)
        log_warn("cannot serve metrics and health", "reason", reason.text);
    else
        log_info("serving metrics and health", "address", http_server_address(pages->server));
    return 0;
}

int node_pages_new(const struct node_pages_context *context, struct node_pages **ret_pages,
                   struct error *e)
{
    _cleanup_(node_pages_freep) struct node_pages *pages = calloc(1, sizeof(*pages));
    int r;

    if (pages == NULL)
        return error_set_errno(e, -ENOMEM, "cannot serve metrics and health");
    pages->context = *context;
    r = listen_for_scrapes(pages, e);
    if (r < 0)
        return r;
    *ret_pages = TAKE(pages);
    return 0;
}

struct node_pages *node_pages_free(struct node_pages *pages)
{
    if (pages == NULL)
        return NULL;
    http_server_free(pages->server);
    free(pages);
    return NULL;
}

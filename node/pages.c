/* SPDX-License-Identifier: Apache-2.0 */
#include "node/pages.h"

#include "monitor/http_server.h"
#include "ui_files.h"

struct node_pages {
    struct node_pages_context context;
    struct kept_socket keep;
    struct node_ui *ui;         /* NULL: it is off */
    struct http_server *server; /* NULL: it does not listen */
};

/* ---- pages */

static int answer_checks(struct node_pages *pages, const char *page, bool is_readiness,
                         bool is_verbose, struct http_server_answer *answer)
{
    struct health_check checks[NODE_HEALTH_CHECKS_MAX];
    size_t n = node_health_check(pages->context.health, is_readiness, checks);

    return health_answer(page, checks, n, is_verbose, answer);
}

static int answer_live(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    return answer_checks(userdata, "livez", false, is_verbose, answer);
}

static int answer_health(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    return answer_checks(userdata, "healthz", false, is_verbose, answer);
}

static int answer_ready(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    return answer_checks(userdata, "readyz", true, is_verbose, answer);
}

static int answer_metrics(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    const struct node_pages *pages = userdata;

    answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return node_metrics_render(pages->context.metrics, &answer->body);
}

/* ---- the page for browsers */

static int answer_ui(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    answer->content_type = "text/html; charset=utf-8";
    return buf_add_text(&answer->body, ui_page_html);
}

static int answer_style(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    answer->content_type = "text/css; charset=utf-8";
    return buf_add_text(&answer->body, ui_page_css);
}

static int answer_script(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    answer->content_type = "text/javascript; charset=utf-8";
    return buf_add_text(&answer->body, ui_page_js);
}

static int answer_data(void *userdata, bool is_verbose, struct http_server_answer *answer)
{
    const struct node_pages *pages = userdata;

    answer->content_type = "application/json";
    return node_ui_write(pages->ui, clock_mono(), &answer->body);
}

#define UI_ROUTES 4
static const struct http_server_route routes[] = {
    {"/ui", answer_ui, true},
    {"/ui/page.css", answer_style, true},
    {"/ui/page.js", answer_script, true},
    {"/ui/data", answer_data, true},
    /* without the UI they begin here */
    {"/metrics", answer_metrics, false},
    {"/healthz", answer_health, false},
    {"/livez", answer_live, false},
    {"/readyz", answer_ready, false},
    {NULL, NULL, false},
};

/* ---- the object */

static int listen_for_scrapes(struct node_pages *pages, struct error *e)
{
    const char *address = pages->context.options->metrics_address;
    const struct http_server_route *first = pages->ui != NULL ? routes : routes + UI_ROUTES;
    struct sockaddr_storage parsed;
    struct error reason = ERROR_INIT;
    socklen_t len;
    int r = http_server_parse_address(address, &parsed, &len, e);

    if (r < 0)
        return error_prefix(e, r, "metrics-bind-address");
    if (r == HTTP_SERVER_OFF)
        return 0;
    if (http_server_new(pages->context.event, address, &pages->keep, first, pages, &pages->server,
                        &reason) < 0)
        log_warn("cannot serve metrics and health", "reason", reason.text);
    else
        log_info("serving metrics and health", "address", http_server_address(pages->server), "ui",
                 pages->ui != NULL ? "/ui" : NULL);
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
    pages->keep = kept_sockets_get(context->sockets, "metrics");
    r = context->options->serves_ui ? node_ui_new(&context->ui, &pages->ui) : 0;
    if (r < 0)
        return error_set_errno(e, r, "cannot serve the page /ui");
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
    node_ui_free(pages->ui);
    free(pages);
    return NULL;
}

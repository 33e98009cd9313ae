/* SPDX-License-Identifier: Apache-2.0 */
#include "node/monitor.h"

#include <stdio.h>

#include "fetcher/api/api_source.h"
#include "fetcher/http/client.h"
#include "monitor/health.h"
#include "monitor/http_server.h"
#include "monitor/status_document.h"
#include "monitor/status_socket.h"
#include "node/csi_service.h"
#include "node/metrics.h"
#include "node/pod_events.h"

/* Volumes that are described in one turn of the loop: that takes about a millisecond. */
#define VOLUMES_AT_ONCE 64

#define FILE_SYSTEMS_MAX 2 /* for volumes as the kubelet has them, and for changes in place */

struct node_monitor {
    struct node *node;
    struct node_metrics *metrics;
    struct pod_events *events;
    struct http_server *page;                         /* NULL: none is wanted */
    struct status_socket *controls[FILE_SYSTEMS_MAX]; /* all say the same */
    size_t n_controls;
    bool has_answer; /* from some source, ever */
};

/* ---- what happens */

void node_monitor_answered(struct node_monitor *seeing, const char *method, const char *code,
                           span_us took)
{
    node_metrics_answered(seeing->metrics, method, code, took);
}

void node_monitor_updated(struct node_monitor *seeing, const struct node_volume *volume)
{
    node_metrics_updated(seeing->metrics, volume->published.update_latency_us);
}

void node_monitor_identity_gone(struct node_monitor *seeing, const struct identity *identity)
{
    /* pods' sources share a client that goes on */
    node_metrics_source_gone(seeing->metrics, identity->source, !identity->is_of_pod);
    pod_events_forget(seeing->events, identity->source);
}

/* ---- events: of what a pod was shown and does not get the newest of */

enum trouble {
    TROUBLE_HELD = 1 << 0,
    TROUBLE_FAILED = 1 << 1,
    TROUBLE_CERTIFICATE = 1 << 2,
    TROUBLE_NOT_LIVE = 1 << 3,
};

static void on_event_done(void *userdata, enum pod_event_result result)
{
    const struct node_monitor *seeing = userdata;

    node_metrics_event(seeing->metrics, pod_event_result_name(result));
}

/* Manifests are no place for events, and without a pod there is nobody to be told. */
static void tell(struct node_monitor *seeing, const struct node_volume *v, const char *reason,
                 bool is_warning, const char *text, const char *what_now)
{
    char message[ERROR_TEXT_MAX + PUBLISHED_TEXT_SIZE + 64];
    const struct pod_event event = {.pod = v->pod,
                                    .pod_uid = v->pod_uid,
                                    .reason = reason,
                                    .message = message,
                                    .is_warning = is_warning};

    snprintf(message, sizeof(message), "%s: %s%s", PUBLISHED_TEXT(&v->published), text, what_now);
    pod_events_post(seeing->events, v->identity->source, &event, clock_mono());
}

static void tell_trouble(struct node_monitor *seeing, const struct node_volume *v,
                         enum trouble trouble)
{
    static const char stays[] = "; the last content stays readable";
    static const char not_live[] =
        "a file or directory of it is mounted by subPath and does not follow updates; set "
        "`updates: "
        "in-place`, or allow the driver to list and watch the pods of its node";
    struct error problem = ERROR_INIT;

    switch (trouble) {
    case TROUBLE_HELD:
        tell(seeing, v, "VolumeHeld", true, volume_error(v->published.volume), stays);
        break;
    case TROUBLE_FAILED:
        tell(seeing, v, "VolumeUpdateFailed", true, "it could not be updated, and is tried again",
             stays);
        break;
    case TROUBLE_CERTIFICATE:
        for (size_t i = 0; i < v->spec->n_sources && problem.text[0] == '\0'; i++) {
            const struct tls_pair *pair = volume_tls(v->published.volume, i);

            if (pair != NULL)
                tls_pair_problem(pair, clock_wall(), &problem);
        }
        tell(seeing, v, "CertificateProblem", true, problem.text, "");
        break;
    case TROUBLE_NOT_LIVE:
        tell(seeing, v, "SubPathNotLive", true, not_live, "");
        break;
    }
}

static unsigned find_troubles(const struct node_volume *v)
{
    const struct published *p = &v->published;
    unsigned troubles = 0;

    if (volume_state(p->volume) == VOLUME_STALE)
        troubles |= TROUBLE_HELD;
    if (p->publish_is_failing)
        troubles |= TROUBLE_FAILED;
    for (size_t i = 0; i < v->spec->n_sources; i++)
        if (p->logged_certificates[i])
            troubles |= TROUBLE_CERTIFICATE;
    if (p->publisher != NULL) {
        struct publisher_mounted_parts mounts = publisher_mounted_parts(p->publisher);

        if (mounts.n > 0 && !mounts.follow)
            troubles |= TROUBLE_NOT_LIVE;
    }
    return troubles;
}

/* Only those count what they do. */
static bool is_of_api(const struct identity *identity)
{
    return identity->source != NULL && identity->source->ops->count != NULL;
}

/* What keeps a volume from being shown at all, the kubelet tells. */
void node_monitor_changed(struct node_monitor *seeing, struct node_volume *volume)
{
    static const enum trouble all[] = {TROUBLE_HELD, TROUBLE_FAILED, TROUBLE_CERTIFICATE,
                                       TROUBLE_NOT_LIVE};
    unsigned troubles = find_troubles(volume), before = volume->told;

    if (volume->pod == NULL || !volume->was_shown || !is_of_api(volume->identity))
        return;
    volume->told = troubles;
    for (size_t i = 0; i < ELEMENTS_OF(all); i++)
        if ((troubles & all[i]) != 0 && (before & all[i]) == 0)
            tell_trouble(seeing, volume, all[i]);
    if ((before & ~(unsigned)TROUBLE_NOT_LIVE) != 0 && troubles == 0)
        tell(seeing, volume, "VolumeCurrent", false, "it is up to date again", "");
}

/* ---- metrics */

struct sight {
    struct node_metrics *metrics;
    size_t n_live, n_stale; /* what is mounted alone */
};

static bool see_volume(void *userdata, const struct node_volume *volume)
{
    struct sight *sight = userdata;
    struct publisher_mounted_parts mounts;

    node_metrics_see_volume(sight->metrics, &volume->published);
    if (volume->published.publisher == NULL)
        return true;
    mounts = publisher_mounted_parts(volume->published.publisher);
    sight->n_live += mounts.follow ? mounts.n : 0;
    sight->n_stale += mounts.follow ? 0 : mounts.n;
    return true;
}

static bool see_identity(void *userdata, const struct identity *identity)
{
    const struct sight *sight = userdata;

    if (identity->source != NULL)
        node_metrics_see_source(sight->metrics, identity->source);
    return true;
}

static void collect(void *userdata, struct node_metrics *metrics)
{
    const struct node_monitor *seeing = userdata;
    const struct node *node = seeing->node;
    struct sight sight = {.metrics = metrics};
    struct request_counts counts = {0};

    node_volumes_visit(node->volumes, see_volume, &sight);
    identities_visit(node->identities, see_identity, &sight);
    node_count_requests(node, &counts);
    node_metrics_see_requests(metrics, &counts);
    node_metrics_see_lone_mounts(metrics, sight.n_live, sight.n_stale);
    node_metrics_see_registration(metrics, csi_service_is_registered(node->csi));
}

/* ---- health */

static bool has_answered(void *userdata, const struct identity *identity)
{
    bool *has_answer = userdata;
    struct source_counts counts = {0};

    if (identity->source == NULL)
        return true;
    if (identity->source->ops->count == NULL) {
        *has_answer = true; /* a directory is always there to be asked */
        return false;
    }
    identity->source->ops->count(identity->source, &counts);
    for (size_t i = 0; i < counts.requests->n_codes; i++)
        *has_answer = *has_answer || counts.requests->codes[i].status / 100 == 2;
    return !*has_answer;
}

static void check_mount(const struct node_monitor *seeing, struct health_check *check)
{
    *check = (struct health_check){.name = "mount"};
    if (!node_is_serving(seeing->node))
        error_set(&check->problem, -EIO, "the connection of the file system was ended");
}

static void check_registration(const struct node_monitor *seeing, struct health_check *check)
{
    const struct csi_service *csi = seeing->node->csi;
    const char *error = csi_service_registration_error(csi);

    *check = (struct health_check){.name = "registered"};
    if (csi_service_is_registered(csi) || seeing->node->options->registration_path == NULL)
        return;
    error_set(&check->problem, -EAGAIN, "the kubelet %s%s",
              error[0] != '\0' ? "refuses the plug-in: " : "has not asked for the plug-in yet",
              error);
}

/* What nobody has needed yet was not asked. */
static void check_source(struct node_monitor *seeing, struct health_check *check)
{
    *check = (struct health_check){.name = "source"};
    if (!seeing->has_answer)
        identities_visit(seeing->node->identities, has_answered, &seeing->has_answer);
    if (!seeing->has_answer && node_volumes_count(seeing->node->volumes) > 0)
        error_set(&check->problem, -EAGAIN, "no API server has given anything yet");
}

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
    const struct node_monitor *seeing = userdata;

    answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return node_metrics_render(seeing->metrics, &answer->body);
}

static const struct http_server_route routes[] = {
    {"/metrics", answer_metrics},
    {"/healthz", answer_health},
    {"/livez", answer_live},
    {"/readyz", answer_ready},
    {NULL, NULL},
};

/* An address that is taken is no reason to leave pods without their volumes. */
static int open_page(struct node_monitor *seeing, struct error *e)
{
    const char *address = seeing->node->options->metrics_address;
    struct sockaddr_storage parsed;
    struct error reason = ERROR_INIT;
    socklen_t len;
    int r = http_server_parse_address(address, &parsed, &len, e);

    if (r < 0)
        return error_prefix(e, r, "metrics-bind-address");
    if (r == HTTP_PAGE_OFF)
        return 0;
    if (http_server_new(seeing->node->event, address, routes, seeing, &seeing->page, &reason) < 0)
        log_warn("no metrics and no health will be served", "reason", reason.text);
    else
        log_info("metrics and health are served", "address", http_server_address(seeing->page));
    return 0;
}

/* ---- status */

struct description {
    uint64_t cursor; /* the number of the last volume that was described */
    size_t n;
    struct buf *part;
    int result;
};

static int add_file_system(cJSON *json, enum node_fs fs)
{
    return json_add_text(json, "fileSystem", fs != NODE_FS_UNDECIDED ? node_fs_name(fs) : NULL);
}

static bool describe_one(void *userdata, const struct node_volume *volume)
{
    struct description *d = userdata;
    cJSON *json;
    int r;

    if (volume->number <= d->cursor)
        return true;
    if (d->n++ == VOLUMES_AT_ONCE) {
        d->result = CONTROL_MORE;
        return false;
    }
    d->cursor = volume->number;
    json = cJSON_CreateObject();
    r = status_document_volume(&volume->published, volume->target, NULL, volume->identity->name,
                               json);
    r |= add_file_system(json, volume->fs);
    d->result = status_document_print(json, d->part);
    if (r < 0)
        d->result = r;
    return d->result == 0;
}

struct source_list {
    cJSON *list;
    int result;
};

static bool describe_identity(void *userdata, const struct identity *identity)
{
    struct source_list *sources = userdata;
    cJSON *json = cJSON_CreateObject();

    if (identity->source != NULL)
        sources->result |= status_document_source(identity->source, identity->name, json);
    if (!cJSON_AddItemToArray(sources->list, json)) {
        cJSON_Delete(json);
        sources->result = -ENOMEM;
    }
    return sources->result == 0;
}

/* What the node knows of its pods, and why it does not know more. */
static int describe_pods(const struct node_pods *pods, cJSON *json)
{
    const char *problem = node_pods_problem(pods);
    cJSON *described = cJSON_AddObjectToObject(json, "pods");
    int r = json_add_bool(described, "readable", problem[0] == '\0');

    r |= json_add_number(described, "known", (double)node_pods_count(pods));
    r |= json_add_text(described, "error", problem[0] != '\0' ? problem : NULL);
    return r;
}

static int describe_node(const struct node *node, struct buf *part)
{
    cJSON *json = cJSON_CreateObject();
    struct source_list sources = {.list = cJSON_AddArrayToObject(json, "sources")};
    const char *error = csi_service_registration_error(node->csi);
    struct request_counts counts = {0};
    int r;

    node_count_requests(node, &counts);
    r = status_document_process("node", node->started_at, &counts, json);
    r |= json_add_text(json, "driver", node->options->driver_name);
    r |= json_add_text(json, "node", node->options->node_id);
    r |= json_add_text(json, "runDirectory", node->options->run_dir);
    r |= json_add_bool(json, "registered", csi_service_is_registered(node->csi));
    r |= json_add_text(json, "registrationError", error[0] != '\0' ? error : NULL);
    r |= describe_pods(node->pods, json);
    identities_visit(node->identities, describe_identity, &sources);
    r |= sources.result;
    r |= status_document_print(json, part);
    return r < 0 ? -ENOMEM : 0;
}

/* The process at first, then the volumes from the cursor on. */
static int describe(void *userdata, uint64_t *cursor, struct buf *part)
{
    const struct node_monitor *seeing = userdata;
    struct description d = {.cursor = *cursor, .part = part};
    int r = *cursor == 0 ? describe_node(seeing->node, part) : 0;

    if (r < 0)
        return r;
    node_volumes_visit(seeing->node->volumes, describe_one, &d);
    *cursor = d.cursor;
    return d.result;
}

/* ---- all of it */

static int open_events(struct node_monitor *seeing)
{
    const struct pod_events_options options = {
        .component = seeing->node->options->driver_name,
        .node_id = seeing->node->options->node_id,
        .send = api_source_send,
        .cancel = http_request_free,
        .done = on_event_done,
        .userdata = seeing,
    };

    return pod_events_new(&options, &seeing->events);
}

struct node_monitor *node_monitor_free(struct node_monitor *seeing)
{
    if (seeing == NULL)
        return NULL;
    for (size_t i = 0; i < seeing->n_controls; i++)
        status_socket_free(seeing->controls[i]);
    http_server_free(seeing->page);
    pod_events_free(seeing->events);
    node_metrics_free(seeing->metrics);
    free(seeing);
    return NULL;
}

void node_monitor_serve(struct node_monitor *seeing, const struct session *session)
{
    struct error e = ERROR_INIT;

    assert(seeing->n_controls < FILE_SYSTEMS_MAX);
    if (status_socket_new(seeing->node->event, session_device(session), describe, seeing,
                          &seeing->controls[seeing->n_controls], &e) == 0)
        seeing->n_controls++;
    else
        log_warn("no status will be available", "reason", e.text);
}

int node_monitor_new(struct node *node, struct node_monitor **ret_seeing, struct error *e)
{
    _cleanup_(node_monitor_freep) struct node_monitor *seeing = calloc(1, sizeof(*seeing));
    int r;

    if (seeing == NULL)
        return error_set_errno(e, -ENOMEM, "cannot start");
    seeing->node = node;
    r = node_metrics_new(collect, seeing, &seeing->metrics);
    if (r == 0)
        r = open_events(seeing);
    if (r < 0)
        return error_set_errno(e, r, "cannot set metrics and events up");
    r = open_page(seeing, e);
    if (r < 0)
        return r;
    node_monitor_serve(seeing, node->standard->session);
    *ret_seeing = TAKE(seeing);
    return 0;
}

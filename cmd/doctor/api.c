/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/doctor/api.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509.h>

#include "encoding/json.h"
#include "fetcher/auth/credentials.h"
#include "fetcher/auth/kubeconfig.h"
#include "fetcher/http/client.h"
#include "node/options.h"

#define RESPONSE_LIMIT    SPAN_SEC(10)
#define CREDENTIALS_LIMIT SPAN_SEC(30) /* a plug-in may have to send requests of its own */
#define RESPONSE_MAX      (4u << 20)   /* a thousand times a CSINode with many drivers */

#define KUBELET_KUBECONFIG "/etc/kubernetes/kubelet.conf" /* where kubeadm puts it */
#define NODE_USER          "system:node:"
#define DAY_SEC            86400

/* ---- collecting: requests */

struct api_session {
    sd_event *event;
    struct http_client *client;
    struct credentials *credentials;
    bool are_credentials_settled; /* loaded, failed or timed out */
    struct error credentials_error;

    /* the current request */
    struct buf body;
    struct doctor_answer *answer;
    bool is_done;
};

static void on_response(void *userdata, const struct http_response *response)
{
    struct api_session *a = userdata;

    a->answer->status = response->status;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
    struct api_session *a = userdata;

    if (buf_add(&a->body, bytes, len) < 0)
        error_set(&a->answer->error, -EFBIG, "the response is too long");
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct api_session *a = userdata;

    a->is_done = true;
    if (outcome != HTTP_COMPLETE)
        a->answer->error = *error;
}

/* Send a request and run the loop until its response is complete. */
static void send_request(struct api_session *a, const char *path, const char *body,
                         struct doctor_answer *answer)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    _cleanup_(http_request_freep) struct http_request *request = NULL;
    const struct http_call call = {.path = path,
                                   .body = body,
                                   .is_repeatable = true, /* reviews */
                                   .total_limit = RESPONSE_LIMIT,
                                   .credentials = credentials_peek(a->credentials)};
    int r;

    buf_reset(&a->body);
    a->answer = answer;
    a->is_done = false;
    r = http_client_send(a->client, &call, &handler, a, &request, &answer->error);
    while (r >= 0 && !a->is_done)
        r = sd_event_run(a->event, UINT64_MAX);
    if (r < 0 && answer->error.text[0] == '\0')
        error_set_errno(&answer->error, r, "cannot send the request");
    if (answer->error.text[0] == '\0' && a->body.len > 0)
        json_parse(a->body.data, a->body.len, &answer->json, NULL);
}

/* @verb, @resource: for all namespaces */
static void review_access(struct api_session *a, const char *verb, const char *resource,
                          struct doctor_answer *answer)
{
    char body[256];

    snprintf(body, sizeof(body),
             "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":"
             "\"SelfSubjectAccessReview\",\"spec\":{\"resourceAttributes\":{\"verb\":\"%s\","
             "\"resource\":\"%s\"}}}",
             verb, resource);
    send_request(a, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body, answer);
}

static void send_requests(struct api_session *a, const struct doctor_options *o,
                          struct doctor_api *api)
{
    char path[256];

    send_request(a, "/version", NULL, &api->answers[DOCTOR_VERSION]);
    if (api->answers[DOCTOR_VERSION].status == 0)
        return;
    send_request(a, "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                 "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"SelfSubjectReview\"}",
                 &api->answers[DOCTOR_IDENTITY]);
    snprintf(path, sizeof(path), "/apis/storage.k8s.io/v1/csidrivers/%.64s", o->driver_name);
    send_request(a, path, NULL, &api->answers[DOCTOR_DRIVER]);
    snprintf(path, sizeof(path), "/apis/storage.k8s.io/v1/csinodes/%.200s", o->node_id);
    send_request(a, path, NULL, &api->answers[DOCTOR_NODE]);
    review_access(a, "watch", "secrets", &api->answers[DOCTOR_READ_SECRETS]);
    review_access(a, "create", "events", &api->answers[DOCTOR_POST_EVENTS]);
    /* before Kubernetes 1.31 an access review cannot have a field selector */
    snprintf(path, sizeof(path), "/api/v1/pods?limit=1&fieldSelector=spec.nodeName%%3D%.200s",
             o->node_id);
    send_request(a, path, NULL, &api->answers[DOCTOR_READ_PODS]);
}

/* ---- collecting: kubeconfig and credentials */

/* Servers before Kubernetes 1.28 have no SelfSubjectReview. */
static void read_certificate_user(const char *pem, char *user, size_t size)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    if (certificate == NULL || X509_NAME_get_text_by_NID(X509_get_subject_name(certificate),
                                                         NID_commonName, user, (int)size) < 0)
        user[0] = '\0';
    X509_free(certificate);
    (void)BIO_free(bio);
}

/* With --rights node it is the kubelet's, whose path depends on the installer. */
static const char *find_kubeconfig(const struct doctor_options *o, char *buf, size_t size)
{
    if (o->kubeconfig != NULL || !streq(o->rights, "node"))
        return o->kubeconfig;
    snprintf(buf, size, "%s", KUBELET_KUBECONFIG);
    if (access(buf, F_OK) < 0)
        snprintf(buf, size, "%s/kubeconfig", o->kubelet_root);
    return buf;
}

static void on_credentials(void *userdata, const struct error *error)
{
    struct api_session *a = userdata;

    a->are_credentials_settled = true;
    if (error != NULL)
        a->credentials_error = *error;
}

static int on_limit(sd_event_source *source, uint64_t at, void *userdata)
{
    struct api_session *a = userdata;

    a->are_credentials_settled = true;
    error_set(&a->credentials_error, -ETIMEDOUT, "the credential plug-in did not answer in time");
    return 0;
}

static int wait_for_credentials(struct api_session *a, struct error *e)
{
    sd_event_source *limit = NULL;
    int r = sd_event_add_time_relative(a->event, &limit, CLOCK_MONOTONIC, CREDENTIALS_LIMIT,
                                       SPAN_SEC(1), on_limit, a);

    while (r >= 0 && credentials_peek(a->credentials) == NULL && !a->are_credentials_settled)
        r = sd_event_run(a->event, UINT64_MAX);
    sd_event_source_disable_unref(limit);
    if (r < 0)
        return error_set_errno(e, r, "cannot wait for credentials");
    if (credentials_peek(a->credentials) != NULL)
        return 0;
    *e = a->credentials_error;
    return -EACCES;
}

static int prepare(struct api_session *a, const struct api_config *config, struct doctor_api *api)
{
    int r = credentials_new(a->event, config, on_credentials, a, &a->credentials, &api->error);

    if (r >= 0)
        r = wait_for_credentials(a, &api->error);
    if (r < 0)
        return r;
    api->has_credentials = true;
    api->has_certificate = credentials_expiry(a->credentials, &api->certificate_expiry);
    if (credentials_peek(a->credentials)->client_cert_pem != NULL)
        read_certificate_user(credentials_peek(a->credentials)->client_cert_pem,
                              api->certificate_user, sizeof(api->certificate_user));
    return http_client_new(a->event, config, &a->client, &api->error);
}

void doctor_api_collect(const struct doctor_options *options, struct doctor_api *ret_api)
{
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct api_session a = {.body = BUF_INIT(RESPONSE_MAX)};
    char file[512];
    const struct kubeconfig_options kubeconfig = {
        .file = find_kubeconfig(options, file, sizeof(file)), .context = options->context};
    int r = 0;

    *ret_api = (struct doctor_api){0};
    if (kubeconfig_load(&kubeconfig, &config, &ret_api->error) < 0)
        return;
    ret_api->has_config = true;
    snprintf(ret_api->server, sizeof(ret_api->server), "%s", config->server);
    snprintf(ret_api->origin, sizeof(ret_api->origin), "%s", config->origin);
    r = sd_event_new(&a.event);
    if (r >= 0)
        r = prepare(&a, config, ret_api);
    if (r >= 0)
        send_requests(&a, options, ret_api);
    else if (ret_api->error.text[0] == '\0')
        error_set_errno(&ret_api->error, r, "cannot send the request");
    credentials_free(a.credentials);
    http_client_free(a.client);
    buf_deinit(&a.body);
    sd_event_unref(a.event);
}

void doctor_api_deinit(struct doctor_api *api)
{
    for (size_t i = 0; i < DOCTOR_REQUESTS; i++)
        cJSON_Delete(api->answers[i].json);
    *api = (struct doctor_api){0};
}

/* ---- evaluating */

/* Where the manifests that remedies name are for a reader without the sources. */
#define IN_PACKAGE " (in /usr/share/doc/secretfs)"

static void evaluate_config(const struct doctor_api *api, const struct doctor_options *o,
                            struct doctor_report *report)
{
    if (!api->has_config) {
        doctor_add(report, DOCTOR_FAIL, "kubeconfig", "%s", api->error.text);
        doctor_remedy(report, streq(o->rights, "node") ? "give the kubelet's with --kubeconfig"
                                                       : "give one with --kubeconfig");
        return;
    }
    doctor_add(report, DOCTOR_OK, "kubeconfig", "%s, for %s", api->origin, api->server);
    if (!api->has_credentials) {
        doctor_add(report, DOCTOR_FAIL, "credentials", "%s", api->error.text);
        doctor_remedy(report, "check the user in %s", api->origin);
    }
}

static void evaluate_certificate(const struct doctor_api *api, struct timespec now,
                                 struct doctor_report *report)
{
    char text[CLOCK_RFC3339_SIZE];
    int64_t left = (int64_t)api->certificate_expiry.tv_sec - (int64_t)now.tv_sec;

    if (!api->has_credentials)
        return;
    if (!api->has_certificate) {
        doctor_add(report, DOCTOR_OK, "credentials", "can be read");
        return;
    }
    clock_rfc3339(api->certificate_expiry, text);
    doctor_add(report,
               left <= 0        ? DOCTOR_FAIL
               : left < DAY_SEC ? DOCTOR_WARN
                                : DOCTOR_OK,
               "credentials", "the client certificate %s %s",
               left <= 0 ? "expired at" : "is valid until", text);
    if (left < DAY_SEC)
        doctor_remedy(report, "check why the kubelet does not rotate it");
}

/* Return: whether the server answered, so that the other responses can be evaluated. */
static bool evaluate_server(const struct doctor_api *api, struct doctor_report *report)
{
    const struct doctor_answer *version = &api->answers[DOCTOR_VERSION];
    const struct doctor_answer *identity = &api->answers[DOCTOR_IDENTITY];

    if (version->status == 0) {
        doctor_add(report, DOCTOR_FAIL, "api-server", "%s", version->error.text);
        doctor_remedy(report, "published volumes stay readable; new ones wait until it answers");
        return false;
    }
    if (version->status == 401 || identity->status == 401) {
        doctor_add(report, DOCTOR_FAIL, "api-server", "the server rejects these credentials (401)");
        doctor_remedy(report, "check the user in %s", api->origin);
        return false;
    }
    doctor_add(report, DOCTOR_OK, "api-server", "%s answers%s%s", api->server,
               json_text(version->json, "gitVersion") != NULL ? ", version " : "",
               json_text(version->json, "gitVersion") != NULL
                   ? json_text(version->json, "gitVersion")
                   : "");
    return true;
}

/* Return: our user name at the server; NULL if unknown. */
static const char *user_of(const struct doctor_api *api)
{
    const char *user = json_text(
        json_path(api->answers[DOCTOR_IDENTITY].json, "status", "userInfo", NULL), "username");

    if (user == NULL && api->certificate_user[0] != '\0')
        return api->certificate_user;
    return user;
}

static void evaluate_identity(const struct doctor_api *api, const struct doctor_options *o,
                              struct doctor_report *report)
{
    const char *user = user_of(api), *node = user != NULL ? str_after(user, NODE_USER) : NULL;

    if (user == NULL || streq(o->rights, "pod"))
        return; /* each pod has credentials of its own */
    if (streq(o->rights, "daemon")) {
        doctor_add(report, node == NULL ? DOCTOR_OK : DOCTOR_WARN, "identity", "the user is %s",
                   user);
        if (node != NULL)
            doctor_remedy(report, "use --rights node with a node's credentials");
    } else if (node == NULL) {
        doctor_add(
            report, DOCTOR_WARN, "identity",
            "the user is %s, not a node: the node authorizer does not limit it to objects of "
            "this node's pods",
            user);
        doctor_remedy(report, "give the kubelet's kubeconfig, or use --rights daemon");
    } else if (!streq(node, o->node_id)) {
        doctor_add(report, DOCTOR_FAIL, "identity", "these are the credentials of node %s, not %s",
                   node, o->node_id);
        doctor_remedy(report, "give this node's kubeconfig, or its name with --node-id");
    } else {
        doctor_add(report, DOCTOR_OK, "identity", "the user is %s", user);
    }
}

static bool has_text(const cJSON *array, const char *text)
{
    const cJSON *item;

    cJSON_ArrayForEach (item, array) {
        if (cJSON_IsString(item) && streq(item->valuestring, text))
            return true;
    }
    return false;
}

/* Return: what is wrong with the fields; NULL if nothing. Source: R1, R2, U4. */
static const char *fault_of_driver(const cJSON *spec, const struct doctor_options *o)
{
    if (!has_text(json_member(spec, "volumeLifecycleModes"), "Ephemeral"))
        return "volumeLifecycleModes lacks Ephemeral: pods cannot name the driver in a volume";
    if (!json_is_true(spec, "podInfoOnMount"))
        return "podInfoOnMount is not true: the kubelet does not pass the pod of a volume";
    if (!cJSON_IsFalse(json_member(spec, "attachRequired")))
        return "attachRequired is not false: pods wait for an attachment that never happens";
    if (streq(o->rights, "pod") && cJSON_GetArraySize(json_member(spec, "tokenRequests")) == 0)
        return "tokenRequests is empty: with --rights pod volumes need the pod's token";
    return NULL;
}

/* The manifests in deploy have the default name. */
static void add_driver_remedy(const struct doctor_options *o, bool exists,
                              struct doctor_report *report)
{
    const char *manifest = streq(o->rights, "pod") ? "csidriver-tokens" : "csidriver";
    const char *before = exists ? "delete it and " : "";
    const char *why = exists ? ": some fields are immutable" : "";

    if (streq(o->driver_name, NODE_DRIVER_NAME_DEFAULT))
        doctor_remedy(report, "%skubectl apply -k deploy/%s" IN_PACKAGE "%s", before, manifest,
                      why);
    else
        doctor_remedy(report, "%screate it as deploy/%s" IN_PACKAGE " has it, by its own name%s",
                      before, manifest, why);
}

static void evaluate_driver(const struct doctor_api *api, const struct doctor_options *o,
                            struct doctor_report *report)
{
    const struct doctor_answer *answer = &api->answers[DOCTOR_DRIVER];
    const cJSON *spec = json_member(answer->json, "spec");
    const char *fault = fault_of_driver(spec, o);

    if (answer->status == 404) {
        doctor_add(report, DOCTOR_FAIL, "csi-driver", "CSIDriver %s does not exist",
                   o->driver_name);
        add_driver_remedy(o, false, report);
    } else if (answer->status != 200) {
        doctor_add(report, DOCTOR_WARN, "csi-driver", "cannot read CSIDriver %s (HTTP status %d)",
                   o->driver_name, answer->status);
        doctor_remedy(report, "check it as an administrator; secretfs itself does not need it");
    } else if (fault != NULL) {
        doctor_add(report, DOCTOR_FAIL, "csi-driver", "CSIDriver %s: %s", o->driver_name, fault);
        add_driver_remedy(o, true, report);
    } else if (streq(o->rights, "pod") && !json_is_true(spec, "requiresRepublish")) {
        doctor_add(report, DOCTOR_WARN, "csi-driver",
                   "CSIDriver %s: requiresRepublish is not true: tokens expire, and updates stop",
                   o->driver_name);
        add_driver_remedy(o, false, report);
    } else {
        doctor_add(report, DOCTOR_OK, "csi-driver", "CSIDriver %s is configured correctly",
                   o->driver_name);
    }
}

static void evaluate_node(const struct doctor_api *api, const struct doctor_options *o,
                          struct doctor_report *report)
{
    const struct doctor_answer *answer = &api->answers[DOCTOR_NODE];
    const cJSON *driver;

    if (o->registration_path == NULL)
        return;
    if (answer->status != 200) {
        doctor_add(report, DOCTOR_WARN, "csi-node", "cannot read CSINode %s (HTTP status %d)",
                   o->node_id, answer->status);
        doctor_remedy(report,
                      answer->status == 404
                          ? "give the name of the node with --node-id"
                          : "check it as an administrator; secretfs itself does not need it");
        return;
    }
    cJSON_ArrayForEach (driver, json_path(answer->json, "spec", "drivers", NULL)) {
        const char *name = json_text(driver, "name");

        if (name == NULL || strcmp(name, o->driver_name) != 0)
            continue;
        doctor_add(report, DOCTOR_OK, "csi-node", "the driver is registered on node %s",
                   o->node_id);
        return;
    }
    doctor_add(report, DOCTOR_FAIL, "csi-node", "the driver is not registered on node %s",
               o->node_id);
    doctor_remedy(report,
                  "start `secretfs node`, and see the kubelet's log about its registration");
}

/* Return: 1 or 0 as the server answered; -1 without an answer. */
static int is_allowed(const struct doctor_answer *answer)
{
    const cJSON *allowed = json_path(answer->json, "status", "allowed", NULL);

    return cJSON_IsBool(allowed) ? cJSON_IsTrue(allowed) : -1;
}

static void evaluate_rights(const struct doctor_api *api, const struct doctor_options *o,
                            struct doctor_report *report)
{
    int all = is_allowed(&api->answers[DOCTOR_READ_SECRETS]);
    int events = is_allowed(&api->answers[DOCTOR_POST_EVENTS]);

    if (all == 1) {
        doctor_add(report, DOCTOR_WARN, "rights",
                   "these credentials can read every secret of the cluster");
        doctor_remedy(report, "--rights node does not need that; otherwise bind a Role in each "
                              "namespace with volumes");
    } else if (all == 0) {
        doctor_add(report, DOCTOR_OK, "rights", "%s",
                   streq(o->rights, "daemon")
                       ? "these credentials can read the secrets that Roles allow"
                       : "these credentials cannot read every secret of the cluster");
    }
    if (events >= 0) {
        doctor_add(report, events == 1 ? DOCTOR_OK : DOCTOR_WARN, "events", "Events on pods %s",
                   events == 1 ? "can be created"
                               : "cannot be created: problems are reported in the log only");
        if (events == 0)
            doctor_remedy(report, "kubectl apply -k deploy/rbac/events" IN_PACKAGE);
    }
}

static void evaluate_pods(const struct doctor_api *api, const struct doctor_options *o,
                          struct doctor_report *report)
{
    int status = api->answers[DOCTOR_READ_PODS].status;

    if (status == 200) {
        doctor_add(report, DOCTOR_OK, "pods", "can read the pods of node %s", o->node_id);
    } else if (status == 401 || status == 403) {
        doctor_add(report, DOCTOR_WARN, "pods",
                   "cannot read the pods of node %s: volumes that a pod mounts by subPath do not "
                   "follow updates unless they have `updates: in-place`",
                   o->node_id);
        doctor_remedy(report, "kubectl apply -k deploy/rbac/pods" IN_PACKAGE);
    }
}

void doctor_api_evaluate(const struct doctor_api *api, const struct doctor_options *options,
                         struct timespec now, struct doctor_report *report)
{
    evaluate_config(api, options, report);
    evaluate_certificate(api, now, report);
    if (!api->has_credentials || !evaluate_server(api, report))
        return;
    evaluate_identity(api, options, report);
    evaluate_driver(api, options, report);
    evaluate_node(api, options, report);
    evaluate_rights(api, options, report);
    evaluate_pods(api, options, report);
}

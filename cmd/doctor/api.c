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

#define ANSWER_LIMIT      SPAN_SEC(10)
#define CREDENTIALS_LIMIT SPAN_SEC(30) /* a plug-in may have to ask somebody else */
#define ANSWER_MAX        (4u << 20)   /* of a CSINode with many drivers, a thousandth */

#define KUBELET_KUBECONFIG "/etc/kubernetes/kubelet.conf" /* where kubeadm puts it */
#define NODE_USER          "system:node:"
#define DAY_SEC            86400

/* ---- asking */

struct asking {
    sd_event *event;
    struct http_client *client;
    struct credentials *credentials;
    bool has_news; /* of the credentials */
    struct error credentials_error;

    /* the request under way */
    struct buf body;
    struct doctor_answer *answer;
    bool is_done;
};

static void on_response(void *userdata, const struct http_response *response)
{
    struct asking *a = userdata;

    a->answer->status = response->status;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
    struct asking *a = userdata;

    if (buf_add(&a->body, bytes, len) < 0)
        error_set(&a->answer->error, -EFBIG, "the answer is too long");
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct asking *a = userdata;

    a->is_done = true;
    if (outcome != HTTP_COMPLETE)
        a->answer->error = *error;
}

/* A question at a time: nothing else is to be done meanwhile. */
static void ask(struct asking *a, const char *path, const char *body, struct doctor_answer *answer)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    _cleanup_(http_request_freep) struct http_request *request = NULL;
    const struct http_call call = {.path = path,
                                   .body = body,
                                   .total_limit = ANSWER_LIMIT,
                                   .credentials = credentials_peek(a->credentials)};
    int r;

    buf_reset(&a->body);
    a->answer = answer;
    a->is_done = false;
    r = http_client_send(a->client, &call, &handler, a, &request, &answer->error);
    while (r >= 0 && !a->is_done)
        r = sd_event_run(a->event, UINT64_MAX);
    if (r < 0 && answer->error.text[0] == '\0')
        error_set_errno(&answer->error, r, "cannot ask");
    if (answer->error.text[0] == '\0' && a->body.len > 0)
        json_parse(a->body.data, a->body.len, &answer->json, NULL);
}

/* @verb, @resource: of every namespace. */
static void ask_access(struct asking *a, const char *verb, const char *resource,
                       struct doctor_answer *answer)
{
    char body[256];

    snprintf(body, sizeof(body),
             "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":"
             "\"SelfSubjectAccessReview\",\"spec\":{\"resourceAttributes\":{\"verb\":\"%s\","
             "\"resource\":\"%s\"}}}",
             verb, resource);
    ask(a, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body, answer);
}

static void ask_all(struct asking *a, const struct doctor_options *o, struct doctor_api *api)
{
    char path[256];

    ask(a, "/version", NULL, &api->answers[DOCTOR_VERSION]);
    if (api->answers[DOCTOR_VERSION].status == 0)
        return;
    ask(a, "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"SelfSubjectReview\"}",
        &api->answers[DOCTOR_IDENTITY]);
    snprintf(path, sizeof(path), "/apis/storage.k8s.io/v1/csidrivers/%.64s", o->driver_name);
    ask(a, path, NULL, &api->answers[DOCTOR_DRIVER]);
    snprintf(path, sizeof(path), "/apis/storage.k8s.io/v1/csinodes/%.200s", o->node_id);
    ask(a, path, NULL, &api->answers[DOCTOR_NODE]);
    ask_access(a, "watch", "secrets", &api->answers[DOCTOR_READ_SECRETS]);
    ask_access(a, "create", "events", &api->answers[DOCTOR_POST_EVENTS]);
    /* a review cannot say "of this node" on servers before 1.31 */
    snprintf(path, sizeof(path), "/api/v1/pods?limit=1&fieldSelector=spec.nodeName%%3D%.200s",
             o->node_id);
    ask(a, path, NULL, &api->answers[DOCTOR_READ_PODS]);
}

/* ---- finding out how to ask */

/* For servers that do not say who we are, which they do since Kubernetes 1.28. */
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

/* With the node's rights it is the kubelet's configuration, wherever an installer put it. */
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
    struct asking *a = userdata;

    a->has_news = true;
    if (error != NULL)
        a->credentials_error = *error;
}

static int on_limit(sd_event_source *source, uint64_t at, void *userdata)
{
    struct asking *a = userdata;

    a->has_news = true;
    error_set(&a->credentials_error, -ETIMEDOUT, "the credential plug-in does not answer");
    return 0;
}

static int wait_for_credentials(struct asking *a, struct error *e)
{
    sd_event_source *limit = NULL;
    int r = sd_event_add_time_relative(a->event, &limit, CLOCK_MONOTONIC, CREDENTIALS_LIMIT,
                                       SPAN_SEC(1), on_limit, a);

    while (r >= 0 && credentials_peek(a->credentials) == NULL && !a->has_news)
        r = sd_event_run(a->event, UINT64_MAX);
    sd_event_source_disable_unref(limit);
    if (r < 0)
        return error_set_errno(e, r, "cannot wait for credentials");
    if (credentials_peek(a->credentials) != NULL)
        return 0;
    *e = a->credentials_error;
    return -EACCES;
}

static int prepare(struct asking *a, const struct api_config *config, struct doctor_api *api)
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

void doctor_api_ask(const struct doctor_options *options, struct doctor_api *ret_api)
{
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct asking a = {.body = BUF_INIT(ANSWER_MAX)};
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
        ask_all(&a, options, ret_api);
    else if (ret_api->error.text[0] == '\0')
        error_set_errno(&ret_api->error, r, "cannot ask");
    credentials_free(a.credentials);
    http_client_free(a.client);
    buf_deinit(&a.body);
    sd_event_unref(a.event);
}

void doctor_api_deinit(struct doctor_api *api)
{
    for (size_t i = 0; i < DOCTOR_QUESTIONS; i++)
        cJSON_Delete(api->answers[i].json);
    *api = (struct doctor_api){0};
}

/* ---- judging */

static void judge_config(const struct doctor_api *api, const struct doctor_options *o,
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

static void judge_certificate(const struct doctor_api *api, struct timespec now,
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
               left <= 0 ? "expired at" : "is good to", text);
    if (left < DAY_SEC)
        doctor_remedy(report, "see why the kubelet, or whoever has to, does not renew it");
}

/* Return: whether there is anything more to be judged. */
static bool judge_server(const struct doctor_api *api, struct doctor_report *report)
{
    const struct doctor_answer *version = &api->answers[DOCTOR_VERSION];
    const struct doctor_answer *identity = &api->answers[DOCTOR_IDENTITY];

    if (version->status == 0) {
        doctor_add(report, DOCTOR_FAIL, "api-server", "%s", version->error.text);
        doctor_remedy(report, "volumes that are there stay; new ones wait until it answers");
        return false;
    }
    if (version->status == 401 || identity->status == 401) {
        doctor_add(report, DOCTOR_FAIL, "api-server", "it does not know these credentials (401)");
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

/* Under whose name the server knows us; NULL if nobody says. */
static const char *user_of(const struct doctor_api *api)
{
    const char *user = json_text(
        json_path(api->answers[DOCTOR_IDENTITY].json, "status", "userInfo", NULL), "username");

    if (user == NULL && api->certificate_user[0] != '\0')
        return api->certificate_user;
    return user;
}

static void judge_identity(const struct doctor_api *api, const struct doctor_options *o,
                           struct doctor_report *report)
{
    const char *user = user_of(api), *node = user != NULL ? str_after(user, NODE_USER) : NULL;

    if (user == NULL || streq(o->rights, "pod"))
        return; /* pods bring their own */
    if (streq(o->rights, "daemon")) {
        doctor_add(report, node == NULL ? DOCTOR_OK : DOCTOR_WARN, "identity", "the user is %s",
                   user);
        if (node != NULL)
            doctor_remedy(report, "with a node's credentials --rights node is meant");
    } else if (node == NULL) {
        doctor_add(report, DOCTOR_WARN, "identity",
                   "the user is %s, no node: what it may see is not limited to what pods here name",
                   user);
        doctor_remedy(report, "give the kubelet's kubeconfig, or say --rights daemon");
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

/* What is wrong with the fields. Return: NULL if nothing is. Source: R1, R2, U4. */
static const char *fault_of_driver(const cJSON *spec, const struct doctor_options *o)
{
    if (!has_text(json_member(spec, "volumeLifecycleModes"), "Ephemeral"))
        return "volumeLifecycleModes lacks Ephemeral: pods cannot name the driver in a volume";
    if (!json_is_true(spec, "podInfoOnMount"))
        return "podInfoOnMount is not true: the driver is not told which pod a volume is for";
    if (!cJSON_IsFalse(json_member(spec, "attachRequired")))
        return "attachRequired is not false: pods wait for an attachment that never comes";
    if (streq(o->rights, "pod") && cJSON_GetArraySize(json_member(spec, "tokenRequests")) == 0)
        return "tokenRequests is empty: with --rights pod volumes need the pod's token";
    return NULL;
}

static void judge_driver(const struct doctor_api *api, const struct doctor_options *o,
                         struct doctor_report *report)
{
    const struct doctor_answer *answer = &api->answers[DOCTOR_DRIVER];
    const cJSON *spec = json_member(answer->json, "spec");
    const char *fault = fault_of_driver(spec, o);

    if (answer->status == 404) {
        doctor_add(report, DOCTOR_FAIL, "csi-driver", "there is no CSIDriver %s", o->driver_name);
        doctor_remedy(report, "kubectl apply -k deploy/, or the file of it alone");
    } else if (answer->status != 200) {
        doctor_add(report, DOCTOR_WARN, "csi-driver",
                   "cannot see the CSIDriver %s (HTTP status %d)", o->driver_name, answer->status);
        doctor_remedy(report, "look at it as an administrator; the program does not need to");
    } else if (fault != NULL) {
        doctor_add(report, DOCTOR_FAIL, "csi-driver", "CSIDriver %s: %s", o->driver_name, fault);
        doctor_remedy(report, "delete it and apply the one of deploy/: parts cannot be changed");
    } else if (streq(o->rights, "pod") && !json_is_true(spec, "requiresRepublish")) {
        doctor_add(report, DOCTOR_WARN, "csi-driver",
                   "CSIDriver %s: requiresRepublish is not true: tokens expire, and updates end",
                   o->driver_name);
        doctor_remedy(report, "set it as in deploy/");
    } else {
        doctor_add(report, DOCTOR_OK, "csi-driver", "CSIDriver %s is as it has to be",
                   o->driver_name);
    }
}

static void judge_node(const struct doctor_api *api, const struct doctor_options *o,
                       struct doctor_report *report)
{
    const struct doctor_answer *answer = &api->answers[DOCTOR_NODE];
    const cJSON *driver;

    if (answer->status != 200) {
        doctor_add(report, DOCTOR_WARN, "csi-node", "cannot see the CSINode %s (HTTP status %d)",
                   o->node_id, answer->status);
        doctor_remedy(report, answer->status == 404
                                  ? "if the node has another name, give it with --node-id"
                                  : "look at it as an administrator; the program does not need to");
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
    doctor_remedy(report, "start `secretfs node`; the kubelet's log tells what it made of it");
}

/* Return: 1 or 0 as the server says; -1 if it says nothing. */
static int is_allowed(const struct doctor_answer *answer)
{
    const cJSON *allowed = json_path(answer->json, "status", "allowed", NULL);

    return cJSON_IsBool(allowed) ? cJSON_IsTrue(allowed) : -1;
}

static void judge_rights(const struct doctor_api *api, const struct doctor_options *o,
                         struct doctor_report *report)
{
    int all = is_allowed(&api->answers[DOCTOR_READ_SECRETS]);
    int events = is_allowed(&api->answers[DOCTOR_POST_EVENTS]);

    if (all == 1) {
        doctor_add(report, DOCTOR_WARN, "rights",
                   "these credentials can read every secret of the cluster");
        doctor_remedy(report, "--rights node needs no such rights; else bind a Role in each "
                              "namespace that has volumes");
    } else if (all == 0) {
        doctor_add(report, DOCTOR_OK, "rights", "%s",
                   streq(o->rights, "daemon")
                       ? "not every secret of the cluster can be read; Roles say which ones"
                       : "not every secret of the cluster can be read");
    }
    if (events >= 0) {
        doctor_add(report, events == 1 ? DOCTOR_OK : DOCTOR_WARN, "events", "Events on pods %s",
                   events == 1 ? "can be created"
                               : "cannot be created: trouble is in the log only");
        if (events == 0)
            doctor_remedy(report, "allow create of events, as deploy/rbac/events does");
    }
}

static void judge_pods(const struct doctor_api *api, const struct doctor_options *o,
                       struct doctor_report *report)
{
    int status = api->answers[DOCTOR_READ_PODS].status;

    if (status == 200) {
        doctor_add(report, DOCTOR_OK, "pods", "the pods of node %s can be read", o->node_id);
    } else if (status == 401 || status == 403) {
        doctor_add(
            report, DOCTOR_WARN, "pods",
            "the pods of node %s cannot be read: volumes that a pod mounts by subPath do not "
            "follow updates unless they have `updates: in-place`",
            o->node_id);
        doctor_remedy(report, "allow get, list and watch of pods, as deploy/rbac/pods does");
    }
}

void doctor_api_judge(const struct doctor_api *api, const struct doctor_options *options,
                      struct timespec now, struct doctor_report *report)
{
    judge_config(api, options, report);
    judge_certificate(api, now, report);
    if (!api->has_credentials || !judge_server(api, report))
        return;
    judge_identity(api, options, report);
    judge_driver(api, options, report);
    judge_node(api, options, report);
    judge_rights(api, options, report);
    judge_pods(api, options, report);
}

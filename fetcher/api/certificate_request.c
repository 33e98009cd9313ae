/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/certificate_request.h"

#include "fetcher/api/protocol.h"

#define RESOURCE_PATH "/apis/certificates.k8s.io/v1/namespaces/%s/podcertificaterequests"
#define JITTER_MAX_S  300

/* ---- the request */

int certificate_request_from_key(const struct object_key *key,
                                 struct certificate_request *ret_request, char **ret_buf)
{
    char *buf = strdup(key->detail != NULL ? key->detail : ""), *rest = buf;
    const char *lines[5]; /* uid, pod, signer, key type, seconds */

    *ret_buf = buf;
    if (buf == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < ELEMENTS_OF(lines); i++)
        lines[i] = strsep(&rest, "\n");
    if (rest == NULL)
        return -EINVAL;
    *ret_request =
        (struct certificate_request){.namespace = key->namespace,
                                     .service_account = key->name,
                                     .pod_uid = lines[0],
                                     .pod = lines[1],
                                     .signer = lines[2],
                                     .key_type = lines[3],
                                     .max_expiration_s = (unsigned)strtoul(lines[4], NULL, 10),
                                     .annotations = rest};
    return 0;
}

int certificate_request_add_path(const struct certificate_request *request, struct buf *path)
{
    return buf_addf(path, RESOURCE_PATH, request->namespace);
}

int certificate_request_add_watch_path(const struct certificate_request *request, const char *name,
                                       const char *node, span_us timeout, struct buf *path)
{
    int r = buf_addf(path,
                     RESOURCE_PATH "?watch=true&timeoutSeconds=%u&fieldSelector=metadata.name%%3D",
                     request->namespace, (unsigned)(timeout / SPAN_SEC(1)));

    if (r >= 0)
        r = protocol_add_escaped(path, name);
    if (r >= 0)
        r = buf_add_text(path, "%2Cspec.nodeName%3D");
    return r >= 0 ? protocol_add_escaped(path, node) : r;
}

/* The garbage collector removes requests of a pod that is gone. */
static int fill_metadata(cJSON *json, const struct certificate_request *request)
{
    cJSON *metadata = cJSON_AddObjectToObject(json, "metadata"), *owner = cJSON_CreateObject();
    cJSON *owners = cJSON_AddArrayToObject(metadata, "ownerReferences");
    int r = json_add_text(metadata, "generateName", "req-");

    r |= json_add_text(metadata, "namespace", request->namespace);
    if (!cJSON_AddItemToArray(owners, owner)) {
        cJSON_Delete(owner);
        return -ENOMEM;
    }
    r |= json_add_text(owner, "apiVersion", "v1");
    r |= json_add_text(owner, "kind", "Pod");
    r |= json_add_text(owner, "name", request->pod);
    return r | json_add_text(owner, "uid", request->pod_uid);
}

static int add_annotations(cJSON *spec, const char *text)
{
    cJSON *annotations = cJSON_Parse(text);

    if (!cJSON_AddItemToObject(spec, "unverifiedUserAnnotations", annotations)) {
        cJSON_Delete(annotations);
        return -ENOMEM;
    }
    return 0;
}

static int fill_spec(cJSON *json, const struct certificate_request *request,
                     const struct certificate_request_place *place, const char *csr)
{
    cJSON *spec = cJSON_AddObjectToObject(json, "spec");
    int r = json_add_text(spec, "signerName", request->signer);

    r |= json_add_text(spec, "podName", request->pod);
    r |= json_add_text(spec, "podUID", request->pod_uid);
    r |= json_add_text(spec, "serviceAccountName", request->service_account);
    r |= json_add_text(spec, "serviceAccountUID", place->account_uid);
    r |= json_add_text(spec, "nodeName", place->node);
    r |= json_add_text(spec, "nodeUID", place->node_uid);
    r |= json_add_number(spec, "maxExpirationSeconds", request->max_expiration_s);
    r |= json_add_text(spec, "stubPKCS10Request", csr);
    return streq(request->annotations, "{}") ? r : r | add_annotations(spec, request->annotations);
}

char *certificate_request_body(const struct certificate_request *request,
                               const struct certificate_request_place *place, const char *csr)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    int r = json_add_text(json, "apiVersion", "certificates.k8s.io/v1");

    r |= json_add_text(json, "kind", "PodCertificateRequest");
    r |= fill_metadata(json, request);
    r |= fill_spec(json, request, place, csr);
    return r == 0 ? cJSON_PrintUnformatted(json) : NULL;
}

/* ---- what came of it */

static const cJSON *find_condition(const cJSON *json, const char *type)
{
    const cJSON *condition;

    cJSON_ArrayForEach (condition, json_path(json, "status", "conditions", NULL)) {
        const char *found = json_text(condition, "type");
        const char *status = json_text(condition, "status");

        if (found != NULL && streq(found, type) && (status == NULL || streq(status, "True")))
            return condition;
    }
    return NULL;
}

static void explain_refusal(const cJSON *json, const cJSON *condition, const char *word,
                            struct error *e)
{
    const char *name = json_text(json_member(json, "metadata"), "name");
    const char *reason = json_text(condition, "reason");
    const char *message = json_text(condition, "message");

    error_set(e, -EACCES, "the signer %s podcertificaterequest %.253s: %.64s%s%.256s", word,
              name != NULL ? name : "", reason != NULL ? reason : "no reason given",
              message != NULL && message[0] != '\0' ? ": " : "", message != NULL ? message : "");
}

static bool read_time(const cJSON *status, const char *name, struct timespec *ret_time)
{
    const char *text = json_text(status, name);

    return text != NULL && clock_parse_rfc3339(text, ret_time) == 0;
}

static int read_issued(const cJSON *status, struct certificate_status *ret_status, struct error *e)
{
    struct certificate_status found = {.chain = json_text(status, "certificateChain")};

    if (found.chain == NULL || !read_time(status, "notBefore", &found.not_before) ||
        !read_time(status, "beginRefreshAt", &found.begin_refresh_at) ||
        !read_time(status, "notAfter", &found.not_after))
        return error_set(e, -EINVAL,
                         "the podcertificaterequest is issued without certificateChain, notBefore, "
                         "beginRefreshAt or notAfter");
    *ret_status = found;
    return CERTIFICATE_ISSUED;
}

int certificate_request_read(const cJSON *json, struct certificate_status *ret_status,
                             struct error *e)
{
    static const struct {
        const char *type;
        const char *word;
    } refusals[] = {{"Denied", "denied"}, {"Failed", "failed on"}};

    for (size_t i = 0; i < ELEMENTS_OF(refusals); i++) {
        const cJSON *condition = find_condition(json, refusals[i].type);

        if (condition != NULL) {
            explain_refusal(json, condition, refusals[i].word, e);
            return CERTIFICATE_REFUSED;
        }
    }
    if (find_condition(json, "Issued") == NULL)
        return CERTIFICATE_PENDING;
    return read_issued(json_member(json, "status"), ret_status, e);
}

/* ---- the object */

#define PEM_MAX_BYTES ((size_t)1 << 20) /* far more than a chain of 100 KiB and a key need */

static int print(const struct certificate_key *private_key, const char *chain_text, struct buf *key,
                 struct buf *chain, struct buf *bundle, struct error *e)
{
    int r = certificate_key_print_chain(private_key, chain_text, chain, e);

    if (r < 0)
        return r;
    r = certificate_key_print(private_key, key);
    if (r >= 0)
        r = buf_add(bundle, buf_text(key), key->len);
    if (r >= 0)
        r = buf_add(bundle, buf_text(chain), chain->len);
    return r < 0 ? error_set_errno(e, r, "cannot print a certificate and its key") : 0;
}

static struct object_input input_of(const char *key, const struct buf *pem)
{
    return (struct object_input){
        .key = key, .text = buf_text(pem), .len = pem->len, .encoding = OBJECT_RAW};
}

int certificate_request_object(const struct object_key *key,
                               const struct certificate_key *private_key, const char *chain,
                               struct object **ret_object, struct error *e)
{
    const struct object like = {.key = *key};
    _cleanup_(buf_deinit) struct buf key_pem = BUF_INIT(PEM_MAX_BYTES);
    _cleanup_(buf_deinit) struct buf chain_pem = BUF_INIT(PEM_MAX_BYTES);
    _cleanup_(buf_deinit) struct buf bundle_pem = BUF_INIT(2 * PEM_MAX_BYTES);
    int r = print(private_key, chain, &key_pem, &chain_pem, &bundle_pem, e);
    struct object_input inputs[3];

    if (r < 0)
        return r;
    inputs[0] = input_of(CERTIFICATE_BUNDLE, &bundle_pem);
    inputs[1] = input_of(CERTIFICATE_KEY, &key_pem);
    inputs[2] = input_of(CERTIFICATE_CHAIN, &chain_pem);
    return object_new(&like, inputs, ELEMENTS_OF(inputs), ret_object, e);
}

/* ---- the renewal */

struct timespec certificate_renewal_time(const struct certificate_status *status,
                                         struct timespec now, uint64_t random)
{
    time_t begin = status->begin_refresh_at.tv_sec, end = status->not_after.tv_sec;
    time_t lifetime = end - status->not_before.tv_sec, jitter = JITTER_MAX_S, least;

    if (jitter > (end - begin) / 2)
        jitter = end > begin ? (end - begin) / 2 : 0;
    if (jitter > 0)
        begin += (time_t)(random % (uint64_t)jitter);
    least = now.tv_sec + (lifetime > 10 ? lifetime / 10 : 1);
    return (struct timespec){.tv_sec = begin > least ? begin : least};
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/token_request.h"

#include "encoding/json.h"

#define JITTER_MAX_S     10u /* whole seconds, 0 to 9 */
#define AGE_MAX          SPAN_SEC(24 * 3600)
/* Where the server does not state it; renewals are a tenth of it apart at least. */
#define LIFETIME_LEAST_S 10

int token_request_from_key(const struct object_key *key, struct token_request *ret_request,
                           char **ret_buf)
{
    char *buf = strdup(key->detail != NULL ? key->detail : ""), *rest = buf;
    const char *uid, *pod, *seconds;

    *ret_buf = buf;
    if (buf == NULL)
        return -ENOMEM;
    uid = strsep(&rest, "\n");
    pod = strsep(&rest, "\n");
    seconds = strsep(&rest, "\n");
    if (rest == NULL)
        return -EINVAL;
    *ret_request = (struct token_request){.namespace = key->namespace,
                                          .service_account = key->name,
                                          .pod = pod,
                                          .pod_uid = uid,
                                          .audience = rest,
                                          .expiration_s = (unsigned)strtoul(seconds, NULL, 10)};
    return 0;
}

int token_request_add_path(const struct token_request *request, struct buf *path)
{
    return buf_addf(path, "/api/v1/namespaces/%s/serviceaccounts/%s/token", request->namespace,
                    request->service_account);
}

static int fill_bound(cJSON *spec, const struct token_request *request)
{
    cJSON *bound = cJSON_AddObjectToObject(spec, "boundObjectRef");
    int r = json_add_text(bound, "apiVersion", "v1");

    r |= json_add_text(bound, "kind", "Pod");
    r |= json_add_text(bound, "name", request->pod);
    return r | json_add_text(bound, "uid", request->pod_uid);
}

static int fill_spec(cJSON *json, const struct token_request *request)
{
    cJSON *spec = cJSON_AddObjectToObject(json, "spec");
    cJSON *audiences = cJSON_AddArrayToObject(spec, "audiences"), *audience;

    if (audiences == NULL)
        return -ENOMEM;
    if (request->audience[0] != '\0') {
        audience = cJSON_CreateString(request->audience);
        if (!cJSON_AddItemToArray(audiences, audience)) {
            cJSON_Delete(audience);
            return -ENOMEM;
        }
    }
    return json_add_number(spec, "expirationSeconds", request->expiration_s) |
           fill_bound(spec, request);
}

char *token_request_body(const struct token_request *request)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    int r = json_add_text(json, "apiVersion", "authentication.k8s.io/v1");

    r |= json_add_text(json, "kind", "TokenRequest");
    r |= fill_spec(json, request);
    return r == 0 ? cJSON_PrintUnformatted(json) : NULL;
}

/* A server may leave expirationSeconds out; then it is what is left. */
static span_us lifetime_of(const cJSON *json, struct timespec expires_at, struct timespec now)
{
    const cJSON *seconds = json_path(json, "spec", "expirationSeconds", NULL);
    time_t left = expires_at.tv_sec - now.tv_sec;

    if (cJSON_IsNumber(seconds) && seconds->valuedouble >= 1 && seconds->valuedouble <= UINT32_MAX)
        return SPAN_SEC((uint64_t)seconds->valuedouble);
    return left > LIFETIME_LEAST_S ? SPAN_SEC((uint64_t)left) : SPAN_SEC(LIFETIME_LEAST_S);
}

int token_request_parse(const struct object_key *key, const char *text, size_t len,
                        struct issued_token *ret_token, struct error *e)
{
    const struct object like = {.key = *key};
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    struct object_input input = {.key = TOKEN_KEY, .encoding = OBJECT_TEXT};
    struct issued_token token;
    const char *expires_at;
    int r = json_parse(text, len, &json, e);

    if (r < 0)
        return r;
    input.text = json_text(json_member(json, "status"), "token");
    expires_at = json_text(json_member(json, "status"), "expirationTimestamp");
    if (input.text == NULL || input.text[0] == '\0' || expires_at == NULL ||
        clock_parse_rfc3339(expires_at, &token.expires_at) < 0)
        return error_set(e, -EINVAL, "the response has no token with an expirationTimestamp");
    input.len = strlen(input.text);
    token.lifetime = lifetime_of(json, token.expires_at, clock_wall());
    r = object_new(&like, &input, 1, &token.object, e);
    if (r == 0)
        *ret_token = token;
    return r;
}

/* Microseconds from @now to @then; negative if it is past. */
static int64_t until(struct timespec then, struct timespec now)
{
    return ((int64_t)then.tv_sec - (int64_t)now.tv_sec) * 1000000 +
           (then.tv_nsec - now.tv_nsec) / 1000;
}

span_us token_renewal_delay(const struct issued_token *token, struct timespec now, uint64_t random)
{
    span_us lifetime = token->lifetime, least = lifetime / 10;
    span_us jitter = SPAN_SEC(random % JITTER_MAX_S);
    span_us age = lifetime / 5 * 4 < AGE_MAX ? lifetime / 5 * 4 : AGE_MAX;
    int64_t delay;

    /* for lifetimes that only tests have */
    jitter = jitter < lifetime / 10 ? jitter : lifetime / 10;
    delay = until(token->expires_at, now) - (int64_t)(lifetime - age) - (int64_t)jitter;
    return delay > (int64_t)least ? (span_us)delay : least;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/protocol.h"

#include <ctype.h>

#include "encoding/json.h"

/* The characters that RFC 3986 leaves alone anywhere; names hold no others, a cursor might. */
int protocol_add_escaped(struct buf *b, const char *text)
{
    int result = 0;

    for (const char *p = text; *p != '\0' && result >= 0; p++) {
        if (isalnum((unsigned char)*p) || strchr("-._~", *p) != NULL)
            result = buf_add(b, p, 1);
        else
            result = buf_addf(b, "%%%02X", (unsigned char)*p);
    }
    return result;
}

const char *protocol_resource_version(const cJSON *json)
{
    const char *text = json_text(json_member(json, "metadata"), "resourceVersion");

    return text != NULL ? text : "";
}

static bool is_number(const char *text)
{
    return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

bool protocol_is_older(const char *a, const char *b)
{
    if (!is_number(a) || !is_number(b))
        return false;
    a += strspn(a, "0");
    b += strspn(b, "0");
    if (strlen(a) != strlen(b))
        return strlen(a) < strlen(b);
    return strcmp(a, b) < 0;
}

int protocol_status_code(const cJSON *status)
{
    const cJSON *code = json_member(status, "code");

    return cJSON_IsNumber(code) ? code->valueint : 0;
}

enum remedy { REMEDY_NONE, REMEDY_CREDENTIALS, REMEDY_ALLOW, REMEDY_URL, REMEDY_TLS };

static const struct {
    int status;
    enum remedy remedy;
    const char *words;
} refusals[] = {
    {400, REMEDY_TLS, "Bad Request"},
    {401, REMEDY_CREDENTIALS, "Unauthorized"},
    {403, REMEDY_ALLOW, "Forbidden"},
    {404, REMEDY_URL, "Not Found"},
    {410, REMEDY_NONE, "Gone"},
    {429, REMEDY_NONE, "Too Many Requests"},
    {500, REMEDY_NONE, "Internal Server Error"},
    {502, REMEDY_NONE, "Bad Gateway"},
    {503, REMEDY_NONE, "Service Unavailable"},
    {504, REMEDY_NONE, "Gateway Timeout"},
};

/* Source: Go's net/http answers plain http on a port for TLS so. */
static bool expects_tls(const struct protocol_refusal *refusal)
{
    return strstr(buf_text(refusal->body), "HTTP request to an HTTPS server") != NULL;
}

static void explain_remedy(enum remedy remedy, const struct protocol_refusal *refusal,
                           struct error *ret_text)
{
    *ret_text = ERROR_INIT;
    switch (remedy) {
    case REMEDY_NONE:
        break;
    case REMEDY_CREDENTIALS:
        error_set(ret_text, -EACCES, ": check the credentials %s%.200s",
                  refusal->user != NULL ? "of " : "that are given to it",
                  refusal->user != NULL ? refusal->user : "");
        break;
    case REMEDY_ALLOW:
        error_set(ret_text, -EACCES, "%s", refusal->allow);
        break;
    case REMEDY_URL:
        error_set(ret_text, -ENOENT, ": check that the server's URL is an API server's");
        break;
    case REMEDY_TLS:
        if (expects_tls(refusal))
            error_set(ret_text, -EPROTO,
                      ": the port expects TLS: begin the server's URL with https://");
        break;
    }
}

void protocol_explain_refusal(const struct protocol_refusal *refusal, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    const char *words = "an unexpected answer", *message;
    struct error remedy = ERROR_INIT;

    json_parse(buf_text(refusal->body), refusal->body->len, &json, NULL);
    message = json_text(json, "message");
    for (size_t i = 0; i < ELEMENTS_OF(refusals); i++) {
        if (refusals[i].status != refusal->status)
            continue;
        words = refusals[i].words;
        explain_remedy(refusals[i].remedy, refusal, &remedy);
    }
    error_set(e, -EIO, "the API server answered %d (%s)%s%.256s%s", refusal->status, words,
              message != NULL ? ": " : "", message != NULL ? message : "", remedy.text);
}

void protocol_explain_end(const cJSON *status, struct error *e)
{
    const char *message = json_text(status, "message");

    error_set(e, -EIO, "the API server ended the watch with %d: %.256s",
              protocol_status_code(status), message != NULL ? message : "no reason given");
}

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

static const struct {
    int status;
    const char *words;
    const char *remedy; /* NULL: the caller's */
} refusals[] = {
    {401, "Unauthorized", ": check the credentials that are given to it"},
    {403, "Forbidden", NULL},
    {404, "Not Found", ": check that the server's URL is an API server's"},
    {410, "Gone", ""},
    {429, "Too Many Requests", ""},
    {500, "Internal Server Error", ""},
    {502, "Bad Gateway", ""},
    {503, "Service Unavailable", ""},
    {504, "Gateway Timeout", ""},
};

void protocol_explain_refusal(int status, const char *message, const char *allow, struct error *e)
{
    const char *words = "an unexpected answer", *remedy = "";

    for (size_t i = 0; i < ELEMENTS_OF(refusals); i++) {
        if (refusals[i].status == status) {
            words = refusals[i].words;
            remedy = refusals[i].remedy != NULL ? refusals[i].remedy : allow;
        }
    }
    error_set(e, -EIO, "the API server answered %d (%s)%s%.256s%s", status, words,
              message != NULL ? ": " : "", message != NULL ? message : "", remedy);
}

void protocol_explain_end(const cJSON *status, struct error *e)
{
    const char *message = json_text(status, "message");

    error_set(e, -EIO, "the API server ended the watch with %d: %.256s",
              protocol_status_code(status), message != NULL ? message : "no reason given");
}

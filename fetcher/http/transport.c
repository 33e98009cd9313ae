/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http/transport.h"

#include "fetcher/http/curl_quirks.h"

static int add_header(struct curl_slist **list, const char *name, const char *value)
{
    struct curl_slist *longer;
    char *line;

    if (value == NULL)
        return 0;
    if (asprintf(&line, "%s: %s", name, value) < 0)
        return -ENOMEM;
    longer = curl_slist_append(*list, line);
    free(line);
    if (longer == NULL)
        return -ENOMEM;
    *list = longer;
    return 0;
}

/*
 * With tls-server-name, libcurl gets a URL with that name, the server's real address to connect to,
 * and the real Host header, as Go's client does it.
 */
static int use_tls_server_name(struct http_transport *t, CURLU *url)
{
    char *host = NULL, *port = NULL, *connect_to = NULL, *authority = NULL;
    int r = -ENOMEM;

    if (curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        asprintf(&connect_to, "::%s:%s", host, port) > 0 &&
        asprintf(&authority, "%s:%s", host, port) > 0 &&
        curl_url_set(url, CURLUPART_HOST, t->config->tls_server_name, 0) == CURLUE_OK) {
        t->connect_to = curl_slist_append(NULL, connect_to);
        if (t->connect_to != NULL)
            r = add_header(&t->headers, "Host", authority);
    }
    curl_free(host);
    curl_free(port);
    free(connect_to);
    free(authority);
    return r;
}

static inline void url_freep(CURLU **url)
{
    curl_url_cleanup(*url);
}

static int set_server(struct http_transport *t, struct error *e)
{
    const struct api_config *config = t->config;
    _cleanup_(url_freep) CURLU *url = curl_url();
    CURLUcode code =
        url != NULL ? curl_url_set(url, CURLUPART_URL, config->server, 0) : CURLUE_OUT_OF_MEMORY;
    char *text = NULL;
    int r = 0;

    if (code == CURLUE_OUT_OF_MEMORY)
        return error_set_errno(e, -ENOMEM, "cannot prepare requests to %s", config->server);
    if (code != CURLUE_OK || (str_after(config->server, "https://") == NULL &&
                              str_after(config->server, "http://") == NULL))
        return error_set(e, -EINVAL,
                         "server \"%.256s\" is not a URL: write https://HOST:PORT in %s",
                         config->server, config->origin);
    if (config->tls_server_name != NULL)
        r = use_tls_server_name(t, url);
    if (r >= 0 && curl_url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK)
        r = -ENOMEM;
    if (r >= 0) {
        size_t len = strlen(text);

        while (len > 0 && text[len - 1] == '/')
            len--; /* the URL parser adds one */
        t->base_url = strndup(text, len);
        if (t->base_url == NULL)
            r = -ENOMEM;
    }
    curl_free(text);
    if (r < 0)
        return error_set_errno(e, r, "cannot prepare requests to %s", config->server);
    return 0;
}

static int set_headers(struct http_transport *t, struct error *e)
{
    const struct api_config *config = t->config;
    const struct {
        const char *name;
        const char *value;
    } single[] = {
        {"Impersonate-User", config->impersonate_user},
        {"Impersonate-Uid", config->impersonate_uid},
    };
    /* a line break in a value would begin another header */
    bool is_valid = true;
    int r = 0;

    for (size_t i = 0; i < ELEMENTS_OF(single) && r >= 0; i++) {
        is_valid =
            is_valid && (single[i].value == NULL || strpbrk(single[i].value, "\r\n") == NULL);
        r = add_header(&t->headers, single[i].name, single[i].value);
    }
    for (char **g = config->impersonate_groups; g != NULL && *g != NULL && r >= 0; g++) {
        is_valid = is_valid && strpbrk(*g, "\r\n") == NULL;
        r = add_header(&t->headers, "Impersonate-Group", *g);
    }
    if (r < 0)
        return error_set_errno(e, r, "cannot prepare requests");
    if (!is_valid)
        return error_set(e, -EINVAL, "a name to impersonate has a line break: correct \"as\" in %s",
                         config->origin);
    return 0;
}

int http_transport_init(struct http_transport *transport, const struct api_config *config,
                        struct error *e)
{
    struct http_transport *t = transport;
    int r;

    t->config = config;
    t->stats.protocol = "";
    list_init(&t->unsent);
    list_init(&t->sent);
    list_init(&t->answered);
    http_connections_init(&t->connections);
    t->connections.is_serial = str_after(config->server, "http://") != NULL;
    r = set_server(t, e);
    if (r >= 0)
        r = set_headers(t, e);
    if (r < 0)
        return r;
    t->multi = curl_quirks_multi_new();
    if (t->multi == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare requests");
    curl_multi_setopt(t->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(t->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)HTTP_STREAMS_PER_CONNECTION);
    return 0;
}

void http_transport_deinit(struct http_transport *transport)
{
    struct http_transport *t = transport;

    if (t->config == NULL)
        return;
    assert(t->n_calls == 0 && t->n_active == 0 && t->connection_opener == NULL);
    assert(t->identities == NULL);
    if (t->multi != NULL)
        curl_multi_cleanup(t->multi); /* closes its sockets */
    http_connections_drop_lost(&t->connections);
    assert(list_is_empty(&t->connections.list));
    curl_slist_free_all(t->connect_to);
    curl_slist_free_all(t->headers);
    free(t->base_url);
}

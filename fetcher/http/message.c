/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http/message.h"

#include <openssl/ssl.h>
#include <stdio.h>

#include "fetcher/auth/authorization.h"
#include "fetcher/http/curl_quirks.h"
#include "fetcher/http/page_buffers.h"
#include "version.h"

#define CONNECT_LIMIT SPAN_SEC(10)

/* With connections.c's socket options, a peer that does not answer is noticed after 25 s. */
#define KEEPALIVE_IDLE_SEC     10
#define KEEPALIVE_INTERVAL_SEC 5

/*
 * libcurl's buffer for received bytes, which a watch keeps while it lives: libcurl's default, which
 * holds a whole DATA frame of HTTP/2. Less is not safe: see CURL_QUIRK_UNREAD_INPUT.
 */
#define BUFFER_BYTES ((long)PAGE_BUFFER_DATA_BYTES)

#if defined(__x86_64__)
#define ARCH "amd64"
#elif defined(__aarch64__)
#define ARCH "arm64"
#else
#define ARCH "other"
#endif
#define USER_AGENT "secretfs/" SECRETFS_VERSION " (linux/" ARCH ")"

/* Borrows from the identity, which outlives libcurl's handle. */
static struct curl_blob blob_of(char *pem)
{
    return (struct curl_blob){
        .data = pem,
        .len = pem != NULL ? strlen(pem) : 0,
        .flags = CURL_BLOB_NOCOPY,
    };
}

/*
 * OpenSSL decrypts a record in place in the connection's read buffer. With these it wipes there
 * what libcurl has read, and frees the buffer whenever it is empty.
 */
static CURLcode prepare_tls(CURL *easy, void *ssl_ctx, void *userdata)
{
    const struct api_config *config = userdata;

    if (!config->insecure_skip_tls_verify)
        curl_quirks_verify_in_handshake(ssl_ctx);
    SSL_CTX_set_options(ssl_ctx, SSL_OP_CLEANSE_PLAINTEXT);
    SSL_CTX_set_mode(ssl_ctx, SSL_MODE_RELEASE_BUFFERS);
    return CURLE_OK;
}

static CURLcode set_trust(CURL *easy, const struct api_config *config,
                          const struct tls_identity *identity)
{
    struct curl_blob ca = blob_of(identity->ca_pem),
                     certificate = blob_of(identity->client_cert_pem),
                     key = blob_of(identity->client_key_pem);
    CURLcode code = curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);

    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, prepare_tls);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, config);
    if (code == CURLE_OK && config->insecure_skip_tls_verify) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    } else if (code == CURLE_OK && identity->ca_pem != NULL) {
        /* without these two libcurl would trust the system's authorities as well */
        curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
        code = curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &ca);
    }
    if (code == CURLE_OK && identity->client_cert_pem != NULL && identity->client_key_pem != NULL) {
        code = curl_easy_setopt(easy, CURLOPT_SSLCERT_BLOB, &certificate);
        if (code == CURLE_OK)
            code = curl_easy_setopt(easy, CURLOPT_SSLKEY_BLOB, &key);
    }
    return code;
}

/* URL, method and headers. libcurl reads the body in place, and makes no copy of it but to send it.
 */
static CURLcode set_target(struct http_message *message, CURL *easy, const struct http_transport *t)
{
    static char accept[] = "Accept: application/json";
    static char accept_table[] = "Accept: application/json;as=Table;g=meta.k8s.io;v=v1";
    static char json[] = "Content-Type: application/json";
    static char patch[] = "Content-Type: application/strategic-merge-patch+json";
    struct curl_slist *headers = message->own_headers, *own = headers + 1;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    char *url;

    if (asprintf(&url, "%s%s", t->base_url, message->path) < 0)
        return code;
    code = curl_easy_setopt(easy, CURLOPT_URL, url);
    free(url);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_USERAGENT, USER_AGENT);
    if (code == CURLE_OK && t->config->proxy_url != NULL)
        code = curl_easy_setopt(easy, CURLOPT_PROXY, t->config->proxy_url);

    /* the request's own headers are linked before the common ones, without a copy of either */
    *headers = (struct curl_slist){.data = message->wants_table ? accept_table : accept,
                                   .next = t->headers};
    if (message->identity->authorization != NULL) {
        *own = (struct curl_slist){.data = message->identity->authorization, .next = headers};
        headers = own++;
    }
    if (message->body != NULL) {
        *own = (struct curl_slist){.data = message->is_patch ? patch : json, .next = headers};
        headers = own;
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(message->body));
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, message->body);
        if (message->is_patch)
            curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "PATCH");
    } else {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    return code;
}

/* Options that need no memory. */
static void set_connection(CURL *easy, struct http_transport *t)
{
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    /* without TLS only a response shows the protocol, and a watch may take long to get one */
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, t->connections.is_serial ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE_SEC);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_INTERVAL_SEC);
    curl_easy_setopt(easy, CURLOPT_CONNECT_TO, t->connect_to);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(CONNECT_LIMIT / SPAN_MS(1)));

    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, http_connections_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &t->connections);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, http_connections_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, &t->connections);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, http_connections_set_options);
}

int http_message_prepare(struct http_message *message, CURL *easy, struct http_transport *transport)
{
    if (set_target(message, easy, transport) != CURLE_OK ||
        set_trust(easy, transport->config, message->identity) != CURLE_OK)
        return -ENOMEM;
    set_connection(easy, transport);
    free(TAKE(message->path));
    return 0;
}

bool http_message_is_repeatable(const struct http_message *message)
{
    return message->body == NULL || message->is_patch || message->is_repeatable;
}

int http_message_init(struct http_message *message, struct http_transport *transport,
                      const struct http_call *call)
{
    *message = (struct http_message){
        .path = strdup(call->path),
        .body = call->body != NULL ? strdup(call->body) : NULL,
        .is_patch = call->is_patch,
        .is_repeatable = call->is_repeatable,
        .wants_table = call->wants_table,
        .identity = tls_identity_get(&transport->identities, call->credentials),
    };
    if (message->path == NULL || message->identity == NULL ||
        (call->body != NULL && message->body == NULL))
        return -ENOMEM;
    return 0;
}

void http_message_deinit(struct http_message *message)
{
    tls_identity_unref(message->identity);
    secret_text_free(message->body);
    free(message->path);
}

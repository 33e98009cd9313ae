/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request: libcurl's options for it, libcurl's callbacks, and how its failure is explained.
 *
 * A request without a response is sent again at once, on another connection, SENDS_MAX times in
 * all:
 *
 *  - When the server refused it unprocessed (GOAWAY, REFUSED_STREAM), or ended a connection that
 *    had carried others, libcurl begins it again by itself (Curl_retry_request() in
 *    lib/transfer.c), and admission.c finds a connection for it if libcurl has none
 *    (http_request_is_restarted()).
 *  - libcurl does not do so when a connection breaks on its first request, or when GOAWAY refuses
 *    the last stream of a connection: it fails as if the connection had broken
 *    (http_request_is_resendable()). The server may have processed it, so this is for GETs, patches
 *    and what the caller calls repeatable; and only after it was sent on that connection, as a
 *    proxy without a server refuses each connection at once.
 *
 * libcurl's handle is made when the request is admitted, as many wait. Certificates and tokens are
 * not copied into it: it refers to the bytes of the tls_identity, which outlives it.
 */
#include "fetcher/http/request.h"

#include <openssl/ssl.h>
#include <stdio.h>

#include "base/log.h"
#include "fetcher/auth/authorization.h"
#include "fetcher/http/curl_quirks.h"
#include "fetcher/http/page_buffers.h"
#include "version.h"

#define CONNECT_LIMIT SPAN_SEC(10)

/*
 * A request is refused if it crosses GOAWAY on its way. One that was refused goes first on a new
 * connection, and is served unless the server refuses each. Its caller tries later then.
 */
#define SENDS_MAX 4u

/* With connections.c's socket options, a peer that does not answer is noticed after 25 s. */
#define KEEPALIVE_IDLE_SEC     10
#define KEEPALIVE_INTERVAL_SEC 5

/* A longer Retry-After counts as this. */
#define RETRY_AFTER_MAX SPAN_SEC(300)
/* A response about one object delays the requests for all others by no more than this. */
#define PAUSE_MAX       SPAN_SEC(30)

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

/* ---- libcurl's callbacks */

struct http_request *http_request_check(void *userdata)
{
    struct http_request *request = userdata;

    assert(request->magic == HTTP_REQUEST_MAGIC);
    return request;
}

static const char *protocol_name(long version)
{
    switch (version) {
    case CURL_HTTP_VERSION_1_0:
        return "HTTP/1.0";
    case CURL_HTTP_VERSION_1_1:
        return "HTTP/1.1";
    case CURL_HTTP_VERSION_2_0:
        return "HTTP/2";
    default:
        return "";
    }
}

/* For traces: what follows the server's URL, which names objects. NULL if unknown. */
static const char *path_of(const struct http_request *request)
{
    const char *url = NULL;

    curl_easy_getinfo(request->easy, CURLINFO_EFFECTIVE_URL, &url);
    return url != NULL ? str_after(url, request->transport->base_url) : NULL;
}

/*
 * Another request may open a connection, or be sent on the opener's, when that has carried a
 * response, be it another request's. libcurl may send the opener on one that has carried some.
 */
static void forget_opener(struct http_transport *t)
{
    const struct http_request *opener = t->connection_opener;

    if (opener != NULL &&
        (opener->has_response || (opener->connection != NULL && opener->connection->is_ready)))
        t->connection_opener = NULL;
}

/* The head of a response is complete. */
static void request_on_response(struct http_request *request)
{
    struct http_transport *t = request->transport;
    struct http_response response = {.content_type = ""};
    long status = 0, version = 0;
    curl_off_t retry_after_sec = 0;
    char *content_type = NULL;

    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || request->has_response)
        return; /* an interim response, or trailers */
    curl_easy_getinfo(request->easy, CURLINFO_HTTP_VERSION, &version);
    curl_easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &retry_after_sec);
    curl_easy_getinfo(request->easy, CURLINFO_CONTENT_TYPE, &content_type);
    response.status = (int)status;
    if (retry_after_sec > 0 && (span_us)retry_after_sec < RETRY_AFTER_MAX / SPAN_SEC(1))
        response.retry_after = SPAN_SEC(retry_after_sec);
    else if (retry_after_sec > 0)
        response.retry_after = RETRY_AFTER_MAX;
    if (content_type != NULL)
        response.content_type = content_type;

    assert(t->n_unanswered > 0);
    t->n_unanswered--;
    request->has_response = true;
    list_remove(&request->link);
    list_append(&t->answered, &request->link);
    http_connections_on_response(&t->connections, request->connection, version);
    forget_opener(t);
    if (response.retry_after > 0 && (status == 429 || status == 503))
        rate_limit_pause(&t->rate_limit, clock_mono(),
                         response.retry_after < PAUSE_MAX ? response.retry_after : PAUSE_MAX);
    t->stats.protocol = protocol_name(version);
    http_stats_count(&t->stats, response.status);
    log_trace(LOG_TRACE_HTTP, "response", "path", path_of(request), "status", LOG_NUM(status),
              "protocol", t->stats.protocol);
    request->handler->on_response(request->userdata, &response);
}

/* libcurl has a connection for it and sends it; again if that connection was dead. */
static int request_on_sent(void *userdata, char *address, char *local_address, int port,
                           int local_port)
{
    struct http_request *request = http_request_check(userdata);
    struct http_transport *t = request->transport;

    t->n_callbacks++;
    if (request->handler == NULL)
        return CURL_PREREQFUNC_ABORT;
    list_remove(&request->link);
    list_append(&t->sent, &request->link);
    if (request->n_sent++ == 0)
        request->sent_at = clock_mono();
    request->restarted_at = curl_quirks_restarted_at(request->easy);
    http_connection_release(request->connection);
    request->connection = http_connections_acquire(&t->connections, local_port);
    forget_opener(t);
    log_trace(LOG_TRACE_HTTP, "request sent", "path", path_of(request), "localPort",
              LOG_NUM(local_port));
    if (request->on_sent != NULL)
        request->on_sent(request->userdata);
    return request->handler != NULL ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static size_t request_on_header(char *bytes, size_t size, size_t n, void *userdata)
{
    struct http_request *request = http_request_check(userdata);
    bool is_end = n > 0 && (bytes[0] == '\r' || bytes[0] == '\n');

    request->transport->n_callbacks++;
    if (request->handler != NULL && is_end)
        request_on_response(request);
    return request->handler != NULL ? size * n : 0; /* 0 ends the transfer of a freed request */
}

static size_t request_on_body(char *bytes, size_t size, size_t n, void *userdata)
{
    struct http_request *request = http_request_check(userdata);

    request->transport->n_callbacks++;
    if (request->handler != NULL)
        request->handler->on_body(request->userdata, bytes, size * n);
    /* libcurl's own buffer, whose content it does not need any more (docs/internals/memory.md) */
    page_buffers_wipe(bytes, size * n);
    return request->handler != NULL ? size * n : CURL_WRITEFUNC_ERROR;
}

/* ---- explaining failures */

/* The server's certificate is not accepted. @words: libcurl's reason */
static void explain_trust(const struct api_config *config, const char *words, struct error *e)
{
    bool is_name = strstr(words, "subject name") != NULL;

    error_set(e, -EACCES, "the certificate of %s is not trusted: %s: %s in %s", config->server,
              words,
              is_name ? "set tls-server-name to a name that the certificate has"
                      : "check certificate-authority",
              config->origin);
}

static void explain_connect(const struct api_config *config, long os_error, const char *words,
                            struct error *e)
{
    char text[128];

    if (os_error != 0)
        words = strerror_r((int)os_error, text, sizeof(text));
    error_set(e, -ECONNREFUSED,
              "cannot connect to %s%s: %s: check that %s runs, and its address in %s",
              config->server, config->proxy_url != NULL ? " through its proxy" : "", words,
              config->proxy_url != NULL ? "each of them" : "the API server", config->origin);
}

/* The other side did not understand our first bytes: one of us speaks TLS, the other does not. */
static void explain_scheme(const struct api_config *config, const char *words, struct error *e)
{
    if (api_config_is_encrypted(config))
        error_set(
            e, -EPROTO,
            "cannot use TLS with %s: %s: check that its port is for TLS, and the server in %s",
            config->server, words, config->origin);
    else
        error_set(e, -EPROTO,
                  "%s does not answer plain http: %s: if its port is for TLS, name an https:// "
                  "server in %s",
                  config->server, words, config->origin);
}

/* A server for TLS may also close the connection that brings it plain http. */
static void explain_break(const struct http_request *request, const char *words, struct error *e)
{
    const struct api_config *config = request->transport->config;

    if (!request->has_response && !api_config_is_encrypted(config))
        explain_scheme(config, words, e);
    else
        error_set(e, -EIO, "the connection to %s broke: %s", config->server, words);
}

static void explain(const struct http_request *request, CURLcode code, long os_error,
                    struct error *e)
{
    const struct api_config *config = request->transport->config;
    const char *words =
        request->error_text[0] != '\0' ? request->error_text : curl_easy_strerror(code);

    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        explain_trust(config, words, e);
        break;
    case CURLE_COULDNT_CONNECT:
        explain_connect(config, os_error, words, e);
        break;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        error_set(e, -ENOENT, "cannot find the address of %s: %s: check the name in %s, and DNS",
                  config->server, words, config->origin);
        break;
    case CURLE_SSL_CERTPROBLEM:
        error_set(e, -EINVAL,
                  "cannot use the client certificate for %s: %s: check client-certificate "
                  "and client-key in %s",
                  config->server, words, config->origin);
        break;
    case CURLE_SSL_CACERT_BADFILE:
        error_set(e, -EINVAL,
                  "cannot use the CA certificates for %s: %s: check certificate-authority "
                  "in %s",
                  config->server, words, config->origin);
        break;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_UNSUPPORTED_PROTOCOL: /* what came is no HTTP/1.1 */
    case CURLE_WEIRD_SERVER_REPLY:
        explain_scheme(config, words, e);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        error_set(e, -ETIMEDOUT,
                  "%s did not answer in time: %s: check the network and the "
                  "API server's load",
                  config->server, words);
        break;
    default:
        explain_break(request, words, e);
        break;
    }
}

/* ---- the end of a request */

void http_request_withdraw(struct http_request *request)
{
    struct http_transport *t = request->transport;

    if (!request->is_added)
        return;
    curl_multi_remove_handle(t->multi, request->easy);
    list_remove(&request->link);
    request->is_added = false;
    request->was_run = false;
    request->connection = http_connection_release(request->connection);
    assert(t->n_active > 0);
    t->n_active--;
    if (!request->has_response)
        t->n_unanswered--;
    assert(t->n_unanswered <= t->n_active);
    if (t->connection_opener == request)
        t->connection_opener = NULL;
}

bool http_request_is_restarted(const struct http_request *request)
{
    return curl_quirks_restarted_at(request->easy) != request->restarted_at;
}

void http_request_unsend(struct http_request *request)
{
    struct http_transport *t = request->transport;

    list_remove(&request->link);
    list_append(&t->unsent, &request->link);
    request->was_run = true;
    request->connection = http_connection_release(request->connection);
    if (t->connection_opener == request)
        t->connection_opener = NULL;
}

bool http_request_may_resend(const struct http_request *request)
{
    return request->n_sent < SENDS_MAX;
}

bool http_request_is_resendable(const struct http_request *request, CURLcode code)
{
    bool is_repeatable = request->body == NULL || request->is_patch || request->is_repeatable;

    switch (code) {
    case CURLE_HTTP2:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return is_repeatable && request->connection != NULL && !request->has_response &&
               request->handler != NULL && http_request_may_resend(request);
    default: /* CURLE_HTTP2_STREAM, too: the server ended the stream with an error */
        return false;
    }
}

/* Another request on the same connection. Return: its handle; NULL: none is known. */
static CURL *find_neighbour(const struct http_request *request, const struct list *requests)
{
    const struct http_request *other;

    if (request->connection == NULL)
        return NULL;
    list_for_each (other, requests, link)
        if (other != request && other->connection == request->connection)
            return other->easy;
    return NULL;
}

static void cancel(struct http_request *request)
{
    CURL *neighbour = find_neighbour(request, &request->transport->answered);

    if (neighbour == NULL)
        neighbour = find_neighbour(request, &request->transport->sent);
    curl_quirks_cancel(request->easy);
    http_request_withdraw(request);
    if (neighbour != NULL)
        curl_quirks_flush(neighbour);
}

struct http_request *http_request_destroy(struct http_request *request)
{
    if (request == NULL)
        return NULL;
    assert(!request->is_queued);
    if (request->is_added)
        cancel(request);
    list_remove(&request->link);
    curl_easy_cleanup(request->easy);
    tls_identity_unref(request->identity);
    secret_text_free(request->body);
    free(request->path);
    request->magic = 0;
    free(request);
    return NULL;
}

enum http_outcome http_request_end(struct http_request *request, CURLcode code,
                                   struct error *ret_error)
{
    struct http_transport *t = request->transport;
    long os_error = 0;

    if (request->easy != NULL)
        curl_easy_getinfo(request->easy, CURLINFO_OS_ERRNO, &os_error);
    if (request->easy != NULL)
        log_trace(LOG_TRACE_HTTP, "request ended", "path", path_of(request), "error",
                  code != CURLE_OK ? curl_easy_strerror(code) : NULL);
    http_request_withdraw(request);
    if (!request->has_response) {
        http_stats_count(&t->stats, 0);
        http_connections_drop_lost(&t->connections);
    }
    if (code == CURLE_OK)
        return HTTP_COMPLETE;
    explain(request, curl_quirks_result(code), os_error, ret_error);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return HTTP_TIMED_OUT;
    return code == CURLE_COULDNT_CONNECT && os_error == ECONNREFUSED ? HTTP_REFUSED : HTTP_FAILED;
}

void http_request_report(struct http_request *request, enum http_outcome outcome,
                         const struct error *error)
{
    const struct http_handler *handler = request->handler;

    request->handler = NULL;
    if (handler != NULL)
        handler->on_done(request->userdata, outcome, error);
}

/* ---- the start of a request */

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
static CURLcode set_target(struct http_request *request)
{
    static char accept[] = "Accept: application/json";
    static char accept_table[] = "Accept: application/json;as=Table;g=meta.k8s.io;v=v1";
    static char json[] = "Content-Type: application/json";
    static char patch[] = "Content-Type: application/strategic-merge-patch+json";
    const struct http_transport *t = request->transport;
    struct curl_slist *headers = request->own_headers, *own = headers + 1;
    CURL *easy = request->easy;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    char *url;

    if (asprintf(&url, "%s%s", t->base_url, request->path) < 0)
        return code;
    code = curl_easy_setopt(easy, CURLOPT_URL, url);
    free(url);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_USERAGENT, USER_AGENT);
    if (code == CURLE_OK && t->config->proxy_url != NULL)
        code = curl_easy_setopt(easy, CURLOPT_PROXY, t->config->proxy_url);

    /* the request's own headers are linked before the common ones, without a copy of either */
    *headers = (struct curl_slist){.data = request->wants_table ? accept_table : accept,
                                   .next = t->headers};
    if (request->identity->authorization != NULL) {
        *own = (struct curl_slist){.data = request->identity->authorization, .next = headers};
        headers = own++;
    }
    if (request->body != NULL) {
        *own = (struct curl_slist){.data = request->is_patch ? patch : json, .next = headers};
        headers = own;
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(request->body));
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
        if (request->is_patch)
            curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "PATCH");
    } else {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    return code;
}

/* Options that need no memory: connection, limits and callbacks. */
static void set_options(struct http_request *request)
{
    struct http_transport *t = request->transport;
    CURL *easy = request->easy;

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
    curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error_text);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, request_on_sent);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, request);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, request_on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, request_on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
}

/* Make libcurl's handle. Return: 0; -ENOMEM. */
static int request_prepare(struct http_request *request)
{
    request->easy = curl_easy_init();
    if (request->easy == NULL || set_target(request) != CURLE_OK ||
        set_trust(request->easy, request->transport->config, request->identity) != CURLE_OK)
        return -ENOMEM;
    set_options(request);
    free(TAKE(request->path));
    return 0;
}

/* libcurl counts from the start; a request that is sent again has what is left. */
static void set_total_limit(const struct http_request *request)
{
    span_us past = request->n_sent > 0 ? clock_mono() - request->sent_at : 0;
    span_us left = past < request->total_limit ? request->total_limit - past : 0;

    /* 0 would mean no limit */
    curl_easy_setopt(request->easy, CURLOPT_TIMEOUT_MS, (long)(left / SPAN_MS(1)) + 1);
}

int http_request_start(struct http_request *request)
{
    struct http_transport *t = request->transport;
    int r = request->easy == NULL ? request_prepare(request) : 0;
    CURLMcode code;

    assert(!request->is_queued && !request->is_added);
    if (r < 0)
        return r;
    set_total_limit(request);
    t->n_calls++;
    code = curl_multi_add_handle(t->multi, request->easy);
    t->n_calls--;
    if (code != CURLM_OK)
        return -ENOMEM;
    request->is_added = true;
    list_remove(&request->link);
    list_append(&t->unsent, &request->link);
    t->n_active++;
    t->n_unanswered++;
    return 0;
}

struct http_request *http_request_new(struct http_transport *transport,
                                      const struct http_call *call,
                                      const struct http_handler *handler, void *userdata)
{
    struct http_request *request = calloc(1, sizeof(*request));

    if (request == NULL)
        return NULL;
    request->magic = HTTP_REQUEST_MAGIC;
    request->transport = transport;
    list_init(&request->link);
    request->handler = handler;
    request->userdata = userdata;
    request->total_limit = call->total_limit;
    request->is_watch = call->is_watch;
    request->on_sent = call->on_sent;
    request->path = strdup(call->path);
    request->body = call->body != NULL ? strdup(call->body) : NULL;
    request->is_patch = call->is_patch;
    request->is_repeatable = call->is_repeatable;
    request->wants_table = call->wants_table;
    request->identity = tls_identity_get(&transport->identities, call->credentials);
    if (request->path == NULL || request->identity == NULL ||
        (call->body != NULL && request->body == NULL))
        return http_request_destroy(request);
    return request;
}

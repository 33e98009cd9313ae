/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http/failure.h"

#include "fetcher/http/curl_quirks.h"

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
static void explain_break(const struct http_failure *failure, const char *words, struct error *e)
{
    const struct api_config *config = failure->config;

    if (!failure->has_response && !api_config_is_encrypted(config))
        explain_scheme(config, words, e);
    else
        error_set(e, -EIO, "the connection to %s broke: %s", config->server, words);
}

void http_failure_explain(const struct http_failure *failure, struct error *ret_error)
{
    const struct api_config *config = failure->config;
    CURLcode code = curl_quirks_result(failure->code);
    const char *words = failure->text[0] != '\0' ? failure->text : curl_easy_strerror(code);
    struct error *e = ret_error;

    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        explain_trust(config, words, e);
        break;
    case CURLE_COULDNT_CONNECT:
        explain_connect(config, failure->os_error, words, e);
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
        explain_break(failure, words, e);
        break;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The texts of errors of requests. For the files of the HTTP client only. */
#include <curl/curl.h>

#include "base/error.h"
#include "fetcher/auth/api_config.h"

struct http_failure {
    const struct api_config *config;
    CURLcode code;     /* libcurl's; not CURLE_OK */
    long os_error;     /* errno of the connection; 0: none */
    const char *text;  /* libcurl's CURLOPT_ERRORBUFFER; "": none */
    bool has_response; /* one had begun */
};

/* @ret_error: what failed and what to do */
void http_failure_explain(const struct http_failure *failure, struct error *ret_error);

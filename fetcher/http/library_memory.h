/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What libcurl and OpenSSL keep of the bytes that passed through them: see library_memory.c.
 */
#include <curl/curl.h>

#include "base/error.h"

/*
 * Initialise libcurl with an allocator that knows its receive buffers. Must be the process's first
 * use of libcurl; repeats do nothing.
 * Return: 0; -EIO with @e when libcurl does not start.
 */
int library_memory_init(struct error *e);

/*
 * Whether the libcurl that runs is one whose receive buffers are known, so that
 * library_memory_wipe() has a meaning.
 */
bool library_memory_is_known(void);

/*
 * Wipe all receive buffers of libcurl's connections. The caller has made sure that libcurl has
 * taken everything out of them.
 * Return: how many there are.
 */
size_t library_memory_wipe(void);

/* For CURLOPT_SSL_CTX_FUNCTION: OpenSSL forgets plain text as soon as it was read. */
CURLcode library_memory_prepare_tls(CURL *easy, void *ssl_ctx, void *userdata);

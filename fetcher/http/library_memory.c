/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the bytes of a response stay behind in libraries after they were delivered, and what is
 * done about it. Blocks that are freed are wiped by base/heap.c; this is about those that live on
 * with their connection or request, which for a watch is for ever.
 *
 *  - OpenSSL decrypts a record in place in the connection's read buffer. SSL_OP_CLEANSE_PLAINTEXT
 *    makes it wipe what SSL_read() has handed out, SSL_MODE_RELEASE_BUFFERS frees the buffer
 *    whenever it is empty.
 *  - libcurl's request has a buffer of CURLOPT_BUFFERSIZE bytes. The write callback is given a
 *    pointer into it, and http.c wipes through this pointer what it has consumed.
 *  - libcurl's HTTP/2 connection receives frames into a buffer of its own, from which nghttp2
 * copies the payload to the buffers of the requests. No callback ever sees it, and a short frame
 * leaves most of a long one before it in place. In curl 7.88 it is `inbuf` of struct cf_h2_ctx in
 *    lib/http2.c, one malloc() of H2_BUFSIZE = 32768 bytes which nothing else in libcurl asks for
 *    with malloc() (its growing strings, which do have such sizes, come from realloc()). So the
 *    allocator given to libcurl keeps a list of those, and http.c has them wiped when it knows
 *    them to be used up.
 *
 * Another version of libcurl has other buffers: nothing is tracked there, and what remains is that
 * freed blocks are wiped. If the list is ever wrong, the worst is that a frame not yet processed is
 * overwritten with zeros: nghttp2 then closes the connection, or frames.c refuses the NUL bytes,
 * and either way the watch starts over. No wrong content can come of it.
 */
#include "fetcher/http/library_memory.h"

#include <malloc.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>

#define H2_BUFFER_BYTES 32768
#define KNOWN_VERSION   0x075800u /* 7.88.0; the last byte is the patch level */

/* Connections at a time. One carries 100 watches; any above are not wiped until they close. */
#define BUFFERS_MAX 256

/* An allocator has no user data, so this is one of the few globals. */
static struct {
    pthread_mutex_t lock; /* libcurl's resolver threads allocate, too */
    void *buffers[BUFFERS_MAX];
    size_t n_buffers;
    bool is_known; /* written once, before libcurl has any thread */
} library_memory = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void buffer_track(void *p)
{
    pthread_mutex_lock(&library_memory.lock);
    if (library_memory.n_buffers < BUFFERS_MAX)
        library_memory.buffers[library_memory.n_buffers++] = p;
    pthread_mutex_unlock(&library_memory.lock);
}

static void buffer_untrack(const void *p)
{
    size_t i;

    pthread_mutex_lock(&library_memory.lock);
    for (i = 0; i < library_memory.n_buffers && library_memory.buffers[i] != p; i++)
        continue;
    if (i < library_memory.n_buffers)
        library_memory.buffers[i] = library_memory.buffers[--library_memory.n_buffers];
    pthread_mutex_unlock(&library_memory.lock);
}

/* Spares the lock and the search for the many blocks that cannot be a buffer. */
static bool may_be_buffer(void *p)
{
    return p != NULL && malloc_usable_size(p) >= H2_BUFFER_BYTES;
}

static void *library_malloc(size_t size)
{
    void *p = malloc(size);

    if (size == H2_BUFFER_BYTES && p != NULL)
        buffer_track(p);
    return p;
}

static void library_free(void *p)
{
    if (may_be_buffer(p))
        buffer_untrack(p);
    free(p);
}

static void *library_realloc(void *p, size_t size)
{
    if (may_be_buffer(p))
        buffer_untrack(p);
    return realloc(p, size);
}

static void *library_calloc(size_t n, size_t size)
{
    return calloc(n, size);
}

static char *library_strdup(const char *text)
{
    return strdup(text);
}

int library_memory_init(struct error *e)
{
    CURLcode code;

    code = curl_global_init_mem(CURL_GLOBAL_DEFAULT, library_malloc, library_free, library_realloc,
                                library_strdup, library_calloc);
    if (code != CURLE_OK)
        return error_set(e, -EIO, "cannot start libcurl: %s", curl_easy_strerror(code));
    library_memory.is_known =
        (curl_version_info(CURLVERSION_NOW)->version_num & ~0xffu) == KNOWN_VERSION;
    return 0;
}

bool library_memory_is_known(void)
{
    return library_memory.is_known;
}

size_t library_memory_wipe(void)
{
    size_t n;

    pthread_mutex_lock(&library_memory.lock);
    n = library_memory.n_buffers;
    for (size_t i = 0; i < n; i++)
        explicit_bzero(library_memory.buffers[i], H2_BUFFER_BYTES);
    pthread_mutex_unlock(&library_memory.lock);
    return n;
}

CURLcode library_memory_prepare_tls(CURL *easy, void *ssl_ctx, void *userdata)
{
    (void)SSL_CTX_set_options(ssl_ctx, SSL_OP_CLEANSE_PLAINTEXT);
    (void)SSL_CTX_set_mode(ssl_ctx, SSL_MODE_RELEASE_BUFFERS);
    return CURLE_OK;
}

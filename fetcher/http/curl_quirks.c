/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workarounds for single versions of libcurl, chosen at run time by curl_version_info(). Nothing
 * else in this project depends on how libcurl works inside. The versions below were checked in the
 * sources of 7.88.1 (Debian 12) and 8.14.1 (Debian 13) and by the unit tests on these and on 8.23.
 *
 * CURL_QUIRK_UNREAD_INPUT (7.88). libcurl may stop amid an HTTP/2 connection's receive buffer when
 * a request's own buffer is full, deliver what it copied, and then wait for the socket although
 * the rest is in memory already: cf_h2_data_pending() in its lib/http2.c compares the wrong way
 * round. The end of an event would stay there until the server sends something else. So after each
 * input libcurl reads the socket again, as soon as the loop has nothing else to do, and again until
 * nothing comes of it. The first request of the connection then takes what is left in the buffer,
 * or the request that the buffer waits for runs and takes its part. A pass in which libcurl calls
 * nothing back and after which no timer is due has left nothing behind: this is when receive
 * buffers can be wiped.
 * For the same reason a request's buffer (CURLOPT_BUFFERSIZE in message.c) has room for a
 * whole DATA frame: with 2 KiB, libcurl does not report the end of a watch that comes right behind
 * large events, in every other case. Remove when no supported system has 7.88, with struct
 * curl_reread and its calls in client.c.
 *
 * CURL_QUIRK_RECEIVE_BUFFER (7.88). An HTTP/2 connection receives frames into a buffer of its own,
 * from which nghttp2 copies the payload to the buffers of the requests. No callback ever gets it,
 * and a short frame leaves most of a long one before it in place. It is `inbuf` of struct cf_h2_ctx
 * in lib/http2.c, one malloc() of H2_BUFSIZE = 32768 bytes which nothing else in libcurl asks for
 * with malloc() (its growing strings, which do have such sizes, come from realloc()). So the
 * allocator given to libcurl keeps a list of those, and they are wiped when all is read.
 * Other versions have other buffers: nothing is tracked there, and what remains is that blocks are
 * wiped when they are freed (base/heap.c). If the list is ever wrong, the worst is that a frame not
 * yet processed is overwritten with zeros: nghttp2 then closes the connection, or json_stream.c
 * refuses the NUL bytes, and either way the watch starts over. No wrong content can come of it.
 * The same allocator serves the buffer of each request (CURLOPT_BUFFERSIZE, one malloc() in
 * Curl_preconnect() of lib/multi.c, never resized) from page_buffers.c. Later versions have one
 * buffer for all requests.
 *   Remove when no supported system has 7.88, with the allocator and page_buffers.c:
 *   curl_global_init() does then.
 *
 * CURL_QUIRK_LOST_SOCKET (before 8.14). libcurl calls CURLOPT_CLOSESOCKETFUNCTION when it closes a
 * connection, but not for a socket that never became one: cf_socket_close() in lib/cf-socket.c
 * closes it directly. connections.c finds such sockets by their descriptor being closed, or
 * another file's.
 *   Remove when no supported system has a version before 8.14, with http_connections_drop_lost().
 *
 * CURL_QUIRK_INHERITED_SOCKETS (before 8.14). A multi handle opens a pair of sockets for itself
 * without FD_CLOEXEC. 8.14 sets the flag (lib/socketpair.c).
 *   Remove when no supported system has a version before 8.14.
 *
 * CURL_QUIRK_BUFFERED_RESET (7.88 and all later ones that are known). When a request is cancelled,
 * libcurl puts RST_STREAM into a buffer and sends it along with what comes next on the connection.
 * The server would go on with a watch that is not wanted any more. So the connection is closed with
 * a cancelled request if no other uses it. Else another request of it is paused and resumed, which
 * changes its window and sends what is buffered (http2_data_pause() in lib/http2.c).
 *   Remove when http2_data_done() in lib/http2.c sends what it has written.
 *
 * CURL_QUIRK_HELD_RESTART (7.88 and all later ones that are known). When the server refuses a
 * request (GOAWAY, REFUSED_STREAM), or ends a connection before it answers, libcurl begins the
 * request again (Curl_retry_request() in lib/transfer.c). The connection counts for
 * CURLMOPT_MAX_HOST_CONNECTIONS while other requests are open on it, so that libcurl may have no
 * connection for the request, and then keeps it (MSTATE_PENDING in lib/multi.c) until another one
 * ends or is opened. Nothing reports that. But beginning again counts as a redirection, and
 * CURLINFO_REDIRECT_TIME_T changes (TIMER_REDIRECT in lib/transfer.c of 7.88, in lib/http.c
 * of 8.14); nothing else changes it where no redirection is followed. So admission.c finds such
 * requests and takes them back. Remove when libcurl reports that a request waits for a connection.
 *
 * CURL_QUIRK_LATE_VERIFICATION (8.23, after 8.14). libcurl completes the TLS handshake with
 * SSL_VERIFY_NONE, and then verifies the certificate: first its name, then who issued it. So a
 * server that is not trusted gets our client certificate, and when the name is wrong as well, the
 * error only reports the name and we would advise to set tls-server-name. With SSL_VERIFY_PEER
 * the handshake fails, as it does with older versions.
 *   Remove when libcurl sets SSL_VERIFY_PEER itself again.
 *
 * CURL_QUIRK_KEY_ERROR (8.23, after 8.14). A client key that is damaged, or of another certificate,
 * gives CURLE_BAD_FUNCTION_ARGUMENT instead of CURLE_SSL_CERTPROBLEM.
 *   Remove when libcurl returns CURLE_SSL_CERTPROBLEM again.
 */
#include "fetcher/http/curl_quirks.h"

#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fetcher/http/page_buffers.h"

/* behind all others: a source that arms itself again would keep its equals from their turn */
#define REREAD_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)

/* H2_BUFSIZE of libcurl 7.88 */
#define H2_BUFFER_BYTES 32768

/* Connections at a time. One carries 100 watches; any above are not wiped until they close. */
#define BUFFERS_MAX 256

/* major << 16 | minor << 8 | patch */
#define VERSION(major, minor) ((unsigned)(major) << 16 | (unsigned)(minor) << 8)

static const struct {
    unsigned first; /* version that has it */
    unsigned fixed; /* version that has it no more */
} versions[CURL_QUIRKS] = {
    [CURL_QUIRK_UNREAD_INPUT] = {VERSION(7, 88), VERSION(7, 89)},
    [CURL_QUIRK_RECEIVE_BUFFER] = {VERSION(7, 88), VERSION(7, 89)},
    [CURL_QUIRK_LOST_SOCKET] = {0, VERSION(8, 14)},
    [CURL_QUIRK_INHERITED_SOCKETS] = {0, VERSION(8, 14)},
    [CURL_QUIRK_BUFFERED_RESET] = {0, UINT_MAX},
    [CURL_QUIRK_HELD_RESTART] = {0, UINT_MAX},
    [CURL_QUIRK_LATE_VERIFICATION] = {VERSION(8, 15), UINT_MAX},
    [CURL_QUIRK_KEY_ERROR] = {VERSION(8, 15), UINT_MAX},
};

/* An allocator has no user data, so this is one of the few globals. */
static struct {
    pthread_mutex_t lock; /* libcurl's resolver threads allocate, too */
    void *buffers[BUFFERS_MAX];
    size_t n_buffers;
    unsigned version; /* written once, before libcurl has any thread */
} quirks = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool curl_quirk_is_in(enum curl_quirk quirk, unsigned version)
{
    return version >= versions[quirk].first && version < versions[quirk].fixed;
}

bool curl_quirk_applies(enum curl_quirk quirk)
{
    assert(quirks.version != 0);
    return curl_quirk_is_in(quirk, quirks.version);
}

/* ---- receive buffers */

static void buffer_track(void *p)
{
    pthread_mutex_lock(&quirks.lock);
    if (quirks.n_buffers < BUFFERS_MAX)
        quirks.buffers[quirks.n_buffers++] = p;
    pthread_mutex_unlock(&quirks.lock);
}

static void buffer_untrack(const void *p)
{
    size_t i;

    pthread_mutex_lock(&quirks.lock);
    for (i = 0; i < quirks.n_buffers && quirks.buffers[i] != p; i++)
        continue;
    if (i < quirks.n_buffers)
        quirks.buffers[i] = quirks.buffers[--quirks.n_buffers];
    pthread_mutex_unlock(&quirks.lock);
}

/* Spares the lock and the search for the many blocks that cannot be a buffer. */
static bool may_be_buffer(void *p)
{
    return p != NULL && malloc_usable_size(p) >= H2_BUFFER_BYTES;
}

static void *library_malloc(size_t size)
{
    void *p = size == PAGE_BUFFER_BYTES ? page_buffers_alloc() : NULL;

    if (p == NULL)
        p = malloc(size);
    if (size == H2_BUFFER_BYTES && p != NULL)
        buffer_track(p);
    return p;
}

static void library_free(void *p)
{
    if (page_buffers_free(p))
        return;
    if (may_be_buffer(p))
        buffer_untrack(p);
    free(p);
}

/* Of any block that has the size of a request's buffer by chance. */
static void *move_to_heap(void *page_buffer, size_t size)
{
    void *p = malloc(size);

    if (p == NULL)
        return NULL;
    memcpy(p, page_buffer, size_min(size, PAGE_BUFFER_BYTES));
    page_buffers_free(page_buffer);
    return p;
}

static void *library_realloc(void *p, size_t size)
{
    if (page_buffers_have(p))
        return move_to_heap(p, size);
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

/* libcurl must have read all that is in them. */
static void wipe_buffers(void)
{
    pthread_mutex_lock(&quirks.lock);
    for (size_t i = 0; i < quirks.n_buffers; i++)
        explicit_bzero(quirks.buffers[i], H2_BUFFER_BYTES);
    pthread_mutex_unlock(&quirks.lock);
}

int curl_quirks_init(struct error *e)
{
    unsigned version = curl_version_info(CURLVERSION_NOW)->version_num;
    CURLcode code;

    if (curl_quirk_is_in(CURL_QUIRK_RECEIVE_BUFFER, version))
        code = curl_global_init_mem(CURL_GLOBAL_DEFAULT, library_malloc, library_free,
                                    library_realloc, library_strdup, library_calloc);
    else
        code = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (code != CURLE_OK)
        return error_set(e, -EIO, "cannot start libcurl: %s", curl_easy_strerror(code));
    quirks.version = version;
    return 0;
}

/* ---- unread input */

/* A socket that this pass has not had yet. */
static struct curl_reread_socket *find_due(struct curl_reread *reread)
{
    struct curl_reread_socket *s;

    list_for_each (s, &reread->sockets, link)
        if (s->had_input && s->n_pass != reread->n_passes)
            return s;
    return NULL;
}

static void arm(struct curl_reread *reread)
{
    reread->n_passes++;
    if (find_due(reread) != NULL)
        sd_event_source_set_enabled(reread->source, SD_EVENT_ONESHOT);
}

bool curl_quirks_has_due_timer(CURLM *multi)
{
    long timeout_ms = -1;

    curl_multi_timeout(multi, &timeout_ms);
    return timeout_ms == 0;
}

/* One pass. */
static int on_idle(sd_event_source *source, void *userdata)
{
    struct curl_reread *reread = userdata;
    unsigned long n_callbacks = *reread->owner.n_callbacks;
    struct curl_reread_socket *s;

    /* libcurl may close sockets or open others in its turn, so each search starts over */
    while ((s = find_due(reread)) != NULL) {
        s->n_pass = reread->n_passes;
        reread->owner.read(reread->owner.userdata, s->fd);
    }
    if (curl_quirks_has_due_timer(reread->owner.multi))
        return 0; /* curl_reread_on_timer() arms the next pass */
    if (*reread->owner.n_callbacks != n_callbacks) {
        arm(reread);
        return 0;
    }
    list_for_each (s, &reread->sockets, link)
        s->had_input = false;
    wipe_buffers();
    return 0;
}

int curl_reread_init(struct curl_reread *reread, sd_event *event,
                     const struct curl_reread_owner *owner)
{
    int r;

    *reread = (struct curl_reread){.owner = *owner};
    list_init(&reread->sockets);
    r = sd_event_add_defer(event, &reread->source, on_idle, reread);
    if (r >= 0)
        r = sd_event_source_set_priority(reread->source, REREAD_PRIORITY);
    if (r >= 0)
        r = sd_event_source_set_enabled(reread->source, SD_EVENT_OFF);
    return r < 0 ? r : 0;
}

void curl_reread_deinit(struct curl_reread *reread)
{
    assert(reread->owner.multi == NULL || list_is_empty(&reread->sockets));
    reread->source = sd_event_source_disable_unref(reread->source);
}

void curl_reread_add(struct curl_reread *reread, struct curl_reread_socket *socket, int fd)
{
    *socket = (struct curl_reread_socket){.fd = fd};
    list_append(&reread->sockets, &socket->link);
}

void curl_reread_remove(struct curl_reread_socket *socket)
{
    list_remove(&socket->link);
}

void curl_reread_on_input(struct curl_reread *reread, struct curl_reread_socket *socket)
{
    if (!curl_quirk_applies(CURL_QUIRK_UNREAD_INPUT))
        return;
    socket->had_input = true;
    arm(reread);
}

void curl_reread_on_timer(struct curl_reread *reread)
{
    arm(reread);
}

/* ---- the others */

ino_t curl_quirks_socket_inode(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

bool curl_quirks_is_socket_lost(int fd, ino_t inode)
{
    return curl_quirk_applies(CURL_QUIRK_LOST_SOCKET) && curl_quirks_socket_inode(fd) != inode;
}

/*
 * The sockets get the lowest free numbers; any other descriptor in the range has the flag anyway.
 */
static CURLM *multi_new_close_on_exec(void)
{
    int lowest = open("/", O_PATH | O_CLOEXEC);
    CURLM *multi;

    if (lowest < 0)
        return NULL;
    close(lowest);
    multi = curl_multi_init();
    close_range((unsigned)lowest, (unsigned)lowest + 7, CLOSE_RANGE_CLOEXEC);
    return multi;
}

CURLM *curl_quirks_multi_new(void)
{
    if (curl_quirk_applies(CURL_QUIRK_INHERITED_SOCKETS))
        return multi_new_close_on_exec();
    return curl_multi_init();
}

void curl_quirks_verify_in_handshake(void *ssl_ctx)
{
    if (curl_quirk_applies(CURL_QUIRK_LATE_VERIFICATION))
        SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, NULL);
}

CURLcode curl_quirks_result(CURLcode code)
{
    if (code == CURLE_BAD_FUNCTION_ARGUMENT && curl_quirk_applies(CURL_QUIRK_KEY_ERROR))
        return CURLE_SSL_CERTPROBLEM;
    return code;
}

curl_off_t curl_quirks_restarted_at(CURL *easy)
{
    curl_off_t at_us = 0;

    if (curl_quirk_applies(CURL_QUIRK_HELD_RESTART))
        curl_easy_getinfo(easy, CURLINFO_REDIRECT_TIME_T, &at_us);
    return at_us;
}

void curl_quirks_cancel(CURL *easy)
{
    if (curl_quirk_applies(CURL_QUIRK_BUFFERED_RESET))
        curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
}

void curl_quirks_flush(CURL *easy)
{
    if (!curl_quirk_applies(CURL_QUIRK_BUFFERED_RESET))
        return;
    curl_easy_pause(easy, CURLPAUSE_RECV);
    curl_easy_pause(easy, CURLPAUSE_CONT);
}

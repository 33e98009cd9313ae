/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An API server with many Secrets, which all change at once on command.
 *
 * A real one takes seconds to store a thousand changes, so that a storm of them never reaches a
 * client at the speed that it could cope with. This one keeps nothing but a version for each
 * Secret, makes the JSON when it is asked for, and speaks HTTP/2 over TLS to as many streams of a
 * connection as real ones allow. It answers what a client needs that lists and watches Secrets by
 * name (fieldSelector=metadata.name=NAME) and watches the pods of its node, which do not change,
 * and 404 to all else. Requests need no credentials.
 *
 * It reads commands, a line each, from its standard input, and answers each with a line:
 *
 *     storm        a new version of every Secret: "storm VERSION TIME", the time before the first
 *     update N     a new version of Secret number N: "update VERSION TIME"
 *     version      "version VERSION", of the Secret number 0
 *     stats        "stats connections=N lists=N watches=N pods=N others=N": watches and pods are
 *                  those now open, of Secrets and of pods
 *
 * with TIME in nanoseconds of the monotonic clock. Its first line is "ready PORT", and the end of
 * its input is its end. Secret number N is called secret-N. Its keys are key-0 to key-9, and each
 * value begins with the version, in eight digits. The pods are those of the program `kubelet`, for
 * as many volumes as there are Secrets in each of two sets; no container mounts one by subPath.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/util.h"
#include "bench/program.h"

#define STREAMS_PER_CONNECTION 250 /* kube-apiserver's --http2-max-streams-per-connection */
#define KEYS_PER_SECRET        10
#define EVENT_BYTES_MAX        (4u << 20)
#define OUTPUT_BYTES_MAX       (64u << 20) /* of one connection, that the peer has not taken */
#define PATH_BYTES_MAX         2048u
#define COMMAND_BYTES_MAX      4096u
#define FIRST_RESOURCE_VERSION 1000u
#define DRIVER                 "csi.secretfs.io"

struct secret {
    unsigned version;
    unsigned long long resource_version;
    struct stream *watchers;
};

struct stream {
    struct connection *connection;
    int32_t id;
    char path[PATH_BYTES_MAX];
    struct buf out; /* of the answer's body, what was not handed over yet */
    bool is_watch, is_of_pods;
    struct secret *secret; /* that it watches */
    struct stream *next, **link;
};

struct connection {
    struct server *server;
    int fd;
    SSL *ssl;
    bool is_up; /* the handshake is over */
    nghttp2_session *http;
    struct buf out; /* frames that the socket did not take yet */
    struct connection *next, **link;
};

struct server {
    const char *namespace, *certificate, *key;
    struct secret *secrets;
    size_t n_secrets, n_volumes_per_pod;
    struct stream *pods; /* the watch of them that was opened last */
    int value_bytes;
    unsigned long long resource_version;
    SSL_CTX *tls;
    nghttp2_session_callbacks *callbacks;
    int epoll_fd, listen_fd;
    struct connection *connections;
    unsigned long n_connections, n_lists, n_watches, n_pod_watches, n_others;
};

/* ---- Secrets as JSON */

static void add_value(struct buf *b, const struct server *s, const struct secret *secret)
{
    unsigned char value[4096], encoded[sizeof(value) * 4 / 3 + 8];

    memset(value, 'x', sizeof(value));
    snprintf((char *)value, sizeof(value), "%08u", secret->version);
    value[8] = '-';
    (void)EVP_EncodeBlock(encoded, value, s->value_bytes);
    must(buf_addf(b, "\"%s\"", (char *)encoded), "a value");
}

static void add_secret(struct buf *b, const struct server *s, const struct secret *secret)
{
    size_t number = (size_t)(secret - s->secrets);

    must(
        buf_addf(b,
                 "{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"secret-%zu\","
                 "\"namespace\":\"%s\",\"uid\":\"00000000-0000-4000-8000-%012zu\","
                 "\"resourceVersion\":\"%llu\",\"creationTimestamp\":\"2026-01-01T00:00:00Z\"},"
                 "\"type\":\"Opaque\",\"data\":{",
                 number, s->namespace, number, secret->resource_version),
        "a Secret");
    for (int i = 0; i < KEYS_PER_SECRET; i++) {
        must(buf_addf(b, "%s\"key-%d\":", i > 0 ? "," : "", i), "a key");
        add_value(b, s, secret);
    }
    must(buf_add_text(b, "}}"), "a Secret");
}

static void add_list(struct buf *b, const struct server *s, const struct secret *secret)
{
    must(buf_addf(b,
                  "{\"kind\":\"SecretList\",\"apiVersion\":\"v1\","
                  "\"metadata\":{\"resourceVersion\":\"%llu\"},\"items\":[",
                  s->resource_version),
         "a list");
    if (secret != NULL)
        add_secret(b, s, secret);
    must(buf_add_text(b, "]}\n"), "a list");
}

static void add_event(struct buf *b, const struct server *s, const struct secret *secret)
{
    must(buf_add_text(b, "{\"type\":\"MODIFIED\",\"object\":"), "an event");
    add_secret(b, s, secret);
    must(buf_add_text(b, "}\n"), "an event");
}

/* ---- pods as JSON */

static void add_mounts(struct buf *b, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        must(buf_addf(b, "%s{\"name\":\"secret-%zu\",\"mountPath\":\"/secret-%zu\"}",
                      i > first ? "," : "", i, i),
             "a pod");
}

static void add_volumes(struct buf *b, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        must(buf_addf(b, "%s{\"name\":\"secret-%zu\",\"csi\":{\"driver\":\"" DRIVER "\"}}",
                      i > first ? "," : "", i),
             "a pod");
}

/* Its name is its uid as well. */
static void add_pod(struct buf *b, const struct server *s, char set, size_t number)
{
    size_t first = number * s->n_volumes_per_pod;
    size_t end = size_min(first + s->n_volumes_per_pod, s->n_secrets);

    must(buf_addf(b,
                  "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\","
                  "\"metadata\":{\"name\":\"pod-%c-%zu\",\"namespace\":\"%s\","
                  "\"uid\":\"pod-%c-%zu\",\"resourceVersion\":\"%u\"},"
                  "\"spec\":{\"containers\":[{\"name\":\"main\",\"volumeMounts\":[",
                  set, number, s->namespace, set, number, FIRST_RESOURCE_VERSION),
         "a pod");
    add_mounts(b, first, end);
    must(buf_add_text(b, "]}],\"volumes\":["), "a pod");
    add_volumes(b, first, end);
    must(buf_add_text(b, "]}}}\n"), "a pod");
}

/* All of them and a bookmark, as servers do for a watch without a resourceVersion. */
static void add_pods(struct buf *b, const struct server *s)
{
    for (size_t i = 0; i * s->n_volumes_per_pod < s->n_secrets; i++) {
        add_pod(b, s, 'a', i);
        add_pod(b, s, 'b', i);
    }
    must(buf_addf(b,
                  "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\","
                  "\"metadata\":{\"resourceVersion\":\"%u\"}}}\n",
                  FIRST_RESOURCE_VERSION),
         "a bookmark");
}

/* ---- streams and connections */

static void stream_free(struct stream *stream)
{
    struct server *s = stream->connection->server;

    if (stream->is_of_pods)
        s->n_pod_watches--;
    else if (stream->is_watch)
        s->n_watches--;
    if (s->pods == stream)
        s->pods = NULL;
    if (stream->secret != NULL) {
        *stream->link = stream->next;
        if (stream->next != NULL)
            stream->next->link = stream->link;
    }
    buf_deinit(&stream->out);
    free(stream);
}

/* nghttp2 tells of no stream that goes with its connection; those that watch are found here. */
static void forget_watches(struct connection *c)
{
    struct server *s = c->server;

    if (s->pods != NULL && s->pods->connection == c)
        stream_free(s->pods);
    for (size_t i = 0; i < s->n_secrets; i++) {
        for (struct stream *stream = s->secrets[i].watchers, *next; stream != NULL; stream = next) {
            next = stream->next;
            if (stream->connection == c)
                stream_free(stream);
        }
    }
}

static void connection_free(struct connection *c)
{
    forget_watches(c);
    nghttp2_session_del(c->http);
    SSL_free(c->ssl);
    fd_close(c->fd);
    buf_deinit(&c->out);
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    c->server->n_connections--;
    free(c);
}

/* Return: whether the connection still stands. */
static bool connection_flush(struct connection *c)
{
    const uint8_t *bytes;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(c->http, &bytes)) > 0)
        must(buf_add(&c->out, bytes, (size_t)n), "output");
    while (c->out.len > 0) {
        int written = SSL_write(c->ssl, buf_text(&c->out), (int)size_min(c->out.len, 1 << 20));

        if (written <= 0)
            return SSL_get_error(c->ssl, written) == SSL_ERROR_WANT_WRITE;
        buf_drop_front(&c->out, (size_t)written);
    }
    return nghttp2_session_want_read(c->http) || nghttp2_session_want_write(c->http);
}

static bool connection_read(struct connection *c)
{
    uint8_t bytes[65536];
    int n;

    if (!c->is_up) {
        int r = SSL_accept(c->ssl);

        if (r != 1)
            return SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ ||
                   SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_WRITE;
        c->is_up = true;
    }
    while ((n = SSL_read(c->ssl, bytes, sizeof(bytes))) > 0)
        if (nghttp2_session_mem_recv(c->http, bytes, (size_t)n) < 0)
            return false;
    return SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ && connection_flush(c);
}

/* ---- requests */

static ssize_t give_body(nghttp2_session *http, int32_t id, uint8_t *bytes, size_t size,
                         uint32_t *flags, nghttp2_data_source *source, void *userdata)
{
    struct stream *stream = source->ptr;
    size_t n = size_min(size, stream->out.len);

    if (n == 0 && stream->is_watch)
        return NGHTTP2_ERR_DEFERRED;
    if (n > 0)
        memcpy(bytes, buf_text(&stream->out), n);
    buf_drop_front(&stream->out, n);
    if (stream->out.len == 0 && !stream->is_watch)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

#define HEADER(n, v)                                                                               \
    {                                                                                              \
        .name = (uint8_t *)(uintptr_t)(n), .namelen = strlen(n),                                   \
        .value = (uint8_t *)(uintptr_t)(v), .valuelen = strlen(v)                                  \
    }

static void respond(struct stream *stream, const char *status)
{
    const nghttp2_nv headers[] = {HEADER(":status", status),
                                  HEADER("content-type", "application/json")};
    const nghttp2_data_provider body = {.source.ptr = stream, .read_callback = give_body};

    if (nghttp2_submit_response(stream->connection->http, stream->id, headers, ELEMENTS_OF(headers),
                                &body) != 0)
        die("response", "cannot be submitted");
}

/* Return: what follows @name= in a query, or NULL. */
static const char *query_value(const char *path, const char *name)
{
    const char *at = strchr(path, '?');

    for (; at != NULL; at = strchr(at + 1, '&')) {
        const char *value = str_after(at + 1, name);

        if (value != NULL && *value == '=')
            return value + 1;
    }
    return NULL;
}

static bool is_for_secrets(const struct server *s, const char *path)
{
    char prefix[512];

    snprintf(prefix, sizeof(prefix), "/api/v1/namespaces/%s/secrets?", s->namespace);
    return str_after(path, prefix) != NULL;
}

static struct secret *find_secret(const struct server *s, const char *path)
{
    const char *selector = query_value(path, "fieldSelector");
    const char *name = selector != NULL ? str_after(selector, "metadata.name%3D") : NULL;
    const char *number = name != NULL ? str_after(name, "secret-") : NULL;
    size_t n = number != NULL ? strtoul(number, NULL, 10) : s->n_secrets;

    return n < s->n_secrets ? &s->secrets[n] : NULL;
}

static void start_watch(struct stream *stream, struct secret *secret)
{
    const struct server *s = stream->connection->server;
    const char *cursor = query_value(stream->path, "resourceVersion");

    stream->is_watch = true;
    if (secret == NULL)
        return;
    stream->secret = secret;
    stream->next = secret->watchers;
    stream->link = &secret->watchers;
    if (stream->next != NULL)
        stream->next->link = &stream->next;
    secret->watchers = stream;
    if (cursor == NULL || strtoull(cursor, NULL, 10) < secret->resource_version)
        add_event(&stream->out, s, secret);
}

static bool is_watch_of_pods(const char *path)
{
    return str_after(path, "/api/v1/pods?") != NULL && query_value(path, "watch") != NULL;
}

static void start_pod_watch(struct stream *stream)
{
    struct server *s = stream->connection->server;

    stream->is_watch = true;
    stream->is_of_pods = true;
    s->pods = stream;
    s->n_pod_watches++;
    if (query_value(stream->path, "resourceVersion") == NULL)
        add_pods(&stream->out, s);
}

static void answer(struct stream *stream)
{
    struct server *s = stream->connection->server;
    struct secret *secret = find_secret(s, stream->path);

    if (is_watch_of_pods(stream->path)) {
        start_pod_watch(stream);
        respond(stream, "200");
        return;
    }
    if (!is_for_secrets(s, stream->path)) {
        s->n_others++;
        must(buf_add_text(&stream->out,
                          "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"code\":404}\n"),
             "a refusal");
        respond(stream, "404");
        return;
    }
    if (query_value(stream->path, "watch") != NULL) {
        s->n_watches++;
        start_watch(stream, secret);
    } else {
        s->n_lists++;
        add_list(&stream->out, s, secret);
    }
    respond(stream, "200");
}

static int on_begin(nghttp2_session *http, const nghttp2_frame *frame, void *userdata)
{
    struct stream *stream;

    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    stream = calloc(1, sizeof(*stream));
    if (stream == NULL)
        die("stream", "out of memory");
    stream->connection = userdata;
    stream->id = frame->hd.stream_id;
    stream->out = BUF_INIT(EVENT_BYTES_MAX);
    nghttp2_session_set_stream_user_data(http, stream->id, stream);
    return 0;
}

static int on_header(nghttp2_session *http, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *userdata)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(http, frame->hd.stream_id);

    if (stream != NULL && name_len == 5 && memcmp(name, ":path", 5) == 0)
        snprintf(stream->path, sizeof(stream->path), "%.*s", (int)value_len, (const char *)value);
    return 0;
}

static int on_frame(nghttp2_session *http, const nghttp2_frame *frame, void *userdata)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(http, frame->hd.stream_id);

    if (stream != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        answer(stream);
    return 0;
}

static int on_close(nghttp2_session *http, int32_t id, uint32_t code, void *userdata)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(http, id);

    if (stream != NULL)
        stream_free(stream);
    return 0;
}

/* ---- commands */

static void change(struct server *s, struct secret *secret, unsigned version)
{
    secret->version = version;
    secret->resource_version = ++s->resource_version;
    for (struct stream *stream = secret->watchers; stream != NULL; stream = stream->next) {
        add_event(&stream->out, s, secret);
        nghttp2_session_resume_data(stream->connection->http, stream->id);
    }
}

static void flush_all(struct server *s)
{
    for (struct connection *c = s->connections, *next; c != NULL; c = next) {
        next = c->next;
        if (c->is_up && !connection_flush(c))
            connection_free(c);
    }
}

static void obey(struct server *s, const char *command)
{
    const char *number = str_after(command, "update ");
    long long start_ns = now_ns();

    if (streq(command, "version")) {
        printf("version %u\n", s->secrets[0].version);
    } else if (streq(command, "stats")) {
        printf("stats connections=%lu lists=%lu watches=%lu pods=%lu others=%lu\n",
               s->n_connections, s->n_lists, s->n_watches, s->n_pod_watches, s->n_others);
    } else if (streq(command, "storm")) {
        unsigned version = s->secrets[0].version + 1;

        for (size_t i = 0; i < s->n_secrets; i++)
            change(s, &s->secrets[i], version);
        flush_all(s);
        printf("storm %u %lld\n", version, start_ns);
    } else if (number != NULL && strtoul(number, NULL, 10) < s->n_secrets) {
        struct secret *secret = &s->secrets[strtoul(number, NULL, 10)];

        change(s, secret, secret->version + 1);
        flush_all(s);
        printf("update %u %lld\n", secret->version, start_ns);
    } else {
        die("unknown command", command);
    }
    fflush(stdout);
}

static void read_commands(struct server *s, struct buf *commands)
{
    char bytes[COMMAND_BYTES_MAX], *end;
    ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));

    if (n <= 0)
        exit(0);
    must(buf_add(commands, bytes, (size_t)n), "commands");
    while ((end = memchr(commands->data, '\n', commands->len)) != NULL) {
        *end = '\0';
        obey(s, commands->data);
        buf_drop_front(commands, (size_t)(end + 1 - commands->data));
    }
}

/* ---- connections */

static void accept_connection(struct server *s)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_PER_CONNECTION}};
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), yes = 1;
    struct connection *c = calloc(1, sizeof(*c));

    if (fd < 0 || c == NULL)
        die("accept", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    *c = (struct connection){.server = s,
                             .fd = fd,
                             .ssl = SSL_new(s->tls),
                             .next = s->connections,
                             .link = &s->connections,
                             .out = BUF_INIT(OUTPUT_BYTES_MAX)};
    if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1 ||
        nghttp2_session_server_new(&c->http, s->callbacks, c) != 0 ||
        nghttp2_submit_settings(c->http, 0, settings, ELEMENTS_OF(settings)) != 0)
        die("connection", "cannot be set up");
    SSL_set_accept_state(c->ssl);
    if (c->next != NULL)
        c->next->link = &c->next;
    s->connections = c;
    s->n_connections++;
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd,
                  &(struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c}) < 0)
        die("epoll", strerror(errno));
}

static int choose_h2(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                     const unsigned char *offered, unsigned len, void *userdata)
{
    static const unsigned char h2[] = "\x02h2";
    unsigned char *chosen;

    if (SSL_select_next_proto(&chosen, ret_len, h2, sizeof(h2) - 1, offered, len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void set_up_tls(struct server *s)
{
    s->tls = SSL_CTX_new(TLS_server_method());
    if (s->tls == NULL || SSL_CTX_use_certificate_chain_file(s->tls, s->certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(s->tls, s->key, SSL_FILETYPE_PEM) != 1)
        die("TLS", ERR_error_string(ERR_get_error(), NULL));
    (void)SSL_CTX_set_mode(s->tls,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(s->tls, choose_h2, NULL);
}

static void set_up_http(struct server *s)
{
    if (nghttp2_session_callbacks_new(&s->callbacks) != 0)
        die("nghttp2", "out of memory");
    nghttp2_session_callbacks_set_on_begin_headers_callback(s->callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(s->callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(s->callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(s->callbacks, on_close);
}

static void set_up_socket(struct server *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (bind(s->listen_fd, (struct sockaddr *)&address, len) < 0 || listen(s->listen_fd, 128) < 0 ||
        getsockname(s->listen_fd, (struct sockaddr *)&address, &len) < 0)
        die("socket", strerror(errno));
    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->listen_fd,
              &(struct epoll_event){.events = EPOLLIN, .data.ptr = s});
    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO,
              &(struct epoll_event){.events = EPOLLIN, .data.ptr = NULL});
    printf("ready %d\n", ntohs(address.sin_port));
    fflush(stdout);
}

static _Noreturn void serve(struct server *s)
{
    struct buf commands = BUF_INIT(COMMAND_BYTES_MAX);

    for (;;) {
        struct epoll_event event;

        /* one at a time: a command may end connections that others of a batch are about */
        if (epoll_wait(s->epoll_fd, &event, 1, -1) < 1)
            continue;
        if (event.data.ptr == NULL)
            read_commands(s, &commands);
        else if (event.data.ptr == s)
            accept_connection(s);
        else if (!connection_read(event.data.ptr))
            connection_free(event.data.ptr);
    }
}

static void parse(int argc, char **argv, struct server *s)
{
    static const struct option options[] = {{"namespace", required_argument, NULL, 'n'},
                                            {"certificate", required_argument, NULL, 'c'},
                                            {"key", required_argument, NULL, 'k'},
                                            {"secrets", required_argument, NULL, 's'},
                                            {"value-bytes", required_argument, NULL, 'b'},
                                            {"volumes-per-pod", required_argument, NULL, 'p'},
                                            {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (option == 'n')
            s->namespace = optarg;
        else if (option == 'c')
            s->certificate = optarg;
        else if (option == 'k')
            s->key = optarg;
        else if (option == 's')
            s->n_secrets = strtoul(optarg, NULL, 10);
        else if (option == 'b')
            s->value_bytes = (int)strtol(optarg, NULL, 10);
        else if (option == 'p')
            s->n_volumes_per_pod = strtoul(optarg, NULL, 10);
        else
            exit(2);
    }
    if (s->certificate == NULL || s->key == NULL || s->n_secrets == 0 || s->value_bytes < 9 ||
        s->value_bytes > 4096 || s->n_volumes_per_pod == 0)
        die("usage", "--certificate FILE --key FILE --secrets N [--namespace NAME] "
                     "[--value-bytes 9..4096] [--volumes-per-pod N]");
}

int main(int argc, char **argv)
{
    struct server s = {.namespace = "default",
                       .value_bytes = 100,
                       .n_volumes_per_pod = 1,
                       .resource_version = FIRST_RESOURCE_VERSION};

    parse(argc, argv, &s);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    s.secrets = calloc(s.n_secrets, sizeof(*s.secrets));
    if (s.secrets == NULL)
        die("secrets", "out of memory");
    for (size_t i = 0; i < s.n_secrets; i++)
        s.secrets[i] = (struct secret){.version = 1, .resource_version = ++s.resource_version};
    set_up_tls(&s);
    set_up_http(&s);
    set_up_socket(&s);
    serve(&s);
}

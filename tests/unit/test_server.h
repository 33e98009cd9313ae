/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A web server for tests: a child process with a thread per connection, which does to every request
 * what the test's own function says. It speaks HTTP/1.1, in plain or over TLS; http_proxy_start()
 * puts HTTP/2 in front of it, and http2_server.h has HTTP/2 frame by frame. All end with the test
 * program, however that ends.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "tests/unit/make_pair.h"

#define HEAD_MAX 65536

struct connection {
    int fd;
    SSL *ssl;         /* NULL: plain */
    int control_fd;   /* what the test sends to its server */
    int number;       /* of the connection, from 1 */
    bool wants_close; /* set by the function to end the connection after the answer */
};

/* What to do to a request. Runs in the child, in the connection's thread. */
typedef void http_serve_fn(struct connection *c, const char *head);

struct test_server {
    pid_t pid;
    int port;
    int control_fd; /* for the test to write to */
};

/* ---- the child's side */

static inline void server_write(struct connection *c, const void *bytes, size_t len)
{
    for (size_t done = 0; done < len;) {
        const char *from = (const char *)bytes + done;
        ssize_t n = c->ssl != NULL ? SSL_write(c->ssl, from, (int)(len - done))
                                   : send(c->fd, from, len - done, MSG_NOSIGNAL);

        if (n <= 0)
            pthread_exit(NULL); /* the client is gone */
        done += (size_t)n;
    }
}

static inline void server_printf(struct connection *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void server_printf(struct connection *c, const char *format, ...)
{
    va_list args;
    char *text;
    int len;

    va_start(args, format);
    len = vasprintf(&text, format, args);
    va_end(args);
    server_write(c, text, (size_t)len);
    free(text);
}

/* A complete answer. */
static inline void server_answer(struct connection *c, const char *status, const char *body)
{
    server_printf(c,
                  "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                  status, strlen(body), body);
}

/* Return: how many bytes came, at least one. */
static inline size_t server_read(struct connection *c, void *bytes, size_t size)
{
    ssize_t n = c->ssl != NULL ? SSL_read(c->ssl, bytes, (int)size) : recv(c->fd, bytes, size, 0);

    if (n <= 0)
        pthread_exit(NULL); /* the client is gone */
    return (size_t)n;
}

/* Until the client goes away. */
static inline void server_hang(struct connection *c)
{
    char byte;

    while (c->ssl != NULL ? SSL_read(c->ssl, &byte, 1) > 0 : recv(c->fd, &byte, 1, 0) > 0)
        continue;
    pthread_exit(NULL);
}

struct server_thread {
    struct connection connection;
    http_serve_fn *serve;
    SSL_CTX *tls;
};

static inline bool server_read_head(struct connection *c, char head[static HEAD_MAX])
{
    size_t len = 0;

    while (len < HEAD_MAX - 1 && (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0)) {
        ssize_t n =
            c->ssl != NULL ? SSL_read(c->ssl, head + len, 1) : recv(c->fd, head + len, 1, 0);

        if (n <= 0)
            return false;
        len++;
    }
    head[len] = '\0';
    return true;
}

static inline void server_thread_end(void *argument)
{
    struct server_thread *t = argument;

    if (t->connection.ssl != NULL) {
        (void)SSL_shutdown(t->connection.ssl);
        SSL_free(t->connection.ssl);
    }
    close(t->connection.fd);
    free(t);
}

static inline void *server_thread_main(void *argument)
{
    struct server_thread *t = argument;
    struct connection *c = &t->connection;
    char *head = malloc(HEAD_MAX);

    pthread_cleanup_push(server_thread_end, t);
    pthread_cleanup_push(free, head);
    if (t->tls != NULL) {
        c->ssl = SSL_new(t->tls);
        (void)SSL_set_fd(c->ssl, c->fd);
        if (SSL_accept(c->ssl) <= 0)
            pthread_exit(NULL);
    }
    while (!c->wants_close && server_read_head(c, head))
        t->serve(c, head);
    pthread_cleanup_pop(1);
    pthread_cleanup_pop(1);
    return NULL;
}

static inline SSL_CTX *server_tls(const struct made_pair *pair)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    BIO *cert_bio = BIO_new_mem_buf(pair->cert_pem, -1),
        *key_bio = BIO_new_mem_buf(pair->key_pem, -1);
    X509 *cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);

    (void)SSL_CTX_use_certificate(tls, cert);
    (void)SSL_CTX_use_PrivateKey(tls, key);
    X509_free(cert);
    EVP_PKEY_free(key);
    (void)BIO_free(cert_bio);
    (void)BIO_free(key_bio);
    return tls;
}

static inline int server_choose_http2(SSL *ssl, const unsigned char **ret_name,
                                      unsigned char *ret_len, const unsigned char *offered,
                                      unsigned offered_len, void *userdata)
{
    static const unsigned char name[] = {2, 'h', '2'};

    unsigned char *chosen;
    int r = SSL_select_next_proto(&chosen, ret_len, name, sizeof(name), offered, offered_len);

    *ret_name = chosen;
    return r == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static inline void server_main(int listener, int control_fd, const struct made_pair *pair,
                               bool is_http2, http_serve_fn *serve)
{
    SSL_CTX *tls = pair != NULL ? server_tls(pair) : NULL;

    if (is_http2)
        SSL_CTX_set_alpn_select_cb(tls, server_choose_http2, NULL);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets whose client is gone */
    for (int number = 1;; number++) {
        struct server_thread *t = calloc(1, sizeof(*t));
        pthread_t thread;

        *t = (struct server_thread){
            .connection = {.control_fd = control_fd, .number = number}, .serve = serve, .tls = tls};
        t->connection.fd = accept(listener, NULL, NULL);
        if (t->connection.fd < 0 || pthread_create(&thread, NULL, server_thread_main, t) != 0)
            _exit(1);
        pthread_detach(thread);
    }
}

/* ---- the test's side */

/* A socket that listens on 127.0.0.1. Return: the descriptor, with its port in @ret_port. */
static inline int server_listen(int *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 128) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        abort();
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static inline void server_start(struct test_server *ret_server, const struct made_pair *pair,
                                bool is_http2, http_serve_fn *serve)
{
    int control[2], listener = server_listen(&ret_server->port);

    if (pipe(control) < 0)
        abort();
    ret_server->control_fd = control[1];
    ret_server->pid = fork();
    if (ret_server->pid < 0)
        abort();
    if (ret_server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(control[1]);
        server_main(listener, control[0], pair, is_http2, serve);
        _exit(0);
    }
    close(control[0]);
    close(listener);
}

/* @pair: the server's certificate; NULL for plain HTTP */
static inline void test_server_start(struct test_server *ret_server, const struct made_pair *pair,
                                     http_serve_fn *serve)
{
    server_start(ret_server, pair, false, serve);
}

static inline void test_server_stop(struct test_server *server)
{
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    close(server->control_fd);
}

/* ---- HTTP/2 in front of it */

struct http_proxy {
    pid_t pid; /* 0: there is no nghttpx */
    int port;
};

static inline void proxy_write_file(const char *dir, const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
        abort();
}

static inline bool proxy_is_up(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_up = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

    close(fd);
    return is_up;
}

static inline void proxy_exec(const char *dir, int port, int backend_port, unsigned streams_max)
{
    char front[64], back[64], key[256], cert[256], log[256], streams[64];

    snprintf(streams, sizeof(streams), "--frontend-http2-max-concurrent-streams=%u", streams_max);
    snprintf(front, sizeof(front), "--frontend=127.0.0.1,%d", port);
    snprintf(back, sizeof(back), "--backend=127.0.0.1,%d", backend_port);
    snprintf(key, sizeof(key), "%s/proxy.key", dir);
    snprintf(cert, sizeof(cert), "%s/proxy.crt", dir);
    snprintf(log, sizeof(log), "--errorlog-file=%s/proxy.log", dir);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    /* it greets there */
    if (freopen("/dev/null", "w", stderr) == NULL)
        abort();
    execlp("nghttpx", "nghttpx", "--conf=/dev/null", front, back, log, streams, "--single-process",
           "--single-thread", "--npn-list=h2,http/1.1", "--stream-read-timeout=0",
           "--stream-write-timeout=0", "--backend-read-timeout=1h", "--no-ocsp", key, cert,
           (char *)NULL);
    _exit(127);
}

/*
 * @dir: a private directory, for the proxy's files
 * @streams_max: what it allows on a connection
 */
static inline void http_proxy_start_limited(struct http_proxy *ret_proxy, const char *dir,
                                            const struct made_pair *pair, int backend_port,
                                            unsigned streams_max)
{
    int listener = server_listen(&ret_proxy->port); /* only to find a free port */

    close(listener);
    proxy_write_file(dir, "proxy.key", pair->key_pem);
    proxy_write_file(dir, "proxy.crt", pair->cert_pem);
    ret_proxy->pid = fork();
    if (ret_proxy->pid < 0)
        abort();
    if (ret_proxy->pid == 0)
        proxy_exec(dir, ret_proxy->port, backend_port, streams_max);
    while (!proxy_is_up(ret_proxy->port)) {
        if (waitpid(ret_proxy->pid, NULL, WNOHANG) == ret_proxy->pid) {
            ret_proxy->pid = 0;
            return;
        }
        usleep(2000);
    }
}

static inline void http_proxy_start(struct http_proxy *ret_proxy, const char *dir,
                                    const struct made_pair *pair, int backend_port)
{
    http_proxy_start_limited(ret_proxy, dir, pair, backend_port, 100);
}

/* Removes @dir, too. */
static inline void http_proxy_stop(struct http_proxy *proxy, const char *dir)
{
    static const char *const files[] = {"proxy.key", "proxy.crt", "proxy.log"};

    if (proxy->pid != 0) {
        kill(proxy->pid, SIGTERM);
        waitpid(proxy->pid, NULL, 0);
    }
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[256];

        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

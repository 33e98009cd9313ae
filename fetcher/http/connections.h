/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The sockets that libcurl has open, and how many requests each carries. For the files of the HTTP
 * client only; its callers include client.h.
 */
#include <curl/curl.h>

#include "base/list.h"

/* Streams on one connection before another is opened; most servers allow 100 or more. */
#define HTTP_STREAMS_PER_CONNECTION 100u

struct http_connections {
    struct list list;   /* of struct http_connection */
    size_t n_open;      /* with an open socket */
    size_t n_ready;     /* those of them that have carried a response */
    size_t streams_max; /* of one connection, as observed */
    bool is_serial;     /* HTTP/1.1: a connection carries one request at a time */
};

#define HTTP_CONNECTION_MAGIC 0x636f6e6eu
struct http_connection {
    unsigned magic;
    struct list link;
    struct http_connections *connections;
    int fd; /* -1: closed; it stays until its last stream ends */
    int port;
    ino_t inode; /* the socket's, as the descriptor's number may be used again */
    size_t n_streams;
    bool was_used; /* a request was sent on it */
    bool is_ready; /* and was answered */
};

void http_connections_init(struct http_connections *connections);

/* libcurl's CURLOPT_OPENSOCKETFUNCTION, CLOSESOCKETFUNCTION, SOCKOPTFUNCTION. @userdata: struct
 * http_connections */
curl_socket_t http_connections_open(void *userdata, curlsocktype purpose,
                                    struct curl_sockaddr *address);
int http_connections_close(void *userdata, curl_socket_t fd);
int http_connections_set_options(void *userdata, curl_socket_t fd, curlsocktype purpose);

/*
 * A request is being sent from @local_port.
 * Return: its connection with one more stream, to be given to http_connection_release(); NULL for
 * an unknown port.
 */
struct http_connection *http_connections_acquire(struct http_connections *connections,
                                                 int local_port);
/* The request ended. NULL is fine. Return: NULL. */
struct http_connection *http_connection_release(struct http_connection *connection);
/* A response with @http_version (CURL_HTTP_VERSION_*) came. @connection: NULL if unknown. */
void http_connections_on_response(struct http_connections *connections,
                                  struct http_connection *connection, long http_version);

/* Whether libcurl can send one request besides @n_active others without another connection. */
bool http_connections_have_room(const struct http_connections *connections, size_t n_active);
/* libcurl did not send a request that http_connections_have_room() had expected to fit. */
void http_connections_reduce_streams_max(struct http_connections *connections);
/* Whether a socket is open that no request was sent on yet. */
bool http_connections_are_opening(struct http_connections *connections);
/* Remove those whose socket libcurl closed without calling back. */
void http_connections_drop_lost(struct http_connections *connections);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the HTTP client has open, and how full it is; for its files only. */
#include "fetcher/http/request.h"

#define HTTP_CONNECTION_MAGIC 0x636f6e6eu
/* A socket that libcurl has opened. */
struct http_connection {
    unsigned magic;
    struct list link;
    int fd; /* -1: closed, and only here for its streams */
    int port;
    ino_t inode; /* the socket's, as the descriptor may become another's */
    size_t n_streams;
    bool was_used; /* a request went out over it */
    bool is_ready; /* and has been answered */
};

/* For libcurl: CURLOPT_OPENSOCKETFUNCTION and CURLOPT_CLOSESOCKETFUNCTION with the client as data.
 */
curl_socket_t http_connection_open(void *userdata, curlsocktype purpose,
                                   struct curl_sockaddr *address);
int http_connection_close(void *userdata, curl_socket_t fd);
int http_connection_prepare(void *userdata, curl_socket_t fd, curlsocktype purpose);
/* A request goes out from the local @port. */
void http_connection_use(struct http_request *request, int port);
void http_connection_leave(struct http_request *request);
/* A response came, of this kind. */
void http_connection_answered(struct http_request *request, long http_version);
/* Whether libcurl can send one more without another connection, as far as we know. */
bool http_connections_have_room(const struct http_client *client);
/* Libcurl found no room although we thought so. */
void http_connections_learn(struct http_client *client);
bool http_connections_are_coming(struct http_client *client);
/* Those that never came are no longer counted. */
void http_connections_forget_lost(struct http_client *client);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The HTTP server for metrics and health of a node. See http_server.c.
 *
 * Thread: the event loop's.
 */
#include <sys/socket.h>

#include <systemd/sd-event.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/kept_socket.h"

struct http_server;

/*
 * Scrapers, probes and a few people; one host cannot take all of them. Beyond a limit the
 * connection whose last request is the longest ago is dropped, so that connections without a
 * request, which every user of the host can open, keep none from its response.
 */
#define HTTP_SERVER_CONNECTIONS_MAX      64
#define HTTP_SERVER_CONNECTIONS_PER_HOST 24
#define HTTP_SERVER_IDLE_SEC             30    /* a scraper with a longer interval reconnects */
#define HTTP_SERVER_CONNECTION_MEMORY    16384 /* for a request's head; a browser's fits */
#define HTTP_SERVER_BODY_MAX             (4u << 20)

struct http_server_answer {
    unsigned status;          /* 200 unless changed */
    const char *content_type; /* plain text unless changed; a constant */
    bool is_for_browsers;     /* set by the server, as the route says */
    struct buf body;
};

/*
 * Answers GET and HEAD of one path.
 * @is_verbose: the request has ?verbose
 * Return: 0; -errno for 500 Internal Server Error.
 */
typedef int http_server_answer_fn(void *userdata, bool is_verbose,
                                  struct http_server_answer *answer);

struct http_server_route {
    const char *path;
    http_server_answer_fn *answer; /* NULL in the last one */
    /*
     * A browser shows it to who uses this host. Other sites' pages in that browser must not get it:
     * only a Host that names this host is answered, and headers forbid to embed the answer and to
     * load what does not come from this server.
     */
    bool is_for_browsers;
};

/*
 * Parse an address to listen on: "10.0.0.1:9090", "[::1]:9090", ":9090" for every address of the
 * host; "localhost" is 127.0.0.1, other names are not resolved. "0" and "" turn the server off.
 * Return: 0; HTTP_SERVER_OFF; -EINVAL with @e.
 */
#define HTTP_SERVER_OFF 1
int http_server_parse_address(const char *text, struct sockaddr_storage *ret_address,
                              socklen_t *ret_len, struct error *e);

/* Return: whether only this host can connect to an address of http_server_parse_address(). */
bool http_server_is_loopback(const struct sockaddr_storage *address);

/*
 * Whether a request's Host names this host by a loopback address or "localhost", with any port. The
 * name of another site may resolve to this host, in a browser that shows a page of that site.
 * @host: NULL: the request has none
 */
bool http_server_names_loopback(const char *host);

/*
 * Listen and serve.
 * @address: as above, but not off
 * @keep: the socket outlives the process; borrowed; NULL: it does not
 * @routes: outlive the server
 * Return: 0, *ret_server is the caller's; -EINVAL; -errno of the system with @e.
 */
int http_server_new(sd_event *event, const char *address, const struct kept_socket *keep,
                    const struct http_server_route *routes, void *userdata,
                    struct http_server **ret_server, struct error *e);
/* Closes the connections, and the socket unless the next process takes it over. Return: NULL. */
struct http_server *http_server_free(struct http_server *server);
DEFINE_CLEANUP(struct http_server *, http_server_free)

/* Return: the address, with the port that the kernel chose for port 0. Borrowed. */
const char *http_server_address(const struct http_server *server);

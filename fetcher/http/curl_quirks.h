/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Workarounds for single versions of libcurl. curl_quirks.c describes each quirk and says when its
 * code can be removed.
 *
 * Thread: the event loop's, for all functions.
 */
#include <curl/curl.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/error.h"
#include "base/list.h"

enum curl_quirk {
    CURL_QUIRK_UNREAD_INPUT,
    CURL_QUIRK_RECEIVE_BUFFER,
    CURL_QUIRK_LOST_SOCKET,
    CURL_QUIRK_INHERITED_SOCKETS,
    CURL_QUIRK_BUFFERED_RESET,
    CURL_QUIRK_HELD_RESTART,
    CURL_QUIRK_LATE_VERIFICATION,
    CURL_QUIRK_KEY_ERROR,
    CURL_QUIRKS,
};

/*
 * Start libcurl, and find out which quirks the libcurl that runs has. Must be the process's first
 * use of libcurl; repeats do nothing.
 * Return: 0; -EIO with @e when libcurl does not start.
 */
int curl_quirks_init(struct error *e);

/* Whether the libcurl that runs has the quirk. */
bool curl_quirk_applies(enum curl_quirk quirk);
/* The same for any version, as in curl_version_info_data.version_num. Pure. */
bool curl_quirk_is_in(enum curl_quirk quirk, unsigned version);

/* ---- unread input */

/* A socket that libcurl has the loop watch; embedded in its owner's. */
struct curl_reread_socket {
    struct list link;
    int fd;
    bool had_input;       /* since the last pass in which nothing happened */
    unsigned long n_pass; /* the last one that it was in */
};

struct curl_reread_owner {
    CURLM *multi;
    const unsigned long *n_callbacks; /* how often libcurl has called back for a request */
    /*
     * Calls curl_multi_socket_action() for the descriptor with CURL_CSELECT_IN. It may add and
     * remove sockets.
     */
    void (*read)(void *userdata, int fd);
    void *userdata;
};

/* Has libcurl read again after each input, and its receive buffers wiped when all is read. */
struct curl_reread {
    struct curl_reread_owner owner;
    sd_event_source *source;
    struct list sockets;    /* of struct curl_reread_socket */
    unsigned long n_passes; /* ever */
};

/* Return: 0 or -errno; curl_reread_deinit() is allowed in either case. */
int curl_reread_init(struct curl_reread *reread, sd_event *event,
                     const struct curl_reread_owner *owner);
/* All sockets must have been removed. Accepts one that is all zero. */
void curl_reread_deinit(struct curl_reread *reread);
void curl_reread_add(struct curl_reread *reread, struct curl_reread_socket *socket, int fd);
void curl_reread_remove(struct curl_reread_socket *socket);
/* The socket is readable; to be called before libcurl reads. */
void curl_reread_on_input(struct curl_reread *reread, struct curl_reread_socket *socket);
/* libcurl has run because of its timer. */
void curl_reread_on_timer(struct curl_reread *reread);

/* ---- the others */

/* The number that the kernel gives a socket; 0 for no open descriptor. */
ino_t curl_quirks_socket_inode(int fd);
/*
 * Whether libcurl closed a socket without calling CURLOPT_CLOSESOCKETFUNCTION.
 * @inode: what curl_quirks_socket_inode() returned when the socket was opened.
 */
bool curl_quirks_is_socket_lost(int fd, ino_t inode);

/* curl_multi_init() whose descriptors are close-on-exec. Return: NULL when it fails. */
CURLM *curl_quirks_multi_new(void);

/*
 * For CURLOPT_SSL_CTX_FUNCTION of requests that verify the server's certificate.
 * @ssl_ctx: the SSL_CTX that libcurl passes to it
 */
void curl_quirks_verify_in_handshake(void *ssl_ctx);

/* What libcurl 7.88 and 8.14 return where the libcurl that runs returns @code. */
CURLcode curl_quirks_result(CURLcode code);

/*
 * A number that changes when libcurl begins the request again by itself.
 * @easy: without CURLOPT_FOLLOWLOCATION
 */
curl_off_t curl_quirks_restarted_at(CURL *easy);

/* Whether libcurl will run in the next turn of the loop, without input. */
bool curl_quirks_has_due_timer(CURLM *multi);

/* To be called before a request that is not complete leaves its multi handle. */
void curl_quirks_cancel(CURL *easy);
/* To be called after it has left, with another request on the same connection. */
void curl_quirks_flush(CURL *easy);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Which requests wait, and when libcurl gets them. For the files of the HTTP client only.
 */
#include <systemd/sd-event.h>

#include "fetcher/http/request.h"

enum http_priority {
    HTTP_PRIORITY_AGAIN, /* it was admitted before */
    HTTP_PRIORITY_HIGH,
    HTTP_PRIORITY_LOW,
    HTTP_PRIORITIES
};

struct http_admission {
    struct http_transport *transport;
    struct list queues[HTTP_PRIORITIES]; /* of struct http_request */
    size_t n_waiting;                    /* in all queues */
    sd_event_source *timer;              /* when to run */
};

/*
 * @admission: zeroed; to be given to http_admission_deinit(), on failure too
 * @transport: borrowed, outlives it
 * Return: 0; -errno of sd-event.
 */
int http_admission_init(struct http_admission *admission, sd_event *event,
                        struct http_transport *transport);
/* No request may wait. Of a zeroed one: nothing happens. */
void http_admission_deinit(struct http_admission *admission);

/*
 * Start the request or queue it.
 * Return: 0; -EAGAIN when too many wait; -ENOMEM. On failure it stays the caller's.
 */
int http_admission_submit(struct http_admission *admission, struct http_request *request);
/* Dequeue it; nothing happens if it is not queued. */
void http_admission_remove(struct http_admission *admission, struct http_request *request);
/* Start all that may start now. */
void http_admission_run(struct http_admission *admission);
/* The same in the next turn of the loop. */
void http_admission_schedule(struct http_admission *admission);
/* Find the requests that libcurl began again, and has not sent yet: they are unsent ones. */
void http_admission_find_restarted(struct http_admission *admission);
/* Queue again the requests that libcurl tried to send and had no connection for. */
void http_admission_requeue_unsent(struct http_admission *admission);
/*
 * libcurl ended a request. Queue it again if it can be sent again; else report it, and all that
 * wait if no connection to the server is left.
 */
void http_admission_finish(struct http_admission *admission, struct http_request *request,
                           CURLcode code);

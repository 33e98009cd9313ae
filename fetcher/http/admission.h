/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Which requests of the HTTP client have to wait; for its files only. */
#include "fetcher/http/request.h"

/* Start it or let it wait. Return: 0; -EAGAIN when too many wait; -ENOMEM. In the latter two cases
 * the request is still the caller's. */
int http_admission_add(struct http_request *request);
/* It does not wait any more, if it did. */
void http_admission_leave(struct http_request *request);
/* Look at those that wait as soon as the loop comes to it. */
void http_admission_wake(struct http_client *client);
/* The same now. */
void http_admission_admit(struct http_client *client);
/* What libcurl has tried to send and could not goes back to the queue. */
void http_admission_take_back(struct http_client *client);
/* The server cannot be reached, which those that wait need not find out one by one. */
void http_admission_fail(struct http_client *client, enum http_outcome outcome,
                         const struct error *error);

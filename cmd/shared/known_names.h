/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The names that exist beside one that does not: keys of the object, objects of the namespace. See
 * known_names.c.
 *
 * Thread: the event loop's.
 */
#include "base/buf.h"
#include "cmd/shared/source_options.h"
#include "volume/missing.h"

struct http_request;

/* @text: "; there are the secrets: db, web"; "" if the names cannot be read. The request has ended.
 */
typedef void known_names_fn(void *userdata, const char *text);

/* All zero bytes: nothing is requested. */
struct known_names {
    struct http_request *request; /* NULL: none */
    struct buf response;
    int status; /* of the response */
    char *wanted;
    enum object_kind kind;
    char *namespace;
    known_names_fn *done;
    void *userdata;
};

/*
 * Find them. Of the API server a list is requested only if a person waits for it, at a terminal: it
 * is a right of its own, and its refusal is in an audit log.
 * @source: of @from
 * @done: called once, perhaps before this returns, and never after known_names_end()
 */
void known_names_begin(struct known_names *names, const struct source_options *from,
                       struct source *source, const struct missing *missing, known_names_fn *done,
                       void *userdata);

/* Cancel the request, and free the names. A zeroed object is fine. */
void known_names_end(struct known_names *names);

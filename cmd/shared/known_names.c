/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys are in the object that is there, and the manifests' objects are in memory. Names of the API
 * server's objects take a list, as a Table, which has no values (fetcher/api/name_table.c). It may
 * fail in any way, most often as the right to list is missing; then there are no names, and no
 * message about it: the person asked for something else.
 */
#include "cmd/shared/known_names.h"

#include <unistd.h>

#include "fetcher/api/api_source.h"
#include "fetcher/api/name_table.h"
#include "fetcher/manifests/manifests.h"

#define REQUEST_LIMIT SPAN_SEC(2) /* the person waits for it */

static void report(struct known_names *n, const char *text)
{
    known_names_fn *done = n->done;
    void *userdata = n->userdata;

    known_names_end(n);
    done(userdata, text);
}

/* The text names what has the names: several objects may be missing, and one is explained. */
static void report_list(struct known_names *n, const struct name_list *list, const char *owner,
                        const char *what)
{
    struct error names, text;

    name_list_print(list, &names);
    if (list->n == 0)
        error_set(&text, 0, "; %s no %s", owner, what);
    else
        error_set(&text, 0, "; %s the %s: %s", owner, what, names.text);
    report(n, text.text);
}

static void report_keys(struct known_names *n, const struct missing *missing)
{
    struct name_list list = NAME_LIST_INIT(missing->data_key);
    struct error owner;

    for (size_t i = 0; i < missing->object->n_entries; i++)
        if (!streq(missing->object->entries[i].key, missing->data_key)) /* a binary one of an env */
            name_list_offer(&list, missing->object->entries[i].key);
    error_set(&owner, 0, "%s has", object_key_text(missing->key, (char[OBJECT_KEY_TEXT_SIZE]){""}));
    report_list(n, &list, owner.text, "keys");
}

static void report_objects(struct known_names *n, const struct name_list *list,
                           const char *plural_kind, const char *namespace)
{
    struct error owner = {.text = "there are"};

    if (list->n == 0)
        error_set(&owner, 0, "namespace \"%s\" has", namespace);
    report_list(n, list, owner.text, plural_kind);
}

/* ---- the manifests' objects */

static void report_manifests(struct known_names *n, const struct source *source,
                             const struct object_key *key)
{
    struct name_list list = NAME_LIST_INIT(key->name);

    manifest_source_names(source, key->kind, key->namespace, name_list_offer, &list);
    report_objects(n, &list, object_kind_plural(key->kind), key->namespace);
}

/* ---- the API server's objects */

static void on_response(void *userdata, const struct http_response *response)
{
    struct known_names *n = userdata;

    n->status = response->status;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
    struct known_names *n = userdata;

    if (buf_add(&n->response, bytes, len) < 0)
        n->status = 0; /* too long */
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct known_names *n = userdata;
    _cleanup_(freep) char *wanted = TAKE(n->wanted), *namespace = TAKE(n->namespace);
    struct name_list list = NAME_LIST_INIT(wanted);

    if (outcome == HTTP_COMPLETE && n->status == 200 &&
        name_table_parse(buf_text(&n->response), n->response.len, name_list_offer, &list,
                         &list.is_part) == 0)
        report_objects(n, &list, object_kind_plural(n->kind), namespace);
    else
        report(n, "");
}

static int send_request(struct known_names *n, struct source *source, const struct object_key *key)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    _cleanup_(buf_deinit) struct buf path = BUF_INIT(1024);
    struct http_call call = {.wants_table = true, .total_limit = REQUEST_LIMIT};
    struct error ignored;
    int r = name_table_add_path(&path, key->kind, key->namespace);

    if (r < 0)
        return r;
    n->kind = key->kind;
    n->wanted = strdup(key->name);
    n->namespace = strdup(key->namespace);
    if (n->wanted == NULL || n->namespace == NULL)
        return -ENOMEM;
    call.path = buf_text(&path);
    return api_source_send(source, &call, &handler, n, &n->request, &ignored);
}

/* ---- the names */

void known_names_begin(struct known_names *names, const struct source_options *from,
                       struct source *source, const struct missing *missing, known_names_fn *done,
                       void *userdata)
{
    assert(names->request == NULL && names->done == NULL);
    *names = (struct known_names){
        .response = BUF_INIT(NAME_TABLE_MAX_BYTES), .done = done, .userdata = userdata};
    if (missing->object != NULL)
        report_keys(names, missing);
    else if (from->manifests != NULL)
        report_manifests(names, source, missing->key);
    else if (!isatty(STDERR_FILENO) || send_request(names, source, missing->key) < 0)
        report(names, "");
}

void known_names_end(struct known_names *names)
{
    http_request_free(names->request);
    buf_deinit(&names->response);
    free(names->wanted);
    free(names->namespace);
    *names = (struct known_names){.request = NULL};
}

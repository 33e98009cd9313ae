/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source's identity comes from the server's credentials, which all sources of that kind share, or
 * from a token of its own. After a 401 the credentials renew themselves; a token can only be
 * replaced from outside, so until then there is no retry. A token that is set again lets those that
 * wait retry: the API server may have been at fault.
 *
 * With `--rights pod` each service account is a source with a store and a token of its own. All of
 * them share an api_server: address and authorities, connections and rate limit. A watch goes on
 * with the token that it was begun with, as the API server keeps it.
 */
#include "fetcher/api/api_source.h"

#include <search.h>
#include <stdio.h>

#include "base/list.h"
#include "base/log.h"
#include "encoding/json.h"
#include "fetcher/api/reflector.h"
#include "fetcher/api/watch_clock.h"
#include "fetcher/auth/authorization.h"

#define DEBUG_WATCHES_MAX 500 /* up to 550 bytes each: a part of a status document has 1 MiB */

struct api_source {
    struct source source; /* first, see source.h */
    struct store *store;
    struct api_server *server;
    struct api_server_user user;
    bool takes_tokens;          /* instead of the server's credentials */
    char *token;                /* as the header's value; NULL: none yet */
    unsigned token_version;     /* grows with each other token */
    struct list watches;        /* of struct api_watch; the last notified one is at the end */
    void *watches_by_key;       /* the same as a tsearch(3) tree, by the address of the key */
    unsigned credentials_round; /* counts changes of the credentials */
    unsigned long n_restarts;   /* of watches that are gone */
};

/* A key's reflector with its request and timer. */
struct api_watch {
    struct list link;
    struct api_source *api;
    const struct object_key *key; /* the store's */
    struct reflector *reflector;
    struct http_request *request; /* NULL: none */
    struct watch_clock clock;
    unsigned credentials_version; /* of the last request */
    unsigned credentials_round;   /* the newest that it was notified of */
};

static struct api_source *api_of(struct source *source)
{
    return CONTAINER_OF(source, struct api_source, source);
}

/* The credentials of a request; borrowed until the next change. Return: whether there are any. */
static bool get_snapshot(const struct api_source *api, struct credentials_snapshot *ret_snapshot)
{
    const struct credentials_snapshot *own = credentials_peek(api->server->credentials);

    if (own == NULL || (api->takes_tokens && api->token == NULL))
        return false;
    *ret_snapshot = *own;
    if (api->takes_tokens) {
        ret_snapshot->authorization = api->token;
        ret_snapshot->version = api->token_version;
    }
    return true;
}

/* ---- the reflector's side */

static void request_on_response(void *userdata, const struct http_response *response)
{
    struct api_watch *w = userdata;

    log_trace(LOG_TRACE_REFLECTOR, "response", "object",
              object_key_text(w->key, (char[OBJECT_KEY_TEXT_SIZE]){""}), "status",
              LOG_NUM(response->status));
    watch_on_response(reflector_watch(w->reflector), response);
}

static void request_on_body(void *userdata, const char *bytes, size_t len)
{
    const struct api_watch *w = userdata;

    watch_on_body(reflector_watch(w->reflector), bytes, len);
}

static void request_on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct api_watch *w = userdata;

    w->request = http_request_free(w->request);
    watch_on_done(reflector_watch(w->reflector), outcome, error);
}

static void request_on_sent(void *userdata)
{
    const struct api_watch *w = userdata;

    watch_on_sent(reflector_watch(w->reflector));
}

static int io_request(void *userdata, const struct watch_request *request, struct error *e)
{
    static const struct http_handler handler = {request_on_response, request_on_body,
                                                request_on_done};
    struct api_watch *w = userdata;
    struct credentials_snapshot snapshot;
    struct http_call call = {
        .path = request->path,
        .is_watch = request->is_watch,
        .total_limit = request->total_limit,
        .on_sent = request_on_sent,
        .credentials = &snapshot,
    };

    assert(w->request == NULL);
    if (!get_snapshot(w->api, &snapshot)) {
        if (w->api->takes_tokens)
            error_set(e, -EAGAIN, "no token yet, waiting for one");
        return WATCH_NO_CREDENTIALS;
    }
    log_trace(LOG_TRACE_REFLECTOR, "request", "path", request->path);
    w->credentials_version = snapshot.version;
    return http_client_send(w->api->server->client, &call, &handler, w, &w->request, e);
}

static void io_cancel(void *userdata)
{
    struct api_watch *w = userdata;

    w->request = http_request_free(w->request);
}

static int io_reject_credentials(void *userdata, struct error *e)
{
    const struct api_watch *w = userdata;

    if (!w->api->takes_tokens) {
        credentials_rejected(w->api->server->credentials, w->credentials_version);
        return 0;
    }
    if (w->credentials_version != w->api->token_version)
        return WATCH_NEW_CREDENTIALS;
    error_set(e, -EACCES,
              "the API server does not accept the token (401 Unauthorized): waiting for the "
              "next one; check that it is made for the API server's audience");
    return WATCH_NO_CREDENTIALS;
}

static const char *io_user(void *userdata)
{
    const struct api_watch *w = userdata;

    return w->api->takes_tokens ? NULL : w->api->server->config->user;
}

static bool io_streams_lists(void *userdata)
{
    const struct api_watch *w = userdata;

    return api_server_streams_lists(w->api->server);
}

static void io_reject_streams(void *userdata)
{
    const struct api_watch *w = userdata;

    api_server_reject_streams(w->api->server);
}

static void io_set_timer(void *userdata, span_us delay)
{
    struct api_watch *w = userdata;

    watch_clock_set(&w->clock, delay);
}

static void on_timer(void *userdata)
{
    const struct api_watch *w = userdata;

    watch_on_timer(reflector_watch(w->reflector));
}

/* ---- the store's side */

/* The store passes the same key to unwatch that it passed to watch. */
static int watch_compare(const void *a, const void *b)
{
    const struct api_watch *x = a, *y = b;
    uintptr_t at = (uintptr_t)x->key, other = (uintptr_t)y->key;

    return (at > other) - (at < other);
}

static struct api_watch *watch_free(struct api_watch *w)
{
    if (w == NULL)
        return NULL;
    if (w->reflector != NULL)
        w->api->n_restarts += reflector_restarts(w->reflector);
    w->reflector = reflector_free(w->reflector);
    assert(w->request == NULL);
    tdelete(w, &w->api->watches_by_key, watch_compare);
    list_remove(&w->link);
    watch_clock_deinit(&w->clock);
    free(w);
    return NULL;
}
DEFINE_CLEANUP(struct api_watch *, watch_free)

static int api_watch_key(void *userdata, const struct object_key *key, struct error *e)
{
    static const struct watch_io io = {
        .request = io_request,
        .cancel = io_cancel,
        .reject_credentials = io_reject_credentials,
        .user = io_user,
        .streams_lists = io_streams_lists,
        .reject_streams = io_reject_streams,
        .set_timer = io_set_timer,
        .now = watch_clock_now,
        .random = watch_clock_random,
    };
    struct api_source *api = api_of(userdata);
    _cleanup_(watch_freep) struct api_watch *w = calloc(1, sizeof(*w));
    int r = -ENOMEM;

    if (w != NULL) {
        *w =
            (struct api_watch){.api = api, .key = key, .credentials_round = api->credentials_round};
        list_append(&api->watches, &w->link);
        r = tsearch(w, &api->watches_by_key, watch_compare) != NULL ? 0 : -ENOMEM;
    }
    if (r >= 0)
        r = watch_clock_init(&w->clock, api->server->event, on_timer, w);
    if (r >= 0)
        r = reflector_new(api->store, key, &io, w, &w->reflector);
    if (r < 0)
        return error_set_errno(e, r, "cannot watch %s/%s", object_kind_word(key->kind), key->name);
    watch_start(reflector_watch(TAKE(w)->reflector));
    return 0;
}

static struct api_watch *find_watch(struct api_source *api, const struct object_key *key)
{
    const struct api_watch like = {.key = key};
    struct api_watch *const *found = tfind(&like, &api->watches_by_key, watch_compare);

    assert(found != NULL);
    return *found;
}

static void api_unwatch_key(void *userdata, const struct object_key *key)
{
    watch_free(find_watch(api_of(userdata), key));
}

static void api_refresh_key(void *userdata, const struct object_key *key)
{
    reflector_refresh(find_watch(api_of(userdata), key)->reflector);
}

static void api_check_rights(void *userdata, const struct object_key *key)
{
    reflector_check_rights(find_watch(api_of(userdata), key)->reflector);
}

/*
 * Notify every reflector once. What it reports may end any of the watches, so the search starts
 * from the beginning each time; a notified one goes to the end of the list.
 */
static void notify_reflectors(struct api_source *api, const struct error *error)
{
    api->credentials_round++;
    while (!list_is_empty(&api->watches)) {
        struct api_watch *w = list_entry(api->watches.next, struct api_watch, link);

        if (w->credentials_round == api->credentials_round)
            return;
        w->credentials_round = api->credentials_round;
        list_remove(&w->link);
        list_append(&api->watches, &w->link);
        watch_on_credentials(reflector_watch(w->reflector), error);
    }
}

static void api_on_credentials(struct api_server_user *user, const struct error *error)
{
    struct api_source *api = CONTAINER_OF(user, struct api_source, user);

    if (!api->takes_tokens) /* a token of its own is not affected */
        notify_reflectors(api, error);
}

static int describe_requests(const struct http_stats *stats, cJSON *status)
{
    cJSON *requests = cJSON_AddObjectToObject(status, "requests");
    int r = requests != NULL ? 0 : -ENOMEM;

    for (size_t i = 0; r >= 0 && i < stats->n_codes; i++) {
        char name[16];

        snprintf(name, sizeof(name), "%d", stats->codes[i].status);
        r = json_add_number(requests, stats->codes[i].status == 0 ? "failed" : name,
                            (double)stats->codes[i].n);
    }
    return r;
}

static unsigned long count_restarts(const struct api_source *api)
{
    unsigned long n = api->n_restarts;
    const struct api_watch *w;

    list_for_each (w, &api->watches, link)
        n += reflector_restarts(w->reflector);
    return n;
}

/* Those with a request under way; an immutable object has none. */
static size_t count_watches(const struct api_source *api)
{
    const struct api_watch *w;
    size_t n = 0;

    list_for_each (w, &api->watches, link)
        n += w->request != NULL;
    return n;
}

static const struct api_source *peek(const struct source *source)
{
    return CONTAINER_OF((struct source *)(uintptr_t)source, struct api_source, source);
}

static void api_count(const struct source *source, struct source_counts *ret_counts)
{
    const struct api_source *api = peek(source);

    *ret_counts = (struct source_counts){.requests = http_client_stats(api->server->client),
                                         .n_watches = count_watches(api),
                                         .n_restarts = count_restarts(api)};
}

static int api_describe(const struct source *source, cJSON *status)
{
    const struct api_source *api = peek(source);
    const struct http_stats *stats = http_client_stats(api->server->client);
    int r = json_add_text(status, "kind", "api");

    if (r >= 0)
        r = json_add_text(status, "server", api->server->config->server);
    if (r >= 0)
        r = json_add_text(status, "origin", api->server->config->origin);
    if (r >= 0)
        r = json_add_text(status, "protocol", stats->protocol);
    if (r >= 0)
        r = json_add_number(status, "connections", stats->connections);
    if (r >= 0)
        r = json_add_number(status, "waitingRequests", (double)stats->n_waiting);
    if (r >= 0)
        r = describe_requests(stats, status);
    if (r >= 0)
        r = json_add_number(status, "watches", (double)count_watches(api));
    if (r >= 0)
        r = json_add_number(status, "watchRestarts", (double)count_restarts(api));
    if (r >= 0)
        r = json_add_bool(status, "streamsLists", api->server->streams_lists);
    return r;
}

static int debug_watch(const struct api_watch *w, cJSON *json)
{
    const struct watch *watch = reflector_watch(w->reflector);
    char text[OBJECT_KEY_TEXT_SIZE];
    int r = json_add_text(json, "object", object_key_text(w->key, text));

    r |= json_add_text(json, "state", watch_state_name(watch));
    r |= json_add_text(json, "resourceVersion", watch->cursor);
    r |= json_add_bool(json, "requestActive", w->request != NULL);
    r |= json_add_number(json, "watchesOpened", (double)watch->n_watches);
    r |= json_add_number(json, "events", (double)watch->n_events);
    r |= json_add_number(json, "nextBackoffSeconds", (double)watch->backoff.base / 1e6);
    return r;
}

static int api_debug(const struct source *source, cJSON *status)
{
    const struct api_source *api = peek(source);
    cJSON *list = cJSON_AddArrayToObject(status, "watchStates");
    const struct api_watch *w;
    size_t n = 0;
    int r = list != NULL ? 0 : -ENOMEM;

    list_for_each (w, &api->watches, link) {
        cJSON *json;

        if (n++ >= DEBUG_WATCHES_MAX || r < 0)
            continue;
        json = cJSON_CreateObject();
        r |= debug_watch(w, json);
        if (!cJSON_AddItemToArray(list, json)) {
            cJSON_Delete(json);
            r = -ENOMEM;
        }
    }
    if (r == 0 && n > DEBUG_WATCHES_MAX)
        r = json_add_number(status, "watchStatesOmitted", (double)(n - DEBUG_WATCHES_MAX));
    return r < 0 ? -ENOMEM : 0;
}

/* ---- the source */

static struct api_source *api_free(struct api_source *api)
{
    if (api == NULL)
        return NULL;
    assert(list_is_empty(&api->watches));
    list_remove(&api->user.link);
    secret_text_free(api->token);
    api_server_unref(api->server);
    free(api);
    return NULL;
}
DEFINE_CLEANUP(struct api_source *, api_free)

static void api_source_free(struct source *source)
{
    api_free(api_of(source));
}

static struct api_source *api_new(struct api_server *server, struct store *store)
{
    static const struct source_ops ops = {
        .store = {.watch = api_watch_key,
                  .unwatch = api_unwatch_key,
                  .refresh = api_refresh_key,
                  .check_rights = api_check_rights},
        .describe = api_describe,
        .debug = api_debug,
        .count = api_count,
        .free = api_source_free,
    };
    struct api_source *api = calloc(1, sizeof(*api));

    if (api == NULL)
        return NULL;
    api->source.ops = &ops;
    api->server = api_server_ref(server);
    api->store = store;
    api->user.on_credentials = api_on_credentials;
    list_append(&server->users, &api->user.link);
    list_init(&api->watches);
    return api;
}

int api_source_new_on(struct api_server *server, struct store *store, struct source **ret_source,
                      struct error *e)
{
    struct api_source *api = api_new(server, store);

    if (api == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare for %s", server->config->server);
    *ret_source = &api->source;
    return 0;
}

int api_source_new(sd_event *event, struct store *store, struct api_config *config_consumed,
                   struct source **ret_source, struct error *e)
{
    _cleanup_(api_server_unrefp) struct api_server *server = NULL;
    int r = api_server_new(event, config_consumed, &server, e);

    return r >= 0 ? api_source_new_on(server, store, ret_source, e) : r;
}

int api_source_new_with_token(struct api_server *server, struct store *store, const char *token,
                              struct source **ret_source, struct error *e)
{
    _cleanup_(api_freep) struct api_source *api = api_new(server, store);
    int r = 0;

    if (api == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare for %s", server->config->server);
    api->takes_tokens = true;
    if (token != NULL)
        r = api_source_set_token(&api->source, token, e);
    if (r < 0)
        return r;
    *ret_source = &TAKE(api)->source;
    return 0;
}

int api_source_set_token(struct source *source, const char *token, struct error *e)
{
    struct api_source *api = api_of(source);
    _cleanup_(secret_text_freep) char *authorization = NULL;
    int r = authorization_bearer(token, &authorization, e);

    assert(api->takes_tokens);
    if (r < 0)
        return r;
    if (api->token == NULL || !streq(api->token, authorization)) {
        secret_text_free(api->token);
        api->token = TAKE(authorization);
        api->token_version++;
    }
    notify_reflectors(api, NULL);
    return 0;
}

unsigned api_source_credentials_version(const struct source *source)
{
    struct credentials_snapshot snapshot;

    return get_snapshot(peek(source), &snapshot) ? snapshot.version : 0;
}

void api_source_reject_credentials(struct source *source, unsigned version)
{
    const struct api_source *api = api_of(source);

    if (!api->takes_tokens)
        credentials_rejected(api->server->credentials, version);
}

int api_source_send(struct source *source, const struct http_call *call,
                    const struct http_handler *handler, void *userdata,
                    struct http_request **ret_request, struct error *e)
{
    struct api_source *api = api_of(source);
    struct credentials_snapshot snapshot;
    struct http_call own = *call;

    if (!get_snapshot(api, &snapshot))
        return error_set(e, -EAGAIN, "cannot send a request to %s: there are no credentials yet",
                         api->server->config->server);
    own.credentials = &snapshot;
    return http_client_send(api->server->client, &own, handler, userdata, ret_request, e);
}

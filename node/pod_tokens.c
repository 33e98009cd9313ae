/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One token for each key: service account, pod, audience and lifetime. Volumes of a pod that ask
 * for the same share it (Y10). It is forgotten with its last volume.
 *
 *   requested --> issued: put into the store --> (80 % of its lifetime) --> requested again
 *       | refused, or no answer
 *       +--> retried, with a delay that doubles; the key is reported as failing
 *
 * While a renewal fails, the file keeps the last token (Y12), even an expired one: nothing better
 * can be shown, and other sources of the volume continue to update. The report says when it
 * expires. The node authorizer may learn of a pod late (K3), so the first retries are quick.
 *
 * The timer counts the time that the machine was suspended.
 */
#include "node/pod_tokens.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/log.h"
#include "encoding/json.h"
#include "fetcher/api/protocol.h"
#include "fetcher/api/token_request.h"

#define POST_LIMIT      SPAN_SEC(10)
#define RETRY_FIRST     SPAN_MS(100) /* doubling */
#define RETRY_DOUBLINGS 10           /* up to 102 s, as a kubelet's (H6) */
#define TIMER_SLACK     SPAN_MS(10)

struct pod_tokens {
    sd_event *event;
    struct store *store;
    const struct node_pods_api *api;
    void *api_userdata;
    struct source *source; /* NULL until it is open */
    struct list followed;
};

struct followed {
    struct list link;
    struct pod_tokens *tokens;
    const struct object_key *key; /* the store's */
    struct token_request request;
    char *request_buf;
    struct http_request *http;
    sd_event_source *timer; /* until the renewal or the retry */
    unsigned version;       /* of the credentials of the request */
    unsigned n_failed;
    int status;
    span_us retry_after; /* the server's; 0: none */
    struct buf body;
    bool has_token;
    struct timespec expires_at;
};

static void request(struct followed *f);

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct followed *f = userdata;

    f->timer = sd_event_source_disable_unref(f->timer);
    request(f);
    return 0;
}

static void request_later(struct followed *f, span_us delay)
{
    int r;

    f->timer = sd_event_source_disable_unref(f->timer);
    r = sd_event_add_time_relative(f->tokens->event, &f->timer, CLOCK_BOOTTIME, delay, TIMER_SLACK,
                                   on_timer, f);
    if (r < 0)
        log_error("cannot set a timer; a token will not be renewed", "namespace", f->key->namespace,
                  "pod", f->request.pod, "error", strerror(-r));
}

/* ---- results */

/* @reason: why there is no new token */
static void on_failed(struct followed *f, const struct error *reason)
{
    unsigned doublings = f->n_failed < RETRY_DOUBLINGS ? f->n_failed : RETRY_DOUBLINGS;
    span_us delay = RETRY_FIRST << doublings;
    struct error e = *reason;
    char when[CLOCK_RFC3339_SIZE];

    f->n_failed++;
    request_later(f, delay > f->retry_after ? delay : f->retry_after);
    if (f->has_token)
        error_prefix(&e, -EIO,
                     "cannot renew the token of service account %.64s, which expires at %s",
                     f->key->name, clock_rfc3339(f->expires_at, when));
    else
        error_prefix(&e, -EIO, "cannot get a token of service account %.64s", f->key->name);
    store_report(f->tokens->store, f->key, STORE_SOURCE_FAILING, &e);
}

static void on_refused(struct followed *f)
{
    static const char allow[] = ": allow this identity to create serviceaccounts/token";
    const struct protocol_refusal refusal = {.status = f->status, .body = &f->body, .allow = allow};
    struct error e = ERROR_INIT;

    protocol_explain_refusal(&refusal, &e);
    if (f->status == 401)
        f->tokens->api->rejected(f->tokens->source, f->version);
    on_failed(f, &e);
}

static void on_issued(struct followed *f)
{
    struct issued_token token;
    struct error e = ERROR_INIT;
    uint64_t random = 0;

    if (token_request_parse(f->key, buf_text(&f->body), f->body.len, &token, &e) < 0) {
        on_failed(f, &e);
        return;
    }
    /* without random bytes there is no jitter */
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
        random = 0;
    f->n_failed = 0;
    f->has_token = true;
    f->expires_at = token.expires_at;
    request_later(f, token_renewal_delay(&token, clock_wall(), random));
    store_put(f->tokens->store, token.object, clock_mono());
    store_report(f->tokens->store, f->key, STORE_SOURCE_LIVE, NULL);
}

/* ---- the request */

static void on_response(void *userdata, const struct http_response *response)
{
    struct followed *f = userdata;

    f->status = response->status;
    f->retry_after = response->retry_after;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
    struct followed *f = userdata;

    if (buf_add(&f->body, bytes, len) < 0)
        buf_reset(&f->body); /* too long: what is left is not valid JSON */
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct followed *f = userdata;

    f->http = f->tokens->api->cancel(f->http);
    if (outcome != HTTP_COMPLETE)
        on_failed(f, error);
    else if (f->status / 100 != 2)
        on_refused(f);
    else
        on_issued(f);
    buf_reset(&f->body);
}

static int send(struct followed *f, struct error *e)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    struct pod_tokens *t = f->tokens;
    struct buf path = BUF_INIT(1024);
    struct http_call call = {.total_limit = POST_LIMIT};
    char *body = token_request_body(&f->request);
    int r = t->source == NULL ? t->api->open(t->api_userdata, &t->source, e) : 0;

    if (r == 0 && (body == NULL || token_request_add_path(&f->request, &path) < 0))
        r = error_set_errno(e, -ENOMEM, "cannot request a token");
    if (r == 0) {
        call.path = buf_text(&path);
        call.body = body;
        f->status = 0;
        f->retry_after = 0;
        f->version = t->api->version(t->source);
        r = t->api->send(t->source, &call, &handler, f, &f->http, e);
    }
    cJSON_free(body);
    buf_deinit(&path);
    return r;
}

static void request(struct followed *f)
{
    struct error e = ERROR_INIT;

    assert(f->http == NULL);
    buf_reset(&f->body);
    if (send(f, &e) < 0)
        on_failed(f, &e);
}

/* ---- keys */

static struct followed *followed_free(struct followed *f)
{
    if (f == NULL)
        return NULL;
    list_remove(&f->link);
    if (f->http != NULL)
        f->tokens->api->cancel(f->http);
    sd_event_source_disable_unref(f->timer);
    buf_deinit(&f->body);
    free(f->request_buf);
    free(f);
    return NULL;
}
DEFINE_CLEANUP(struct followed *, followed_free)

int pod_tokens_watch(struct pod_tokens *tokens, const struct object_key *key, struct error *e)
{
    _cleanup_(followed_freep) struct followed *f = calloc(1, sizeof(*f));
    int r;

    if (f == NULL)
        return error_set_errno(e, -ENOMEM, "cannot request a token");
    list_init(&f->link);
    f->tokens = tokens;
    f->key = key;
    f->body = BUF_INIT(TOKEN_REQUEST_MAX_BYTES);
    r = token_request_from_key(key, &f->request, &f->request_buf);
    if (r < 0)
        return error_set_errno(e, r, "cannot request a token");
    list_append(&tokens->followed, &f->link);
    request(TAKE(f));
    return 0;
}

void pod_tokens_unwatch(struct pod_tokens *tokens, const struct object_key *key)
{
    struct followed *f, *next;

    list_for_each_safe (f, next, &tokens->followed, link)
        if (f->key == key)
            followed_free(f);
}

int pod_tokens_new(sd_event *event, struct store *store, const struct node_pods_api *api,
                   void *api_userdata, struct pod_tokens **ret_tokens)
{
    struct pod_tokens *tokens = calloc(1, sizeof(*tokens));

    if (tokens == NULL)
        return -ENOMEM;
    tokens->event = sd_event_ref(event);
    tokens->store = store;
    tokens->api = api;
    tokens->api_userdata = api_userdata;
    list_init(&tokens->followed);
    *ret_tokens = tokens;
    return 0;
}

struct pod_tokens *pod_tokens_free(struct pod_tokens *tokens)
{
    if (tokens == NULL)
        return NULL;
    assert(list_is_empty(&tokens->followed));
    sd_event_unref(tokens->event);
    free(tokens);
    return NULL;
}

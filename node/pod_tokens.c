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

#include "base/list.h"
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
    struct node_api *api;
    struct list followed;
};

struct followed {
    struct list link;
    struct pod_tokens *tokens;
    const struct object_key *key; /* the store's */
    struct token_request request;
    char *request_buf;
    struct exchange exchange;
    sd_event_source *timer; /* until the renewal or the retry */
    unsigned n_failed;
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
    span_us delay = span_doubled(RETRY_FIRST, f->n_failed++, RETRY_DOUBLINGS);
    span_us retry_after = f->exchange.retry_after;
    struct error e = *reason;
    char when[CLOCK_RFC3339_SIZE];

    request_later(f, delay > retry_after ? delay : retry_after);
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
    const struct protocol_refusal refusal =
        exchange_refusal(&f->exchange, ": allow this identity to create serviceaccounts/token");
    struct error e = ERROR_INIT;

    protocol_explain_refusal(&refusal, &e);
    exchange_reject_credentials(&f->exchange);
    on_failed(f, &e);
}

static void on_issued(struct followed *f)
{
    const struct buf *body = &f->exchange.body;
    struct issued_token token;
    struct error e = ERROR_INIT;
    uint64_t random = 0;

    if (token_request_parse(f->key, buf_text(body), body->len, &token, &e) < 0) {
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

static void on_answered(void *userdata, const struct error *error)
{
    struct followed *f = userdata;

    if (error != NULL)
        on_failed(f, error);
    else if (f->exchange.status / 100 != 2)
        on_refused(f);
    else
        on_issued(f);
    buf_reset(&f->exchange.body); /* of the token */
}

static int send(struct followed *f, struct error *e)
{
    _cleanup_(buf_deinit) struct buf path = BUF_INIT(1024);
    struct http_call call = {.is_repeatable = true, .total_limit = POST_LIMIT};
    char *body = token_request_body(&f->request);
    int r = body != NULL ? token_request_add_path(&f->request, &path) : -ENOMEM;

    call.path = buf_text(&path);
    call.body = body;
    r = r < 0 ? error_set_errno(e, r, "cannot request a token")
              : node_api_send(f->tokens->api, &f->exchange, &call, e);
    cJSON_free(body);
    return r;
}

static void request(struct followed *f)
{
    struct error e = ERROR_INIT;

    if (send(f, &e) < 0)
        on_failed(f, &e);
}

/* ---- keys */

static struct followed *followed_free(struct followed *f)
{
    if (f == NULL)
        return NULL;
    list_remove(&f->link);
    exchange_deinit(&f->exchange);
    sd_event_source_disable_unref(f->timer);
    free(f->request_buf);
    free(f);
    return NULL;
}
DEFINE_CLEANUP(struct followed *, followed_free)

int pod_tokens_watch(struct pod_tokens *tokens, const struct object_key *key, struct error *e)
{
    _cleanup_(followed_freep) struct followed *f = calloc(1, sizeof(*f));
    const struct exchange_options exchange = {.calls = tokens->api->calls,
                                              .body_max = TOKEN_REQUEST_MAX_BYTES,
                                              .done = on_answered,
                                              .userdata = f};
    int r;

    if (f == NULL)
        return error_set_errno(e, -ENOMEM, "cannot request a token");
    list_init(&f->link);
    f->tokens = tokens;
    f->key = key;
    exchange_init(&f->exchange, &exchange);
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

int pod_tokens_new(sd_event *event, struct store *store, struct node_api *api,
                   struct pod_tokens **ret_tokens)
{
    struct pod_tokens *tokens = calloc(1, sizeof(*tokens));

    if (tokens == NULL)
        return -ENOMEM;
    tokens->event = sd_event_ref(event);
    tokens->store = store;
    tokens->api = api;
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One certificate with its key for each key of the store: service account, pod, signer, type of the
 * key, lifetime and annotations. Volumes of a pod that ask for the same share it. It is forgotten
 * with its last volume.
 *
 *      +------------ renewal is due, or a retry -------------+
 *      v                                                     |
 *   ACCOUNT --> NODE --> KEY --> CREATE --> SIGNER -------> IDLE
 *      |         |        |         |          |             ^
 *      +---------+--------+---------+----------+-------------+ a step failed
 *
 *   ACCOUNT  the service account is read, for its uid
 *   NODE     the node is read, for its uid
 *   KEY      a thread makes the private key (key_maker.c)
 *   CREATE   the PodCertificateRequest is created
 *   SIGNER   it is watched until its signer has decided; a watch that ends is repeated
 *   IDLE     a timer runs
 *
 * | what failed                             | then                                                |
 * |-----------------------------------------|-----------------------------------------------------|
 * | a request of the API server             | a new attempt, with a delay that doubles; an unused |
 * |                                         | key is used then                                    |
 * | a watch                                 | the next one, with such a delay                     |
 * | the signer denied it, failed on it, or  | a new key and request after a minute, doubling to   |
 * | issued one of another key; the request  | about an hour                                       |
 * | was deleted                             |                                                     |
 * | no decision within 10 to 15 minutes     | a new key and request                               |
 *
 * While a renewal fails, the files keep the last pair, even an expired one: nothing better can be
 * shown, and other sources of the volume continue to update. The kubelet gives up for good instead,
 * and with the source its whole volume (Y21).
 *
 * The renewal is a time of the wall clock, as in the certificate, so its timer follows a clock that
 * is set. Retries count the time that the machine was suspended.
 */
#include "node/pod_certificates.h"

#include <stdio.h>
#include <sys/random.h>

#include "base/list.h"
#include "base/log.h"
#include "fetcher/api/certificate_request.h"
#include "fetcher/api/json_stream.h"
#include "fetcher/api/protocol.h"
#include "node/key_maker.h"

#define REQUEST_LIMIT     SPAN_SEC(10)
#define WATCH_TIMEOUT     SPAN_SEC(300)
#define WATCH_GRACE       SPAN_SEC(30)
#define RETRY_FIRST       SPAN_MS(100) /* doubling */
#define RETRY_DOUBLINGS   10           /* up to 102 s, as a kubelet's (H6) */
#define REFUSED_FIRST     SPAN_SEC(60) /* doubling */
#define REFUSED_DOUBLINGS 6            /* up to 64 min */
#define UNDECIDED_S       600          /* Y20 */
#define UNDECIDED_RANGE_S 300
/* A signer that runs takes less; then a publish request learns what it waits for. */
#define PENDING_QUIET     SPAN_SEC(5)
#define TIMER_SLACK       SPAN_MS(10)

enum state { IDLE, ACCOUNT, NODE, KEY, CREATE, SIGNER };

#define ALLOW_CREATE                                                                               \
    ": allow this identity to create podcertificaterequests; a kubelet's (--rights node) may, "    \
    "for signers that a projected volume of the pod names"

static const struct {
    const char *name;
    unsigned next;     /* states */
    const char *what;  /* that failed */
    const char *allow; /* the remedy of a 403 */
} states[] = {
    [IDLE] = {"idle", 1u << ACCOUNT, "", ""},
    [ACCOUNT] = {"account", 1u << NODE | 1u << IDLE, "read the service account",
                 ": allow this identity to get serviceaccounts"},
    [NODE] = {"node", 1u << KEY | 1u << CREATE | 1u << IDLE, "read the node",
              ": allow this identity to get nodes"},
    [KEY] = {"key", 1u << CREATE | 1u << IDLE, "make the key", ""},
    [CREATE] = {"create", 1u << SIGNER | 1u << IDLE, "create a podcertificaterequest",
                ALLOW_CREATE},
    [SIGNER] = {"signer", 1u << IDLE, "watch the podcertificaterequest",
                ": allow this identity to list and watch podcertificaterequests"},
};

struct pod_certificates {
    sd_event *event;
    struct pod_certificates_options options;
    struct key_maker *keys;
    struct list followed;
};

struct followed {
    struct list link;
    struct pod_certificates *certificates;
    const struct object_key *key; /* the store's */
    struct certificate_request request;
    char *request_buf;

    enum state state;
    sd_event_source *timer;     /* IDLE: until the renewal or the retry; SIGNER: the next watch */
    sd_event_source *undecided; /* SIGNER: until a new request takes the place of this one */
    sd_event_source *pending;   /* SIGNER: until it is reported what the volume waits for */
    char *account_uid;
    char *node_uid;
    struct key_order *order;
    struct certificate_key *private_key; /* of the next certificate */
    char *name; /* of the PodCertificateRequest; NULL: the private key is not used yet */

    struct exchange exchange;
    struct json_stream stream; /* of the watch */

    unsigned n_failed;  /* requests, in a row */
    unsigned n_refused; /* by the signer, in a row */
    bool has_certificate;
    struct timespec not_after;
};

static void move(struct followed *f, enum state state)
{
    log_trace(LOG_TRACE_NODE, "pod certificate changes state", "pod", f->request.pod, "from",
              states[f->state].name, "to", states[state].name);
    assert((states[f->state].next & 1u << state) != 0);
    f->state = state;
}

/* Without random bytes there is no jitter. */
static uint64_t random_number(void)
{
    uint64_t random = 0;

    return getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0 ? 0 : random;
}

/* ---- timers */

static void set_timer(struct followed *f, sd_event_source **timer, clockid_t clock, uint64_t at,
                      sd_event_time_handler_t handler)
{
    int r;

    *timer = sd_event_source_disable_unref(*timer);
    r = sd_event_add_time(f->certificates->event, timer, clock, at, TIMER_SLACK, handler, f);
    if (r < 0)
        log_error("cannot set a timer; a certificate will not be renewed", "namespace",
                  f->key->namespace, "pod", f->request.pod, "error", strerror(-r));
}

static void set_timer_after(struct followed *f, sd_event_source **timer, span_us delay,
                            sd_event_time_handler_t handler)
{
    set_timer(f, timer, CLOCK_BOOTTIME, clock_boot() + delay, handler);
}

static void stop_timers(struct followed *f)
{
    f->timer = sd_event_source_disable_unref(f->timer);
    f->undecided = sd_event_source_disable_unref(f->undecided);
    f->pending = sd_event_source_disable_unref(f->pending);
}

/* ---- failures */

static void report_failure(struct followed *f, const struct error *reason)
{
    struct error e = *reason;
    char when[CLOCK_RFC3339_SIZE];

    if (f->has_certificate)
        error_prefix(&e, -EIO, "cannot renew the certificate of signer %.128s, which expires at %s",
                     f->request.signer, clock_rfc3339(f->not_after, when));
    else
        error_prefix(&e, -EIO, "cannot get a certificate of signer %.128s", f->request.signer);
    store_report(f->certificates->options.store, f->key, STORE_SOURCE_FAILING, &e);
}

/* The request has come to its end, and its key with it. */
static void forget_request(struct followed *f)
{
    if (f->name == NULL)
        return;
    free(f->name);
    f->name = NULL;
    f->private_key = certificate_key_free(f->private_key);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

/* Begin again after @delay. */
static void fail_for(struct followed *f, span_us delay, const struct error *reason)
{
    exchange_cancel(&f->exchange);
    stop_timers(f);
    forget_request(f);
    move(f, IDLE);
    set_timer_after(f, &f->timer, delay, on_retry);
    report_failure(f, reason);
}

static span_us next_delay(struct followed *f)
{
    span_us delay = span_doubled(RETRY_FIRST, f->n_failed++, RETRY_DOUBLINGS);
    span_us retry_after = f->exchange.retry_after;

    return delay > retry_after ? delay : retry_after;
}

static void fail(struct followed *f, const struct error *reason)
{
    fail_for(f, next_delay(f), reason);
}

/* The step's request got no answer, for the reason @reason. */
static void fail_step(struct followed *f, const struct error *reason)
{
    struct error e = *reason;

    error_prefix(&e, -EIO, "cannot %s", states[f->state].what);
    fail(f, &e);
}

static void explain_refused(struct followed *f, struct error *e)
{
    const struct protocol_refusal refusal = exchange_refusal(&f->exchange, states[f->state].allow);

    if (f->state == CREATE && refusal.status == 404)
        error_set(e, -EIO,
                  "the API server has no PodCertificateRequests (404 Not Found for "
                  "certificates.k8s.io/v1): use Kubernetes 1.37");
    else
        protocol_explain_refusal(&refusal, e);
    error_prefix(e, -EIO, "cannot %s", states[f->state].what);
    exchange_reject_credentials(&f->exchange);
}

/* ---- requests */

/* @path: its text, or what failed while it was made is in @r */
static void send(struct followed *f, int r, const struct buf *path, const char *body)
{
    struct http_call call = {.total_limit = REQUEST_LIMIT, .body = body};
    struct error e = ERROR_INIT;

    if (r < 0)
        error_set_errno(&e, r, "cannot send a request");
    call.path = buf_text(path);
    if (r >= 0)
        r = node_api_send(f->certificates->options.api, &f->exchange, &call, &e);
    if (r < 0)
        fail_step(f, &e);
}

static void begin_account(struct followed *f)
{
    _cleanup_(buf_deinit) struct buf path = BUF_INIT(1024);

    move(f, ACCOUNT);
    send(f,
         buf_addf(&path, "/api/v1/namespaces/%s/serviceaccounts/%s", f->request.namespace,
                  f->request.service_account),
         &path, NULL);
}

static void begin_node(struct followed *f)
{
    _cleanup_(buf_deinit) struct buf path = BUF_INIT(1024);
    int r = buf_add_text(&path, "/api/v1/nodes/");

    move(f, NODE);
    if (r >= 0)
        r = protocol_add_escaped(&path, f->certificates->options.node_name);
    send(f, r, &path, NULL);
}

static void begin_create(struct followed *f)
{
    const struct certificate_request_place place = {.account_uid = f->account_uid,
                                                    .node = f->certificates->options.node_name,
                                                    .node_uid = f->node_uid};
    _cleanup_(buf_deinit) struct buf path = BUF_INIT(1024);
    char *body =
        certificate_request_body(&f->request, &place, certificate_key_request(f->private_key));
    int r = body != NULL ? certificate_request_add_path(&f->request, &path) : -ENOMEM;

    move(f, CREATE);
    send(f, r, &path, body);
    cJSON_free(body);
}

/* ---- the key */

static void on_key(void *userdata, struct certificate_key *key_consumed, const struct error *e)
{
    struct followed *f = userdata;

    f->order = NULL; /* it was freed */
    f->private_key = key_consumed;
    if (f->private_key == NULL)
        fail_step(f, e);
    else
        begin_create(f);
}

/* A key that no request has used yet is used. */
static void begin_key(struct followed *f)
{
    struct error e = ERROR_INIT;

    if (f->private_key != NULL) {
        begin_create(f);
        return;
    }
    move(f, KEY);
    if (key_maker_order(f->certificates->keys, f->request.key_type, on_key, f, &f->order, &e) < 0)
        fail_step(f, &e);
}

/* ---- the watch */

static int on_next_watch(sd_event_source *source, uint64_t usec, void *userdata);

static void watch_later(struct followed *f)
{
    exchange_cancel(&f->exchange);
    set_timer_after(f, &f->timer, next_delay(f), on_next_watch);
}

static void fail_watch(struct followed *f, const struct error *reason)
{
    watch_later(f);
    report_failure(f, reason);
}

static void begin_watch(struct followed *f)
{
    _cleanup_(buf_deinit) struct buf path = BUF_INIT(2048);
    struct http_call call = {.is_watch = true, .total_limit = WATCH_TIMEOUT + WATCH_GRACE};
    struct error e = ERROR_INIT;
    int r = certificate_request_add_watch_path(
        &f->request, f->name, f->certificates->options.node_name, WATCH_TIMEOUT, &path);

    json_stream_reset(&f->stream);
    call.path = buf_text(&path);
    r = r < 0 ? error_set_errno(&e, r, "cannot watch the podcertificaterequest")
              : node_api_send(f->certificates->options.api, &f->exchange, &call, &e);
    if (r < 0)
        fail_watch(f, &e);
}

static int on_next_watch(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct followed *f = userdata;

    f->timer = sd_event_source_disable_unref(f->timer);
    begin_watch(f);
    return 0;
}

static int on_pending(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct followed *f = userdata;
    struct error e = ERROR_INIT;

    f->pending = sd_event_source_disable_unref(f->pending);
    error_set(&e, -EAGAIN,
              "podcertificaterequest %s/%.253s waits for its signer: check that the signer's "
              "controller runs",
              f->request.namespace, f->name);
    report_failure(f, &e);
    return 0;
}

static int on_undecided(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct followed *f = userdata;
    struct error e = ERROR_INIT;

    error_set(&e, -ETIMEDOUT,
              "the signer has not decided about podcertificaterequest %s/%.253s in time: check "
              "that the signer's controller runs",
              f->request.namespace, f->name);
    fail(f, &e);
    return 0;
}

static void begin_signer(struct followed *f)
{
    uint64_t undecided_s = UNDECIDED_S + random_number() % UNDECIDED_RANGE_S;

    move(f, SIGNER);
    f->n_failed = 0;
    set_timer_after(f, &f->undecided, SPAN_SEC(undecided_s), on_undecided);
    if (!f->has_certificate)
        set_timer_after(f, &f->pending, PENDING_QUIET, on_pending);
    begin_watch(f);
}

/* ---- the decision */

static void show(struct followed *f, const struct certificate_status *status,
                 struct object *object_consumed)
{
    struct store *store = f->certificates->options.store;
    struct timespec renewal = certificate_renewal_time(status, clock_wall(), random_number());

    exchange_cancel(&f->exchange);
    stop_timers(f);
    forget_request(f);
    move(f, IDLE);
    f->n_failed = f->n_refused = 0;
    f->has_certificate = true;
    f->not_after = status->not_after;
    set_timer(f, &f->timer, CLOCK_REALTIME, SPAN_SEC((uint64_t)renewal.tv_sec), on_retry);
    store_put(store, object_consumed, clock_mono());
    store_report(store, f->key, STORE_SOURCE_LIVE, NULL);
}

/* Not soon again: each attempt leaves an object in the cluster, for some minutes. */
static void on_no_certificate(struct followed *f, const struct error *reason)
{
    fail_for(f, span_doubled(REFUSED_FIRST, f->n_refused++, REFUSED_DOUBLINGS), reason);
}

static void on_issued(struct followed *f, const struct certificate_status *status)
{
    struct object *object = NULL;
    struct error e = ERROR_INIT;

    if (certificate_request_object(f->key, f->private_key, status->chain, &object, &e) < 0)
        on_no_certificate(f, &e);
    else
        show(f, status, object);
}

/* @json: the request as it is now */
static void read_request(struct followed *f, const cJSON *json)
{
    struct certificate_status status;
    struct error e = ERROR_INIT;

    switch (certificate_request_read(json, &status, &e)) {
    case CERTIFICATE_PENDING:
        break;
    case CERTIFICATE_ISSUED:
        on_issued(f, &status);
        break;
    default:
        on_no_certificate(f, &e);
    }
}

static void on_event(struct followed *f, const char *type, const cJSON *object)
{
    struct error e = ERROR_INIT;

    if (streq(type, "ERROR")) {
        protocol_explain_end(object, &e);
        fail_watch(f, &e);
    } else if (streq(type, "DELETED")) {
        error_set(&e, -ENOENT,
                  "podcertificaterequest %s/%.253s was deleted before its signer decided",
                  f->request.namespace, f->name);
        on_no_certificate(f, &e);
    } else {
        read_request(f, object);
    }
}

static void read_event(struct followed *f, const char *text, size_t len)
{
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    struct error e = ERROR_INIT;
    const char *type;

    if (json_parse(text, len, &json, &e) < 0) {
        fail_watch(f, &e);
        return;
    }
    type = json_text(json, "type");
    if (type != NULL)
        on_event(f, type, json_member(json, "object"));
}

/* Read events until one of them ends the watch. */
static void on_piece(void *userdata, const char *bytes, size_t len)
{
    struct followed *f = userdata;
    struct error e = ERROR_INIT;
    const char *text;
    size_t text_len;
    int r = json_stream_add(&f->stream, bytes, len);

    while (r == 0 && exchange_is_open(&f->exchange)) {
        r = json_stream_next(&f->stream, &text, &text_len);
        if (r == 0)
            read_event(f, text, text_len);
    }
    if (r >= 0)
        return;
    error_set_errno(&e, r, "cannot read an event of the podcertificaterequest");
    fail_watch(f, &e);
}

/* ---- responses */

/* A member of the response's metadata. Return: the caller's; NULL with @e. */
static char *read_metadata(const struct followed *f, const char *member, struct error *e)
{
    const struct buf *body = &f->exchange.body;
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    const char *text = NULL;
    char *copy;

    if (json_parse(buf_text(body), body->len, &json, e) < 0)
        return NULL;
    text = json_text(json_member(json, "metadata"), member);
    if (text == NULL || text[0] == '\0') {
        error_set(e, -EINVAL, "the response has no metadata.%s", member);
        return NULL;
    }
    copy = strdup(text);
    if (copy == NULL)
        error_set_errno(e, -ENOMEM, "cannot read the response");
    return copy;
}

/* Keep a member of the response's metadata, and go on with @next. */
static void accept_response(struct followed *f, const char *member, char **kept,
                            void (*next)(struct followed *f))
{
    struct error e = ERROR_INIT;
    char *text = read_metadata(f, member, &e);

    if (text == NULL) {
        fail_step(f, &e);
        return;
    }
    free(*kept);
    *kept = text;
    next(f);
}

static void on_step_done(struct followed *f)
{
    switch (f->state) {
    case ACCOUNT:
        accept_response(f, "uid", &f->account_uid, begin_node);
        break;
    case NODE:
        accept_response(f, "uid", &f->node_uid, begin_key);
        break;
    case CREATE:
        accept_response(f, "name", &f->name, begin_signer);
        break;
    case SIGNER: /* the server's timeout */
        watch_later(f);
        break;
    case IDLE:
    case KEY:
        assert(false);
    }
}

static void on_answered(void *userdata, const struct error *error)
{
    struct followed *f = userdata;
    struct error e = ERROR_INIT;

    if (error == NULL && f->exchange.status / 100 == 2) {
        on_step_done(f);
        return;
    }
    if (error == NULL)
        explain_refused(f, &e);
    else
        error_set(&e, -EIO, "cannot %s: %s", states[f->state].what, error->text);
    if (f->state == SIGNER)
        fail_watch(f, &e);
    else
        fail(f, &e);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct followed *f = userdata;

    f->timer = sd_event_source_disable_unref(f->timer);
    begin_account(f);
    return 0;
}

/* ---- keys of the store */

static struct followed *followed_free(struct followed *f)
{
    if (f == NULL)
        return NULL;
    list_remove(&f->link);
    exchange_deinit(&f->exchange);
    key_order_free(f->order);
    stop_timers(f);
    certificate_key_free(f->private_key);
    json_stream_deinit(&f->stream);
    free(f->account_uid);
    free(f->node_uid);
    free(f->name);
    free(f->request_buf);
    free(f);
    return NULL;
}
DEFINE_CLEANUP(struct followed *, followed_free)

int pod_certificates_watch(struct pod_certificates *certificates, const struct object_key *key,
                           struct error *e)
{
    _cleanup_(followed_freep) struct followed *f = calloc(1, sizeof(*f));
    const struct exchange_options exchange = {.calls = certificates->options.api->calls,
                                              .body_max = CERTIFICATE_RESPONSE_MAX_BYTES,
                                              .done = on_answered,
                                              .piece = on_piece,
                                              .userdata = f};
    int r;

    if (f == NULL)
        return error_set_errno(e, -ENOMEM, "cannot request a certificate");
    list_init(&f->link);
    f->certificates = certificates;
    f->key = key;
    exchange_init(&f->exchange, &exchange);
    json_stream_init(&f->stream, CERTIFICATE_RESPONSE_MAX_BYTES);
    r = certificate_request_from_key(key, &f->request, &f->request_buf);
    if (r < 0)
        return error_set_errno(e, r, "cannot request a certificate");
    list_append(&certificates->followed, &f->link);
    begin_account(TAKE(f));
    return 0;
}

void pod_certificates_unwatch(struct pod_certificates *certificates, const struct object_key *key)
{
    struct followed *f, *next;

    list_for_each_safe (f, next, &certificates->followed, link)
        if (f->key == key)
            followed_free(f);
}

int pod_certificates_new(sd_event *event, const struct pod_certificates_options *options,
                         struct pod_certificates **ret_certificates)
{
    _cleanup_(pod_certificates_freep) struct pod_certificates *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return -ENOMEM;
    list_init(&c->followed);
    c->event = sd_event_ref(event);
    c->options = *options;
    r = key_maker_new(event, &c->keys);
    if (r < 0)
        return r;
    *ret_certificates = TAKE(c);
    return 0;
}

struct pod_certificates *pod_certificates_free(struct pod_certificates *certificates)
{
    if (certificates == NULL)
        return NULL;
    assert(list_is_empty(&certificates->followed));
    key_maker_free(certificates->keys);
    sd_event_unref(certificates->event);
    free(certificates);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "node/exchange.h"

#include "fetcher/api/api_source.h"

const struct exchange_calls exchange_calls_of_api_source = {
    .send = api_source_send,
    .cancel = http_request_free,
    .version = api_source_credentials_version,
    .rejected = api_source_reject_credentials,
};

static void on_response(void *userdata, const struct http_response *response)
{
    struct exchange *x = userdata;

    x->status = response->status;
    x->retry_after = response->retry_after;
}

static void on_body(void *userdata, const char *bytes, size_t len)
{
    struct exchange *x = userdata;

    if (x->is_watch && x->status == 200) {
        x->options.piece(x->options.userdata, bytes, len);
        return;
    }
    if (x->is_cut || buf_add(&x->body, bytes, len) == 0)
        return;
    x->is_cut = true;
    buf_deinit(&x->body);
}

static void on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct exchange *x = userdata;

    exchange_cancel(x);
    x->options.done(x->options.userdata, outcome == HTTP_COMPLETE ? NULL : error);
}

void exchange_init(struct exchange *x, const struct exchange_options *options)
{
    *x = (struct exchange){.options = *options, .body = BUF_INIT(options->body_max)};
}

void exchange_deinit(struct exchange *x)
{
    exchange_cancel(x);
    buf_deinit(&x->body);
}

int exchange_send(struct exchange *x, struct source *source, const struct http_call *call,
                  struct error *e)
{
    static const struct http_handler handler = {on_response, on_body, on_done};
    const struct exchange_calls *calls = x->options.calls;

    assert(x->request == NULL && (!call->is_watch || x->options.piece != NULL));
    x->source = source;
    x->version = calls->version(source);
    x->is_watch = call->is_watch;
    x->status = 0;
    x->retry_after = 0;
    x->is_cut = false;
    buf_deinit(&x->body);
    return calls->send(source, call, &handler, x, &x->request, e);
}

void exchange_cancel(struct exchange *x)
{
    if (x->request != NULL)
        x->request = x->options.calls->cancel(x->request);
}

struct protocol_refusal exchange_refusal(const struct exchange *x, const char *allow)
{
    return (struct protocol_refusal){.status = x->status, .body = &x->body, .allow = allow};
}

void exchange_reject_credentials(const struct exchange *x)
{
    if (x->status == 401)
        x->options.calls->rejected(x->source, x->version);
}

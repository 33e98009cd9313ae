/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kubelet watches a directory for sockets. When it finds one it connects, asks what it is
 * (GetInfo), calls the CSI socket that the reply names, and reports the outcome
 * (NotifyRegistrationStatus) (R3 to R7).
 *
 *     AWAITING_KUBELET <----- the socket is created again ----- REFUSED
 *        |       \-------- the kubelet refuses the plug-in ------>|
 *        | it accepts it                                          |
 *        v                                                        |
 *     REGISTERED ------ a restarted kubelet refuses it ---------->|
 *        ^------------- or accepts it after all ------------------|
 *
 * A refusal is final for a socket's file, for any reason (R8). So the file is removed and
 * created again for another attempt, after a wait that doubles from 1 s to 122 s, as the kubelet's
 * own waits do. A kubelet that restarts registers again at the same socket (R10): nothing has to be
 * done for that.
 *
 * Where sockets outlive the process, this one is kept from the acceptance to a refusal. So a
 * process that takes it over is REGISTERED: the kubelet sees the same file, and nothing to do. In
 * any other state the next process creates the file again, which the kubelet notices.
 *
 * A timer frees the server, never a method: it would free the call that it is answering.
 */
#include "csi/registration.h"

#include <limits.h>

#include "base/log.h"
#include "csi/messages.h"

#define BACK_OFF_FIRST SPAN_MS(1000)
#define BACK_OFF_MAX   SPAN_SEC(122) /* the kubelet's longest (R8) */
#define TIMER_ACCURACY SPAN_MS(50)

#define CONNECTIONS_MAX 16  /* the kubelet makes one at a time */
#define ERROR_SHOWN_MAX 256 /* bytes of the kubelet's reason */

enum state { AWAITING_KUBELET, REGISTERED, REFUSED };

static const struct {
    const char *name;
    unsigned next; /* a bit for each state that may follow */
} states[] = {
    [AWAITING_KUBELET] = {"awaiting-kubelet", 1u << REGISTERED | 1u << REFUSED},
    [REGISTERED] = {"registered", 1u << REFUSED},
    [REFUSED] = {"refused", 1u << AWAITING_KUBELET | 1u << REGISTERED},
};

struct registration {
    sd_event *event;
    struct registration_options options;
    void *userdata;
    struct grpc_server *server; /* NULL while it cannot be created */
    enum state state;
    unsigned n_refusals;    /* in a row */
    sd_event_source *timer; /* on in REFUSED */
};

span_us registration_back_off(unsigned n_refusals)
{
    span_us wait = BACK_OFF_FIRST;

    assert(n_refusals > 0);
    while (--n_refusals > 0 && wait < BACK_OFF_MAX)
        wait *= 2;
    return wait < BACK_OFF_MAX ? wait : BACK_OFF_MAX;
}

static void registration_move(struct registration *registration, enum state state)
{
    if (registration->state == state)
        return;
    log_trace(LOG_TRACE_GRPC, "registration changes state", "from",
              states[registration->state].name, "to", states[state].name);
    assert((states[registration->state].next & 1u << state) != 0);
    registration->state = state;
}

/* ---- the service */

static void get_info(void *userdata, struct grpc_call *call, const uint8_t *message, size_t len)
{
    struct registration *registration = userdata;
    char *versions[] = {(char[]){"1.0.0"}};
    Csi__RegistrationInfo info;

    csi__registration_info__init(&info);
    info.type = (char[]){"CSIPlugin"};
    info.name = (char *)(uintptr_t)registration->options.driver_name;
    info.endpoint = (char *)(uintptr_t)registration->options.endpoint;
    info.supported_versions = versions;
    info.n_supported_versions = ELEMENTS_OF(versions);
    message_reply(call, &info.base);
}

static void on_refused(struct registration *registration)
{
    int r;

    if (registration->n_refusals < UINT_MAX)
        registration->n_refusals++;
    kept_socket_remove(registration->options.keep);
    registration_move(registration, REFUSED);
    r = sd_event_source_set_time_relative(registration->timer,
                                          registration_back_off(registration->n_refusals));
    if (r >= 0)
        r = sd_event_source_set_enabled(registration->timer, SD_EVENT_ONESHOT);
    if (r < 0)
        log_debug("cannot set the timer of the next registration");
}

/* Copy the kubelet's reason for logs: control characters become spaces, a long text is cut. */
static void copy_reason(const Csi__RegistrationStatus *status, char text[static ERROR_SHOWN_MAX])
{
    const char *from = message_text(&status->error);
    size_t i;

    for (i = 0; i < ERROR_SHOWN_MAX - 1 && from[i] != '\0'; i++)
        text[i] = (unsigned char)from[i] < 0x20 || from[i] == 0x7f ? ' ' : from[i];
    text[i] = '\0';
}

static void notify_registration_status(void *userdata, struct grpc_call *call,
                                       const uint8_t *message, size_t len)
{
    struct registration *registration = userdata;
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_UNKNOWN;
    char reason[ERROR_SHOWN_MAX];
    Csi__RegistrationStatus *status = (Csi__RegistrationStatus *)message_unpack(
        &csi__registration_status__descriptor, message, len, &code, &e);

    if (status == NULL) {
        grpc_call_fail(call, code, e.text);
        return;
    }
    grpc_call_reply(call, NULL, 0);
    if (status->plugin_registered) {
        registration->n_refusals = 0;
        sd_event_source_set_enabled(registration->timer, SD_EVENT_OFF);
        registration_move(registration, REGISTERED);
        grpc_server_keep(registration->server);
    } else {
        on_refused(registration);
    }
    copy_reason(status, reason);
    registration->options.status_changed(registration->userdata, status->plugin_registered, reason);
    message_free(&status->base);
}

static const struct grpc_method methods[] = {
    {"/pluginregistration.Registration/GetInfo", "GetInfo", get_info},
    {"/pluginregistration.Registration/NotifyRegistrationStatus", "NotifyRegistrationStatus",
     notify_registration_status},
};

const char *registration_method_name(size_t i)
{
    return i < ELEMENTS_OF(methods) ? methods[i].name : NULL;
}

/* ---- the socket */

static void on_answered(void *userdata, const char *method, enum grpc_code code, span_us took)
{
    const struct registration *registration = userdata;

    if (registration->options.answered != NULL)
        registration->options.answered(registration->userdata, method, code, took);
}

static int create_server(struct registration *registration, struct error *e)
{
    struct grpc_limits limits =
        registration->options.limits != NULL ? *registration->options.limits : grpc_limits_default;
    const struct grpc_server_options options = {
        .path = registration->options.path,
        .keep = registration->options.keep,
        .methods = methods,
        .n_methods = ELEMENTS_OF(methods),
        .limits = &limits,
        .answered = on_answered,
    };

    assert(registration->server == NULL);
    limits.connections = CONNECTIONS_MAX;
    return grpc_server_new(registration->event, &options, registration, &registration->server, e);
}

static int on_next_attempt(sd_event_source *source, uint64_t now, void *userdata)
{
    struct registration *registration = userdata;
    struct error e = ERROR_INIT;

    assert(registration->state == REFUSED);
    registration->server = grpc_server_free(registration->server);
    if (create_server(registration, &e) < 0) {
        on_refused(registration);
        registration->options.status_changed(registration->userdata, false, e.text);
    } else {
        registration_move(registration, AWAITING_KUBELET);
    }
    return 0;
}

int registration_new(sd_event *event, const struct registration_options *options, void *userdata,
                     struct registration **ret_registration, struct error *e)
{
    _cleanup_(registration_freep) struct registration *registration =
        calloc(1, sizeof(*registration));
    int r;

    if (registration == NULL)
        return error_set_errno(e, -ENOMEM, "cannot register with the kubelet");
    registration->event = event;
    registration->options = *options;
    registration->userdata = userdata;
    r = sd_event_add_time_relative(event, &registration->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY,
                                   on_next_attempt, registration);
    if (r >= 0)
        r = sd_event_source_set_enabled(registration->timer, SD_EVENT_OFF);
    if (r < 0)
        return error_set_errno(e, r, "cannot register with the kubelet");
    r = create_server(registration, e);
    if (r < 0)
        return r;
    if (grpc_server_has_taken_over(registration->server))
        registration_move(registration, REGISTERED);
    *ret_registration = TAKE(registration);
    return 0;
}

bool registration_is_accepted(const struct registration *registration)
{
    return registration->state == REGISTERED;
}

struct registration *registration_free(struct registration *registration)
{
    if (registration == NULL)
        return NULL;
    grpc_server_free(registration->server);
    sd_event_source_disable_unref(registration->timer);
    free(registration);
    return NULL;
}

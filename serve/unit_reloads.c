/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request, on a connection of its own:
 *
 *   ReloadUnit --reply: job--> JobRemoved of that job: its result
 *        |                          |
 *        +--error--> done <---------+--- or the connection ends
 *
 * The connection ends with the request: units are reloaded seldom, and one that stays would have to
 * be kept alive across restarts of the bus. systemd sends JobRemoved to the client that asked for
 * the job, so no subscription is needed. How long a job may take is the unit's own,
 * TimeoutStartSec=.
 *
 * The method is ReloadUnit: a unit that does not run, or cannot be reloaded, is an error, and is
 * not started or restarted.
 */
#include "serve/unit_reloads.h"

#include "base/clock.h"
#include "base/list.h"

struct unit_reload {
    struct list link;
    struct unit_reloads *owner;
    unit_reload_done_fn *done; /* NULL: nothing waits for it */
    void *userdata;
    struct unit_reload **handle; /* the same */
    sd_bus *bus;
    char *job; /* its path; NULL: before the reply */
};

/* At the end of the daemon, for all requests together; systemd replies within milliseconds. */
#define DRAIN_TIME SPAN_SEC(1)

struct unit_reloads {
    bool is_ending;
    sd_event *event; /* borrowed */
    const struct unit_bus *bus;
    struct list reloads;
};

static struct unit_reload *reload_free(struct unit_reload *reload)
{
    if (reload->handle != NULL)
        *reload->handle = NULL;
    list_remove(&reload->link);
    sd_bus_close_unref(reload->bus);
    free(reload->job);
    free(reload);
    return NULL;
}
DEFINE_CLEANUP(struct unit_reload *, reload_free)

static void finish(struct unit_reload *reload, const struct error *e)
{
    unit_reload_done_fn *done = reload->done;
    void *userdata = reload->userdata;

    reload_free(reload);
    if (done != NULL)
        done(userdata, e);
}

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *unused)
{
    struct unit_reload *reload = userdata;
    const sd_bus_error *failure = sd_bus_message_get_error(reply);
    const char *job = NULL;
    struct error e = ERROR_INIT;
    int r;

    if (failure != NULL) {
        error_set(&e, -sd_bus_error_get_errno(failure), "%s",
                  failure->message != NULL ? failure->message : failure->name);
        finish(reload, &e);
        return 0;
    }
    r = sd_bus_message_read(reply, "o", &job);
    reload->job = r > 0 ? strdup(job) : NULL;
    if (reload->job == NULL)
        error_set_errno(&e, r < 0 ? r : -ENOMEM, "cannot read the answer of systemd");
    if (reload->job == NULL || reload->owner->is_ending)
        finish(reload, &e);
    return 0;
}

/* Source: org.freedesktop.systemd1(5), the results of a job. */
static void explain_result(const char *unit, const char *result, struct error *e)
{
    if (streq(result, "invalid"))
        error_set(e, -EINVAL, "%s is not active, so it cannot be reloaded", unit);
    else if (!streq(result, "done"))
        error_set(e, -EIO, "the reload of %s ended with \"%s\": see journalctl -u %s", unit, result,
                  unit);
}

static int on_job_removed(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
    struct unit_reload *reload = userdata;
    const char *job, *unit, *result;
    struct error e = ERROR_INIT;
    uint32_t id;

    if (reload->job == NULL ||
        sd_bus_message_read(message, "uoss", &id, &job, &unit, &result) <= 0 ||
        !streq(job, reload->job))
        return 0;
    explain_result(unit, result, &e);
    finish(reload, &e);
    return 0;
}

/* Before the reply, that is an error. */
static int on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *unused)
{
    struct unit_reload *reload = userdata;
    struct error e = ERROR_INIT;

    if (reload->job == NULL)
        return 0;
    error_set(&e, -ECONNRESET, "%s closed the connection", reload->owner->bus->name);
    finish(reload, &e);
    return 0;
}

#define SYSTEMD         "org.freedesktop.systemd1"
#define SYSTEMD_PATH    "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER SYSTEMD ".Manager"
#define LOCAL           "org.freedesktop.DBus.Local"
#define LOCAL_PATH      "/org/freedesktop/DBus/Local"

static int call(struct unit_reload *reload, const char *unit)
{
    int r = sd_bus_match_signal_async(reload->bus, NULL, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER,
                                      "JobRemoved", on_job_removed, NULL, reload);

    if (r >= 0)
        r = sd_bus_match_signal_async(reload->bus, NULL, NULL, LOCAL_PATH, LOCAL, "Disconnected",
                                      on_disconnected, NULL, reload);
    if (r >= 0)
        r = sd_bus_call_method_async(reload->bus, NULL, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER,
                                     "ReloadUnit", on_reply, reload, "ss", unit, "replace");
    return r;
}

int unit_reloads_start(struct unit_reloads *reloads, const char *unit, unit_reload_done_fn *done,
                       void *userdata, struct unit_reload **handle, struct error *e)
{
    _cleanup_(reload_freep) struct unit_reload *reload = calloc(1, sizeof(*reload));
    int r;

    if (reload == NULL)
        return error_set_errno(e, -ENOMEM, "cannot reload a unit");
    list_init(&reload->link);
    reload->owner = reloads;
    r = reloads->bus->open(&reload->bus);
    if (r >= 0)
        r = sd_bus_attach_event(reload->bus, reloads->event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = call(reload, unit);
    if (r < 0)
        return error_set_errno(e, r, "cannot call systemd by %s", reloads->bus->name);
    reload->done = done;
    reload->userdata = userdata;
    reload->handle = handle;
    list_append(&reloads->reloads, &reload->link);
    *handle = TAKE(reload);
    return 0;
}

void unit_reload_forget(struct unit_reload *reload)
{
    if (reload == NULL)
        return;
    *reload->handle = NULL;
    reload->handle = NULL;
    reload->done = NULL;
}

const struct unit_bus unit_bus_system = {.name = "the system bus", .open = sd_bus_open_system};
const struct unit_bus unit_bus_user = {.name = "the user's bus", .open = sd_bus_open_user};

int unit_reloads_new(sd_event *event, const struct unit_bus *bus, struct unit_reloads **ret_reloads)
{
    struct unit_reloads *reloads = calloc(1, sizeof(*reloads));

    if (reloads == NULL)
        return -ENOMEM;
    reloads->event = event;
    reloads->bus = bus;
    list_init(&reloads->reloads);
    *ret_reloads = reloads;
    return 0;
}

/* It is enough that systemd has the job: a request behind it would wait for its end as well. */
static void finish_replied(struct unit_reloads *reloads)
{
    const struct error none = ERROR_INIT;
    struct unit_reload *reload, *next;

    list_for_each_safe (reload, next, &reloads->reloads, link)
        if (reload->job != NULL)
            finish(reload, &none);
}

/* Wait for replies, as a connection that is closed earlier may take its request with it. */
static void drain(struct unit_reloads *reloads)
{
    mono_us now, deadline = clock_mono() + DRAIN_TIME;

    reloads->is_ending = true;
    finish_replied(reloads);
    while (!list_is_empty(&reloads->reloads) && (now = clock_mono()) < deadline) {
        struct unit_reload *reload = list_entry(reloads->reloads.next, struct unit_reload, link);
        int r = sd_bus_process(reload->bus, NULL); /* on_reply() may free it */

        if (r < 0)
            reload_free(reload);
        else if (r == 0)
            sd_bus_wait(reload->bus, deadline - now);
    }
}

struct unit_reloads *unit_reloads_free(struct unit_reloads *reloads)
{
    if (reloads == NULL)
        return NULL;
    drain(reloads);
    while (!list_is_empty(&reloads->reloads))
        reload_free(list_entry(reloads->reloads.next, struct unit_reload, link));
    free(reloads);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   updated(notice) --> update_pace: when --+--> send(): of the owner
 *                                           +--> unit_reloads --> systemd
 *                                           +--> commands: of the administrator
 *                                                    |
 *                log, notice.error, notified() <-----+
 *
 * A volume has one of these under way at most; an update meanwhile leads to another one.
 *
 * At least once: notified() says which update consumers know of, and only when they have been
 * notified. The owner records it, and the next process compares it with what readers see
 * (update_notice_adopt()). So what was under way when this process was killed is repeated. A
 * notification that has failed is not.
 */
#include "serve/update_notifier.h"

#define TIMER_SLACK SPAN_MS(10)

struct update_notifier {
    sd_event *event; /* borrowed */
    struct unit_reloads *reloads;
    struct commands *commands; /* borrowed; or NULL */
    const struct update_notifier_callbacks *callbacks;
    void *userdata;
    bool is_ending;
};

/* ---- the end of a notification */

static void notify_if_due(struct update_notice *n);

void update_notifier_ended(struct update_notifier *notifier, struct update_notice *notice,
                           const struct error *e)
{
    struct update_notice *n = notice;

    update_pace_end(&n->pace);
    if (n->pace.state == UPDATE_PACE_IDLE)
        notifier->callbacks->notified(notifier->userdata, n, n->notifying);
    kept_error_set(&n->error, e->text);
    if (notifier->callbacks->ended != NULL)
        notifier->callbacks->ended(notifier->userdata, n);
    if (!notifier->is_ending)
        notify_if_due(n);
}

/* @e: empty: it was reloaded */
static void log_reload(const struct update_notice *n, const struct error *e)
{
    if (e->text[0] != '\0')
        log_warn("cannot reload a unit after an update", "object", PUBLISHED_TEXT(n->published),
                 "unit", n->action.unit, "reason", e->text);
    else if (!n->notifier->is_ending) /* else systemd has the job, and its end is unknown */
        log_info("reloaded a unit after an update", "object", PUBLISHED_TEXT(n->published), "unit",
                 n->action.unit);
}

static void on_reloaded(void *userdata, const struct error *e)
{
    struct update_notice *n = userdata;

    log_reload(n, e);
    update_notifier_ended(n->notifier, n, e);
}

/* @e: empty: its exit status is 0 */
static void log_command(const struct update_notice *n, const struct error *e)
{
    if (e->text[0] != '\0')
        log_warn("a command after an update failed", "object", PUBLISHED_TEXT(n->published),
                 "command", n->action.command, "reason", e->text);
    else
        log_info("ran a command after an update", "object", PUBLISHED_TEXT(n->published), "command",
                 n->action.command);
}

static void on_command_done(void *userdata, const struct payload *unused, int result,
                            const struct error *e)
{
    struct update_notice *n = userdata;

    n->run = NULL; /* it was freed */
    log_command(n, e);
    update_notifier_ended(n->notifier, n, e);
}

/* ---- its beginning */

static int request_reload(struct update_notice *n, struct error *e)
{
    int r = unit_reloads_start(n->notifier->reloads, n->action.unit, on_reloaded, n, &n->reload, e);

    if (r < 0)
        log_reload(n, e);
    return r;
}

static int run_command(struct update_notice *n, struct error *e)
{
    const struct commands_order order = {
        .name = n->action.command, .volume = PUBLISHED_TEXT(n->published), .target = n->target};
    int r = commands_run(n->notifier->commands, &order, on_command_done, n, &n->run, e);

    if (r < 0)
        log_command(n, e);
    return r;
}

static int request(struct update_notice *n, struct error *e)
{
    if (n->action.unit != NULL)
        return request_reload(n, e);
    if (n->action.command != NULL)
        return run_command(n, e);
    return n->notifier->callbacks->send(n->notifier->userdata, n, e);
}

static void notify(struct update_notice *n, mono_us now)
{
    const struct update_notifier *notifier = n->notifier;
    struct error e = ERROR_INIT;

    update_pace_begin(&n->pace, now);
    n->notifying = notifier->callbacks->shown(notifier->userdata, n);
    if (request(n, &e) < 0)
        update_notifier_ended(n->notifier, n, &e);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    notify_if_due(userdata);
    return 0;
}

static void set_timer(struct update_notice *n, mono_us due)
{
    n->timer = sd_event_source_disable_unref(n->timer);
    if (sd_event_add_time(n->notifier->event, &n->timer, CLOCK_MONOTONIC, due, TIMER_SLACK,
                          on_timer, n) < 0)
        log_error("cannot set a timer; consumers are notified with the next update", "object",
                  PUBLISHED_TEXT(n->published), PUBLISHED_LOG_POD(n->published));
}

static void notify_if_due(struct update_notice *n)
{
    mono_us now = clock_mono(), due = update_pace_due(&n->pace);

    if (due <= now)
        notify(n, now);
    else if (due != SPAN_FOREVER)
        set_timer(n, due);
}

void update_notifier_updated(struct update_notifier *notifier, struct update_notice *notice)
{
    notice->notifier = notifier;
    update_pace_update(&notice->pace);
    notify_if_due(notice);
}

void update_notice_adopt(struct update_notice *notice, uint64_t shown, uint64_t notified)
{
    if (notified != 0 && notified != shown)
        update_pace_update(&notice->pace);
}

void update_notifier_resume(struct update_notifier *notifier, struct update_notice *notice)
{
    if (notice->pace.state != UPDATE_PACE_PENDING || notice->timer != NULL)
        return;
    notice->notifier = notifier;
    set_timer(notice, update_pace_due(&notice->pace));
}

/* ---- the end */

void update_notifier_finish(struct update_notifier *notifier, struct update_notice *notice)
{
    notifier->is_ending = true;
    if (notice->pace.state != UPDATE_PACE_PENDING || notice->action.command != NULL)
        return;
    notice->notifier = notifier;
    notify(notice, clock_mono());
}

void update_notice_deinit(struct update_notice *notice)
{
    notice->timer = sd_event_source_disable_unref(notice->timer);
    notice->run = commands_cancel(notice->run);
    unit_reload_forget(notice->reload);
    kept_error_clear(&notice->error);
}

int update_notifier_new(sd_event *event, const struct unit_bus *bus, struct commands *commands,
                        const struct update_notifier_callbacks *callbacks, void *userdata,
                        struct update_notifier **ret_notifier)
{
    _cleanup_(update_notifier_freep) struct update_notifier *notifier =
        calloc(1, sizeof(*notifier));
    int r;

    if (notifier == NULL)
        return -ENOMEM;
    notifier->event = event;
    notifier->commands = commands;
    notifier->callbacks = callbacks;
    notifier->userdata = userdata;
    r = unit_reloads_new(event, bus, &notifier->reloads);
    if (r < 0)
        return r;
    *ret_notifier = TAKE(notifier);
    return 0;
}

struct update_notifier *update_notifier_free(struct update_notifier *notifier)
{
    if (notifier == NULL)
        return NULL;
    notifier->is_ending = true;
    unit_reloads_free(notifier->reloads);
    free(notifier);
    return NULL;
}

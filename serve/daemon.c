/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order is the same for every command:
 *
 *   1. signals are blocked and the loop is created, before any thread exists
 *   2. start() creates what lives on the loop; the command calls service_manager_ready() when
 *      others may rely on it
 *   3. the loop runs
 *   4. the service manager is notified that the command is stopping
 *   5. the watchdog is freed: it probes publishers, which stop() frees
 *   6. stop() frees the rest, then the privileged thread ends, then the loop goes
 *
 * A failure of start() skips 3 only.
 */
#include "serve/daemon.h"

#include "base/log.h"
#include "base/privileged.h"
#include "base/thread.h"
#include "serve/service_manager.h"

#define STACK_USED_BYTES (64 * 1024) /* libcurl has buffers of 16 KiB there */

/*
 * Libraries leave pieces of what they decrypted and parsed on the stack, where a later call may or
 * may not overwrite them. The loop overwrites them before it waits.
 */
static int on_idle(sd_event_source *source, void *userdata)
{
    unsigned char stack[STACK_USED_BYTES];

    explicit_bzero(stack, sizeof(stack));
    return 0;
}

static int wipe_stack_when_idle(sd_event *event)
{
    sd_event_source *source;
    int r = sd_event_add_post(event, &source, on_idle, NULL);

    if (r < 0)
        return r;
    sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IDLE);
    sd_event_source_set_floating(source, true);
    sd_event_source_unref(source);
    return 0;
}

/* ---- signals */

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    struct daemon *daemon = userdata;

    log_info("stopping", "signal", strsignal((int)info->ssi_signo));
    daemon->must_hand_over = info->ssi_signo == DAEMON_HAND_OVER_SIGNAL;
    return sd_event_exit(daemon->event, 0);
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    struct daemon *daemon = userdata;

    service_manager_reloading();
    daemon->ops->reload(daemon);
    service_manager_ready();
    return 0;
}

static int take_signals(struct daemon *daemon)
{
    const struct {
        int number;
        sd_event_signal_handler_t handler;
    } signals[] = {
        {SIGTERM, on_stop},
        {SIGINT, on_stop},
        {DAEMON_HAND_OVER_SIGNAL, on_stop},
        {SIGHUP, daemon->ops->reload != NULL ? on_reload : on_stop},
    };
    int r = 0;

    for (size_t i = 0; i < ELEMENTS_OF(signals) && r >= 0; i++)
        r = sd_event_add_signal(daemon->event, NULL, signals[i].number, signals[i].handler, daemon);
    return r;
}

static void block_signals(const sigset_t *own_signals)
{
    sigset_t blocked;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGHUP);
    sigaddset(&blocked, DAEMON_HAND_OVER_SIGNAL);
    if (own_signals != NULL)
        blocked = *own_signals;
    sigaddset(&blocked, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* ---- the loop */

/* Readers wait for an update, which takes several threads one after the other. */
static void run_soon(void)
{
    int r = thread_shorten_slice();

    if (r < 0)
        log_debug("threads keep the usual slice of processor time", "error", strerror(-r));
}

static int create_loop(struct daemon *daemon, const sigset_t *own_signals, struct error *e)
{
    int r;

    block_signals(own_signals);
    if (own_signals == NULL) /* else a program follows, whose slice is not ours to choose */
        run_soon();
    r = sd_event_new(&daemon->event);
    if (r >= 0)
        r = wipe_stack_when_idle(daemon->event);
    if (r >= 0 && own_signals == NULL)
        r = take_signals(daemon);
    if (r >= 0 && own_signals == NULL)
        r = watchdog_new(daemon->event, &daemon->watchdog);
    return r < 0 ? error_set_errno(e, r, "cannot create the event loop") : 0;
}

static int run_loop(struct daemon *daemon, struct error *e)
{
    int r = sd_event_loop(daemon->event);

    if (r >= 0 || daemon->failure.text[0] != '\0')
        return r;
    return error_set_errno(e, r, "the event loop failed");
}

static int restrict_loop(struct error *e)
{
    int r = privileged_start(e);

    if (r == 0)
        confinement_restrict_thread(CONFINEMENT_LOOP);
    return r;
}

void daemon_restrict(unsigned program, struct commands *commands)
{
    struct error e = ERROR_INIT;
    int r;

    program |= commands != NULL ? CONFINEMENT_COMMANDS : 0u;
    if (confinement_restrict_process(program, &e) < 0)
        log_warn("the process keeps more rights than it needs", "reason", e.text);
    r = commands != NULL ? commands_start(commands) : 0;
    if (r < 0)
        log_warn("cannot start threads that run commands", "error", strerror(-r));
    e = ERROR_INIT;
    if (restrict_loop(&e) < 0)
        log_warn("the event loop keeps rights that it does not need", "reason", e.text);
}

void daemon_fail(struct daemon *daemon, const struct error *reason)
{
    assert(reason->text[0] != '\0');
    daemon->failure = *reason;
    sd_event_exit(daemon->event, -EIO);
}

int daemon_run(struct daemon *daemon, const struct daemon_ops *ops, const sigset_t *own_signals,
               struct error *e)
{
    int r;

    assert(daemon->event == NULL);
    daemon->ops = ops;
    r = create_loop(daemon, own_signals, e);
    if (r >= 0)
        r = ops->start(daemon, e);
    if (r >= 0)
        r = run_loop(daemon, e);
    if (r < 0 && daemon->failure.text[0] != '\0')
        *e = daemon->failure;
    if (own_signals == NULL)
        service_manager_stopping();
    daemon->watchdog = watchdog_free(daemon->watchdog);
    ops->stop(daemon);
    privileged_stop();
    daemon->event = sd_event_unref(daemon->event);
    return r < 0 ? r : 0;
}

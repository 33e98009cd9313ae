/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One loop waits for messages, signals, hang-ups of stored descriptors and the one deadline of the
 * state (keeper/state.h). Each becomes an event, an event may change the state, and a state begins
 * with its function in `entries`.
 *
 * What a child has stored must not be lost with it. Its messages lie in the socket's queue when it
 * dies, so they are read before the child is reaped; until then the kernel also still knows who
 * sent them.
 *
 * Orphans of the child become children of the keeper (PR_SET_CHILD_SUBREAPER) and are reaped. One
 * of them can be the main process, if the child says so (MAINPID) and ends.
 *
 * A process that is killed may not end: a thread that changes a file system of its own waits for an
 * answer that the process was to give itself, and the device, which would break that off when it is
 * closed, is stored. Only the next process can answer. So a process counts as dead when its first
 * thread is and its descriptors are closed, of which a pipe's end notifies the keeper. What remains
 * is reaped later, as an orphan is.
 *
 * A hand-over:
 *   1. SIGHUP or HANDOVER=1. With --check the command runs once more beside the child, with the
 *      stored descriptors and --check; if it fails, the child goes on and the log says so.
 *   2. The child gets SIGUSR2: finish what was begun, store what the next process needs, end. A
 *      program that does not know of it ends, too, as that is the signal's default.
 *   3. When the child has ended, with any status, the next one starts at once.
 *   4. When that one is ready, the process that has sent HANDOVER=1 learns of it; in 1, if the
 *      check fails.
 */
#include "keeper/supervisor.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "keeper/background.h"
#include "keeper/intake.h"
#include "keeper/leader.h"
#include "keeper/notify_socket.h"
#include "keeper/report.h"
#include "keeper/requester.h"
#include "keeper/spawn.h"
#include "keeper/state.h"
#include "keeper/upward.h"

#define HAND_OVER_SIGNAL SIGUSR2
#define NO_DEADLINE      UINT64_MAX
#define ABORT_TIMEOUT    SPAN_SEC(5) /* for traces after SIGABRT; a stopped process needs SIGKILL */
#define CHECK_TIMEOUT    SPAN_SEC(60) /* a start-up that does not wait for the network */

/*
 * Threads of a process that exits end within this time after its first thread is dead and its
 * descriptors are closed. Those that wait for an answer of the file system remain.
 */
#define LEADER_GRACE        SPAN_MS(100)
/*
 * Until they are closed, the next process would find its locks and sockets taken. On a host under
 * load its other threads may wait this long for a processor to end on.
 */
#define DESCRIPTORS_GRACE   SPAN_SEC(5)
#define LEADER_INTERVAL     SPAN_MS(10) /* of checks; twice as long each time while it lives */
#define LEADER_INTERVAL_MAX SPAN_SEC(1)

/*
 * How many messages are read before signals and deadlines have their turn. More than the socket's
 * queue holds (net.unix.max_dgram_qlen, 10 to some hundred), so that all of a dead child's are
 * read.
 */
#define MESSAGES_AT_ONCE 4096

/* The keeper's own sockets come first in what is polled. */
enum { POLLED_MESSAGES, POLLED_SIGNALS, POLLED_END, POLLED_CALLER, POLLED_STORED };

struct supervisor {
    const struct keeper_options *options;
    struct keeper_notify_socket notify;
    int signals;
    sigset_t old_mask;
    enum keeper_state state;
    mono_us deadline;     /* of the state */
    pid_t main;           /* 0: none */
    int end_fd;           /* see keeper_spawn(); -1: none, or it has hung up */
    bool is_killed;       /* by the keeper, with SIGKILL */
    mono_us leader_check; /* when to check the main process's first thread */
    span_us leader_interval;
    mono_us dead_since; /* that thread; 0: alive */
    pid_t claimed;      /* by MAINPID, not yet the main process; 0: none */
    pid_t checking;     /* the command with --check; 0: none */
    mono_us check_deadline;
    int requester_fd; /* of the process that waits for a hand-over; -1: none */
    span_us watchdog;
    mono_us ready_at; /* 0: not ready since its start */
    bool has_begun;   /* a child was ready or has stored something */
    unsigned n_failures;
    int stop_signal;          /* for STOPPING; 0: the child stops by itself */
    int status;               /* of the last child, as an exit status */
    int report_fd;            /* to the caller that waits; -1: none */
    char directory[PATH_MAX]; /* of the caller; "": the keeper stays in it */
    struct keeper_store store;
};

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- states */

static void signal_main(struct supervisor *s, int number)
{
    if (s->main > 0 && kill(s->main, number) < 0)
        keeper_warn("cannot send %s to process %d: %s", strsignal(number), s->main,
                    strerror(errno));
}

/* What it says is for the caller's terminal as long as the caller waits. */
static const char *background_of(const struct supervisor *s)
{
    if (!s->options->is_background)
        return NULL;
    return s->report_fd >= 0 ? KEEPER_BACKGROUND_STARTING : KEEPER_BACKGROUND_RUNNING;
}

/* Without memory for a process there is a next time. */
static void enter_starting(struct supervisor *s)
{
    const struct keeper_spawn spawn = {.argv = s->options->command,
                                       .store = &s->store,
                                       .notify_socket = s->notify.path,
                                       .watchdog = s->options->watchdog,
                                       .directory = s->directory,
                                       .background = background_of(s),
                                       .mask = &s->old_mask};
    struct keeper_process process;
    int r = keeper_spawn(&spawn, &process);

    s->watchdog = s->options->watchdog;
    s->ready_at = 0;
    s->claimed = 0;
    s->is_killed = false;
    s->leader_check = NO_DEADLINE;
    if (r == 0) {
        s->main = process.pid;
        s->end_fd = process.end_fd;
        keeper_info("started %s as process %d with %zu descriptors", s->options->command[0],
                    s->main, s->store.n);
        return;
    }
    keeper_error("cannot start a process: %s", strerror(-r));
    s->state = KEEPER_WAITING;
    s->deadline = clock_mono() + KEEPER_FIRST_DELAY;
}

static void arm_watchdog(struct supervisor *s)
{
    s->deadline = s->watchdog > 0 ? clock_mono() + s->watchdog : NO_DEADLINE;
}

static void enter_ready(struct supervisor *s)
{
    s->ready_at = clock_mono();
    s->has_begun = true;
    keeper_background_ready(&s->report_fd);
    if (s->checking == 0)
        keeper_requester_answer(&s->requester_fd, NULL, KEEPER_HANDOVER_DONE);
    arm_watchdog(s);
}

static void enter_handing_over(struct supervisor *s)
{
    keeper_info("process %d hands over to the next one", s->main);
    signal_main(s, HAND_OVER_SIGNAL);
    s->deadline = clock_mono() + s->options->stop_timeout;
}

static void enter_stopping(struct supervisor *s)
{
    if (s->stop_signal != 0)
        signal_main(s, s->stop_signal);
    keeper_upward_send("STOPPING=1");
    s->deadline = clock_mono() + s->options->stop_timeout;
}

static void enter_aborting(struct supervisor *s)
{
    keeper_error("process %d has not responded within the watchdog's limit; ending it", s->main);
    signal_main(s, SIGABRT);
    s->deadline = clock_mono() + earliest(ABORT_TIMEOUT, s->options->stop_timeout);
}

static void enter_waiting(struct supervisor *s)
{
    mono_us now = clock_mono();
    span_us delay;

    if (s->ready_at != 0 && now - s->ready_at >= KEEPER_STABLE_AFTER)
        s->n_failures = 0;
    delay = keeper_backoff_delay(++s->n_failures, s->options->backoff_max);
    keeper_warn("starting %s again in %llu ms; %zu descriptors are kept", s->options->command[0],
                (unsigned long long)(delay / 1000), s->store.n);
    s->deadline = now + delay;
}

static void enter_ended(struct supervisor *s)
{
    if (s->checking > 0)
        kill(s->checking, SIGKILL);
    keeper_requester_answer(&s->requester_fd, "the keeper ends", KEEPER_HANDOVER_FAILED);
    if (s->store.n > 0)
        keeper_info("closing %zu descriptors", s->store.n);
    keeper_store_clear(&s->store);
}

static void (*const entries[KEEPER_N_STATES])(struct supervisor *s) = {
    [KEEPER_STARTING] = enter_starting,
    [KEEPER_READY] = enter_ready,
    [KEEPER_HANDING_OVER] = enter_handing_over,
    [KEEPER_STOPPING] = enter_stopping,
    [KEEPER_ABORTING] = enter_aborting,
    [KEEPER_WAITING] = enter_waiting,
    [KEEPER_ENDED] = enter_ended,
};

static void enter(struct supervisor *s, enum keeper_state state)
{
    assert(keeper_state_has_child(state) == (s->main > 0) || state == KEEPER_STARTING);
    s->state = state;
    s->deadline = NO_DEADLINE;
    entries[state](s);
}

static void on_event(struct supervisor *s, enum keeper_event event)
{
    enum keeper_state next = keeper_state_next(s->state, event);

    if (next != KEEPER_SAME)
        enter(s, next);
}

/* ---- hand-over */

static char **append_check(char *const *command)
{
    static char check[] = "--check";
    size_t n = 0;
    char **argv;

    while (command[n] != NULL)
        n++;
    argv = calloc(n + 2, sizeof(*argv));
    if (argv == NULL)
        return NULL;
    memcpy(argv, command, n * sizeof(*argv));
    argv[n] = check;
    return argv;
}

/* What it says is for the one who has requested the hand-over, as for a caller. */
static const char *background_of_check(const struct supervisor *s)
{
    return s->options->is_background && s->requester_fd >= 0 ? KEEPER_BACKGROUND_STARTING
                                                             : background_of(s);
}

static void start_check(struct supervisor *s)
{
    _cleanup_(freep) char **argv = append_check(s->options->command);
    const struct keeper_spawn spawn = {.argv = argv,
                                       .store = &s->store,
                                       .directory = s->directory,
                                       .background = background_of_check(s),
                                       .errors_fd = s->requester_fd,
                                       .mask = &s->old_mask};
    struct keeper_process process;
    int r = argv != NULL ? keeper_spawn(&spawn, &process) : -ENOMEM;

    if (r < 0) {
        keeper_error("cannot start a process: %s; there is no hand-over", strerror(-r));
        keeper_requester_answer(&s->requester_fd, "the keeper cannot start a process",
                                KEEPER_HANDOVER_FAILED);
        return;
    }
    fd_close(process.end_fd);
    s->checking = process.pid;
    s->check_deadline = clock_mono() + CHECK_TIMEOUT;
}

/* A child that stops is not replaced, nor one that the watchdog ends by itself. */
static void hand_over(struct supervisor *s)
{
    on_event(s, KEEPER_ON_HAND_OVER);
    if (s->state != KEEPER_HANDING_OVER && s->state != KEEPER_STARTING)
        keeper_requester_answer(&s->requester_fd, "the process is about to end",
                                KEEPER_HANDOVER_FAILED);
}

static void begin_hand_over(struct supervisor *s)
{
    if (!s->options->checks)
        hand_over(s);
    else if (s->checking == 0)
        start_check(s);
}

static void on_hand_over_request(struct supervisor *s, int consume_fd)
{
    if (s->requester_fd >= 0 || s->checking > 0) {
        keeper_requester_answer(&consume_fd, "another hand-over is in progress",
                                KEEPER_HANDOVER_FAILED);
        return;
    }
    s->requester_fd = consume_fd;
    begin_hand_over(s);
}

/* ---- messages */

static bool is_own_child(pid_t pid)
{
    siginfo_t info;

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* A process that is not the keeper's child yet becomes one when its parent ends, or never. */
static void on_main_pid(struct supervisor *s, pid_t pid)
{
    if (pid == s->main)
        return;
    if (is_own_child(pid) && pid != s->checking)
        s->main = pid;
    else
        s->claimed = pid;
}

static void on_message(struct supervisor *s, const struct keeper_message *m, int consume_fd)
{
    s->has_begun = s->has_begun || s->store.n > 0;
    if (m->main_pid != 0)
        on_main_pid(s, m->main_pid);
    if (m->watchdog != 0)
        s->watchdog = m->watchdog;
    if (m->is_ready)
        on_event(s, KEEPER_ON_READY);
    if (m->is_stopping)
        on_event(s, KEEPER_ON_STOPPING);
    if (s->state == KEEPER_READY && (m->is_alive || m->watchdog != 0))
        arm_watchdog(s);
    if (s->state == KEEPER_READY && m->is_hung)
        on_event(s, KEEPER_ON_TIMEOUT);
    if (m->hands_over)
        on_hand_over_request(s, consume_fd);
    keeper_upward_send(m->upward);
}

static void read_messages(struct supervisor *s)
{
    struct keeper_message m;
    int n = 0, r, requester_fd;

    do {
        const pid_t senders[] = {s->main, s->main > 0 ? s->claimed : 0, 0};

        r = keeper_intake(s->notify.fd, senders, &s->store, &m, &requester_fd);
        if (r == 0)
            on_message(s, &m, requester_fd);
        if (r == -ECONNRESET) /* what an empty message looks like */
            r = -EBADMSG;
    } while ((r == 0 || r == -EBADMSG) && ++n < MESSAGES_AT_ONCE);
    if (r < 0 && r != -EAGAIN && r != -EBADMSG)
        keeper_warn("cannot read messages: %s", strerror(-r));
}

/* ---- ends of processes */

static int exit_status(const siginfo_t *info)
{
    return info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
}

static void report_end(const siginfo_t *info)
{
    if (info->si_code == CLD_EXITED)
        keeper_info("process %d exited with status %d", info->si_pid, info->si_status);
    else
        keeper_warn("process %d was killed by signal %d (%s)", info->si_pid, info->si_status,
                    strsignal(info->si_status));
}

/*
 * The first child that fails before it was ready or stored something has nothing to come back to,
 * and its caller has to learn of it: an invalid option would be tried for ever. In the background
 * no child has something to come back to unless it has stored it.
 */
static bool is_over(const struct supervisor *s)
{
    bool is_false_start = s->state == KEEPER_STARTING && !s->has_begun;

    return s->status != 0 && (is_false_start || (s->options->is_background && s->store.n == 0));
}

static void on_main_end(struct supervisor *s, const siginfo_t *info)
{
    report_end(info);
    s->main = 0;
    if (s->claimed > 0 && is_own_child(s->claimed)) {
        s->main = s->claimed;
        s->claimed = 0;
        return;
    }
    s->end_fd = fd_close(s->end_fd);
    s->leader_check = NO_DEADLINE;
    s->status = exit_status(info);
    if (is_over(s))
        enter(s, KEEPER_ENDED);
    else
        on_event(s, s->status == 0 ? KEEPER_ON_END : KEEPER_ON_FAILURE);
}

static void on_check_end(struct supervisor *s, const siginfo_t *info)
{
    s->checking = 0;
    if (exit_status(info) == 0) {
        hand_over(s);
        return;
    }
    report_end(info);
    keeper_error("%s --check failed: there is no hand-over, the running process goes on",
                 s->options->command[0]);
    keeper_requester_answer(&s->requester_fd, "--check failed", KEEPER_HANDOVER_FAILED);
}

static void reap(struct supervisor *s)
{
    siginfo_t info;

    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
            return;
        read_messages(s); /* what it has sent, before its process id is free */
        waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG);
        if (info.si_pid == s->main)
            on_main_end(s, &info);
        else if (info.si_pid == s->checking)
            on_check_end(s, &info);
    }
}

/* ---- a first thread that has ended */

static void start_leader_check(struct supervisor *s)
{
    s->dead_since = 0;
    s->leader_interval = LEADER_INTERVAL;
    s->leader_check = clock_mono();
}

/* A program may have closed its descriptors itself. */
static void on_end_fd(struct supervisor *s)
{
    s->end_fd = fd_close(s->end_fd);
    start_leader_check(s);
}

/* While it stops by itself, its exit status is worth waiting for. */
static bool must_wait(const struct supervisor *s, mono_us now)
{
    span_us grace = s->end_fd < 0 ? LEADER_GRACE : DESCRIPTORS_GRACE;

    return now - s->dead_since < grace || (s->state == KEEPER_STOPPING && !s->is_killed);
}

static void check_leader(struct supervisor *s, mono_us now)
{
    siginfo_t info = {.si_code = CLD_KILLED};

    /* the names stand for members of different structs of a union, so not in one initializer */
    info.si_pid = s->main;
    info.si_status = SIGKILL;
    if (!keeper_leader_is_dead(s->main)) {
        s->dead_since = 0;
        s->leader_check = now + s->leader_interval;
        s->leader_interval = earliest(2 * s->leader_interval, LEADER_INTERVAL_MAX);
        return;
    }
    if (s->dead_since == 0)
        s->dead_since = now;
    s->leader_check = now + LEADER_INTERVAL;
    if (must_wait(s, now))
        return;
    read_messages(s);
    keeper_warn("process %d has threads that wait for an answer of a file system", s->main);
    on_main_end(s, &info);
}

/* ---- signals */

static void on_stop_signal(struct supervisor *s, int number)
{
    s->stop_signal = number;
    if (s->state == KEEPER_STOPPING) /* more than one: the child decides what that means */
        signal_main(s, number);
    on_event(s, KEEPER_ON_STOP);
}

/* A terminal has sent its signals, SIGHUP when it is closed among them, to the child as well. */
static void on_signal(struct supervisor *s, const struct signalfd_siginfo *info)
{
    int number = (int)info->ssi_signo;
    bool is_from_terminal = info->ssi_code == SI_KERNEL;

    switch (number) {
    case SIGCHLD:
        reap(s);
        break;
    case SIGHUP:
    case HAND_OVER_SIGNAL:
        if (is_from_terminal)
            on_stop_signal(s, 0);
        else
            begin_hand_over(s);
        break;
    case SIGTERM:
    case SIGINT:
    case SIGQUIT:
        on_stop_signal(s, is_from_terminal ? 0 : number);
        break;
    default:
        signal_main(s, number);
        break;
    }
}

static void read_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;

    while (s->state != KEEPER_ENDED && read(s->signals, &info, sizeof(info)) == sizeof(info))
        on_signal(s, &info);
}

/* Before the command was ready, so that it counts as failed. */
static void on_caller_ended(struct supervisor *s)
{
    if (s->report_fd < 0) /* it has had its report meanwhile */
        return;
    s->report_fd = fd_close(s->report_fd);
    on_stop_signal(s, SIGTERM);
}

static int block_signals(struct supervisor *s)
{
    static const int numbers[] = {SIGCHLD, SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
    sigset_t mask;

    sigemptyset(&mask);
    for (size_t i = 0; i < ELEMENTS_OF(numbers); i++)
        sigaddset(&mask, numbers[i]);
    sigprocmask(SIG_BLOCK, &mask, &s->old_mask);
    s->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signals < 0 ? negative_errno() : 0;
}

/* ---- the loop */

static void check_deadlines(struct supervisor *s, mono_us now)
{
    if (s->main > 0 && now >= s->leader_check)
        check_leader(s, now);
    if (s->checking > 0 && now >= s->check_deadline) {
        kill(s->checking, SIGKILL);
        s->check_deadline = NO_DEADLINE;
    }
    if (now < s->deadline)
        return;
    s->deadline = NO_DEADLINE;
    if (keeper_state_next(s->state, KEEPER_ON_TIMEOUT) != KEEPER_SAME) {
        on_event(s, KEEPER_ON_TIMEOUT);
        return;
    }
    keeper_warn("process %d does not end; killing it", s->main);
    signal_main(s, SIGKILL);
    s->is_killed = true;
    start_leader_check(s);
}

static struct timespec time_left(mono_us now, mono_us until)
{
    return clock_timespec(until > now ? until - now : 0);
}

static void wait_and_act(struct supervisor *s)
{
    struct pollfd polled[POLLED_STORED + KEEPER_FDS_MAX] = {
        [POLLED_MESSAGES] = {.fd = s->notify.fd, .events = POLLIN},
        [POLLED_SIGNALS] = {.fd = s->signals, .events = POLLIN},
        [POLLED_END] = {.fd = s->end_fd},
        [POLLED_CALLER] = {.fd = s->report_fd},
    };
    mono_us now = clock_mono(), until = earliest(s->deadline, keeper_upward_alive(now));
    struct timespec left;
    size_t n_hung;

    if (s->checking > 0)
        until = earliest(until, s->check_deadline);
    if (s->main > 0)
        until = earliest(until, s->leader_check);
    left = time_left(now, until);
    keeper_store_fill_polled(&s->store, polled + POLLED_STORED);
    if (ppoll(polled, POLLED_STORED + s->store.n, until == NO_DEADLINE ? NULL : &left, NULL) > 0) {
        n_hung = keeper_store_close_hung(&s->store, polled + POLLED_STORED);
        if (n_hung > 0)
            keeper_info("closed %zu stored descriptors that hung up", n_hung);
        if (polled[POLLED_MESSAGES].revents != 0)
            read_messages(s);
        if (polled[POLLED_END].revents != 0)
            on_end_fd(s);
        if (polled[POLLED_SIGNALS].revents != 0)
            read_signals(s);
        if (polled[POLLED_CALLER].revents != 0)
            on_caller_ended(s);
    }
    if (s->state != KEEPER_ENDED)
        check_deadlines(s, clock_mono());
}

/* A keeper in the background leaves the caller's directory; relative paths mean that one. */
static int enter_background(struct supervisor *s, struct error *e)
{
    int r;

    if (!s->options->is_background)
        return 0;
    keeper_report_set(KEEPER_REPORT_TERMINAL);
    if (getcwd(s->directory, sizeof(s->directory)) == NULL)
        s->directory[0] = '\0';
    r = keeper_background_enter(e);
    if (r < 0)
        return r;
    s->report_fd = r;
    return 0;
}

int keeper_supervise(const struct keeper_options *options, struct error *e)
{
    static struct supervisor s;
    int r;

    s = (struct supervisor){.options = options,
                            .store.max = options->fds_max,
                            .signals = -1,
                            .end_fd = -1,
                            .requester_fd = -1,
                            .report_fd = -1,
                            .leader_check = NO_DEADLINE};
    assert(options->fds_max >= 1 && options->fds_max <= KEEPER_FDS_MAX);
    if (enter_background(&s, e) < 0)
        return EXIT_FAILURE;
    keeper_upward_init();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    r = block_signals(&s);
    if (r < 0) {
        error_set_errno(e, r, "cannot receive signals");
        return EXIT_FAILURE;
    }
    if (keeper_notify_socket_init(&s.notify, e) < 0)
        return EXIT_FAILURE;
    enter(&s, KEEPER_STARTING);
    while (s.state != KEEPER_ENDED)
        wait_and_act(&s);
    keeper_notify_socket_deinit(&s.notify);
    return s.status;
}

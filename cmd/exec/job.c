/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command leads a process group of its own, so that it can be stopped with its children. We
 * forward to it what a shell and a terminal do to us:
 *
 *  - Signals: to the command, or to its whole group when the kernel sent them, as the terminal
 * would have.
 *  - The terminal. If it is standard input and output, the command's group becomes its foreground
 *    group at once, and Ctrl-C reaches the command without us. In a pipeline the group stays in the
 *    background, as another member may read the keyboard (`... | less`); it gets the terminal when
 *    it is stopped for using it (SIGTTIN, SIGTTOU).
 *  - Ctrl-Z. When the terminal stops the command,
 *      1. we stop our own group, ourselves included; the shell waits for that;
 *      2. the shell takes the terminal; `fg` gives it to our group and continues the group;
 *      3. we give the terminal to the command if it had it, and continue the command.
 *    Without a shell that could continue us (an orphaned process group, such as a container's first
 *    process) the kernel does not stop us in step 1, and the command continues at once.
 *  - When the command exits, we take the terminal back for our group.
 *
 * SIGSTOP to the command stops the command alone: its sender does not know that we would have to be
 * continued as well.
 */
#include "cmd/exec/job.h"

#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/log.h"

#define TIMER_SLACK SPAN_MS(10)

struct job {
    sd_event *event;
    const struct launch *launch;
    char *const *argv;
    const struct job_callbacks *callbacks;
    void *userdata;
    int tty_fd;        /* of the controlling terminal; -1 without one */
    bool has_terminal; /* the command gets the terminal whenever we own it */
    pid_t pid;         /* 0: no command is running */
    sd_event_source *child_source;
    sd_event_source *kill_timer;
};

/* ---- which signals */

/* Not the signals that the kernel raises for our own faults, nor those that cannot be handled. */
static bool is_forwarded(int signo)
{
    static const int ours[] = {SIGKILL, SIGSTOP, SIGCHLD,   SIGPIPE, SIGILL, SIGTRAP,
                               SIGABRT, SIGBUS,  SIGFPE,    SIGSEGV, SIGSYS, SIGXCPU,
                               SIGXFSZ, SIGPROF, SIGVTALRM, SIGTTIN, SIGTTOU};

    for (size_t i = 0; i < ELEMENTS_OF(ours); i++)
        if (signo == ours[i])
            return false;
    return signo < __SIGRTMIN || signo >= SIGRTMIN; /* the C library uses those between */
}

static bool terminates(int signo)
{
    return signo == SIGTERM || signo == SIGINT || signo == SIGHUP || signo == SIGQUIT;
}

void job_signals(sigset_t *ret_signals)
{
    sigemptyset(ret_signals);
    for (int signo = 1; signo <= SIGRTMAX; signo++)
        if (is_forwarded(signo))
            sigaddset(ret_signals, signo);
    /* tcsetpgrp() from the background would stop us unless this is blocked */
    sigaddset(ret_signals, SIGTTOU);
}

/* ---- the terminal */

static bool owns_terminal(const struct job *job, pid_t group)
{
    return job->tty_fd >= 0 && tcgetpgrp(job->tty_fd) == group;
}

static void give_terminal(struct job *job)
{
    job->has_terminal = true;
    if (owns_terminal(job, getpgrp()))
        tcsetpgrp(job->tty_fd, job->pid);
}

/* @group: by number, as its last process may have exited */
static void take_terminal_back(const struct job *job, pid_t group)
{
    if (owns_terminal(job, group))
        tcsetpgrp(job->tty_fd, getpgrp());
}

/* ---- signalling */

/* A command that has left its group still gets the signal. */
static void signal_group(const struct job *job, int signo)
{
    if (kill(-job->pid, signo) < 0 && errno == ESRCH)
        kill(job->pid, signo);
}

static void resume(struct job *job)
{
    if (job->has_terminal)
        give_terminal(job);
    signal_group(job, SIGCONT);
}

/*
 * Stop our group until a shell continues it.
 * Return: whether we were stopped; the kernel does not stop an orphaned process group.
 */
static bool suspend_group(void)
{
    const struct timespec no_wait = {0};
    sigset_t stop, continued;

    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    sigemptyset(&continued);
    sigaddset(&continued, SIGCONT);
    kill(0, SIGTSTP);
    pthread_sigmask(SIG_UNBLOCK, &stop, NULL); /* stopped in this call */
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    return sigtimedwait(&continued, NULL, &no_wait) == SIGCONT;
}

static void on_stopped(struct job *job, int signo)
{
    bool wants_terminal = signo == SIGTTIN || signo == SIGTTOU;

    if (job->tty_fd < 0 || signo == SIGSTOP)
        return;
    if (wants_terminal && owns_terminal(job, getpgrp())) {
        give_terminal(job);
        signal_group(job, SIGCONT);
        return;
    }
    if (suspend_group() || !wants_terminal)
        resume(job);
}

static void forward(struct job *job, const struct signalfd_siginfo *info)
{
    int signo = (int)info->ssi_signo;

    if (signo == SIGCONT)
        resume(job);
    else if (info->ssi_code == SI_KERNEL)
        signal_group(job, signo);
    else
        kill(job->pid, signo);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    struct job *job = userdata;
    int signo = (int)info->ssi_signo;

    if (job->pid != 0)
        forward(job, info);
    else if (signo == SIGTSTP)
        suspend_group();
    if (terminates(signo))
        job->callbacks->terminate(job->userdata, signo);
    return 0;
}

/* ---- the command exits or stops */

static int on_child(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    struct job *job = userdata;
    pid_t group = job->pid;

    assert(group > 0);
    if (info->si_code == CLD_STOPPED) {
        on_stopped(job, info->si_status);
        return 0;
    }
    job->pid = 0;
    job->child_source = sd_event_source_disable_unref(job->child_source);
    job->kill_timer = sd_event_source_disable_unref(job->kill_timer);
    take_terminal_back(job, group);
    job->callbacks->ended(job->userdata,
                          info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status);
    return 0;
}

static int on_grace_over(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct job *job = userdata;

    log_warn("the command did not exit within the grace period; killing it", "pid",
             LOG_NUM(job->pid));
    signal_group(job, SIGKILL);
    return 0;
}

void job_stop(struct job *job, span_us grace)
{
    signal_group(job, SIGTERM);
    signal_group(job, SIGCONT); /* a stopped process handles SIGTERM when it continues */
    if (grace == SPAN_FOREVER)
        return;
    if (sd_event_add_time_relative(job->event, &job->kill_timer, CLOCK_MONOTONIC, grace,
                                   TIMER_SLACK, on_grace_over, job) < 0)
        log_error("cannot set the timer for the grace period; the command will not be killed");
}

void job_signal(struct job *job, int signo)
{
    if (job->pid != 0)
        kill(job->pid, signo);
}

/* ---- start and end of a job */

int job_start(struct job *job, char *const envp[], struct error *e)
{
    bool takes_terminal = job->has_terminal && owns_terminal(job, getpgrp());
    int r;

    assert(job->pid == 0);
    r = launch_spawn(job->launch, job->argv, envp, takes_terminal ? job->tty_fd : -1, &job->pid, e);
    if (r < 0)
        return r;
    r = sd_event_add_child(job->event, &job->child_source, job->pid, WEXITED | WSTOPPED, on_child,
                           job);
    if (r >= 0) /* the command may be stopped many times */
        r = sd_event_source_set_enabled(job->child_source, SD_EVENT_ON);
    if (r >= 0)
        return 0;
    signal_group(job, SIGKILL);
    waitpid(job->pid, NULL, 0);
    take_terminal_back(job, job->pid);
    job->pid = 0;
    return error_set_errno(e, r, "cannot watch the command");
}

static int take_signals(struct job *job)
{
    int r = 0;

    for (int signo = 1; signo <= SIGRTMAX && r >= 0; signo++)
        if (is_forwarded(signo))
            r = sd_event_add_signal(job->event, NULL, signo, on_signal, job);
    return r;
}

int job_new(sd_event *event, const struct launch *launch, char *const argv[],
            const struct job_callbacks *callbacks, void *userdata, struct job **ret_job,
            struct error *e)
{
    _cleanup_(job_freep) struct job *job = calloc(1, sizeof(*job));
    int r;

    if (job == NULL)
        return error_set_errno(e, -ENOMEM, "cannot create the job");
    *job = (struct job){.event = sd_event_ref(event),
                        .launch = launch,
                        .argv = argv,
                        .callbacks = callbacks,
                        .userdata = userdata,
                        .tty_fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)};
    job->has_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    signal(SIGCHLD, SIG_DFL); /* if our parent ignored it, the kernel would reap the command */
    r = take_signals(job);
    if (r < 0)
        return error_set_errno(e, r, "cannot handle signals");
    *ret_job = TAKE(job);
    return 0;
}

struct job *job_free(struct job *job)
{
    if (job == NULL)
        return NULL;
    sd_event_source_disable_unref(job->child_source);
    sd_event_source_disable_unref(job->kill_timer);
    fd_close(job->tty_fd);
    sd_event_unref(job->event);
    free(job);
    return NULL;
}

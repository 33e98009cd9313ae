/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of `secretfs exec`:
 *
 *   waiting ---- the first env ----> ending (--on-change ignore): the loop ends, what lives on
 *      |                             it is freed, and execve(2) replaces the process by the command
 *      |
 *      +-------> running --- a change (restart) ---> stopping
 *                 |   ^                                |  |
 *                 |   +-------- command exited --------+  |
 *                 |                                       |
 *                 +- command exited -> ending <- command exited after SIGTERM to us
 *
 * A change is a change of the environment that the command would get. A failing source is not: the
 * command keeps the environment that it has.
 *
 * Values are in the objects and, while the command is being started, in one block of secret memory
 * with the environment; never in our own environment or arguments.
 */
#include "cmd/exec/exec.h"

#include <signal.h>

#include "cache/secmem.h"
#include "cmd/shared/command.h"
#include "cmd/shared/object_wait.h"
#include "cmd/exec/job.h"
#include "serve/daemon.h"
#include "volume/environment.h"

enum phase { PHASE_WAITING, PHASE_RUNNING, PHASE_STOPPING, PHASE_ENDING };

struct exec {
    struct daemon daemon;
    const struct exec_options *options;
    struct launch launch;
    struct store *store;
    struct source *source;
    char *namespace;
    struct environment *environment;
    struct job *job; /* NULL with --on-change ignore */
    struct object_wait wait;
    enum phase phase;
    bool has_sigterm; /* a signal to terminate was received: no restart */
    char **envp;      /* with --on-change ignore: what the command gets */
    int exit_status;

    /* what was logged last */
    bool logged_stale;
    bool logged_failing;
    char *logged_skipped;
};

static void move(struct exec *x, enum phase phase)
{
    static const unsigned next[] = {
        [PHASE_WAITING] = 1u << PHASE_RUNNING | 1u << PHASE_ENDING,
        [PHASE_RUNNING] = 1u << PHASE_STOPPING | 1u << PHASE_ENDING,
        [PHASE_STOPPING] = 1u << PHASE_RUNNING | 1u << PHASE_ENDING,
        [PHASE_ENDING] = 0,
    };

    assert((next[x->phase] & 1u << phase) != 0);
    x->phase = phase;
    object_wait_end(&x->wait);
}

static void end(struct exec *x, int exit_status)
{
    move(x, PHASE_ENDING);
    x->exit_status = exit_status;
    sd_event_exit(x->daemon.event, 0);
}

static void fail(struct exec *x, const struct error *reason, int exit_status)
{
    move(x, PHASE_ENDING);
    x->exit_status = exit_status;
    daemon_fail(&x->daemon, reason);
}

/* ---- the log: one line when a state begins, one when it ends */

static void log_skipped(struct exec *x)
{
    const char *skipped = environment_env(x->environment)->skipped;
    bool has_changed =
        skipped != NULL && (x->logged_skipped == NULL || !streq(skipped, x->logged_skipped));

    if (has_changed)
        log_warn(
            "skipped keys that are not valid names of variables; --env-names relaxed takes them",
            "names", skipped);
    free(x->logged_skipped);
    x->logged_skipped = skipped != NULL ? strdup(skipped) : NULL;
}

static void log_state(struct exec *x)
{
    bool is_stale = environment_state(x->environment) == ENVIRONMENT_STALE;

    if (is_stale && !x->logged_stale)
        log_warn("cannot update the environment; the command keeps the last one", "reason",
                 environment_error(x->environment));
    else if (!is_stale && x->logged_stale)
        log_info("the environment is up to date again");
    x->logged_stale = is_stale;
}

static void log_source_state(struct exec *x)
{
    const char *reason = environment_source_error(x->environment);
    bool is_failing = reason[0] != '\0';

    if (is_failing && !x->logged_failing)
        log_warn("source failed, retrying", "reason", reason);
    else if (!is_failing && x->logged_failing)
        log_info("source recovered");
    x->logged_failing = is_failing;
}

/* ---- waiting: --wait */

static int why_missing(void *userdata, struct error *e)
{
    const struct exec *x = userdata;
    const char *reason = environment_error(x->environment);

    if (reason[0] == '\0')
        return error_set(e, -ETIMEDOUT, "the source has not answered");
    if (reason == environment_source_error(x->environment))
        return error_set(e, -EIO, "cannot get the objects of the environment: %s", reason);
    return error_set(e, -ENOENT, "%s", reason);
}

static bool find_missing(void *userdata, struct missing *ret_missing)
{
    const struct exec *x = userdata;

    return environment_find_missing(x->environment, ret_missing);
}

static void on_wait_over(void *userdata, const struct error *reason)
{
    fail(userdata, reason, EXIT_FAILED);
}

static int start_waiting(struct exec *x, struct error *e)
{
    const struct object_wait_options options = {.from = &x->options->from,
                                                .source = x->source,
                                                .why = why_missing,
                                                .find = find_missing,
                                                .over = on_wait_over,
                                                .userdata = x};

    return object_wait_begin(&x->wait, x->daemon.event, &options, e);
}

/* ---- the command as a child */

static void start_command(struct exec *x)
{
    char **envp = env_vector(environment_env(x->environment), environ);
    struct error e = ERROR_INIT;
    int r = envp != NULL ? job_start(x->job, envp, &e)
                         : error_set_errno(&e, -ENOMEM, "cannot create the environment");

    secmem_free(envp);
    if (r < 0)
        fail(x, &e, launch_exit_status(r));
    else
        move(x, PHASE_RUNNING);
}

static void on_ended(void *userdata, int exit_status)
{
    struct exec *x = userdata;

    if (x->phase == PHASE_STOPPING && !x->has_sigterm)
        start_command(x);
    else
        end(x, exit_status);
}

/* The command decides about other signals than SIGTERM, unless it is being stopped anyway. */
static void on_terminate(void *userdata, int signo)
{
    struct exec *x = userdata;

    if (x->phase == PHASE_WAITING)
        end(x, 128 + signo);
    else if (signo == SIGTERM || x->phase == PHASE_STOPPING)
        x->has_sigterm = true;
}

static void react_to_change(struct exec *x)
{
    if (x->options->on_change == ON_CHANGE_SIGNAL) {
        log_info("a value changed; sending a signal to the command", "signal",
                 sigabbrev_np(x->options->signal));
        job_signal(x->job, x->options->signal);
    } else if (!x->has_sigterm) {
        log_info("a value changed; restarting the command");
        move(x, PHASE_STOPPING);
        job_stop(x->job, x->options->grace);
    }
}

/* ---- the command in place of this process */

/* exec_run() starts the command when the loop and all that lives on it are freed. */
static void keep_vector(struct exec *x)
{
    struct error e;

    assert(x->envp == NULL && x->job == NULL);
    x->envp = env_vector(environment_env(x->environment), environ);
    if (x->envp != NULL) {
        end(x, EXIT_OK);
        return;
    }
    error_set_errno(&e, -ENOMEM, "cannot create the environment");
    fail(x, &e, EXIT_FAILED);
}

/* ---- the environment */

static void on_changed(void *userdata)
{
    struct exec *x = userdata;

    log_skipped(x);
    switch (x->phase) {
    case PHASE_WAITING:
        if (x->job != NULL)
            start_command(x);
        else
            keep_vector(x);
        break;
    case PHASE_RUNNING:
        react_to_change(x);
        break;
    case PHASE_STOPPING: /* the restart takes the newest environment */
    case PHASE_ENDING:
        break;
    }
}

/* No source brings a file: waiting would be in vain. */
static void fail_without_file(struct exec *x)
{
    struct error e = ERROR_INIT;

    error_set(&e, -EBADMSG, "%s", environment_error(x->environment));
    fail(x, &e, EXIT_FAILED);
}

static void on_environment_state(void *userdata)
{
    struct exec *x = userdata;

    log_state(x);
    log_source_state(x);
    if (x->phase == PHASE_WAITING && environment_lacks_file(x->environment))
        fail_without_file(x);
    else if (environment_env(x->environment) == NULL && environment_is_answered(x->environment))
        object_wait_answered(&x->wait);
}

/* ---- start and stop */

static int exec_start(struct daemon *daemon, struct error *e)
{
    static const struct environment_callbacks callbacks = {.changed = on_changed,
                                                           .state = on_environment_state};
    static const struct job_callbacks job_callbacks = {.ended = on_ended,
                                                       .terminate = on_terminate};
    struct exec *x = CONTAINER_OF(daemon, struct exec, daemon);
    int r = secmem_harden_restorable(e);

    if (r < 0)
        return r;
    if (x->options->on_change != ON_CHANGE_IGNORE)
        r = job_new(daemon->event, &x->launch, x->options->command, &job_callbacks, x, &x->job, e);
    if (r < 0)
        return r;
    r = store_new(&x->store);
    if (r < 0)
        return error_set_errno(e, r, "cannot set the store up");
    r = source_options_open(&x->options->from, x->daemon.event, x->store, &x->source, &x->namespace,
                            e);
    if (r < 0)
        return r;
    r = start_waiting(x, e);
    if (r < 0)
        return r;
    return environment_new(x->store, &x->options->spec, x->namespace, &callbacks, x,
                           &x->environment, e);
}

/* From the command's end to the source, so that no callback reaches a freed object. */
static void exec_stop(struct daemon *daemon)
{
    struct exec *x = CONTAINER_OF(daemon, struct exec, daemon);

    object_wait_end(&x->wait);
    job_free(x->job);
    environment_free(x->environment);
    source_free(x->source);
    store_free(x->store);
    free(x->namespace);
    free(x->logged_skipped);
}

int exec_run(const struct exec_options *options, struct error *e)
{
    static const struct daemon_ops ops = {.start = exec_start, .stop = exec_stop};
    struct exec x = {.options = options, .exit_status = EXIT_FAILED};
    sigset_t signals;
    int r = launch_init(&x.launch, e);

    sigemptyset(&signals);
    if (options->on_change != ON_CHANGE_IGNORE)
        job_signals(&signals);
    if (r >= 0)
        r = daemon_run(&x.daemon, &ops, &signals, e);
    /* connections are closed and objects freed; the environment is all that is left */
    if (r >= 0 && x.envp != NULL)
        x.exit_status = launch_exit_status(launch_replace(&x.launch, options->command, x.envp, e));
    secmem_free(x.envp);
    launch_deinit(&x.launch);
    return x.exit_status;
}

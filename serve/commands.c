/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   published: a candidate --+                              +--> done(): it is shown or held
 *                            +--> waiting --> THREADS run --+
 *   notices: an update ------+    (one run for a volume,    +--> done(): log, status
 *                                  and use)
 *
 * A volume has one run of a kind at a time: newer content waits for the check of older content, and
 * ends one that is in vain. THREADS commands run at once, for all volumes. Who can write content
 * can make a check slow, for as many volumes as a namespace has. So the next one is of the
 * namespace with the fewest that run, and of it the one that was requested first; and a namespace
 * never has all threads. One that is slow holds its own volumes, and others only together with a
 * second one, for the timeout of a command at most.
 *
 * The threads start with the daemon, since the loop has no capability left to hand on later; they
 * are there only if the administrator named a command. They parse nothing: content goes through
 * them, from locked memory into a pipe.
 */
#include "serve/commands.h"

#include <stdio.h>
#include <sys/eventfd.h>

#include "base/confinement.h"
#include "base/job_thread.h"
#include "base/log.h"
#include "volume/payload_tar.h"

#define THREADS          4
#define OF_NAMESPACE_MAX (THREADS - 1)

enum { VOLUME = 1, VARIABLES = 5 }; /* of a run: PATH comes first, then the volume */

struct commands_run {
    struct job job;
    struct list link; /* in commands.waiting or .running */
    struct commands *owner;
    char *namespace; /* "": none */
    bool is_running; /* a thread has it, or gets it next */
    const struct command *command;
    bool is_check;
    bool is_cancelled;
    struct payload *payload;
    struct payload_tar tar;
    char *variables[VARIABLES + 1];
    int stop_fd;
    commands_done_fn *done;
    void *userdata;
    int result; /* once it has ended */
    struct error e;
};

struct commands {
    const struct command_list *list;
    struct job_thread *threads;
    struct list waiting, running;
    unsigned n_running; /* THREADS at most */
    struct commands_counts counts;
};

const char *commands_result_name(enum commands_result result)
{
    static const char *const names[] = {
        [COMMANDS_PASSED] = "passed", [COMMANDS_REFUSED] = "refused", [COMMANDS_FAILED] = "failed"};

    return names[result];
}

/* ---- one run */

static struct commands_run *run_of(struct job *job)
{
    return CONTAINER_OF(job, struct commands_run, job);
}

static struct commands_run *run_free(struct commands_run *run)
{
    list_remove(&run->link);
    run->owner->n_running -= run->is_running;
    free(run->namespace);
    payload_unref(run->payload);
    for (size_t i = 0; i < VARIABLES; i++)
        free(run->variables[i]);
    fd_close(run->stop_fd);
    free(run);
    return NULL;
}
DEFINE_CLEANUP(struct commands_run *, run_free)

static bool next_input(void *userdata, struct iovec *ret_piece)
{
    struct commands_run *run = userdata;

    return payload_tar_next(&run->tar, ret_piece);
}

static void run_job(struct job *job)
{
    struct commands_run *run = run_of(job);
    const struct command_run what = {.command = run->command,
                                     .is_check = run->is_check,
                                     .envp = run->variables,
                                     .stop_fd = run->stop_fd,
                                     .next_input = run->payload != NULL ? next_input : NULL,
                                     .userdata = run};

    run->result = command_run(&what, &run->e);
}

static void free_job(struct job *job_consumed)
{
    run_free(run_of(job_consumed));
}

static void count(struct commands *commands, const struct commands_run *run)
{
    enum commands_result result = run->result == 0         ? COMMANDS_PASSED
                                  : run->result == -EINVAL ? COMMANDS_REFUSED
                                                           : COMMANDS_FAILED;

    if (run->is_check)
        commands->counts.checks[result]++;
    else
        commands->counts.updates[result]++;
}

static void report(const struct commands_run *run)
{
    count(run->owner, run);
    log_debug("command ended", "command", run->command->name, "volume",
              run->variables[VOLUME] + strlen("SECRETFS_VOLUME="), "reason", run->e.text);
    run->done(run->userdata, run->payload, run->result, &run->e);
}

/* ---- whose turn it is */

static unsigned count_running(const struct commands *commands, const char *namespace)
{
    const struct commands_run *run;
    unsigned n = 0;

    list_for_each (run, &commands->running, link)
        n += streq(run->namespace, namespace);
    return n;
}

/* Return: NULL: none may run. */
static struct commands_run *find_next(const struct commands *commands)
{
    unsigned least = OF_NAMESPACE_MAX;
    struct commands_run *next = NULL, *run;

    list_for_each (run, &commands->waiting, link) {
        unsigned n = count_running(commands, run->namespace);

        if (n < least) {
            next = run;
            least = n;
        }
        if (least == 0)
            break;
    }
    return next;
}

/* Return: 0; -errno: no command can be run, and none runs. */
static int run_waiting(struct commands *commands)
{
    struct commands_run *run;
    int r;

    while (commands->n_running < THREADS && (run = find_next(commands)) != NULL) {
        r = job_thread_add(commands->threads, &run->job);
        if (r < 0)
            return r;
        list_remove(&run->link);
        list_append(&commands->running, &run->link);
        run->is_running = true;
        commands->n_running++;
    }
    return 0;
}

static void on_done(void *userdata, struct job *job_consumed)
{
    struct commands_run *run = run_of(job_consumed);

    if (!run->is_cancelled)
        report(run);
    run_free(run);
    run_waiting(userdata);
}

static const struct job_kind kind = {.name = "runner",
                                     .n_threads = THREADS,
                                     .confinement = CONFINEMENT_RUNNER,
                                     .run = run_job,
                                     .done = on_done,
                                     .free = free_job};

/* ---- requests */

int commands_check_name(const struct commands *commands, const char *name, struct error *e)
{
    if (name == NULL || (commands != NULL && command_list_find(commands->list, name) != NULL))
        return 0;
    return error_set(e, -EINVAL,
                     "unknown command \"%.63s\": the administrator of this host has to name it "
                     "under `commands` in the configuration of the daemon",
                     name);
}

/* The next variable, unless @value is NULL. Return: 0; -ENOMEM. */
static int add_variable(struct commands_run *run, size_t *n, const char *name, const char *value)
{
    if (value == NULL)
        return 0;
    if (asprintf(&run->variables[*n], "%s=%s", name, value) < 0) {
        run->variables[*n] = NULL;
        return -ENOMEM;
    }
    (*n)++;
    return 0;
}

/* Nothing of the daemon's own environment, which may have credentials. */
static int make_environment(struct commands_run *run, const struct commands_order *o)
{
    size_t n = 0;
    int r = add_variable(run, &n, "PATH",
                         "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");

    r |= add_variable(run, &n, "SECRETFS_VOLUME", o->volume);
    r |= add_variable(run, &n, "SECRETFS_NAMESPACE", o->pod != NULL ? o->namespace : NULL);
    r |= add_variable(run, &n, "SECRETFS_POD", o->pod);
    r |= add_variable(run, &n, "SECRETFS_TARGET", o->target);
    return r < 0 ? -ENOMEM : 0;
}

static int make_run(struct commands *commands, const struct commands_order *order,
                    struct commands_run **ret_run)
{
    _cleanup_(run_freep) struct commands_run *run = calloc(1, sizeof(*run));

    if (run == NULL)
        return -ENOMEM;
    list_init(&run->link);
    run->owner = commands;
    run->stop_fd = -1;
    run->namespace = strdup(order->namespace != NULL ? order->namespace : "");
    if (run->namespace == NULL)
        return -ENOMEM;
    run->command = command_list_find(commands->list, order->name);
    run->is_check = order->is_check;
    run->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (run->stop_fd < 0)
        return negative_errno();
    if (order->payload != NULL) {
        run->payload = payload_ref(order->payload);
        payload_tar_init(&run->tar, run->payload);
    }
    if (make_environment(run, order) < 0)
        return -ENOMEM;
    *ret_run = TAKE(run);
    return 0;
}

int commands_run(struct commands *commands, const struct commands_order *order,
                 commands_done_fn *done, void *userdata, struct commands_run **ret_run,
                 struct error *e)
{
    _cleanup_(run_freep) struct commands_run *run = NULL;
    int r = commands_check_name(commands, order->name, NULL);

    if (r < 0)
        return error_set(e, r, "is not named in the configuration of the daemon");
    r = make_run(commands, order, &run);
    if (r == 0) {
        run->done = done;
        run->userdata = userdata;
        list_append(&commands->waiting, &run->link);
        r = run_waiting(commands);
    }
    if (r < 0)
        return error_set_errno(e, r, "could not be run");
    *ret_run = TAKE(run);
    return 0;
}

struct commands_run *commands_cancel(struct commands_run *run)
{
    struct commands *commands = run != NULL ? run->owner : NULL;

    if (run == NULL)
        return NULL;
    run->is_cancelled = true;
    eventfd_write(run->stop_fd, 1);
    if (run->is_running && !job_thread_take_back(commands->threads, &run->job))
        return NULL; /* on_done() frees it */
    run_free(run);
    run_waiting(commands);
    return NULL;
}

/* ---- the object */

int commands_new(sd_event *event, const struct command_list *list, struct commands **ret_commands,
                 struct error *e)
{
    struct commands *commands;
    int r = list->n > 0 ? confinement_check_commands(e) : 0;

    *ret_commands = NULL;
    if (r < 0 || list->n == 0)
        return r;
    commands = calloc(1, sizeof(*commands));
    if (commands == NULL)
        return error_set_errno(e, -ENOMEM, "cannot start");
    commands->list = list;
    list_init(&commands->waiting);
    list_init(&commands->running);
    r = job_thread_new(event, &kind, commands, &commands->threads);
    if (r < 0) {
        free(commands);
        return error_set_errno(e, r, "cannot start");
    }
    *ret_commands = commands;
    return 0;
}

int commands_start(struct commands *commands)
{
    return job_thread_start(commands->threads);
}

struct commands_counts commands_counts(const struct commands *commands)
{
    return commands->counts;
}

struct commands *commands_free(struct commands *commands)
{
    struct commands_run *run, *next;

    if (commands == NULL)
        return NULL;
    list_for_each_safe (run, next, &commands->waiting, link)
        commands_cancel(run);
    list_for_each_safe (run, next, &commands->running, link)
        commands_cancel(run);
    job_thread_free(commands->threads);
    free(commands);
    return NULL;
}

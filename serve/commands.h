/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Runs the administrator's commands for volumes: to check content before it is shown, and after an
 * update. See commands.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "serve/command_list.h"
#include "volume/payload.h"

struct commands;
struct commands_run;

/* How runs have ended, in all: "passed", "refused" (an exit status), "failed" (no exit status). */
enum commands_result { COMMANDS_PASSED, COMMANDS_REFUSED, COMMANDS_FAILED, COMMANDS_RESULTS };
struct commands_counts {
    uint64_t checks[COMMANDS_RESULTS], updates[COMMANDS_RESULTS];
};
const char *commands_result_name(enum commands_result result);

/*
 * @list: borrowed, outlives the object
 * Return: 0, *ret_commands is the caller's, or NULL for an empty list; -EPERM, this process may not
 * run commands; -errno; with @e.
 */
int commands_new(sd_event *event, const struct command_list *list, struct commands **ret_commands,
                 struct error *e);
/* Ends what runs; no done() is called any more. NULL is fine. Return: NULL. */
struct commands *commands_free(struct commands *commands);
DEFINE_CLEANUP(struct commands *, commands_free)

/*
 * Start the threads, while this thread has the capabilities that they need: after
 * confinement_restrict_process(), before the loop gives its own up. Return: 0; -errno.
 */
int commands_start(struct commands *commands);

/* @commands: NULL: there are none. @name: NULL is fine. Return: 0; -EINVAL with @e, which says what
 * to do. */
int commands_check_name(const struct commands *commands, const char *name, struct error *e);
struct commands_counts commands_counts(const struct commands *commands);

/* What a command is run for; strings are copied. */
struct commands_order {
    const char *name;
    bool is_check;
    struct payload *payload; /* its standard input, as a tar archive; NULL: none. Referenced */
    const char *volume;      /* "secret/NAMESPACE/NAME" */
    const char *namespace;   /* of the volume, or NULL: a namespace has its share of the threads */
    const char *pod;         /* or NULL */
    const char *target;      /* where the volume is mounted; or NULL */
};

/*
 * The end of a run.
 * @payload: as in the order
 * @result: as of command_run()
 * @e: empty: its exit status is 0; else the end of a sentence with the command as its subject
 */
typedef void commands_done_fn(void *userdata, const struct payload *payload, int result,
                              const struct error *e);

/*
 * Run a command; done() is called once, not from within this call. The caller bounds the number of
 * its runs.
 * Return: 0, *ret_run is valid until done() or commands_cancel(); -EINVAL: no such command; -errno;
 * with the end of a sentence in @e.
 */
int commands_run(struct commands *commands, const struct commands_order *order,
                 commands_done_fn *done, void *userdata, struct commands_run **ret_run,
                 struct error *e);
/* End a run; done() is not called any more. NULL is fine. Return: NULL. */
struct commands_run *commands_cancel(struct commands_run *run);

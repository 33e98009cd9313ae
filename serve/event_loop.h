/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The loop that a command runs in, and which signals it takes. */
#include <signal.h>

#include <systemd/sd-event.h>

#include "base/error.h"

/*
 * Make the event loop. From here on SIGPIPE is ignored, and @taken and SIGCHLD are blocked in this
 * thread and all that it starts, so that the loop can take them. Must precede the first thread.
 * Return: 0, *ret_event is the caller's reference; -errno with @e.
 */
int event_loop_new(const sigset_t *taken, sd_event **ret_event, struct error *e);

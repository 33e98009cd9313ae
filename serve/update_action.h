/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What follows an update of a volume outside of pods: "reload-unit:NAME.service" has systemd reload
 * a service, "exec:NAME" runs a command of the administrator.
 *
 * Thread: any.
 */
#include "base/error.h"

/* What stands before the name; NULL-terminated. */
extern const char *const update_action_words[];

/* Neither, or one of them; both are borrowed. */
struct update_action {
    const char *unit;    /* "nginx.service" */
    const char *command; /* a valid name */
};

/*
 * @text: outlives the action
 * Return: 0; -EINVAL with @e.
 */
int update_action_parse(const char *text, struct update_action *ret_action, struct error *e);

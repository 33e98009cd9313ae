/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Words of a volume that say who is notified of an update: onUpdate, onUpdateContainer,
 * onUpdateProcess.
 *
 * Thread: any.
 */
#include "volume/spec.h"

/* "signal:HUP". Return: 0; -EINVAL with @e: not of a pod's volume, or an invalid signal. */
int volume_on_update_parse(struct volume_spec *spec, const char *text, struct error *e);
/* A container's name. Return: 0; -EINVAL with @e; -ENOMEM. */
int volume_on_update_container_parse(struct volume_spec *spec, const char *text, struct error *e);
/* A process's name, which the kernel cuts to 15 bytes. Return: 0; -EINVAL with @e; -ENOMEM. */
int volume_on_update_process_parse(struct volume_spec *spec, const char *text, struct error *e);

/* "HUP" for SIGHUP. Return: a constant; NULL: a volume cannot have it. */
const char *volume_signal_name(int number);
/* Return: the signal's number; 0: a volume cannot have it. */
int volume_signal_number(const char *name);

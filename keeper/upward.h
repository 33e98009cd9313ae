/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The keeper's own service manager, if it has one. */
#include "base/clock.h"

/* Learn from the environment. Call it before the environment is changed for a child. */
void keeper_upward_init(void);
/* Send lines; nothing happens without a service manager, or when it does not read. */
void keeper_upward_send(const char *text);
/* Send WATCHDOG=1 if half of the limit has passed since the last time. Return: when to call it
 * again. */
mono_us keeper_upward_alive(mono_us now);

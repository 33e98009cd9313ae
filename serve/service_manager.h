/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Notifications to a service manager. Without one (NOTIFY_SOCKET is not set) these functions do
 * nothing. Source: sd_notify(3), sd_watchdog_enabled(3).
 *
 * Thread: the event loop's.
 */
#include "base/clock.h"

/* Return: the longest time between two calls of service_manager_alive(); 0: no watchdog. */
span_us service_manager_watchdog_limit(void);
void service_manager_alive(void);

/* The command serves, or a reload is complete. */
void service_manager_ready(void);
/* A reload begins; service_manager_ready() ends it. */
void service_manager_reloading(void);
void service_manager_stopping(void);

/* A line for `systemctl status`. */
void service_manager_status(const char *text);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a service manager is told about the program's life. Where there is none (NOTIFY_SOCKET is
 * not set) all of it does nothing. Source: sd_notify(3), sd_watchdog_enabled(3).
 *
 * Thread: the event loop's.
 */
#include "base/clock.h"

/* Return: how often at least the program has to say service_manager_alive(); 0: never. */
span_us service_manager_watchdog_limit(void);
void service_manager_alive(void);

/* What the program is started for has begun, or a reload is over. */
void service_manager_ready(void);
/* The configuration is read anew; service_manager_ready() ends it. */
void service_manager_reloading(void);
void service_manager_stopping(void);

/* A line for `systemctl status`. */
void service_manager_status(const char *text);

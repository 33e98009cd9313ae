/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/supervisor.h"

#include <inttypes.h>

#include <systemd/sd-daemon.h>

span_us supervisor_watchdog_limit(void)
{
    uint64_t limit;

    return sd_watchdog_enabled(false, &limit) > 0 ? limit : 0;
}

void supervisor_alive(void)
{
    (void)sd_notify(false, "WATCHDOG=1");
}

void supervisor_ready(void)
{
    (void)sd_notify(false, "READY=1");
}

/* The time tells this reload from those before; Type=notify-reload wants it. */
void supervisor_reloading(void)
{
    (void)sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, (uint64_t)clock_mono());
}

void supervisor_stopping(void)
{
    (void)sd_notify(false, "STOPPING=1");
}

void supervisor_status(const char *text)
{
    (void)sd_notifyf(false, "STATUS=%s", text);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/service_manager.h"

#include <inttypes.h>

#include <systemd/sd-daemon.h>

span_us service_manager_watchdog_limit(void)
{
    uint64_t limit;

    return sd_watchdog_enabled(false, &limit) > 0 ? limit : 0;
}

void service_manager_alive(void)
{
    sd_notify(false, "WATCHDOG=1");
}

void service_manager_ready(void)
{
    sd_notify(false, "READY=1");
}

/* Type=notify-reload requires the time, to tell this reload from an earlier one. */
void service_manager_reloading(void)
{
    sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, (uint64_t)clock_mono());
}

void service_manager_stopping(void)
{
    sd_notify(false, "STOPPING=1");
}

void service_manager_status(const char *text)
{
    sd_notifyf(false, "STATUS=%s", text);
}

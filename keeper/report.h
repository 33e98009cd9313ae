/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The keeper's log: lines as secretfs writes them. */
#include "base/util.h"

enum keeper_level { KEEPER_ERROR, KEEPER_WARN, KEEPER_INFO };

enum keeper_report_target {
    KEEPER_REPORT_STDERR,
    KEEPER_REPORT_TERMINAL, /* standard error, of a person who waits: no KEEPER_INFO */
    KEEPER_REPORT_SYSTEM,   /* /dev/log: the journal or syslog */
};

/* KEEPER_REPORT_STDERR before the first call. */
void keeper_report_set(enum keeper_report_target target);

#define keeper_info(...)  keeper_report(KEEPER_INFO, __VA_ARGS__)
#define keeper_warn(...)  keeper_report(KEEPER_WARN, __VA_ARGS__)
#define keeper_error(...) keeper_report(KEEPER_ERROR, __VA_ARGS__)

void keeper_report(enum keeper_level level, const char *format, ...) PRINTF_LIKE(2, 3);

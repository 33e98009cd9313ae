/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The keeper's log: lines on standard error, as secretfs writes them. */
#include "base/util.h"

#define keeper_info(...)  keeper_report("INFO", __VA_ARGS__)
#define keeper_warn(...)  keeper_report("WARN", __VA_ARGS__)
#define keeper_error(...) keeper_report("ERROR", __VA_ARGS__)

void keeper_report(const char *level, const char *format, ...) PRINTF_LIKE(2, 3);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The process_* metrics that every exporter has: processor time, memory, descriptors and start.
 * Source: proc_pid_stat(5).
 */
#include "base/error.h"
#include "monitor/metrics.h"

/* Fields of a line of /proc/PID/stat. */
struct process_stat {
    uint64_t cpu_ticks;   /* user and system */
    uint64_t start_ticks; /* after boot */
    uint64_t virtual_bytes;
    uint64_t resident_pages;
};

/* Return: 0; -EINVAL for an invalid line. */
int process_stat_parse(const char *line, struct process_stat *ret_stat);

#define PROCESS_METRICS 6

struct process_metrics {
    struct metric *metrics[PROCESS_METRICS];
};

/*
 * Declare the metrics and collect them with each rendering.
 * @p: lives as long as the registry
 * Return: 0; what metrics_add() and metrics_add_collector() return.
 */
int process_metrics_init(struct process_metrics *p, struct metrics *metrics);

/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor/process_metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define FILE_MAX (1u << 20) /* /proc/stat has lines for each processor and interrupt */

static const struct metric_definition definitions[] = {
    {.name = "process_cpu_seconds_total",
     .help = "Processor time used, user and system.",
     .kind = METRIC_COUNTER},
    {.name = "process_resident_memory_bytes",
     .help = "Memory of the process that is in RAM.",
     .kind = METRIC_GAUGE},
    {.name = "process_virtual_memory_bytes",
     .help = "Address space of the process.",
     .kind = METRIC_GAUGE},
    {.name = "process_start_time_seconds",
     .help = "When the process started, since the epoch.",
     .kind = METRIC_GAUGE},
    {.name = "process_open_fds", .help = "Open file descriptors.", .kind = METRIC_GAUGE},
    {.name = "process_max_fds",
     .help = "File descriptors that the process may have open.",
     .kind = METRIC_GAUGE},
};
enum { CPU, RESIDENT, VIRTUAL, START, OPEN_FDS, MAX_FDS, N_METRICS };
_Static_assert(ELEMENTS_OF(definitions) == N_METRICS && N_METRICS == PROCESS_METRICS,
               "a name and a place for each");

int process_stat_parse(const char *line, struct process_stat *ret_stat)
{
    /* the program's name, in parentheses, may contain any byte */
    const char *rest = strrchr(line, ')');
    unsigned long user, system;
    struct process_stat stat;

    if (rest == NULL ||
        sscanf(rest + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d "
               "%" SCNu64 " %" SCNu64 " %" SCNu64,
               &user, &system, &stat.start_ticks, &stat.virtual_bytes, &stat.resident_pages) != 5)
        return -EINVAL;
    stat.cpu_ticks = user + system;
    *ret_stat = stat;
    return 0;
}

/* When the kernel started, in seconds since the epoch; 0 if unknown. */
static uint64_t boot_time(void)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(FILE_MAX);
    const char *found;
    uint64_t seconds;

    if (buf_read_file(&text, AT_FDCWD, "/proc/stat") < 0)
        return 0;
    found = strstr(buf_text(&text), "\nbtime ");
    return found != NULL && sscanf(found, "\nbtime %" SCNu64, &seconds) == 1 ? seconds : 0;
}

static void collect_stat(struct process_metrics *p)
{
    _cleanup_(buf_deinit) struct buf line = BUF_INIT(FILE_MAX);
    double ticks = (double)sysconf(_SC_CLK_TCK), page = (double)sysconf(_SC_PAGESIZE);
    struct process_stat stat;
    uint64_t boot = boot_time();

    if (buf_read_file(&line, AT_FDCWD, "/proc/self/stat") < 0 ||
        process_stat_parse(buf_text(&line), &stat) < 0)
        return;
    metric_set(p->metrics[CPU], (double)stat.cpu_ticks / ticks, NULL);
    metric_set(p->metrics[RESIDENT], (double)stat.resident_pages * page, NULL);
    metric_set(p->metrics[VIRTUAL], (double)stat.virtual_bytes, NULL);
    if (boot != 0)
        metric_set(p->metrics[START], (double)boot + (double)stat.start_ticks / ticks, NULL);
}

static void collect_descriptors(struct process_metrics *p)
{
    DIR *directory = opendir("/proc/self/fd");
    struct rlimit limit;
    double n = 0;

    if (directory == NULL)
        return;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(directory);
    metric_set(p->metrics[OPEN_FDS], n - 1, NULL); /* without the directory itself */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metric_set(p->metrics[MAX_FDS], (double)limit.rlim_cur, NULL);
}

static void collect(void *userdata)
{
    collect_stat(userdata);
    collect_descriptors(userdata);
}

int process_metrics_init(struct process_metrics *p, struct metrics *metrics)
{
    int r = 0;

    for (size_t i = 0; i < N_METRICS && r >= 0; i++)
        r = metrics_add(metrics, &definitions[i], &p->metrics[i]);
    return r < 0 ? r : metrics_add_collector(metrics, collect, p);
}

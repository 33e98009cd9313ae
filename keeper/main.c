/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secretfs-keeper keeps descriptors for a program that may end at any time: for a command that it
 * runs, or for clients behind a socket. It links only libc, allocates next to nothing, and never
 * reads from what it keeps.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "keeper/holder.h"
#include "keeper/supervisor.h"
#include "version.h"

#define EXIT_USAGE 2

static void print_help(void)
{
    printf(
        "Usage: secretfs-keeper [options] [--] COMMAND...\n"
        "       secretfs-keeper [--fds-max N] --socket PATH\n"
        "\n"
        "Run COMMAND as its service manager: keep its descriptors, and restart it when it fails.\n"
        "With --socket: keep the descriptors of a program in another container.\n"
        "\n"
        "      --background             wait until COMMAND is ready, then return and leave the "
        "terminal\n"
        "      --backoff-max DURATION   longest delay before a restart (default: 10s)\n"
        "      --check                  before a hand-over run COMMAND --check, and go on with "
        "the\n"
        "                               running process if that fails\n"
        "      --fds-max N              how many descriptors to keep (default and most: %d)\n"
        "      --socket PATH            listen there, without a command\n"
        "      --stop-timeout DURATION  how long COMMAND may take to end (default: 20s)\n"
        "      --watchdog DURATION      restart COMMAND when it has not responded for so long\n"
        "      --version                print the version\n"
        "  -h, --help                   show this help\n"
        "\n"
        "SIGHUP: hand over to a new process. SIGTERM: end COMMAND, and then the keeper.\n",
        KEEPER_FDS_MAX);
}

static int failed(int status, const char *text)
{
    fprintf(stderr, "secretfs-keeper: %s\n", text);
    if (status == EXIT_USAGE)
        fprintf(stderr, "Try `secretfs-keeper --help`.\n");
    return status;
}

enum {
    OPTION_BACKGROUND = 256,
    OPTION_BACKOFF_MAX,
    OPTION_CHECK,
    OPTION_FDS_MAX,
    OPTION_SOCKET,
    OPTION_STOP_TIMEOUT,
    OPTION_WATCHDOG,
    OPTION_VERSION,
};

static const struct option long_options[] = {
    {"background", no_argument, NULL, OPTION_BACKGROUND},
    {"backoff-max", required_argument, NULL, OPTION_BACKOFF_MAX},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"fds-max", required_argument, NULL, OPTION_FDS_MAX},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"stop-timeout", required_argument, NULL, OPTION_STOP_TIMEOUT},
    {"watchdog", required_argument, NULL, OPTION_WATCHDOG},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* "forever" is a duration, but none of these: the sum with a time has to fit. */
static int parse_duration(const char *text, span_us *ret_span, struct error *e)
{
    int r = clock_parse_duration(text, ret_span, e);

    if (r == 0 && *ret_span == SPAN_FOREVER)
        r = error_set(e, -EINVAL, "invalid duration \"%s\": it must have an end", text);
    return r;
}

static int parse_fds_max(const char *text, size_t *ret_max, struct error *e)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || number < 1 || number > KEEPER_FDS_MAX)
        return error_set(e, -EINVAL, "invalid --fds-max \"%s\": a number from 1 to %d", text,
                         KEEPER_FDS_MAX);
    *ret_max = number;
    return 0;
}

struct arguments {
    struct keeper_options options;
    const char *socket;
    bool has_command_option; /* one that --socket does not go with */
};

static int set_option(struct arguments *a, int code, struct error *e)
{
    a->has_command_option =
        a->has_command_option || (code != OPTION_SOCKET && code != OPTION_FDS_MAX);
    switch (code) {
    case OPTION_BACKGROUND:
        a->options.is_background = true;
        return 0;
    case OPTION_BACKOFF_MAX:
        return parse_duration(optarg, &a->options.backoff_max, e);
    case OPTION_CHECK:
        a->options.checks = true;
        return 0;
    case OPTION_FDS_MAX:
        return parse_fds_max(optarg, &a->options.fds_max, e);
    case OPTION_SOCKET:
        a->socket = optarg;
        return 0;
    case OPTION_STOP_TIMEOUT:
        return parse_duration(optarg, &a->options.stop_timeout, e);
    case OPTION_WATCHDOG:
        return parse_duration(optarg, &a->options.watchdog, e);
    default:
        return error_set(e, -EINVAL, "invalid option");
    }
}

static int check_arguments(const struct arguments *a, struct error *e)
{
    bool has_command = a->options.command[0] != NULL;

    if (a->socket == NULL && !has_command)
        return error_set(e, -EINVAL, "give a COMMAND, or --socket PATH");
    if (a->socket != NULL && (has_command || a->has_command_option))
        return error_set(e, -EINVAL, "--socket goes with --fds-max only, and without a COMMAND");
    return 0;
}

/*
 * No process of the same user may take the descriptors by ptrace(2) or pidfd_getfd(2), and no core
 * is dumped. A child is not affected: execve(2) sets it back. The end of the log's reader is not
 * the keeper's.
 */
static void shield(void)
{
    prctl(PR_SET_DUMPABLE, 0);
    signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char *argv[])
{
    struct arguments a = {.options = {.fds_max = KEEPER_FDS_MAX,
                                      .stop_timeout = SPAN_SEC(20),
                                      .backoff_max = SPAN_SEC(10)}};
    struct error e = ERROR_INIT;
    int code, status;

    while ((code = getopt_long(argc, argv, "+h", long_options, NULL)) != -1) {
        if (code == 'h') {
            print_help();
            return EXIT_SUCCESS;
        }
        if (code == OPTION_VERSION) {
            printf("secretfs-keeper %s\n", SECRETFS_VERSION);
            return EXIT_SUCCESS;
        }
        if (set_option(&a, code, &e) < 0)
            return failed(EXIT_USAGE, e.text);
    }
    a.options.command = argv + optind;
    if (check_arguments(&a, &e) < 0)
        return failed(EXIT_USAGE, e.text);
    shield();
    status = a.socket != NULL ? keeper_hold(a.socket, a.options.fds_max, &e)
                              : keeper_supervise(&a.options, &e);
    return e.text[0] != '\0' ? failed(EXIT_FAILURE, e.text) : status;
}

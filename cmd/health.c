/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For probes by exec: requests the node daemon's checks over a socket that only root can open, so
 * no other user can keep a probe from its answer. While the daemon probes its threads, the request
 * is repeated; a daemon that does not answer in time has failed.
 */
#include "cmd/health.h"

#include <stdio.h>

#include "base/arguments.h"
#include "base/clock.h"
#include "encoding/json.h"
#include "monitor/health.h"
#include "monitor/status_socket.h"
#include "node/health.h"

/*
 * How long the threads have to answer, and how long the daemon has at least, also for the last
 * request: a daemon that is short of processor time would seem to hang otherwise. A request may
 * wait twice, for the connection and for the document. So the command ends within 2 s.
 */
#define WAIT_MS     900
#define WAIT_MIN_MS 500
#define INTERVAL_US 20000 /* between requests */

struct health_options {
    const char *run_dir;
    bool is_readiness;
    bool wants_help;
};

static void print_help(const struct invocation *invocation)
{
    printf("Usage: %s health [options]\n"
           "\n"
           "Check that the node daemon of this host responds: its event loop, its publishers, and\n"
           "the workers of its file systems. Print \"ok\" and exit with 0, or print the failed\n"
           "check and exit with 1, within 2 seconds.\n"
           "\n"
           "      --ready        check also that pods can get volumes: the kubelet has registered\n"
           "                     the plug-in, and an API server has responded\n"
           "      --run-dir DIR  run directory of the daemon (default: /run/secretfs)\n"
           "  -h, --help         show this help\n",
           invocation->program);
}

/* Request the checks once. Return: enum health_outcome; -errno; with @e. */
static int request(const char *path, bool is_readiness, unsigned timeout_ms, struct error *e)
{
    _cleanup_(buf_deinit) struct buf document = BUF_INIT(STATUS_PART_MAX);
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    _cleanup_(fd_closep) int fd = -1;
    const char *text;
    int r = status_socket_connect_path(path, timeout_ms, &fd, e);

    if (r == 0)
        r = status_socket_receive(fd, &document, e);
    if (r < 0)
        return r;
    text = buf_text(&document);
    r = json_parse(text, strcspn(text, "\n"), &json, e);
    return r < 0 ? r : health_parse(json, is_readiness, e);
}

static int check(const struct health_options *o, struct error *e)
{
    _cleanup_(freep) char *path = NULL;
    mono_us began = clock_mono();
    uint64_t passed_ms = 0;
    int r = HEALTH_PENDING;

    if (asprintf(&path, "%s/%s", o->run_dir, NODE_HEALTH_SOCKET) < 0) {
        path = NULL;
        return error_set_errno(e, -ENOMEM, "cannot request the health");
    }
    while (r == HEALTH_PENDING && passed_ms < WAIT_MS) {
        uint64_t left_ms = WAIT_MS - passed_ms;

        r = request(path, o->is_readiness,
                    (unsigned)(left_ms > WAIT_MIN_MS ? left_ms : WAIT_MIN_MS), e);
        if (r == HEALTH_PENDING)
            usleep(INTERVAL_US);
        passed_ms = (clock_mono() - began) / SPAN_MS(1);
    }
    if (r == HEALTH_PENDING)
        return error_set(
            e, -ETIMEDOUT,
            "threads: the publisher or the FUSE workers have not responded for %llu ms",
            (unsigned long long)passed_ms);
    return r == HEALTH_PASSED ? 0 : -EIO;
}

enum { OPTION_READY = 256, OPTION_RUN_DIR };

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct health_options *o = userdata;

    switch (option) {
    case OPTION_READY:
        o->is_readiness = true;
        return 0;
    case OPTION_RUN_DIR:
        o->run_dir = value;
        return 0;
    default:
        o->wants_help = true;
        return ARGUMENTS_ENOUGH;
    }
}

const struct option health_long_options[] = {{"ready", no_argument, NULL, OPTION_READY},
                                             {"run-dir", required_argument, NULL, OPTION_RUN_DIR},
                                             {"help", no_argument, NULL, 'h'},
                                             {0}};

int command_health(const struct invocation *invocation, int argc, char *argv[])
{
    struct health_options options = {.run_dir = "/run/secretfs"};
    struct error e = ERROR_INIT;

    if (arguments_parse(argc, argv, ":h", health_long_options, set_option, &options, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (options.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    if (argc != optind)
        return command_failed(invocation, EXIT_USAGE, "health takes no arguments");
    if (check(&options, &e) < 0)
        return command_failed(invocation, EXIT_FAILED, e.text);
    printf("ok\n");
    return EXIT_OK;
}

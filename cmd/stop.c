/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unmounts all mounts of this host: those that a stopped node daemon has left at a keeper, dead
 * ones, and those of processes that serve one mount each, which end with it. A node daemon would
 * mount static volumes again, and pods would lose theirs while they run, so it has to be stopped
 * first; a process that does not respond could be one. Nothing here sends a request to a file
 * system.
 */
#include "cmd/stop.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arguments.h"
#include "base/cleanup.h"
#include "cmd/status/request.h"
#include "serve/mounts.h"

#define MOUNTS_MAX 100000 /* the kernel's default for a mount namespace, fs.mount-max */

struct stop_options {
    bool unmounts;
    bool wants_help;
};

static void print_help(const struct invocation *invocation)
{
    printf(
        "Usage: %s stop --unmount\n"
        "\n"
        "Unmount all secretfs mounts of this host, as root: those that `systemctl stop` has kept,\n"
        "dead ones, and those of `secretfs mount`. The node daemon has to be stopped.\n"
        "\n"
        "      --unmount  required, as readers lose what is mounted\n"
        "  -h, --help     show this help\n",
        invocation->program);
}

/* ---- what runs */

static int check_processes(const cJSON *list, struct error *e)
{
    const cJSON *process;

    cJSON_ArrayForEach (process, json_member(list, "processes")) {
        const char *kind = json_text(process, "process");

        if (kind != NULL && streq(kind, "node"))
            return error_set(e, -EBUSY,
                             "the node daemon runs (process %d): stop it first, with `systemctl "
                             "stop secretfs.service`",
                             json_member(process, "pid")->valueint);
    }
    if (status_print_errors(list) < 0)
        return error_set(e, -EBUSY, "a process does not respond: end it first");
    return 0;
}

static int check_nothing_runs(struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    int r = status_request_own(false, &list, e); /* another user's process can send anything */

    return r < 0 ? r : check_processes(list, e);
}

/* ---- mounts */

struct mountpoints {
    char **paths;
    size_t n;
    int result;
};

static void mountpoints_deinit(struct mountpoints *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->paths[i]);
    free(m->paths);
}

static bool add_mountpoint(void *userdata, const char *mountpoint, const struct mount_entry *entry)
{
    struct mountpoints *m = userdata;
    char **paths = reallocarray(m->paths, m->n + 1, sizeof(*paths));

    if (paths == NULL || m->n == MOUNTS_MAX) {
        m->result = -ENOMEM;
        return false;
    }
    m->paths = paths;
    paths[m->n] = strdup(mountpoint);
    m->result = paths[m->n] == NULL ? -ENOMEM : 0;
    m->n += m->result == 0;
    return m->result == 0;
}

/* A path that is listed twice has two mounts. Those below another mount come later in the list. */
static int detach_all(const struct mountpoints *m, struct error *e)
{
    size_t n_failed = 0;

    for (size_t i = m->n; i-- > 0;) {
        int r = mounts_is_mountpoint(m->paths[i]) ? mounts_detach(m->paths[i]) : 0;

        if (r < 0)
            fprintf(stderr, "secretfs: cannot unmount %s: %s\n", m->paths[i], strerror(-r));
        n_failed += r < 0;
    }
    printf("%zu mounts unmounted\n", m->n - n_failed);
    return n_failed == 0 ? 0 : error_set(e, -EBUSY, "%zu mounts are left", n_failed);
}

static int unmount_all(struct error *e)
{
    _cleanup_(mountpoints_deinit) struct mountpoints mountpoints = {.n = 0};
    int r = mounts_visit(add_mountpoint, &mountpoints, e);

    if (r == 0 && mountpoints.result < 0)
        r = error_set_errno(e, mountpoints.result, "cannot list the mounts");
    return r < 0 ? r : detach_all(&mountpoints, e);
}

/* ---- the command */

enum { OPTION_UNMOUNT = 256 };

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct stop_options *o = userdata;

    o->unmounts |= option == OPTION_UNMOUNT;
    o->wants_help |= option == 'h';
    return o->wants_help ? ARGUMENTS_ENOUGH : 0;
}

const struct option stop_long_options[] = {
    {"unmount", no_argument, NULL, OPTION_UNMOUNT}, {"help", no_argument, NULL, 'h'}, {0}};

static int run(struct error *e)
{
    int r;

    if (geteuid() != 0)
        return error_set(e, -EPERM,
                         "stop --unmount takes root; your own mounts: secretfs unmount DIR");
    r = check_nothing_runs(e);
    return r < 0 ? r : unmount_all(e);
}

int command_stop(const struct invocation *invocation, int argc, char *argv[])
{
    struct stop_options options = {.unmounts = false};
    struct error e = ERROR_INIT;

    if (arguments_parse(argc, argv, ":h", stop_long_options, set_option, &options, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (options.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    if (argc != optind || !options.unmounts)
        return command_failed(invocation, EXIT_USAGE,
                              "stop takes --unmount and nothing else; `systemctl stop "
                              "secretfs.service` ends the node daemon");
    return run(&e) < 0 ? command_failed(invocation, EXIT_FAILED, e.text) : EXIT_OK;
}

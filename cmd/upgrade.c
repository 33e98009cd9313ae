/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests a hand-over from the keepers of processes: each process is followed by one of the
 * installed version if that one's check succeeds. The status document names the keeper's socket,
 * which stays the same over a hand-over, so the next process is found by it.
 */
#include "cmd/upgrade.h"

#include <stdio.h>
#include <unistd.h>

#include "base/arguments.h"
#include "cmd/keeper_request.h"
#include "cmd/status/request.h"
#include "serve/mounts.h"
#include "version.h"

/* The next process has its control socket before it is ready, unless it ends at once. */
#define NEXT_TRIES_MAX   50
#define NEXT_INTERVAL_US 100000

struct upgrade_options {
    const char *target; /* any path in a volume; NULL */
    bool is_node;
    bool is_all;
    bool wants_help;
};

static void print_help(const struct invocation *invocation)
{
    printf(
        "Usage: %s upgrade TARGET\n"
        "       %s upgrade --node\n"
        "       %s upgrade --all\n"
        "\n"
        "Hand a volume over to a new process of the installed version, without a failed call of\n"
        "a reader, and wait until that one serves. The running process goes on if the check of\n"
        "the new one fails.\n"
        "\n"
        "      --all   all processes whose program is not the installed one\n"
        "      --node  the node daemon\n"
        "  -h, --help  show this help\n",
        invocation->program, invocation->program, invocation->program);
}

/* ---- processes in status documents */

/* A process, or a volume with the members of its process. */
static int pid_of(const cJSON *process)
{
    const cJSON *pid = json_member(process, "pid");

    return cJSON_IsNumber(pid) ? pid->valueint : 0;
}

static const char *text_of(const cJSON *process, const char *key)
{
    const char *text = json_text(process, key);

    return text != NULL ? text : "";
}

static bool is_node(const cJSON *process)
{
    return streq(text_of(process, "process"), "node");
}

static const char *socket_of(const cJSON *process)
{
    return text_of(process, "notifySocket");
}

/* Return: a mount point of the process; "" if none is listed. */
static const char *mountpoint_of(const cJSON *list, const cJSON *process)
{
    const cJSON *item;

    cJSON_ArrayForEach (item, json_member(list, "items")) {
        if (pid_of(item) == pid_of(process))
            return text_of(item, "mountpoint");
    }
    return text_of(process, "mountpoint");
}

/* ---- one hand-over */

static int check_keeper(const cJSON *process, struct error *e)
{
    const char *path = socket_of(process);

    if (path[0] == '\0')
        return error_set(e, -ENOTSUP,
                         "process %d has no keeper, so a restart unmounts: drain its readers, end "
                         "it, and mount again without --foreground",
                         pid_of(process));
    if (!keeper_request_is_keeper(path))
        return error_set(e, -ENOTSUP,
                         "process %d has no keeper but the service manager at %.100s: have its "
                         "unit run `secretfs-keeper --check -- secretfs ...`",
                         pid_of(process), path);
    return 0;
}

static int explain(int r, struct error *e)
{
    if (r == -ENOENT)
        return error_set(e, r,
                         "its keeper is in a container, or has ended: upgrade the image of the "
                         "DaemonSet");
    if (r == -ECONNREFUSED)
        return error_set(e, r, "its keeper has ended: unmount, and mount again");
    return r;
}

static int report_refusal(const cJSON *process, int outcome, const struct buf *messages,
                          struct error *e)
{
    fputs(buf_text(messages), stderr);
    if (outcome == KEEPER_OUTCOME_FAILED)
        return error_set(e, -EIO, "there is no hand-over: process %d, version %s, goes on",
                         pid_of(process), text_of(process, "version"));
    return error_set(e, -EIO,
                     "its keeper has given no outcome: it has ended, or its version knows no such "
                     "request; send it SIGHUP, or use systemctl reload");
}

/* Return: whether *ret_process, borrowed from *ret_list, has followed @earlier. */
static bool find_next(const cJSON *earlier, cJSON **ret_list, const cJSON **ret_process)
{
    const cJSON *process;

    if (status_request_own(false, ret_list, NULL) < 0)
        return false;
    cJSON_ArrayForEach (process, json_member(*ret_list, "processes")) {
        if (streq(socket_of(process), socket_of(earlier)) && pid_of(process) != pid_of(earlier)) {
            *ret_process = process;
            return true;
        }
    }
    return false;
}

static int report_next(const char *name, const cJSON *earlier, struct error *e)
{
    for (int tries = 0; tries < NEXT_TRIES_MAX; tries++) {
        _cleanup_(cJSON_Deletep) cJSON *list = NULL;
        const cJSON *next;

        if (find_next(earlier, &list, &next)) {
            printf("%s: version %s (process %d) -> version %s (process %d)\n", name,
                   text_of(earlier, "version"), pid_of(earlier), text_of(next, "version"),
                   pid_of(next));
            return 0;
        }
        usleep(NEXT_INTERVAL_US);
    }
    return error_set(e, -ETIMEDOUT,
                     "process %d has handed over, but the next process does not respond; see its "
                     "log",
                     pid_of(earlier));
}

/* Return: enum keeper_outcome; -errno with @e. */
static int request(const cJSON *process, struct buf *messages, struct error *e)
{
    int r = check_keeper(process, e);

    if (r < 0)
        return r;
    r = keeper_request_hand_over(socket_of(process), messages, e);
    return r < 0 ? explain(r, e) : r;
}

/* Return: 0 when the next process serves, and a line was printed; -errno with @e. */
static int upgrade(const char *name, const cJSON *process, struct error *e)
{
    _cleanup_(buf_deinit) struct buf messages = BUF_INIT(KEEPER_REQUEST_MESSAGES_MAX);
    int r = request(process, &messages, e);

    if (r == KEEPER_OUTCOME_DONE)
        r = report_next(name, process, e);
    else if (r > 0)
        r = report_refusal(process, r, &messages, e);
    return r < 0 ? error_prefix(e, r, "%.200s", name) : 0;
}

/* ---- which ones */

static const char *name_of(const cJSON *list, const cJSON *process)
{
    return is_node(process) ? "node daemon" : mountpoint_of(list, process);
}

/* Another user's process can send any document. */
static int check_owner(const char *target, struct error *e)
{
    struct mount_entry entry;
    int r = mounts_find(target, &entry, e);

    if (r == 0 && entry.owner != geteuid())
        r = error_set(e, -EPERM, "the mount at %.200s belongs to user %u: run this as that user",
                      target, entry.owner);
    return r;
}

static int upgrade_target(const char *target, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *volume = NULL;
    int r = check_owner(target, e);

    if (r == 0)
        r = status_request(target, false, &volume, e);
    return r < 0 ? r : upgrade(name_of(NULL, volume), volume, e);
}

static int upgrade_node(const cJSON *list, struct error *e)
{
    const cJSON *process;

    cJSON_ArrayForEach (process, json_member(list, "processes")) {
        if (is_node(process))
            return upgrade(name_of(list, process), process, e);
    }
    return error_set(e, -ENOENT, "no node daemon of this user runs on this host");
}

/* A program that was built again may have the same version. */
static bool is_behind(const cJSON *process)
{
    return cJSON_IsTrue(json_member(process, "isProgramReplaced")) ||
           !streq(text_of(process, "version"), SECRETFS_VERSION);
}

/* One that fails delays no other. Return: 0; -EIO with @e, and the failures printed. */
static int upgrade_all(const cJSON *list, struct error *e)
{
    const cJSON *process;
    int n = 0, n_failed = 0;

    cJSON_ArrayForEach (process, json_member(list, "processes")) {
        struct error failure = ERROR_INIT;

        n += is_behind(process);
        if (is_behind(process) && upgrade(name_of(list, process), process, &failure) < 0) {
            fprintf(stderr, "secretfs: %s\n", failure.text);
            n_failed++;
        }
    }
    if (n == 0)
        printf("All processes run the installed program, version %s.\n", SECRETFS_VERSION);
    if (status_print_errors(list) < 0)
        return error_set(e, -EIO, "not all processes have responded");
    return n_failed == 0 ? 0
                         : error_set(e, -EIO, "%d of %d processes go on as they are", n_failed, n);
}

static int upgrade_listed(const struct upgrade_options *o, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    int r = status_request_own(false, &list, e);

    if (r < 0)
        return r;
    return o->is_node ? upgrade_node(list, e) : upgrade_all(list, e);
}

/* ---- the command */

enum { OPTION_ALL = 256, OPTION_NODE };

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct upgrade_options *o = userdata;

    o->is_all |= option == OPTION_ALL;
    o->is_node |= option == OPTION_NODE;
    o->wants_help |= option == 'h';
    return o->wants_help ? ARGUMENTS_ENOUGH : 0;
}

const struct option upgrade_long_options[] = {{"all", no_argument, NULL, OPTION_ALL},
                                              {"node", no_argument, NULL, OPTION_NODE},
                                              {"help", no_argument, NULL, 'h'},
                                              {0}};

static int run(const struct upgrade_options *o, struct error *e)
{
    return o->target != NULL ? upgrade_target(o->target, e) : upgrade_listed(o, e);
}

int command_upgrade(const struct invocation *invocation, int argc, char *argv[])
{
    struct upgrade_options options = {.target = NULL};
    struct error e = ERROR_INIT;

    if (arguments_parse(argc, argv, ":h", upgrade_long_options, set_option, &options, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (options.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    if (argc - optind + options.is_node + options.is_all != 1)
        return command_failed(invocation, EXIT_USAGE,
                              "upgrade takes one path in a volume, --node or --all");
    options.target = argv[optind];
    return run(&options, &e) < 0 ? command_failed(invocation, EXIT_FAILED, e.text) : EXIT_OK;
}

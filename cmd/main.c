/* SPDX-License-Identifier: Apache-2.0 */
/* The program: finds and runs the subcommand. */
#include <libgen.h>
#include <stdio.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <curl/curl.h>

#include "base/command.h"
#include "base/error.h"
#include "base/words.h"
#include "cmd/adopt/convert_command.h"
#include "cmd/adopt/status_command.h"
#include "cmd/audit/command.h"
#include "cmd/complete.h"
#include "cmd/doctor/command.h"
#include "cmd/exec/command.h"
#include "cmd/health.h"
#include "cmd/keeper.h"
#include "cmd/mount/command.h"
#include "cmd/mount/helper.h"
#include "cmd/node.h"
#include "cmd/observe/command.h"
#include "cmd/rollout/command.h"
#include "cmd/status/command.h"
#include "cmd/stop.h"
#include "cmd/unmount.h"
#include "cmd/upgrade.h"
#include "version.h"

#define MOUNT_HELPER "mount.fuse.secretfs" /* the name by which mount(8) calls it */

static command_fn command_version;
static command_fn command_help;

static const struct subcommand {
    const char *name;
    command_fn *run;
    const char *summary;
} commands[] = {
    {"mount", command_mount, "mount a Secret or ConfigMap as files and keep them current"},
    {"exec", command_exec, "run a command with Secrets and ConfigMaps in its environment"},
    {"node", command_node, "serve volumes to the pods of a node, and those that files define"},
    {"keeper", command_keeper, "run a command and keep its descriptors while it restarts"},
    {"unmount", command_unmount, "unmount a secretfs mount"},
    {"stop", command_stop, "unmount everything on this host, while the node daemon is stopped"},
    {"upgrade", command_upgrade,
     "hand volumes over to the installed version, unnoticed by readers"},
    {"status", command_status, "show the volumes of this host and their state"},
    {"observe", command_observe, "print each update of a mounted volume as it happens"},
    {"rollout", command_rollout, "wait until all consumers have the newest version of an object"},
    {"audit", command_audit, "print which process has opened which version first"},
    {"health", command_health, "check that the node daemon of this host responds"},
    {"doctor", command_doctor, "check a node and suggest fixes"},
    {"adopt", command_adopt, "list which pods' own volumes secretfs serves, and why not others"},
    {"convert", command_convert, "give pods in manifests csi volumes in the place of their own"},
    {"version", command_version, "print the version"},
    {"help", command_help, "show this help, or the help of a command"},
};

static void print_help(const struct invocation *invocation)
{
    printf("secretfs mounts Kubernetes Secrets and ConfigMaps as files that stay current.\n"
           "\n"
           "Usage: %s COMMAND [options]\n"
           "\n",
           invocation->program);
    for (size_t i = 0; i < ELEMENTS_OF(commands); i++)
        printf("  %-9s %s\n", commands[i].name, commands[i].summary);
    printf(
        "\nRun `%s COMMAND --help` for the options of a command; secretfs(1) describes them all.\n",
        invocation->program);
}

static const struct subcommand *find_command(const char *name)
{
    if (streq(name, "umount"))
        name = "unmount";
    for (size_t i = 0; i < ELEMENTS_OF(commands); i++)
        if (streq(name, commands[i].name))
            return &commands[i];
    return NULL;
}

/* Its usage is the program's. */
static int unknown_command(const struct invocation *invocation, const char *name)
{
    const struct invocation own = {.program = invocation->program, .line = invocation->line};
    struct nearest nearest = NEAREST_INIT(name, strlen(name));
    struct error e;

    for (size_t i = 0; i < ELEMENTS_OF(commands); i++)
        nearest_offer(&nearest, commands[i].name, strlen(commands[i].name));
    error_set(&e, -EINVAL, "unknown %s \"%.64s\"", name[0] == '-' ? "option" : "command", name);
    words_hint(&nearest, "", &e, -EINVAL);
    return command_failed(&own, EXIT_USAGE, e.text);
}

static int run(const struct invocation *invocation, const struct subcommand *command, int argc,
               char *argv[])
{
    const struct invocation own = {
        .program = invocation->program, .command = command->name, .line = invocation->line};

    return command->run(&own, argc, argv);
}

static int command_version(const struct invocation *invocation, int argc, char *argv[])
{
    printf("secretfs %s (%s, cJSON %s)\n", SECRETFS_VERSION, curl_version(), cJSON_Version());
    return EXIT_OK;
}

static int command_help(const struct invocation *invocation, int argc, char *argv[])
{
    const struct subcommand *command;
    char help[] = "--help";
    char *arguments[] = {argv[0], help, NULL};

    if (argc < 2) {
        print_help(invocation);
        return EXIT_OK;
    }
    command = find_command(argv[1]);
    if (command == NULL)
        return unknown_command(invocation, argv[1]);
    if (command->run == command_help || command->run == command_version) {
        print_help(invocation);
        return EXIT_OK;
    }
    return run(invocation, command, 2, arguments);
}

int main(int argc, char *argv[])
{
    const char *name = argc > 0 ? basename(argv[0]) : "";
    const struct invocation invocation = {
        .program = streq(name, "kubectl-secretfs") ? KUBECTL_PLUGIN : "secretfs", .line = argv};
    const struct subcommand *command;

    if (streq(name, MOUNT_HELPER))
        return command_mount_helper(&(struct invocation){.program = MOUNT_HELPER, .line = argv},
                                    argc, argv);
    if (argc < 2) {
        print_help(&invocation);
        return EXIT_USAGE;
    }
    if (streq(argv[1], "--help") || streq(argv[1], "-h")) {
        print_help(&invocation);
        return EXIT_OK;
    }
    if (streq(argv[1], "--version") || streq(argv[1], "-V"))
        return command_version(&invocation, argc - 1, argv + 1);
    if (streq(argv[1], COMMAND_BECOME))
        _exit(command_become(argc - 2, argv + 2)); /* of another user: nothing is cleaned up */
    if (streq(argv[1], "__complete"))
        return command_complete(&invocation, argc - 1, argv + 1);
    command = find_command(argv[1]);
    if (command == NULL)
        return unknown_command(&invocation, argv[1]);
    return run(&invocation, command, argc - 1, argv + 1);
}

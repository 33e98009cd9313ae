/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount(8) runs this for the type fuse.secretfs: from a command line, for fstab, or for systemd's
 * .mount units:
 *
 *     mount.fuse.secretfs SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]
 *
 * It is `secretfs mount` with another command line and mount(8)'s exit codes. It returns when the
 * files are readable, so that units ordered after the mount find them; a process in the background
 * serves the mount until it is unmounted.
 *
 * -n and -v have no effect: there is no mtab, and mount(8) itself prints what it mounted.
 */
#include "cmd/mount/helper.h"

#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cmd/mount/mount.h"

/* Source: mount(8), "EXIT STATUS". */
enum mount_exit { MOUNT_EXIT_USAGE = 1, MOUNT_EXIT_FAILED = 32 };

#define OPTION_CHECK 256 /* --check, with which a keeper runs it before a hand-over */

struct helper_call {
    struct mount_request request;
    bool is_fake; /* -f: check everything, mount nothing */
    bool wants_help;
};

static void print_help(const struct invocation *invocation)
{
    printf("Usage: %s SOURCE DIR [-sfnv] [-o OPTIONS]\n"
           "\n"
           "For mount(8): mount -t fuse.secretfs secret/NAME|configmap/NAME DIR [-o OPTIONS]\n"
           "\n"
           "OPTIONS are those of `secretfs mount`, separated by commas, as in\n"
           "namespace=prod,kubeconfig=/etc/secretfs/kubeconfig. With volume=FILE, SOURCE can be\n"
           "any word, which df shows. mount.fuse.secretfs(8) describes the options.\n",
           invocation->program);
}

static int parse_type(const char *type, struct error *e)
{
    if (streq(type, "fuse.secretfs") || streq(type, "secretfs"))
        return 0;
    return error_set(e, -EINVAL, "unknown type \"%.64s\", expected fuse.secretfs", type);
}

static int parse_option(int option, struct helper_call *call, struct error *e)
{
    switch (option) {
    case 's':
        call->request.is_sloppy = true;
        return 0;
    case 'f':
        call->is_fake = true;
        return 0;
    case OPTION_CHECK:
        call->request.is_check = true;
        return 0;
    case 'n':
    case 'v':
        return 0;
    case 'o':
        call->request.options = optarg;
        return 0;
    case 't':
        return parse_type(optarg, e);
    case 'h':
        call->wants_help = true;
        return 0;
    case 'N':
        return error_set(e, -EINVAL,
                         "-N is not supported: enter the namespace with nsenter, and mount there");
    case ':':
        return error_set(e, -EINVAL, "option -%c needs a value", optopt);
    default:
        return error_set(e, -EINVAL, "unknown option -%c", optopt);
    }
}

static int parse_call(int argc, char *argv[], struct helper_call *call, struct error *e)
{
    static const struct option long_options[] = {{"check", no_argument, NULL, OPTION_CHECK}, {0}};
    int option, r = 0;

    opterr = 0;
    optind = 1;
    while (r == 0 && (option = getopt_long(argc, argv, ":sfnvN:o:t:h", long_options, NULL)) != -1)
        r = parse_option(option, call, e);
    if (r < 0 || call->wants_help)
        return r;
    if (argc - optind != 2)
        return error_set(e, -EINVAL, "a source and a directory are required: secret/NAME DIR");
    call->request.source = argv[optind];
    call->request.mountpoint = argv[optind + 1];
    return 0;
}

static int failed(const struct invocation *invocation, enum background background,
                  enum mount_exit code, const struct error *e)
{
    if (background_report(background, e->text))
        return (int)code;
    fprintf(stderr, "%s: %s\n", invocation->program, e->text);
    return (int)code;
}

static int run_call(const struct invocation *invocation, const struct helper_call *call,
                    enum background background)
{
    struct mount_options options;
    struct error e = ERROR_INIT;
    int code = EXIT_OK;
    int r = mount_options_from_request(&call->request, &options, &e);

    if (r == -EINVAL)
        code = failed(invocation, background, MOUNT_EXIT_USAGE, &e);
    else if (r < 0 || (!call->is_fake && mount_run(&options, background, invocation->line, &e) < 0))
        code = failed(invocation, background, MOUNT_EXIT_FAILED, &e);
    mount_options_deinit(&options);
    return code;
}

int command_mount_helper(const struct invocation *invocation, int argc, char *argv[])
{
    enum background background = background_of_environment();
    struct helper_call call = {.is_fake = false};
    struct error e = ERROR_INIT;

    if (parse_call(argc, argv, &call, &e) < 0)
        return failed(invocation, background, MOUNT_EXIT_USAGE, &e);
    if (!call.wants_help)
        return run_call(invocation, &call, background);
    print_help(invocation);
    return EXIT_OK;
}

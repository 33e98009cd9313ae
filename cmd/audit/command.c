/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/audit/command.h"

#include <stdio.h>
#include <unistd.h>

#include "base/arguments.h"
#include "cmd/audit/choose.h"
#include "cmd/audit/follow.h"
#include "cmd/status/request.h"
#include "consumers/audit_target.h"

struct audit_command {
    bool is_following;
    bool wants_help;
};

static void print_help(const struct invocation *invocation)
{
    printf("Usage: %s audit [options] [FILE]\n"
           "\n"
           "Print the audit of this host: a line of JSON for each first open of a version of a\n"
           "key by a process. Without FILE it is the one that the node daemon, or a mount,\n"
           "writes by --audit; lines in the journal are printed by journalctl.\n"
           "\n"
           "  -f, --follow         print only the lines that are written from now on\n"
           "  -h, --help           show this help\n",
           invocation->program);
}

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct audit_command *c = userdata;

    if (option == 'f') {
        c->is_following = true;
        return 0;
    }
    c->wants_help = true;
    return ARGUMENTS_ENOUGH;
}

const struct option audit_long_options[] = {
    {"follow", no_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {0}};

/* Return: only after a failure, -errno with @e. */
static int print_journal(bool is_following, struct error *e)
{
    char *argv[] = {(char[]){"journalctl"},
                    (char[]){"--identifier=" AUDIT_IDENTIFIER},
                    (char[]){"--output=cat"},
                    (char[]){"--no-pager"},
                    NULL,
                    NULL,
                    NULL};

    if (is_following) {
        argv[4] = (char[]){"--follow"};
        argv[5] = (char[]){"--lines=0"};
    }
    execvp(argv[0], argv);
    return error_set_errno(e, negative_errno(), "cannot run journalctl");
}

static int print_target(const char *text, bool is_following, struct error *e)
{
    struct audit_target target;
    int r = audit_target_parse(text, &target, e);

    if (r < 0)
        return r;
    switch (target.kind) {
    case AUDIT_FILE:
        return audit_follow(target.path, is_following, e);
    case AUDIT_JOURNAL:
        return print_journal(is_following, e);
    case AUDIT_SOCKET:
        break;
    }
    return error_set(e, -EOPNOTSUPP, "the lines go to the process that listens on %.300s",
                     target.path);
}

static int print_of_host(bool is_following, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    const char *target = NULL;
    int r = status_request_own(false, &list, e);

    if (r == 0)
        r = audit_choose(list, &target, e);
    return r < 0 ? r : print_target(target, is_following, e);
}

int command_audit(const struct invocation *invocation, int argc, char *argv[])
{
    struct audit_command c = {.wants_help = false};
    struct error e = ERROR_INIT;
    int r;

    if (arguments_parse(argc, argv, ":fh", audit_long_options, set_option, &c, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (c.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    if (argc > optind + 1)
        return command_failed(invocation, EXIT_USAGE, "audit takes one file");
    r = argc > optind ? audit_follow(argv[optind], c.is_following, &e)
                      : print_of_host(c.is_following, &e);
    return r < 0 ? command_failed(invocation, EXIT_FAILED, e.text) : EXIT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The command line of `secretfs mount`. */
#include <getopt.h>

#include "base/buf.h"
#include "cmd/shared/source_options.h"
#include "serve/command_list.h"
#include "serve/update_action.h"
#include "volume/spec.h"

/* Strings are borrowed from the arguments unless a comment says otherwise. */
struct mount_options {
    struct volume_spec *spec; /* owned; its uid and gid are set */
    const char *volume_file;  /* the spec is from this file; NULL: from the arguments */
    struct source_options from;
    char *mountpoint; /* owned, absolute, without symbolic links */
    char *source;     /* owned; what df shows: "secret/NAME", "projected/NAME" */
    bool is_foreground;
    bool is_check; /* of a start: mount nothing */
    bool allow_other;
    bool notes_consumers;         /* --consumers */
    struct command_list commands; /* --command; owned */
    const char *command_user;     /* --command-user; NULL: the default */
    struct update_action action;  /* --on-update */
    const char *audit;            /* --audit, as of audit_target_parse(); NULL: none */
    unsigned long mount_attr;     /* MOUNT_ATTR_*: nosuid and nodev unless suid, dev */
    struct buf option_text;       /* owned; the values of "-o" point into it */
    struct buf user_options;      /* owned; for fusermount3 */
    bool skips_unknown;           /* ignore unknown mount options */
    bool wants_help;
};

/* What mount(8) requests from a helper; borrowed. */
struct mount_request {
    const char *source; /* as in fstab */
    const char *mountpoint;
    const char *options; /* of -o; NULL: none */
    bool is_sloppy;
    bool is_check;
};

/*
 * Parse the arguments after the subcommand's name, and check names, numbers and the mount point.
 * @argv: argv[0] is the subcommand; reordered as getopt_long(3) does
 * Return: 0; -EINVAL for a usage error, any other -errno for one of the system, with @e.
 * Either way mount_options_deinit() is due.
 */
int mount_options_parse(int argc, char *argv[], struct mount_options *ret_options, struct error *e);

/* The same for a request of mount(8). Return: as mount_options_parse(). */
int mount_options_from_request(const struct mount_request *request,
                               struct mount_options *ret_options, struct error *e);

void mount_options_deinit(struct mount_options *options);

/* Print the help of `secretfs mount`. */
void mount_options_help(const char *program);

/* For completion. */
extern const struct option mount_long_options[];

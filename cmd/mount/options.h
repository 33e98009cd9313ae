/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The command line of `secretfs mount`. */
#include "base/buf.h"
#include "cmd/shared/source_options.h"
#include "volume/spec.h"

/* Strings are borrowed from the arguments unless they say otherwise. */
struct mount_options {
    struct volume_spec *spec; /* owned; its uid and gid are set */
    const char *volume_file;  /* where it is from; NULL: the arguments */
    struct source_options from;
    char *mountpoint; /* owned, absolute, without symbolic links */
    char *source;     /* owned; what df shows: "secret/NAME", "projected/NAME" */
    bool is_foreground;
    bool allow_other;
    unsigned long mount_attr; /* MOUNT_ATTR_*: nosuid and nodev unless undone */
    struct buf option_text;   /* owned; what "-o" values are cut from */
    struct buf user_options;  /* owned; for fusermount3 */
    bool skips_unknown;       /* mount options that are not known mean nothing */
    bool wants_help;
};

/* What mount(8) asks of a helper; borrowed. */
struct mount_request {
    const char *source; /* as it stands in fstab */
    const char *mountpoint;
    const char *options; /* of -o; NULL: none */
    bool is_sloppy;
};

/*
 * Parse the arguments after the subcommand's name and check what can be checked without doing
 * anything: names, numbers, the mount point.
 * @argv: argv[0] is the subcommand; reordered as getopt_long(3) does
 * Return: 0; -EINVAL for a usage error, any other -errno for one of the system, with @e.
 * ret_options is to be given to mount_options_deinit() in any case.
 */
int mount_options_parse(int argc, char *argv[], struct mount_options *ret_options, struct error *e);

/* The same from a call of mount(8). Return: as mount_options_parse(). */
int mount_options_from_request(const struct mount_request *request,
                               struct mount_options *ret_options, struct error *e);

void mount_options_deinit(struct mount_options *options);

/* Print what `secretfs mount --help` says. */
void mount_options_help(const char *program);

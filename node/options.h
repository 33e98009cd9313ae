/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The command line and the configuration file of `secretfs node`. */
#include <getopt.h>

#include <cjson/cJSON.h>

#include "base/log.h"
#include "node/identity.h"
#include "serve/command_list.h"

#define KUBELET_ROOT_DEFAULT     "/var/lib/kubelet"
#define NODE_RUN_DIR_DEFAULT     "/run/secretfs"
#define NODE_DRIVER_NAME_DEFAULT "csi.secretfs.io"

/* Strings are borrowed from the arguments or from the file unless noted. */
struct node_options {
    const char *driver_name;
    const char *node_id;
    const char *kubelet_root; /* absolute, without a slash at its end */
    const char *run_dir;      /* the same */
    bool notes_consumers;     /* of volumes without live files */
    bool reports_conditions;  /* of pods whose volumes do not say report */
    bool keeps_previous;      /* for `secretfs rollout undo` */
    const char *audit;        /* as of audit_target_parse(); NULL: none */
    const char *volumes_dir;
    struct command_list commands;  /* of the file alone */
    const char *endpoint;          /* absolute path of a socket */
    const char *registration_path; /* the same; NULL: do not register */
    enum node_rights rights;
    struct identity_place place;
    struct identity_rate_limit rate_limit;
    const char *metrics_address;
    bool serves_ui; /* the page at /ui; only with a loopback address */
    enum log_level log_level;
    enum log_format log_format;
    unsigned trace; /* for log_trace_set() */
    bool is_check;  /* of a start: serve nothing */
    bool wants_help;

    const char *config_file; /* NULL: none */
    cJSON *config;           /* owned; strings are borrowed from it */
    char *texts[32];         /* owned; the same. More than there are options */
    size_t n_texts;
};

/*
 * Parse the arguments after the subcommand's name, and the file that they name. The command line
 * has precedence.
 * @argv: argv[0] is the subcommand; reordered as getopt_long(3) does
 * Return: 0; -EINVAL for a usage error, any other -errno for one of the system, with @e.
 * Either way node_options_deinit() is due.
 */
int node_options_parse(int argc, char *argv[], struct node_options *ret_options, struct error *e);
void node_options_deinit(struct node_options *options);

/* Return: 0; -EINVAL with @e unless @name is a valid name of a CSI driver. */
int node_driver_name_check(const char *name, struct error *e);

/* Print the text of `secretfs node --help`. */
void node_options_help(const char *program);

/* For completion. NULL-terminated: what options that turn something on or off take. */
extern const struct option node_long_options[];
extern const char *const node_switch_words[];

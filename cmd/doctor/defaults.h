/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Whose options `secretfs doctor` checks a node with: those of the node daemon that runs, or those
 * of its configuration file. What the command line has comes after them, so that it wins.
 */
#include "base/error.h"
#include "encoding/json.h"

#define DOCTOR_CONFIG_FILE "/etc/secretfs/node.yaml"

#define DOCTOR_ARGUMENTS_MAX 64

struct doctor_defaults {
    char *texts[DOCTOR_ARGUMENTS_MAX]; /* owned: "--OPTION=VALUE" */
    size_t n_texts;
    struct error origin; /* for the report: where they come from */
};

/*
 * @list: of status_request_all(); NULL if there is none
 * @run_dir: of the daemon; NULL: any, but that of the default directory first
 * @driver: the daemon's driver name; NULL: any
 * @config_file: used if no daemon runs; NULL: there is none
 * Return: 0, with *ret_defaults, also without any; -ENOMEM.
 */
int doctor_defaults_find(const cJSON *list, const char *run_dir, const char *driver,
                         const char *config_file, struct doctor_defaults *ret_defaults);
void doctor_defaults_deinit(struct doctor_defaults *defaults);

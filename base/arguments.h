/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Walking over the options of a subcommand's command line, as getopt_long(3) takes them. */
#include <getopt.h>

#include "base/error.h"

/* Handle one option. Return: 0; ARGUMENTS_ENOUGH to end the parse; -errno with @e. */
typedef int arguments_set_fn(void *userdata, int option, const char *value, struct error *e);
#define ARGUMENTS_ENOUGH 1

/*
 * Pass each option to @set, in their order; the other arguments begin at optind afterwards.
 * @argv:          argv[0] is the subcommand; reordered unless @short_options begin with "+"
 * @short_options: getopt(3)'s, with a ":" in front so that a missing value is reported
 * Return: that of the last @set; -EINVAL for an unknown option or a missing value, with @e.
 */
int arguments_parse(int argc, char *argv[], const char *short_options,
                    const struct option *long_options, arguments_set_fn *set, void *userdata,
                    struct error *e);

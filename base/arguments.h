/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Walking over the options of a subcommand's command line, as getopt_long(3) takes them. */
#include <getopt.h>

#include "base/error.h"

/* Take one option. Return: 0; ARGUMENTS_ENOUGH to have no more of them looked at; -errno, @e. */
typedef int arguments_set_fn(void *userdata, int option, const char *value, struct error *e);
#define ARGUMENTS_ENOUGH 1

/*
 * Hand all options to @set in their order; what is no option begins at optind afterwards.
 * @argv:          argv[0] is the subcommand; reordered unless @short_options begin with "+"
 * @short_options: getopt(3)'s, with a ":" in front so that a missing value is told
 * Return: what the last @set did; -EINVAL for an unknown option or a missing value, with @e.
 */
int arguments_parse(int argc, char *argv[], const char *short_options,
                    const struct option *long_options, arguments_set_fn *set, void *userdata,
                    struct error *e);

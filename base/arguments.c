/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arguments.h"

#include <errno.h>

#include "base/words.h"

/* @argument: begins with "--" if the option is a long one */
static int unknown_option(const char *argument, const struct option *long_options, struct error *e)
{
    struct nearest nearest;

    if (optopt != 0) /* a short one, perhaps not the first of the argument */
        return error_set(e, -EINVAL, "unknown option -%c", optopt);
    nearest = (struct nearest)NEAREST_INIT(argument + 2, strcspn(argument + 2, "="));
    for (const struct option *known = long_options; known->name != NULL; known++)
        nearest_offer(&nearest, known->name, strlen(known->name));
    error_set(e, -EINVAL, "unknown option %s", argument);
    return words_hint(&nearest, "--", e, -EINVAL);
}

int arguments_parse(int argc, char *argv[], const char *short_options,
                    const struct option *long_options, arguments_set_fn *set, void *userdata,
                    struct error *e)
{
    int option, r = 0;

    opterr = 0;
    optind = 0; /* restarts the scan with glibc, "+" included; see getopt(3) */
    while (r == 0 && (option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        if (option == ':')
            return error_set(e, -EINVAL, "option %s needs a value", argv[optind - 1]);
        if (option == '?')
            return unknown_option(argv[optind - 1], long_options, e);
        r = set(userdata, option, optarg, e);
    }
    return r;
}

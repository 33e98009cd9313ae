/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arguments.h"

#include <errno.h>

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
            return error_set(e, -EINVAL, "unknown option %s", argv[optind - 1]);
        r = set(userdata, option, optarg, e);
    }
    return r;
}

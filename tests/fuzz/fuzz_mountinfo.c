/* SPDX-License-Identifier: Apache-2.0 */
/* A line of mountinfo, in whose paths other processes choose the names: it is valid, with all
 * fields within the line, or it is refused. */
#include <stdlib.h>

#include "base/mountinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line = malloc(size + 1);
    struct mountinfo mount = {0};

    if (line == NULL)
        return 0;
    memcpy(line, data, size);
    line[size] = '\0';
    if (mountinfo_parse(line, &mount)) {
        const char *const fields[] = {mount.root,    mount.mountpoint, mount.options,
                                      mount.fs_type, mount.source,     mount.super_options};

        for (size_t i = 0; i < ELEMENTS_OF(fields); i++)
            assert(fields[i] >= line && fields[i] + strlen(fields[i]) <= line + size);
    }
    free(line);
    return 0;
}

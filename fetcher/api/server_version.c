/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/server_version.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "encoding/json.h"

#define STREAMS_MAJOR 1u
#define STREAMS_MINOR 34u

/* Distributions write "34+"; what follows the digits says nothing about the feature. */
static unsigned long number_of(const cJSON *version, const char *member)
{
    const char *text = json_text(version, member);

    return text != NULL && text[0] >= '0' && text[0] <= '9' ? strtoul(text, NULL, 10) : 0;
}

bool server_version_streams_lists(const char *text, size_t len)
{
    _cleanup_(cJSON_Deletep) cJSON *version = NULL;

    if (json_parse(text, len, &version, NULL) < 0)
        return false;
    return number_of(version, "major") == STREAMS_MAJOR &&
           number_of(version, "minor") >= STREAMS_MINOR;
}

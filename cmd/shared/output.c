/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/shared/output.h"

#include "base/words.h"

const char *const output_words[] = {"text", "json", NULL};

int output_parse(const char *value, bool *ret_as_json, struct error *e)
{
    int found = words_find(output_words, "output format", value, e);

    if (found < 0)
        return found;
    *ret_as_json = found == 1;
    return 0;
}

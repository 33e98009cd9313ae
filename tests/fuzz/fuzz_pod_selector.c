/* SPDX-License-Identifier: Apache-2.0 */
/* An annotation's text as a label selector, and a pod's labels behind it: one that is invalid
 * matches nothing, and one requirement that is excluded does not match where it matched. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cache/pod_selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 4); /* also without a value, the labels end */
    char excluded[POD_SELECTOR_MAX_LEN + 2];
    struct error e = ERROR_INIT;
    const char *labels;
    bool matches;
    int r;

    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    labels = strlen(text) < size ? text + strlen(text) + 1 : "";
    r = pod_selector_check(text, &e);
    assert((r == 0) == (e.text[0] == '\0'));
    matches = pod_selector_matches(text, labels);
    assert(r == 0 || r == -E2BIG || !matches);
    if (r == 0 && strpbrk(text, "=!(,") == NULL) {
        snprintf(excluded, sizeof(excluded), "!%s", text);
        assert(pod_selector_matches(excluded, labels) == !matches);
    }
    free(text);
    return 0;
}

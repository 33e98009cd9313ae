/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests: a conversion is valid YAML, or there is a reason; and both ways. */
#include "base/util.h"
#include "cmd/adopt/convert.h"
#include "cmd/adopt/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int reverts = 0; reverts < 2; reverts++) {
        const struct convert_options options = {.reverts = reverts, .adopts_tokens = true};
        struct buf result = BUF_INIT(REWRITE_MAX_BYTES), again = BUF_INIT(REWRITE_MAX_BYTES);
        struct error e = ERROR_INIT;
        int r = convert((const char *)data, size, &options, &result, &e);

        assert(r == 0 || (r == -EINVAL && e.text[0] != '\0'));
        if (r == 0)
            r = convert(buf_text(&result), result.len, &options, &again, &e);
        assert(r == 0 || r == -EINVAL);
        buf_deinit(&result);
        buf_deinit(&again);
    }
    return 0;
}

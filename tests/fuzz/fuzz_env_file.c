/* SPDX-License-Identifier: Apache-2.0 */
/* A file of variables: the value of a key, or a reason why there is none, without reading beyond.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "volume/env_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_for(const char *text, size_t len, const char *key)
{
    struct buf value = BUF_INIT(64);
    struct error e = ERROR_INIT;
    int r = env_file_find(text, len, key, &value, &e);

    if (r == 0)
        assert(value.len > 0 && value.len < len && memchr(value.data, '\'', value.len) == NULL);
    else
        assert(r == ENV_FILE_WITHOUT_KEY || r == -EFBIG || r == -ENOMEM ||
               (r == -EBADMSG && e.text[0] != '\0'));
    buf_deinit(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* of exactly this size, so that a sanitizer sees each byte beyond */
    char *text = malloc(size);

    if (text == NULL && size > 0)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    look_for(text, size, "A");
    look_for(text, size, "KEY");
    free(text);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Each accepted text fits its bound, and encoded again it is the same text but for stray bits. */
#include <stdlib.h>

#include <openssl/evp.h>

#include "encoding/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = malloc(base64_decoded_max(size)), *again = NULL;
    char *text = NULL;
    size_t len, again_len;

    if (bytes != NULL && size < 1 << 20 &&
        base64_decode((const char *)data, size, bytes, &len) == 0) {
        assert(len <= base64_decoded_max(size));
        text = malloc(len / 3 * 4 + 5);
        again = malloc(len + 3 + 3);
        if (text != NULL && again != NULL) {
            int text_len = EVP_EncodeBlock((unsigned char *)text, bytes, (int)len);

            assert(base64_decode(text, (size_t)text_len, again, &again_len) == 0);
            assert(again_len == len && memcmp(bytes, again, len) == 0);
        }
    }
    free(text);
    free(again);
    free(bytes);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Two trust bundles, with a NUL between them. What is printed has the same certificates, and in
 * another order of the bundles it is the same. */
#include <stdlib.h>

#include "fetcher/trust_anchors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PEM_MAX_BYTES (1u << 20)

/* Return: whether both are valid; @pem: the printed ones */
static bool print(const char *a, const char *b, struct buf *pem)
{
    struct trust_anchors anchors = {0};
    struct error e = ERROR_INIT;
    bool is_valid =
        trust_anchors_add(&anchors, a, &e) == 0 && trust_anchors_add(&anchors, b, &e) == 0;

    assert(is_valid || e.text[0] != '\0');
    is_valid = is_valid && trust_anchors_print(&anchors, pem) == 0;
    trust_anchors_deinit(&anchors);
    return is_valid;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf text = BUF_INIT(PEM_MAX_BYTES), one = BUF_INIT(PEM_MAX_BYTES),
               other = BUF_INIT(PEM_MAX_BYTES), again = BUF_INIT(PEM_MAX_BYTES);
    const char *a, *b;

    if (size == 0 || buf_add(&text, data, size) < 0)
        return 0;
    a = buf_text(&text);
    b = a + size_min(strlen(a) + 1, size);
    if (print(a, b, &one)) {
        assert(print(b, a, &other) && strcmp(buf_text(&one), buf_text(&other)) == 0);
        assert(print(buf_text(&one), buf_text(&one), &again));
        assert(strcmp(buf_text(&one), buf_text(&again)) == 0);
    }
    buf_deinit(&text);
    buf_deinit(&one);
    buf_deinit(&other);
    buf_deinit(&again);
    return 0;
}

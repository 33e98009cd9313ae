/* SPDX-License-Identifier: Apache-2.0 */
/* A Secret of type kubernetes.io/tls: up to the first NUL its certificate, then its key. It is a
 * pair, or there is a reason. */
#include <stdlib.h>

#include "volume/tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct object like = {
        .key = {.kind = OBJECT_SECRET, .namespace = "default", .name = "dummy"},
        .type = TLS_TYPE,
    };
    const char *text = (const char *)data;
    size_t cert_len = strnlen(text, size), key_at = size_min(cert_len + 1, size);
    const struct object_input inputs[] = {
        {.key = "tls.crt", .text = text, .len = cert_len},
        {.key = "tls.key", .text = text + key_at, .len = size - key_at},
    };
    struct object *object = NULL;
    struct tls_pair pair = {0};
    struct error e = ERROR_INIT;

    if (object_new(&like, inputs, ELEMENTS_OF(inputs), &object, &e) < 0)
        return 0;
    assert(tls_is_pair(object));
    tls_pair_check(object, &pair);
    if (tls_pair_problem(&pair, (struct timespec){.tv_sec = 1}, &e))
        assert(e.text[0] != '\0');
    else
        assert(pair.fault.text[0] == '\0');
    object_unref(object);
    return 0;
}

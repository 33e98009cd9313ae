/* SPDX-License-Identifier: Apache-2.0 */
/* A PodCertificateRequest as the API server sends it: pending, issued or refused with a reason; and
 * the chain of one that is issued, which is for no key of ours. */
#include <stdlib.h>

#include "fetcher/api/certificate_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PEM_MAX_BYTES (1u << 20)

static struct certificate_key *own_key(void)
{
    static struct certificate_key *key;
    atomic_bool is_cancelled = false;

    if (key == NULL && certificate_key_new("ED25519", &is_cancelled, &key, NULL) < 0)
        abort();
    return key;
}

static void check_chain(const char *chain)
{
    struct buf pem = BUF_INIT(PEM_MAX_BYTES);
    struct error e = ERROR_INIT;

    assert(certificate_key_print_chain(own_key(), chain, &pem, &e) < 0 && e.text[0] != '\0');
    assert(pem.len == 0);
    buf_deinit(&pem);
}

static void check_renewal(const struct certificate_status *status)
{
    const struct timespec now = {.tv_sec = 1700000000};

    for (uint64_t random = 0; random < 3; random++)
        assert(certificate_renewal_time(status, now, random * 1000003).tv_sec > now.tv_sec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    struct certificate_status status;
    struct error e = ERROR_INIT;
    int r;

    if (json_parse((const char *)data, size, &json, &e) < 0)
        return 0;
    r = certificate_request_read(json, &status, &e);
    assert((r == CERTIFICATE_REFUSED || r == -EINVAL) == (e.text[0] != '\0'));
    if (r == CERTIFICATE_ISSUED) {
        check_chain(status.chain);
        check_renewal(&status);
    }
    return 0;
}

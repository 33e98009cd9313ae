/* SPDX-License-Identifier: Apache-2.0 */
/* What a credential plug-in prints: a credential, or a reason. */
#include <stdlib.h>

#include "fetcher/auth/exec_plugin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The header is sent as it is: a line break in it would begin another one. */
static void check(const struct exec_credential *c)
{
    assert((c->client_cert_pem != NULL) == (c->client_key_pem != NULL));
    assert(c->authorization != NULL || c->client_cert_pem != NULL);
    for (const char *at = c->authorization; at != NULL && *at != '\0'; at++)
        assert((unsigned char)*at >= 0x20 && *at != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const versions[] = {"client.authentication.k8s.io/v1",
                                           "client.authentication.k8s.io/v1beta1"};

    for (size_t i = 0; i < ELEMENTS_OF(versions); i++) {
        struct exec_credential c = {0};
        struct error e = ERROR_INIT;
        int r = exec_credential_parse((const char *)data, size, versions[i], &c, &e);

        assert(r == 0 || e.text[0] != '\0');
        if (r == 0)
            check(&c);
        exec_credential_deinit(&c);
    }
    return 0;
}

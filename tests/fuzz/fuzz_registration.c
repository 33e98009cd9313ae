/* SPDX-License-Identifier: Apache-2.0 */
/* What a kubelet reports about the registration: a message, or a code and a reason. */
#include <stdlib.h>

#include "csi/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;
    Csi__RegistrationStatus *status = (Csi__RegistrationStatus *)message_unpack(
        &csi__registration_status__descriptor, data, size, &code, &e);

    if (status == NULL) {
        assert(code != GRPC_OK && e.text[0] != '\0');
        return 0;
    }
    assert(strlen(message_text(&status->error)) <= status->error.len);
    assert(!message_is_text(&status->error) ||
           strlen(message_text(&status->error)) == status->error.len);
    message_free(&status->base);
    return 0;
}

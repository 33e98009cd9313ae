/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is two kubeconfig files with a line "%%" between them, if it is there, so that merging
 * is exercised too. For any content there is a configuration or a message.
 */
#include "fetcher/auth/kubeconfig_parse.h"

#include <stddef.h>
#include <stdint.h>

#define DIVIDER "\n%%\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *divider = memmem(text, size, DIVIDER, sizeof(DIVIDER) - 1);
    struct kubeconfig_document documents[2] = {
        {.path = "/etc/one", .text = text, .len = size},
        {.path = "/home/two"},
    };
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct error e = ERROR_INIT;
    int r;

    if (divider != NULL) {
        documents[0].len = (size_t)(divider - text);
        documents[1].text = divider + sizeof(DIVIDER) - 1;
        documents[1].len = size - documents[0].len - (sizeof(DIVIDER) - 1);
    }
    r = kubeconfig_parse(documents, divider != NULL ? 2 : 1, NULL, &config, &e);
    assert((r == 0) == (config != NULL));
    assert(r >= 0 || e.text[0] != '\0');
    assert(r != 0 || (config->server != NULL && config->origin != NULL));
    return 0;
}

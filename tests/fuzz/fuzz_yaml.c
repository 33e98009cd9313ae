/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: every result has a line within the text and is either a value or a reason. */
#include <stdlib.h>

#include "base/util.h"
#include "encoding/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_document(void *userdata, struct yaml_document *document)
{
    const size_t *n_lines = userdata;
    char *text = cJSON_PrintUnformatted(document->json);

    assert(document->line >= 1 && document->line <= *n_lines);
    assert((document->result < 0) == (document->json == NULL));
    assert((document->result < 0) == (document->error.text[0] != '\0'));
    assert((document->json == NULL) == (text == NULL));
    free(text);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    size_t n_lines = 1;
    cJSON *json = NULL;
    int r;

    /* YAML breaks lines at more than line feeds: CR, NEL, LS and PS */
    for (size_t i = 0; i < size; i++)
        n_lines += data[i] == '\n' || data[i] == '\r' || data[i] == 0x85 || data[i] == 0xa8 ||
                   data[i] == 0xa9;
    r = yaml_parse_documents((const char *)data, size, on_document, &n_lines, &e);
    assert(r == 0 || (r == -EINVAL && e.text[0] != '\0'));
    r = yaml_parse_one((const char *)data, size, &json, &e);
    assert((r == 0) == (json != NULL));
    cJSON_Delete(json);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What an earlier process has noted of a volume: there is a volume, which can be noted again, or a
 * reason. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "node/volume_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(freep) char *text = strndup((const char *)data, size), *printed = NULL;
    struct volume_record_document document, again;
    struct error e = ERROR_INIT;
    int r;

    assert(text != NULL);
    r = volume_record_parse(text, &document, &e);
    assert((r < 0) == (e.text[0] != '\0'));
    if (r < 0)
        return 0;
    assert(document.record.target != NULL && document.record.spec != NULL);
    r = volume_record_print(&document.record, &printed);
    assert(r == 0);
    r = volume_record_parse(printed, &again, &e);
    assert(r == 0 && streq(again.record.target, document.record.target));
    volume_record_deinit(&again);
    volume_record_deinit(&document);
    return 0;
}

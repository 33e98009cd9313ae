/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/spec.h"

int volume_spec_project(const struct volume_spec *spec, struct object *object,
                        struct payload **ret_payload, struct error *e)
{
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    int r = payload_builder_new(&builder);

    if (r < 0)
        return error_set_errno(e, r, "cannot compute the volume's files");
    /* an object's entries come with data before binaryData, so that the latter is added last */
    for (size_t i = 0; i < object->n_entries; i++) {
        r = payload_builder_add(builder, object->entries[i].key, object, &object->entries[i],
                                spec->default_mode, e);
        if (r < 0)
            return r;
    }
    return payload_builder_finish(builder, ret_payload, e);
}

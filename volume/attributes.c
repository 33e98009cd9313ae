/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/attributes.h"

int volume_attributes_parse(const struct volume_attribute *attributes, size_t n,
                            struct volume_spec **ret_spec, struct error *e)
{
    (void)attributes;
    (void)n;
    (void)ret_spec;
    return error_set(e, -EOPNOTSUPP, "volumeAttributes are not read yet");
}

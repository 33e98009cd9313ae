/* SPDX-License-Identifier: Apache-2.0 */
/* A CSI volume's attributes: lines of KEY=VALUE, where a 0 byte ends a line. There is a spec, or
 * none and a reason. */
#include <stdlib.h>

#include "volume/attributes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_spec(const struct volume_spec *spec)
{
    assert(spec->kind == VOLUME_PROJECTED || spec->n_sources == 1);
    assert(spec->n_sources <= VOLUME_SOURCES_MAX && spec->default_mode <= VOLUME_MODE_MAX);
    for (size_t i = 0; i < spec->n_sources; i++)
        assert(object_name_is_valid(spec->sources[i].name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct volume_attribute attributes[VOLUME_ATTRIBUTES_MAX + 1];
    struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;
    char *text = malloc(size + 1), *at = text;
    size_t n = 0;
    int r;

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    for (; at < text + size && n < ELEMENTS_OF(attributes); at += strlen(at) + 1) {
        char *value = strchr(at, '=');

        if (value == NULL)
            continue;
        *value++ = '\0';
        attributes[n++] = (struct volume_attribute){.key = at, .value = value};
        at = value;
    }
    r = volume_attributes_parse(attributes, n, NULL, &spec, &e);
    assert((r == 0) == (spec != NULL));
    assert(r == 0 || e.text[0] != '\0');
    if (spec != NULL)
        check_spec(spec);
    volume_spec_free(spec);
    free(text);
    return 0;
}

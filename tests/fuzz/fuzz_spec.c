/* SPDX-License-Identifier: Apache-2.0 */
/* A volume as a pod's spec may hold it, and an item as an argument: a spec is in order, or there is
 * none and a reason. */
#include <stdlib.h>

#include "volume/spec_parse.h"
#include "volume/spec_words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_source(const struct volume_source *source)
{
    assert(source->n_items <= VOLUME_ITEMS_MAX);
    for (size_t i = 0; i < source->n_items; i++) {
        const struct volume_item *item = &source->items[i];

        assert(item->key[0] != '\0');
        assert(payload_path_fault(item->path) == NULL);
        assert(item->mode == VOLUME_MODE_UNSET || item->mode <= VOLUME_MODE_MAX);
    }
}

static void check_spec(const struct volume_spec *spec)
{
    char text[VOLUME_TEXT_SIZE];

    assert(spec->kind == VOLUME_PROJECTED || spec->n_sources == 1);
    assert(spec->n_sources <= VOLUME_SOURCES_MAX && spec->default_mode <= VOLUME_MODE_MAX);
    for (size_t i = 0; i < spec->n_sources; i++) {
        assert(object_name_is_valid(spec->sources[i].name));
        check_source(&spec->sources[i]);
    }
    assert(volume_spec_text(spec, text)[0] != '\0');
}

static void parse_item(const char *text)
{
    struct volume_spec *spec = NULL;
    struct volume_source *source = NULL;
    struct error e = ERROR_INIT;

    if (volume_spec_new(VOLUME_SECRET, &spec) == 0 &&
        volume_spec_add_source(spec, OBJECT_SECRET, "s", &source) == 0) {
        int r = volume_item_parse(source, text, &e);

        assert((r == 0) == (source->n_items == 1));
        assert(r == 0 || e.text[0] != '\0');
        check_source(source);
    }
    volume_spec_free(spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;
    int r = volume_spec_parse((const char *)data, size, &spec, &e);
    char *text = strndup((const char *)data, size);

    assert((r == 0) == (spec != NULL));
    assert(r == 0 || e.text[0] != '\0');
    if (spec != NULL)
        check_spec(spec);
    volume_spec_free(spec);
    if (text != NULL)
        parse_item(text);
    free(text);
    return 0;
}

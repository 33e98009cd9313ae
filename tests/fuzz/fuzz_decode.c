/* SPDX-License-Identifier: Apache-2.0 */
/* A document as the API server or a manifest may hold it: an object is in order or there is none.
 */
#include <stdlib.h>

#include "encoding/json.h"
#include "encoding/yaml.h"
#include "fetcher/decode.h"
#include "fetcher/manifests/manifest_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_object(const struct object *o)
{
    size_t total = 0;

    assert(object_name_is_valid(o->key.name) && object_namespace_is_valid(o->key.namespace));
    for (size_t i = 0; i < o->n_entries; i++) {
        total += o->entries[i].len;
        assert(o->entries[i].key[0] != '\0' && strchr(o->entries[i].key, '/') == NULL);
        assert(i == 0 || strcmp(o->entries[i - 1].key, o->entries[i].key) <= 0);
        assert(object_find(o, o->entries[i].key) != NULL);
    }
    assert(total <= OBJECT_DATA_MAX_BYTES);
}

static void decode_as(const cJSON *json, const struct decode_expect *expect)
{
    struct error e = ERROR_INIT;
    struct object *object = NULL;
    int r = decode_object(json, expect, &object, &e);

    assert((r == 0) == (object != NULL));
    assert(r == 0 || e.text[0] != '\0');
    if (object != NULL)
        check_object(object);
    object_unref(object);
}

/* The first half of the text is the file before, the second the file after a change. */
static void parse_as_files(const char *text, size_t len)
{
    struct manifest_list before, after;

    if (manifest_list_parse("before", text, len / 2, "default", "1", &before) < 0)
        return;
    if (manifest_list_parse("after", text + len / 2, len - len / 2, "default", "2", &after) >= 0) {
        assert(manifest_list_inherit(&after, &before) == 0);
        for (size_t i = 0; i < after.n; i++)
            assert(after.items[i].object != NULL || after.items[i].error != NULL);
        manifest_list_deinit(&after);
    }
    manifest_list_deinit(&before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const enum object_kind secret = OBJECT_SECRET, configmap = OBJECT_CONFIGMAP;
    cJSON *json = NULL;

    if (yaml_parse_one((const char *)data, size, &json, NULL) == 0) {
        decode_as(json, &(struct decode_expect){.kind = NULL});
        decode_as(json, &(struct decode_expect){.kind = &secret, .default_namespace = "default"});
        decode_as(json, &(struct decode_expect){.kind = &configmap, .resource_version = "1"});
        cJSON_Delete(json);
    }
    parse_as_files((const char *)data, size);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/check.h"

#include <openssl/pem.h>

#include "base/openssl.h"
#include "encoding/json.h"
#include "encoding/yaml.h"

/* ---- values; each of these returns whether it is valid */

static bool is_nonempty(const struct object_entry *entry)
{
    return entry->len > 0;
}

/* The parser's message could quote the value. */
static bool is_json(const struct object_entry *entry)
{
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    struct error ignored = ERROR_INIT;

    return json_parse_with_nul((const char *)entry->bytes, entry->len, &json, &ignored) == 0;
}

static int note_fault(void *is_valid, struct yaml_document *document)
{
    *(bool *)is_valid &= document->result == 0;
    return 0;
}

static bool is_yaml(const struct object_entry *entry)
{
    struct error ignored = ERROR_INIT;
    bool is_valid = true;

    return yaml_parse_documents((const char *)entry->bytes, entry->len, note_fault, &is_valid,
                                &ignored) == 0 &&
           is_valid;
}

/* Return: 1 for a whole block; 0 when there is no other; -1 for a broken one. */
static int read_block(BIO *bio)
{
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    long len = 0;
    int r = PEM_read_bio(bio, &name, &header, &data, &len);

    if (r != 1)
        return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE ? 0 : -1;
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, (size_t)len);
    return 1;
}

static bool is_pem(const struct object_entry *entry)
{
    _cleanup_(bio_freep) BIO *bio = BIO_new_mem_buf(entry->bytes, (int)entry->len);
    int n = 0, r;

    if (bio == NULL)
        return false;
    ERR_clear_error();
    while ((r = read_block(bio)) == 1)
        n++;
    ERR_clear_error();
    return r == 0 && n > 0;
}

/* ---- checks */

static const struct {
    const char *word;
    enum volume_check bit;
    bool (*is_valid)(const struct object_entry *entry);
    const char *fault;
} checks_by_word[] = {
    {"nonempty", VOLUME_CHECK_NONEMPTY, is_nonempty, "is empty"},
    {"json", VOLUME_CHECK_JSON, is_json, "is invalid JSON"},
    {"yaml", VOLUME_CHECK_YAML, is_yaml, "is invalid YAML"},
    {"pem", VOLUME_CHECK_PEM, is_pem, "is invalid PEM"},
};

unsigned volume_check_of_word(const char *word)
{
    for (size_t i = 0; i < ELEMENTS_OF(checks_by_word); i++)
        if (streq(word, checks_by_word[i].word))
            return checks_by_word[i].bit;
    return 0;
}

static int check_entry(unsigned checks, const struct object_entry *entry, struct error *e)
{
    for (size_t i = 0; i < ELEMENTS_OF(checks_by_word); i++)
        if ((checks & checks_by_word[i].bit) != 0 && !checks_by_word[i].is_valid(entry))
            return error_set(e, -EINVAL, "key \"%.253s\" %s", entry->key, checks_by_word[i].fault);
    return 0;
}

static bool is_shown(const struct volume_source *source, const char *key)
{
    for (size_t i = 0; i < source->n_items; i++)
        if (streq(source->items[i].key, key))
            return true;
    return source->n_items == 0;
}

int volume_check_object(unsigned checks, const struct volume_source *source,
                        const struct object *object, struct error *e)
{
    size_t n_shown = 0;
    int r = 0;

    if (checks == 0 || !object_kind_is_stored(object->key.kind))
        return 0;
    for (size_t i = 0; i < object->n_entries && r == 0; i++) {
        if (!is_shown(source, object->entries[i].key))
            continue;
        n_shown++;
        r = check_entry(checks, &object->entries[i], e);
    }
    if (r == 0 && n_shown == 0 && (checks & VOLUME_CHECK_NONEMPTY) != 0)
        return error_set(e, -EINVAL, "it has no keys");
    return r;
}

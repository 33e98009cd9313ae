/* SPDX-License-Identifier: Apache-2.0 */
#include "encoding/field.h"

#include "base/buf.h"
#include "base/words.h"

#define PATH_TEXT_MAX 256 /* longer paths are cut */

static void path_add(const struct field *field, struct buf *b)
{
    if (field->parent != NULL)
        path_add(field->parent, b);
    /* a path that is cut is still useful */
    if (field->name == NULL)
        (void)!buf_addf(b, "[%zu]", field->index);
    else if (field->name[0] != '\0')
        (void)!buf_addf(b, "%s%.64s", b->len > 0 ? "." : "", field->name);
}

int field_error(const struct field *field, struct error *e, int r)
{
    _cleanup_(buf_deinit) struct buf path = BUF_INIT(PATH_TEXT_MAX);

    assert(r < 0);
    path_add(field, &path);
    return path.len == 0 ? r : error_prefix(e, r, "%s", buf_text(&path));
}

const cJSON *field_member(const cJSON *json, const char *name)
{
    const cJSON *member = json_member(json, name);

    return cJSON_IsNull(member) ? NULL : member;
}

static bool is_known(const char *known, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = known; *at != '\0';) {
        size_t word_len = strcspn(at, ",");

        if (word_len == len && memcmp(at, name, len) == 0)
            return true;
        at += word_len;
        at += strspn(at, ", ");
    }
    return false;
}

/* The known name that @name may be a misspelling of. */
static struct nearest find_nearest(const char *known, const char *name)
{
    struct nearest nearest = NEAREST_INIT(name, strlen(name));

    for (const char *at = known; *at != '\0'; at += strspn(at, ", ")) {
        size_t len = strcspn(at, ",");

        nearest_offer(&nearest, at, len);
        at += len;
    }
    return nearest;
}

static int unknown_member(const struct field *field, const char *name, const char *known,
                          struct error *e)
{
    struct nearest nearest = find_nearest(known, name);

    error_set(e, -EINVAL, "unknown field, expected one of: %s", known);
    words_hint(&nearest, "", e, -EINVAL);
    return field_error(&FIELD(field, name), e, -EINVAL);
}

int field_check_members(const cJSON *json, const struct field *field, const char *known,
                        struct error *e)
{
    const cJSON *member;

    if (!cJSON_IsObject(json))
        return field_error(field, e, error_set(e, -EINVAL, "expected a mapping"));
    cJSON_ArrayForEach (member, json) {
        if (!is_known(known, member->string))
            return unknown_member(field, member->string, known, e);
    }
    return 0;
}

int field_check_list(const cJSON *json, const struct field *field, struct error *e)
{
    if (json == NULL || cJSON_IsArray(json))
        return 0;
    return field_error(field, e, error_set(e, -EINVAL, "expected a list"));
}

int field_read_text(const cJSON *json, const struct field *field, const char *name,
                    const char **ret_text, struct error *e)
{
    const cJSON *member = field_member(json, name);

    if (member != NULL && !cJSON_IsString(member))
        return field_error(&FIELD(field, name), e,
                           error_set(e, -EINVAL, "expected a string: put it in quotes"));
    *ret_text = member != NULL ? member->valuestring : NULL;
    return 0;
}

int field_read_required_text(const cJSON *json, const struct field *field, const char *name,
                             const char **ret_text, struct error *e)
{
    const char *text = NULL;
    int r = field_read_text(json, field, name, &text, e);

    if (r < 0)
        return r;
    if (text == NULL || *text == '\0')
        return field_error(&FIELD(field, name), e,
                           error_set(e, -EINVAL, "required field is missing"));
    *ret_text = text;
    return 0;
}

int field_read_number(const cJSON *json, const struct field *field, const char *name, unsigned max,
                      unsigned *value, struct error *e)
{
    const cJSON *member = field_member(json, name);
    double number;

    if (member == NULL)
        return 0;
    if (!cJSON_IsNumber(member))
        return field_error(&FIELD(field, name), e,
                           error_set(e, -EINVAL, "expected a number, without quotes"));
    number = member->valuedouble;
    if (!(number >= 0 && number <= max) || number != (double)(unsigned)number)
        return field_error(&FIELD(field, name), e,
                           error_set(e, -EINVAL, "expected a whole number from 0 to %u", max));
    *value = (unsigned)number;
    return 0;
}

int field_read_flag(const cJSON *json, const struct field *field, const char *name, bool *ret_flag,
                    struct error *e)
{
    const cJSON *member = field_member(json, name);

    if (member != NULL && !cJSON_IsBool(member))
        return field_error(&FIELD(field, name), e, error_set(e, -EINVAL, "expected true or false"));
    *ret_flag = cJSON_IsTrue(member);
    return 0;
}

const cJSON *field_find_only(const cJSON *json, const struct field *field, const char *ignored,
                             const char *known, struct error *e)
{
    const cJSON *member, *found = NULL;

    cJSON_ArrayForEach (member, json) {
        if (cJSON_IsNull(member) || is_known(ignored, member->string))
            continue;
        if (found != NULL && !is_known(known, member->string)) {
            unknown_member(field, member->string, known, e);
            return NULL;
        }
        if (found != NULL) {
            field_error(&FIELD(field, member->string), e,
                        error_set(e, -EINVAL, "conflicts with %.32s: only one of them is allowed",
                                  found->string));
            return NULL;
        }
        found = member;
    }
    if (found == NULL)
        field_error(field, e, error_set(e, -EINVAL, "expected one of: %s", known));
    return found;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the API server checks when it takes a pod, and what the kubelet checks when it writes, is
 * checked here at once. As in Go, a member that is null counts as absent; other than there, one
 * that is not known is an error, since a slip of the pen would show other files than were meant.
 *
 * A place is where in the document one is: a chain on the stack, from which a message gets a path
 * such as projected.sources[1].secret.items[0].mode.
 */
#include "volume/spec_parse.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>

#include "base/buf.h"
#include "encoding/json.h"
#include "encoding/yaml.h"

#define PLACE_TEXT_MAX 256 /* longer paths are cut; names in it are our own */

struct place {
    const struct place *above;
    const char *name; /* NULL: an element of a list */
    size_t index;
};

#define PLACE(above_, name_)                                                                       \
    (struct place)                                                                                 \
    {                                                                                              \
        .above = (above_), .name = (name_)                                                         \
    }
#define PLACE_AT(above_, index_)                                                                   \
    (struct place)                                                                                 \
    {                                                                                              \
        .above = (above_), .index = (index_)                                                       \
    }

static void place_add(const struct place *place, struct buf *b)
{
    if (place->above != NULL)
        place_add(place->above, b);
    /* a path that is cut is still a help */
    if (place->name == NULL)
        (void)!buf_addf(b, "[%zu]", place->index);
    else if (place->name[0] != '\0')
        (void)!buf_addf(b, "%s%.64s", b->len > 0 ? "." : "", place->name);
}

/* Put the path in front of a message. */
static int at_place(const struct place *place, struct error *e, int r)
{
    _cleanup_(buf_deinit) struct buf path = BUF_INIT(PLACE_TEXT_MAX);

    place_add(place, &path);
    if (path.len == 0)
        return r;
    return error_prefix(e, r, "%s", buf_text(&path));
}

static int no_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot take in the volume");
}

/* ---- words */

struct type_word {
    const char *word;
    const char *type;
};

/* Source: L6. */
static const struct type_word type_words[] = {
    {"opaque", "Opaque"},
    {"basic-auth", "kubernetes.io/basic-auth"},
    {"ssh-auth", "kubernetes.io/ssh-auth"},
    {"tls", "kubernetes.io/tls"},
    {"dockerconfigjson", "kubernetes.io/dockerconfigjson"},
    {"dockercfg", "kubernetes.io/dockercfg"},
    {"service-account-token", "kubernetes.io/service-account-token"},
    {"bootstrap-token", "bootstrap.kubernetes.io/token"},
};

int volume_type_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    const char *type = strchr(text, '/') != NULL ? text : NULL;

    for (size_t i = 0; i < ELEMENTS_OF(type_words); i++)
        if (strcasecmp(text, type_words[i].word) == 0)
            type = type_words[i].type;
    if (type == NULL)
        return error_set(e, -EINVAL,
                         "\"%.64s\" is no type: say one in full, such as kubernetes.io/tls, or "
                         "opaque, basic-auth, ssh-auth, tls, dockerconfigjson, dockercfg, "
                         "service-account-token or bootstrap-token",
                         text);
    return volume_text_set(&spec->type, type) < 0 ? no_memory(e) : 0;
}

int volume_tls_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    spec->holds_tls = streq(text, "hold");
    if (!spec->holds_tls && !streq(text, "report"))
        return error_set(e, -EINVAL, "say \"hold\" or \"report\", not \"%.32s\"", text);
    return 0;
}

int volume_updates_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    if (streq(text, "in-place"))
        spec->updates = VOLUME_UPDATES_IN_PLACE;
    else if (streq(text, "generations"))
        spec->updates = VOLUME_UPDATES_GENERATIONS;
    else
        return error_set(e, -EINVAL, "invalid updates \"%.32s\": use in-place or generations",
                         text);
    return 0;
}

int volume_revoked_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    spec->removes_revoked = streq(text, "remove");
    if (!spec->removes_revoked && !streq(text, "keep"))
        return error_set(e, -EINVAL, "say \"keep\" or \"remove\", not \"%.32s\"", text);
    return 0;
}

/* A whole number. Return: 0; -EINVAL. */
static int parse_number(const char *text, int base, unsigned long *ret_number)
{
    char *end;

    if (!isxdigit((unsigned char)*text))
        return -EINVAL;
    errno = 0;
    *ret_number = strtoul(text, &end, base);
    return errno == 0 && *end == '\0' ? 0 : -EINVAL;
}

int volume_id_parse(const char *text, unsigned *ret_id, struct error *e)
{
    unsigned long id;

    if (parse_number(text, 10, &id) < 0 || id >= UINT_MAX)
        return error_set(e, -EINVAL, "\"%.32s\" is no number of a user or group", text);
    *ret_id = (unsigned)id;
    return 0;
}

static int bad_mode(struct error *e, const char *given)
{
    return error_set(e, -EINVAL,
                     "%.32s is no mode: give 0 to 0777 in octal, with a 0 in front, or 0 to 511 in "
                     "decimal",
                     given);
}

int volume_mode_parse(const char *text, mode_t *ret_mode, struct error *e)
{
    bool is_octal = text[0] == '0' && text[1] != '\0';
    const char *digits = is_octal && text[1] == 'o' ? text + 2 : text;
    unsigned long mode;

    if (parse_number(digits, is_octal ? 8 : 10, &mode) < 0 || mode > VOLUME_MODE_MAX)
        return bad_mode(e, text);
    *ret_mode = (mode_t)mode;
    return 0;
}

static int check_path(const char *path, struct error *e)
{
    const char *fault = payload_path_fault(path);

    if (fault == NULL)
        return 0;
    return error_set(e, -EINVAL, "path \"%.128s\" cannot be used: %s", path, fault);
}

static int add_item(struct volume_source *source, const struct volume_item *item, struct error *e)
{
    int r = volume_source_add_item(source, item);

    if (r == -E2BIG)
        return error_set(e, r, "there are more than %u items", VOLUME_ITEMS_MAX);
    return r < 0 ? no_memory(e) : 0;
}

int volume_item_parse(struct volume_source *source, const char *text, struct error *e)
{
    struct volume_item item = {
        .mode = VOLUME_MODE_UNSET, .uid = VOLUME_ID_UNSET, .gid = VOLUME_ID_UNSET};
    _cleanup_(freep) char *key = strdup(text);
    char *path, *mode;
    int r = 0;

    if (key == NULL)
        return no_memory(e);
    path = strchr(key, '=');
    if (path == NULL || path == key)
        return error_set(e, -EINVAL, "\"%.64s\" is no item: say KEY=PATH or KEY=PATH:MODE", text);
    *path++ = '\0';
    mode = strrchr(path, ':');
    if (mode != NULL && isdigit((unsigned char)mode[1])) {
        *mode++ = '\0';
        r = volume_mode_parse(mode, &item.mode, e);
    }
    item.key = key;
    item.path = path;
    if (r == 0)
        r = check_path(path, e);
    return r < 0 ? r : add_item(source, &item, e);
}

/* ---- members of a document */

/* Return: the member, or NULL if it is absent or null. */
static const cJSON *member_of(const cJSON *json, const char *name)
{
    const cJSON *member = json_member(json, name);

    return cJSON_IsNull(member) ? NULL : member;
}

/* @known: names separated by blanks */
static bool is_known(const char *known, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = known; *at != '\0';) {
        size_t word_len = strcspn(at, " ");

        if (word_len == len && memcmp(at, name, len) == 0)
            return true;
        at += word_len;
        at += strspn(at, " ");
    }
    return false;
}

/* @json is a mapping and has no members but the @known ones. */
static int check_members(const cJSON *json, const struct place *place, const char *known,
                         struct error *e)
{
    const cJSON *member;

    if (!cJSON_IsObject(json))
        return at_place(place, e, error_set(e, -EINVAL, "this has to be a mapping"));
    cJSON_ArrayForEach (member, json) {
        if (!is_known(known, member->string))
            return at_place(
                &PLACE(place, member->string), e,
                error_set(e, -EINVAL, "this field is not known here; known are: %s", known));
    }
    return 0;
}

static int read_text(const cJSON *json, const struct place *place, const char *name,
                     const char **ret_text, struct error *e)
{
    const cJSON *member = member_of(json, name);

    if (member != NULL && !cJSON_IsString(member))
        return at_place(&PLACE(place, name), e,
                        error_set(e, -EINVAL, "this has to be a string: put it into quotes"));
    *ret_text = member != NULL ? member->valuestring : NULL;
    return 0;
}

/* As read_text(), but it has to be there and not be empty. */
static int read_needed_text(const cJSON *json, const struct place *place, const char *name,
                            const char **ret_text, struct error *e)
{
    const char *text = NULL;
    int r = read_text(json, place, name, &text, e);

    if (r < 0)
        return r;
    if (text == NULL || *text == '\0')
        return at_place(&PLACE(place, name), e, error_set(e, -EINVAL, "this is missing"));
    *ret_text = text;
    return 0;
}

/* @value keeps what it has if there is no such member. */
static int read_number(const cJSON *json, const struct place *place, const char *name, unsigned max,
                       unsigned *value, struct error *e)
{
    const cJSON *member = member_of(json, name);
    double number;

    if (member == NULL)
        return 0;
    if (!cJSON_IsNumber(member))
        return at_place(&PLACE(place, name), e,
                        error_set(e, -EINVAL, "this has to be a number, without quotes"));
    number = member->valuedouble;
    if (!(number >= 0 && number <= max) || number != (double)(unsigned)number)
        return at_place(
            &PLACE(place, name), e,
            max == VOLUME_MODE_MAX
                ? bad_mode(e, "this")
                : error_set(e, -EINVAL, "this has to be a whole number from 0 to %u", max));
    *value = (unsigned)number;
    return 0;
}

static int read_flag(const cJSON *json, const struct place *place, const char *name, bool *value,
                     struct error *e)
{
    const cJSON *member = member_of(json, name);

    if (member != NULL && !cJSON_IsBool(member))
        return at_place(&PLACE(place, name), e,
                        error_set(e, -EINVAL, "this has to be true or false"));
    *value = cJSON_IsTrue(member);
    return 0;
}

/* ---- items */

static int parse_item(const cJSON *json, const struct place *place, struct volume_source *source,
                      struct error *e)
{
    struct volume_item item = {
        .mode = VOLUME_MODE_UNSET, .uid = VOLUME_ID_UNSET, .gid = VOLUME_ID_UNSET};
    int r = check_members(json, place, "key path mode uid gid", e);

    if (r == 0)
        r = read_needed_text(json, place, "key", &item.key, e);
    if (r == 0)
        r = read_needed_text(json, place, "path", &item.path, e);
    if (r == 0)
        r = read_number(json, place, "mode", VOLUME_MODE_MAX, &item.mode, e);
    if (r == 0)
        r = read_number(json, place, "uid", UINT_MAX - 1, &item.uid, e);
    if (r == 0)
        r = read_number(json, place, "gid", UINT_MAX - 1, &item.gid, e);
    if (r < 0)
        return r;
    r = check_path(item.path, e);
    if (r < 0)
        return at_place(&PLACE(place, "path"), e, r);
    r = add_item(source, &item, e);
    return r < 0 ? at_place(place, e, r) : 0;
}

static int parse_items(const cJSON *json, const struct place *above, struct volume_source *source,
                       struct error *e)
{
    const struct place place = PLACE(above, "items");
    const cJSON *items = member_of(json, "items"), *item;
    size_t n = 0;

    if (items != NULL && !cJSON_IsArray(items))
        return at_place(&place, e, error_set(e, -EINVAL, "this has to be a list"));
    cJSON_ArrayForEach (item, items) {
        int r = parse_item(item, &PLACE_AT(&place, n++), source, e);

        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- sources */

/* What a source is called where it stands. */
struct source_words {
    enum object_kind kind;
    const char *name_member;
    const char *known;
};

static int parse_source(const cJSON *json, const struct place *place, struct volume_spec *spec,
                        const struct source_words *words, struct error *e)
{
    struct volume_source *source = NULL;
    const char *name = NULL;
    int r = check_members(json, place, words->known, e);

    if (r == 0)
        r = read_needed_text(json, place, words->name_member, &name, e);
    if (r < 0)
        return r;
    if (!object_name_is_valid(name))
        return at_place(&PLACE(place, words->name_member), e,
                        error_set(e, -EINVAL, "\"%.64s\" is not a valid name for a %s", name,
                                  object_kind_word(words->kind)));
    r = volume_spec_add_source(spec, words->kind, name, &source);
    if (r == -E2BIG)
        return at_place(place, e,
                        error_set(e, r, "there are more than %u sources", VOLUME_SOURCES_MAX));
    if (r < 0)
        return no_memory(e);
    r = read_flag(json, place, "optional", &source->is_optional, e);
    return r < 0 ? r : parse_items(json, place, source, e);
}

static int read_default_mode(const cJSON *json, const struct place *place, struct volume_spec *spec,
                             struct error *e)
{
    return read_number(json, place, "defaultMode", VOLUME_MODE_MAX, &spec->default_mode, e);
}

/* A volume of one object. */
static int parse_single(const cJSON *json, const struct place *place, struct volume_spec *spec,
                        const struct source_words *words, struct error *e)
{
    int r = parse_source(json, place, spec, words, e);

    return r < 0 ? r : read_default_mode(json, place, spec, e);
}

/*
 * The one member that is there of a mapping in which there has to be just one.
 * Return: NULL with @e.
 */
static const cJSON *find_only(const cJSON *json, const struct place *place, const char *ignored,
                              const char *known, struct error *e)
{
    const cJSON *member, *found = NULL;

    cJSON_ArrayForEach (member, json) {
        if (cJSON_IsNull(member) || is_known(ignored, member->string))
            continue;
        if (found != NULL) {
            at_place(&PLACE(place, member->string), e,
                     error_set(e, -EINVAL, "there is %.32s already, and only one can be",
                               found->string));
            return NULL;
        }
        found = member;
    }
    if (found == NULL)
        at_place(place, e, error_set(e, -EINVAL, "there is none of: %s", known));
    return found;
}

static int parse_projected_source(const cJSON *json, const struct place *place,
                                  struct volume_spec *spec, struct error *e)
{
    static const struct source_words secret = {OBJECT_SECRET, "name", "name items optional"};
    static const struct source_words configmap = {OBJECT_CONFIGMAP, "name", "name items optional"};
    const cJSON *found;

    if (!cJSON_IsObject(json))
        return at_place(place, e, error_set(e, -EINVAL, "this has to be a mapping"));
    found = find_only(json, place, "", "secret, configMap", e);
    if (found == NULL)
        return -EINVAL;
    if (streq(found->string, "secret"))
        return parse_source(found, &PLACE(place, "secret"), spec, &secret, e);
    if (streq(found->string, "configMap"))
        return parse_source(found, &PLACE(place, "configMap"), spec, &configmap, e);
    return at_place(&PLACE(place, found->string), e,
                    error_set(e, -EINVAL,
                              "secretfs has no such source: it projects secret and "
                              "configMap"));
}

static int compare_paths(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

/* N3: as the API server does, only what is written in the same way. */
static int check_conflicts(const struct volume_spec *spec, struct error *e)
{
    _cleanup_(freep) const char **paths = NULL;
    size_t n = 0, n_max = 0;

    for (size_t i = 0; i < spec->n_sources; i++)
        n_max += spec->sources[i].n_items;
    paths = calloc(n_max + 1, sizeof(*paths));
    if (paths == NULL)
        return no_memory(e);
    for (size_t i = 0; i < spec->n_sources; i++)
        for (size_t k = 0; k < spec->sources[i].n_items; k++)
            paths[n++] = spec->sources[i].items[k].path;
    qsort(paths, n, sizeof(*paths), compare_paths);
    for (size_t i = 1; i < n; i++)
        if (streq(paths[i - 1], paths[i]))
            return error_set(e, -EINVAL,
                             "projected.sources: conflicting duplicate paths: \"%.128s\" is there "
                             "twice",
                             paths[i]);
    return 0;
}

static int parse_projected(const cJSON *json, const struct place *above, struct volume_spec *spec,
                           const char *known, struct error *e)
{
    const struct place place = PLACE(above, "sources");
    const cJSON *sources = member_of(json, "sources"), *source;
    size_t n = 0;
    int r = check_members(json, above, known, e);

    if (r == 0)
        r = read_default_mode(json, above, spec, e);
    if (r < 0)
        return r;
    if (sources != NULL && !cJSON_IsArray(sources))
        return at_place(&place, e, error_set(e, -EINVAL, "this has to be a list"));
    cJSON_ArrayForEach (source, sources) {
        r = parse_projected_source(source, &PLACE_AT(&place, n++), spec, e);
        if (r < 0)
            return r;
    }
    return check_conflicts(spec, e);
}

/* ---- secretfs' own */

/* A member whose text one of the functions for words takes. */
static int parse_word(const cJSON *json, const struct place *place, const char *name,
                      int (*parse)(struct volume_spec *spec, const char *text, struct error *e),
                      struct volume_spec *spec, struct error *e)
{
    const char *text = NULL;
    int r = read_text(json, place, name, &text, e);

    if (r < 0 || text == NULL)
        return r;
    r = parse(spec, text, e);
    return r < 0 ? at_place(&PLACE(place, name), e, r) : 0;
}

#define OWN_WORDS "uid gid fsGroup type tls updates onRevoked"

/* The members of @json that are secretfs' own. */
/* Asked of a ConfigMap they would never be looked at. */
static int check_secrets_words(const struct volume_spec *spec, const struct place *place,
                               struct error *e)
{
    const char *word = spec->type != NULL ? "type" : "tls";

    if (spec->kind != VOLUME_CONFIGMAP || (spec->type == NULL && !spec->holds_tls))
        return 0;
    return at_place(&PLACE(place, word), e,
                    error_set(e, -EINVAL, "this is for secrets, and the volume is a ConfigMap"));
}

static int read_own(const cJSON *json, const struct place *place, struct volume_spec *spec,
                    struct error *e)
{
    int r = read_number(json, place, "uid", UINT_MAX - 1, &spec->uid, e);

    if (r == 0)
        r = read_number(json, place, "gid", UINT_MAX - 1, &spec->gid, e);
    if (r == 0)
        r = read_number(json, place, "fsGroup", UINT_MAX - 1, &spec->fs_group, e);
    if (r == 0)
        r = parse_word(json, place, "type", volume_type_parse, spec, e);
    if (r == 0)
        r = parse_word(json, place, "tls", volume_tls_parse, spec, e);
    if (r == 0)
        r = check_secrets_words(spec, place, e);
    if (r == 0)
        r = parse_word(json, place, "updates", volume_updates_parse, spec, e);
    if (r == 0)
        r = parse_word(json, place, "onRevoked", volume_revoked_parse, spec, e);
    return r;
}

static int parse_own(const cJSON *json, const struct place *place, struct volume_spec *spec,
                     struct error *e)
{
    int r = check_members(json, place, OWN_WORDS, e);

    return r < 0 ? r : read_own(json, place, spec, e);
}

/* ---- the whole */

static int parse_kind(const cJSON *json, const struct place *place, struct volume_spec *spec,
                      struct error *e)
{
    static const struct source_words words[] = {
        [VOLUME_SECRET] = {OBJECT_SECRET, "secretName", "secretName items defaultMode optional"},
        [VOLUME_CONFIGMAP] = {OBJECT_CONFIGMAP, "name", "name items defaultMode optional"},
    };

    if (spec->kind == VOLUME_PROJECTED)
        return parse_projected(json, place, spec, "sources defaultMode", e);
    return parse_single(json, place, spec, &words[spec->kind], e);
}

static int parse_volume(const cJSON *json, const struct place *root, struct volume_spec *spec,
                        struct error *e)
{
    const cJSON *found = find_only(json, root, "name secretfs", "secret, configMap, projected", e);
    const cJSON *own = member_of(json, "secretfs");
    const char *name = NULL;
    struct place place;
    int r;

    if (found == NULL)
        return -EINVAL;
    place = PLACE(root, found->string);
    r = read_text(json, root, "name", &name, e);
    if (r == 0 && name != NULL && !object_namespace_is_valid(name))
        r = at_place(&PLACE(root, "name"), e,
                     error_set(e, -EINVAL, "\"%.64s\" is not a valid name for a volume", name));
    if (r == 0 && volume_text_set(&spec->name, name) < 0)
        r = no_memory(e);
    if (r < 0)
        return r;
    if (streq(found->string, "secret"))
        spec->kind = VOLUME_SECRET;
    else if (streq(found->string, "configMap"))
        spec->kind = VOLUME_CONFIGMAP;
    else if (streq(found->string, "projected"))
        spec->kind = VOLUME_PROJECTED;
    else
        return at_place(&place, e,
                        error_set(e, -EINVAL,
                                  "secretfs has no such volume: it makes secret, "
                                  "configMap and projected"));
    r = parse_kind(found, &place, spec, e);
    return r < 0 || own == NULL ? r : parse_own(own, &PLACE(root, "secretfs"), spec, e);
}

static int parse_entry(const cJSON *json, const struct place *root, struct volume_spec *spec,
                       struct error *e)
{
    /* who copies an entry takes its dash along */
    const cJSON *entry = cJSON_IsArray(json) && cJSON_GetArraySize(json) == 1 ? json->child : json;

    if (!cJSON_IsObject(entry))
        return at_place(root, e,
                        error_set(e, -EINVAL,
                                  "it has to be one entry of a pod's volumes: a mapping with "
                                  "secret, configMap or projected in it"));
    return parse_volume(entry, root, spec, e);
}

int volume_spec_parse_entry(const cJSON *entry, const char *root_name,
                            struct volume_spec **ret_spec, struct error *e)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    int r = volume_spec_new(VOLUME_SECRET, &spec);

    if (r < 0)
        return no_memory(e);
    r = parse_entry(entry, &PLACE(NULL, root_name), spec, e);
    if (r == 0)
        *ret_spec = TAKE(spec);
    return r;
}

int volume_spec_parse(const char *text, size_t len, struct volume_spec **ret_spec, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    int r = yaml_parse_one(text, len, &json, e);

    return r < 0 ? r : volume_spec_parse_entry(json, "", ret_spec, e);
}

/* ---- the same in one flat mapping */

#define FLAT_SINGLE_WORDS " items defaultMode optional " OWN_WORDS

static int parse_flat(const cJSON *json, const struct place *root, struct volume_spec *spec,
                      struct error *e)
{
    static const struct source_words secret = {OBJECT_SECRET, "secretName",
                                               "secretName" FLAT_SINGLE_WORDS};
    static const struct source_words configmap = {OBJECT_CONFIGMAP, "configMap",
                                                  "configMap" FLAT_SINGLE_WORDS};
    const cJSON *found = find_only(json, root, "items defaultMode optional " OWN_WORDS,
                                   "secretName, configMap, sources, volume", e);
    int r;

    if (found == NULL)
        return -EINVAL;
    if (streq(found->string, "secretName")) {
        spec->kind = VOLUME_SECRET;
        return parse_single(json, root, spec, &secret, e);
    }
    if (streq(found->string, "configMap")) {
        spec->kind = VOLUME_CONFIGMAP;
        return parse_single(json, root, spec, &configmap, e);
    }
    if (streq(found->string, "sources")) {
        spec->kind = VOLUME_PROJECTED;
        return parse_projected(json, root, spec, "sources defaultMode " OWN_WORDS, e);
    }
    r = check_members(json, root, "volume " OWN_WORDS, e);
    return r < 0 ? r : parse_entry(found, &PLACE(root, "volume"), spec, e);
}

int volume_spec_parse_flat(const cJSON *words, const char *root_name, struct volume_spec **ret_spec,
                           struct error *e)
{
    const struct place root = PLACE(NULL, root_name);
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    int r = volume_spec_new(VOLUME_SECRET, &spec);

    if (r < 0)
        return no_memory(e);
    /* before whatever else is wrong */
    r = check_members(words, &root,
                      "secretName configMap sources volume items defaultMode optional " OWN_WORDS,
                      e);
    if (r == 0)
        r = parse_flat(words, &root, spec, e);
    if (r == 0)
        r = read_own(words, &root, spec, e);
    if (r == 0)
        *ret_spec = TAKE(spec);
    return r;
}

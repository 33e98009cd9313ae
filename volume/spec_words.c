/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/spec_words.h"

#include <ctype.h>
#include <limits.h>

#include "base/command.h"
#include "base/words.h"
#include "volume/check.h"

static int no_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the volume");
}

/* ---- options of a spec */

const char *const volume_type_words[] = {"opaque",
                                         "basic-auth",
                                         "ssh-auth",
                                         "tls",
                                         "dockerconfigjson",
                                         "dockercfg",
                                         "service-account-token",
                                         "bootstrap-token",
                                         NULL};
const char *const volume_tls_words[] = {"report", "hold", NULL};
const char *const volume_updates_words[] = {
    [VOLUME_UPDATES_GENERATIONS] = "generations", [VOLUME_UPDATES_IN_PLACE] = "in-place", NULL};
const char *const volume_revoked_words[] = {"keep", "remove", NULL};

/* Their types, in the same order. Source: L6. */
static const char *const full_types[] = {
    "Opaque",
    "kubernetes.io/basic-auth",
    "kubernetes.io/ssh-auth",
    "kubernetes.io/tls",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/dockercfg",
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
};
static_assert(ELEMENTS_OF(volume_type_words) == ELEMENTS_OF(full_types) + 1,
              "each word has a type");

/* In short; also "Opaque", the one that is a word itself. Return: NULL with @e. */
static const char *type_of_word(const char *text, struct error *e)
{
    int found = streq(text, full_types[0]) ? 0 : words_find(volume_type_words, "type", text, e);

    return found >= 0 ? full_types[found] : NULL;
}

int volume_type_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    const char *type = strchr(text, '/') != NULL ? text : type_of_word(text, e);

    if (type == NULL)
        return -EINVAL;
    return volume_text_set(&spec->type, type) < 0 ? no_memory(e) : 0;
}

int volume_tls_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    int found = words_find(volume_tls_words, "tls", text, e);

    spec->holds_tls = found == 1;
    return found < 0 ? found : 0;
}

/* Which program that is says the administrator alone. */
static int parse_check_command(struct volume_spec *spec, const char *name, struct error *e)
{
    if (!command_name_is_valid(name))
        return error_set(e, -EINVAL,
                         "invalid name of a command \"%.64s\": use lower-case letters, digits and "
                         "dashes; the administrator says what it runs",
                         name);
    if (spec->check_command != NULL)
        return error_set(e, -EINVAL, "use one command at most");
    return volume_text_set(&spec->check_command, name) < 0 ? no_memory(e) : 0;
}

static int parse_check_word(struct volume_spec *spec, const char *word, struct error *e)
{
    static const char *const words[] = {"tls", "nonempty",     "json", "yaml",
                                        "pem", "command:NAME", NULL};
    const char *command = str_after(word, "command:");
    int found;

    if (command != NULL)
        return parse_check_command(spec, command, e);
    found = words_find(words, "check", word, e);
    if (found < 0)
        return found;
    spec->checks |= volume_check_of_word(word);
    spec->holds_tls |= streq(word, "tls");
    return 0;
}

int volume_check_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    _cleanup_(freep) char *copy = strdup(text);
    char *at = copy, *word;
    int r = 0;

    if (copy == NULL)
        return no_memory(e);
    while (r == 0 && (word = strsep(&at, ",")) != NULL)
        r = parse_check_word(spec, word, e);
    return r;
}

int volume_updates_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    int found = words_find(volume_updates_words, "updates", text, e);

    if (found < 0)
        return found;
    spec->updates = (enum volume_updates)found;
    return 0;
}

int volume_revoked_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    int found = words_find(volume_revoked_words, "onRevoked", text, e);

    spec->removes_revoked = found == 1;
    return found < 0 ? found : 0;
}

int volume_report_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    static const char *const words[] = {"condition", "none", NULL};
    int found;

    if (!spec->is_of_pod)
        return error_set(e, -EINVAL, "only in a volume of a pod");
    found = words_find(words, "report", text, e);
    if (found < 0)
        return found;
    spec->report = found == 0 ? VOLUME_REPORT_CONDITION : VOLUME_REPORT_NONE;
    return 0;
}

/* ---- numbers and items */

/* Parse a whole number. Return: 0; -EINVAL. */
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
        return error_set(e, -EINVAL, "invalid user or group id \"%.32s\": use a number", text);
    *ret_id = (unsigned)id;
    return 0;
}

int volume_mode_parse(const char *text, mode_t *ret_mode, struct error *e)
{
    bool is_octal = text[0] == '0' && text[1] != '\0';
    const char *digits = is_octal && text[1] == 'o' ? text + 2 : text;
    unsigned long mode;

    if (parse_number(digits, is_octal ? 8 : 10, &mode) < 0 || mode > VOLUME_MODE_MAX)
        return error_set(e, -EINVAL, "invalid mode %.32s: " VOLUME_MODE_HINT, text);
    *ret_mode = (mode_t)mode;
    return 0;
}

int volume_path_check(const char *path, struct error *e)
{
    const char *fault = payload_path_fault(path);

    if (fault == NULL)
        return 0;
    return error_set(e, -EINVAL, "invalid path \"%.128s\": %s", path, fault);
}

int volume_item_add(struct volume_source *source, const struct volume_item *item, struct error *e)
{
    int r = volume_source_add_item(source, item);

    if (r == -E2BIG)
        return error_set(e, r, "more than %u items", VOLUME_ITEMS_MAX);
    return r < 0 ? no_memory(e) : 0;
}

int volume_item_parse(struct volume_source *source, const char *text, struct error *e)
{
    struct volume_item item = VOLUME_ITEM_INIT(NULL);
    _cleanup_(freep) char *key = strdup(text);
    char *path, *mode;
    int r = 0;

    if (key == NULL)
        return no_memory(e);
    path = strchr(key, '=');
    if (path == NULL || path == key)
        return error_set(e, -EINVAL, "invalid item \"%.64s\": use KEY=PATH or KEY=PATH:MODE", text);
    *path++ = '\0';
    mode = strrchr(path, ':');
    if (mode != NULL && isdigit((unsigned char)mode[1])) {
        *mode++ = '\0';
        r = volume_mode_parse(mode, &item.mode, e);
    }
    item.key = key;
    item.path = path;
    if (r == 0)
        r = volume_path_check(path, e);
    return r < 0 ? r : volume_item_add(source, &item, e);
}

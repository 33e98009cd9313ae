/* SPDX-License-Identifier: Apache-2.0 */
/* A container's lists, and what comes of them with one object behind every name: an environment
 * that execve(2) could take, or a reason why there is none. */
#include <stdlib.h>

#include "encoding/json.h"
#include "encoding/yaml.h"
#include "volume/env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPTIONAL_NAME "none" /* the one object that there is not */

static struct object *make_object(void)
{
    static const struct object_input inputs[] = {
        {.key = "k", .text = "value", .len = 5},
        {.key = "A", .text = "$(k)", .len = 4},
        {.key = "9", .text = "", .len = 0},
        {.key = "nul", .text = "a\0b", .len = 3},
        {.key = "b", .text = "x", .len = 1, .is_binary = true},
    };
    const struct object like = {.key = {.kind = OBJECT_SECRET, .namespace = "ns", .name = "s"}};
    struct object *object = NULL;

    if (object_new(&like, inputs, ELEMENTS_OF(inputs), &object, NULL) < 0)
        abort();
    return object;
}

static struct object *look_up(void *userdata, enum object_kind kind, const char *name)
{
    assert(object_name_is_valid(name));
    return streq(name, OPTIONAL_NAME) ? NULL : userdata;
}

/* Y35: every file has one line, but for one that there is not. */
static int read_file(void *userdata, const struct env_source *source, struct buf *text,
                     struct error *e)
{
    assert(source->directory != NULL && source->path[0] != '\0');
    if (streq(source->path, OPTIONAL_NAME))
        return error_set(e, -ENOENT, "no file");
    return buf_add_text(text, "K='a\nb'\n");
}

static void check_env(const struct env *env, enum env_names names)
{
    for (size_t i = 0; i < env->n_variables; i++) {
        const struct env_variable *v = &env->variables[i];

        assert(env_name_is_valid(v->name, names));
        assert(memchr(v->bytes, '\0', v->len) == NULL);
        assert(i == 0 || strcmp(env->variables[i - 1].name, v->name) < 0);
        assert(env_find(env, v->name) == v);
    }
}

static void compute(const struct env_spec *spec, struct object *object)
{
    struct error e = ERROR_INIT;
    struct env *env = NULL;
    const struct env_lookup lookup = {.object = look_up, .file = read_file, .userdata = object};
    int r = env_compute(spec, "ns", &lookup, &env, &e);

    assert((r == 0) == (env != NULL));
    assert(r == 0 || e.text[0] != '\0');
    if (env != NULL)
        check_env(env, spec->names);
    env_free(env);
}

static void take_lists(const cJSON *document, enum env_names names, struct object *object)
{
    struct env_spec spec = {.names = names};
    struct error e = ERROR_INIT;
    int r = env_spec_add_volume(&spec, "v=/v", &e);

    if (r == 0)
        r = env_spec_add_document(&spec, document, &e);
    assert(r == 0 || e.text[0] != '\0');
    if (r == 0)
        compute(&spec, object);
    env_spec_deinit(&spec);
}

static void take_argument(const char *text)
{
    struct env_spec spec = {.sources = NULL};
    struct error e = ERROR_INIT;

    if (env_spec_add_key(&spec, text, false, &e) == 0)
        assert(spec.n_sources == 1 && object_data_key_is_valid(spec.sources[0].key));
    env_spec_deinit(&spec);
    if (env_spec_add_object(&spec, text, true, &e) == 0)
        assert(spec.n_sources == 1 && object_name_is_valid(spec.sources[0].object_name));
    env_spec_deinit(&spec);
    if (env_spec_add_volume(&spec, text, &e) == 0)
        assert(spec.n_volumes == 1 && spec.volumes[0].directory[0] != '\0');
    env_spec_deinit(&spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(cJSON_Deletep) cJSON *document = NULL;
    struct object *object = make_object();
    char *text = strndup((const char *)data, size);
    struct error e = ERROR_INIT;

    if (yaml_parse_one((const char *)data, size, &document, &e) == 0) {
        take_lists(document, ENV_NAMES_STRICT, object);
        take_lists(document, ENV_NAMES_RELAXED, object);
    }
    if (text != NULL)
        take_argument(text);
    free(text);
    object_unref(object);
    return 0;
}

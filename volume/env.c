/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order decides (O2, Y33): first the objects of envFrom in their order, then the entries of env
 * in theirs; a later variable replaces an earlier one of its name. $(VAR) refers to the variables
 * that are set at that moment: a reference to a later variable stays as written, and the text that
 * a reference inserts is not expanded again.
 *
 * A variable whose object or key is missing and optional is not set: an earlier one of that name
 * stays (O6, Y33). So is one whose key a file lacks or has without a value; a file that is missing
 * is an error, optional or not (Y35). A value that a program cannot be given, with a NUL byte or
 * longer than execve(2) accepts, is an error that names the variable (O7).
 *
 * | a key of envFrom is             | --env-names | outcome                             |
 * |---------------------------------|-------------|-------------------------------------|
 * | a valid name with its prefix    | either      | a variable                          |
 * | not, such as 9a                 | relaxed     | a variable (O4)                     |
 * | not, such as 9a                 | strict      | skipped, one warning names all (O3) |
 * | in binaryData                   | either      | no variable (M4)                    |
 */
#include "volume/env.h"

#include <search.h>
#include <stdio.h>

#include "cache/secmem.h"
#include "volume/env_file.h"

#define SKIPPED_MAX_BYTES (64u << 10) /* of one warning; the rest is left out */

struct variable {
    struct env_variable shown; /* its name is owned; its bytes as the members below say */
    struct object *object;     /* referenced, if it holds the bytes; else NULL */
    char *own;                 /* owned, secret memory, if it holds the bytes; else NULL */
};

struct env_private {
    struct env env;
    struct variable *owned; /* parallel to env.variables */
    struct env_variable *variables;
    char *skipped;
};

/* The state of a computation. */
struct builder {
    const struct env_spec *spec;
    const char *namespace;
    const struct env_lookup *lookup;
    void *variables; /* tsearch(3) tree of struct variable by name */
    size_t n_variables;
    void *skipped;  /* tsearch(3) tree of names, owned */
    size_t max_len; /* of "NAME=VALUE" with its NUL */
};

/* ---- variables by name */

static void variable_deinit(struct variable *v)
{
    free((char *)(uintptr_t)v->shown.name);
    object_unref(v->object);
    secmem_free(v->own);
}

static void variable_free(void *p)
{
    variable_deinit(p);
    free(p);
}

static int variable_compare(const void *a, const void *b)
{
    const struct variable *x = a, *y = b;

    return strcmp(x->shown.name, y->shown.name);
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void builder_deinit(struct builder *b)
{
    tdestroy(b->variables, variable_free);
    tdestroy(b->skipped, free);
}

static int out_of_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot compute the environment");
}

static const struct variable *builder_find(const struct builder *b, const char *name)
{
    const struct variable like = {.shown.name = name};
    struct variable *const *found = tfind(&like, &b->variables, variable_compare);

    return found != NULL ? *found : NULL;
}

/* Set a variable. @v: its name is borrowed; object and own are consumed, on failure too. */
static int builder_set(struct builder *b, struct variable v, struct error *e)
{
    struct variable *made = calloc(1, sizeof(*made));
    struct variable **found;

    assert(v.object == NULL || v.own == NULL);
    v.shown.name = strdup(v.shown.name);
    if (made == NULL || v.shown.name == NULL) {
        free(made);
        variable_deinit(&v);
        return out_of_memory(e);
    }
    *made = v;
    found = tsearch(made, &b->variables, variable_compare);
    if (found == NULL) {
        variable_free(made);
        return out_of_memory(e);
    }
    if (*found == made) {
        b->n_variables++;
        return 0;
    }
    variable_free(*found);
    *found = made;
    return 0;
}

static int builder_skip(struct builder *b, const char *name, struct error *e)
{
    char *copy = strdup(name);
    char **found = copy != NULL ? tsearch(copy, &b->skipped, name_compare) : NULL;

    if (found == NULL || *found != copy)
        free(copy);
    return found != NULL ? 0 : out_of_memory(e);
}

/* ---- objects and keys */

static int missing_object(const struct builder *b, const struct env_source *source, struct error *e)
{
    return error_set(e, -ENOENT, "%s \"%s\" not found in namespace \"%s\"",
                     object_kind_word(source->object_kind), source->object_name, b->namespace);
}

static int missing_key(const struct builder *b, const struct env_source *source, struct error *e)
{
    return error_set(e, -ENOENT, "couldn't find key %.253s in %s %s/%s", source->key,
                     object_kind_name(source->object_kind), b->namespace, source->object_name);
}

static int set_entry(struct builder *b, const char *name, struct object *object,
                     const struct object_entry *entry, struct error *e)
{
    const struct variable v = {
        .shown = {.name = name, .bytes = (const char *)entry->bytes, .len = entry->len},
        .object = object_ref(object)};

    return builder_set(b, v, e);
}

/* Set the variable of one key of an envFrom object. */
static int set_prefixed(struct builder *b, const char *prefix, struct object *object,
                        const struct object_entry *entry, struct error *e)
{
    _cleanup_(freep) char *name = NULL;

    if (asprintf(&name, "%s%s", prefix, entry->key) < 0)
        return out_of_memory(e);
    return env_name_is_valid(name, b->spec->names) ? set_entry(b, name, object, entry, e)
                                                   : builder_skip(b, name, e);
}

static int set_object(struct builder *b, const struct env_source *source, struct error *e)
{
    struct object *object =
        b->lookup->object(b->lookup->userdata, source->object_kind, source->object_name);
    int r = 0;

    if (object == NULL)
        return source->is_optional ? 0 : missing_object(b, source, e);
    for (size_t i = 0; i < object->n_entries && r >= 0; i++)
        if (!object->entries[i].is_binary)
            r = set_prefixed(b, source->name, object, &object->entries[i], e);
    return r;
}

static int set_key(struct builder *b, const struct env_source *source, struct error *e)
{
    struct object *object =
        b->lookup->object(b->lookup->userdata, source->object_kind, source->object_name);
    const struct object_entry *entry;

    if (object == NULL)
        return source->is_optional ? 0 : missing_object(b, source, e);
    entry = object_find(object, source->key);
    if (entry == NULL || entry->is_binary)
        return source->is_optional ? 0 : missing_key(b, source, e);
    return set_entry(b, source->name, object, entry, e);
}

/* ---- $(VAR) */

/* A reference to a variable that is not set stays as written. */
static int add_reference(const struct builder *b, const char *name, size_t len, struct buf *out)
{
    _cleanup_(freep) char *copy = strndup(name, len);
    const struct variable *v = copy != NULL ? builder_find(b, copy) : NULL;
    int r;

    if (copy == NULL)
        return -ENOMEM;
    if (v != NULL)
        return buf_add(out, v->shown.bytes, v->shown.len);
    r = buf_add_text(out, "$(");
    if (r >= 0)
        r = buf_add(out, name, len);
    return r < 0 ? r : buf_add_text(out, ")");
}

/*
 * Source: k8s.io/kubernetes/third_party/forked/golang/expansion: "$$" is a dollar, "$(NAME)" a
 * reference, and each other dollar, also one before an unclosed bracket, is literal.
 */
static int expand(const struct builder *b, const char *value, struct buf *out)
{
    int r = 0;

    while (*value != '\0' && r >= 0) {
        size_t plain = strcspn(value, "$");
        const char *end;

        if (plain > 0) {
            r = buf_add(out, value, plain);
            value += plain;
            continue;
        }
        end = value[1] == '(' ? strchr(value, ')') : NULL;
        if (end != NULL) {
            r = add_reference(b, value + 2, (size_t)(end - value) - 2, out);
            value = end + 1;
        } else {
            r = buf_add(out, value, 1);
            value += value[1] == '$' ? 2 : 1;
        }
    }
    return r;
}

static int too_long(const struct builder *b, const char *name, struct error *e)
{
    return error_set(e, -E2BIG,
                     "variable %.253s is longer than the limit of %zu bytes for a program", name,
                     b->max_len - 1);
}

/* Set a variable to a value that is in no object. */
static int set_own(struct builder *b, const char *name, const struct buf *value, struct error *e)
{
    struct variable v = {.shown = {.name = name, .len = value->len}};

    v.own = secmem_alloc(value->len + 1);
    if (v.own == NULL)
        return out_of_memory(e);
    memcpy(v.own, buf_text(value), value->len);
    secmem_seal(v.own);
    v.shown.bytes = v.own;
    return builder_set(b, v, e);
}

static int set_literal(struct builder *b, const struct env_source *source, struct error *e)
{
    const struct variable plain = {
        .shown = {.name = source->name, .bytes = source->value, .len = strlen(source->value)}};
    /* limited while it grows: each may repeat the one before it many times */
    _cleanup_(buf_deinit) struct buf out = BUF_INIT(b->max_len);
    int r;

    if (strchr(source->value, '$') == NULL)
        return builder_set(b, plain, e);
    r = expand(b, source->value, &out);
    if (r == -EFBIG)
        return too_long(b, source->name, e);
    return r < 0 ? out_of_memory(e) : set_own(b, source->name, &out, e);
}

/* ---- files */

static int missing_file_key(const struct env_source *source, struct error *e)
{
    return error_set(e, -EBADMSG,
                     "%s in %s has no value for the key %.253s: add the line %.253s='...'",
                     source->path, source->directory, source->key, source->key);
}

static int set_file_key(struct builder *b, const struct env_source *source, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(ENV_FILE_MAX_BYTES);
    _cleanup_(buf_deinit) struct buf value = BUF_INIT(b->max_len);
    int r = b->lookup->file(b->lookup->userdata, source, &text, e);

    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    r = env_file_find(buf_text(&text), text.len, source->key, &value, e);
    switch (r) {
    case 0:
        return set_own(b, source->name, &value, e);
    case ENV_FILE_WITHOUT_KEY:
        return source->is_optional ? 0 : missing_file_key(source, e);
    case -EBADMSG:
        return error_prefix(e, r, "%s in %s", source->path, source->directory);
    case -EFBIG:
        return too_long(b, source->name, e);
    default:
        return out_of_memory(e);
    }
}

/* ---- the computation */

/* An entry of env. */
static int set_variable(struct builder *b, const struct env_source *source, struct error *e)
{
    switch (source->kind) {
    case ENV_OBJECT: /* done before */
        return 0;
    case ENV_KEY:
        return set_key(b, source, e);
    case ENV_FILE:
        return set_file_key(b, source, e);
    case ENV_LITERAL:
        return set_literal(b, source, e);
    }
    return 0;
}

static int set_all(struct builder *b, struct error *e)
{
    const struct env_spec *spec = b->spec;
    int r = 0;

    for (size_t i = 0; i < spec->n_sources && r >= 0; i++)
        if (spec->sources[i].kind == ENV_OBJECT)
            r = set_object(b, &spec->sources[i], e);
    for (size_t i = 0; i < spec->n_sources && r >= 0; i++)
        r = set_variable(b, &spec->sources[i], e);
    return r;
}

static int check_variable(const struct builder *b, const struct env_variable *v, struct error *e)
{
    if (memchr(v->bytes, '\0', v->len) != NULL)
        return error_set(e, -EINVAL,
                         "the value of variable %.253s has a NUL byte, which no variable can have: "
                         "use a file instead",
                         v->name);
    return strlen(v->name) + v->len + 2 > b->max_len ? too_long(b, v->name, e) : 0;
}

static void move_variable(const void *node, VISIT visit, void *userdata)
{
    struct variable *const *v = node;
    struct env_private *env = userdata;

    if (visit != postorder && visit != leaf)
        return;
    env->owned[env->env.n_variables] = **v;
    env->variables[env->env.n_variables++] = (*v)->shown;
    **v = (struct variable){.object = NULL}; /* moved; the tree keeps an empty one */
}

struct name_list {
    struct buf text;
    int result;
};

static void add_name(const void *node, VISIT visit, void *userdata)
{
    const char *const *name = node;
    struct name_list *list = userdata;

    if ((visit != postorder && visit != leaf) || list->result < 0)
        return;
    list->result = buf_addf(&list->text, "%s%s", list->text.len > 0 ? ", " : "", *name);
}

static int list_skipped(const struct builder *b, char **ret_text)
{
    struct name_list list = {.text = BUF_INIT(SKIPPED_MAX_BYTES)};

    twalk_r(b->skipped, add_name, &list);
    if (list.result == -ENOMEM) {
        buf_deinit(&list.text);
        return list.result;
    }
    *ret_text = list.text.data; /* cut at the limit */
    return 0;
}

static int builder_finish(struct builder *b, struct env **ret_env, struct error *e)
{
    struct env_private *env = calloc(1, sizeof(*env));
    _cleanup_(env_freep) struct env *made = env != NULL ? &env->env : NULL;

    if (env == NULL)
        return out_of_memory(e);
    env->owned = reallocarray(NULL, b->n_variables + 1, sizeof(*env->owned));
    env->variables = reallocarray(NULL, b->n_variables + 1, sizeof(*env->variables));
    if (env->owned == NULL || env->variables == NULL || list_skipped(b, &env->skipped) < 0)
        return out_of_memory(e);
    twalk_r(b->variables, move_variable, env);
    assert(env->env.n_variables == b->n_variables);
    made->variables = env->variables;
    made->skipped = env->skipped;
    for (size_t i = 0; i < made->n_variables; i++) {
        int r = check_variable(b, &made->variables[i], e);

        if (r < 0)
            return r;
    }
    *ret_env = TAKE(made);
    return 0;
}

int env_compute(const struct env_spec *spec, const char *namespace, const struct env_lookup *lookup,
                struct env **ret_env, struct error *e)
{
    /* Source: execve(2): MAX_ARG_STRLEN is 32 pages */
    struct builder b = {.spec = spec,
                        .namespace = namespace,
                        .lookup = lookup,
                        .max_len = 32 * (size_t)sysconf(_SC_PAGESIZE)};
    int r = set_all(&b, e);

    if (r >= 0)
        r = builder_finish(&b, ret_env, e);
    builder_deinit(&b);
    return r;
}

struct env *env_free(struct env *env)
{
    struct env_private *p;

    if (env == NULL)
        return NULL;
    p = CONTAINER_OF(env, struct env_private, env);
    for (size_t i = 0; i < env->n_variables; i++)
        variable_deinit(&p->owned[i]);
    free(p->owned);
    free(p->variables);
    free(p->skipped);
    free(p);
    return NULL;
}

bool env_is_same(const struct env *a, const struct env *b)
{
    if (a->n_variables != b->n_variables)
        return false;
    for (size_t i = 0; i < a->n_variables; i++) {
        const struct env_variable *x = &a->variables[i], *y = &b->variables[i];

        if (!streq(x->name, y->name) || x->len != y->len || memcmp(x->bytes, y->bytes, x->len) != 0)
            return false;
    }
    return true;
}

static int shown_compare(const void *a, const void *b)
{
    const struct env_variable *x = a, *y = b;

    return strcmp(x->name, y->name);
}

const struct env_variable *env_find(const struct env *env, const char *name)
{
    const struct env_variable like = {.name = name};

    return bsearch(&like, env->variables, env->n_variables, sizeof(like), shown_compare);
}

/* Whether a variable of @env replaces an inherited "NAME=VALUE". */
static bool is_overridden(const struct env *env, const char *inherited)
{
    _cleanup_(freep) char *name = strndup(inherited, strcspn(inherited, "="));

    return name != NULL && env_find(env, name) != NULL;
}

/* Write "NAME=VALUE" with its NUL. Return: the end. */
static char *put_variable(char *at, const struct env_variable *v)
{
    at = stpcpy(at, v->name);
    *at++ = '=';
    at = mempcpy(at, v->bytes, v->len);
    *at++ = '\0';
    return at;
}

char **env_vector(const struct env *env, char *const inherited[])
{
    size_t n_inherited = 0, n = 0, strings_size = 0;
    char **vector, *at;

    while (inherited[n_inherited] != NULL)
        n_inherited++;
    for (size_t i = 0; i < env->n_variables; i++)
        strings_size += strlen(env->variables[i].name) + env->variables[i].len + 2;
    vector = secmem_alloc((n_inherited + env->n_variables + 1) * sizeof(*vector) + strings_size);
    if (vector == NULL)
        return NULL;
    at = (char *)(vector + n_inherited + env->n_variables + 1);
    for (size_t i = 0; i < n_inherited; i++)
        if (!is_overridden(env, inherited[i]))
            vector[n++] = inherited[i];
    for (size_t i = 0; i < env->n_variables; i++) {
        vector[n++] = at;
        at = put_variable(at, &env->variables[i]);
    }
    assert(n <= n_inherited + env->n_variables);
    vector[n] = NULL;
    return vector;
}

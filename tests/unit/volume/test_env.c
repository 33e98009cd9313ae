/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "cache/secmem.h"
#include "encoding/json.h"
#include "encoding/yaml.h"
#include "tests/unit/failmalloc.h"

/*
 * The world of these tests. A key that begins with "bin" stands in binaryData; "nul" has a NUL byte
 * in its value.
 */
struct known {
    enum object_kind kind;
    const char *name;
    const char *entries[6][2];
};

static const struct known world[] = {
    {OBJECT_SECRET, "db", {{"user", "app"}, {"password", "dummy-1"}, {"money", "$(user) $$"}}},
    {OBJECT_SECRET, "other", {{"user", "other"}, {"host", "h"}}},
    {OBJECT_SECRET,
     "odd",
     {{"9lives", "1"}, {"a.b-c", "2"}, {"ok", "3"}, {".hidden", "4"}, {"0day", "5"}}},
    {OBJECT_SECRET, "nul", {{"nul", "a"}}},
    {OBJECT_SECRET, "empty", {{NULL, NULL}}},
    {OBJECT_CONFIGMAP, "db", {{"user", "config"}, {"binary", "b"}}},
};

struct fixture {
    struct object *objects[ELEMENTS_OF(world)];
};

static struct object *make_object(const struct known *known)
{
    const struct object like = {
        .key = {.kind = known->kind, .namespace = "default", .name = known->name},
        .resource_version = "1",
        .type = ""};
    struct object_input inputs[ELEMENTS_OF(known->entries)];
    struct object *object = NULL;
    size_t n = 0;

    for (; n < ELEMENTS_OF(known->entries) && known->entries[n][0] != NULL; n++) {
        const char *key = known->entries[n][0], *value = known->entries[n][1];

        /* with its terminator, the value of "nul" has a NUL byte */
        inputs[n] = (struct object_input){.key = key,
                                          .text = value,
                                          .len = strlen(value) + streq(key, "nul"),
                                          .is_binary = str_after(key, "bin") != NULL};
    }
    assert_int_equal(object_new(&like, inputs, n, &object, NULL), 0);
    return object;
}

static int setup(void **state)
{
    static struct fixture f;

    for (size_t i = 0; i < ELEMENTS_OF(world); i++)
        f.objects[i] = make_object(&world[i]);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < ELEMENTS_OF(world); i++)
        object_unref(f->objects[i]);
    assert_int_equal(secmem_bytes(), 0); /* all memory is freed */
    return 0;
}

static struct object *look_up(void *userdata, enum object_kind kind, const char *name)
{
    const struct fixture *f = userdata;

    for (size_t i = 0; i < ELEMENTS_OF(world); i++)
        if (world[i].kind == kind && streq(world[i].name, name))
            return f->objects[i];
    return NULL;
}

/* Y35: one file in the directory /v, which stands for the volume "config". */
static int read_file(void *userdata, const struct env_source *source, struct buf *text,
                     struct error *e)
{
    static const char file[] = "USER='filed'\nEMPTY=''\nLONG='a\nb'\n";

    assert_string_equal(source->directory, "/v");
    if (streq(source->path, "huge"))
        return error_set(e, -EFBIG, "huge");
    if (streq(source->path, "bad"))
        return buf_add_text(text, "USER=dummy");
    if (!streq(source->path, "dir/a.env"))
        return error_set(e, -ENOENT, "cannot read %s in /v", source->path);
    return buf_add_text(text, file);
}

static int compute_spec(struct fixture *f, const struct env_spec *spec, struct env **ret_env,
                        struct error *e)
{
    const struct env_lookup lookup = {.object = look_up, .file = read_file, .userdata = f};

    return env_compute(spec, "default", &lookup, ret_env, e);
}

static int parse_spec(const char *yaml, struct env_spec *spec, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *document = NULL;
    int r = env_spec_add_volume(spec, "config=/v", e);

    if (r >= 0)
        r = yaml_parse_one(yaml, strlen(yaml), &document, e);
    return r < 0 ? r : env_spec_add_document(spec, document, e);
}

static int compute(struct fixture *f, const char *yaml, struct env_spec *spec, struct env **ret_env,
                   struct error *e)
{
    *e = ERROR_INIT;
    if (parse_spec(yaml, spec, e) < 0)
        fail_msg("%s: %s", yaml, e->text);
    return compute_spec(f, spec, ret_env, e);
}

/* "NAME=VALUE|" for each variable, in the order of their names. */
static void print_env(const struct env *env, char *ret_text, size_t size)
{
    size_t len = 0;

    ret_text[0] = '\0';
    for (size_t i = 0; i < env->n_variables; i++) {
        const struct env_variable *v = &env->variables[i];
        int n = snprintf(ret_text + len, size - len, "%s=%.*s|", v->name, (int)v->len, v->bytes);

        len += (size_t)n;
        assert_true(len < size);
    }
}

/* ---- O2 to O4, O6, M4, Y33 to Y35: variables */

#define SECRET(name)     "envFrom: [{secretRef: {name: " name "}}]\n"
#define KEY(var, object) "{name: " var ", valueFrom: {secretKeyRef: {" object "}}}"
#define FILE_KEY(var, path, key)                                                                   \
    "{name: " var ", valueFrom: {fileKeyRef: {volumeName: config, path: " path ", key: " key "}}}"
#define VALUE(var, text) "{name: " var ", value: \"" text "\"}"

static const struct {
    const char *rule;
    enum env_names names;
    const char *yaml;
    const char *expected;
    const char *skipped;
} outcomes[] = {
    {"nothing asked for, nothing set", 0, "{}", "", NULL},
    {"lists may be null", 0, "{env: null, envFrom: ~}", "", NULL},
    {"O2: every key of an object", 0, SECRET("other"), "host=h|user=other|", NULL},
    {"O2: an object without keys", 0, SECRET("empty"), "", NULL},
    {"O2: a later source wins", 0,
     "envFrom: [{secretRef: {name: other}}, {configMapRef: {name: db}}]", "host=h|user=config|",
     NULL},
    {"O2: and the other way round", 0,
     "envFrom: [{configMapRef: {name: db}}, {secretRef: {name: other}}]", "host=h|user=other|",
     NULL},
    {"O2: env wins over envFrom, wherever it stands", 0,
     "env: [" VALUE("user", "mine") "]\n" SECRET("other"), "host=h|user=mine|", NULL},
    {"O2: a later env wins", 0, "env: [" VALUE("A", "1") ", " VALUE("A", "2") "]", "A=2|", NULL},
    {"O2: one key", 0, "env: [" KEY("U", "name: db, key: user") "]", "U=app|", NULL},
    {"O2: one key of a ConfigMap", 0,
     "env: [{name: U, valueFrom: {configMapKeyRef: {name: db, key: user}}}]", "U=config|", NULL},
    {"a value that is missing is empty", 0, "env: [{name: A}]", "A=|", NULL},

    {"O2: an earlier variable", 0, "env: [" VALUE("A", "1") ", " VALUE("B", "<$(A)>") "]",
     "A=1|B=<1>|", NULL},
    {"O2: a variable of envFrom", 0, "env: [" VALUE("U", "$(user)@$(host)") "]\n" SECRET("other"),
     "U=other@h|host=h|user=other|", NULL},
    {"O2: a key's variable", 0,
     "env: [" KEY("P", "name: db, key: password") ", " VALUE("URL", "db://$(P)/") "]",
     "P=dummy-1|URL=db://dummy-1/|", NULL},
    {"O2: a later variable stays as it is written", 0,
     "env: [" VALUE("B", "<$(A)>") ", " VALUE("A", "1") "]", "A=1|B=<$(A)>|", NULL},
    {"O2: an unknown one as well", 0, "env: [" VALUE("A", "$(NO) $()") "]", "A=$(NO) $()|", NULL},
    {"O2: a variable's earlier self", 0, "env: [" VALUE("A", "1") ", " VALUE("A", "$(A)2") "]",
     "A=12|", NULL},
    {"O2: $$ is a dollar", 0, "env: [" VALUE("A", "1") ", " VALUE("B", "$$(A) $$$(A) $$$$ $") "]",
     "A=1|B=$(A) $1 $$ $|", NULL},
    {"O2: other dollars mean themselves", 0, "env: [" VALUE("A", "$A ${A} $(A $") "]",
     "A=$A ${A} $(A $|", NULL},
    {"O2: a name ends at the first bracket", 0,
     "env: [" VALUE("A", "1") ", " VALUE("B", "$(x$(A))") "]", "A=1|B=$(x$(A))|", NULL},
    {"O2: a secret's content is not expanded", 0,
     "env: [" KEY("M", "name: db, key: money") ", " VALUE("user", "x") "]", "M=$(user) $$|user=x|",
     NULL},
    {"O2: nor when a literal refers to it", 0,
     "env: [" VALUE("user", "x") ", " KEY("M", "name: db, key: money") ", " VALUE("O",
                                                                                  "<$(M)>") "]",
     "M=$(user) $$|O=<$(user) $$>|user=x|", NULL},

    {"O3: a prefix", 0, "envFrom: [{prefix: P_, secretRef: {name: other}}]",
     "P_host=h|P_user=other|", NULL},
    {"O3: names that are none are skipped", ENV_NAMES_STRICT, SECRET("odd"),
     ".hidden=4|a.b-c=2|ok=3|", "0day, 9lives"},
    {"O3: the prefixed name counts", ENV_NAMES_STRICT,
     "envFrom: [{prefix: P, secretRef: {name: odd}}]",
     "P.hidden=4|P0day=5|P9lives=1|Pa.b-c=2|Pok=3|", NULL},
    {"O3: one list, sorted, each once", ENV_NAMES_STRICT,
     "envFrom: [{prefix: _, secretRef: {name: odd}}, {secretRef: {name: odd}},"
     "{secretRef: {name: odd}}]",
     ".hidden=4|_.hidden=4|_0day=5|_9lives=1|_a.b-c=2|_ok=3|a.b-c=2|ok=3|", "0day, 9lives"},
    {"O4: any name", ENV_NAMES_RELAXED, SECRET("odd"), ".hidden=4|0day=5|9lives=1|a.b-c=2|ok=3|",
     NULL},
    {"O4: printable, without =", ENV_NAMES_RELAXED, "env: [" VALUE("'a b'", "1") "]", "a b=1|",
     NULL},

    {"O6: a missing object", 0,
     "env: [" KEY(
         "A",
         "name: gone, key: k, optional: true") "]\n"
                                               "envFrom: [{secretRef: {name: gone, optional: "
                                               "true}}, {configMapRef: {name: other, optional: "
                                               "true}}]",
     "", NULL},
    {"O6: a missing key", 0, "env: [" KEY("A", "name: db, key: gone, optional: true") "]", "",
     NULL},
    {"O6: what is missing leaves an earlier one alone", 0,
     "env: [" VALUE("A", "1") ", " KEY("A", "name: db, key: gone, optional: true") "]", "A=1|",
     NULL},
    {"O6: and nothing is there to refer to", 0,
     "env: [" KEY("A", "name: db, key: gone, optional: true") ", " VALUE("B", "$(A)") "]",
     "B=$(A)|", NULL},

    {"Y33: a skipped entry leaves a value of envFrom", 0,
     "env: [" KEY("user", "name: gone, key: k, optional: true") "]\n" SECRET("other"),
     "host=h|user=other|", NULL},
    {"Y33: the last of all entries of a name", 0,
     "env: [" VALUE("user", "1") ", " KEY("user", "name: db, key: user") "]\n" SECRET("other"),
     "host=h|user=app|", NULL},
    {"Y34: a prefix is checked, and not what it makes", ENV_NAMES_RELAXED,
     "envFrom: [{prefix: '1 ', secretRef: {name: other}}]", "1 host=h|1 user=other|", NULL},

    {"Y35: a key of a file", 0, "env: [" FILE_KEY("U", "dir/a.env", "USER") "]", "U=filed|", NULL},
    {"Y35: on several lines", 0, "env: [" FILE_KEY("U", "dir/a.env", "LONG") "]", "U=a\nb|", NULL},
    {"Y35: over envFrom, and under a later entry", 0,
     "env: [" FILE_KEY("user", "dir/a.env", "USER") ", " VALUE("B",
                                                               "$(user)") "]\n" SECRET("other"),
     "B=filed|host=h|user=filed|", NULL},
    {"Y35: an optional key that the file lacks", 0,
     "env: [" FILE_KEY("user", "dir/a.env", "NONE, optional: true") "]\n" SECRET("other"),
     "host=h|user=other|", NULL},
    {"Y35: an optional key without a value", 0,
     "env: [" FILE_KEY("U", "dir/a.env", "EMPTY, optional: true") "]", "", NULL},

    {"M4: binaryData is no part of it", 0, "envFrom: [{configMapRef: {name: db}}]", "user=config|",
     NULL},
    {"M4: nor a key", 0,
     "env: [{name: B, valueFrom: {configMapKeyRef: {name: db, key: binary, optional: true}}}]", "",
     NULL},
    {"O7: a value that is not used may be what it likes", 0,
     "env: [" VALUE("nul", "mine") "]\n" SECRET("nul"), "nul=mine|", NULL},
};

static void outcomes_are_right(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(outcomes); i++) {
        _cleanup_(env_spec_deinit) struct env_spec spec = {.names = outcomes[i].names};
        _cleanup_(env_freep) struct env *env = NULL;
        char text[512];
        struct error e;

        if (compute(*state, outcomes[i].yaml, &spec, &env, &e) < 0)
            fail_msg("%s: %s", outcomes[i].rule, e.text);
        print_env(env, text, sizeof(text));
        if (!streq(text, outcomes[i].expected))
            fail_msg("%s: got %s", outcomes[i].rule, text);
        if ((env->skipped == NULL) != (outcomes[i].skipped == NULL) ||
            (env->skipped != NULL && !streq(env->skipped, outcomes[i].skipped)))
            fail_msg("%s: skipped %s", outcomes[i].rule, env->skipped);
    }
}

/* ---- O5, O7, Y35: refusals */

static const struct {
    const char *yaml;
    int result;
    const char *message;
} refusals[] = {
    {"env: [" KEY("A", "name: gone, key: k") "]", -ENOENT,
     "secret \"gone\" not found in namespace \"default\""},
    {"envFrom: [{configMapRef: {name: other}}]", -ENOENT,
     "configmap \"other\" not found in namespace \"default\""},
    {"env: [" KEY("A", "name: db, key: gone") "]", -ENOENT,
     "couldn't find key gone in Secret default/db"},
    {"env: [{name: B, valueFrom: {configMapKeyRef: {name: db, key: binary}}}]", -ENOENT,
     "couldn't find key binary in ConfigMap default/db"},
    {"env: [" FILE_KEY("U", "dir/a.env", "NONE") "]", -EBADMSG,
     "dir/a.env in /v has no value for the key NONE: add the line NONE='...'"},
    {"env: [" FILE_KEY("U", "dir/a.env", "EMPTY") "]", -EBADMSG, "has no value for the key EMPTY"},
    {"env: [" FILE_KEY("U", "none", "USER, optional: true") "]", -EBADMSG,
     "cannot read none in /v"},
    {"env: [" FILE_KEY("U", "huge", "USER") "]", -EBADMSG, "huge"},
    {"env: [" FILE_KEY("U", "bad", "USER, optional: true") "]", -EBADMSG,
     "bad in /v: line 1: the value is not in single quotes"},
    {SECRET("nul"), -EINVAL, "the value of variable nul has a NUL byte"},
    {"env: [" KEY("A", "name: nul, key: nul") "]", -EINVAL, "variable A has a NUL byte"},
    {"env: [" VALUE("B", "$(nul)") ", " VALUE("nul", "") "]\n" SECRET("nul"), -EINVAL,
     "variable B has a NUL byte"},
};

static void refusals_say_why(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(refusals); i++) {
        _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
        struct env *env = NULL;
        struct error e;
        int r = compute(*state, refusals[i].yaml, &spec, &env, &e);

        if (r != refusals[i].result || strstr(e.text, refusals[i].message) == NULL)
            fail_msg("%s gave %d, %s", refusals[i].yaml, r, e.text);
        assert_null(env);
    }
}

/* Each variable doubles the one before: the last would have 2^64 bytes. */
static void growth_is_bounded(void **state)
{
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    char yaml[8192] = "env: [{name: V0, value: xx}";
    struct env *env = NULL;
    struct error e;

    for (int i = 1; i < 64; i++) {
        size_t len = strlen(yaml);

        snprintf(yaml + len, sizeof(yaml) - len, ", {name: V%d, value: $(V%d)$(V%d)}", i, i - 1,
                 i - 1);
    }
    strncat(yaml, "]", sizeof(yaml) - strlen(yaml) - 1);
    assert_int_equal(compute(*state, yaml, &spec, &env, &e), -E2BIG);
    assert_non_null(strstr(e.text, "is longer than the limit of"));
}

static void longest_value_is_execves(void **state)
{
    size_t max = 32 * (size_t)sysconf(_SC_PAGESIZE), value_max = max - strlen("A=") - 1;
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    _cleanup_(freep) char *value = malloc(value_max + 2);
    char name[] = "A";
    const struct env_source source = {.kind = ENV_LITERAL, .name = name, .value = value};
    struct env *env = NULL;
    struct error e;

    assert_non_null(value);
    memset(value, 'x', value_max + 1);
    value[value_max] = '\0';
    assert_int_equal(env_spec_add(&spec, &source, &e), 0);
    assert_int_equal(compute_spec(*state, &spec, &env, &e), 0);
    env = env_free(env);
    value[value_max] = 'x';
    value[value_max + 1] = '\0';
    assert_int_equal(env_spec_add(&spec, &source, &e), 0);
    assert_int_equal(compute_spec(*state, &spec, &env, &e), -E2BIG);
    assert_non_null(strstr(e.text, "variable A is longer"));
}

static void sameness(void **state)
{
    static const struct {
        const char *a, *b;
        bool is_same;
    } cases[] = {
        {"{}", "{}", true},
        {"env: [" VALUE("A", "1") "]", "env: [" VALUE("A", "1") "]", true},
        {"env: [" VALUE("A", "1") "]", "env: [" VALUE("A", "2") "]", false},
        {"env: [" VALUE("A", "1") "]", "env: [" VALUE("A", "12") "]", false},
        {"env: [" VALUE("A", "1") "]", "env: [" VALUE("B", "1") "]", false},
        {"env: [" VALUE("A", "1") "]", "{}", false},
        {"env: [" VALUE("A", "app") "]", "env: [" KEY("A", "name: db, key: user") "]", true},
        {"env: [" VALUE("A", "1") ", " VALUE("B", "2") "]",
         "env: [" VALUE("B", "2") ", " VALUE("A", "1") "]", true},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(env_spec_deinit) struct env_spec a_spec = {.sources = NULL};
        _cleanup_(env_spec_deinit) struct env_spec b_spec = {.sources = NULL};
        _cleanup_(env_freep) struct env *a = NULL, *b = NULL;
        struct error e;

        assert_int_equal(compute(*state, cases[i].a, &a_spec, &a, &e), 0);
        assert_int_equal(compute(*state, cases[i].b, &b_spec, &b, &e), 0);
        assert_int_equal(env_is_same(a, b), cases[i].is_same);
        assert_int_equal(env_is_same(b, a), cases[i].is_same);
    }
}

static void vector_puts_variables_over_the_inherited(void **state)
{
    static char path[] = "PATH=/bin", user[] = "user=root", strange[] = "strange", host[] = "hos=t";
    char *const inherited[] = {path, user, strange, host, NULL};
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    _cleanup_(env_freep) struct env *env = NULL;
    struct error e;
    char **vector;

    assert_int_equal(compute(*state, SECRET("other"), &spec, &env, &e), 0);
    vector = env_vector(env, inherited);
    assert_non_null(vector);
    assert_ptr_equal(vector[0], path);
    assert_ptr_equal(vector[1], strange);
    assert_ptr_equal(vector[2], host);
    assert_string_equal(vector[3], "host=h");
    assert_string_equal(vector[4], "user=other");
    assert_null(vector[5]);
    secmem_free(vector);
}

static int attempt(void *userdata)
{
    static char path[] = "PATH=/bin";
    char *const inherited[] = {path, NULL};
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    _cleanup_(env_freep) struct env *env = NULL;
    struct error e;
    char **vector;
    int r = parse_spec(
        "env: [" VALUE("B", "<$(user)>") ", " KEY("A", "name: db, key: user") ", " FILE_KEY(
            "F", "dir/a.env", "LONG") "]\n"
                                      "envFrom: [{prefix: p, secretRef: {name: "
                                      "db}}, {secretRef: {name: odd}}]",
        &spec, &e);

    if (r >= 0)
        r = compute_spec(userdata, &spec, &env, &e);
    if (r < 0)
        return r;
    vector = env_vector(env, inherited);
    if (vector == NULL)
        return -ENOMEM;
    secmem_free(vector);
    return 0;
}

static void without_memory(void **state)
{
    failmalloc_try(attempt, *state);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(outcomes_are_right), TEST(refusals_say_why),
        TEST(growth_is_bounded),  TEST(longest_value_is_execves),
        TEST(sameness),           TEST(vector_puts_variables_over_the_inherited),
        TEST(without_memory),
    };

    return cmocka_run_group_tests_name("env", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"
#include "volume/spec_parse.h"

/* One object of the source, its keys and values as "k=v", separated by blanks. */
struct world_object {
    enum object_kind kind;
    const char *name;
    const char *content; /* NULL: absent; "?": not known yet */
    const char *type;
};

#define UNKNOWN     "?"
#define OBJECTS_MAX 4

static struct object *make_object(const struct world_object *w)
{
    const struct object like = {.key = {.kind = w->kind, .namespace = "ns", .name = w->name},
                                .type = w->type};
    struct object_input inputs[8];
    _cleanup_(freep) char *text = strdup(w->content);
    char *at = text, *word;
    struct object *object = NULL;
    size_t n = 0;

    while ((word = strsep(&at, " ")) != NULL) {
        char *value = strchr(word, '=');

        if (value == NULL)
            continue;
        *value++ = '\0';
        inputs[n] = (struct object_input){.key = word, .text = value, .len = strlen(value)};
        /* "+k=v": from binaryData */
        inputs[n].is_binary = word[0] == '+';
        inputs[n].key += word[0] == '+';
        n++;
    }
    assert_int_equal(object_new(&like, inputs, n, &object, NULL), 0);
    return object;
}

static struct volume_spec *parse(const char *text)
{
    struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;

    if (volume_spec_parse(text, strlen(text), &spec, &e) != 0)
        fail_msg("\"%s\": %s", text, e.text);
    return spec;
}

/* One object for each source of the spec, in their order. */
static int project(const char *yaml, const struct world_object *objects,
                   struct payload **ret_payload, struct error *e)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec = parse(yaml);
    struct object_key keys[OBJECTS_MAX];
    struct store_view views[OBJECTS_MAX] = {{.key = NULL}};
    const struct store_view *all[OBJECTS_MAX];
    int r;

    assert_true(spec->n_sources <= OBJECTS_MAX);
    for (size_t i = 0; i < spec->n_sources; i++) {
        const struct world_object *w = &objects[i];

        keys[i] = (struct object_key){
            .kind = w->kind, .namespace = "ns", .name = w->name, .detail = spec->sources[i].detail};
        assert_string_equal(spec->sources[i].name, w->name);
        views[i].key = &keys[i];
        views[i].presence = w->content == NULL           ? STORE_ABSENT
                            : streq(w->content, UNKNOWN) ? STORE_UNKNOWN
                                                         : STORE_PRESENT;
        if (views[i].presence == STORE_PRESENT)
            views[i].object = make_object(w);
        all[i] = &views[i];
    }
    *e = ERROR_INIT;
    r = volume_spec_project(spec, all, ret_payload, e);
    for (size_t i = 0; i < spec->n_sources; i++)
        object_unref(views[i].object);
    return r;
}

/* A payload as "path=value" with blanks between them, in the order of paths. */
static void payload_text(const struct payload *p, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < p->n_files; i++)
        len +=
            (size_t)snprintf(buf + len, size - len, "%s%s=%.*s", i > 0 ? " " : "", p->files[i].path,
                             (int)p->files[i].len, (const char *)p->files[i].bytes);
}

static const struct payload_attributes *attributes_of(const struct payload *p, const char *path)
{
    for (size_t i = 0; i < p->n_files; i++)
        if (streq(p->files[i].path, path))
            return &p->files[i].attributes;
    fail_msg("there is no %s", path);
    return NULL;
}

#define SECRET(content)                                                                            \
    {                                                                                              \
        OBJECT_SECRET, "s", content, "Opaque"                                                      \
    }
#define CONFIGMAP(content)                                                                         \
    {                                                                                              \
        OBJECT_CONFIGMAP, "c", content, ""                                                         \
    }
#define WHOLE           "secret: {secretName: s}"
#define OPTIONAL        "secret: {secretName: s, optional: true}"
#define ITEMS(list)     "secret: {secretName: s, items: [" list "]}"
#define MAYBE(list)     "secret: {secretName: s, optional: true, items: [" list "]}"
#define ITEM(key, path) "{key: " key ", path: \"" path "\"}"
#define PROJECTED(list) "projected: {sources: [" list "]}"
#define BUNDLE(which)   PROJECTED("{clusterTrustBundle: {path: ca.crt, " which "}}")
#define BUNDLES(name, content)                                                                     \
    {                                                                                              \
        OBJECT_CLUSTER_TRUST_BUNDLE, name, content, ""                                             \
    }
#define SIGNER "signerName: example.com/a"

/* The rules of the payload and the outcomes at mount and at update time. */
static const struct {
    const char *rule;
    const char *spec;
    struct world_object objects[OBJECTS_MAX];
    int result;
    const char *expected; /* the payload, or the error */
} cases[] = {
    {"Y15", BUNDLE("name: one"), {BUNDLES("one", "trustBundle=pem")}, 0, "ca.crt=pem"},
    {"Y15", BUNDLE("name: one, optional: true"), {BUNDLES("one", NULL)}, 0, "ca.crt="},
    {"Y14", BUNDLE("name: one, optional: true"), {BUNDLES("one", UNKNOWN)}, VOLUME_INCOMPLETE, ""},
    {"Y15",
     BUNDLE("name: one"),
     {BUNDLES("one", NULL)},
     -ENOENT,
     "clustertrustbundle \"one\" not found"},
    {"Y15",
     BUNDLE(SIGNER ", labelSelector: {}"),
     {BUNDLES("example.com/a", NULL)},
     -ENOENT,
     "no clustertrustbundle has the signerName \"example.com/a\" and fits the labelSelector"},
    {"Y15",
     BUNDLE(SIGNER),
     {BUNDLES("example.com/a", NULL)},
     -ENOENT,
     "signerName \"example.com/a\" without a labelSelector selects no clustertrustbundle; {} "
     "selects all of the signer"},
    {"B1, B10", WHOLE, {SECRET("a=1 .b= c=3")}, 0, ".b= a=1 c=3"},
    {"A10", WHOLE, {SECRET("")}, 0, ""},
    {"B2", ITEMS(ITEM("b", "x")), {SECRET("a=1 b=2")}, 0, "x=2"},
    {"B2", ITEMS(ITEM("b", "d/e/f")), {SECRET("a=1 b=2")}, 0, "d/e/f=2"},
    {"B3", ITEMS(ITEM("a", "x") "," ITEM("a", "y")), {SECRET("a=1")}, 0, "x=1 y=1"},
    {"B3", ITEMS(ITEM("a", "x") "," ITEM("b", "x")), {SECRET("a=1 b=2")}, 0, "x=2"},
    {"B5", ITEMS(ITEM("a", "x//y") "," ITEM("b", "./x/y/")), {SECRET("a=1 b=2")}, 0, "x/y=2"},
    {"B8, B9",
     ITEMS(ITEM("a", "x") "," ITEM("b", "x/y")),
     {SECRET("a=1 b=2")},
     -EINVAL,
     "\"x/y\" lies below \"x\""},
    {"no items at all", ITEMS(""), {SECRET("a=1")}, 0, "a=1"},
    {"G1", WHOLE, {SECRET(NULL)}, -ENOENT, "secret \"s\" not found in namespace \"ns\""},
    {"G1", WHOLE, {SECRET(UNKNOWN)}, VOLUME_INCOMPLETE, ""},
    {"G2, G9", OPTIONAL, {SECRET(NULL)}, 0, ""},
    {"G6", OPTIONAL, {SECRET(UNKNOWN)}, VOLUME_INCOMPLETE, ""},
    {"G3, G10",
     ITEMS(ITEM("a", "x") "," ITEM("b", "y")),
     {SECRET("a=1")},
     -ENOENT,
     "secret/ns/s: references non-existent secret key: b"},
    {"G4, G10", MAYBE(ITEM("a", "x") "," ITEM("b", "y")), {SECRET("a=1")}, 0, "x=1"},
    {"G5", MAYBE(ITEM("a", "x")), {SECRET(NULL)}, 0, ""},
    {"M1",
     "configMap: {name: c, items: [" ITEM("b", "y") "]}",
     {CONFIGMAP("a=1")},
     -ENOENT,
     "configmap/ns/c: configmap references non-existent config key: b"},
    {"M1", "configMap: {name: c}", {CONFIGMAP(NULL)}, -ENOENT, "configmap \"c\" not found"},
    {"M1", "configMap: {name: c, optional: true}", {CONFIGMAP(NULL)}, 0, ""},
    {"M3, without items", "configMap: {name: c}", {CONFIGMAP("+k=binary k=text")}, 0, "k=binary"},
    {"M3, with items",
     "configMap: {name: c, items: [" ITEM("k", "x") "]}",
     {CONFIGMAP("+k=binary k=text")},
     0,
     "x=text"},
    {"N1", PROJECTED(""), {SECRET("")}, 0, ""},
    {"N2",
     PROJECTED("{secret: {name: s}}, {configMap: {name: c}}"),
     {SECRET("a=1 b=1"), CONFIGMAP("b=2 c=2")},
     0,
     "a=1 b=2 c=2"},
    {"N2",
     PROJECTED("{configMap: {name: c}}, {secret: {name: s}}"),
     {CONFIGMAP("b=2 c=2"), SECRET("a=1 b=1")},
     0,
     "a=1 b=1 c=2"},
    {"N4, one of two is optional",
     PROJECTED("{secret: {name: s, optional: true}}, {configMap: {name: c}}"),
     {SECRET(NULL), CONFIGMAP("b=2")},
     0,
     "b=2"},
    {"N4, all errors at once",
     PROJECTED("{secret: {name: s}}, {configMap: {name: c}}"),
     {SECRET(NULL), CONFIGMAP(NULL)},
     -ENOENT,
     "secret \"s\" not found in namespace \"ns\"; configmap \"c\" not found in namespace \"ns\""},
    {"N4, an error is known before all is known",
     PROJECTED("{secret: {name: s}}, {configMap: {name: c}}"),
     {SECRET(UNKNOWN), CONFIGMAP(NULL)},
     -ENOENT,
     "configmap \"c\" not found"},
    {"N4, not before all is known",
     PROJECTED("{secret: {name: s}}, {configMap: {name: c}}"),
     {SECRET("a=1"), CONFIGMAP(UNKNOWN)},
     VOLUME_INCOMPLETE,
     ""},
    {"N5",
     PROJECTED("{secret: {name: s}}, {configMap: {name: c, items: [" ITEM("b", "a/b") "]}}"),
     {SECRET("a=1"), CONFIGMAP("b=2")},
     -EINVAL,
     "\"a/b\" lies below \"a\""},
    {"N6",
     PROJECTED("{secret: {name: s, items: [" ITEM("a", "x") "]}}, {secret: {name: s}}"),
     {SECRET("a=1"), SECRET("a=1")},
     0,
     "a=1 x=1"},
    {"L6", WHOLE ", secretfs: {type: opaque}", {SECRET("a=1")}, 0, "a=1"},
    {"L6",
     WHOLE ", secretfs: {type: tls}",
     {SECRET("a=1")},
     -EINVAL,
     "secret/ns/s is of type Opaque, expected kubernetes.io/tls"},
    {"L6, hold needs a pair",
     WHOLE ", secretfs: {tls: hold}",
     {SECRET("a=1")},
     -EINVAL,
     "secret/ns/s is of type Opaque, expected kubernetes.io/tls for tls: hold"},
    {"L6, hold beside other secrets",
     PROJECTED("{secret: {name: s}}") ", secretfs: {tls: hold}",
     {SECRET("a=1")},
     0,
     "a=1"},
    {"L6, of secrets only",
     PROJECTED("{configMap: {name: c}}") ", secretfs: {type: tls}",
     {CONFIGMAP("a=1")},
     0,
     "a=1"},
};

static void outcomes(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(payload_unrefp) struct payload *p = NULL;
        char yaml[512], text[256] = "";
        struct error e;
        int r;

        snprintf(yaml, sizeof(yaml), "{%s}", cases[i].spec);
        r = project(yaml, cases[i].objects, &p, &e);
        if (r == 0)
            payload_text(p, text, sizeof(text));
        if (r != cases[i].result ||
            (r == 0 ? !streq(text, cases[i].expected) : strstr(e.text, cases[i].expected) == NULL))
            fail_msg("%s: %s gave %d \"%s\" \"%s\", not %d \"%s\"", cases[i].rule, yaml, r, text,
                     e.text, cases[i].result, cases[i].expected);
    }
}

/* B1, B2, F1: the item's mode, else the default; 0 is one. */
static void modes(void **state)
{
    const struct world_object object = SECRET("a=1 b=2 c=3");
    _cleanup_(payload_unrefp) struct payload *p = NULL, *q = NULL;
    struct error e;

    assert_int_equal(project("secret: {secretName: s, defaultMode: 0440, items: ["
                             "{key: a, path: a}, {key: b, path: b, mode: 0}, "
                             "{key: c, path: c, mode: 511, uid: 7, gid: 8}]}",
                             &object, &p, &e),
                     0);
    assert_int_equal(attributes_of(p, "a")->mode, 0440);
    assert_int_equal(attributes_of(p, "a")->uid, PAYLOAD_ID_INHERITED);
    assert_int_equal(attributes_of(p, "b")->mode, 0);
    assert_int_equal(attributes_of(p, "c")->mode, 0777);
    assert_int_equal(attributes_of(p, "c")->uid, 7);
    assert_int_equal(attributes_of(p, "c")->gid, 8);
    assert_int_equal(project("secret: {secretName: s}", &object, &q, &e), 0);
    assert_int_equal(attributes_of(q, "a")->mode, 0644);
}

/* Owners: an item's own, then the fsGroup (F10), then the volume's. */
static void owners(void **state)
{
    const struct world_object object = SECRET("a=1 b=2");
    _cleanup_(payload_unrefp) struct payload *p = NULL, *q = NULL;
    struct error e;

    assert_int_equal(project("{secret: {secretName: s, items: [{key: a, path: a}, {key: b, path: "
                             "b, gid: 9}]}, secretfs: {uid: 5, gid: 6}}",
                             &object, &p, &e),
                     0);
    assert_int_equal(attributes_of(p, "a")->uid, 5);
    assert_int_equal(attributes_of(p, "a")->gid, 6);
    assert_int_equal(attributes_of(p, "b")->uid, 5);
    assert_int_equal(attributes_of(p, "b")->gid, 9);
    assert_int_equal(project("{secret: {secretName: s, items: [{key: a, path: a}, {key: b, path: "
                             "b, gid: 9}]}, secretfs: {uid: 5, gid: 6, fsGroup: 7}}",
                             &object, &q, &e),
                     0);
    assert_int_equal(attributes_of(q, "a")->gid, 7);
    assert_int_equal(attributes_of(q, "b")->gid, 9);
}

/* F10, F11: an fsGroup adds 0440 and never more. */
static void fs_group_widens_modes(void **state)
{
    static const struct {
        mode_t asked;
        mode_t expected;
    } table[] = {{0400, 0440}, {0600, 0640}, {0644, 0644}, {0000, 0440}, {0777, 0777}};
    const struct world_object object = SECRET("a=1");

    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        _cleanup_(payload_unrefp) struct payload *p = NULL;
        char yaml[256];
        struct error e;

        snprintf(yaml, sizeof(yaml),
                 "{secret: {secretName: s, defaultMode: %u}, secretfs: {fsGroup: 0}}",
                 table[i].asked);
        assert_int_equal(project(yaml, &object, &p, &e), 0);
        assert_int_equal(attributes_of(p, "a")->mode, table[i].expected);
    }
}

/* F5, F6, F11 */
static void root_modes(void **state)
{
    static const struct {
        const char *yaml;
        mode_t mode;
    } table[] = {
        {"secret: {secretName: s}", 01777},
        {"projected: {sources: []}", 01777},
        {"configMap: {name: c}", 0777},
        {"{secret: {secretName: s}, secretfs: {fsGroup: 5}}", 03777},
        {"{projected: {}, secretfs: {fsGroup: 5}}", 03777},
        {"{configMap: {name: c}, secretfs: {fsGroup: 5}}", 02777},
    };

    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        _cleanup_(volume_spec_freep) struct volume_spec *spec = parse(table[i].yaml);

        assert_int_equal(volume_spec_root_mode(spec), table[i].mode);
    }
}

static void limits(void **state)
{
    const struct volume_item item = {.key = "k", .path = "p"};
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    struct volume_source *source;

    assert_int_equal(volume_spec_new(VOLUME_PROJECTED, &spec), 0);
    for (size_t i = 0; i < VOLUME_SOURCES_MAX; i++)
        assert_int_equal(volume_spec_add_source(spec, OBJECT_SECRET, "s", &source), 0);
    assert_int_equal(volume_spec_add_source(spec, OBJECT_SECRET, "s", &source), -E2BIG);
    for (size_t i = 0; i < VOLUME_ITEMS_MAX; i++)
        assert_int_equal(volume_source_add_item(source, &item), 0);
    assert_int_equal(volume_source_add_item(source, &item), -E2BIG);
}

/* B6, B9: should a bad path have come past the parser, the whole is refused. */
static void unchecked_path_is_refused(void **state)
{
    const struct volume_item items[] = {{.key = "a", .path = "x"}, {.key = "a", .path = "../x"}};
    const struct world_object object = SECRET("a=1");
    const struct object_key key = {OBJECT_SECRET, "ns", "s", NULL};
    const struct store_view view = {
        .key = &key, .presence = STORE_PRESENT, .object = make_object(&object)};
    const struct store_view *const views[] = {&view};
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    struct volume_source *source;
    struct payload *p = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(volume_spec_new(VOLUME_SECRET, &spec), 0);
    assert_int_equal(volume_spec_add_source(spec, OBJECT_SECRET, "s", &source), 0);
    for (size_t i = 0; i < ELEMENTS_OF(items); i++)
        assert_int_equal(volume_source_add_item(source, &items[i]), 0);
    assert_int_equal(volume_spec_project(spec, views, &p, &e), -EINVAL);
    assert_string_equal(e.text, "secret/ns/s: invalid path \"../x\": \"..\" is not allowed in "
                                "it");
    assert_null(p);
    object_unref(view.object);
}

/* The other inputs of projection. */
struct projected {
    struct volume_spec *spec;
    const struct store_view *const *views;
};

static int project_it(void *userdata)
{
    const struct projected *it = userdata;
    _cleanup_(payload_unrefp) struct payload *p = NULL;
    struct error e = ERROR_INIT;
    int r = volume_spec_project(it->spec, it->views, &p, &e);

    assert(r == 0 || strstr(e.text, "emory") != NULL);
    return r;
}

static void allocation_failures_are_reported(void **state)
{
    const struct world_object objects[] = {SECRET("a=1 b=2"), CONFIGMAP("c=3")};
    const struct object_key keys[] = {{OBJECT_SECRET, "ns", "s", NULL},
                                      {OBJECT_CONFIGMAP, "ns", "c", NULL}};
    struct store_view views[ELEMENTS_OF(objects)];
    const struct store_view *const all[] = {&views[0], &views[1]};
    struct projected it = {.spec = parse("{" PROJECTED("{secret: {name: s}}, {configMap: {name: "
                                                       "c}}") "}"),
                           .views = all};

    for (size_t i = 0; i < ELEMENTS_OF(objects); i++)
        views[i] = (struct store_view){
            .key = &keys[i], .presence = STORE_PRESENT, .object = make_object(&objects[i])};
    failmalloc_try(project_it, &it);
    for (size_t i = 0; i < ELEMENTS_OF(objects); i++)
        object_unref(views[i].object);
    volume_spec_free(it.spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcomes),
        cmocka_unit_test(modes),
        cmocka_unit_test(root_modes),
        cmocka_unit_test(fs_group_widens_modes),
        cmocka_unit_test(limits),
        cmocka_unit_test(owners),
        cmocka_unit_test(unchecked_path_is_refused),
        cmocka_unit_test(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests_name("spec", tests, NULL, NULL);
}

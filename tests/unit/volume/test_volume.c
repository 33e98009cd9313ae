/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"
#include "tests/unit/make_pair.h"
#include "volume/spec_parse.h"

static const struct object_key secret = {
    .kind = OBJECT_SECRET, .namespace = "default", .name = "s"};
static const struct object_key configmap = {
    .kind = OBJECT_CONFIGMAP, .namespace = "default", .name = "c"};

/* A volume on a store whose source is the test itself. */
struct fixture {
    struct store *store;
    struct volume_spec *spec;
    struct volume *volume;
    struct payload *last; /* the newest that was passed on */
    mono_us last_received_at;
    unsigned n_payloads;
    unsigned n_states;
    unsigned n_watched;
    unsigned n_rights_checked;
    const char *labels;      /* of the volume's pod; NULL: unknown */
    struct payload *checked; /* the newest that check() was called with */
    unsigned n_checks;
    bool refuses_checks;
    bool keeps_previous; /* set before begin() */
};

static int watch(void *userdata, const struct object_key *key, struct error *e)
{
    struct fixture *f = userdata;

    assert_string_equal(key->namespace, "default");
    f->n_watched++;
    return 0;
}

static void unwatch(void *userdata, const struct object_key *key)
{
    struct fixture *f = userdata;

    f->n_watched--;
}

static void on_payload(void *userdata, struct payload *payload, mono_us received_at)
{
    struct fixture *f = userdata;

    payload_unref(f->last);
    f->last = payload_ref(payload);
    f->last_received_at = received_at;
    f->n_payloads++;
}

static void on_state(void *userdata)
{
    ((struct fixture *)userdata)->n_states++;
}

static const char *labels(void *userdata)
{
    return ((struct fixture *)userdata)->labels;
}

static int on_check(void *userdata, struct payload *payload, struct error *e)
{
    struct fixture *f = userdata;

    payload_unref(f->checked);
    f->checked = payload_ref(payload);
    f->n_checks++;
    return f->refuses_checks ? error_set(e, -ENOENT, "is unknown") : 0;
}

static void check_rights(void *userdata, const struct object_key *key)
{
    ((struct fixture *)userdata)->n_rights_checked++;
}

static int setup(void **state)
{
    static const struct store_source source = {
        .watch = watch, .unwatch = unwatch, .check_rights = check_rights};
    struct fixture *f = calloc(1, sizeof(*f));

    assert(f != NULL);
    assert_int_equal(store_new(&f->store), 0);
    store_set_source(f->store, &source, f);
    *state = f;
    return 0;
}

static struct volume_options options_of(const struct fixture *f)
{
    return (struct volume_options){.store = f->store,
                                   .spec = f->spec,
                                   .namespace = "default",
                                   .who = "who",
                                   .keeps_previous = f->keeps_previous};
}

/* Make the volume; once for each test. @adopted: what readers get from an earlier process */
static void begin_adopted(struct fixture *f, const char *yaml, const struct volume_adopted *adopted)
{
    static const struct volume_callbacks callbacks = {
        .payload = on_payload, .check = on_check, .state = on_state, .labels = labels};
    struct volume_options options;
    struct error e = ERROR_INIT;

    if (volume_spec_parse(yaml, strlen(yaml), &f->spec, &e) < 0)
        fail_msg("%s: %s", yaml, e.text);
    options = options_of(f);
    if (adopted != NULL)
        options.adopted = *adopted;
    assert_int_equal(volume_new(&options, &callbacks, f, &f->volume, NULL), 0);
}

static void begin(struct fixture *f, const char *yaml)
{
    begin_adopted(f, yaml, NULL);
}

static void end(struct fixture *f)
{
    f->volume = volume_free(f->volume);
    assert_int_equal(f->n_watched, 0);
    f->spec = volume_spec_free(f->spec);
    f->last = payload_unref(f->last);
    f->checked = payload_unref(f->checked);
    f->n_payloads = 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    end(f);
    store_free(f->store);
    free(f);
    return 0;
}

/* The source delivers an object: "k=v" with blanks between them. */
static void put_staged(struct fixture *f, const struct object_key *key, const char *content,
                       const char *uid, mono_us received_at, struct object_staging staging)
{
    const struct object like = {
        .key = *key, .uid = uid, .resource_version = "1", .staging = staging};
    struct object_input inputs[8];
    char *text = strdup(content), *at = text, *word;
    struct object *object = NULL;
    size_t n = 0;

    while ((word = strsep(&at, " ")) != NULL) {
        char *value = strchr(word, '=');

        if (value == NULL)
            continue;
        *value++ = '\0';
        inputs[n++] = (struct object_input){.key = word, .text = value, .len = strlen(value)};
    }
    assert_int_equal(object_new(&like, inputs, n, &object, NULL), 0);
    store_put(f->store, object, received_at);
    free(text);
}

static void put(struct fixture *f, const struct object_key *key, const char *content,
                const char *uid, mono_us received_at)
{
    put_staged(f, key, content, uid, received_at, (struct object_staging){.is_paused = false});
}

/* @expected: "path=value" with blanks between them */
static void assert_shows(const struct fixture *f, const char *expected)
{
    char text[256] = "";
    size_t len = 0;

    assert_non_null(f->last);
    for (size_t i = 0; i < f->last->n_files; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s=%.*s", i > 0 ? " " : "",
                                f->last->files[i].path, (int)f->last->files[i].len,
                                (const char *)f->last->files[i].bytes);
    assert_string_equal(text, expected);
}

static void assert_state(const struct fixture *f, enum volume_state state, const char *error)
{
    assert_string_equal(volume_state_name(volume_state(f->volume)), volume_state_name(state));
    if (error[0] == '\0')
        assert_string_equal(volume_error(f->volume), "");
    else if (strstr(volume_error(f->volume), error) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", volume_error(f->volume), error);
}

#define WHOLE "secret: {secretName: s}"

static void waits_for_the_first_object(void **state)
{
    struct fixture *f = *state;

    begin(f, WHOLE);
    assert_state(f, VOLUME_WAITING, "");
    assert_false(volume_has_answer(f->volume));
    assert_int_equal(f->n_payloads, 0);
    put(f, &secret, "k=v1", "u", 42);
    assert_state(f, VOLUME_CURRENT, "");
    assert_true(volume_has_answer(f->volume));
    assert_int_equal(f->n_payloads, 1);
    assert_int_equal(f->last_received_at, 42);
    assert_shows(f, "k=v1");
}

/* G1; G6: optional does not cover an unknown object. */
static void answers(void **state)
{
    static const char *const specs[] = {WHOLE, "secret: {secretName: s, optional: true}"};
    const struct error forbidden = {.text = "403"};
    struct fixture *f = *state;

    for (size_t i = 0; i < ELEMENTS_OF(specs); i++) {
        begin(f, specs[i]);
        store_report(f->store, &secret, STORE_SOURCE_FAILING, &forbidden);
        assert_state(f, VOLUME_WAITING, "403");
        assert_true(volume_has_answer(f->volume));
        assert_false(volume_is_refused(f->volume));
        assert_int_equal(f->n_payloads, 0);
        end(f);
    }
    begin(f, WHOLE);
    store_remove(f->store, &secret, 1);
    assert_state(f, VOLUME_WAITING, "secret \"s\" not found in namespace \"default\"");
    assert_true(volume_is_refused(f->volume));
}

/* N4: one of two has answered; the other one may never. */
static void answers_of_two(void **state)
{
    const struct error forbidden = {.text = "403"};
    struct fixture *f = *state;

    begin(f, "projected: {sources: [{secret: {name: s}}, {configMap: {name: c}}]}");
    assert_null(volume_tls(f->volume, 0));
    put(f, &secret, "k=1", "u", 1);
    assert_false(volume_has_answer(f->volume));
    store_report(f->store, &configmap, STORE_SOURCE_FAILING, &forbidden);
    assert_true(volume_has_answer(f->volume));
    assert_state(f, VOLUME_WAITING, "403");
    assert_false(volume_is_refused(f->volume));
}

/* E1, E2: the same bytes under another resourceVersion or uid cause no write. */
static void same_content_is_not_passed_on(void **state)
{
    struct fixture *f = *state;

    begin(f, WHOLE);
    put(f, &secret, "k=v1", "u1", 1);
    put(f, &secret, "k=v1", "u2", 2);
    assert_int_equal(f->n_payloads, 1);
    put(f, &secret, "k=v2", "u2", 3);
    assert_int_equal(f->n_payloads, 2);
    assert_shows(f, "k=v2");
    put(f, &secret, "other=v2", "u2", 4);
    assert_int_equal(f->n_payloads, 3);
    assert_shows(f, "other=v2");
}

/* G15: a failure of the source changes neither payload nor state, but is reported. */
static void failing_source_changes_no_content(void **state)
{
    const struct error refused = {.text = "connection refused"};
    struct fixture *f = *state;
    unsigned n_states;

    begin(f, WHOLE);
    put(f, &secret, "k=v1", "u1", 1);
    n_states = f->n_states;
    store_report(f->store, &secret, STORE_SOURCE_FAILING, &refused);
    assert_int_equal(f->n_states, n_states + 1);
    assert_state(f, VOLUME_CURRENT, "connection refused");
    store_report(f->store, &secret, STORE_SOURCE_FAILING, &refused);
    assert_int_equal(f->n_states, n_states + 1);
    store_report(f->store, &secret, STORE_SOURCE_LIVE, NULL);
    assert_state(f, VOLUME_CURRENT, "");
    assert_int_equal(f->n_payloads, 1);
}

/* ---- the outcome matrix at update time */

#define GONE NULL

struct step {
    const char *secret; /* the new content; GONE: deleted; "": no keys; "=": no change */
    const char *configmap;
    const char *shown; /* afterwards; NULL: no payload yet */
    enum volume_state state;
    const char *error;
    bool is_new; /* whether a payload was passed on */
};

#define SAME    "="
#define REVOKED "!403" /* a reply of the source instead of an object */
#define ALLOWED "!200"
#define AWAY    "!503"

static const struct {
    const char *rule;
    const char *spec;
    struct step steps[5];
    size_t n_steps;
} matrix[] = {
    {"G8: deleted, it stays; G12: recreated with the same, nothing is written",
     WHOLE,
     {{"k=1", SAME, "k=1", VOLUME_CURRENT, "", true},
      {GONE, SAME, "k=1", VOLUME_STALE, "not found", false},
      {"k=1", SAME, "k=1", VOLUME_CURRENT, "", false},
      {GONE, SAME, "k=1", VOLUME_STALE, "not found", false},
      {"k=2", SAME, "k=2", VOLUME_CURRENT, "", true}},
     5},
    {"G2: optional and missing, then there; G9: deleted again; G13",
     "secret: {secretName: s, optional: true}",
     {{GONE, SAME, "", VOLUME_CURRENT, "", true},
      {"k=1", SAME, "k=1", VOLUME_CURRENT, "", true},
      {GONE, SAME, "", VOLUME_CURRENT, "", true},
      {"k=1", SAME, "k=1", VOLUME_CURRENT, "", true}},
     4},
    {"G3: a missing key at first; it comes",
     "secret: {secretName: s, items: [{key: k, path: p}, {key: l, path: q}]}",
     {{"k=1", SAME, NULL, VOLUME_WAITING, "non-existent secret key: l", false},
      {"k=1 l=1", SAME, "p=1 q=1", VOLUME_CURRENT, "", true}},
     2},
    {"G10: an item's key vanishes: the whole update is refused",
     "secret: {secretName: s, items: [{key: k, path: p}, {key: l, path: q}]}",
     {{"k=1 l=1", SAME, "p=1 q=1", VOLUME_CURRENT, "", true},
      {"k=2", SAME, "p=1 q=1", VOLUME_STALE, "non-existent secret key: l", false},
      {"k=3 l=3", SAME, "p=3 q=3", VOLUME_CURRENT, "", true}},
     3},
    {"G4, G10: an item's key vanishes and is optional: only it vanishes",
     "secret: {secretName: s, optional: true, items: [{key: k, path: p}, {key: l, path: q}]}",
     {{"k=1 l=1", SAME, "p=1 q=1", VOLUME_CURRENT, "", true},
      {"k=2", SAME, "p=2", VOLUME_CURRENT, "", true},
      {GONE, SAME, "", VOLUME_CURRENT, "", true},
      {"l=4", SAME, "q=4", VOLUME_CURRENT, "", true}},
     4},
    {"G11: keys come and go",
     WHOLE,
     {{"a=1", SAME, "a=1", VOLUME_CURRENT, "", true},
      {"a=1 b=1", SAME, "a=1 b=1", VOLUME_CURRENT, "", true},
      {"b=1", SAME, "b=1", VOLUME_CURRENT, "", true},
      {"", SAME, "", VOLUME_CURRENT, "", true}},
     4},
    {"M1: of a ConfigMap, too",
     "configMap: {name: c, items: [{key: k, path: p}]}",
     {{SAME, "k=1", "p=1", VOLUME_CURRENT, "", true},
      {SAME, "l=1", "p=1", VOLUME_STALE, "references non-existent config key: k", false},
      {SAME, GONE, "p=1", VOLUME_STALE, "configmap \"c\" not found", false},
      {SAME, "k=2", "p=2", VOLUME_CURRENT, "", true}},
     4},
    {"N2, N4: nothing before all is known; any error keeps everything",
     "projected: {sources: [{secret: {name: s}}, {configMap: {name: c}}]}",
     {{"k=1", SAME, NULL, VOLUME_WAITING, "", false},
      {SAME, "l=1", "k=1 l=1", VOLUME_CURRENT, "", true},
      {GONE, SAME, "k=1 l=1", VOLUME_STALE, "secret \"s\" not found", false},
      {SAME, "l=2", "k=1 l=1", VOLUME_STALE, "secret \"s\" not found", false},
      {"k=2", SAME, "k=2 l=2", VOLUME_CURRENT, "", true}},
     5},
    {"N4: optional is per source",
     "projected: {sources: [{secret: {name: s, optional: true}}, {configMap: {name: c}}]}",
     {{GONE, "l=1", "l=1", VOLUME_CURRENT, "", true},
      {"k=1", SAME, "k=1 l=1", VOLUME_CURRENT, "", true},
      {GONE, GONE, "l=1", VOLUME_STALE, "configmap \"c\" not found", true},
      {SAME, "l=2", "l=2", VOLUME_CURRENT, "", true}},
     4},
    {"N5: a path that comes to lie below a file",
     "projected: {sources: [{secret: {name: s}}, {configMap: {name: c, items: [{key: l, path: "
     "a/b}]}}]}",
     {{"k=1", "l=1", "a/b=1 k=1", VOLUME_CURRENT, "", true},
      {"a=1", SAME, "a/b=1 k=1", VOLUME_STALE, "\"a/b\" lies below \"a\"", false}},
     2},
    {"N6: one object twice",
     "projected: {sources: [{secret: {name: s}}, {secret: {name: s, items: [{key: k, path: "
     "d/k}]}}]}",
     {{"k=1", SAME, "d/k=1 k=1", VOLUME_CURRENT, "", true},
      {"k=2", SAME, "d/k=2 k=2", VOLUME_CURRENT, "", true}},
     2},
    {"G15: rights are withdrawn, it stays",
     WHOLE,
     {{"k=1", SAME, "k=1", VOLUME_CURRENT, "", true},
      {REVOKED, SAME, "k=1", VOLUME_CURRENT, "no rights", false},
      {ALLOWED, SAME, "k=1", VOLUME_CURRENT, "", false}},
     3},
    {"onRevoked: remove: rights are withdrawn, it goes; not reached, it stays away",
     "{secret: {secretName: s}, secretfs: {onRevoked: remove}}",
     {{"k=1", SAME, "k=1", VOLUME_CURRENT, "", true},
      {REVOKED, SAME, "", VOLUME_CURRENT, "no rights", true},
      {AWAY, SAME, "", VOLUME_CURRENT, "away", false},
      {ALLOWED, SAME, "k=1", VOLUME_CURRENT, "", true},
      {AWAY, SAME, "k=1", VOLUME_CURRENT, "away", false}},
     5},
    {"onRevoked: remove: it changed meanwhile",
     "{secret: {secretName: s}, secretfs: {onRevoked: remove}}",
     {{"k=1", SAME, "k=1", VOLUME_CURRENT, "", true},
      {REVOKED, SAME, "", VOLUME_CURRENT, "no rights", true},
      {"k=2", SAME, "k=2", VOLUME_CURRENT, "no rights", true}}, /* until it is live again */
     3},
    {"onRevoked: remove: it was deleted meanwhile, which a volume does not follow (G8)",
     "{secret: {secretName: s}, secretfs: {onRevoked: remove}}",
     {{"k=1", SAME, "k=1", VOLUME_CURRENT, "", true},
      {REVOKED, SAME, "", VOLUME_CURRENT, "no rights", true},
      {GONE, SAME, "", VOLUME_STALE, "not found", false},
      {"k=1", SAME, "k=1", VOLUME_CURRENT, "no rights", true}},
     4},
    {"onRevoked: remove: it was never shown",
     "{secret: {secretName: s, optional: true}, secretfs: {onRevoked: remove}}",
     {{REVOKED, SAME, NULL, VOLUME_WAITING, "no rights", false},
      {"k=1", SAME, "k=1", VOLUME_CURRENT, "no rights", true},
      {REVOKED, SAME, "", VOLUME_CURRENT, "no rights", true}},
     3},
    {"onRevoked: remove: of one source, the other goes on",
     "{projected: {sources: [{secret: {name: s}}, {configMap: {name: c}}]}, secretfs: "
     "{onRevoked: remove}}",
     {{"k=1", "l=1", "k=1 l=1", VOLUME_CURRENT, "", true},
      {REVOKED, SAME, "l=1", VOLUME_CURRENT, "no rights", true},
      {SAME, "l=2", "l=2", VOLUME_CURRENT, "no rights", true},
      {SAME, REVOKED, "", VOLUME_CURRENT, "no rights", true},
      {ALLOWED, SAME, "k=1", VOLUME_CURRENT, "no rights", true}},
     5},
    {"L6: another type is refused",
     "{secret: {secretName: s}, secretfs: {type: tls}}",
     {{"k=1", SAME, NULL, VOLUME_WAITING, "expected kubernetes.io/tls", false}},
     1},
};

static void change(struct fixture *f, const struct object_key *key, const char *content)
{
    const struct error no_rights = {.text = "no rights"}, away = {.text = "away"};

    if (content == GONE)
        store_remove(f->store, key, 1);
    else if (streq(content, REVOKED))
        store_refuse(f->store, key, STORE_REVOKED, &no_rights);
    else if (streq(content, AWAY))
        store_report(f->store, key, STORE_SOURCE_FAILING, &away);
    else if (streq(content, ALLOWED))
        store_report(f->store, key, STORE_SOURCE_LIVE, NULL);
    else if (!streq(content, SAME))
        put(f, key, content, "u", 1);
}

static void take_step(struct fixture *f, const char *rule, size_t n, const struct step *step)
{
    unsigned before = f->n_payloads;

    change(f, &secret, step->secret);
    change(f, &configmap, step->configmap);
    if (volume_state(f->volume) != step->state || (f->n_payloads > before) != step->is_new)
        fail_msg("%s, step %zu: %s, %s payload: %s", rule, n + 1,
                 volume_state_name(volume_state(f->volume)), f->n_payloads > before ? "a" : "no",
                 volume_error(f->volume));
    assert_state(f, step->state, step->error);
    if (step->shown != NULL)
        assert_shows(f, step->shown);
    else
        assert_null(f->last);
}

static void outcome_matrix(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < ELEMENTS_OF(matrix); i++) {
        begin(f, matrix[i].spec);
        for (size_t k = 0; k < matrix[i].n_steps; k++)
            take_step(f, matrix[i].rule, k, &matrix[i].steps[k]);
        end(f);
    }
}

/* The source is asked to look after the rights, and only where it matters. */
static void rights_are_checked(void **state)
{
    struct fixture *f = *state;

    begin(f, WHOLE);
    assert_int_equal(f->n_rights_checked, 0);
    end(f);
    begin(f, "{projected: {sources: [{secret: {name: s}}, {configMap: {name: c}}]}, secretfs: "
             "{onRevoked: remove}}");
    assert_int_equal(f->n_rights_checked, 2);
}

/* N1: no sources are an empty volume, at once. */
static void volume_of_nothing(void **state)
{
    struct fixture *f = *state;

    begin(f, "projected: {}");
    assert_state(f, VOLUME_CURRENT, "");
    assert_shows(f, "");
    assert_null(volume_least_healthy_source(f->volume));
}

/* N6: the store watches an object once, however often it is listed. */
static void one_watch_for_each_object(void **state)
{
    struct fixture *f = *state;

    begin(f, "projected: {sources: [{secret: {name: s}}, {secret: {name: s}}, "
             "{configMap: {name: c}}]}");
    assert_int_equal(f->n_watched, 2);
    assert_ptr_equal(volume_view(f->volume, 0), volume_view(f->volume, 1));
}

/* Objects that the store has already are used at once. */
static void second_volume_starts_with_what_is_known(void **state)
{
    static const struct volume_callbacks callbacks = {.payload = on_payload, .state = on_state};
    struct fixture *f = *state;
    struct volume_options options;
    struct volume *second = NULL;

    begin(f, WHOLE);
    put(f, &secret, "k=1", "u", 7);
    options = options_of(f);
    assert_int_equal(volume_new(&options, &callbacks, f, &second, NULL), 0);
    assert_int_equal(f->n_payloads, 2);
    assert_int_equal(f->last_received_at, 7);
    assert_state(f, VOLUME_CURRENT, "");
    volume_free(second);
}

/* ---- certificates */

static void put_pair(struct fixture *f, const char *cert_pem, const char *key_pem)
{
    const struct object like = {.key = secret, .type = TLS_TYPE};
    const struct object_input inputs[] = {
        {.key = "tls.crt", .text = cert_pem, .len = strlen(cert_pem)},
        {.key = "tls.key", .text = key_pem, .len = strlen(key_pem)}};
    struct object *object = NULL;

    assert_int_equal(object_new(&like, inputs, 2, &object, NULL), 0);
    store_put(f->store, object, 1);
}

static bool shows_certificate(const struct fixture *f, const struct made_pair *pair)
{
    const struct payload_file *file = &f->last->files[0];

    assert_string_equal(file->path, "tls.crt");
    return file->len == strlen(pair->cert_pem) &&
           memcmp(file->bytes, pair->cert_pem, file->len) == 0;
}

static void bad_pair_is_reported_and_shown(void **state)
{
    struct made_pair one = pair_make(86400), two = pair_make(86400);
    struct fixture *f = *state;

    begin(f, WHOLE);
    put_pair(f, one.cert_pem, one.key_pem);
    assert_string_equal(volume_tls(f->volume, 0)->fault.text, "");
    put_pair(f, two.cert_pem, one.key_pem);
    assert_state(f, VOLUME_CURRENT, "");
    assert_true(shows_certificate(f, &two));
    assert_string_equal(volume_tls(f->volume, 0)->fault.text, "tls.key does not belong to tls.crt");
    put(f, &secret, "k=1", "u", 1);
    assert_null(volume_tls(f->volume, 0));
    pair_unmake(&one);
    pair_unmake(&two);
}

static void bad_pair_is_held_back(void **state)
{
    struct made_pair one = pair_make(86400), two = pair_make(86400), old = pair_make(-1);
    struct fixture *f = *state;

    begin(f, "{projected: {sources: [{secret: {name: s}}, {configMap: {name: c, optional: true}}]},"
             " secretfs: {tls: hold}}");
    store_remove(f->store, &configmap, 1);
    put_pair(f, one.cert_pem, two.key_pem); /* no older pair can be shown */
    assert_state(f, VOLUME_WAITING, "secret/default/s is held back: tls.key does not belong");
    assert_true(volume_is_refused(f->volume));
    put_pair(f, one.cert_pem, one.key_pem);
    assert_state(f, VOLUME_CURRENT, "");
    assert_true(shows_certificate(f, &one));
    put_pair(f, two.cert_pem, one.key_pem);
    assert_state(f, VOLUME_STALE, "is held back: tls.key does not belong to tls.crt");
    put_pair(f, old.cert_pem, old.key_pem);
    assert_state(f, VOLUME_STALE, "is held back: its certificate expired on");
    assert_int_equal(f->n_payloads, 1);
    put(f, &configmap, "z=1", "u", 1); /* the others go on */
    assert_state(f, VOLUME_STALE, "is held back");
    assert_int_equal(f->n_payloads, 2);
    assert_int_equal(f->last->n_files, 3);
    assert_true(shows_certificate(f, &one));
    put_pair(f, two.cert_pem, two.key_pem);
    assert_state(f, VOLUME_CURRENT, "");
    assert_true(shows_certificate(f, &two));
    pair_unmake(&one);
    pair_unmake(&two);
    pair_unmake(&old);
}

static void invalid_content_is_held_back(void **state)
{
    struct fixture *f = *state;

    begin(f, "{secret: {secretName: s}, secretfs: {check: \"json,nonempty\"}}");
    put(f, &secret, "k={", "u", 1); /* nothing older can be shown */
    assert_state(f, VOLUME_WAITING, "secret/default/s is held back: key \"k\" is invalid JSON");
    assert_true(volume_is_refused(f->volume));
    put(f, &secret, "k=1", "u", 1);
    assert_state(f, VOLUME_CURRENT, "");
    put(f, &secret, "k=", "u", 1);
    assert_state(f, VOLUME_STALE, "secret/default/s is held back: key \"k\" is empty");
    assert_true(volume_is_held(f->volume) && !volume_is_staged(f->volume));
    assert_int_equal(f->n_payloads, 1);
    put(f, &secret, "k=2", "u", 1);
    assert_state(f, VOLUME_CURRENT, "");
    assert_int_equal(f->n_payloads, 2);
    assert_false(volume_is_held(f->volume));
}

/* ---- staged updates */

#define STAGED(...) ((struct object_staging){__VA_ARGS__})

static void offer(struct fixture *f, const char *content, struct object_staging staging)
{
    put_staged(f, &secret, content, "u", 1, staging);
}

static void paused_update_waits_for_the_annotation(void **state)
{
    struct fixture *f = *state;

    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.is_paused = true)); /* nothing is shown that could stay */
    assert_state(f, VOLUME_CURRENT, "");
    offer(f, "k=2", STAGED(.is_paused = true));
    assert_state(f, VOLUME_STALE, "secret/default/s is held back: paused by annotation");
    assert_true(volume_is_held(f->volume) && volume_is_staged(f->volume));
    assert_true(volume_due_at(f->volume) == SPAN_FOREVER);
    volume_show_due(f->volume, clock_mono() + SPAN_SEC(1000000));
    assert_shows(f, "k=1");
    offer(f, "k=3", STAGED(.is_paused = true));
    assert_shows(f, "k=1");
    offer(f, "k=3", STAGED(.is_paused = false));
    assert_state(f, VOLUME_CURRENT, "");
    assert_false(volume_is_held(f->volume) || volume_is_staged(f->volume));
    assert_shows(f, "k=3");
    assert_int_equal(f->n_payloads, 2);
}

static void staged_update_is_shown_when_it_is_due(void **state)
{
    struct fixture *f = *state;
    mono_us due, now;

    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.over = 0));
    offer(f, "k=2", STAGED(.over = SPAN_SEC(100000)));
    due = volume_due_at(f->volume);
    now = clock_mono();
    assert_true(due > now && due <= now + SPAN_SEC(100000));
    volume_show_due(f->volume, due - 1);
    assert_shows(f, "k=1");
    assert_state(f, VOLUME_STALE, "within the time of annotation secretfs.io/rollout-over");
    volume_show_due(f->volume, due);
    assert_shows(f, "k=2");
    assert_state(f, VOLUME_CURRENT, "");
    assert_true(f->last_received_at == due);
    assert_true(volume_due_at(f->volume) == SPAN_FOREVER);
}

/* Those of the pod, when the update comes or later. */
static void selected_pod_is_first(void **state)
{
    struct object_staging staging = STAGED(.has_first = true, .first_selector = "canary=true");
    struct fixture *f = *state;

    begin(f, WHOLE);
    f->labels = "canary\0true\0";
    offer(f, "k=1", STAGED(.over = 0));
    offer(f, "k=2", staging);
    assert_shows(f, "k=2");
    assert_state(f, VOLUME_CURRENT, "");
    f->labels = "canary\0false\0";
    volume_labels_changed(f->volume, clock_mono());
    assert_shows(f, "k=2"); /* what was shown stays */
    offer(f, "k=3", staging);
    assert_true(volume_due_at(f->volume) == SPAN_FOREVER && volume_is_staged(f->volume));
    volume_labels_changed(f->volume, clock_mono());
    assert_shows(f, "k=2");
    assert_state(f, VOLUME_STALE, "others are first by annotation secretfs.io/rollout-first");
    f->labels = "canary\0true\0";
    volume_labels_changed(f->volume, clock_mono());
    assert_shows(f, "k=3");
    assert_state(f, VOLUME_CURRENT, "");
}

/* They may be read later than the object. The wait ends with the annotation as well. */
static void pod_with_unknown_labels_is_not_first(void **state)
{
    struct fixture *f = *state;

    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.over = 0));
    offer(f, "k=2", STAGED(.has_first = true, .first_selector = "!canary"));
    assert_state(f, VOLUME_STALE, "as no labels of a pod are known for this volume");
    f->labels = "canary\0true\0";
    volume_labels_changed(f->volume, clock_mono());
    assert_state(f, VOLUME_STALE, "others are first by annotation secretfs.io/rollout-first");
    f->labels = "";
    volume_labels_changed(f->volume, clock_mono());
    assert_shows(f, "k=2");
}

/* The time has begun with the update. */
static void others_follow_within_the_time(void **state)
{
    struct object_staging staging =
        STAGED(.has_first = true, .first_selector = "canary", .over = SPAN_SEC(100000));
    struct fixture *f = *state;
    mono_us due;

    begin(f, WHOLE);
    f->labels = "";
    offer(f, "k=1", STAGED(.over = 0));
    offer(f, "k=2", staging);
    due = volume_due_at(f->volume);
    assert_true(due > clock_mono() && due <= clock_mono() + SPAN_SEC(100000));
    f->labels = "app\0web\0";
    volume_labels_changed(f->volume, clock_mono());
    assert_true(volume_due_at(f->volume) == due);
    volume_show_due(f->volume, due);
    assert_shows(f, "k=2");
}

/* A change of labels alone begins nothing; another content does. */
static void change_of_metadata_keeps_the_turn(void **state)
{
    struct fixture *f = *state;
    mono_us due;

    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.over = 0));
    offer(f, "k=2", STAGED(.over = SPAN_SEC(100000)));
    due = volume_due_at(f->volume);
    offer(f, "k=2", STAGED(.over = SPAN_SEC(100000)));
    assert_true(volume_due_at(f->volume) == due);
    offer(f, "k=3", STAGED(.over = SPAN_SEC(100000)));
    assert_true(volume_due_at(f->volume) != due);
    assert_int_equal(f->n_payloads, 1);
}

/* The time of a pause does not count. */
static void rollout_after_a_pause_begins_then(void **state)
{
    struct fixture *f = *state;
    mono_us paused;

    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.over = 0));
    offer(f, "k=2", STAGED(.over = SPAN_SEC(100000)));
    paused = volume_due_at(f->volume);
    for (mono_us now = clock_mono(); clock_mono() == now;)
        ;
    offer(f, "k=2", STAGED(.over = SPAN_SEC(100000), .is_paused = true));
    offer(f, "k=2", STAGED(.over = SPAN_SEC(100000)));
    assert_true(volume_due_at(f->volume) > paused);
}

/* Readers that have not got it never see it. */
static void object_that_is_changed_back_ends_the_rollout(void **state)
{
    struct fixture *f = *state;

    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.over = 0));
    offer(f, "k=2", STAGED(.over = SPAN_SEC(100000)));
    offer(f, "k=1", STAGED(.over = SPAN_SEC(100000)));
    assert_state(f, VOLUME_CURRENT, "");
    assert_true(volume_due_at(f->volume) == SPAN_FOREVER);
    assert_int_equal(f->n_payloads, 1);
}

static void invalid_annotation_holds_the_update(void **state)
{
    struct fixture *f = *state;

    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.over = 0));
    offer(f, "k=2", STAGED(.invalid = "secretfs.io/rollout-over"));
    assert_state(f, VOLUME_STALE, "annotation secretfs.io/rollout-over is invalid");
    assert_true(volume_is_held(f->volume));
    assert_false(volume_is_staged(f->volume)); /* it is an error */
    assert_shows(f, "k=1");
}

/* A staged object holds back itself. */
static void other_sources_are_updated_beside_a_staged_one(void **state)
{
    struct fixture *f = *state;

    begin(f, "projected: {sources: [{secret: {name: s}}, {configMap: {name: c}}]}");
    offer(f, "k=1", STAGED(.over = 0));
    put(f, &configmap, "l=1", "u", 1);
    offer(f, "k=2", STAGED(.is_paused = true));
    put(f, &configmap, "l=2", "u", 1);
    assert_shows(f, "k=1 l=2");
    assert_true(volume_is_staged(f->volume));
    f->volume = volume_free(f->volume);
}

/* Make the volume a second time, as the next process does. */
/* ---- orders */

static void begin_with_orders(struct fixture *f)
{
    f->keeps_previous = true;
    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.over = 0));
}

static void paused_volume_stays_until_it_is_resumed(void **state)
{
    struct fixture *f = *state;

    begin_with_orders(f);
    volume_pause(f->volume, 0, clock_mono());
    assert_int_equal(volume_order(f->volume, 0).order, VOLUME_ORDER_PAUSED);
    assert_state(f, VOLUME_CURRENT, "");
    offer(f, "k=2", STAGED(.over = 0));
    offer(f, "k=3", STAGED(.over = 0));
    assert_state(f, VOLUME_STALE, "held back: paused by `secretfs rollout pause`");
    assert_true(volume_is_staged(f->volume));
    volume_show_due(f->volume, clock_mono() + SPAN_SEC(1000000));
    assert_shows(f, "k=1");
    volume_resume(f->volume, 0, clock_mono());
    assert_state(f, VOLUME_CURRENT, "");
    assert_shows(f, "k=3");
    assert_int_equal(f->n_payloads, 2);
    volume_resume(f->volume, 0, clock_mono());
    assert_int_equal(f->n_payloads, 2);
}

static void annotations_hold_after_resume(void **state)
{
    struct fixture *f = *state;

    begin_with_orders(f);
    volume_pause(f->volume, 0, clock_mono());
    offer(f, "k=2", STAGED(.is_paused = true));
    volume_resume(f->volume, 0, clock_mono());
    assert_shows(f, "k=1");
    assert_state(f, VOLUME_STALE, "paused by annotation");
}

static void undone_update_stays_until_the_next_one(void **state)
{
    struct fixture *f = *state;

    begin_with_orders(f);
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), -ENOENT);
    offer(f, "k=2", STAGED(.over = 0));
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), 0);
    assert_shows(f, "k=1");
    assert_state(f, VOLUME_STALE, "held back: undone by `secretfs rollout undo`");
    assert_true(volume_is_staged(f->volume));
    offer(f, "k=2", STAGED(.over = 1)); /* other metadata */
    assert_shows(f, "k=1");
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), -ENOENT);
    offer(f, "k=3", STAGED(.over = 0));
    assert_shows(f, "k=3");
    assert_int_equal(volume_order(f->volume, 0).order, VOLUME_ORDER_NONE);
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), 0);
    assert_shows(f, "k=1"); /* which was shown before */
    volume_resume(f->volume, 0, clock_mono());
    assert_shows(f, "k=3");
    assert_state(f, VOLUME_CURRENT, "");
}

static void pause_keeps_an_undone_update_undone(void **state)
{
    struct fixture *f = *state;

    begin_with_orders(f);
    offer(f, "k=2", STAGED(.over = 0));
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), 0);
    volume_pause(f->volume, 0, clock_mono());
    offer(f, "k=3", STAGED(.over = 0));
    assert_shows(f, "k=1");
    assert_state(f, VOLUME_STALE, "paused by `secretfs rollout pause`");
}

/* An old credential is in memory no longer than it may be needed. */
static void previous_content_is_dropped_after_an_hour(void **state)
{
    struct fixture *f = *state;
    mono_us due;

    begin_with_orders(f);
    offer(f, "k=2", STAGED(.over = 0));
    due = volume_due_at(f->volume);
    assert_true(due > clock_mono() && due <= clock_mono() + SPAN_SEC(3600));
    volume_show_due(f->volume, due);
    assert_true(volume_due_at(f->volume) == SPAN_FOREVER);
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), -ENOENT);
}

static void previous_content_is_not_kept_unless_requested(void **state)
{
    struct fixture *f = *state;

    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.over = 0));
    offer(f, "k=2", STAGED(.over = 0));
    assert_true(volume_due_at(f->volume) == SPAN_FOREVER);
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), -ENOENT);
}

static void deleted_object_ends_its_orders(void **state)
{
    struct fixture *f = *state;

    begin_with_orders(f);
    offer(f, "k=2", STAGED(.over = 0));
    store_remove(f->store, &secret, 2);
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), -ENOENT);
}

/* In the next process. */
static void begin_again(struct fixture *f)
{
    const struct volume_kept_order order = volume_order(f->volume, 0);
    const struct volume_adopted adopted = {.payload = payload_ref(f->last), .orders = &order};

    end(f);
    begin_adopted(f, WHOLE, &adopted);
    payload_unref(adopted.payload);
}

static void pause_outlives_the_process(void **state)
{
    struct fixture *f = *state;

    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.over = 0));
    begin_again(f);
    offer(f, "k=2", STAGED(.is_paused = true));
    assert_int_equal(f->n_payloads, 0);
    assert_true(volume_is_held(f->volume) && volume_is_staged(f->volume));
    assert_state(f, VOLUME_WAITING, "paused by annotation");
    offer(f, "k=3", STAGED(.invalid = "secretfs.io/pause"));
    assert_int_equal(f->n_payloads, 0);
    assert_false(volume_is_staged(f->volume));
    offer(f, "k=3", STAGED(.is_paused = false));
    assert_state(f, VOLUME_CURRENT, "");
    assert_shows(f, "k=3");
}

static void order_to_pause_outlives_the_process(void **state)
{
    struct fixture *f = *state;

    begin_with_orders(f);
    volume_pause(f->volume, 0, clock_mono());
    offer(f, "k=2", STAGED(.over = 0));
    begin_again(f);
    assert_int_equal(volume_order(f->volume, 0).order, VOLUME_ORDER_PAUSED);
    offer(f, "k=2", STAGED(.over = 0));
    offer(f, "k=3", STAGED(.over = 0));
    assert_int_equal(f->n_payloads, 0);
    assert_true(volume_is_held(f->volume) && volume_is_staged(f->volume));
    assert_state(f, VOLUME_WAITING, "paused by `secretfs rollout pause`");
    volume_resume(f->volume, 0, clock_mono());
    assert_state(f, VOLUME_CURRENT, "");
    assert_shows(f, "k=3");
}

/* It lasts, although the newest is what is shown. */
static void pause_of_current_content_outlives_the_process(void **state)
{
    struct fixture *f = *state;

    begin_with_orders(f);
    volume_pause(f->volume, 0, clock_mono());
    begin_again(f);
    offer(f, "k=1", STAGED(.over = 0));
    assert_state(f, VOLUME_CURRENT, "");
    offer(f, "k=2", STAGED(.over = 0));
    assert_state(f, VOLUME_STALE, "paused by `secretfs rollout pause`");
    assert_shows(f, "k=1");
}

static void undone_update_outlives_the_process(void **state)
{
    struct fixture *f = *state;

    begin_with_orders(f);
    offer(f, "k=2", STAGED(.over = 0));
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), 0);
    begin_again(f);
    assert_int_equal(volume_order(f->volume, 0).order, VOLUME_ORDER_UNDONE);
    offer(f, "k=2", STAGED(.over = 0));
    offer(f, "k=2", STAGED(.over = 1)); /* other metadata */
    assert_int_equal(f->n_payloads, 0);
    assert_state(f, VOLUME_WAITING, "undone by `secretfs rollout undo`");
    offer(f, "k=3", STAGED(.over = 0));
    assert_shows(f, "k=3");
    assert_state(f, VOLUME_CURRENT, "");
    assert_int_equal(volume_order(f->volume, 0).order, VOLUME_ORDER_NONE);
}

/* The object was changed while no process ran. */
static void next_content_ends_the_order_to_undo(void **state)
{
    struct fixture *f = *state;

    begin_with_orders(f);
    offer(f, "k=2", STAGED(.over = 0));
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), 0);
    begin_again(f);
    offer(f, "k=3", STAGED(.over = 0));
    assert_shows(f, "k=3");
    assert_int_equal(volume_order(f->volume, 0).order, VOLUME_ORDER_NONE);
    assert_int_equal(volume_order_changes(f->volume), 1);
}

/* The process ended before it was published. */
static void undo_that_is_not_shown_ends(void **state)
{
    struct volume_adopted adopted = {.payload = NULL};
    struct volume_kept_order known;
    struct fixture *f = *state;

    begin_with_orders(f);
    offer(f, "k=2", STAGED(.over = 0));
    adopted.payload = payload_ref(f->last);
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), 0);
    known = volume_order(f->volume, 0);
    adopted.orders = &known;
    end(f);
    begin_adopted(f, WHOLE, &adopted);
    payload_unref(adopted.payload);
    offer(f, "k=2", STAGED(.over = 0));
    assert_state(f, VOLUME_CURRENT, "");
    assert_int_equal(volume_order(f->volume, 0).order, VOLUME_ORDER_NONE);
}

static void rollout_goes_on_in_the_next_process(void **state)
{
    struct fixture *f = *state;

    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.over = 0));
    begin_again(f);
    offer(f, "k=2", STAGED(.over = SPAN_SEC(100000)));
    assert_int_equal(f->n_payloads, 0);
    volume_show_due(f->volume, volume_due_at(f->volume));
    assert_state(f, VOLUME_CURRENT, "");
    assert_shows(f, "k=2");
}

/* There is no older content that could stay. */
static void adopted_content_that_is_the_newest_is_not_held(void **state)
{
    struct fixture *f = *state;

    begin(f, WHOLE);
    offer(f, "k=1", STAGED(.over = 0));
    begin_again(f);
    offer(f, "k=1", STAGED(.is_paused = true));
    assert_false(volume_is_held(f->volume));
    assert_state(f, VOLUME_CURRENT, "");
    offer(f, "k=2", STAGED(.is_paused = true)); /* and now there is */
    assert_state(f, VOLUME_STALE, "paused by annotation");
    assert_shows(f, "k=1");
}

/* ---- sources that answer at once, or not at all */

/* As a cache might: the object is there before the subscription is. */
static int watch_and_answer(void *userdata, const struct object_key *key, struct error *e)
{
    struct fixture *f = userdata;

    f->n_watched++;
    put(f, key, key->kind == OBJECT_SECRET ? "k=1" : "l=1", "u", 9);
    return 0;
}

static void source_that_answers_at_once(void **state)
{
    static const struct store_source source = {.watch = watch_and_answer, .unwatch = unwatch};
    struct fixture *f = *state;

    store_set_source(f->store, &source, f);
    begin(f, "projected: {sources: [{secret: {name: s}}, {configMap: {name: c}}]}");
    assert_state(f, VOLUME_CURRENT, "");
    assert_shows(f, "k=1 l=1");
    assert_int_equal(f->n_payloads, 1); /* of both together */
    assert_int_equal(f->last_received_at, 9);
}

static int refuse_configmaps(void *userdata, const struct object_key *key, struct error *e)
{
    struct fixture *f = userdata;

    if (key->kind == OBJECT_CONFIGMAP)
        return error_set(e, -EINVAL, "no ConfigMaps here");
    f->n_watched++;
    return 0;
}

static void source_that_refuses(void **state)
{
    static const struct store_source source = {.watch = refuse_configmaps, .unwatch = unwatch};
    static const struct volume_callbacks callbacks = {.payload = on_payload, .state = on_state};
    static const char yaml[] =
        "projected: {sources: [{secret: {name: s}}, {configMap: {name: c}}]}";
    struct fixture *f = *state;
    struct volume_options options;
    struct error e = ERROR_INIT;

    store_set_source(f->store, &source, f);
    assert_int_equal(volume_spec_parse(yaml, strlen(yaml), &f->spec, &e), 0);
    options = options_of(f);
    assert_int_equal(volume_new(&options, &callbacks, f, &f->volume, &e), -EINVAL);
    assert_non_null(strstr(e.text, "no ConfigMaps here"));
    assert_null(f->volume);
    assert_int_equal(f->n_watched, 0);
}

/* Make and update a volume. Return: -ENOMEM also if its error is out of memory. */
static int follow(void *userdata)
{
    static const struct store_source source = {.watch = watch, .unwatch = unwatch};
    static const struct volume_callbacks callbacks = {.payload = on_payload, .state = on_state};
    static const struct object_input input = {.key = "k", .text = "v", .len = 1};
    const struct object like = {.key = secret, .resource_version = "1"};
    struct fixture f = {.spec = userdata};
    struct volume_options options;
    struct object *object = NULL;
    struct error e = ERROR_INIT;
    int r = store_new(&f.store);

    if (r < 0)
        return r;
    store_set_source(f.store, &source, &f);
    options = options_of(&f);
    r = volume_new(&options, &callbacks, &f, &f.volume, &e);
    if (r == 0)
        r = object_new(&like, &input, 1, &object, &e);
    if (r == 0)
        store_put(f.store, object, 1);
    if (r == 0 && volume_state(f.volume) != VOLUME_CURRENT)
        r = strstr(volume_error(f.volume), "emory") != NULL ? -ENOMEM : -EINVAL;
    f.volume = volume_free(f.volume);
    f.last = payload_unref(f.last);
    store_free(f.store);
    return f.n_watched == 0 ? r : -EINVAL;
}

static void memory_can_be_short(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;

    assert_int_equal(volume_spec_parse(WHOLE, strlen(WHOLE), &f->spec, &e), 0);
    failmalloc_try(follow, f->spec);
}

/* ---- checks by a command */

#define WITH_COMMAND "{secret: {secretName: s}, secretfs: {check: \"command:parses\"}}"

static void end_check(struct fixture *f, const char *reason)
{
    _cleanup_(payload_unrefp) struct payload *checked = payload_ref(f->checked);

    volume_checked(f->volume, checked, reason != NULL ? VOLUME_REFUSED : VOLUME_ACCEPTED, reason,
                   1000);
}

static void first_content_waits_for_the_command(void **state)
{
    struct fixture *f = *state;

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=v", "u", 5);
    assert_int_equal(f->n_checks, 1);
    assert_int_equal(f->n_payloads, 0);
    assert_int_equal(volume_state(f->volume), VOLUME_WAITING);
    assert_true(volume_is_checking(f->volume));
    assert_false(volume_is_refused(f->volume));
    assert_false(volume_has_answer(f->volume));
    end_check(f, NULL);
    assert_int_equal(f->n_payloads, 1);
    assert_int_equal(f->last_received_at, 5);
    assert_int_equal(volume_state(f->volume), VOLUME_CURRENT);
    assert_false(volume_is_held(f->volume));
}

static void first_content_that_the_command_refuses(void **state)
{
    struct fixture *f = *state;

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=v", "u", 5);
    end_check(f, "ended with exit status 1: bad");
    assert_int_equal(f->n_payloads, 0);
    assert_true(volume_is_refused(f->volume));
    assert_true(volume_has_answer(f->volume));
    assert_string_equal(volume_error(f->volume),
                        "the files are held back: command:parses ended with exit status 1: bad");
}

static void update_that_the_command_refuses_is_held(void **state)
{
    struct fixture *f = *state;

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=v", "u", 5);
    end_check(f, NULL);
    put(f, &secret, "k=w", "u", 6);
    assert_true(volume_is_held(f->volume));
    assert_true(volume_is_staged(f->volume)); /* nothing is wrong yet */
    end_check(f, "took longer than 10 s");
    assert_int_equal(volume_state(f->volume), VOLUME_STALE);
    assert_true(volume_is_held(f->volume));
    assert_false(volume_is_staged(f->volume));
    assert_int_equal(f->n_payloads, 1);
    put(f, &secret, "k=w", "u", 7); /* its metadata has changed */
    assert_int_equal(f->n_checks, 2);
    put(f, &secret, "k=v", "u", 8); /* what is shown */
    assert_int_equal(f->n_checks, 2);
    assert_int_equal(volume_state(f->volume), VOLUME_CURRENT);
    assert_false(volume_is_held(f->volume));
    assert_int_equal(f->n_payloads, 1);
}

/* It is shown if it passes, as content that never rests would else never be. */
static void newer_content_waits_for_a_check(void **state)
{
    struct fixture *f = *state;

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=1", "u", 1);
    for (unsigned i = 2; i < 9; i += 2) {
        put(f, &secret, (const char *[]){"k=2", "k=4", "k=6", "k=8"}[i / 2 - 1], "u", i);
        put(f, &secret, (const char *[]){"k=3", "k=5", "k=7", "k=9"}[i / 2 - 1], "u", i + 1);
        assert_int_equal(f->n_checks, i / 2);
        end_check(f, NULL);
        assert_shows(f, (const char *[]){"k=1", "k=3", "k=5", "k=7"}[i / 2 - 1]);
        assert_int_equal(f->last_received_at, i - 1);
        assert_int_equal(volume_state(f->volume), VOLUME_STALE);
        assert_true(volume_is_staged(f->volume));
    }
    end_check(f, NULL);
    assert_shows(f, "k=9");
    assert_int_equal(volume_state(f->volume), VOLUME_CURRENT);
    assert_int_equal(f->n_payloads, 5);
}

static void older_content_that_is_refused(void **state)
{
    struct fixture *f = *state;

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=1", "u", 1);
    put(f, &secret, "k=2", "u", 2);
    end_check(f, "ended with exit status 1: bad");
    assert_int_equal(f->n_payloads, 0);
    assert_int_equal(f->n_checks, 2);
    assert_state(f, VOLUME_WAITING,
                 "the files are held back: command:parses checks them; for those before it ended "
                 "with exit status 1: bad");
    assert_true(volume_is_held(f->volume));
    assert_false(volume_is_staged(f->volume)); /* an Event says so */
    end_check(f, NULL);
    assert_shows(f, "k=2");
    assert_state(f, VOLUME_CURRENT, "");
}

/* Those who have not shown it never do. */
static void content_that_is_taken_back_during_its_check(void **state)
{
    struct fixture *f = *state;

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=1", "u", 1);
    end_check(f, NULL);
    put(f, &secret, "k=2", "u", 2);
    put(f, &secret, "k=1", "u", 3);
    end_check(f, NULL);
    assert_shows(f, "k=1");
    assert_int_equal(f->n_payloads, 1);
    assert_int_equal(volume_state(f->volume), VOLUME_CURRENT);
}

static void order_ends_the_check_of_older_content(void **state)
{
    struct fixture *f = *state;

    f->keeps_previous = true;
    begin(f, WITH_COMMAND);
    for (unsigned i = 1; i <= 2; i++) {
        put(f, &secret, i == 1 ? "k=1" : "k=2", "u", i);
        end_check(f, NULL);
    }
    put(f, &secret, "k=3", "u", 3);
    put(f, &secret, "k=4", "u", 4);
    assert_int_equal(f->n_checks, 3);
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), 0);
    assert_int_equal(f->n_checks, 4); /* of k=1 */
    assert_shows(f, "k=2");
    end_check(f, NULL);
    assert_shows(f, "k=1");
    volume_resume(f->volume, 0, clock_mono());
    put(f, &secret, "k=5", "u", 5); /* while k=4 is checked */
    volume_pause(f->volume, 0, clock_mono());
    end_check(f, NULL);
    assert_shows(f, "k=1");
    put(f, &secret, "k=6", "u", 6);
    assert_shows(f, "k=1");
    assert_int_equal(f->n_checks, 5);
    volume_resume(f->volume, 0, clock_mono());
    assert_int_equal(f->n_checks, 6);
    end_check(f, NULL);
    assert_shows(f, "k=6");
}

static void pause_holds_what_is_being_checked_or_was_refused(void **state)
{
    struct fixture *f = *state;

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=1", "u", 1);
    volume_pause(f->volume, 0, clock_mono()); /* without older content there is nothing to keep */
    end_check(f, NULL);
    assert_shows(f, "k=1");
    for (unsigned i = 0; i < 2; i++) {
        volume_resume(f->volume, 0, clock_mono());
        put(f, &secret, i == 0 ? "k=2" : "k=3", "u", 2 + i);
        for (unsigned j = 0; j < 2 * i; j++)
            end_check(f, "ended with exit status 1");
        volume_pause(f->volume, 0, clock_mono());
        assert_state(f, VOLUME_STALE, "held back: paused by `secretfs rollout pause`");
        assert_false(volume_has_candidate(f->volume));
        end_check(f, NULL);
        volume_show_due(f->volume, SPAN_SEC(10000));
        assert_shows(f, "k=1");
        assert_int_equal(f->n_checks, 2 + 2 * i);
    }
    volume_resume(f->volume, 0, clock_mono());
    end_check(f, NULL);
    assert_shows(f, "k=3");
}

static void pause_holds_adopted_content_beside_a_check(void **state)
{
    struct fixture *f = *state;
    struct volume_adopted adopted = {.orders = NULL};

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=1", "u", 1);
    end_check(f, NULL);
    adopted.payload = payload_ref(f->last);
    end(f);
    begin_adopted(f, WITH_COMMAND, &adopted);
    put(f, &secret, "k=2", "u", 2);
    volume_pause(f->volume, 0, clock_mono());
    end_check(f, NULL);
    assert_null(f->last);
    volume_resume(f->volume, 0, clock_mono());
    end_check(f, NULL);
    assert_shows(f, "k=2");
    payload_unref(adopted.payload);
}

/* What is undone after an older content was shown is that content. */
static void undo_after_older_content(void **state)
{
    struct fixture *f = *state;

    f->keeps_previous = true;
    begin(f, WITH_COMMAND);
    for (unsigned i = 1; i <= 3; i++)
        put(f, &secret, (const char *[]){"k=1", "k=2", "k=3"}[i - 1], "u", i);
    end_check(f, NULL);
    assert_shows(f, "k=1");
    put(f, &secret, "k=4", "u", 4); /* waits */
    end_check(f, NULL);
    assert_shows(f, "k=3");
    end_check(f, "ended with exit status 1"); /* k=4 */
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), 0);
    end_check(f, NULL);
    assert_shows(f, "k=1");
}

static void staged_update_ends_the_check_of_older_content(void **state)
{
    const struct object_staging paused = {.is_paused = true};
    struct fixture *f = *state;

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=1", "u", 1);
    end_check(f, NULL);
    put(f, &secret, "k=2", "u", 2);
    put_staged(f, &secret, "k=3", "u", 3, paused); /* k=2 is what it is to show */
    end_check(f, NULL);
    assert_shows(f, "k=2");
    put(f, &secret, "k=4", "u", 4);
    put(f, &secret, "k=5", "u", 5);
    put_staged(f, &secret, "k=6", "u", 6, paused);
    assert_int_equal(f->n_checks, 4); /* not k=4 */
    end_check(f, NULL);
    assert_shows(f, "k=5");
}

static void objects_that_go_during_a_check(void **state)
{
    struct fixture *f = *state;

    begin(f, "projected: {sources: [{secret: {name: s}}, {configMap: {name: c, optional: true}}]}\n"
             "secretfs: {check: \"command:parses\", onRevoked: remove}");
    change(f, &configmap, GONE);
    put(f, &secret, "k=1", "u", 1);
    end_check(f, NULL);
    put(f, &configmap, "l=1", "u", 2);
    change(f, &configmap, GONE);
    end_check(f, NULL);
    assert_shows(f, "k=1");
    put(f, &configmap, "l=2", "u", 3);
    put(f, &secret, "k=2", "u", 4);
    change(f, &configmap, GONE);
    assert_shows(f, "k=1");
    end_check(f, NULL);
    assert_shows(f, "k=2");
    put(f, &secret, "k=3", "u", 5);
    put(f, &configmap, "l=3", "u", 6);
    change(f, &secret, REVOKED);
    end_check(f, NULL);
    assert_shows(f, "l=3");
}

/* Another object of that name has nothing to do with it. */
static void object_that_is_made_again_during_a_check(void **state)
{
    struct fixture *f = *state;

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=1", "u", 1);
    put(f, &secret, "k=2", "other", 2);
    assert_int_equal(f->n_checks, 2);
    end_check(f, NULL);
    assert_shows(f, "k=2");
    assert_int_equal(f->n_payloads, 1);
}

/* A key is missing now: what was valid is shown when it has passed. */
static void newest_content_cannot_be_shown_at_all(void **state)
{
    struct fixture *f = *state;

    begin(f, "{secret: {secretName: s, items: [{key: k, path: k}]}, "
             "secretfs: {check: \"command:parses\"}}");
    put(f, &secret, "k=1", "u", 1);
    put(f, &secret, "l=2", "u", 2);
    assert_int_equal(f->n_payloads, 0);
    end_check(f, NULL);
    assert_shows(f, "k=1");
    assert_int_equal(volume_state(f->volume), VOLUME_STALE);
    assert_int_equal(f->n_checks, 1);
}

static void refused_content_is_checked_again(void **state)
{
    struct fixture *f = *state;

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=v", "u", 5);
    end_check(f, "ended with exit status 1");
    assert_int_equal(volume_due_at(f->volume), 1000 + SPAN_SEC(60));
    volume_show_due(f->volume, 999 + SPAN_SEC(60));
    assert_int_equal(f->n_checks, 1);
    volume_show_due(f->volume, 1000 + SPAN_SEC(60));
    assert_int_equal(f->n_checks, 2);
    assert_true(volume_is_refused(f->volume)); /* until it has passed */
    end_check(f, NULL);
    assert_int_equal(f->n_payloads, 1);
}

static void command_that_cannot_start_refuses(void **state)
{
    struct fixture *f = *state;

    f->refuses_checks = true;
    begin(f, WITH_COMMAND);
    put(f, &secret, "k=v", "u", 5);
    assert_true(volume_is_refused(f->volume));
    assert_string_equal(volume_error(f->volume),
                        "the files are held back: command:parses is unknown");
}

static void adopted_content_is_not_checked(void **state)
{
    struct fixture *f = *state;
    struct volume_adopted adopted = {.orders = NULL};

    begin(f, WITH_COMMAND);
    put(f, &secret, "k=v", "u", 5);
    end_check(f, NULL);
    adopted.payload = payload_ref(f->last);
    end(f);
    f->n_checks = 0;
    begin_adopted(f, WITH_COMMAND, &adopted);
    put(f, &secret, "k=v", "u", 6);
    assert_int_equal(f->n_checks, 0);
    assert_int_equal(volume_state(f->volume), VOLUME_CURRENT);
    put(f, &secret, "k=w", "u", 7);
    assert_int_equal(f->n_checks, 1);
    payload_unref(adopted.payload);
}

static void revoked_content_goes_without_a_check(void **state)
{
    struct fixture *f = *state;

    begin(f, "{secret: {secretName: s}, secretfs: {check: \"command:parses\", onRevoked: remove}}");
    put(f, &secret, "k=v", "u", 5);
    end_check(f, NULL);
    change(f, &secret, REVOKED);
    assert_int_equal(f->n_checks, 1);
    assert_int_equal(f->n_payloads, 2);
    assert_int_equal(f->last->n_files, 0);
}

static void revoked_content_takes_no_other_past_the_command(void **state)
{
    struct fixture *f = *state;

    begin(f, "projected: {sources: [{secret: {name: s}}, {configMap: {name: c}}]}\n"
             "secretfs: {check: \"command:parses\", onRevoked: remove}");
    put(f, &secret, "k=1", "u", 1);
    put(f, &configmap, "l=1", "u", 1);
    end_check(f, NULL);
    put(f, &configmap, "l=2", "u", 2);
    end_check(f, "ended with exit status 1");
    change(f, &secret, REVOKED);
    assert_shows(f, "l=1");
    assert_true(volume_is_held(f->volume));
    put(f, &configmap, "l=3", "u", 3);
    assert_shows(f, "l=1");
    end_check(f, "ended with exit status 1"); /* l=2, without the secret */
    assert_shows(f, "l=1");
    end_check(f, NULL);
    assert_shows(f, "l=3");
    assert_int_equal(volume_state(f->volume), VOLUME_CURRENT);
}

/* Of one that an order holds, and of one that nothing holds. */
static void adopted_content_can_be_revoked(void **state)
{
    struct fixture *f = *state;
    const char *spec = "projected: {sources: [{secret: {name: s}}, {configMap: {name: c}}]}\n"
                       "secretfs: {onRevoked: remove}";
    const struct volume_kept_order orders[2] = {{.order = VOLUME_ORDER_NONE},
                                                {.order = VOLUME_ORDER_PAUSED}};
    struct volume_adopted adopted = {.orders = NULL};

    begin(f, spec);
    put(f, &secret, "k=1", "u", 1);
    put(f, &configmap, "l=1", "u", 1);
    adopted.payload = payload_ref(f->last);
    for (size_t i = 0; i < 2; i++) {
        end(f);
        adopted.orders = i == 1 ? orders : NULL;
        begin_adopted(f, spec, &adopted);
        put(f, &configmap, i == 1 ? "l=2" : "l=1", "u", 2);
        assert_null(f->last);
        change(f, &secret, REVOKED);
        assert_shows(f, "l=1");
        if (i == 1)
            assert_state(f, VOLUME_WAITING, "paused by `secretfs rollout pause`");
    }
    volume_resume(f->volume, 1, clock_mono());
    assert_shows(f, "l=2");
    payload_unref(adopted.payload);
}

static void undo_leads_to_what_was_shown(void **state)
{
    struct fixture *f = *state;

    f->keeps_previous = true;
    begin(f, WITH_COMMAND);
    for (unsigned i = 1; i <= 2; i++) {
        put(f, &secret, i == 1 ? "k=1" : "k=2", "u", i);
        end_check(f, NULL);
    }
    put(f, &secret, "k=3", "u", 3);
    end_check(f, "ended with exit status 1");
    put(f, &secret, "k=4", "u", 4);
    put(f, &secret, "k=5", "u", 5);
    end_check(f, "ended with exit status 1");
    end_check(f, NULL);
    assert_shows(f, "k=5");
    assert_int_equal(volume_undo(f->volume, 0, clock_mono()), 0);
    end_check(f, NULL);
    assert_shows(f, "k=2");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(waits_for_the_first_object),
        TEST(answers),
        TEST(answers_of_two),
        TEST(same_content_is_not_passed_on),
        TEST(failing_source_changes_no_content),
        TEST(outcome_matrix),
        TEST(rights_are_checked),
        TEST(volume_of_nothing),
        TEST(one_watch_for_each_object),
        TEST(second_volume_starts_with_what_is_known),
        TEST(bad_pair_is_reported_and_shown),
        TEST(bad_pair_is_held_back),
        TEST(invalid_content_is_held_back),
        TEST(paused_update_waits_for_the_annotation),
        TEST(staged_update_is_shown_when_it_is_due),
        TEST(selected_pod_is_first),
        TEST(pod_with_unknown_labels_is_not_first),
        TEST(others_follow_within_the_time),
        TEST(change_of_metadata_keeps_the_turn),
        TEST(rollout_after_a_pause_begins_then),
        TEST(object_that_is_changed_back_ends_the_rollout),
        TEST(invalid_annotation_holds_the_update),
        TEST(paused_volume_stays_until_it_is_resumed),
        TEST(annotations_hold_after_resume),
        TEST(undone_update_stays_until_the_next_one),
        TEST(pause_keeps_an_undone_update_undone),
        TEST(previous_content_is_dropped_after_an_hour),
        TEST(previous_content_is_not_kept_unless_requested),
        TEST(deleted_object_ends_its_orders),
        TEST(other_sources_are_updated_beside_a_staged_one),
        TEST(pause_outlives_the_process),
        TEST(order_to_pause_outlives_the_process),
        TEST(pause_of_current_content_outlives_the_process),
        TEST(undone_update_outlives_the_process),
        TEST(next_content_ends_the_order_to_undo),
        TEST(undo_that_is_not_shown_ends),
        TEST(rollout_goes_on_in_the_next_process),
        TEST(adopted_content_that_is_the_newest_is_not_held),
        TEST(first_content_waits_for_the_command),
        TEST(first_content_that_the_command_refuses),
        TEST(update_that_the_command_refuses_is_held),
        TEST(newer_content_waits_for_a_check),
        TEST(older_content_that_is_refused),
        TEST(content_that_is_taken_back_during_its_check),
        TEST(order_ends_the_check_of_older_content),
        TEST(pause_holds_what_is_being_checked_or_was_refused),
        TEST(pause_holds_adopted_content_beside_a_check),
        TEST(undo_after_older_content),
        TEST(staged_update_ends_the_check_of_older_content),
        TEST(objects_that_go_during_a_check),
        TEST(object_that_is_made_again_during_a_check),
        TEST(newest_content_cannot_be_shown_at_all),
        TEST(refused_content_is_checked_again),
        TEST(command_that_cannot_start_refuses),
        TEST(adopted_content_is_not_checked),
        TEST(revoked_content_goes_without_a_check),
        TEST(revoked_content_takes_no_other_past_the_command),
        TEST(adopted_content_can_be_revoked),
        TEST(undo_leads_to_what_was_shown),
        TEST(source_that_answers_at_once),
        TEST(source_that_refuses),
        TEST(memory_can_be_short),
    };

    return cmocka_run_group_tests_name("volume", tests, NULL, NULL);
}

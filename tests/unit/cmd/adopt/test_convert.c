/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "cmd/adopt/convert.h"
#include "cmd/adopt/rewrite.h"

#include "tests/unit/failmalloc.h"

#define POD     "kind: Pod\napiVersion: v1\n"
#define MOUNTS  "  containers: [{volumeMounts: [{name: a}, {name: b}]}]\n"
#define CSI     "csi.secretfs.io, readOnly: true, volumeAttributes: "
#define FLOW(n) "{name: " n ", csi: {driver: " CSI "{podVolume: " n "-secretfs}}}"
#define BLOCK(indent, n)                                                                           \
    indent "- name: " n "\n" indent "  csi:\n" indent "    driver: csi.secretfs.io\n" indent       \
           "    readOnly: true\n" indent "    volumeAttributes:\n" indent "      podVolume: " n    \
           "-secretfs\n"

static int run(const char *text, bool reverts, struct buf *result, struct error *e)
{
    const struct convert_options options = {.reverts = reverts};

    return convert(text, strlen(text), &options, result, e);
}

static void expect(const char *text, bool reverts, const char *expected)
{
    struct buf result = BUF_INIT(REWRITE_MAX_BYTES);
    struct error e = ERROR_INIT;

    if (run(text, reverts, &result, &e) < 0)
        fail_msg("%s: %s", text, e.text);
    assert_string_equal(buf_text(&result), expected);
    buf_deinit(&result);
}

static void expect_refused(const char *text, bool reverts, const char *message)
{
    struct buf result = BUF_INIT(REWRITE_MAX_BYTES);
    struct error e = ERROR_INIT;

    assert_int_equal(run(text, reverts, &result, &e), -EINVAL);
    if (strstr(e.text, message) == NULL)
        fail_msg("%s: \"%s\" is not in \"%s\"", text, message, e.text);
    buf_deinit(&result);
}

/* What is converted, and back; a second conversion changes nothing. */
static const struct pair {
    const char *before;
    const char *after;
} pairs[] = {
    /* a block without indentation, and what stands behind it */
    {POD "spec:\n" MOUNTS "  volumes:\n  - name: a # one\n    secret: {secretName: x}\n  # two\n"
         "  nodeName: x\n",
     POD "spec:\n" MOUNTS
         "  volumes:\n  - name: a-secretfs # one\n    secret: {secretName: x}\n" BLOCK(
             "  ", "a") "  # two\n  nodeName: x\n"},
    /* the name is the last word of an entry and of the text */
    {POD "spec:\n" MOUNTS "  volumes:\n      - secret: {}\n        name: a", POD
     "spec:\n" MOUNTS "  volumes:\n      - secret: {}\n        name: a-secretfs\n"
     "      - name: a\n        csi:\n          driver: csi.secretfs.io\n"
     "          readOnly: true\n          volumeAttributes:\n            podVolume: a-secretfs"},
    /* entries in brackets in a block; others between them */
    {POD "spec:\n" MOUNTS
         "  volumes:\n  - {name: a, configMap: {name: x}}\n  - name: e\n    emptyDir: {}\n"
         "  - {\"name\": 'b', downwardAPI: {}}\n",
     POD "spec:\n" MOUNTS
         "  volumes:\n  - {name: a-secretfs, configMap: {name: x}}\n  - name: e\n    emptyDir: {}\n"
         "  - {\"name\": 'b-secretfs', downwardAPI: {}}\n  - " FLOW(
             "a") "\n"
                  "  - {\"name\": 'b', \"csi\": {\"driver\": \"csi.secretfs.io\", \"readOnly\": "
                  "true, \"volumeAttributes\": {\"podVolume\": 'b-secretfs'}}}\n"},
    /* in brackets, with a comma at the end */
    {POD "spec:\n" MOUNTS "  volumes: [{name: a, secret: {}},]\n",
     POD "spec:\n" MOUNTS "  volumes: [{name: a-secretfs, secret: {}}, " FLOW("a") ",]\n"},
    /* JSON, on one line, with tabs, with a surrogate pair and letters of several bytes in front */
    {"{\"kind\":\"Pod\",\"x\":\"\xc3\xa9\\ud83d\\ude00\",\"spec\":{\"containers\":[{"
     "\"volumeMounts\""
     ":[{\"name\":\"a\"}]}],\"volumes\":[\n\t{\"name\":\"a\",\"secret\":{}}]}}",
     "{\"kind\":\"Pod\",\"x\":\"\xc3\xa9\\ud83d\\ude00\",\"spec\":{\"containers\":[{"
     "\"volumeMounts\""
     ":[{\"name\":\"a\"}]}],\"volumes\":[\n\t{\"name\":\"a-secretfs\",\"secret\":{}},\n\t"
     "{\"name\": \"a\", \"csi\": {\"driver\": \"csi.secretfs.io\", \"readOnly\": true, "
     "\"volumeAttributes\": {\"podVolume\": \"a-secretfs\"}}}]}}"},
    /* line breaks of CR and LF */
    {"kind: Pod\r\nspec:\r\n  containers: [{volumeMounts: [{name: a}]}]\r\n  volumes:\r\n"
     "  - {name: a, secret: {}} # x\r\n",
     "kind: Pod\r\nspec:\r\n  containers: [{volumeMounts: [{name: a}]}]\r\n  volumes:\r\n"
     "  - {name: a-secretfs, secret: {}} # x\r\n  - " FLOW("a") "\r\n"},
    /* the last value of the last entry is a block of text, or absent */
    {POD "spec:\n" MOUNTS
         "  volumes:\n  - name: a\n    secret: {}\n  - name: c\n    csi:\n      driver: |-\n"
         "        x\n\n  nodeName: y\n",
     POD
     "spec:\n" MOUNTS
     "  volumes:\n  - name: a-secretfs\n    secret: {}\n  - name: c\n    csi:\n      driver: |-\n"
     "        x\n" BLOCK("  ", "a") "\n  nodeName: y\n"},
    {POD "spec:\n" MOUNTS
         "  volumes:\n  - name: a\n    secret: {}\n    # c\n  - emptyDir:\n    name: d\n",
     POD "spec:\n" MOUNTS "  volumes:\n  - name: a-secretfs\n    secret: {}\n    # c\n"
         "  - emptyDir:\n    name: d\n" BLOCK("  ", "a")},
    /* an init container; the template of a CronJob, in a list, behind another document */
    {"a: 1\n---\nkind: List\napiVersion: v1\nitems:\n- kind: CronJob\n  apiVersion: batch/v1\n"
     "  spec:\n    jobTemplate:\n      spec:\n        template:\n          spec:\n"
     "            initContainers: [{volumeMounts: [{name: a}]}]\n"
     "            volumes: [{name: a, projected: {sources: [{secret: {name: x}}]}}]\n",
     "a: 1\n---\nkind: List\napiVersion: v1\nitems:\n- kind: CronJob\n  apiVersion: batch/v1\n"
     "  spec:\n    jobTemplate:\n      spec:\n        template:\n          spec:\n"
     "            initContainers: [{volumeMounts: [{name: a}]}]\n"
     "            volumes: [{name: a-secretfs, projected: {sources: [{secret: {name: x}}]}}, " FLOW(
         "a") "]\n"},
    /* the entries of a typed list have its kind; a PodTemplate */
    {"kind: PodTemplateList\napiVersion: v1\nitems:\n- template:\n    spec:\n"
     "      containers: [{volumeMounts: [{name: a}]}]\n"
     "      volumes: [{name: a, secret: {}}]\n",
     "kind: PodTemplateList\napiVersion: v1\nitems:\n- template:\n    spec:\n"
     "      containers: [{volumeMounts: [{name: a}]}]\n"
     "      volumes: [{name: a-secretfs, secret: {}}, " FLOW("a") "]\n"},
    /* aliases within a volume's value, and among the containers */
    {POD "x: &s {secretName: y}\ny: &m {name: a}\nspec:\n  containers: [{volumeMounts: [*m]}]\n"
         "  volumes: [{name: a, secret: *s}]\n",
     POD "x: &s {secretName: y}\ny: &m {name: a}\nspec:\n  containers: [{volumeMounts: [*m]}]\n"
         "  volumes: [{name: a-secretfs, secret: *s}, " FLOW("a") "]\n"},
};

static void test_pairs(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(pairs); i++) {
        expect(pairs[i].before, false, pairs[i].after);
        expect(pairs[i].after, false, pairs[i].after);
        expect(pairs[i].after, true, pairs[i].before);
        expect(pairs[i].before, true, pairs[i].before);
    }
}

static const char *const unchanged[] = {
    "",
    "# nothing\n",
    "a: 1\n",
    POD,
    POD "spec: {volumes: x}\n",
    POD "spec: {volumes: []}\n",
    POD "spec: null\n",
    "kind: Job\napiVersion: batch.example.com/v1\nspec: {template: {spec: {containers: "
    "[{volumeMounts: [{name: a}]}], volumes: [{name: a, secret: {}}]}}}\n",
    /* each as the policy leaves it */
    POD "spec:\n" MOUNTS "  volumes: [{name: c, secret: {}}]\n",
    POD "spec:\n" MOUNTS "  volumes: [{name: a, emptyDir: {}}]\n",
    POD "spec:\n" MOUNTS "  volumes: [{name: a, secret: null}]\n",
    POD "spec:\n" MOUNTS "  volumes: [{name: a, secret: {}}, {name: a-secretfs, secret: {}}]\n",
    POD "spec:\n" MOUNTS "  volumes: [{name: a, projected: {sources: [{ofLater: {}}]}}]\n",
    POD "metadata: {annotations: {secretfs.io/adopt: disabled}}\nspec:\n" MOUNTS
        "  volumes: [{name: a, secret: {}}]\n",
    POD "spec:\n  os: {name: windows}\n" MOUNTS "  volumes: [{name: a, secret: {}}]\n",
    POD "spec:\n  runtimeClassName: kata\n" MOUNTS "  volumes: [{name: a, secret: {}}]\n",
    /* what a person wrote is no conversion */
    POD "spec:\n" MOUNTS "  volumes: [{name: b-secretfs, secret: {}}, {name: a, csi: {driver: " CSI
        "{podVolume: b-secretfs}}}]\n",
    POD "spec:\n" MOUNTS "  volumes: [{name: a-secretfs, secret: {}}, {name: a, csi: {driver: " CSI
        "{podVolume: a-secretfs, updates: in-place}}}]\n",
    POD "spec:\n" MOUNTS "  volumes: [" FLOW("a") "]\n",
};

static void test_unchanged(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(unchanged); i++) {
        expect(unchanged[i], false, unchanged[i]);
        expect(unchanged[i], true, unchanged[i]);
    }
}

static const struct refusal {
    const char *text;
    bool reverts;
    const char *message;
} refusals[] = {
    {POD "x: &v [{name: a, secret: {}}]\nspec:\n" MOUNTS "  volumes: *v\n", false,
     "line 6: cannot edit volumes through"},
    {POD "spec:\n" MOUNTS "  volumes: &v [{name: a, secret: {}}]\n", false,
     "line 5: cannot edit volumes through"},
    {POD "spec:\n" MOUNTS "  volumes:\n  - &v {name: a, secret: {}}\n", false,
     "line 6: cannot edit volumes through"},
    {POD "spec:\n" MOUNTS "  volumes:\n  - name: &v a\n    secret: {}\n", false,
     "line 6: cannot edit volumes through"},
    {POD "x: &n a\nspec:\n" MOUNTS "  volumes:\n  - name: *n\n    secret: {}\n", false, "line 7"},
    {POD "x: &s {volumes: [{name: a, secret: {}}]}\nspec:\n" MOUNTS "  <<: *s\n", false,
     "cannot edit volumes through an anchor, an alias or a merge key"},
    {POD "spec: &s\n" MOUNTS "  volumes: [{name: a, secret: {}}]\n", false,
     "line 3: cannot edit volumes through"},
    {POD "spec:\n" MOUNTS "  volumes:\n  - secret: {}\n    name: |-\n      a\n", false,
     "line 7: cannot edit the name of a volume"},
    {POD "spec:\n" MOUNTS "  volumes:\n  - secret: {}\n    name: \"\\x61\"\n", false, "line 7"},
    {POD "spec:\n" MOUNTS "  volumes:\n  - secret: {}\n    name: !!str a\n", false, "line 7"},
    {POD "spec:\n" MOUNTS "  volumes:\n  - secret: {}\n    name: 7\n", false,
     "line 6: invalid name of a volume"},
    {POD "spec:\n" MOUNTS "  volumes:\n  - name: a b\n", false, "line 6: invalid name of a volume"},
    {POD "spec:\n" MOUNTS "  volumes:\n  - name: a\n    secret: {}\n    name: a\n", false,
     "duplicate key \"name\""},
    {POD "spec: [\n", false, "line 4"},
    {"a: 1\n---\n" POD "spec: {\n", false, "line 6"},
    {POD "spec:\n" MOUNTS "  volumes:\n  - {name: a, secret: {}}\n  - name: c\n    hostPath:\n"
         "      path: |+\n        x\n\n  nodeName: y\n",
     false, "in a form that cannot be edited"},
    {POD "spec:\n" MOUNTS
         "  volumes:\n  - {name: a-secretfs, secret: {}}\n  - # x\n    " FLOW("a") "\n",
     true, "line 8: cannot edit a csi volume"},
    {POD "spec:\n" MOUNTS "  volumes: [{name: a-secretfs, secret: {}}, # x\n    " FLOW("a") "]\n",
     true, "line 6: cannot edit a csi volume"},
};

static void test_refusals(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(refusals); i++)
        expect_refused(refusals[i].text, refusals[i].reverts, refusals[i].message);
}

/* A csi volume that is not the last one, as after an edit by hand. */
static void test_revert_in_other_order(void **state)
{
    expect(POD "spec:\n" MOUNTS "  volumes:\n  # x\n" BLOCK("  ", "a") "  # y\n"
                                                                       "  - name: a-secretfs\n"
                                                                       "    secret: {}\n",
           true, POD "spec:\n" MOUNTS "  volumes:\n  # x\n  # y\n  - name: a\n    secret: {}\n");
    expect(POD "spec:\n" MOUNTS "  volumes: [" FLOW("a") ", " FLOW(
               "b") " , {name: a-secretfs, secret: {}}, {name: b-secretfs, secret: {}}]\n",
           true,
           POD "spec:\n" MOUNTS "  volumes: [{name: a, secret: {}}, {name: b, secret: {}}]\n");
}

static void test_tokens(void **state)
{
    const char *text =
        "kind: Pod\nspec:\n  containers: [{volumeMounts: [{name: kube-api-access-x}]}]\n"
        "  volumes: [{name: kube-api-access-x, projected: {sources: []}}]\n";
    const struct convert_options options = {.adopts_tokens = true};
    struct buf result = BUF_INIT(REWRITE_MAX_BYTES);

    expect(text, false, text);
    assert_int_equal(convert(text, strlen(text), &options, &result, NULL), 0);
    assert_non_null(strstr(buf_text(&result), "podVolume: kube-api-access-x-secretfs"));
    buf_deinit(&result);
}

static int try_convert(void *userdata)
{
    struct buf result = BUF_INIT(REWRITE_MAX_BYTES);
    const struct pair *pair = userdata;
    struct error e = ERROR_INIT;
    int r = run(pair->before, false, &result, &e);

    if (r == 0)
        assert_string_equal(buf_text(&result), pair->after);
    buf_reset(&result);
    if (r == 0)
        r = run(pair->after, true, &result, &e);
    buf_deinit(&result);
    return r;
}

static void test_out_of_memory(void **state)
{
    struct pair pair = pairs[2];

    failmalloc_try(try_convert, &pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),    cmocka_unit_test(test_unchanged),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_revert_in_other_order),
        cmocka_unit_test(test_tokens),   cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

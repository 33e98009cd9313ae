/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "csi/publish_request.h"

#include "tests/unit/csi_request.h"
#include "tests/unit/failmalloc.h"

#define TARGET "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~csi/creds/mount"
#define PREFIX "csi.storage.k8s.io/"

/* A request that can be spoiled: NULL leaves a field out. */
struct sketch {
    const char *volume_id, *target_path, *pod_name, *pod_namespace, *pod_uid, *ephemeral;
    const char *fs_type, *flag, *group;
    bool has_capability, is_block;
    const char *more[4][2]; /* of volume_context */
    const char *secrets[3][2];
};

static const struct sketch good = {
    .volume_id = "csi-1",
    .target_path = TARGET,
    .pod_name = "web-0",
    .pod_namespace = "prod",
    .pod_uid = "uid-1",
    .ephemeral = "true",
    .has_capability = true,
};

static void add_capability(struct buf *b, const struct sketch *s)
{
    struct buf mount = BUF_INIT(REQUEST_MAX), capability = BUF_INIT(REQUEST_MAX);

    if (s->fs_type != NULL)
        request_add_text(&mount, 1, s->fs_type);
    if (s->flag != NULL)
        request_add_text(&mount, 2, s->flag);
    if (s->group != NULL)
        request_add_text(&mount, 3, s->group);
    request_add_bytes(&capability, s->is_block ? 1 : 2, buf_text(&mount), mount.len);
    request_add_bytes(b, 5, capability.data, capability.len);
    buf_deinit(&mount);
    buf_deinit(&capability);
}

static void add_context(struct buf *b, const struct sketch *s)
{
    const char *const pairs[][2] = {
        {PREFIX "pod.name", s->pod_name},
        {PREFIX "pod.namespace", s->pod_namespace},
        {PREFIX "pod.uid", s->pod_uid},
        {PREFIX "ephemeral", s->ephemeral},
    };

    for (size_t i = 0; i < ELEMENTS_OF(s->more) && s->more[i][0] != NULL; i++)
        request_add_pair(b, 8, s->more[i][0], s->more[i][1]);
    for (size_t i = 0; i < ELEMENTS_OF(pairs); i++)
        if (pairs[i][1] != NULL)
            request_add_pair(b, 8, pairs[i][0], pairs[i][1]);
}

static void sketch_write(const struct sketch *s, struct buf *b)
{
    if (s->volume_id != NULL)
        request_add_text(b, 1, s->volume_id);
    if (s->target_path != NULL)
        request_add_text(b, 4, s->target_path);
    if (s->has_capability)
        add_capability(b, s);
    for (size_t i = 0; i < ELEMENTS_OF(s->secrets) && s->secrets[i][0] != NULL; i++)
        request_add_pair(b, 7, s->secrets[i][0], s->secrets[i][1]);
    add_context(b, s);
}

static struct publish_request *parse(const struct sketch *s)
{
    _cleanup_(buf_deinit) struct buf b = BUF_INIT(REQUEST_MAX);
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;
    struct publish_request *request;

    sketch_write(s, &b);
    request = publish_request_new((const uint8_t *)b.data, b.len, "csi.secretfs.io", &code, &e);
    if (request == NULL)
        fail_msg("%s", e.text);
    return request;
}

static void refuse(const struct sketch *s, const char *expected)
{
    _cleanup_(buf_deinit) struct buf b = BUF_INIT(REQUEST_MAX);
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;

    sketch_write(s, &b);
    assert_null(publish_request_new((const uint8_t *)b.data, b.len, "csi.secretfs.io", &code, &e));
    assert_int_equal(code, GRPC_INVALID_ARGUMENT);
    if (strstr(e.text, expected) == NULL)
        fail_msg("\"%s\" is not in: %s", expected, e.text);
}

#define REFUSE(expected, ...)                                                                      \
    do {                                                                                           \
        struct sketch spoiled = good;                                                              \
        __VA_ARGS__;                                                                               \
        refuse(&spoiled, expected);                                                                \
    } while (0)

static void full_request_is_read(void **state)
{
    struct sketch s = good;
    struct publish_request *request;

    s.fs_type = "x";
    s.flag = "ro";
    s.group = "2000";
    s.more[0][0] = "secretName";
    s.more[0][1] = "db";
    s.more[1][0] = PREFIX "serviceAccount.name";
    s.more[1][1] = "robot";
    s.more[2][0] = PREFIX "serviceAccount.tokens";
    s.more[2][1] = "{}";
    request = parse(&s);
    assert_string_equal(request->view.volume_id, "csi-1");
    assert_string_equal(request->view.target_path, TARGET);
    assert_string_equal(request->view.fs_type, "x");
    assert_string_equal(request->view.pod_name, "web-0");
    assert_string_equal(request->view.pod_namespace, "prod");
    assert_string_equal(request->view.pod_uid, "uid-1");
    assert_string_equal(request->view.service_account, "robot");
    assert_string_equal(request->view.service_account_tokens, "{}");
    assert_int_equal(request->view.mount_group, 2000);
    assert_int_equal(request->view.n_attributes, 1);
    assert_string_equal(request->view.attributes[0].key, "secretName");
    assert_string_equal(request->view.attributes[0].value, "db");
    publish_request_free(request);
}

static void minimal_request_is_read(void **state)
{
    struct publish_request *request = parse(&good);

    assert_string_equal(request->view.service_account, "");
    assert_string_equal(request->view.service_account_tokens, "");
    assert_string_equal(request->view.fs_type, "");
    assert_int_equal(request->view.mount_group, CSI_GROUP_UNSET);
    assert_int_equal(request->view.n_attributes, 0);
    assert_false(request->view.is_read_only);
    publish_request_free(request);
    assert_null(publish_request_free(NULL));
}

/* U4; the other secrets are wiped before the handlers see the request. */
static void tokens_in_secrets_are_read(void **state)
{
    struct sketch s = good;
    struct publish_request *request;

    s.secrets[0][0] = "password";
    s.secrets[0][1] = "dummy";
    s.secrets[1][0] = PREFIX "serviceAccount.tokens";
    s.secrets[1][1] = "{\"\":{}}";
    s.secrets[2][0] = "user";
    s.secrets[2][1] = "dummy";
    request = parse(&s);
    assert_string_equal(request->view.service_account_tokens, "{\"\":{}}");
    assert_int_equal(request->message->n_secrets, 1);
    publish_request_free(request);
    s.secrets[1][0] = "token";
    request = parse(&s);
    assert_string_equal(request->view.service_account_tokens, "");
    assert_int_equal(request->message->n_secrets, 0);
    publish_request_free(request);
}

static void request_without_pod_info_is_refused(void **state)
{
    REFUSE("podInfoOnMount: true in the spec of the CSIDriver object csi.secretfs.io",
           spoiled.pod_name = NULL);
    REFUSE("podInfoOnMount", spoiled.pod_namespace = NULL);
    REFUSE("podInfoOnMount", spoiled.pod_uid = NULL);
    REFUSE("PersistentVolume", spoiled.ephemeral = NULL);
    REFUSE("PersistentVolume", spoiled.ephemeral = "false");
}

/* The pod's own attributes in the place of the kubelet's. */
static void forged_pod_info_is_refused(void **state)
{
    REFUSE("podInfoOnMount", spoiled.pod_uid = "uid-2");
    REFUSE("podInfoOnMount", spoiled.pod_uid = "uid");
    REFUSE("podInfoOnMount", spoiled.pod_uid = "uid-1/volumes");
    REFUSE("podInfoOnMount", spoiled.pod_uid = "");
    REFUSE("podInfoOnMount", spoiled.target_path = "/pods/uid-1");
    REFUSE("podInfoOnMount", spoiled.target_path = "/x/uid-1/volumes/y");
    REFUSE("duplicate key csi.storage.k8s.io/pod.namespace in volume_context",
           spoiled.more[0][0] = PREFIX "pod.namespace", spoiled.more[0][1] = "kube-system");
}

/* A kubelet root with "pods" and "volumes" in its own path. */
static void kubelet_root_may_contain_pods(void **state)
{
    struct sketch s = good;

    s.target_path = "/pods/uid-2/volumes/pods/pods/uid-1/volumes/kubernetes.io~csi/v/mount";
    publish_request_free(parse(&s));
}

static void invalid_fields_are_named(void **state)
{
    REFUSE("volume_id is missing", spoiled.volume_id = NULL);
    REFUSE("volume_id is missing", spoiled.volume_id = "");
    REFUSE("invalid volume_id", spoiled.volume_id = "a/b");
    REFUSE("invalid volume_id", spoiled.volume_id = "..");
    REFUSE("target_path is missing", spoiled.target_path = NULL);
    REFUSE("invalid target_path", spoiled.target_path = "a");
    REFUSE("invalid target_path", spoiled.target_path = "/pods/uid-1/volumes/../x");
    REFUSE("volume_capability is missing", spoiled.has_capability = false);
    REFUSE("block volumes are not supported", spoiled.is_block = true);
    REFUSE("mount option", spoiled.flag = "exec");
    REFUSE("fsGroup", spoiled.group = "root");
    REFUSE("pod.namespace", spoiled.pod_namespace = "a.b");
    REFUSE("pod.name", spoiled.pod_name = "a_b");
}

static void unpublish_request_is_read(void **state)
{
    _cleanup_(buf_deinit) struct buf b = BUF_INIT(REQUEST_MAX);
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;
    Csi__UnpublishRequest *request;

    request_add_text(&b, 1, "csi-1");
    assert_null(unpublish_request_new((const uint8_t *)b.data, b.len, &code, &e));
    assert_int_equal(code, GRPC_INVALID_ARGUMENT);
    request_add_text(&b, 2, TARGET);
    request = unpublish_request_new((const uint8_t *)b.data, b.len, &code, &e);
    assert_non_null(request);
    assert_string_equal(message_text(&request->volume_id), "csi-1");
    assert_string_equal(message_text(&request->target_path), TARGET);
    message_free(&request->base);
}

static int try_parsing(void *userdata)
{
    const struct buf *b = userdata;
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;
    struct publish_request *request =
        publish_request_new((const uint8_t *)b->data, b->len, "csi.secretfs.io", &code, &e);

    if (request == NULL) {
        assert_int_equal(code, GRPC_RESOURCE_EXHAUSTED);
        return -ENOMEM;
    }
    publish_request_free(request);
    return 0;
}

static void allocation_failures_are_reported(void **state)
{
    _cleanup_(buf_deinit) struct buf b = BUF_INIT(REQUEST_MAX);
    struct sketch s = good;

    s.more[0][0] = "secretName";
    s.more[0][1] = "db";
    s.secrets[0][0] = "password";
    s.secrets[0][1] = "dummy";
    s.secrets[1][0] = PREFIX "serviceAccount.tokens";
    s.secrets[1][1] = "{}";
    sketch_write(&s, &b);
    failmalloc_try(try_parsing, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_request_is_read),
        cmocka_unit_test(minimal_request_is_read),
        cmocka_unit_test(tokens_in_secrets_are_read),
        cmocka_unit_test(request_without_pod_info_is_refused),
        cmocka_unit_test(forged_pod_info_is_refused),
        cmocka_unit_test(kubelet_root_may_contain_pods),
        cmocka_unit_test(invalid_fields_are_named),
        cmocka_unit_test(unpublish_request_is_read),
        cmocka_unit_test(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

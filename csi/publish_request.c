/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose volume is it? The kubelet's keys and the pod's own attributes come in one map; the
 * kubelet's begin with csi.storage.k8s.io/ and win over the pod's (S5). The volume is made for the
 * namespace in there, so a pod must not be able to pass for another namespace's:
 *
 *  - Text is read with its length. A key with a NUL byte, which C would read as a shorter one, is
 *    refused; so is a key of the kubelet's that is there twice.
 *  - The pod's uid has to be the one in target_path, which only the kubelet writes (A2). If the
 *    CSIDriver object does not set podInfoOnMount, the kubelet sends no keys of its own, and a pod
 *    could write all of them; but it does not know its own uid before it is created. So such a
 *    request gets an error and no volume. Most first attempts fail with it, so the error says what
 *    to set.
 *
 * Tokens come in volume_context or, from newer kubelets that are asked to, in secrets (U4). The
 * other secrets are the pod's nodePublishSecretRef, which exists for the node authorizer only: they
 * are wiped at once, before the handlers see the request. The rest is wiped when they reply.
 *
 * Errors end up in Events that owners of pods read: they name fields, and values only where these
 * are the kubelet's own.
 */
#include "csi/publish_request.h"

#include <limits.h>

#include "volume/spec_words.h"

#define CONTEXT_PREFIX "csi.storage.k8s.io/"
#define TOKENS_KEY     CONTEXT_PREFIX "serviceAccount.tokens"

static bool is_file_name(const char *text)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    return text[0] != '.' && text[0] != '\0' && text[strspn(text, letters)] == '\0';
}

static int check_volume_id(const ProtobufCBinaryData *field, struct error *e)
{
    if (field->len == 0)
        return error_set(e, -EINVAL, "volume_id is missing");
    if (field->len > CSI_VOLUME_ID_MAX || !message_is_text(field) ||
        !is_file_name(message_text(field)))
        return error_set(e, -EINVAL,
                         "invalid volume_id: expected that of an ephemeral volume, at most %u "
                         "letters, digits and - _ .",
                         CSI_VOLUME_ID_MAX);
    return 0;
}

/* Absolute, and each part of it a name. */
static bool is_plain_path(const char *path)
{
    while (*path == '/') {
        size_t len = strcspn(++path, "/");

        if (len == 0 || (len == 1 && path[0] == '.') || (len == 2 && memcmp(path, "..", 2) == 0))
            return false;
        path += len;
        if (*path == '\0')
            return true;
    }
    return false;
}

static int check_target_path(const ProtobufCBinaryData *field, struct error *e)
{
    if (field->len == 0)
        return error_set(e, -EINVAL, "target_path is missing");
    if (field->len >= PATH_MAX || !message_is_text(field) || !is_plain_path(message_text(field)))
        return error_set(e, -EINVAL,
                         "invalid target_path: expected an absolute path without . and ..");
    return 0;
}

/* ---- volume_capability */

static int parse_group(const ProtobufCBinaryData *field, gid_t *ret_group, struct error *e)
{
    unsigned id;

    *ret_group = CSI_GROUP_UNSET;
    if (field->len == 0)
        return 0;
    if (!message_is_text(field) || volume_id_parse(message_text(field), &id, NULL) < 0)
        return error_set(
            e, -EINVAL, "invalid volume_mount_group, expected a group id: check the pod's fsGroup");
    *ret_group = id;
    return 0;
}

/* Options that each mount of secretfs has anyway. */
static bool is_implied_flag(const char *flag)
{
    static const char *const flags[] = {"ro", "nosuid", "nodev", "noexec"};

    for (size_t i = 0; i < ELEMENTS_OF(flags); i++)
        if (streq(flag, flags[i]))
            return true;
    return false;
}

static int check_flags(const Csi__MountCapability *mount, struct error *e)
{
    for (size_t i = 0; i < mount->n_mount_flags; i++)
        if (!message_is_text(&mount->mount_flags[i]) ||
            !is_implied_flag(message_text(&mount->mount_flags[i])))
            return error_set(
                e, -EINVAL,
                "unsupported mount option: leave seLinuxMount of the CSIDriver object unset, and "
                "set no mount options");
    return 0;
}

static int read_capability(const Csi__VolumeCapability *capability, struct csi_publish *view,
                           struct error *e)
{
    int r;

    if (capability != NULL && capability->block != NULL)
        return error_set(e, -EINVAL,
                         "block volumes are not supported: remove fsType: block from the pod's csi "
                         "volume");
    if (capability == NULL || capability->mount == NULL)
        return error_set(e, -EINVAL, "volume_capability is missing or does not ask for a mount");
    if (!message_is_text(&capability->mount->fs_type))
        return error_set(e, -EINVAL, "fs_type contains a NUL byte");
    view->fs_type = message_text(&capability->mount->fs_type);
    r = check_flags(capability->mount, e);
    return r < 0 ? r : parse_group(&capability->mount->volume_mount_group, &view->mount_group, e);
}

/* ---- volume_context */

struct context_key {
    const char *name; /* without the prefix */
    size_t offset;    /* of the text in struct csi_publish */
};

static const struct context_key context_keys[] = {
    {"pod.name", offsetof(struct csi_publish, pod_name)},
    {"pod.namespace", offsetof(struct csi_publish, pod_namespace)},
    {"pod.uid", offsetof(struct csi_publish, pod_uid)},
    {"serviceAccount.name", offsetof(struct csi_publish, service_account)},
    {"serviceAccount.tokens", offsetof(struct csi_publish, service_account_tokens)},
};

static const char **field_of(struct csi_publish *view, const char *name)
{
    for (size_t i = 0; i < ELEMENTS_OF(context_keys); i++)
        if (streq(context_keys[i].name, name))
            return (const char **)(void *)((char *)view + context_keys[i].offset);
    return NULL;
}

static int read_pair(struct publish_request *request, const Csi__Pair *pair, bool *is_ephemeral,
                     struct error *e)
{
    struct csi_publish *view = &request->view;
    const char *key = message_text(&pair->key), *value = message_text(&pair->value);
    const char *name = str_after(key, CONTEXT_PREFIX);
    const char **field;

    if (!message_is_text(&pair->key))
        return error_set(e, -EINVAL, "a key of volumeAttributes contains a NUL byte");
    if (!message_is_text(&pair->value))
        return error_set(e, -EINVAL, "volumeAttributes.%.64s contains a NUL byte", key);
    if (name == NULL) {
        request->attributes[view->n_attributes++] =
            (struct volume_attribute){.key = key, .value = value};
        return 0;
    }
    if (streq(name, "ephemeral"))
        *is_ephemeral = streq(value, "true");
    field = field_of(view, name);
    if (field == NULL)
        return 0; /* a key of newer kubelets */
    if (*field != NULL)
        return error_set(e, -EINVAL, "duplicate key %.64s in volume_context", key);
    *field = value;
    return 0;
}

/* Whether a target is a volume's of this pod: ".../pods/UID/volumes/...". */
static bool is_of_pod(const char *target_path, const char *uid)
{
    size_t len = strlen(uid);

    for (const char *at = target_path; (at = strstr(at, "/pods/")) != NULL; at++) {
        const char *found = at + strlen("/pods/");

        if (strncmp(found, uid, len) == 0 && str_after(found + len, "/volumes/") != NULL)
            return true;
    }
    return false;
}

static int check_pod(const struct csi_publish *view, bool is_ephemeral, const char *driver_name,
                     struct error *e)
{
    if (view->pod_name == NULL || view->pod_namespace == NULL || view->pod_uid == NULL ||
        !is_file_name(view->pod_uid) || !is_of_pod(view->target_path, view->pod_uid))
        return error_set(
            e, -EINVAL,
            "the kubelet did not name the pod: set podInfoOnMount: true in the spec of "
            "the CSIDriver object %s",
            driver_name);
    if (!is_ephemeral)
        return error_set(
            e, -EINVAL,
            "secretfs supports ephemeral volumes only: put the csi volume into the pod "
            "itself, instead of a PersistentVolume");
    if (!object_namespace_is_valid(view->pod_namespace) || !object_name_is_valid(view->pod_name))
        return error_set(e, -EINVAL, "invalid pod.name or pod.namespace in volume_context");
    return 0;
}

static int read_context(struct publish_request *request, const char *driver_name, struct error *e)
{
    const Csi__PublishRequest *message = request->message;
    bool is_ephemeral = false;

    request->attributes = calloc(message->n_volume_context + 1, sizeof(*request->attributes));
    if (request->attributes == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the request");
    request->view.attributes = request->attributes;
    for (size_t i = 0; i < message->n_volume_context; i++) {
        int r = read_pair(request, message->volume_context[i], &is_ephemeral, e);

        if (r < 0)
            return r;
    }
    assert(request->view.n_attributes <= message->n_volume_context);
    return check_pod(&request->view, is_ephemeral, driver_name, e);
}

/* ---- secrets */

/* Keep the tokens, and free, and so wipe, everything else. */
static int read_secrets(struct publish_request *request, struct error *e)
{
    Csi__PublishRequest *message = request->message;
    size_t n_kept = 0;

    for (size_t i = 0; i < message->n_secrets; i++) {
        Csi__Pair *pair = message->secrets[i];

        if (!message_is_text(&pair->key) || !streq(message_text(&pair->key), TOKENS_KEY) ||
            n_kept > 0) {
            message_free(&pair->base);
            continue;
        }
        message->secrets[n_kept++] = pair;
    }
    message->n_secrets = n_kept;
    if (n_kept == 0)
        return 0;
    if (!message_is_text(&message->secrets[0]->value))
        return error_set(e, -EINVAL, "the service account's tokens contain a NUL byte");
    request->view.service_account_tokens = message_text(&message->secrets[0]->value);
    return 0;
}

/* ---- the request */

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static int read_message(struct publish_request *request, const char *driver_name, struct error *e)
{
    const Csi__PublishRequest *message = request->message;
    struct csi_publish *view = &request->view;
    int r = check_volume_id(&message->volume_id, e);

    if (r == 0)
        r = check_target_path(&message->target_path, e);
    if (r < 0)
        return r;
    view->volume_id = message_text(&message->volume_id);
    view->target_path = message_text(&message->target_path);
    view->is_read_only = message->readonly;
    r = read_capability(message->volume_capability, view, e);
    if (r == 0)
        r = read_context(request, driver_name, e);
    if (r == 0)
        r = read_secrets(request, e);
    if (r < 0)
        return r;
    view->service_account = or_empty(view->service_account);
    view->service_account_tokens = or_empty(view->service_account_tokens);
    return 0;
}

struct publish_request *publish_request_new(const uint8_t *bytes, size_t len,
                                            const char *driver_name, enum grpc_code *ret_code,
                                            struct error *e)
{
    _cleanup_(publish_request_freep) struct publish_request *request = calloc(1, sizeof(*request));
    int r;

    if (request == NULL) {
        *ret_code = GRPC_RESOURCE_EXHAUSTED;
        error_set_errno(e, -ENOMEM, "cannot read the request");
        return NULL;
    }
    request->message = (Csi__PublishRequest *)message_unpack(&csi__publish_request__descriptor,
                                                             bytes, len, ret_code, e);
    if (request->message == NULL)
        return NULL;
    r = read_message(request, driver_name, e);
    if (r < 0) {
        *ret_code = r == -ENOMEM ? GRPC_RESOURCE_EXHAUSTED : GRPC_INVALID_ARGUMENT;
        return NULL;
    }
    return TAKE(request);
}

struct publish_request *publish_request_free(struct publish_request *request)
{
    if (request == NULL)
        return NULL;
    if (request->message != NULL)
        message_free(&request->message->base);
    free(request->attributes);
    free(request);
    return NULL;
}

Csi__UnpublishRequest *unpublish_request_new(const uint8_t *bytes, size_t len,
                                             enum grpc_code *ret_code, struct error *e)
{
    Csi__UnpublishRequest *message = (Csi__UnpublishRequest *)message_unpack(
        &csi__unpublish_request__descriptor, bytes, len, ret_code, e);
    int r;

    if (message == NULL)
        return NULL;
    r = check_volume_id(&message->volume_id, e);
    if (r == 0)
        r = check_target_path(&message->target_path, e);
    if (r == 0)
        return message;
    message_free(&message->base);
    *ret_code = GRPC_INVALID_ARGUMENT;
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kubelet says about the pod comes in the same map as what the pod says about itself: the
 * kubelet's keys begin with csi.storage.k8s.io/ and win over the pod's (S5). A volume is made for
 * the namespace that is found there, so nothing else must pass for it: a key with a 0 byte in it,
 * which C would take for a shorter one, is refused, and so is a key that is there twice.
 *
 * Without these keys nobody could tell whose the volume is. That is so when the CSIDriver object
 * does not ask for them, and is what most first attempts fail with; the message says what to set.
 * The pod could then write all of them itself and choose a namespace; but not its own uid, which it
 * does not know before it is created. So the uid has to be the one in target_path, which is the
 * kubelet's alone (A2).
 *
 * Tokens come in volume_context or, with newer kubelets that are asked to, in secrets (U4). The
 * rest of secrets is the pod's nodePublishSecretRef, which is named for the node authorizer's sake
 * only: it is wiped at once.
 *
 * Messages end up in events that pods' owners read: they name fields, and values only where these
 * are the kubelet's own.
 */
#include "csi/publish_request.h"

#include <limits.h>

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
                         "volume_id is none of a kubelet's ephemeral volume: it has to consist of "
                         "at most %u letters, digits and - _ .",
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
                         "target_path has to be an absolute path without . and .. in it");
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
        return error_set(e, -EINVAL,
                         "volume_mount_group is no number of a group: check the pod's fsGroup");
    *ret_group = id;
    return 0;
}

/* What a mount has here in any case, and what asks for nothing more than that. */
static bool is_harmless_flag(const char *flag)
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
            !is_harmless_flag(message_text(&mount->mount_flags[i])))
            return error_set(
                e, -EINVAL,
                "there is a mount option that secretfs does not have: leave seLinuxMount "
                "of the CSIDriver object unset, and ask for no mount options");
    return 0;
}

static int take_capability(const Csi__VolumeCapability *capability, struct csi_publish *view,
                           struct error *e)
{
    int r;

    if (capability != NULL && capability->block != NULL)
        return error_set(e, -EINVAL,
                         "a volume of secretfs consists of files and cannot be a block device: "
                         "remove fsType: block from the pod's csi volume");
    if (capability == NULL || capability->mount == NULL)
        return error_set(e, -EINVAL, "volume_capability is missing, or is none of a mount");
    if (!message_is_text(&capability->mount->fs_type))
        return error_set(e, -EINVAL, "fs_type holds a NUL character");
    view->fs_type = message_text(&capability->mount->fs_type);
    r = check_flags(capability->mount, e);
    return r < 0 ? r : parse_group(&capability->mount->volume_mount_group, &view->mount_group, e);
}

/* ---- volume_context */

struct context_key {
    const char *name; /* behind the prefix */
    size_t offset;    /* of the text in struct csi_publish, or of what is_ephemeral is */
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

static int take_pair(struct publish_request *request, const Csi__Pair *pair, bool *is_ephemeral,
                     struct error *e)
{
    struct csi_publish *view = &request->view;
    const char *key = message_text(&pair->key), *value = message_text(&pair->value);
    const char *name = str_after(key, CONTEXT_PREFIX);
    const char **field;

    if (!message_is_text(&pair->key))
        return error_set(e, -EINVAL, "a key of volumeAttributes holds a NUL character");
    if (!message_is_text(&pair->value))
        return error_set(e, -EINVAL, "volumeAttributes.%.64s holds a NUL character", key);
    if (name == NULL) {
        request->attributes[view->n_attributes++] =
            (struct volume_attribute){.key = key, .value = value};
        return 0;
    }
    if (streq(name, "ephemeral"))
        *is_ephemeral = streq(value, "true");
    field = field_of(view, name);
    if (field == NULL)
        return 0; /* something that newer kubelets say */
    if (*field != NULL)
        return error_set(e, -EINVAL, "%.64s is in volume_context twice", key);
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
        return error_set(e, -EINVAL,
                         "the kubelet does not say whose volume it is: set podInfoOnMount: true in "
                         "the spec of the CSIDriver object %s",
                         driver_name);
    if (!is_ephemeral)
        return error_set(e, -EINVAL,
                         "secretfs makes ephemeral volumes only: put the csi volume into the pod "
                         "itself, instead of a PersistentVolume");
    if (!object_namespace_is_valid(view->pod_namespace) || !object_name_is_valid(view->pod_name))
        return error_set(e, -EINVAL, "pod.name or pod.namespace in volume_context is not valid");
    return 0;
}

static int take_context(struct publish_request *request, const char *driver_name, struct error *e)
{
    const Csi__PublishRequest *message = request->message;
    bool is_ephemeral = false;

    request->attributes = calloc(message->n_volume_context + 1, sizeof(*request->attributes));
    if (request->attributes == NULL)
        return error_set_errno(e, -ENOMEM, "cannot take in the request");
    request->view.attributes = request->attributes;
    for (size_t i = 0; i < message->n_volume_context; i++) {
        int r = take_pair(request, message->volume_context[i], &is_ephemeral, e);

        if (r < 0)
            return r;
    }
    return check_pod(&request->view, is_ephemeral, driver_name, e);
}

/* ---- secrets */

/* Keep the tokens, and let go of everything else. */
static int take_secrets(struct publish_request *request, struct error *e)
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
        return error_set(e, -EINVAL, "the service account's tokens hold a NUL character");
    request->view.service_account_tokens = message_text(&message->secrets[0]->value);
    return 0;
}

/* ---- all of it */

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static int take_message(struct publish_request *request, const char *driver_name, struct error *e)
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
    r = take_capability(message->volume_capability, view, e);
    if (r == 0)
        r = take_context(request, driver_name, e);
    if (r == 0)
        r = take_secrets(request, e);
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
        error_set_errno(e, -ENOMEM, "cannot take in the request");
        return NULL;
    }
    request->message = (Csi__PublishRequest *)message_unpack(&csi__publish_request__descriptor,
                                                             bytes, len, ret_code, e);
    if (request->message == NULL)
        return NULL;
    r = take_message(request, driver_name, e);
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

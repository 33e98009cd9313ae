/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the kubelet asks for with NodePublishVolume. */
#include <stdbool.h>
#include <sys/types.h>

#include "volume/attributes.h"

#define CSI_GROUP_UNSET ((gid_t)-1)

#define CSI_VOLUME_ID_MAX 128 /* CSI's limit for a string field; the kubelet's are 68 long (S3) */

/*
 * A request for an ephemeral volume of a pod. Ids, target, pod and namespace are present and valid;
 * whether the volume can be made is for the program to find out. Borrowed until csi_call_reply().
 * Never log attributes, which may hold anything, or tokens.
 */
struct csi_publish {
    const char *volume_id;   /* the same for the life of a volume; 1 to CSI_VOLUME_ID_MAX letters,
                                digits and - _ . without a leading dot, so it can name a file */
    const char *target_path; /* absolute, without . and .. */
    const char *fs_type;     /* "" if none is requested */
    const char *pod_name;
    const char *pod_namespace;
    const char *pod_uid;
    const char *service_account;        /* "" if the kubelet does not name it */
    const char *service_account_tokens; /* JSON, "" if there are none (U4) */
    bool is_read_only;
    gid_t mount_group;                         /* the pod's fsGroup, or CSI_GROUP_UNSET */
    const struct volume_attribute *attributes; /* the pod's own, without the kubelet's */
    size_t n_attributes;
};

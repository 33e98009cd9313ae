/* SPDX-License-Identifier: Apache-2.0 */
/* A NodePublishVolume request: it is in order, or there is a code and a reason. */
#include <stdlib.h>

#include "csi/publish_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_view(const struct csi_publish *view)
{
    assert(view->volume_id[0] != '\0' && strlen(view->volume_id) <= CSI_VOLUME_ID_MAX);
    assert(strchr(view->volume_id, '/') == NULL && view->volume_id[0] != '.');
    assert(view->target_path[0] == '/' && strstr(view->target_path, "/../") == NULL);
    assert(strstr(view->target_path, view->pod_uid) != NULL && view->pod_uid[0] != '\0');
    assert(object_namespace_is_valid(view->pod_namespace));
    assert(object_name_is_valid(view->pod_name));
    assert(view->fs_type != NULL && view->service_account != NULL);
    assert(view->service_account_tokens != NULL);
    for (size_t i = 0; i < view->n_attributes; i++)
        assert(str_after(view->attributes[i].key, "csi.storage.k8s.io/") == NULL &&
               view->attributes[i].value != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;
    struct publish_request *request = publish_request_new(data, size, "csi.secretfs.io", &code, &e);

    if (request != NULL)
        check_view(&request->view);
    else
        assert(code != GRPC_OK && e.text[0] != '\0');
    publish_request_free(request);
    return 0;
}

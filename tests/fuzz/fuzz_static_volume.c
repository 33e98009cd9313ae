/* SPDX-License-Identifier: Apache-2.0 */
/* A file of a volumes directory: it describes a volume with a target, or there is a
 * reason. */
#include <limits.h>

#include "node/static_volume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A path that can be made, entered, and compared as text. */
static void check_target(const char *path)
{
    size_t len = strlen(path);

    assert(path[0] == '/' && len > 1 && len < PATH_MAX && path[len - 1] != '/');
    assert(strstr(path, "//") == NULL && strstr(path, "/./") == NULL);
    assert(strstr(path, "/../") == NULL);
}

static void check_volume(const struct static_volume *v)
{
    check_target(v->target);
    assert(v->spec != NULL && v->spec->default_mode <= VOLUME_MODE_MAX);
    assert(v->namespace == NULL || object_namespace_is_valid(v->namespace));
    assert(v->manifests == NULL || (v->kubeconfig == NULL && v->context == NULL));
    assert(v->manifests == NULL || v->manifests[0] == '/');
    assert(v->kubeconfig == NULL || v->kubeconfig[0] == '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct static_volume *v = NULL;
    struct error e = ERROR_INIT;
    int r = static_volume_parse("fuzz.yaml", (const char *)data, size, &v, &e);

    assert((r == 0) == (v != NULL));
    assert(r == 0 || e.text[0] != '\0');
    if (v != NULL)
        check_volume(v);
    static_volume_unref(v);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Text of /proc about a process, in which it chooses names: what is kept is printable, and fits. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "consumers/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t size)
{
    assert(memchr(text, '\0', size) != NULL);
    for (; *text != '\0'; text++)
        assert(isgraph((unsigned char)*text) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct identity_process process;
    struct identity_group group;

    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (identity_parse_stat(text, &process)) {
        assert(process.pid > 0);
        check_text(process.comm, sizeof(process.comm));
    }
    identity_parse_cgroup(text, size % 2 == 0, &group);
    check_text(group.unit, sizeof(group.unit));
    check_text(group.container, sizeof(group.container));
    check_text(group.pod_uid, sizeof(group.pod_uid));
    assert(memchr(group.cgroup, '\0', sizeof(group.cgroup)) != NULL);
    if (identity_parse_pod(text, group.pod_uid))
        check_text(group.pod_uid, sizeof(group.pod_uid));
    if (identity_parse_container(text, group.container))
        check_text(group.container, sizeof(group.container));
    (void)identity_is_below(text, "", "/a");
    free(text);
    return 0;
}

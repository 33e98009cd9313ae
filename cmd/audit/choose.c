/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/audit/choose.h"

static bool is_node(const cJSON *process)
{
    const char *kind = json_text(process, "process");

    return kind != NULL && streq(kind, "node");
}

int audit_choose(const cJSON *list, const char **ret_target, struct error *e)
{
    const char *found = NULL;
    const cJSON *process;

    cJSON_ArrayForEach (process, json_member(list, "processes")) {
        const char *target = json_text(process, "audit");

        if (target == NULL)
            continue;
        if (is_node(process)) {
            *ret_target = target;
            return 0;
        }
        if (found != NULL && !streq(found, target))
            return error_set(e, -EINVAL,
                             "the mounts of this host have several audits, such as %.300s and "
                             "%.300s: name the file",
                             found, target);
        found = target;
    }
    if (found == NULL)
        return error_set(e, -ENOENT,
                         "no daemon of this host writes an audit; start it with --audit, or name "
                         "the file");
    *ret_target = found;
    return 0;
}

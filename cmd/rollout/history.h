/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs rollout history`: the versions of an object that volumes have shown. Pure. */
#include "base/buf.h"
#include "cmd/status/filter.h"

/*
 * Append a line for each version, below a header; the oldest of a volume comes first.
 * @list: as of status_request_all() with the debugging members
 * Return: 0; -ENOENT if no volume shows the object, -ENODATA if none has a version since its
 * process started; -ENOMEM; -EFBIG at the buffer's limit.
 */
int rollout_history(const cJSON *list, const struct status_filter *object, struct buf *lines);

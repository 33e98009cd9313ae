/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Which audit of this host `secretfs audit` prints, when it is given no file. Pure. */
#include "base/error.h"
#include "encoding/json.h"

/*
 * The node daemon's, or else the only one of all mounts.
 * @list: of status_request_all()
 * Return: 0, *ret_target is borrowed; -ENOENT, or -EINVAL if there are several; with @e.
 */
int audit_choose(const cJSON *list, const char **ret_target, struct error *e);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* One volume in detail, for people: what `secretfs status TARGET` prints. */
#include "encoding/json.h"

/* Print to standard output. @status: as status_request() returns it */
void status_detail_print(const cJSON *status);

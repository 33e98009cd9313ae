/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a YAML document may have. */
#include "encoding/json.h"

/* Far above any manifest that an API server accepts; they bound the cost of hostile text. */
#define YAML_MAX_BYTES  (16u << 20)     /* of text; and of all copies by aliases and merges */
#define YAML_MAX_DEPTH  256u            /* a CustomResourceDefinition's schema reaches about 60 */
#define YAML_MAX_VALUES JSON_MAX_VALUES /* of one document, aliases expanded */

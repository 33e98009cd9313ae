/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The bytes of a file of the tree. */
#include "cache/object.h"

/* Borrowed from @object, of which the holder owns a reference. */
struct file_content {
    struct object *object;
    const uint8_t *bytes;
    size_t len;
};

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Whether an API server streams lists (WatchList), by its version. A request cannot find out:
 * servers that do not know the feature ignore its parameters and send no end of the list.
 */
#include <stdbool.h>
#include <stddef.h>

/*
 * @text: the response to /version
 * Return: whether it is of a version that streams lists by default; false also if it is invalid.
 * Source: kubelet-semantics.md J14.
 */
bool server_version_streams_lists(const char *text, size_t len);

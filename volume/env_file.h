/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A file of variables, as a fileKeyRef names one: lines KEY='value'. See env_file.c.
 *
 * Thread: any.
 */
#include "base/buf.h"
#include "base/error.h"

#define ENV_FILE_MAX_BYTES (1u << 20) /* as the values of an object (L3) */

#define ENV_FILE_WITHOUT_KEY 1 /* the file is valid up to its end and has no value for the key */

/*
 * Find the value of a key. A pure function.
 * @text: @len bytes
 * @value: appended to; incomplete on failure
 * Return: 0; ENV_FILE_WITHOUT_KEY, also for an empty value; -EBADMSG with @e for an invalid line;
 * -EFBIG beyond the limit of @value; -ENOMEM.
 * Source: kubelet-semantics.md Y35, k8s.io/kubernetes/pkg/kubelet/util/env/env_util.go.
 */
int env_file_find(const char *text, size_t len, const char *key, struct buf *value,
                  struct error *e);

/*
 * Read a file of a directory. Symbolic links do not lead out of the directory.
 * @path: from the directory on, with or without a "/" in front
 * @text: appended to
 * Return: 0; -EINVAL unless it is a regular file; -EFBIG beyond the limit of @text; -errno; with
 * @e.
 */
int env_file_load(const char *directory, const char *path, struct buf *text, struct error *e);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Parses the text of kubeconfig files into the configuration of one of their contexts. */
#include "fetcher/auth/api_config.h"

/* The text of one kubeconfig file. */
struct kubeconfig_document {
    const char *path; /* absolute: relative paths in the text are relative to its directory */
    const char *text;
    size_t len;
};

/*
 * Merge kubeconfig files and follow one context through them. Opens no files.
 * @documents: @n of them, by precedence
 * @context: by name, or NULL: current-context
 * Return: 0; KUBECONFIG_EMPTY, when no document names a context, cluster or user; -EINVAL or
 * -ENOMEM with @e.
 */
#define KUBECONFIG_EMPTY 1
int kubeconfig_parse(const struct kubeconfig_document *documents, size_t n, const char *context,
                     struct api_config **ret_config, struct error *e);

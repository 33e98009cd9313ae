/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* From the texts of kubeconfig files to the configuration that one of their contexts stands for. */
#include "fetcher/auth/kubeconfig.h"

/* The text of one kubeconfig file. */
struct kubeconfig_document {
    const char *path; /* absolute: relative paths in the text are relative to its directory */
    const char *text;
    size_t len;
};

/*
 * Merge kubeconfig files and follow one context through them. Opens no files.
 * @documents: @n of them, the one that wins first
 * @context: by name, or NULL: current-context
 * Return: 0; KUBECONFIG_EMPTY, when no document names a context, cluster or user; -EINVAL or
 * -ENOMEM with @e.
 */
#define KUBECONFIG_EMPTY 1
int kubeconfig_parse(const struct kubeconfig_document *documents, size_t n, const char *context,
                     struct api_config **ret_config, struct error *e);

/*
 * Bring config->server to the form that its comment in struct api_config promises. The other
 * members tell what one without a scheme means. Return: 0; -EINVAL or -ENOMEM with @e.
 */
int api_config_normalise_server(struct api_config *config, struct error *e);

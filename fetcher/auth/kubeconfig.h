/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Finds the configuration: kubeconfig files, or the files of a pod's service account. It contacts
 * no server and opens no credential file; credentials.h does.
 */
#include "fetcher/auth/api_config.h"

struct kubeconfig_options {
    const char *file;    /* --kubeconfig, or NULL: $KUBECONFIG, ~/.kube/config, in-cluster */
    const char *context; /* --context, or NULL: current-context */
};

/*
 * Find and read the configuration.
 * Return: 0, *ret_config is the caller's; -ENOENT when no configuration exists, -EINVAL for an
 * invalid one, -ENOMEM, or the error of reading a file; @e names the file and what to do.
 */
int kubeconfig_load(const struct kubeconfig_options *options, struct api_config **ret_config,
                    struct error *e);

/* What kubeconfig_load() takes from the process, for tests to replace. */
struct kubeconfig_host {
    const char *(*get_env)(void *userdata, const char *name); /* borrowed; NULL: unset */
    void *userdata;
    const char *service_account_dir; /* where a pod finds token, ca.crt and namespace */
};

/* kubeconfig_load() with @host instead of the process's environment and service account. */
int kubeconfig_load_from(const struct kubeconfig_options *options,
                         const struct kubeconfig_host *host, struct api_config **ret_config,
                         struct error *e);

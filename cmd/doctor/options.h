/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The node that is looked at; strings are borrowed. */
struct doctor_options {
    const char *driver_name;
    const char *node_id;
    const char *kubelet_root;
    const char *run_dir;
    const char *endpoint;
    const char *registration_path; /* NULL: the kubelet finds the endpoint otherwise */
    const char *rights;            /* "node", "pod" or "daemon" */
    const char *kubeconfig;        /* NULL: wherever it is found */
    const char *context;           /* NULL: the current one */
    const char *manifests;         /* a directory, in the place of an API server; or NULL */
};

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The node to check, as the options of `secretfs node`; strings are borrowed. */
struct doctor_options {
    const char *driver_name;
    const char *node_id;
    const char *kubelet_root;
    const char *run_dir;
    const char *endpoint;
    const char *registration_path; /* NULL: a registrar registers the endpoint */
    const char *rights;            /* "node", "pod" or "daemon" */
    const char *kubeconfig;        /* NULL: the default locations */
    const char *context;           /* NULL: the current one */
    const char *manifests;         /* a directory; NULL: objects come from an API server */
};

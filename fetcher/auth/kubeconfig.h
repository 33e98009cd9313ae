/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Where the API server is and who we are there: read from kubeconfig files, or from the files that
 * a pod's service account gets. Nothing is contacted and no credential file is opened here; that is
 * credentials.h.
 */
#include "base/cleanup.h"
#include "base/error.h"

/* PEM that stands in the configuration itself or in a file; both NULL if not given. Data wins. */
struct pem_source {
    char *data;
    char *file;
};

/* users[].user.exec: a program that hands out credentials (client.authentication.k8s.io). */
struct exec_plugin {
    char *api_version;
    char *command; /* resolved against the kubeconfig's directory if it has a slash */
    char **args;   /* NULL-terminated, without the command */
    char **env;    /* NULL-terminated, "NAME=value" */
    char *install_hint;
    bool provide_cluster_info;
    char *cluster_config; /* JSON for the plug-in's spec.cluster.config, from the cluster's
                             extension */
};

/* Everything is owned; absent members are NULL. Paths are absolute. */
struct api_config {
    char *origin; /* for messages: which file and context, or "in-cluster service account" */
    char *server; /* http[s]://HOST[:PORT][/PATH] without a slash at the end */
    char *tls_server_name;
    char *proxy_url;
    bool insecure_skip_tls_verify;
    struct pem_source certificate_authority;
    struct pem_source client_certificate;
    struct pem_source client_key;
    char *token;
    char *token_file; /* wins over token */
    char *username;
    char *password;
    struct exec_plugin *exec;
    char *impersonate_user;
    char **impersonate_groups; /* NULL-terminated, or NULL */
    char *impersonate_uid;
    char *namespace; /* the context's, or the service account's; NULL if none */
};

struct kubeconfig_options {
    const char *file;    /* --kubeconfig, or NULL: $KUBECONFIG, ~/.kube/config, in-cluster */
    const char *context; /* --context, or NULL: current-context */
};

/*
 * Find and read the configuration.
 * Return: 0, *ret_config is the caller's; -ENOENT when there is none anywhere, -EINVAL for one that
 * does not make sense, -ENOMEM, or what reading a file gave; @e says which file and what to do.
 */
int kubeconfig_load(const struct kubeconfig_options *options, struct api_config **ret_config,
                    struct error *e);

/* What kubeconfig_load() takes from its surroundings, for tests to replace. */
struct kubeconfig_host {
    const char *(*get_env)(void *userdata, const char *name); /* borrowed, or NULL */
    void *userdata;
    const char *service_account_dir; /* where a pod finds token, ca.crt and namespace */
};

/* kubeconfig_load() with @host in the place of the process's environment and file system. */
int kubeconfig_load_from(const struct kubeconfig_options *options,
                         const struct kubeconfig_host *host, struct api_config **ret_config,
                         struct error *e);

/*
 * The same server without anybody's credentials: address, proxy and certificate authorities, for
 * sources that bring a token of their own.
 * Return: the caller's; NULL for want of memory.
 */
struct api_config *api_config_dup_anonymous(const struct api_config *config);

/* Return: NULL; NULL is fine. */
struct api_config *api_config_free(struct api_config *config);
DEFINE_CLEANUP(struct api_config *, api_config_free)

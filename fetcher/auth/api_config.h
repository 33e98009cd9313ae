/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The address of an API server and the credentials for it, as a kubeconfig or a pod gives them. */
#include "base/cleanup.h"
#include "base/error.h"

/* PEM in the configuration itself or in a file; both NULL if absent. Data takes precedence. */
struct pem_source {
    char *data;
    char *file;
};

/* users[].user.exec: a program that provides credentials (client.authentication.k8s.io). */
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
    char *user;   /* the same: whose credentials these are, and where; NULL: none */
    char *server; /* http[s]://HOST[:PORT][/PATH] without a slash at the end */
    char *tls_server_name;
    char *proxy_url;
    bool insecure_skip_tls_verify;
    struct pem_source certificate_authority;
    struct pem_source client_certificate;
    struct pem_source client_key;
    char *token;
    char *token_file; /* takes precedence over token, which is used until the file can be read */
    char *username;
    char *password;
    struct exec_plugin *exec;
    bool withholds_credentials; /* the user has some, which are not sent over plain http */
    char *impersonate_user;
    char **impersonate_groups; /* NULL-terminated, or NULL */
    char *impersonate_uid;
    char *namespace; /* the context's, or the service account's; NULL if none */
};

/*
 * Bring config->server to the form that its comment promises. The TLS members decide what a server
 * without a scheme means. Return: 0; -EINVAL or -ENOMEM with @e.
 */
int api_config_normalise_server(struct api_config *config, struct error *e);

/* Whether requests to config->server are encrypted. The server is normalised. */
bool api_config_is_encrypted(const struct api_config *config);

/*
 * Remove the credentials that client-go does not use either: all of them over plain http, where
 * withholds_credentials is set instead; the exec plug-in beside a token, a username or a client
 * certificate. The server is normalised.
 */
void api_config_drop_unused_credentials(struct api_config *config);

/* Return: 0, also without a proxy; -EINVAL with @e, which does not quote the URL. */
int api_config_check_proxy(const struct api_config *config, struct error *e);

/*
 * The same server without a user's credentials: address, proxy and certificate authorities, for
 * sources with a token of their own.
 * Return: the caller's; NULL for want of memory.
 */
struct api_config *api_config_dup_anonymous(const struct api_config *config);

/* Return: NULL; NULL is fine. */
struct api_config *api_config_free(struct api_config *config);
DEFINE_CLEANUP(struct api_config *, api_config_free)

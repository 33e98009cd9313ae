/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --rights node:    one identity for all pods, with the kubelet's kubeconfig. The API server's
 *                   node authorizer limits it to the secrets that pods of this node name.
 * --rights daemon:  one for all pods, with the program's own configuration.
 * --rights pod:     one for each namespace and service account. Its token comes with each publish,
 *                   and the newest is used. That of a volume of an earlier process has no source
 *                   until the kubelet publishes one again: tokens are not handed over. They share
 *                   the connections to the API server.
 *
 * Each identity has a source and a store of its own, so that no volume shows an object that was
 * fetched with other credentials.
 *
 * A source is created by the first request for it, and a failed creation is retried by the next
 * request: on a new node the kubeconfig may appear after this program started.
 *
 * The program's own identity is freed with the program, so that its connection stays open; its
 * watches end with their last volumes. A pod's identity is freed with its last volume.
 */
#include "node/identity.h"

#include <stdio.h>

#include "base/log.h"
#include "base/words.h"
#include "encoding/json.h"
#include "fetcher/api/api_source.h"
#include "fetcher/auth/kubeconfig.h"
#include "fetcher/manifests/manifests.h"

#define KUBELET_KUBECONFIG  "/etc/kubernetes/kubelet.conf" /* kubeadm's path */
#define IDENTITY_TOKENS_MAX 65536u /* of JSON; 1 KiB for each audience of the pod */

struct identities {
    sd_event *event;
    struct identities_options options;
    char *kubelet_kubeconfig; /* KUBELET_ROOT/kubeconfig, other installers' path */
    struct list all;
    struct identity *own;      /* the program's; a reference, or NULL */
    struct api_server *server; /* of the pods' identities; a reference, or NULL */
};

const char *const node_rights_words[] = {
    [NODE_RIGHTS_NODE] = "node", [NODE_RIGHTS_POD] = "pod", [NODE_RIGHTS_DAEMON] = "daemon", NULL};

int node_rights_parse(const char *text, enum node_rights *ret_rights, struct error *e)
{
    int found = words_find(node_rights_words, "rights", text, e);

    if (found < 0)
        return found;
    *ret_rights = (enum node_rights)found;
    return 0;
}

const char *node_rights_name(enum node_rights rights)
{
    return node_rights_words[rights];
}

/* ---- all of them */

int identities_new(sd_event *event, const struct identities_options *options,
                   struct identities **ret_identities)
{
    _cleanup_(identities_freep) struct identities *all = calloc(1, sizeof(*all));

    if (all == NULL)
        return -ENOMEM;
    list_init(&all->all);
    all->event = sd_event_ref(event);
    all->options = *options;
    if (asprintf(&all->kubelet_kubeconfig, "%s/kubeconfig", options->kubelet_root) < 0) {
        all->kubelet_kubeconfig = NULL;
        return -ENOMEM;
    }
    *ret_identities = TAKE(all);
    return 0;
}

struct identities *identities_free(struct identities *identities)
{
    if (identities == NULL)
        return NULL;
    identities->own = identity_unref(identities->own);
    assert(list_is_empty(&identities->all));
    api_server_unref(identities->server);
    free(identities->kubelet_kubeconfig);
    sd_event_unref(identities->event);
    free(identities);
    return NULL;
}

void identities_visit(const struct identities *identities, identity_visit_fn *visit, void *userdata)
{
    const struct identity *i;

    list_for_each (i, &identities->all, link)
        if (!visit(userdata, i))
            return;
}

/* ---- one of them */

static struct identity *identity_ref(struct identity *i)
{
    assert(i->n_refs > 0);
    i->n_refs++;
    return i;
}

struct identity *identity_unref(struct identity *identity)
{
    struct identity *i = identity;

    if (i == NULL)
        return NULL;
    assert(i->n_refs > 0);
    if (--i->n_refs > 0)
        return NULL;
    list_remove(&i->link);
    if (i->source != NULL && i->all->options.gone != NULL)
        i->all->options.gone(i->all->options.userdata, i);
    source_free(i->source);
    store_free(i->store);
    free(i->name);
    free(i->key);
    free(i->namespace);
    free(i);
    return NULL;
}

static struct identity *find(struct identities *all, const char *key)
{
    struct identity *i;

    list_for_each (i, &all->all, link)
        if (streq(i->key, key))
            return i;
    return NULL;
}

/* Without a source. @key_consumed, @name_consumed: NULL is -ENOMEM. */
static int identity_new(struct identities *all, char *key_consumed, char *name_consumed,
                        const char *namespace, struct identity **ret_identity)
{
    _cleanup_(identity_unrefp) struct identity *i = calloc(1, sizeof(*i));

    if (i == NULL) {
        free(key_consumed);
        free(name_consumed);
        return -ENOMEM;
    }
    list_init(&i->link);
    i->all = all;
    i->n_refs = 1;
    i->key = key_consumed;
    i->name = name_consumed;
    i->namespace = strdup(namespace);
    if (i->key == NULL || i->name == NULL || i->namespace == NULL || store_new(&i->store) < 0)
        return -ENOMEM;
    *ret_identity = TAKE(i);
    return 0;
}

static void connect_source(struct identity *i)
{
    assert(i->store != NULL && i->source != NULL && list_is_empty(&i->link));
    store_set_source(i->store, &i->source->ops->store, i->source);
    list_append(&i->all->all, &i->link);
}

/* ---- from a place */

/* Return: the path of the kubelet's kubeconfig, borrowed; NULL if there is none. */
static const char *find_kubelet_kubeconfig(const struct identities *all)
{
    if (access(KUBELET_KUBECONFIG, F_OK) == 0)
        return KUBELET_KUBECONFIG;
    return access(all->kubelet_kubeconfig, F_OK) == 0 ? all->kubelet_kubeconfig : NULL;
}

static int load_config(const struct identities *all, const struct identity_place *place,
                       struct api_config **ret_config, struct error *e)
{
    struct kubeconfig_options options = {.file = place->kubeconfig, .context = place->context};

    if (options.file == NULL && all->options.rights == NODE_RIGHTS_NODE)
        options.file = find_kubelet_kubeconfig(all);
    if (options.file == NULL && all->options.rights == NODE_RIGHTS_NODE) {
        error_set(e, -ENOENT,
                  "cannot find the kubelet's kubeconfig, neither %s nor %s; name it with "
                  "--kubeconfig, or choose other --rights",
                  KUBELET_KUBECONFIG, all->kubelet_kubeconfig);
        return -ENOENT;
    }
    return kubeconfig_load(&options, ret_config, e);
}

static char *format_key(const struct identity_place *place)
{
    char *key;

    if (asprintf(&key, "%s\n%s\n%s", place->kubeconfig != NULL ? place->kubeconfig : "",
                 place->context != NULL ? place->context : "",
                 place->manifests != NULL ? place->manifests : "") < 0)
        return NULL;
    return key;
}

static int open_manifests(struct identities *all, const struct identity_place *place,
                          struct identity **ret_identity, struct error *e)
{
    _cleanup_(identity_unrefp) struct identity *i = NULL;
    int r = identity_new(all, format_key(place), strdup(place->manifests), "default", &i);

    if (r < 0)
        return error_set_errno(e, r, "cannot use %s", place->manifests);
    r = manifest_source_new(all->event, i->store, place->manifests, i->namespace, &i->source, e);
    if (r < 0)
        return r;
    connect_source(i);
    *ret_identity = TAKE(i);
    return 0;
}

static int server_new(struct identities *all, struct api_config *config_consumed,
                      struct api_server **ret_server, struct error *e)
{
    const struct identity_rate_limit *rate = &all->options.rate_limit;
    int r = api_server_new(all->event, config_consumed, ret_server, e);

    if (r < 0)
        return r;
    api_server_set_rate_limit(*ret_server, rate->per_sec, rate->burst);
    api_server_stream_lists(*ret_server);
    return 0;
}

static int open_api(struct identities *all, const struct identity_place *place,
                    struct identity **ret_identity, struct error *e)
{
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    _cleanup_(api_server_unrefp) struct api_server *server = NULL;
    _cleanup_(identity_unrefp) struct identity *i = NULL;
    int r = load_config(all, place, &config, e);

    if (r < 0)
        return r;
    r = identity_new(all, format_key(place), strdup(config->origin),
                     config->namespace != NULL ? config->namespace : "default", &i);
    if (r < 0)
        return error_set_errno(e, r, "cannot use %s", config->origin);
    if (config->withholds_credentials)
        log_warn("credentials are not sent over plain http; name an https:// server", "server",
                 config->server, "configuration", config->origin);
    r = server_new(all, TAKE(config), &server, e);
    if (r == 0)
        r = api_source_new_on(server, i->store, &i->source, e);
    if (r < 0)
        return r;
    connect_source(i);
    *ret_identity = TAKE(i);
    return 0;
}

static bool place_is_empty(const struct identity_place *place)
{
    return place->kubeconfig == NULL && place->context == NULL && place->manifests == NULL;
}

/* Open the program's own identity, if it is not open. Return: 0; -errno with @e. */
static int open_own(struct identities *all, struct error *e)
{
    const struct identity_place *place = &all->options.place;

    if (all->own != NULL)
        return 0;
    return place->manifests != NULL ? open_manifests(all, place, &all->own, e)
                                    : open_api(all, place, &all->own, e);
}

int identities_get_place(struct identities *identities, const struct identity_place *place,
                         struct identity **ret_identity, struct error *e)
{
    _cleanup_(freep) char *key = format_key(place);
    struct identity *found;
    int r;

    if (key == NULL)
        return error_set_errno(e, -ENOMEM, "cannot set up the source");
    if (place_is_empty(place)) {
        r = open_own(identities, e);
        if (r == 0)
            *ret_identity = identity_ref(identities->own);
        return r;
    }
    found = find(identities, key);
    if (found != NULL) {
        *ret_identity = identity_ref(found);
        return 0;
    }
    return place->manifests != NULL ? open_manifests(identities, place, ret_identity, e)
                                    : open_api(identities, place, ret_identity, e);
}

/* ---- a pod's own */

/* The server of all pods' identities, without credentials of its own. */
static int open_server(struct identities *all, struct error *e)
{
    _cleanup_(api_config_freep) struct api_config *config = NULL, *anonymous = NULL;
    int r;

    if (all->server != NULL)
        return 0;
    r = load_config(all, &all->options.place, &config, e);
    if (r < 0)
        return r;
    if (!api_config_is_encrypted(config))
        return error_set(e, -EINVAL,
                         "%s: the token of a pod is not sent over plain http to %.255s; name an "
                         "https:// server",
                         config->origin, config->server);
    anonymous = api_config_dup_anonymous(config);
    if (anonymous == NULL)
        return error_set_errno(e, -ENOMEM, "cannot use %s", config->origin);
    return server_new(all, TAKE(anonymous), &all->server, e);
}

/*
 * Choose the token of the empty audience, which means the API server, or else the first.
 * Return: 0, *ret_tokens is the caller's, *ret_token is a part of it; -EACCES with @e.
 */
static int parse_tokens(const char *text, cJSON **ret_tokens, const char **ret_token,
                        struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *tokens = NULL;
    size_t len = strlen(text);
    const char *token = NULL;

    if (len <= IDENTITY_TOKENS_MAX && json_parse(text, len, &tokens, NULL) == 0 &&
        cJSON_IsObject(tokens)) {
        const cJSON *audience = json_member(tokens, "");

        token = json_text(audience != NULL ? audience : tokens->child, "token");
    }
    if (token == NULL) {
        error_set(e, -EACCES,
                  "the kubelet sent no service account token, which --rights pod needs; the "
                  "CSIDriver object has to have tokenRequests: [{audience: \"\"}]");
        return -EACCES;
    }
    *ret_token = token;
    *ret_tokens = TAKE(tokens);
    return 0;
}

/* Without a source: set_token() opens it. */
static int new_pod(struct identities *all, const struct identity_request *request,
                   struct identity **ret_identity, struct error *e)
{
    _cleanup_(identity_unrefp) struct identity *i = NULL;
    char *key = NULL, *name = NULL;
    int r;

    if (asprintf(&key, "%s/%s", request->namespace, request->service_account) < 0)
        key = NULL;
    if (asprintf(&name, "system:serviceaccount:%s:%s", request->namespace,
                 request->service_account) < 0)
        name = NULL;
    r = identity_new(all, key, name, request->namespace, &i);
    if (r < 0)
        return error_set_errno(e, r, "cannot use a service account");
    i->is_of_pod = true;
    store_set_reason(i->store,
                     "the daemon was started again, and the kubelet has not sent a token of "
                     "the pod's service account since; it does so periodically");
    list_append(&all->all, &i->link);
    *ret_identity = TAKE(i);
    return 0;
}

static int open_pod_source(struct identity *i, const char *token, struct error *e)
{
    int r = open_server(i->all, e);

    return r == 0 ? api_source_new_with_token(i->all->server, i->store, token, &i->source, e) : r;
}

/* Volumes may have subscribed before the first one. */
static int set_token(struct identity *i, const char *token, struct error *e)
{
    int r = i->source == NULL ? open_pod_source(i, token, e)
                              : api_source_set_token(i->source, token, e);

    return r == 0 ? store_connect_source(i->store, &i->source->ops->store, i->source, e) : r;
}

/* Return: 0, *ret_identity is a reference of the caller's; -ENOMEM with @e. */
static int find_pod(struct identities *all, const struct identity_request *request,
                    struct identity **ret_identity, struct error *e)
{
    char key[OBJECT_NAMESPACE_MAX + OBJECT_NAME_MAX + 2];
    struct identity *i;

    snprintf(key, sizeof(key), "%s/%s", request->namespace, request->service_account);
    i = find(all, key);
    if (i == NULL)
        return new_pod(all, request, ret_identity, e);
    *ret_identity = identity_ref(i);
    return 0;
}

static int get_pod(struct identities *all, const struct identity_request *request,
                   struct identity **ret_identity, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *tokens = NULL;
    _cleanup_(identity_unrefp) struct identity *i = NULL;
    const char *token;
    int r = parse_tokens(request->tokens, &tokens, &token, e);

    if (r == 0)
        r = find_pod(all, request, &i, e);
    if (r < 0)
        return r;
    assert(i != NULL);
    r = set_token(i, token, e);
    if (r == 0)
        *ret_identity = TAKE(i);
    return r;
}

static bool are_of_pods(const struct identities *all)
{
    return all->options.rights == NODE_RIGHTS_POD && all->options.place.manifests == NULL;
}

int identities_get(struct identities *identities, const struct identity_request *request,
                   struct identity **ret_identity, struct error *e)
{
    static const struct identity_place own;

    if (are_of_pods(identities))
        return get_pod(identities, request, ret_identity, e);
    return identities_get_place(identities, &own, ret_identity, e);
}

int identities_get_waiting(struct identities *identities, const struct identity_request *request,
                           struct identity **ret_identity, struct error *e)
{
    if (are_of_pods(identities))
        return find_pod(identities, request, ret_identity, e);
    return identities_get(identities, request, ret_identity, e);
}

int identity_renew(struct identity *identity, const char *tokens, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *parsed = NULL;
    const char *token;
    int r;

    if (!identity->is_of_pod)
        return 0;
    r = parse_tokens(tokens, &parsed, &token, e);
    return r == 0 ? set_token(identity, token, e) : r;
}

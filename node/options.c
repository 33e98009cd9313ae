/* SPDX-License-Identifier: Apache-2.0 */
#include "node/options.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>

#include "base/arguments.h"
#include "base/words.h"
#include "base/buf.h"
#include "base/file_read.h"
#include "consumers/audit_target.h"
#include "encoding/json.h"
#include "encoding/yaml.h"
#include "fetcher/http/client.h"
#include "monitor/http_server.h"

#define CONFIG_MAX_BYTES 65536u /* a dozen short lines and comments */

#define RATE_MAX 100000u /* more than any API server answers */

#define DRIVER_NAME_MAX 63 /* R2 */

enum option_code {
    OPTION_HELP = 'h',
    OPTION_CONFIG = 256,
    OPTION_ENDPOINT,
    OPTION_REGISTRATION,
    OPTION_DRIVER_NAME,
    OPTION_NODE_ID,
    OPTION_KUBELET_ROOT,
    OPTION_RIGHTS,
    OPTION_KUBECONFIG,
    OPTION_CONTEXT,
    OPTION_MANIFESTS,
    OPTION_API_QPS,
    OPTION_API_BURST,
    OPTION_VOLUMES_DIR,
    OPTION_RUN_DIR,
    OPTION_CONSUMERS,
    OPTION_REPORT_CONDITIONS,
    OPTION_KEEP_PREVIOUS,
    OPTION_AUDIT,
    OPTION_METRICS,
    OPTION_UI,
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT,
    OPTION_TRACE,
    OPTION_VERBOSITY,
    OPTION_CHECK,
};

const struct option node_long_options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"endpoint", required_argument, NULL, OPTION_ENDPOINT},
    {"registration-path", required_argument, NULL, OPTION_REGISTRATION},
    {"driver-name", required_argument, NULL, OPTION_DRIVER_NAME},
    {"node-id", required_argument, NULL, OPTION_NODE_ID},
    {"kubelet-root", required_argument, NULL, OPTION_KUBELET_ROOT},
    {"rights", required_argument, NULL, OPTION_RIGHTS},
    {"kubeconfig", required_argument, NULL, OPTION_KUBECONFIG},
    {"context", required_argument, NULL, OPTION_CONTEXT},
    {"manifests", required_argument, NULL, OPTION_MANIFESTS},
    {"kube-api-qps", required_argument, NULL, OPTION_API_QPS},
    {"kube-api-burst", required_argument, NULL, OPTION_API_BURST},
    {"volumes-dir", required_argument, NULL, OPTION_VOLUMES_DIR},
    {"run-dir", required_argument, NULL, OPTION_RUN_DIR},
    {"consumers", required_argument, NULL, OPTION_CONSUMERS},
    {"report-conditions", required_argument, NULL, OPTION_REPORT_CONDITIONS},
    {"keep-previous", required_argument, NULL, OPTION_KEEP_PREVIOUS},
    {"audit", required_argument, NULL, OPTION_AUDIT},
    {"metrics-bind-address", required_argument, NULL, OPTION_METRICS},
    {"ui", required_argument, NULL, OPTION_UI},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
    {"trace", required_argument, NULL, OPTION_TRACE},
    {"v", required_argument, NULL, OPTION_VERBOSITY},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

void node_options_help(const char *program)
{
    printf(
        "Usage: %s node [options]\n"
        "\n"
        "Serve the volumes of a node: those of its pods, as a CSI driver, and those that files\n"
        "in a directory define.\n"
        "\n"
        "Towards the kubelet:\n"
        "      --driver-name NAME       the driver's name in pods and in its CSIDriver object\n"
        "                               (default: " NODE_DRIVER_NAME_DEFAULT ")\n"
        "      --node-id NAME           the node's name (default: $NODE_NAME, else the host's)\n"
        "      --kubelet-root DIR       the kubelet's --root-dir (default: " KUBELET_ROOT_DEFAULT
        ")\n"
        "      --endpoint PATH          the CSI socket, also as unix://PATH\n"
        "                               (default: plugins/NAME/csi.sock in the kubelet's root)\n"
        "      --registration-path PATH where the kubelet looks for plug-ins, or \"none\"\n"
        "                               (default: plugins_registry/NAME-reg.sock in its root)\n"
        "\n"
        "Where objects come from:\n"
        "      --rights WHOSE           node (default): the kubelet's credentials; pod: the\n"
        "                               service account of each pod; daemon: the program's own\n"
        "      --kubeconfig FILE        how to reach the API server (default: with node, the\n"
        "                               kubelet's; else $KUBECONFIG, ~/.kube/config, the\n"
        "                               in-cluster service account)\n"
        "      --context NAME           context of the kubeconfig to use\n"
        "      --manifests DIR          take objects from the YAML and JSON manifests in DIR\n"
        "                               instead of from an API server\n"
        "      --kube-api-qps N         requests to an API server in a second (default: 300;\n"
        "                               0 for no limit)\n"
        "      --kube-api-burst N       how many of them at once (default: 600)\n"
        "      --volumes-dir DIR        files that define volumes outside of pods\n"
        "                               (default: /etc/secretfs/volumes.d)\n"
        "\n"
        "How it runs:\n"
        "      --config FILE            options from a YAML file: their names as keys, without\n"
        "                               dashes in front; the command line wins\n"
        "      --run-dir DIR            where the file system is mounted (default:\n"
        "                               /run/secretfs)\n"
        "      --consumers on|off       note which processes open which version, for `secretfs\n"
        "                               rollout status` (default: off)\n"
        "      --report-conditions on|off  the condition secretfs.io/SecretsCurrent for all pods\n"
        "                               with a volume, not only for those with `report:\n"
        "                               condition` (default: off)\n"
        "      --keep-previous on|off   keep what an update replaced in memory for an hour, for\n"
        "                               `secretfs rollout undo` (default: off)\n"
        "      --audit FILE|journal|unix:PATH  a line of JSON for each first open of a version\n"
        "                               by a process; takes --consumers on\n"
        "      --metrics-bind-address ADDRESS  metrics and health over HTTP\n"
        "                               (default: 127.0.0.1:9811; 0 for none)\n"
        "      --ui on|off              a page for browsers at that address, /ui, with volumes\n"
        "                               and rollouts (default: off)\n"
        "      --log-level LEVEL        error, warn, info (default) or debug\n"
        "      --log-format FORMAT      text (default) or json\n"
        "      --trace CATEGORIES       log each step of these: fuse, grpc, http, node,\n"
        "                               publisher, reflector, store, volume; comma-separated\n"
        "      --v N                    the same in numbers: 0 to 3 is info, more is debug\n"
        "      --check                  check that a process with these options could start, and\n"
        "                               take over what is stored; serve nothing\n"
        "  -h, --help                   show this help\n",
        program);
}

/* ---- values */

static int no_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the options");
}

/* Keep a text for an option. Return: borrowed; NULL when there is no room, then it is freed. */
static const char *keep(struct node_options *o, char *text_consumed)
{
    if (text_consumed == NULL || o->n_texts == ELEMENTS_OF(o->texts)) {
        free(text_consumed);
        return NULL;
    }
    o->texts[o->n_texts++] = text_consumed;
    return text_consumed;
}

static int set_path(const char **path, const char *name, const char *value, struct error *e)
{
    if (*value != '/' || strlen(value) >= PATH_MAX)
        return error_set(e, -EINVAL, "%s takes an absolute path, not \"%.256s\"", name, value);
    *path = value;
    return 0;
}

/* Sidecars of CSI drivers take endpoints as URLs. */
static int set_endpoint(struct node_options *o, const char *value, struct error *e)
{
    const char *path = str_after(value, "unix:");

    path = path != NULL ? path : value;
    path = strncmp(path, "///", 3) == 0 ? path + 2 : path;
    return set_path(&o->endpoint, "endpoint", path, e);
}

static bool is_driver_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");

    return len > 0 && len <= DRIVER_NAME_MAX && text[len] == '\0' &&
           isalnum((unsigned char)text[0]) != 0 && isalnum((unsigned char)text[len - 1]) != 0;
}

int node_driver_name_check(const char *name, struct error *e)
{
    return is_driver_name(name)
               ? 0
               : error_set(e, -EINVAL,
                           "invalid driver name \"%.64s\": expected up to %d letters, digits, "
                           "dots and dashes",
                           name, DRIVER_NAME_MAX);
}

static int set_verbosity(struct node_options *o, const char *value, struct error *e)
{
    size_t len = strspn(value, "0123456789");

    if (len == 0 || len > 4 || value[len] != '\0')
        return error_set(e, -EINVAL, "v takes a number, not \"%.32s\"", value);
    o->log_level = strtoul(value, NULL, 10) > 3 ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
    return 0;
}

static int set_rate(unsigned *number, const char *name, unsigned least, const char *value,
                    struct error *e)
{
    size_t len = strspn(value, "0123456789");
    unsigned long n =
        len > 0 && len <= 6 && value[len] == '\0' ? strtoul(value, NULL, 10) : ULONG_MAX;

    if (n < least || n > RATE_MAX)
        return error_set(e, -EINVAL, "%s takes a whole number from %u to %u, not \"%.32s\"", name,
                         least, RATE_MAX, value);
    *number = (unsigned)n;
    return 0;
}

static int set_metrics_address(struct node_options *o, const char *value, struct error *e)
{
    struct sockaddr_storage address;
    socklen_t len;
    int r = http_server_parse_address(value, &address, &len, e);

    o->metrics_address = value;
    return r < 0 ? error_prefix(e, r, "metrics-bind-address") : 0;
}

const char *const node_switch_words[] = {"on", "off", NULL};

static int set_switch(bool *flag, const char *name, const char *value, struct error *e)
{
    int found = words_find(node_switch_words, name, value, e);

    if (found < 0)
        return found;
    *flag = found == 0;
    return 0;
}

static bool is_switch(int option)
{
    return option == OPTION_CONSUMERS || option == OPTION_REPORT_CONDITIONS ||
           option == OPTION_KEEP_PREVIOUS || option == OPTION_UI;
}

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct node_options *o = userdata;
    struct audit_target target;
    int r;

    assert(value != NULL || option == OPTION_HELP || option == OPTION_CHECK);
    switch (option) {
    case OPTION_CONFIG:
        return 0; /* read before the other options */
    case OPTION_ENDPOINT:
        return set_endpoint(o, value, e);
    case OPTION_REGISTRATION:
        o->registration_path = value;
        return streq(value, "none")
                   ? 0
                   : set_path(&o->registration_path, "registration-path", value, e);
    case OPTION_DRIVER_NAME:
        o->driver_name = value;
        return node_driver_name_check(value, e);
    case OPTION_NODE_ID:
        o->node_id = value;
        return *value != '\0' ? 0 : error_set(e, -EINVAL, "node-id is empty");
    case OPTION_KUBELET_ROOT:
        return set_path(&o->kubelet_root, "kubelet-root", value, e);
    case OPTION_RIGHTS:
        return node_rights_parse(value, &o->rights, e);
    case OPTION_KUBECONFIG:
        return set_path(&o->place.kubeconfig, "kubeconfig", value, e);
    case OPTION_CONTEXT:
        o->place.context = value;
        return 0;
    case OPTION_MANIFESTS:
        return set_path(&o->place.manifests, "manifests", value, e);
    case OPTION_API_QPS:
        return set_rate(&o->rate_limit.per_sec, "kube-api-qps", 0, value, e);
    case OPTION_API_BURST:
        return set_rate(&o->rate_limit.burst, "kube-api-burst", 1, value, e);
    case OPTION_VOLUMES_DIR:
        return set_path(&o->volumes_dir, "volumes-dir", value, e);
    case OPTION_RUN_DIR:
        return set_path(&o->run_dir, "run-dir", value, e);
    case OPTION_CONSUMERS:
        return set_switch(&o->notes_consumers, "consumers", value, e);
    case OPTION_REPORT_CONDITIONS:
        return set_switch(&o->reports_conditions, "report-conditions", value, e);
    case OPTION_KEEP_PREVIOUS:
        return set_switch(&o->keeps_previous, "keep-previous", value, e);
    case OPTION_AUDIT:
        o->audit = value;
        return audit_target_parse(value, &target, e);
    case OPTION_METRICS:
        return set_metrics_address(o, value, e);
    case OPTION_UI:
        return set_switch(&o->serves_ui, "ui", value, e);
    case OPTION_LOG_LEVEL:
        return log_level_parse("log-level", value, &o->log_level, e);
    case OPTION_LOG_FORMAT:
        return log_format_parse("log-format", value, &o->log_format, e);
    case OPTION_TRACE:
        r = log_trace_parse(value, &o->trace, e);
        return r < 0 ? error_prefix(e, r, "--trace") : 0;
    case OPTION_VERBOSITY:
        return set_verbosity(o, value, e);
    case OPTION_CHECK:
        o->is_check = true;
        return 0;
    case OPTION_HELP:
        o->wants_help = true;
        return 0;
    default:
        return error_set(e, -EINVAL, "unknown option");
    }
}

/* ---- the file */

static int find_config(void *userdata, int option, const char *value, struct error *e)
{
    struct node_options *o = userdata;

    if (option == OPTION_CONFIG)
        o->config_file = value;
    return 0;
}

static const struct option *find_option(const char *name)
{
    for (const struct option *option = node_long_options; option->name != NULL; option++)
        if (streq(option->name, name) && option->has_arg == required_argument &&
            option->val != OPTION_CONFIG)
            return option;
    return NULL;
}

/* A string, or a number as on a command line; of a switch what YAML reads on and off as. */
static int value_text(struct node_options *o, bool takes_switch, const cJSON *entry,
                      const char **ret_text, struct error *e)
{
    char *text;

    if (takes_switch && cJSON_IsBool(entry)) {
        *ret_text = cJSON_IsTrue(entry) ? "on" : "off";
        return 0;
    }
    if (!cJSON_IsString(entry) && !cJSON_IsNumber(entry))
        return error_set(e, -EINVAL, "%s: %s takes a string or a number", o->config_file,
                         entry->string);
    if (cJSON_IsString(entry)) {
        *ret_text = entry->valuestring;
        return 0;
    }
    *ret_text = asprintf(&text, "%.15g", entry->valuedouble) < 0 ? NULL : keep(o, text);
    return *ret_text != NULL ? 0 : no_memory(e);
}

static int unknown_option(const struct node_options *o, const char *name, struct error *e)
{
    struct nearest nearest = NEAREST_INIT(name, strlen(name));

    for (const struct option *known = node_long_options; known->name != NULL; known++)
        if (find_option(known->name) != NULL)
            nearest_offer(&nearest, known->name, strlen(known->name));
    error_set(e, -EINVAL, "%s: unknown option \"%.64s\"", o->config_file, name);
    return words_hint(&nearest, "", e, -EINVAL);
}

static int set_from_config(struct node_options *o, const cJSON *entry, struct error *e)
{
    const struct option *option = find_option(entry->string);
    const char *value = NULL;
    int r;

    if (streq(entry->string, "commands")) {
        command_list_deinit(&o->commands);
        r = command_list_parse(entry, &o->commands, e);
        return r < 0 ? error_prefix(e, r, "%s", o->config_file) : 0;
    }
    if (option == NULL)
        return unknown_option(o, entry->string, e);
    r = value_text(o, is_switch(option->val), entry, &value, e);
    if (r != 0)
        return r;
    r = set_option(o, option->val, value, e);
    return r < 0 ? error_prefix(e, r, "%s", o->config_file) : 0;
}

static int read_config(struct node_options *o, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(CONFIG_MAX_BYTES);
    const cJSON *entry;
    int r = file_load(o->config_file, &text, e);

    if (r < 0)
        return r;
    r = yaml_parse_one(buf_text(&text), text.len, &o->config, e);
    if (r < 0)
        return error_prefix(e, r, "%s", o->config_file);
    if (cJSON_IsNull(o->config))
        return 0;
    if (!cJSON_IsObject(o->config))
        return error_set(e, -EINVAL, "%s: options are written as \"name: value\"", o->config_file);
    cJSON_ArrayForEach (entry, o->config) {
        r = set_from_config(o, entry, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- derived options */

/* The kubelet converts the host name to lower case. */
static int choose_node_id(struct node_options *o, struct error *e)
{
    char name[HOST_NAME_MAX + 1] = "";

    if (o->node_id == NULL)
        o->node_id = getenv("NODE_NAME");
    if (o->node_id != NULL && *o->node_id != '\0')
        return 0;
    if (gethostname(name, sizeof(name) - 1) < 0 || name[0] == '\0')
        return error_set(e, -EINVAL, "cannot find the node's name; set --node-id");
    for (char *c = name; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    o->node_id = keep(o, strdup(name));
    return o->node_id != NULL ? 0 : no_memory(e);
}

static int trim(struct node_options *o, const char **path, struct error *e)
{
    size_t len = strlen(*path);

    while (len > 1 && (*path)[len - 1] == '/')
        len--;
    if ((*path)[len] == '\0')
        return 0;
    *path = keep(o, strndup(*path, len));
    return *path != NULL ? 0 : no_memory(e);
}

static int choose_sockets(struct node_options *o, struct error *e)
{
    char *text;

    if (o->endpoint == NULL) {
        if (asprintf(&text, "%s/plugins/%s/csi.sock", o->kubelet_root, o->driver_name) < 0)
            return no_memory(e);
        o->endpoint = keep(o, text);
    }
    if (o->registration_path == NULL) {
        if (asprintf(&text, "%s/plugins_registry/%s-reg.sock", o->kubelet_root, o->driver_name) < 0)
            return no_memory(e);
        o->registration_path = keep(o, text);
    }
    if (streq(o->registration_path, "none"))
        o->registration_path = NULL;
    return 0;
}

/* Names of objects and pods are not for who can connect from elsewhere. */
static int check_ui(const struct node_options *o, struct error *e)
{
    struct sockaddr_storage address;
    socklen_t len;
    int r = http_server_parse_address(o->metrics_address, &address, &len, e);

    if (r == 0 && http_server_is_loopback(&address))
        return 0;
    return error_set(e, -EINVAL,
                     "ui takes a metrics-bind-address of this host only, such as 127.0.0.1:9811, "
                     "not \"%.64s\"",
                     o->metrics_address);
}

static int complete(struct node_options *o, struct error *e)
{
    int r = 0;

    if (o->place.manifests != NULL && (o->place.kubeconfig != NULL || o->place.context != NULL))
        return error_set(e, -EINVAL,
                         "--manifests does not go with --kubeconfig or --context: objects come "
                         "either from a directory or from an API server");
    if (o->audit != NULL && !o->notes_consumers)
        return error_set(e, -EINVAL, "--audit takes --consumers on");
    if (o->serves_ui)
        r = check_ui(o, e);
    if (r == 0)
        r = trim(o, &o->kubelet_root, e);
    if (r == 0)
        r = trim(o, &o->run_dir, e);
    if (r == 0)
        r = choose_node_id(o, e);
    return r == 0 ? choose_sockets(o, e) : r;
}

int node_options_parse(int argc, char *argv[], struct node_options *ret_options, struct error *e)
{
    struct node_options *o = ret_options;
    int r;

    *o = (struct node_options){
        .driver_name = NODE_DRIVER_NAME_DEFAULT,
        .kubelet_root = KUBELET_ROOT_DEFAULT,
        .run_dir = NODE_RUN_DIR_DEFAULT,
        .volumes_dir = "/etc/secretfs/volumes.d",
        .metrics_address = "127.0.0.1:9811",
        .rate_limit = {.per_sec = HTTP_DEFAULT_QPS, .burst = HTTP_DEFAULT_BURST},
        .log_level = LOG_LEVEL_INFO,
    };
    r = arguments_parse(argc, argv, ":h", node_long_options, find_config, o, e);
    if (r == 0 && o->config_file != NULL)
        r = read_config(o, e);
    if (r == 0)
        r = arguments_parse(argc, argv, ":h", node_long_options, set_option, o, e);
    if (r == 0 && !o->wants_help && optind < argc)
        r = error_set(e, -EINVAL, "node takes options only, not \"%.64s\"", argv[optind]);
    return r == 0 && !o->wants_help ? complete(o, e) : r;
}

void node_options_deinit(struct node_options *options)
{
    cJSON_Delete(options->config);
    command_list_deinit(&options->commands);
    for (size_t i = 0; i < options->n_texts; i++)
        free(options->texts[i]);
    *options = (struct node_options){0};
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks for the status again and again, as no process notifies of opens: on a host its daemons, as a
 * plug-in of kubectl the API server. The table is printed when the state of a consumer, or of a
 * pod, has changed, and the reasons at the end.
 *
 * On a host what was not seen stays so. A pod's condition may be Unknown for a moment, so the
 * cluster is asked again for SETTLE when nothing else is missing.
 */
#include "cmd/rollout/command.h"

#include <stdio.h>
#include <unistd.h>

#include "base/arguments.h"
#include "base/words.h"
#include "cmd/rollout/cluster.h"
#include "cmd/rollout/history.h"
#include "cmd/rollout/holders.h"
#include "cmd/rollout/order.h"
#include "cmd/rollout/verdict.h"
#include "cmd/status/request.h"
#include "node/options.h"

#define INTERVAL         SPAN_MS(500)
#define CLUSTER_INTERVAL SPAN_SEC(2) /* each lists the pods of a namespace */
#define SETTLE           SPAN_SEC(6)
#define OUTPUT_MAX       ((size_t)16 << 20)

struct rollout_command {
    const char *verb;
    const char *run_dir;       /* NULL: the default */
    const char *status_option; /* one that only `status` takes; NULL: none was given */
    const char *target;        /* an object, or a path in a volume */
    struct rollout_query query;
    bool is_cluster; /* called as a plug-in of kubectl, and the target is no path */
    struct rollout_cluster cluster;
    mono_us unseen_since; /* only pods that do not know are missing; 0: others, or none */
    bool is_watching;
    span_us timeout; /* SPAN_FOREVER: none */
    bool wants_help;
    size_t n_current; /* printed last, as what follows */
    size_t n_consumers;
    bool was_printed;
};

static void print_help(const struct invocation *invocation)
{
    printf(
        "Usage: %s rollout status [options] OBJECT|PATH\n"
        "       %s rollout pause|resume|undo|history [-n NS] OBJECT\n"
        "\n"
        "Wait until all processes that have opened OBJECT's keys in volumes of this host have\n"
        "opened its newest version, and no process holds an older one: then an older credential\n"
        "can be revoked. OBJECT is secret/NAME or configmap/NAME, PATH a path in one volume. The\n"
        "volumes have to be served with --consumers.\n"
        "\n"
        "As `kubectl secretfs rollout status` it waits for the pods of the namespace that mount\n"
        "OBJECT, by their condition secretfs.io/SecretsCurrent (`report: condition`).\n"
        "\n"
        "  -n, --namespace NS    only this namespace (default: all; of kubectl: its own)\n"
        "      --resource-version V  wait for this version of the object, or a later one\n"
        "  -w, --watch[=false]   false: print the state once, and do not wait\n"
        "      --timeout D       wait for 30s, 5m, ...; 0 (the default) is for ever\n"
        "      --driver NAME         the driver of the pods' volumes (default:\n"
        "                            " NODE_DRIVER_NAME_DEFAULT "), of the cluster\n"
        "      --kubeconfig FILE, --context NAME  kubectl's, of the cluster\n"
        "  -h, --help            show this help\n"
        "\n"
        "The exit code is 0 when all consumers have the newest version; 1 when some have not,\n"
        "at the timeout; 3 when opens may have been missed, so that it cannot be known.\n"
        "\n"
        "pause keeps the volumes of the node daemon on what they show of OBJECT. undo shows what\n"
        "the last update replaced, until the next update. resume ends both. history lists the\n"
        "versions that volumes of this host have shown.\n"
        "\n"
        "      --run-dir DIR         the daemon's (default: " NODE_RUN_DIR_DEFAULT ")\n",
        invocation->program, invocation->program);
}

/* ---- asking */

static bool is_status(const struct rollout_command *c)
{
    return streq(c->verb, "status");
}

static const char *subject(const struct rollout_command *c)
{
    return c->is_cluster ? "pods" : "consumers";
}

static bool is_path(const char *target)
{
    return target[0] == '/' || target[0] == '.';
}

static int request(const struct rollout_command *c, cJSON **ret_list, struct error *e)
{
    if (is_path(c->target))
        return status_request_list(c->target, false, ret_list, e);
    return status_request_all(false, ret_list, e);
}

/* ---- printing */

static void print_lines(struct rollout_command *c, const struct rollout_verdict *v,
                        const struct buf *lines)
{
    if (c->was_printed && c->n_current == v->n_current && c->n_consumers == v->n_consumers)
        return;
    c->was_printed = true;
    c->n_current = v->n_current;
    c->n_consumers = v->n_consumers;
    if (v->state != ROLLOUT_DONE)
        printf("Waiting for rollout of %s: %zu of %zu %s have opened the newest version\n",
               c->target, v->n_current, v->n_consumers, subject(c));
    fputs(buf_text(lines), stdout);
    fflush(stdout);
}

static int end(const struct rollout_command *c, const struct rollout_verdict *v,
               const struct buf *reasons)
{
    if (v->state == ROLLOUT_DONE) {
        printf("%s successfully rolled out: all %s (%zu) have the newest version\n", c->target,
               subject(c), v->n_consumers);
        return EXIT_OK;
    }
    fflush(stdout);
    fputs(buf_text(reasons), stderr);
    return v->state == ROLLOUT_WAITING ? EXIT_FAILED : EXIT_ROLLOUT_UNSEEN;
}

/* Return: 0, *ret_list is the caller's; -errno with @e. */
static int judge_host(const struct rollout_command *c, struct rollout_verdict *ret_verdict,
                      struct buf *lines, struct buf *reasons, cJSON **ret_list, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    int r = request(c, &list, e);

    if (r < 0)
        return r;
    r = rollout_judge(list, &c->query, clock_wall(), ret_verdict, lines, reasons);
    if (r < 0)
        return error_set_errno(e, r, "cannot print the state of the rollout");
    if (ret_verdict->n_volumes == 0 && ret_verdict->state == ROLLOUT_DONE)
        return error_set(e, -ENOENT, "no volume of this host shows %.300s%s", c->target,
                         strchr(c->target, '/') == NULL ? "; a path begins with / or ./" : "");
    *ret_list = TAKE(list);
    return 0;
}

/* ---- waiting */

/* Whether to wait for what is unknown now. */
static bool may_settle(struct rollout_command *c, const struct rollout_verdict *v, mono_us now)
{
    if (!c->is_cluster)
        return false;
    if (v->n_waiting > 0) {
        c->unseen_since = 0;
        return true;
    }
    if (c->unseen_since == 0)
        c->unseen_since = now;
    return now - c->unseen_since < SETTLE;
}

static bool must_wait(struct rollout_command *c, const struct rollout_verdict *v, mono_us until)
{
    mono_us now = clock_mono();

    if (v->state == ROLLOUT_DONE || !c->is_watching || now >= until)
        return false;
    return v->state == ROLLOUT_WAITING || may_settle(c, v, now);
}

/* Return: whether the state is final; then *ret_code is set. -errno with @e. */
static int ask_once(struct rollout_command *c, mono_us until, int *ret_code, struct error *e)
{
    _cleanup_(buf_deinit) struct buf lines = BUF_INIT(OUTPUT_MAX), reasons = BUF_INIT(OUTPUT_MAX);
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    struct rollout_verdict verdict;
    int r = c->is_cluster ? rollout_cluster_judge(&c->cluster, &verdict, &lines, &reasons, e)
                          : judge_host(c, &verdict, &lines, &reasons, &list, e);

    if (r < 0)
        return r;
    print_lines(c, &verdict, &lines);
    if (must_wait(c, &verdict, until))
        return 0;
    if (list != NULL) {
        status_filter_apply(&c->query.object, list);
        r = holders_add(json_member(list, "items"), &reasons);
        if (r < 0)
            return error_set_errno(e, r, "cannot list open files");
    }
    *ret_code = end(c, &verdict, &reasons);
    return 1;
}

static int wait_for_rollout(struct rollout_command *c, int *ret_code, struct error *e)
{
    mono_us now = clock_mono();
    mono_us until = c->timeout == SPAN_FOREVER ? SPAN_FOREVER : now + c->timeout;
    int r;

    while ((r = ask_once(c, until, ret_code, e)) == 0)
        usleep(c->is_cluster ? CLUSTER_INTERVAL : INTERVAL);
    return r < 0 ? r : 0;
}

/* ---- the command line */

enum { OPTION_TIMEOUT = 256, OPTION_RESOURCE_VERSION, OPTION_RUN_DIR, OPTION_DRIVER };

static int parse_watch(const char *value, bool *ret_is_watching, struct error *e)
{
    static const char *const words[] = {"true", "false", NULL};
    int found = value != NULL ? words_find(words, "--watch", value, e) : 0;

    if (found < 0)
        return found;
    *ret_is_watching = found == 0;
    return 0;
}

static int parse_timeout(const char *value, span_us *ret_timeout, struct error *e)
{
    int r = clock_parse_duration(value, ret_timeout, e);

    if (r < 0)
        return error_prefix(e, r, "--timeout");
    if (*ret_timeout == 0)
        *ret_timeout = SPAN_FOREVER;
    return 0;
}

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct rollout_command *c = userdata;

    switch (option) {
    case 'n':
        c->query.object.namespace = value;
        return 0;
    case 'w':
        c->status_option = "--watch";
        return parse_watch(value, &c->is_watching, e);
    case OPTION_RESOURCE_VERSION:
        c->status_option = "--resource-version";
        c->query.resource_version = value;
        return 0;
    case OPTION_TIMEOUT:
        c->status_option = "--timeout";
        return parse_timeout(value, &c->timeout, e);
    case OPTION_RUN_DIR:
        c->run_dir = value;
        return 0;
    case OPTION_DRIVER:
        c->cluster.driver = value;
        return node_driver_name_check(value, e);
    default:
        if (kubectl_set_option(&c->cluster.kubectl, option, value))
            return 0;
        c->wants_help = true;
        return ARGUMENTS_ENOUGH;
    }
}

const struct option rollout_long_options[] = {
    {"namespace", required_argument, NULL, 'n'},
    {"watch", optional_argument, NULL, 'w'},
    {"resource-version", required_argument, NULL, OPTION_RESOURCE_VERSION},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"run-dir", required_argument, NULL, OPTION_RUN_DIR},
    {"driver", required_argument, NULL, OPTION_DRIVER},
    KUBECTL_LONG_OPTIONS,
    {"help", no_argument, NULL, 'h'},
    {0}};

/* Whether an option was given that only a cluster has. */
static bool has_cluster_option(const struct rollout_command *c)
{
    return c->cluster.driver != NULL || c->cluster.kubectl.kubeconfig != NULL ||
           c->cluster.kubectl.context != NULL;
}

/* Whether the host or the cluster is asked. Return: 0; -EINVAL with @e. */
static int check_place(struct rollout_command *c, bool is_plugin, struct error *e)
{
    struct rollout_cluster *cluster = &c->cluster;

    c->is_cluster = is_plugin && !is_path(c->target);
    if (c->is_cluster) {
        cluster->object = c->target;
        if (cluster->driver == NULL)
            cluster->driver = NODE_DRIVER_NAME_DEFAULT;
        cluster->namespace = c->query.object.namespace;
        cluster->resource_version = c->query.resource_version;
        return rollout_object_check(cluster->object, e);
    }
    if (has_cluster_option(c))
        return error_set(e, -EINVAL,
                         "--driver, --kubeconfig and --context are options of `kubectl secretfs "
                         "rollout status OBJECT`, which asks a cluster");
    if (is_path(c->target))
        return 0;
    c->query.object.object = c->target;
    return status_filter_check(&c->query.object, e);
}

const char *const rollout_verbs[] = {"status", "pause", "resume", "undo", "history", NULL};

/* What concerns this host alone. Return: 0; -EINVAL with @e. */
static int check_host(struct rollout_command *c, bool is_plugin, struct error *e)
{
    if (is_plugin || has_cluster_option(c))
        return error_set(e, -EINVAL,
                         "`rollout %s` is for the volumes of a node: run `secretfs rollout %s` "
                         "there; annotations stage an update of a cluster",
                         c->verb, c->verb);
    if (c->status_option != NULL)
        return error_set(e, -EINVAL, "%s is an option of `rollout status`", c->status_option);
    if (is_path(c->target))
        return error_set(e, -EINVAL, "`rollout %s` takes an object: secret/NAME or configmap/NAME",
                         c->verb);
    if (!streq(c->verb, "history"))
        return rollout_object_check(c->target, e);
    c->query.object.object = c->target;
    return status_filter_check(&c->query.object, e);
}

static int parse_arguments(struct rollout_command *c, bool is_plugin, int argc, char *argv[],
                           struct error *e)
{
    int r = arguments_parse(argc, argv, ":n:wh", rollout_long_options, set_option, c, e);

    if (r < 0 || c->wants_help)
        return r;
    if (optind == argc)
        return error_set(e, -EINVAL,
                         "rollout takes: status OBJECT|PATH, or pause, resume, undo or history "
                         "and an OBJECT");
    if (words_find(rollout_verbs, "rollout command", argv[optind], e) < 0)
        return -EINVAL;
    c->verb = argv[optind];
    if (argc - optind != 2)
        return error_set(e, -EINVAL, "rollout %s takes one object, secret/NAME or configmap/NAME%s",
                         c->verb, is_status(c) ? ", or one path in a volume" : "");
    c->target = argv[optind + 1];
    return is_status(c) ? check_place(c, is_plugin, e) : check_host(c, is_plugin, e);
}

/* ---- the other verbs */

static int print_history(const struct rollout_command *c, struct error *e)
{
    _cleanup_(buf_deinit) struct buf lines = BUF_INIT(OUTPUT_MAX);
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    int r = status_request_own(true, &list, e);

    if (r < 0)
        return r;
    r = rollout_history(list, &c->query.object, &lines);
    if (r == -ENOENT)
        return error_set(e, r, "no volume of this host shows %.300s", c->target);
    if (r == -ENODATA)
        return error_set(e, r,
                         "no update of %.300s since its volumes' processes started or took over: "
                         "`secretfs status` shows the version",
                         c->target);
    if (r < 0)
        return error_set_errno(e, r, "cannot print the history");
    fputs(buf_text(&lines), stdout);
    return 0;
}

static int give_order(const struct rollout_command *c, struct error *e)
{
    const struct rollout_order order = {
        .order = c->verb,
        .object = c->target,
        .namespace = c->query.object.namespace,
        .run_dir = c->run_dir != NULL ? c->run_dir : NODE_RUN_DIR_DEFAULT,
    };

    return rollout_order(&order, e);
}

/* Return: 0 with *ret_code; -errno with @e. */
static int run(struct rollout_command *c, int *ret_code, struct error *e)
{
    int r;

    if (is_status(c))
        return wait_for_rollout(c, ret_code, e);
    r = streq(c->verb, "history") ? print_history(c, e) : give_order(c, e);
    *ret_code = r == 0 ? EXIT_OK : EXIT_FAILED;
    return r < 0 ? r : 0;
}

int command_rollout(const struct invocation *invocation, int argc, char *argv[])
{
    struct rollout_command c = {.is_watching = true, .timeout = SPAN_FOREVER};
    bool is_plugin = streq(invocation->program, KUBECTL_PLUGIN);
    struct error e = ERROR_INIT;
    int code = EXIT_FAILED;

    if (parse_arguments(&c, is_plugin, argc, argv, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (c.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    if (run(&c, &code, &e) < 0)
        return command_failed(invocation, EXIT_FAILED, e.text);
    return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/status/command.h"

#include <stdio.h>
#include <unistd.h>

#include "base/arguments.h"
#include "base/words.h"
#include "cmd/status/cluster.h"
#include "cmd/status/detail.h"
#include "cmd/status/filter.h"
#include "cmd/status/request.h"
#include "cmd/status/screen.h"
#include "cmd/status/table.h"
#include "encoding/yaml_print.h"
#include "monitor/status_socket.h"

#define WATCH_INTERVAL_SEC 1
#define OUTPUT_MAX         ((size_t)64 << 20) /* STATUS_DOCUMENT_MAX, indented */

enum status_format { STATUS_TEXT, STATUS_WIDE, STATUS_JSON, STATUS_YAML };

struct status_command {
    enum status_format format;
    bool is_watching;
    bool is_debug;
    bool wants_help;
    bool redraws;       /* --watch of a table on a terminal */
    bool is_cluster;    /* called as a plug-in of kubectl, and without a target */
    const char *target; /* NULL: all volumes */
    struct status_cluster cluster;
    struct status_filter filter;
    struct status_table table;
};

static void print_help(const struct invocation *invocation)
{
    printf(
        "Usage: %s status [options] [TARGET]\n"
        "\n"
        "List the volumes of this host - as `kubectl secretfs status`, of the cluster, from the\n"
        "pods of the DaemonSet: pod, volume, object, state, version and age. With\n"
        "TARGET, a path in a volume, show that volume in detail: object, generation, source, the\n"
        "last update and its latency, and the number of FUSE requests by kind.\n"
        "\n"
        "  -n, --namespace NS   volumes of pods in this namespace, or of its objects\n"
        "      --pod POD        volumes of this pod: NAME or NAMESPACE/NAME\n"
        "      --object OBJECT  volumes of this object: NAME, KIND/NAME or\n"
        "                       KIND/NAMESPACE/NAME\n"
        "  -l, --selector LABELS\n"
        "                       volumes of pods with these labels, as for kubectl\n"
        "  -o, --output FORMAT  text (default), wide (more columns), json or yaml\n"
        "  -w, --watch          keep running: on a terminal, keep the table current; else print\n"
        "                       a volume again when it changes\n"
        "      --no-headers     omit the header of the table\n"
        "      --debug          add the states of watches and of the publisher's queue; with\n"
        "                       TARGET, or -o json or yaml\n"
        "  -h, --help           show this help\n"
        "\n"
        "Of the cluster:\n" CLUSTER_OPTIONS_HELP,
        invocation->program);
}

/* ---- printing */

/* @is_line: JSON in one line, for a document of several */
static int print_document(const cJSON *json, enum status_format format, bool is_line,
                          struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(OUTPUT_MAX);
    char *printed;
    int r;

    if (format == STATUS_YAML) {
        r = yaml_print(json, &text);
    } else {
        printed = is_line ? cJSON_PrintUnformatted(json) : cJSON_Print(json);
        r = printed != NULL ? buf_addf(&text, "%s\n", printed) : -ENOMEM;
        cJSON_free(printed);
    }
    if (r < 0)
        return error_set_errno(e, r, "cannot print the status");
    fputs(buf_text(&text), stdout);
    return 0;
}

static int print_table(struct status_command *c, const cJSON *items, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(OUTPUT_MAX);
    int r = status_table_print(&c->table, items, clock_wall(), &text);

    if (r < 0)
        return error_set_errno(e, r, "cannot print the status");
    fputs(buf_text(&text), stdout);
    return 0;
}

static const char *why_empty(const struct status_command *c)
{
    return status_filter_is_set(&c->filter) || c->cluster.selector != NULL ? "No volumes match.\n"
                                                                           : "No volumes found.\n";
}

static int print_list(struct status_command *c, const cJSON *list, struct error *e)
{
    const cJSON *items = json_member(list, "items");

    if (c->format == STATUS_JSON || c->format == STATUS_YAML)
        return print_document(list, c->format, false, e);
    if (cJSON_GetArraySize(items) > 0)
        return print_table(c, items, e);
    fputs(why_empty(c), stderr);
    return 0;
}

/* ---- requesting */

/* Request the target or all volumes. *ret_list: as of status_request_all() */
static int request(const struct status_command *c, cJSON **ret_list, struct error *e)
{
    int r;

    if (c->target != NULL)
        return status_request_list(c->target, c->is_debug, ret_list, e);
    r = c->is_cluster ? status_request_cluster(&c->cluster, c->is_debug, ret_list, e)
                      : status_request_all(c->is_debug, ret_list, e);
    if (r == 0)
        status_filter_apply(&c->filter, *ret_list);
    return r;
}

static int show_once(struct status_command *c, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    const cJSON *first;
    int r = request(c, &list, e);

    if (r < 0)
        return r;
    first = cJSON_GetArrayItem(json_member(list, "items"), 0);
    if (c->target == NULL || c->format == STATUS_WIDE)
        r = print_list(c, list, e);
    else if (c->format == STATUS_TEXT)
        status_detail_print(first);
    else
        r = print_document(first, c->format, false, e);
    return r < 0 ? r : status_print_errors(list);
}

/* ---- watching: lists are sorted by mount point */

/* Append a copy of @item to @changed. Return: 0 or -ENOMEM. */
static int add_copy(const cJSON *item, bool is_gone, cJSON *changed)
{
    _cleanup_(cJSON_Deletep) cJSON *copy = cJSON_Duplicate(item, true);
    cJSON *volume = cJSON_GetObjectItemCaseSensitive(copy, "volume");

    if (is_gone && volume != NULL) {
        cJSON_DeleteItemFromObjectCaseSensitive(volume, "state");
        if (cJSON_AddStringToObject(volume, "state", "gone") == NULL)
            return -ENOMEM;
    }
    if (!cJSON_AddItemToArray(changed, copy))
        return -ENOMEM;
    (void)TAKE(copy);
    return 0;
}

static int find_changes(const struct status_command *c, const cJSON *before, const cJSON *after,
                        cJSON *changed)
{
    const cJSON *a = before != NULL ? before->child : NULL;
    const cJSON *b = after != NULL ? after->child : NULL;
    int r = 0;

    while ((a != NULL || b != NULL) && r == 0) {
        int order = a == NULL   ? 1
                    : b == NULL ? -1
                                : strcmp(json_text(a, "mountpoint"), json_text(b, "mountpoint"));

        if (order < 0)
            r = add_copy(a, true, changed);
        else if (order > 0 || !status_table_same(&c->table, a, b))
            r = add_copy(b, false, changed);
        a = order <= 0 ? a->next : a;
        b = order >= 0 ? b->next : b;
    }
    return r;
}

static int print_changes(struct status_command *c, const cJSON *changed, struct error *e)
{
    const cJSON *volume;
    int r = 0;

    if (changed->child == NULL)
        return 0;
    if (c->format == STATUS_TEXT || c->format == STATUS_WIDE)
        return print_table(c, changed, e);
    cJSON_ArrayForEach (volume, changed) {
        if (c->format == STATUS_YAML)
            printf("---\n");
        if (r == 0)
            r = print_document(volume, c->format, true, e);
    }
    return r;
}

/* Request the status again and print changes. @list: the previous one; replaced */
static int watch_once(struct status_command *c, cJSON **list, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *newer = NULL, *changed = cJSON_CreateArray();
    int r = request(c, &newer, e);

    if (r < 0)
        return r;
    if (changed == NULL ||
        find_changes(c, json_member(*list, "items"), json_member(newer, "items"), changed) < 0)
        return error_set_errno(e, -ENOMEM, "cannot compare volumes");
    r = print_changes(c, changed, e);
    cJSON_Delete(*list);
    *list = TAKE(newer);
    return r;
}

/* ---- watching on a terminal */

/* The whole screen: the table as it is now, and below it what could not be reached. */
static int format_screen(const struct status_command *c, const cJSON *list, struct buf *text)
{
    struct status_table table = c->table; /* widths of this list alone */
    const cJSON *items = json_member(list, "items"), *error;
    int r = cJSON_GetArraySize(items) > 0 ? status_table_print(&table, items, clock_wall(), text)
                                          : buf_add_text(text, why_empty(c));

    cJSON_ArrayForEach (error, json_member(list, "errors")) {
        if (r >= 0)
            r = buf_addf(text, "secretfs: %s\n", cJSON_GetStringValue(error));
    }
    return r;
}

static int redraw_once(const struct status_command *c, struct error *e)
{
    _cleanup_(buf_deinit) struct buf lines = BUF_INIT(OUTPUT_MAX), text = BUF_INIT(OUTPUT_MAX);
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    int r = request(c, &list, e);

    if (r < 0)
        return r;
    r = format_screen(c, list, &lines);
    if (r >= 0)
        r = screen_redraw(buf_text(&lines), screen_lines(STDOUT_FILENO), &text);
    if (r < 0)
        return error_set_errno(e, r, "cannot print the status");
    fputs(buf_text(&text), stdout);
    return 0;
}

/* Until a signal ends the program, or standard output is closed. */
static int watch(struct status_command *c, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    int r;

    for (;;) {
        r = c->redraws ? redraw_once(c, e) : watch_once(c, &list, e);
        if (r < 0)
            return r;
        if (fflush(stdout) != 0)
            return errno == EPIPE ? 0
                                  : error_set_errno(e, negative_errno(), "cannot print the status");
        sleep(WATCH_INTERVAL_SEC);
    }
}

/* ---- the command line */

const char *const status_output_words[] = {[STATUS_TEXT] = "text",
                                           [STATUS_WIDE] = "wide",
                                           [STATUS_JSON] = "json",
                                           [STATUS_YAML] = "yaml",
                                           NULL};

static int parse_format(const char *value, enum status_format *ret_format, struct error *e)
{
    int found = words_find(status_output_words, "output format", value, e);

    if (found < 0)
        return found;
    *ret_format = (enum status_format)found;
    return 0;
}

enum { OPTION_NO_HEADERS = 256, OPTION_DEBUG, OPTION_POD, OPTION_OBJECT };

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct status_command *c = userdata;
    int r;

    switch (option) {
    case 'o':
        return parse_format(value, &c->format, e);
    case 'n':
        c->filter.namespace = value;
        return 0;
    case OPTION_POD:
        c->filter.pod = value;
        return 0;
    case OPTION_OBJECT:
        c->filter.object = value;
        return 0;
    case 'l':
        c->filter.selector = value;
        return 0;
    case 'w':
        c->is_watching = true;
        return 0;
    case OPTION_NO_HEADERS:
        c->table.has_header = true;
        return 0;
    case OPTION_DEBUG:
        c->is_debug = true;
        return 0;
    case 'h':
        c->wants_help = true;
        return ARGUMENTS_ENOUGH;
    default:
        r = cluster_set_option(&c->cluster.choice, option, value, e);
        assert(r != 0);
        return r < 0 ? r : 0;
    }
}

const struct option status_long_options[] = {{"namespace", required_argument, NULL, 'n'},
                                             {"pod", required_argument, NULL, OPTION_POD},
                                             {"object", required_argument, NULL, OPTION_OBJECT},
                                             {"selector", required_argument, NULL, 'l'},
                                             CLUSTER_LONG_OPTIONS,
                                             {"output", required_argument, NULL, 'o'},
                                             {"watch", no_argument, NULL, 'w'},
                                             {"no-headers", no_argument, NULL, OPTION_NO_HEADERS},
                                             {"debug", no_argument, NULL, OPTION_DEBUG},
                                             {"help", no_argument, NULL, 'h'},
                                             {0}};

/* Whether the host or the cluster is asked. Return: 0; -EINVAL with @e. */
static int check_place(const struct invocation *invocation, struct status_command *c,
                       struct error *e)
{
    bool is_plugin = streq(invocation->program, KUBECTL_PLUGIN);
    bool has_cluster = cluster_option_is_given(&c->cluster.choice);

    c->is_cluster = is_plugin && c->target == NULL;
    if (has_cluster && !c->is_cluster)
        return error_set(e, -EINVAL,
                         "--node, --driver, --driver-namespace, --kubeconfig and --context are "
                         "options of `kubectl secretfs status` without a path: it lists a cluster");
    if (c->is_cluster && c->is_watching)
        return error_set(e, -EINVAL,
                         "a cluster cannot be watched; repeat the command, or run `secretfs "
                         "status --watch` on a node");
    return 0;
}

static int parse(const struct invocation *invocation, int argc, char *argv[],
                 struct status_command *c, struct error *e)
{
    int r = arguments_parse(argc, argv, ":n:l:o:wh", status_long_options, set_option, c, e);

    if (r != 0)
        return r < 0 ? r : 0;
    if (argc - optind > 1)
        return error_set(e, -EINVAL, "status takes one path in a volume or none");
    c->target = argv[optind];
    if (c->target != NULL && status_filter_is_set(&c->filter))
        return error_set(
            e, -EINVAL,
            "a path selects one volume: omit --namespace, --pod, --object and --selector");
    r = check_place(invocation, c, e);
    if (c->is_cluster) /* the API server has the labels of all pods */
        c->cluster.selector = TAKE(c->filter.selector);
    return r < 0 ? r : status_filter_check(&c->filter, e);
}

/* What depends on where the output goes. */
static void set_look(struct status_command *c)
{
    bool is_table = c->format == STATUS_TEXT || c->format == STATUS_WIDE;

    c->table.is_wide = c->format == STATUS_WIDE;
    c->table.has_nodes = c->is_cluster;
    c->table.is_coloured = screen_takes_colours(STDOUT_FILENO);
    c->redraws = c->is_watching && is_table && isatty(STDOUT_FILENO);
}

int command_status(const struct invocation *invocation, int argc, char *argv[])
{
    struct status_command c = {.format = STATUS_TEXT};
    struct error e = ERROR_INIT;
    int r = parse(invocation, argc, argv, &c, &e);

    if (r < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (c.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    set_look(&c);
    r = c.is_watching ? watch(&c, &e) : show_once(&c, &e);
    if (r < 0 && e.text[0] != '\0')
        return command_failed(invocation, EXIT_FAILED, e.text);
    return r < 0 ? EXIT_FAILED : EXIT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/status/command.h"

#include <stdio.h>

#include "base/arguments.h"
#include "cmd/status/detail.h"
#include "cmd/status/request.h"
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
    const char *target; /* NULL: all volumes */
    struct status_table table;
};

static void print_help(const struct invocation *invocation)
{
    printf("Usage: %s status [options] [TARGET]\n"
           "\n"
           "List the volumes of this host: pod, object, state and source. With TARGET, a path in\n"
           "a volume, show that volume in detail: object, generation, source, the last update and\n"
           "its latency, and the number of FUSE requests by kind.\n"
           "\n"
           "  -o, --output FORMAT  text (default), wide (more columns), json or yaml\n"
           "  -w, --watch          keep running, and show a volume again when it changes\n"
           "      --no-headers     omit the header of the table\n"
           "      --debug          add the states of watches and of the publisher's queue; with\n"
           "                       TARGET, or -o json or yaml\n"
           "  -h, --help           show this help\n",
           invocation->program);
}

/* ---- printing */

static int print_document(const cJSON *json, enum status_format format, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(OUTPUT_MAX);
    char *printed;
    int r;

    if (format == STATUS_YAML) {
        r = yaml_print(json, &text);
    } else {
        printed = cJSON_Print(json);
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

static int print_list(struct status_command *c, const cJSON *list, struct error *e)
{
    const cJSON *items = json_member(list, "items");

    if (c->format == STATUS_JSON || c->format == STATUS_YAML)
        return print_document(list, c->format, e);
    if (cJSON_GetArraySize(items) > 0)
        return print_table(c, items, e);
    fprintf(stderr, "No volumes found.\n");
    return 0;
}

/* ---- requesting */

/* Request the target or all volumes. *ret_list: as of status_request_all() */
static int request(const struct status_command *c, cJSON **ret_list, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL, *volume = NULL;
    int r;

    if (c->target == NULL)
        return status_request_all(c->is_debug, ret_list, e);
    r = status_request(c->target, c->is_debug, &volume, e);
    if (r < 0)
        return r;
    list = cJSON_CreateObject();
    if (!cJSON_AddItemToArray(cJSON_AddArrayToObject(list, "items"), volume))
        return error_set_errno(e, -ENOMEM, "cannot request the status");
    (void)TAKE(volume);
    *ret_list = TAKE(list);
    return 0;
}

/* Return: 0; -EIO if a process could not be reached; then its message was printed. */
static int print_errors(const cJSON *list)
{
    const cJSON *error;

    cJSON_ArrayForEach (error, json_member(list, "errors")) {
        fprintf(stderr, "secretfs: %s\n", cJSON_GetStringValue(error));
    }
    return json_member(list, "errors") != NULL ? -EIO : 0;
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
        r = print_document(first, c->format, e);
    return r < 0 ? r : print_errors(list);
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
            r = print_document(volume, c->format, e);
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

/* Until a signal ends the program, or standard output is closed. */
static int watch(struct status_command *c, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    int r;

    for (;;) {
        r = watch_once(c, &list, e);
        if (r < 0)
            return r;
        if (fflush(stdout) != 0)
            return error_set_errno(e, negative_errno(), "cannot print the status");
        sleep(WATCH_INTERVAL_SEC);
    }
}

/* ---- the command line */

static int parse_format(const char *name, enum status_format *ret_format)
{
    static const char *const names[] = {[STATUS_TEXT] = "text",
                                        [STATUS_WIDE] = "wide",
                                        [STATUS_JSON] = "json",
                                        [STATUS_YAML] = "yaml"};

    for (size_t i = 0; i < ELEMENTS_OF(names); i++)
        if (streq(name, names[i])) {
            *ret_format = (enum status_format)i;
            return 0;
        }
    return -EINVAL;
}

enum { OPTION_NO_HEADERS = 256, OPTION_DEBUG };

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct status_command *c = userdata;

    switch (option) {
    case 'o':
        if (parse_format(value, &c->format) == 0)
            return 0;
        return error_set(e, -EINVAL,
                         "invalid output format \"%.32s\", expected one of: text, wide, json, yaml",
                         value);
    case 'w':
        c->is_watching = true;
        return 0;
    case OPTION_NO_HEADERS:
        c->table.has_header = true;
        return 0;
    case OPTION_DEBUG:
        c->is_debug = true;
        return 0;
    default:
        c->wants_help = true;
        return ARGUMENTS_ENOUGH;
    }
}

static int parse(int argc, char *argv[], struct status_command *c, struct error *e)
{
    static const struct option long_options[] = {
        {"output", required_argument, NULL, 'o'},
        {"watch", no_argument, NULL, 'w'},
        {"no-headers", no_argument, NULL, OPTION_NO_HEADERS},
        {"debug", no_argument, NULL, OPTION_DEBUG},
        {"help", no_argument, NULL, 'h'},
        {0}};
    int r = arguments_parse(argc, argv, ":o:wh", long_options, set_option, c, e);

    if (r != 0)
        return r < 0 ? r : 0;
    if (argc - optind > 1)
        return error_set(e, -EINVAL, "status takes one path in a volume or none");
    c->table.is_wide = c->format == STATUS_WIDE;
    c->target = argv[optind];
    return 0;
}

int command_status(const struct invocation *invocation, int argc, char *argv[])
{
    struct status_command c = {.format = STATUS_TEXT};
    struct error e = ERROR_INIT;
    int r = parse(argc, argv, &c, &e);

    if (r < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (c.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    r = c.is_watching ? watch(&c, &e) : show_once(&c, &e);
    if (r < 0 && e.text[0] != '\0')
        return command_failed(invocation, EXIT_FAILED, e.text);
    return r < 0 ? EXIT_FAILED : EXIT_OK;
}

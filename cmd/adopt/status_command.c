/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubectl lists namespaces and pods. It prints one object on each line, and one after the other is
 * parsed: a cluster's pods together may have more than one JSON document is permitted.
 */
#include "cmd/adopt/status_command.h"

#include <stdio.h>

#include "base/arguments.h"
#include "base/words.h"
#include "cmd/adopt/report.h"
#include "cmd/shared/kubectl.h"
#include "encoding/json.h"

struct status {
    const char *namespace; /* NULL: all */
    struct kubectl kubectl;
    bool wants_help;
    cJSON *namespaces; /* owned; metadata by name */
    cJSON *rows;       /* owned; arrays of cells */
    struct error *e;
};

enum { COLUMNS = 4 };

static void status_deinit(struct status *s)
{
    cJSON_Delete(s->namespaces);
    cJSON_Delete(s->rows);
}

static void print_help(const struct invocation *invocation)
{
    printf(
        "Usage: %s adopt status [options]\n"
        "\n"
        "List the pods that have volumes which the policy of deploy/adopt can give to secretfs:\n"
        "how many of these secretfs serves, and why it does not serve the others. Pods that have\n"
        "ended are left out. kubectl has to be on PATH.\n"
        "\n"
        "  -n, --namespace NS      that namespace only (default: all)\n"
        "      --kubeconfig FILE   kubectl's kubeconfig\n"
        "      --context NAME      context of the kubeconfig to use\n"
        "  -h, --help              show this help\n",
        invocation->program);
}

/* ---- the lists */

static int failed(const struct status *s)
{
    return error_set_errno(s->e, -ENOMEM, "cannot list the pods");
}

static int on_namespace(void *userdata, const char *line, size_t len)
{
    struct status *s = userdata;
    cJSON *metadata = NULL;
    int r = json_parse(line, len, &metadata, s->e);

    if (r < 0)
        return r;
    if (json_text(metadata, "name") != NULL &&
        cJSON_AddItemToObject(s->namespaces, json_text(metadata, "name"), metadata))
        return 0;
    cJSON_Delete(metadata);
    return error_set(s->e, -EINVAL, "invalid output of kubectl");
}

static bool has_ended(const cJSON *pod)
{
    const char *phase = json_text(json_member(pod, "status"), "phase");

    return phase != NULL && (streq(phase, "Succeeded") || streq(phase, "Failed"));
}

static int add_row(struct status *s, const char *const cells[static COLUMNS])
{
    cJSON *row = cJSON_CreateStringArray(cells, COLUMNS);

    if (cJSON_AddItemToArray(s->rows, row))
        return 0;
    cJSON_Delete(row);
    return failed(s);
}

static int add_pod(struct status *s, const cJSON *pod)
{
    const cJSON *metadata = json_member(pod, "metadata");
    const char *name = json_text(metadata, "name"), *in = json_text(metadata, "namespace");
    _cleanup_(report_deinit) struct report report = REPORT_INIT;
    char served[48];

    if (name == NULL || in == NULL)
        return error_set(s->e, -EINVAL, "invalid output of kubectl");
    if (report_pod(pod, json_member(s->namespaces, in), &report) < 0)
        return failed(s);
    if (report.n_volumes == 0)
        return 0;
    snprintf(served, sizeof(served), "%zu/%zu", report.n_served, report.n_volumes);
    return add_row(s, (const char *const[]){in, name, served, buf_text(&report.reason)});
}

static int on_pod(void *userdata, const char *line, size_t len)
{
    _cleanup_(cJSON_Deletep) cJSON *pod = NULL;
    struct status *s = userdata;
    int r = json_parse(line, len, &pod, s->e);

    return r < 0 || has_ended(pod) ? r : add_pod(s, pod);
}

/* ---- the table */

static void print_table(const struct status *s)
{
    size_t widths[COLUMNS] = {0};
    const cJSON *row, *cell;

    cJSON_ArrayForEach (row, s->rows) {
        size_t i = 0;

        cJSON_ArrayForEach (cell, row) {
            if (strlen(cell->valuestring) > widths[i])
                widths[i] = strlen(cell->valuestring);
            i++;
        }
    }
    cJSON_ArrayForEach (row, s->rows) {
        size_t i = 0;

        for (cell = row->child; cell->next != NULL; cell = cell->next)
            printf("%-*s   ", (int)widths[i++], cell->valuestring);
        printf("%s\n", cell->valuestring[0] != '\0' ? cell->valuestring : "-");
    }
}

static int run(struct status *s)
{
    static const char *const header[] = {"NAMESPACE", "POD", "SERVED", "WHY NOT THE OTHERS"};
    static const char *const list_namespaces[] = {"get", "namespaces", "-o",
                                                  KUBECTL_EACH_ITEM(".metadata"), NULL};
    const char *const list_pods[] = {
        "get",        "pods", "-o", KUBECTL_EACH_ITEM("@"), s->namespace != NULL ? "-n" : "-A",
        s->namespace, /* NULL ends the words */
        NULL};
    int r;

    s->namespaces = cJSON_CreateObject();
    s->rows = cJSON_CreateArray();
    if (s->namespaces == NULL || s->rows == NULL)
        return failed(s);
    r = kubectl_read_lines(&s->kubectl, list_namespaces, on_namespace, s, s->e);
    if (r == 0)
        r = add_row(s, header);
    if (r == 0)
        r = kubectl_read_lines(&s->kubectl, list_pods, on_pod, s, s->e);
    if (r < 0)
        return r;
    print_table(s);
    return fflush(stdout) == 0 ? 0 : error_set_errno(s->e, negative_errno(), "cannot print");
}

/* ---- the command line */

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct status *s = userdata;

    if (kubectl_set_option(&s->kubectl, option, value))
        return 0;
    switch (option) {
    case 'n':
        s->namespace = value;
        return 0;
    default:
        s->wants_help = true;
        return ARGUMENTS_ENOUGH;
    }
}

const char *const adopt_verbs[] = {"status", NULL};

const struct option adopt_long_options[] = {{"namespace", required_argument, NULL, 'n'},
                                            KUBECTL_LONG_OPTIONS,
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};

static int parse(int argc, char *argv[], struct status *s)
{
    int r = arguments_parse(argc, argv, ":n:h", adopt_long_options, set_option, s, s->e);

    if (r != 0)
        return r < 0 ? r : 0;
    if (argc - optind != 1)
        return error_set(s->e, -EINVAL, "adopt takes one word: status");
    r = words_find(adopt_verbs, "adopt command", argv[optind], s->e);
    return r < 0 ? r : 0;
}

int command_adopt(const struct invocation *invocation, int argc, char *argv[])
{
    struct error e = ERROR_INIT;
    _cleanup_(status_deinit) struct status s = {.e = &e};

    if (parse(argc, argv, &s) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (s.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    return run(&s) < 0 ? command_failed(invocation, EXIT_FAILED, e.text) : EXIT_OK;
}

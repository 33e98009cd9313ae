/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/doctor/cluster.h"

#include <stdio.h>

#include "base/arguments.h"
#include "cmd/cluster/daemons.h"
#include "cmd/shared/output.h"
#include "encoding/json.h"

struct command {
    struct cluster cluster;
    bool as_json;
    bool wants_help;
};

static void command_deinit(struct command *c)
{
    cluster_deinit(&c->cluster);
}

static void print_help(const struct invocation *invocation)
{
    printf(
        "Usage: %s doctor [options]\n"
        "\n"
        "Run `secretfs doctor` in the DaemonSet's pod of each node. Nothing is changed. The exit\n"
        "status is 1 if a check failed, or a node has no such pod.\n"
        "\n"
        "  -o, --output FORMAT      text (default) or json\n" CLUSTER_OPTIONS_HELP
        "  -h, --help               show this help\n",
        invocation->program);
}

/* ---- reports */

static bool has_report(const struct cluster_daemon *daemon)
{
    return daemon->pod != NULL && daemon->output.len > 0;
}

static void print_texts(const struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->n; i++) {
        const struct cluster_daemon *daemon = &cluster->list[i];
        struct error why = ERROR_INIT;

        if (has_report(daemon)) {
            printf("%snode %s\n%s", i > 0 ? "\n" : "", daemon->node, buf_text(&daemon->output));
        } else {
            cluster_error(daemon, &why);
            fprintf(stderr, "secretfs: %s\n", why.text);
        }
    }
}

static int add_report(const struct cluster_daemon *daemon, cJSON *nodes)
{
    cJSON *node = cJSON_CreateObject(), *report = NULL;
    struct error why = ERROR_INIT;
    int r = json_add_text(node, "node", daemon->node);

    if (!has_report(daemon))
        cluster_error(daemon, &why);
    else if (json_parse(buf_text(&daemon->output), daemon->output.len, &report, &why) == 0 &&
             !cJSON_AddItemToObject(node, "report", report))
        r = -ENOMEM;
    if (why.text[0] != '\0')
        r |= json_add_text(node, "error", why.text);
    if (cJSON_AddItemToArray(nodes, node))
        return r;
    cJSON_Delete(node);
    return -ENOMEM;
}

static int print_json(const struct cluster *cluster, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *document = cJSON_CreateObject();
    cJSON *nodes = cJSON_AddArrayToObject(document, "nodes");
    char *text = NULL;
    int r = 0;

    for (size_t i = 0; i < cluster->n && r == 0; i++)
        r = add_report(&cluster->list[i], nodes);
    if (r == 0)
        text = cJSON_Print(document);
    if (text == NULL)
        return error_set_errno(e, -ENOMEM, "cannot print the reports");
    puts(text);
    cJSON_free(text);
    return 0;
}

static bool all_passed(const struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->n; i++)
        if (!has_report(&cluster->list[i]) || cluster->list[i].result != 0)
            return false;
    return true;
}

static int run(struct command *c, bool *ret_passed, struct error *e)
{
    const char *driver = c->cluster.choice.driver;
    const char *const words[] = {
        "doctor", "-o", c->as_json ? "json" : "text", driver != NULL ? "--driver-name" : NULL,
        driver,   NULL};
    int r = cluster_find(&c->cluster, e);

    if (r < 0)
        return r;
    cluster_run(&c->cluster, words);
    if (c->as_json)
        r = print_json(&c->cluster, e);
    else
        print_texts(&c->cluster);
    *ret_passed = all_passed(&c->cluster);
    return r;
}

/* ---- the command line */

static int set_option(void *userdata, int option, const char *value, struct error *e)
{
    struct command *c = userdata;
    int r;

    switch (option) {
    case 'o':
        return output_parse(value, &c->as_json, e);
    case 'h':
        c->wants_help = true;
        return ARGUMENTS_ENOUGH;
    default:
        r = cluster_set_option(&c->cluster.choice, option, value, e);
        assert(r != 0);
        return r < 0 ? r : 0;
    }
}

static int parse(int argc, char *argv[], struct command *c, struct error *e)
{
    static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                            CLUSTER_LONG_OPTIONS,
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int r = arguments_parse(argc, argv, ":o:h", options, set_option, c, e);

    if (r == 0 && optind < argc)
        return error_set(e, -EINVAL, "doctor takes options only, not \"%.64s\"", argv[optind]);
    return r < 0 ? r : 0;
}

int doctor_cluster(const struct invocation *invocation, int argc, char *argv[])
{
    _cleanup_(command_deinit) struct command c = {.as_json = false};
    struct error e = ERROR_INIT;
    bool passed = false;

    if (parse(argc, argv, &c, &e) < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    if (c.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    if (run(&c, &passed, &e) < 0)
        return command_failed(invocation, EXIT_FAILED, e.text);
    return passed ? EXIT_OK : EXIT_FAILED;
}

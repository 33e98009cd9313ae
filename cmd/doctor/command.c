/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/doctor/command.h"

#include <stdio.h>
#include <unistd.h>

#include "cmd/doctor/api.h"
#include "cmd/doctor/cluster.h"
#include "cmd/doctor/defaults.h"
#include "cmd/doctor/host.h"
#include "cmd/shared/output.h"
#include "cmd/status/request.h"
#include "node/options.h"

#define OUTPUT_MAX 65536u /* DOCTOR_FINDINGS_MAX lines of two texts each fit */

static void print_help(const struct invocation *invocation)
{
    printf("Usage: %s doctor [-o FORMAT] [options]\n"
           "\n"
           "Check what a node needs to give pods their volumes. Each check is a line that begins\n"
           "with ok, warn or fail, and says what to do. Nothing is changed. The exit status is 1\n"
           "if a check failed.\n"
           "\n"
           "  -o, --output FORMAT  text (default) or json\n"
           "  -h, --help           show this help\n"
           "\n"
           "All other options are those of `%s node`. Without them, those of the node daemon that\n"
           "runs are checked, or else those of " DOCTOR_CONFIG_FILE ". `" KUBECTL_PLUGIN
           " doctor`\n"
           "checks all nodes of a cluster.\n",
           invocation->program, invocation->program);
}

/* Return: how many arguments from @at on are the output option: 0, 1 or 2; *ret_value is NULL if
 * the value is missing. */
static int match_output(char *const *at, const char **ret_value)
{
    const char *value = str_after(*at, "--output=");

    if (value == NULL && strncmp(*at, "-o", 2) == 0 && (*at)[2] != '\0')
        value = *at + 2;
    *ret_value = value;
    if (value != NULL)
        return 1;
    if (!streq(*at, "-o") && !streq(*at, "--output"))
        return 0;
    *ret_value = at[1];
    return at[1] != NULL ? 2 : 1;
}

/* Take -o out of the arguments. Return: 0; -EINVAL with @e. */
static int take_output(int *argc, char *argv[], bool *ret_as_json, struct error *e)
{
    int n = 0;

    *ret_as_json = false;
    for (int i = 0; i < *argc;) {
        const char *value;
        int taken = match_output(&argv[i], &value);

        if (taken == 0) {
            argv[n++] = argv[i++];
            continue;
        }
        if (value == NULL)
            return error_set(e, -EINVAL, "option %s needs a value", argv[i]);
        if (output_parse(value, ret_as_json, e) < 0)
            return -EINVAL;
        i += taken;
    }
    *argc = n;
    argv[n] = NULL;
    return 0;
}

static void run_checks(const struct doctor_options *options, struct doctor_report *report)
{
    struct doctor_host host;
    struct doctor_api api;

    doctor_host_collect(options, &host);
    doctor_host_evaluate(&host, options, report);
    if (options->manifests != NULL)
        return;
    doctor_api_collect(options, &api);
    doctor_api_evaluate(&api, options, clock_wall(), report);
    doctor_api_deinit(&api);
}

static int print(const struct doctor_report *report, bool as_json, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(OUTPUT_MAX);
    int r = as_json ? doctor_print_json(report, &text) : doctor_print(report, &text);

    if (r < 0)
        return error_set_errno(e, r, "cannot print the report");
    fputs(buf_text(&text), stdout);
    return 0;
}

static int check_node(const struct invocation *invocation, const struct node_options *o,
                      const char *origin, bool as_json)
{
    const struct doctor_options options = {
        .driver_name = o->driver_name,
        .node_id = o->node_id,
        .kubelet_root = o->kubelet_root,
        .run_dir = o->run_dir,
        .endpoint = o->endpoint,
        .registration_path = o->registration_path,
        .rights = node_rights_name(o->rights),
        .kubeconfig = o->place.kubeconfig,
        .context = o->place.context,
        .manifests = o->place.manifests,
    };
    struct doctor_report report = {0};
    struct error e = ERROR_INIT;

    if (origin[0] != '\0')
        doctor_add(&report, DOCTOR_OK, "options", "%s", origin);
    run_checks(&options, &report);
    if (print(&report, as_json, &e) < 0)
        return command_failed(invocation, EXIT_FAILED, e.text);
    return doctor_result_of(&report) == DOCTOR_FAIL ? EXIT_FAILED : EXIT_OK;
}

/* ---- the command line */

/* @given: the options of the command line alone */
static int find_defaults(const struct node_options *given, struct doctor_defaults *ret_defaults,
                         struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    bool has_run_dir = !streq(given->run_dir, NODE_RUN_DIR_DEFAULT);
    bool has_driver = !streq(given->driver_name, NODE_DRIVER_NAME_DEFAULT);
    bool has_file = access(DOCTOR_CONFIG_FILE, R_OK) == 0;
    int r;

    (void)status_request_all(false, &list, NULL); /* without a list no daemon is found */
    r = doctor_defaults_find(list, has_run_dir ? given->run_dir : NULL,
                             has_driver ? given->driver_name : NULL,
                             has_file ? DOCTOR_CONFIG_FILE : NULL, ret_defaults);
    return r < 0 ? error_set_errno(e, r, "cannot find the options of the node") : 0;
}

/* Parse the defaults, and after them the command line. The defaults outlive the options. */
static int parse_with(const struct doctor_defaults *defaults, int argc, char *argv[],
                      struct node_options *ret_options, struct error *e)
{
    size_t n = defaults->n_texts + (size_t)argc;
    _cleanup_(freep) char **all = calloc(n + 1, sizeof(char *));

    *ret_options = (struct node_options){0};
    if (all == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the options");
    all[0] = argv[0];
    memcpy(&all[1], defaults->texts, defaults->n_texts * sizeof(char *));
    memcpy(&all[1 + defaults->n_texts], &argv[1], (size_t)(argc - 1) * sizeof(char *));
    return node_options_parse((int)n, all, ret_options, e);
}

/* Return: 0; -errno with @e. */
static int check_with_defaults(const struct invocation *invocation, int argc, char *argv[],
                               const struct node_options *given, bool as_json, struct error *e)
{
    _cleanup_(doctor_defaults_deinit) struct doctor_defaults defaults = {.n_texts = 0};
    _cleanup_(node_options_deinit) struct node_options options = {0};
    int r = find_defaults(given, &defaults, e);

    if (r == 0)
        r = parse_with(&defaults, argc, argv, &options, e);
    return r < 0 ? r : check_node(invocation, &options, defaults.origin.text, as_json);
}

int command_doctor(const struct invocation *invocation, int argc, char *argv[])
{
    _cleanup_(node_options_deinit) struct node_options given = {0};
    struct error e = ERROR_INIT;
    bool as_json;
    int r;

    if (streq(invocation->program, KUBECTL_PLUGIN))
        return doctor_cluster(invocation, argc, argv);
    r = take_output(&argc, argv, &as_json, &e);
    if (r < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    r = node_options_parse(argc, argv, &given, &e);
    if (r >= 0 && given.wants_help) {
        print_help(invocation);
        return EXIT_OK;
    }
    if (r >= 0 && given.config_file != NULL)
        return check_node(invocation, &given, "", as_json);
    if (r >= 0)
        r = check_with_defaults(invocation, argc, argv, &given, as_json, &e);
    if (r < 0)
        return command_failed(invocation, r == -EINVAL ? EXIT_USAGE : EXIT_FAILED, e.text);
    return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/doctor/command.h"

#include <stdio.h>

#include "cmd/doctor/api.h"
#include "cmd/doctor/host.h"
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
           "All other options are those of `%s node`: give those that the node daemon has.\n",
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
        if (value == NULL || (!streq(value, "json") && !streq(value, "text")))
            return error_set(e, -EINVAL, "invalid output format, expected -o text or -o json");
        *ret_as_json = streq(value, "json");
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
                      bool as_json)
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

    run_checks(&options, &report);
    if (print(&report, as_json, &e) < 0)
        return command_failed(invocation, EXIT_FAILED, e.text);
    return doctor_result_of(&report) == DOCTOR_FAIL ? EXIT_FAILED : EXIT_OK;
}

int command_doctor(const struct invocation *invocation, int argc, char *argv[])
{
    struct node_options options;
    struct error e = ERROR_INIT;
    bool as_json;
    int code = EXIT_OK;
    int r = take_output(&argc, argv, &as_json, &e);

    if (r < 0)
        return command_failed(invocation, EXIT_USAGE, e.text);
    r = node_options_parse(argc, argv, &options, &e);
    if (r >= 0 && options.wants_help)
        print_help(invocation);
    else if (r < 0)
        code = command_failed(invocation, r == -EINVAL ? EXIT_USAGE : EXIT_FAILED, e.text);
    else
        code = check_node(invocation, &options, as_json);
    node_options_deinit(&options);
    return code;
}

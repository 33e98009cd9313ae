/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/doctor/defaults.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "node/options.h"

/* Members of a node's process in a status document, and the options that set them. */
static const struct {
    const char *member, *option;
} members[] = {
    {"driver", "driver-name"},   {"node", "node-id"},
    {"runDirectory", "run-dir"}, {"kubeletRoot", "kubelet-root"},
    {"endpoint", "endpoint"},    {"registrationPath", "registration-path"},
    {"rights", "rights"},        {"kubeconfig", "kubeconfig"},
    {"context", "context"},      {"manifests", "manifests"},
};

static_assert(ELEMENTS_OF(members) <= DOCTOR_ARGUMENTS_MAX, "each member has a place");

static int add(struct doctor_defaults *d, const char *option, const char *value)
{
    char *text;

    assert(d->n_texts < DOCTOR_ARGUMENTS_MAX);
    if (asprintf(&text, "--%s=%s", option, value) < 0)
        return -ENOMEM;
    d->texts[d->n_texts++] = text;
    return 0;
}

/* @driver: NULL: any */
static bool is_of_driver(const cJSON *process, const char *driver)
{
    const char *other = json_text(process, "driver");

    return driver == NULL || (other != NULL && streq(other, driver));
}

/* Return: the node's process, borrowed from @list; NULL if none runs. */
static const cJSON *find_node(const cJSON *list, const char *run_dir, const char *driver)
{
    const cJSON *process, *found = NULL;
    bool is_exact = false;

    cJSON_ArrayForEach (process, json_member(list, "processes")) {
        const char *other = json_text(process, "runDirectory");
        bool is_same =
            other != NULL && streq(other, run_dir != NULL ? run_dir : NODE_RUN_DIR_DEFAULT);

        if (other == NULL || is_exact || (run_dir != NULL && !is_same) ||
            !is_of_driver(process, driver))
            continue;
        found = process;
        is_exact = is_same;
    }
    return found;
}

static int add_process(struct doctor_defaults *d, const cJSON *process)
{
    int r = 0;

    for (size_t i = 0; i < ELEMENTS_OF(members) && r == 0; i++) {
        const char *value = json_text(process, members[i].member);

        if (value != NULL)
            r = add(d, members[i].option, value);
    }
    error_set(&d->origin, 0, "those of the daemon that runs, process %.0f",
              cJSON_GetNumberValue(json_member(process, "pid")));
    return r;
}

int doctor_defaults_find(const cJSON *list, const char *run_dir, const char *driver,
                         const char *config_file, struct doctor_defaults *ret_defaults)
{
    struct doctor_defaults *d = ret_defaults;
    const cJSON *process = find_node(list, run_dir, driver);

    *d = (struct doctor_defaults){.n_texts = 0};
    if (process != NULL)
        return add_process(d, process);
    if (config_file != NULL) {
        error_set(&d->origin, 0, "those of %s; no daemon runs", config_file);
        return add(d, "config", config_file);
    }
    error_set(&d->origin, 0, "the defaults; no daemon runs");
    return 0;
}

void doctor_defaults_deinit(struct doctor_defaults *defaults)
{
    for (size_t i = 0; i < defaults->n_texts; i++)
        free(defaults->texts[i]);
    *defaults = (struct doctor_defaults){.n_texts = 0};
}

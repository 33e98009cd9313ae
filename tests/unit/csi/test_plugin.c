/* SPDX-License-Identifier: Apache-2.0 */
/* Options, and failing allocations. tests/integration/csi tests the behaviour of the plug-in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "csi/plugin.h"

#include "tests/unit/failmalloc.h"

static char directory[64], endpoint[96], registration_path[96];

static int make_directory(void **state)
{
    snprintf(directory, sizeof(directory), "/tmp/secretfs-plugin-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(endpoint, sizeof(endpoint), "%s/csi.sock", directory);
    snprintf(registration_path, sizeof(registration_path), "%s/reg.sock", directory);
    return 0;
}

static int remove_directory(void **state)
{
    return rmdir(directory);
}

static const struct csi_handlers handlers = {.publish = NULL};

static struct csi_plugin_options good_options(void)
{
    return (struct csi_plugin_options){
        .endpoint = endpoint,
        .registration_path = registration_path,
        .driver_name = "csi.secretfs.io",
        .version = "1",
        .node_id = "node-1",
    };
}

static int try_plugin(const struct csi_plugin_options *options, struct error *e)
{
    struct csi_plugin *plugin = NULL;
    sd_event *event = NULL;
    int r = sd_event_new(&event);

    if (r >= 0)
        r = csi_plugin_new(event, options, &handlers, NULL, &plugin, e);
    if (r == 0)
        assert_int_equal(access(options->endpoint, F_OK), 0);
    csi_plugin_free(plugin);
    sd_event_unref(event);
    assert_int_equal(access(endpoint, F_OK), -1);
    assert_int_equal(access(registration_path, F_OK), -1);
    return r;
}

static void registration_is_optional(void **state)
{
    struct csi_plugin_options options = good_options();
    struct error e = ERROR_INIT;

    assert_int_equal(try_plugin(&options, &e), 0);
    options.registration_path = NULL;
    assert_int_equal(try_plugin(&options, &e), 0);
    assert_null(csi_plugin_free(NULL));
}

static void refuse(const struct csi_plugin_options *options, const char *words)
{
    struct error e = ERROR_INIT;

    assert_int_equal(try_plugin(options, &e), -EINVAL);
    if (strstr(e.text, words) == NULL)
        fail_msg("\"%s\" is not in: %s", words, e.text);
}

static void invalid_options_are_refused(void **state)
{
    struct csi_plugin_options options = good_options();
    char longer[300];

    options.driver_name = "My Driver";
    refuse(&options, "driver name");
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    longer[64] = '\0';
    options.driver_name = longer;
    refuse(&options, "driver name");
    options = good_options();
    options.node_id = "";
    refuse(&options, "node id");
    longer[64] = 'x';
    options.node_id = longer;
    refuse(&options, "node id");
    options = good_options();
    options.registration_path = "relative";
    refuse(&options, "absolute"); /* and the other socket is removed */
}

static int try_good(void *userdata)
{
    const struct csi_plugin_options options = good_options();
    struct error e = ERROR_INIT;

    return try_plugin(&options, &e);
}

static void allocation_failures_are_reported(void **state)
{
    failmalloc_try(try_good, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registration_is_optional),
        cmocka_unit_test(invalid_options_are_refused),
        cmocka_unit_test(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

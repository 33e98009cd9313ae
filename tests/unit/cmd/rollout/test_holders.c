/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/rollout/holders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define UID "0b0c3a5e-1111-2222-3333-444455556666"

static void paths_of_a_volume(void **state)
{
    static const struct {
        const char *mountpoint, *path, *pod_uid;
        bool matches;
    } cases[] = {
        {"/run/db", "/run/db/..1/a (deleted)", "", true},
        {"/run/db", "/run/db/..1/below/a (deleted)", "", true},
        {"/run/db", "/run/db/..1/a", "", false},
        {"/run/db", "/run/db/..2/a (deleted)", "", false}, /* what it shows */
        {"/run/db", "/run/db/..22/a (deleted)", "", true},
        {"/run/db", "/run/dbs/..1/a (deleted)", "", false},
        {"/run/db", "/run/db/below/..1/a (deleted)", "", false},
        {"/run/db", "/run/db/..1 (deleted)", "", false},
        {"/run/db", " (deleted)", "", false},
        {"/var/lib/kubelet/pods/" UID "/volumes/x", "/etc/db/..1/a (deleted)", UID, true},
        {"/var/lib/kubelet/pods/" UID "/volumes/x", "/etc/db/..1/a (deleted)", "", false},
        {"/var/lib/kubelet/pods/" UID "/volumes/x", "/etc/db/a (deleted)", UID, false},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(cJSON_Deletep) cJSON *volume =
            cJSON_Parse("{\"volume\":{\"generation\":\"..2\"}}");

        assert_non_null(volume);
        assert_int_equal(json_add_text(volume, "mountpoint", cases[i].mountpoint), 0);
        if (holders_match(volume, cases[i].path, cases[i].pod_uid) != cases[i].matches)
            fail_msg("case %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(paths_of_a_volume)};

    return cmocka_run_group_tests_name("holders", tests, NULL, NULL);
}

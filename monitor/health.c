/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor/health.h"

#define STATUS_UNAVAILABLE 503

static bool has_passed(const struct health_check *check)
{
    return check->problem.text[0] == '\0';
}

static bool all_passed(const struct health_check *checks, size_t n_checks)
{
    for (size_t i = 0; i < n_checks; i++)
        if (!has_passed(&checks[i]))
            return false;
    return true;
}

int health_answer(const char *page, const struct health_check *checks, size_t n_checks,
                  bool is_verbose, struct http_server_answer *answer)
{
    bool is_healthy = all_passed(checks, n_checks);
    int r = 0;

    answer->status = is_healthy ? 200 : STATUS_UNAVAILABLE;
    if (is_healthy && !is_verbose)
        return buf_add_text(&answer->body, "ok");
    for (size_t i = 0; i < n_checks && r >= 0; i++)
        r = buf_addf(&answer->body, "[%c]%s %s%s\n", has_passed(&checks[i]) ? '+' : '-',
                     checks[i].name,
                     has_passed(&checks[i]) ? "ok" : "failed: ", checks[i].problem.text);
    return r < 0 ? r
                 : buf_addf(&answer->body, "%s check %s\n", page, is_healthy ? "passed" : "failed");
}

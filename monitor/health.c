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

/* ---- `secretfs health` */

static int add_check(cJSON *list, const struct health_check *check, bool is_live)
{
    cJSON *json = cJSON_CreateObject();
    int r = 0;

    r |= json_add_text(json, "name", check->name);
    r |= json_add_bool(json, "live", is_live);
    r |= json_add_bool(json, "pending", check->is_pending);
    r |= json_add_text(json, "error", has_passed(check) ? NULL : check->problem.text);
    if (!cJSON_AddItemToArray(list, json)) {
        cJSON_Delete(json);
        r = -ENOMEM;
    }
    return r;
}

cJSON *health_document(const struct health_check *checks, size_t n_live, size_t n_checks)
{
    _cleanup_(cJSON_Deletep) cJSON *document = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(document, "checks");
    int r = list != NULL ? 0 : -ENOMEM;

    for (size_t i = 0; i < n_checks && r == 0; i++)
        r = add_check(list, &checks[i], i < n_live);
    return r == 0 ? TAKE(document) : NULL;
}

int health_parse(const cJSON *document, bool is_readiness, struct error *e)
{
    const cJSON *checks = json_member(document, "checks"), *check;
    enum health_outcome outcome = HEALTH_PASSED;

    if (!cJSON_IsArray(checks))
        return error_set(e, -EINVAL, "the document has no checks");
    cJSON_ArrayForEach (check, checks) {
        const char *name = json_text(check, "name"), *error = json_text(check, "error");

        if (!is_readiness && !cJSON_IsTrue(json_member(check, "live")))
            continue;
        if (error != NULL) {
            error_set(e, -EIO, "%.32s: %s", name != NULL ? name : "", error);
            return HEALTH_FAILED;
        }
        if (cJSON_IsTrue(json_member(check, "pending"))) {
            error_set(e, -EAGAIN, "%.32s: no response yet", name != NULL ? name : "");
            outcome = HEALTH_PENDING;
        }
    }
    return (int)outcome;
}

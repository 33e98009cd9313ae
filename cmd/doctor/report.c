/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts and findings are separate. host.c collects facts about this host and its processes, api.c
 * from the API server; their evaluate functions are pure and turn facts into findings of this
 * report. Nothing is changed anywhere: the one mount that is created is attached to no path and
 * closed.
 */
#include "cmd/doctor/report.h"

#include <stdarg.h>
#include <stdio.h>

#include "encoding/json.h"

static const char *const result_names[] = {
    [DOCTOR_OK] = "ok", [DOCTOR_WARN] = "warn", [DOCTOR_FAIL] = "fail"};

#define CHECK_WIDTH 16 /* of the longest name and a blank */

static void write_text(struct error *to, const char *format, va_list args) PRINTF_LIKE(2, 0);
/* Paths and reasons come from other processes: none of them may add a line to the report. */
static void write_text(struct error *to, const char *format, va_list args)
{
    vsnprintf(to->text, sizeof(to->text), format, args);
    for (char *c = to->text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
}

void doctor_add(struct doctor_report *report, enum doctor_result result, const char *check,
                const char *format, ...)
{
    struct doctor_finding *finding;
    va_list args;

    assert(report->n_findings < DOCTOR_FINDINGS_MAX);
    finding = &report->findings[report->n_findings++];
    *finding = (struct doctor_finding){.result = result, .check = check};
    va_start(args, format);
    write_text(&finding->text, format, args);
    va_end(args);
}

void doctor_remedy(struct doctor_report *report, const char *format, ...)
{
    va_list args;

    assert(report->n_findings > 0);
    va_start(args, format);
    write_text(&report->findings[report->n_findings - 1].remedy, format, args);
    va_end(args);
}

enum doctor_result doctor_result_of(const struct doctor_report *report)
{
    enum doctor_result worst = DOCTOR_OK;

    for (size_t i = 0; i < report->n_findings; i++)
        if (report->findings[i].result > worst)
            worst = report->findings[i].result;
    return worst;
}

int doctor_print(const struct doctor_report *report, struct buf *text)
{
    int r = 0;

    for (size_t i = 0; i < report->n_findings && r >= 0; i++) {
        const struct doctor_finding *f = &report->findings[i];
        bool has_remedy = f->remedy.text[0] != '\0';

        r = buf_addf(text, "%-6s%-*s%s%s%s\n", result_names[f->result], CHECK_WIDTH, f->check,
                     f->text.text, has_remedy ? ": " : "", f->remedy.text);
    }
    return r;
}

static int fill(const struct doctor_report *report, cJSON *json)
{
    cJSON *checks = cJSON_AddArrayToObject(json, "checks");
    int r = json_add_text(json, "result", result_names[doctor_result_of(report)]);

    for (size_t i = 0; i < report->n_findings && r >= 0; i++) {
        const struct doctor_finding *f = &report->findings[i];
        cJSON *check = cJSON_CreateObject();

        r |= json_add_text(check, "check", f->check);
        r |= json_add_text(check, "result", result_names[f->result]);
        r |= json_add_text(check, "text", f->text.text);
        if (f->remedy.text[0] != '\0')
            r |= json_add_text(check, "remedy", f->remedy.text);
        if (!cJSON_AddItemToArray(checks, check)) {
            cJSON_Delete(check);
            r = -ENOMEM;
        }
    }
    return r < 0 ? -ENOMEM : 0;
}

int doctor_print_json(const struct doctor_report *report, struct buf *text)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    char *printed;
    int r = fill(report, json);

    if (r < 0)
        return r;
    printed = cJSON_Print(json);
    r = printed != NULL ? buf_addf(text, "%s\n", printed) : -ENOMEM;
    cJSON_free(printed);
    return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reasons, from the worst: what cannot be known (a process that does not answer, consumers that
 * are not noted, opens that were missed), then what an update or a consumer has still to do.
 * Consumers that have opened only other objects of a projected volume, or nothing at all, do not
 * count.
 */
#include "cmd/rollout/verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "cmd/status/table.h"

#define ROW_FORMAT "%-*s   %-*s   %-24s   %-7s   %-10s   %s\n"

#define GROUP_SIZE 13 /* of a container's id, shortened */

struct judgement {
    const struct rollout_query *query;
    struct timespec now;
    struct rollout_verdict verdict;
    int volume_width, group_width;
    struct buf *lines;
    struct buf *reasons;
    int result;
};

/* ---- reasons */

static PRINTF_LIKE(3, 4) void add_reason(struct judgement *j, enum rollout_state state,
                                         const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (j->verdict.state < state)
        j->verdict.state = state;
    if (j->result == 0)
        j->result = buf_addf(j->reasons, "%s\n", text);
}

/* "prod/web-0", or the mount point. */
static const char *volume_name(const cJSON *volume)
{
    const char *pod = json_text(volume, "pod");

    return pod != NULL ? pod : json_text(volume, "mountpoint");
}

/* ---- a consumer */

/* Whether a key that was opened is of an object that counts. @text: "secret/NAMESPACE/NAME" */
static bool is_of_object(const cJSON *object, const char *text)
{
    char own[1024];

    snprintf(own, sizeof(own), "%s/%s/%s", json_text(object, "kind"),
             json_text(object, "namespace"), json_text(object, "name"));
    return strcasecmp(own, text) == 0;
}

static bool counts(const struct judgement *j, const cJSON *volume, const char *text)
{
    const cJSON *object = json_member(volume, "object");

    if (j->query->object.object == NULL)
        return true;
    if (object != NULL)
        return status_filter_matches_object(&j->query->object, object) &&
               is_of_object(object, text);
    cJSON_ArrayForEach (object, json_member(volume, "objects")) {
        if (status_filter_matches_object(&j->query->object, object) && is_of_object(object, text))
            return true;
    }
    return false;
}

struct consumed {
    bool is_any;
    bool is_old;
    const char *version; /* of an old key, if there is one */
};

static struct consumed consumed_by(const struct judgement *j, const cJSON *volume,
                                   const cJSON *consumer)
{
    struct consumed c = {.version = NULL};
    const cJSON *key;

    cJSON_ArrayForEach (key, json_member(consumer, "keys")) {
        const char *object = json_text(key, "object"), *state = json_text(key, "state");
        bool is_old = state == NULL || !streq(state, "current");

        if (object == NULL || !counts(j, volume, object))
            continue;
        if (!c.is_old)
            c.version = json_text(key, "resourceVersion");
        c.is_any = true;
        c.is_old = c.is_old || is_old;
    }
    return c;
}

/*
 * The container's name, or its id, shortened as runtimes' tools do it, where the daemon does not
 * know the pod; or the unit.
 */
static const char *group_of(const cJSON *consumer, char buf[static GROUP_SIZE])
{
    const char *container = json_text(consumer, "container"), *unit = json_text(consumer, "unit");

    if (json_text(consumer, "containerName") != NULL)
        return json_text(consumer, "containerName");
    if (container == NULL)
        return unit != NULL ? unit : "-";
    snprintf(buf, GROUP_SIZE, "%s", container);
    return buf;
}

/* "nginx (4711)", "cat (ended)" */
static const char *process_of(const cJSON *consumer, char buf[static 64])
{
    const char *name = json_text(consumer, "process");
    const cJSON *pid = json_member(consumer, "pid");

    if (cJSON_IsNumber(pid))
        snprintf(buf, 64, "%.32s (%.0f)", name != NULL ? name : "-", pid->valuedouble);
    else
        snprintf(buf, 64, "%.32s (ended)", name != NULL ? name : "-");
    return buf;
}

static const char *age_of(const struct judgement *j, const cJSON *consumer,
                          char buf[static STATUS_AGE_SIZE])
{
    const char *text = json_text(consumer, "lastOpen");
    struct timespec at;

    if (text == NULL || clock_parse_rfc3339(text, &at) < 0)
        return "-";
    return status_age(j->now.tv_sec > at.tv_sec ? (uint64_t)(j->now.tv_sec - at.tv_sec) : 0, buf);
}

static void add_row(struct judgement *j, const cJSON *volume, const cJSON *consumer,
                    struct consumed consumed)
{
    char group[GROUP_SIZE], process[64], age[STATUS_AGE_SIZE];
    const char *version = consumed.version != NULL ? consumed.version : "-";

    if (j->result == 0 && j->verdict.n_consumers == 1)
        j->result = buf_addf(j->lines, ROW_FORMAT, j->volume_width, "VOLUME", j->group_width,
                             "CONTAINER", "PROCESS", "STATE", "VERSION", "OPENED");
    if (j->result == 0)
        j->result =
            buf_addf(j->lines, ROW_FORMAT, j->volume_width, volume_name(volume), j->group_width,
                     group_of(consumer, group), process_of(consumer, process),
                     consumed.is_old ? "old" : "current", version, age_of(j, consumer, age));
}

static void judge_consumer(struct judgement *j, const cJSON *volume, const cJSON *consumer)
{
    const struct consumed consumed = consumed_by(j, volume, consumer);
    char process[64];

    if (!consumed.is_any)
        return;
    j->verdict.n_consumers++;
    j->verdict.n_current += !consumed.is_old;
    add_row(j, volume, consumer, consumed);
    if (consumed.is_old)
        add_reason(j, ROLLOUT_WAITING, "%s: %s has not opened the newest version",
                   volume_name(volume), process_of(consumer, process));
}

/* ---- a volume */

static double number(const cJSON *json, const char *key)
{
    const cJSON *n = json_member(json, key);

    return cJSON_IsNumber(n) ? n->valuedouble : 0;
}

static void judge_version(struct judgement *j, const cJSON *volume, const cJSON *object)
{
    const char *version = json_text(object, "resourceVersion");

    if (j->query->resource_version == NULL ||
        !status_filter_matches_object(&j->query->object, object))
        return;
    if (version == NULL || !streq(version, j->query->resource_version))
        add_reason(j, ROLLOUT_WAITING, "%s: the volume shows version %.64s, not %.64s",
                   volume_name(volume), version != NULL ? version : "-",
                   j->query->resource_version);
}

/* Readers get the version that was asked for, or the newest, as far as the source confirms it. */
static void judge_content(struct judgement *j, const cJSON *volume)
{
    const cJSON *content = json_member(volume, "volume"), *object = json_member(volume, "object");
    const char *state = json_text(content, "state"), *error = json_text(content, "error");

    if (state == NULL || !streq(state, "current"))
        add_reason(j, ROLLOUT_WAITING, "%s: the volume is %s%s%.500s", volume_name(volume),
                   state != NULL ? state : "unknown", error != NULL ? ": " : "",
                   error != NULL ? error : "");
    if (object != NULL)
        judge_version(j, volume, object);
    cJSON_ArrayForEach (object, json_member(volume, "objects")) {
        judge_version(j, volume, object);
    }
}

static void judge_gaps(struct judgement *j, const cJSON *volume, const cJSON *consumers)
{
    const cJSON *known = json_member(consumers, "known"), *gap;

    if (consumers == NULL || cJSON_IsFalse(known))
        add_reason(j, ROLLOUT_UNSEEN, "%s: its consumers are not noted; use --consumers",
                   volume_name(volume));
    cJSON_ArrayForEach (gap, json_member(consumers, "notSeen")) {
        add_reason(j, ROLLOUT_UNSEEN, "%s: some opens were not seen: %.200s", volume_name(volume),
                   cJSON_IsString(gap) ? gap->valuestring : "");
    }
    if (json_is_true(consumers, "opensWait"))
        add_reason(j, ROLLOUT_WAITING, "%s: opens wait to be counted", volume_name(volume));
}

static void judge_held(struct judgement *j, const cJSON *volume, const cJSON *consumers)
{
    double held = number(consumers, "heldFiles");

    if (held > 0)
        add_reason(j, ROLLOUT_WAITING,
                   "%s: processes have %.0f %s of older versions open or mapped",
                   volume_name(volume), held, held > 1 ? "files" : "file");
    else if (number(consumers, "oldGenerations") > 0)
        add_reason(j, ROLLOUT_WAITING, "%s: an older generation is being removed",
                   volume_name(volume));
}

static void judge_volume(struct judgement *j, const cJSON *volume)
{
    const cJSON *consumers = json_path(volume, "volume", "consumers", NULL), *consumer;

    j->verdict.n_volumes++;
    judge_content(j, volume);
    judge_gaps(j, volume, consumers);
    judge_held(j, volume, consumers);
    cJSON_ArrayForEach (consumer, json_member(consumers, "list")) {
        judge_consumer(j, volume, consumer);
    }
}

/* A mount of a process that is dead or hangs does not say what it shows. */
static bool is_silent(const cJSON *volume)
{
    return json_member(volume, "object") == NULL && json_member(volume, "objects") == NULL;
}

static void widen(int *width, const char *text)
{
    int len = (int)size_min(strlen(text), 256);

    if (len > *width)
        *width = len;
}

static void measure(struct judgement *j, const cJSON *items)
{
    const cJSON *volume, *consumer;
    char group[GROUP_SIZE];

    j->volume_width = (int)strlen("VOLUME");
    j->group_width = GROUP_SIZE - 1;
    cJSON_ArrayForEach (volume, items) {
        if (!status_filter_matches(&j->query->object, volume))
            continue;
        widen(&j->volume_width, volume_name(volume));
        cJSON_ArrayForEach (consumer, json_path(volume, "volume", "consumers", "list", NULL)) {
            widen(&j->group_width, group_of(consumer, group));
        }
    }
}

int rollout_judge(const cJSON *list, const struct rollout_query *query, struct timespec now,
                  struct rollout_verdict *ret_verdict, struct buf *lines, struct buf *reasons)
{
    struct judgement j = {.query = query, .now = now, .lines = lines, .reasons = reasons};
    const cJSON *items = json_member(list, "items"), *item;

    measure(&j, items);
    cJSON_ArrayForEach (item, json_member(list, "errors")) {
        add_reason(&j, ROLLOUT_UNSEEN, "%.500s", cJSON_IsString(item) ? item->valuestring : "");
    }
    cJSON_ArrayForEach (item, items) {
        if (is_silent(item))
            add_reason(&j, ROLLOUT_UNSEEN, "%s: its process does not answer", volume_name(item));
        else if (status_filter_matches(&query->object, item))
            judge_volume(&j, item);
    }
    *ret_verdict = j.verdict;
    return j.result;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/rollout/history.h"

#include <stdio.h>
#include <strings.h>

#define ROW_FORMAT "%-*s   %-12s   %s\n"
#define WIDTH_MAX  256u

static const char *volume_name(const cJSON *volume)
{
    const char *pod = json_text(volume, "pod"), *mountpoint = json_text(volume, "mountpoint");

    return pod != NULL ? pod : mountpoint != NULL ? mountpoint : "-";
}

/* Whether @text, "secret/prod/db", is of an object that the filter names. */
static bool is_of_object(const struct status_filter *filter, const cJSON *object, const char *text)
{
    char own[1024];

    snprintf(own, sizeof(own), "%s/%s/%s", json_text(object, "kind"),
             json_text(object, "namespace"), json_text(object, "name"));
    return status_filter_matches_object(filter, object) && strcasecmp(own, text) == 0;
}

static bool counts(const struct status_filter *filter, const cJSON *volume, const char *text)
{
    const cJSON *object = json_member(volume, "object");

    if (object != NULL)
        return is_of_object(filter, object, text);
    cJSON_ArrayForEach (object, json_member(volume, "objects")) {
        if (is_of_object(filter, object, text))
            return true;
    }
    return false;
}

static int add_volume(const struct status_filter *filter, const cJSON *volume, int width,
                      struct buf *lines)
{
    const cJSON *entry;
    int r = 0;

    cJSON_ArrayForEach (entry, json_path(volume, "debug", "history", NULL)) {
        const char *object = json_text(entry, "object"), *time = json_text(entry, "time");
        const char *version = json_text(entry, "resourceVersion");

        if (r == 0 && object != NULL && version != NULL && time != NULL &&
            counts(filter, volume, object))
            r = buf_addf(lines, ROW_FORMAT, width, volume_name(volume), version, time);
    }
    return r;
}

/* @ret_n: of the volumes that match. Return: the width of the first column. */
static int measure(const cJSON *items, const struct status_filter *filter, size_t *ret_n)
{
    size_t width = strlen("VOLUME");
    const cJSON *volume;

    *ret_n = 0;
    cJSON_ArrayForEach (volume, items) {
        size_t len = size_min(strlen(volume_name(volume)), WIDTH_MAX);

        if (!status_filter_matches(filter, volume))
            continue;
        (*ret_n)++;
        width = len > width ? len : width;
    }
    return (int)width;
}

int rollout_history(const cJSON *list, const struct status_filter *object, struct buf *lines)
{
    const cJSON *items = json_member(list, "items"), *volume;
    size_t n, header_len;
    int width = measure(items, object, &n), r;

    if (n == 0)
        return -ENOENT;
    r = buf_addf(lines, ROW_FORMAT, width, "VOLUME", "VERSION", "SHOWN");
    header_len = lines->len;
    cJSON_ArrayForEach (volume, items) {
        if (r == 0 && status_filter_matches(object, volume))
            r = add_volume(object, volume, width, lines);
    }
    return r == 0 && lines->len == header_len ? -ENODATA : r;
}

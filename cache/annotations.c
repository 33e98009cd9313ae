/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/annotations.h"

#include "cache/pod_selector.h"
#include "encoding/json.h"

#define ROLLOUT_OVER_MAX SPAN_SEC(7 * 24 * 3600)

static int read_pause(const char *text, struct object_staging *s)
{
    s->is_paused = streq(text, "true");
    return s->is_paused || streq(text, "false") ? 0 : -EINVAL;
}

static int read_over(const char *text, struct object_staging *s)
{
    struct error ignored = ERROR_INIT;
    int r = clock_parse_duration(text, &s->over, &ignored);

    return r < 0 || s->over > ROLLOUT_OVER_MAX ? -EINVAL : 0;
}

/* "0%" to "100%" */
static int read_percent(const char *text, struct object_staging *s)
{
    size_t n_digits = strspn(text, "0123456789");

    if (n_digits == 0 || n_digits > 3 || !streq(text + n_digits, "%"))
        return -EINVAL;
    s->first_percent = 0;
    for (size_t i = 0; i < n_digits; i++)
        s->first_percent = s->first_percent * 10 + (unsigned)(text[i] - '0');
    return s->first_percent <= 100 ? 0 : -EINVAL;
}

/* "10" could be the key of a label, but is a percentage without its sign. */
static int read_first(const char *text, struct object_staging *s)
{
    s->has_first = true;
    if (text[strspn(text, "0123456789.%")] == '\0')
        return read_percent(text, s);
    if (strlen(text) <= POD_SELECTOR_MAX_LEN)
        s->first_selector = text;
    return pod_selector_check(text, NULL);
}

static const struct {
    const char *name;
    int (*read)(const char *text, struct object_staging *staging);
} known[] = {
    {ANNOTATION_PAUSE, read_pause},
    {ANNOTATION_ROLLOUT_OVER, read_over},
    {ANNOTATION_ROLLOUT_FIRST, read_first},
};

void annotations_read_staging(const cJSON *annotations, struct object_staging *ret_staging)
{
    *ret_staging = (struct object_staging){.invalid = NULL};
    for (size_t i = 0; i < ELEMENTS_OF(known); i++) {
        const cJSON *value = json_member(annotations, known[i].name);

        if (value == NULL)
            continue;
        if (!cJSON_IsString(value) || known[i].read(value->valuestring, ret_staging) < 0) {
            *ret_staging = (struct object_staging){.invalid = known[i].name,
                                                   .first_selector = ret_staging->first_selector};
            return;
        }
    }
}

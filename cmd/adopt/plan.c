/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A csi volume is removed if it is exactly what the policy adds: its attribute names a volume of
 * the pod that has its own name with the suffix, is of a kind that secretfs serves, and that no
 * container mounts. So a csi volume that a person wrote in another way stays.
 */
#include "cmd/adopt/plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "cmd/adopt/policy.h"
#include "encoding/json.h"

#define LABEL_MAX 63u /* of a DNS label. Source: RFC 1123 */

static int out_of_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot convert the pod");
}

static bool is_label(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len <= LABEL_MAX && name[0] != '-' && name[len - 1] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static int check_name(struct spot volume, struct error *e)
{
    const char *name = json_text(volume.json, "name");

    if (name != NULL && is_label(name))
        return 0;
    return error_set(e, -EINVAL,
                     "line %zu: invalid name of a volume, expected a string of at most %u lower "
                     "case letters, digits and dashes",
                     volume.line, LABEL_MAX);
}

static int plan_init(struct plan *plan, struct spot pod, struct error *e)
{
    int r = 0;

    *plan = (struct plan){.volumes = spot_member(spot_member(pod, "spec"), "volumes")};
    if (!cJSON_IsArray(plan->volumes.json))
        return 0;
    plan->items = calloc((size_t)cJSON_GetArraySize(plan->volumes.json) + 1, sizeof(*plan->items));
    if (plan->items == NULL)
        return out_of_memory(e);
    for (struct spot_entry i = spot_first(plan->volumes); i.at.json != NULL && r == 0;
         spot_next(&i)) {
        plan->items[plan->n++] = (struct plan_item){.volume = i.at, .place = i.place};
        r = check_name(i.at, e);
    }
    return r;
}

static void set_action(struct plan *plan, struct plan_item *item, enum plan_action action)
{
    item->action = action;
    plan->n_changes += action != PLAN_KEEP;
}

int plan_adopt(struct plan *plan, struct spot pod, bool adopts_tokens, struct error *e)
{
    _cleanup_(adopt_names_deinit) struct adopt_names names = {.volumes.n = 0};
    int r = plan_init(plan, pod, e);

    if (r < 0 || adopt_pod_decide(pod.json) != ADOPT_POD)
        return r;
    if (adopt_names_init(&names, json_member(pod.json, "spec")) < 0)
        return out_of_memory(e);
    for (size_t i = 0; i < plan->n; i++) {
        const cJSON *volume = plan->items[i].volume.json;

        if (adopt_volume_decide(&names, volume, adopts_tokens) == ADOPT_VOLUME)
            set_action(plan, &plan->items[i], PLAN_RENAME);
    }
    return 0;
}

/* ---- taking it back */

/* The name of the volume that a csi volume of the policy shows. Return: NULL for other volumes. */
static const char *original_of(const cJSON *volume)
{
    const cJSON *csi = json_member(volume, "csi");
    const cJSON *attributes = json_member(csi, "volumeAttributes");
    const char *driver = json_text(csi, "driver"), *shown = json_text(attributes, "podVolume");
    const char *suffix = shown != NULL ? str_after(shown, json_text(volume, "name")) : NULL;
    bool is_exact = cJSON_GetArraySize(volume) == 2 && cJSON_GetArraySize(csi) == 3 &&
                    cJSON_GetArraySize(attributes) == 1;

    return is_exact && driver != NULL && streq(driver, ADOPT_DRIVER) &&
                   json_is_true(csi, "readOnly") && suffix != NULL && streq(suffix, ADOPT_SUFFIX)
               ? shown
               : NULL;
}

/* The volumes that may get their names back: of a kind that is adopted, and mounted by none. */
static void list_originals(const struct plan *plan, const struct adopt_names *names,
                           struct adopt_list *list)
{
    for (size_t i = 0; i < plan->n; i++) {
        const cJSON *volume = plan->items[i].volume.json;
        const char *name = json_text(volume, "name");

        if (adopt_volume_has_kind(volume) && !adopt_list_has(&names->mounted, name))
            adopt_list_add(list, name);
    }
    adopt_list_sort(list);
}

/* Plan the removal of csi volumes, and list what they show. */
static void plan_removals(struct plan *plan, const struct adopt_list *originals,
                          struct adopt_list *shown)
{
    for (size_t i = 0; i < plan->n; i++) {
        const char *name = original_of(plan->items[i].volume.json);

        if (name == NULL || !adopt_list_has(originals, name))
            continue;
        set_action(plan, &plan->items[i], PLAN_REMOVE);
        adopt_list_add(shown, name);
    }
    adopt_list_sort(shown);
}

static void plan_strips(struct plan *plan, const struct adopt_list *shown)
{
    for (size_t i = 0; i < plan->n; i++) {
        const cJSON *volume = plan->items[i].volume.json;

        if (adopt_volume_has_kind(volume) && adopt_list_has(shown, json_text(volume, "name")))
            set_action(plan, &plan->items[i], PLAN_STRIP);
    }
}

int plan_revert(struct plan *plan, struct spot pod, struct error *e)
{
    _cleanup_(adopt_names_deinit) struct adopt_names names = {.volumes.n = 0};
    _cleanup_(adopt_list_deinit) struct adopt_list originals = {.n = 0}, shown = {.n = 0};
    int r = plan_init(plan, pod, e);

    if (r < 0)
        return r;
    if (adopt_names_init(&names, json_member(pod.json, "spec")) < 0 ||
        adopt_list_init(&originals, plan->n) < 0 || adopt_list_init(&shown, plan->n) < 0)
        return out_of_memory(e);
    list_originals(plan, &names, &originals);
    plan_removals(plan, &originals, &shown);
    plan_strips(plan, &shown);
    return 0;
}

void plan_deinit(struct plan *plan)
{
    free(plan->items);
}

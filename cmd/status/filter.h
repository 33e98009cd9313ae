/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Which volumes `secretfs status` lists: those of a namespace, a pod or an object. */
#include "encoding/json.h"

/* NULL: does not matter. Strings are borrowed from the command line. */
struct status_filter {
    const char *namespace; /* of the pod; of an object, for a volume without a pod */
    const char *pod;       /* NAME or NAMESPACE/NAME */
    const char *object;    /* NAME, KIND/NAME or KIND/NAMESPACE/NAME; a kind in any case, or "cm" */
    const char *selector;  /* of the labels of the pod, where the node daemon knows them */
};

/* Whether it selects anything at all. */
static inline bool status_filter_is_set(const struct status_filter *filter)
{
    return filter->namespace != NULL || filter->pod != NULL || filter->object != NULL ||
           filter->selector != NULL;
}

/* Check the patterns' form. Return: 0; -EINVAL with @e. */
int status_filter_check(const struct status_filter *filter, struct error *e);

/* @volume: an item of status_request_all() */
bool status_filter_matches(const struct status_filter *filter, const cJSON *volume);

/* Whether an object of a volume is the one that the filter names; any if it names none. */
bool status_filter_matches_object(const struct status_filter *filter, const cJSON *object);

/* Remove the items that do not match. @list: as of status_request_all() */
void status_filter_apply(const struct status_filter *filter, cJSON *list);

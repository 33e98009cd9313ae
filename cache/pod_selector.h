/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Label selectors as `kubectl get -l` takes them: "tier in (a, b), canary=true, !legacy". Pure
 * functions. See label_selector.c.
 */
#include "base/error.h"

/*
 * Of a selector. A Deployment's or a Service's has a handful of requirements; each costs a look at
 * all labels of a pod, whose author may write 20,000.
 */
#define POD_SELECTOR_MAX_LEN          1024u
#define POD_SELECTOR_MAX_REQUIREMENTS 16u
#define POD_SELECTOR_MAX_VALUES       64u /* of one requirement */

/*
 * Return: 0; -EINVAL: invalid, or without a requirement, with @e; -E2BIG: more than a limit, with
 * @e.
 * Source: labels.Parse() of k8s.io/apimachinery without `<` and `>`, which are for labels of nodes;
 * an empty selector, which would select everything, is refused.
 */
int pod_selector_check(const char *selector, struct error *e);

/*
 * @selector: valid
 * @labels: pairs of key and value, each with a NUL behind it; an empty key ends them
 */
bool pod_selector_matches(const char *selector, const char *labels);

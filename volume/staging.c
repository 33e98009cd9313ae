/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     place  0          first                                     all
 *            |-----------|-----------------------------------------|
 *     delay  0           0 ----- grows with the place ----------> over
 *
 * Without `first` the delay grows from place 0 on. Without `over` those behind `first` wait until
 * the annotations change. A place is drawn for each content, so that no pod is always among the
 * first.
 *
 * With a label selector the pods that it selects are first, at any place, and the others
 * as without `first`. A pod whose labels are not known is one of the others: it is late rather than
 * early.
 */
#include "volume/staging.h"

#include "cache/annotations.h"
#include "cache/pod_selector.h"

/* FNV-1a over 64 bits. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
    const uint8_t *b = bytes;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ b[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Spreads what FNV-1a leaves in neighbouring values: the finalizer of MurmurHash3. */
static uint64_t mix(uint64_t hash)
{
    hash = (hash ^ hash >> 33) * UINT64_C(0xff51afd7ed558ccd);
    hash = (hash ^ hash >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return hash ^ hash >> 33;
}

/* The same on machines of each byte order and word size. */
static uint64_t hash_length(uint64_t hash, uint64_t len)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(len >> 8 * i);
    return hash_bytes(hash, bytes, sizeof(bytes));
}

uint64_t staging_place(const char *who, const struct object *object)
{
    uint64_t hash = hash_bytes(UINT64_C(0xcbf29ce484222325), who, strlen(who) + 1);

    for (size_t i = 0; i < object->n_entries; i++) {
        const struct object_entry *e = &object->entries[i];

        hash = hash_bytes(hash, e->key, strlen(e->key) + 1);
        hash = hash_length(hash, e->len);
        hash = hash_bytes(hash, e->bytes, e->len);
    }
    return mix(hash) % STAGING_PLACES;
}

static bool is_selected(const struct object_staging *staging, const char *labels)
{
    return staging->first_selector != NULL && labels != NULL &&
           pod_selector_matches(staging->first_selector, labels);
}

span_us staging_delay(const struct object_staging *staging, uint64_t place, const char *labels)
{
    uint64_t first = staging->has_first ? STAGING_PLACES / 100 * staging->first_percent : 0;

    assert(place < STAGING_PLACES);
    if (staging->is_paused || staging->invalid != NULL)
        return SPAN_FOREVER;
    if (place < first || (staging->has_first && staging->first_percent == 100) ||
        is_selected(staging, labels))
        return 0;
    if (staging->over == 0)
        return staging->has_first ? SPAN_FOREVER : 0;
    /* over is a week at most: 2^40 us */
    return (span_us)((double)staging->over * (double)(place - first) /
                     (double)(STAGING_PLACES - first));
}

static void explain_invalid(const struct object_staging *staging, struct error *e)
{
    struct error why = ERROR_INIT;

    if (staging->first_selector != NULL)
        pod_selector_check(staging->first_selector, &why);
    error_set(e, -EINVAL,
              "its annotation %s is invalid: expected \"true\" for " ANNOTATION_PAUSE
              ", a duration such as \"10m\" for " ANNOTATION_ROLLOUT_OVER
              ", a percentage such as \"10%%\" or a label selector such as \"canary=true\" "
              "for " ANNOTATION_ROLLOUT_FIRST "%s%s",
              staging->invalid, why.text[0] != '\0' ? "; as a label selector " : "", why.text);
}

void staging_explain(const struct object_staging *staging, const char *labels, struct error *e)
{
    if (staging->invalid != NULL)
        explain_invalid(staging, e);
    else if (staging->is_paused)
        error_set(e, -EBUSY, "paused by annotation " ANNOTATION_PAUSE);
    else if (staging->over != 0)
        error_set(e, -EBUSY,
                  "its turn comes within the time of annotation " ANNOTATION_ROLLOUT_OVER);
    else
        error_set(e, -EBUSY, "others are first by annotation " ANNOTATION_ROLLOUT_FIRST "%s",
                  staging->first_selector != NULL && labels == NULL
                      ? ", as no labels of a pod are known for this volume"
                      : "");
}

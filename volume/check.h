/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Checks of an object before it is shown: whether its values are what a volume's `check` says. A
 * value is never a part of a message.
 */
#include "cache/object.h"
#include "volume/spec.h"

/* Bits of volume_spec.checks. "tls" is holds_tls. */
enum volume_check {
    VOLUME_CHECK_NONEMPTY = 1 << 0, /* there is a value, and none is empty */
    VOLUME_CHECK_JSON = 1 << 1,     /* each value is one JSON document */
    VOLUME_CHECK_YAML = 1 << 2,     /* each value is YAML, of one or more documents */
    VOLUME_CHECK_PEM = 1 << 3,      /* each value has one PEM block or more, all of them whole */
};

/* Return: the bit of a word; 0: unknown. */
unsigned volume_check_of_word(const char *word);

/*
 * Check the values that a source shows: those of its items, or all.
 * @checks: bits; 0 accepts all
 * Return: 0; -EINVAL, the reason in @e names a key.
 */
int volume_check_object(unsigned checks, const struct volume_source *source,
                        const struct object *object, struct error *e);

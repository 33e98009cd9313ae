/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The words of a spec: what a command line and a document write in the same way. See spec_words.c.
 *
 * Thread: any; a spec is one thread's at a time.
 */
#include "volume/spec.h"

/* The words of the options below, for completion. NULL-terminated. */
extern const char *const volume_type_words[];
extern const char *const volume_tls_words[];
extern const char *const volume_updates_words[];
extern const char *const volume_revoked_words[];

/*
 * A Secret's type, in full or in short ("tls" for kubernetes.io/tls).
 * Return: 0, and the spec has it; -EINVAL with @e for an unknown word; -ENOMEM.
 */
int volume_type_parse(struct volume_spec *spec, const char *text, struct error *e);

/* "hold" or "report". Return: 0; -EINVAL with @e. */
int volume_tls_parse(struct volume_spec *spec, const char *text, struct error *e);

/* Words with commas between them: tls, nonempty, json, yaml, pem, command:NAME.
 * Return: 0; -EINVAL with @e; -ENOMEM. */
int volume_check_parse(struct volume_spec *spec, const char *text, struct error *e);

/* "in-place" or "generations". Return: 0; -EINVAL with @e. */
int volume_updates_parse(struct volume_spec *spec, const char *text, struct error *e);

/* "keep" or "remove". Return: 0; -EINVAL with @e. */
int volume_revoked_parse(struct volume_spec *spec, const char *text, struct error *e);

/* "condition" or "none", in a volume of a pod only. Return: 0; -EINVAL with @e. */
int volume_report_parse(struct volume_spec *spec, const char *text, struct error *e);

/* Return: 0; -EINVAL with @e. */
int volume_id_parse(const char *text, unsigned *ret_id, struct error *e);

/* Octal with a leading 0 or 0o, else decimal, as in YAML. Return: 0; -EINVAL with @e. */
int volume_mode_parse(const char *text, mode_t *ret_mode, struct error *e);
/* What to do about an invalid mode, for messages. */
#define VOLUME_MODE_HINT "use 0 to 0777 in octal, with a leading 0, or 0 to 511 in decimal"

/* Whether a file may have that path (payload_path_fault()). Return: 0; -EINVAL with @e. */
int volume_path_check(const char *path, struct error *e);

/* volume_source_add_item() with a message. Return: 0; -E2BIG or -ENOMEM with @e. */
int volume_item_add(struct volume_source *source, const struct volume_item *item, struct error *e);

/*
 * "KEY=PATH", "KEY=PATH:MODE". The text after the last colon is a mode if it begins with a digit.
 * Return: 0, and @source has one more item; -EINVAL with @e; -E2BIG; -ENOMEM.
 */
int volume_item_parse(struct volume_source *source, const char *text, struct error *e);

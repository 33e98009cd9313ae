/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A word of a fixed list, as an option, a field or a command takes it. The lists end with NULL, and
 * are those that completion offers.
 */
#include "base/error.h"
#include "base/nearest.h"

/*
 * Find @word in @known.
 * @what: what the word is for, in the message: "--log-level", "output format"
 * @known: NULL-terminated; all together at most a line
 * Thread: any.
 * Return: its place in the list; -EINVAL with @e: `invalid WHAT "WORD", expected one of: A, B; did
 * you mean "A"?`, the question only if a known word is near.
 */
int words_find(const char *const known[], const char *what, const char *word, struct error *e);

/* The same of the first @len bytes of @word. */
int words_find_part(const char *const known[], const char *what, const char *word, size_t len,
                    struct error *e);

/*
 * Ask about the word that is near: `; did you mean "BEFOREX"?` behind the text of @e, if there is
 * one.
 * @before: what stands in front of each known word, such as "--"; "" for nothing
 * Return: @code.
 */
int words_hint(const struct nearest *nearest, const char *before, struct error *e, int code);

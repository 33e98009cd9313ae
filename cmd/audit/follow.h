/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Copies a file of the audit to standard output, also while it grows and is rotated. */
#include "base/error.h"

/*
 * Copy the file as it is, or, with @is_following, what is added to it from now on: without an end,
 * also from the files that take its name.
 * Return: 0, also when standard output was closed; -errno with @e.
 */
int audit_follow(const char *path, bool is_following, struct error *e);

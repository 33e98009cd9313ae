/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The names of the objects of a source, for completion. See complete_names.c. */
#include "base/name_list.h"
#include "cmd/shared/source_options.h"

/*
 * Call @offer for each name. Without a source, an answer in time or the right to list there is
 * none. Thread: main, without a loop of its own.
 */
void complete_names(const struct source_options *from, enum object_kind kind, name_fn *offer,
                    void *userdata);

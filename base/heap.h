/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The process's heap, which forgets: see heap.c. Nothing to call: linking it in is what it takes.
 */
#include <stdbool.h>

/* Whether freed memory is wiped in this build: not under a sanitizer, which brings its own heap. */
bool heap_wipes(void);

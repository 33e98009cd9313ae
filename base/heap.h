/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The process's heap, which wipes what is freed: see heap.c. Linking it in turns it on. */
#include <stdbool.h>

/* Whether this build wipes freed memory: not under a sanitizer, which has its own heap. */
bool heap_wipes(void);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* How large a new state is. Pure. */
#include <stdint.h>

/*
 * @needed:   bytes of what it records at once
 * @reserved: bytes of updates that are about to come
 * @max:      the limit of a state
 * Return: its size; 0: even what it records at once exceeds the limit.
 */
uint64_t state_size_choose(uint64_t needed, uint64_t reserved, uint64_t max);

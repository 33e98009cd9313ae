/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Running secretfs-keeper(8). */
#include "base/error.h"

/*
 * Become the keeper that lies beside this program.
 * @argv: for the keeper, ended by NULL; argv[0] is replaced
 * Return: on failure only: -errno with @e.
 */
int keeper_program_exec(char *argv[], struct error *e);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What `secretfs status` does differently on a terminal: colours, and a table that is redrawn. */
#include "base/buf.h"

/*
 * Whether to colour what is written to @fd: a terminal that is not "dumb", without NO_COLOR.
 * Source: no-color.org: set and not empty means no colours.
 */
bool screen_takes_colours(int fd);

/* Return: the terminal's number of lines; 0 if @fd is no terminal, or does not know. */
unsigned screen_lines(int fd);

/*
 * Append what replaces the terminal's content with @table, without flicker: each line is
 * overwritten and its rest erased, then what is below.
 * @table:   complete lines
 * @n_lines: of the terminal; lines of the table that have no place are counted in the last line; 0:
 *           unlimited
 * Return: 0; -ENOMEM; -EFBIG at the buffer's limit.
 */
int screen_redraw(const char *table, unsigned n_lines, struct buf *text);

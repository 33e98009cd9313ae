/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Run a program found on PATH with nothing blocked, and wait for it.
 * @argv: NULL-terminated
 * Return: its exit status; -EINTR if a signal ended it; -errno when it could not be started.
 */
int process_run(const char *const argv[]);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Standard input, output and error of a process, or of a thread with descriptors of its own, that
 * goes on in the background. A reader of a terminal or a pipe waits until all copies of it are
 * closed; no process waits for a log file, so standard error stays open if it is one.
 */
#include <stdbool.h>

/* Whether standard error is a file. Thread: any. */
bool standard_streams_have_log_file(void);

/*
 * Put /dev/null in the place of the standard streams, but for a log file. Without /dev/null they
 * stay as they are. Thread: any; it concerns the caller's table of descriptors.
 */
void standard_streams_release(void);

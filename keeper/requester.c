/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/requester.h"

#include <stdio.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/util.h"

#define ANSWER_SIZE 256

/* send(2) fails on what is no socket, so that no other file is ever written to. */
void keeper_requester_answer(int *fd, const char *reason, const char *outcome)
{
    char text[ANSWER_SIZE];
    int len;

    if (*fd < 0)
        return;
    len = snprintf(text, sizeof(text), "%s%s%s\n", reason != NULL ? reason : "",
                   reason != NULL ? "\n" : "", outcome);
    assert(len > 0 && len < (int)sizeof(text));
    (void)!send(*fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    *fd = fd_close(*fd);
}

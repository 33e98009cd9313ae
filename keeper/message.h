/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a process says to its service manager: lines of KEY=VALUE.
 * Source: sd_notify(3), systemd.service(5); names of descriptors: sd_listen_fds(3).
 */
#include <sys/types.h>

#include "base/clock.h"

#define KEEPER_MESSAGE_MAX 4096 /* bytes; what systemd takes is as long: PIPE_BUF */
#define KEEPER_NAME_MAX    255  /* as systemd allows */

struct keeper_message {
    bool is_ready, is_stopping;
    bool is_alive; /* WATCHDOG=1 */
    bool is_hung;  /* WATCHDOG=trigger: it asks for its own end */
    bool stores, removes, is_barrier;
    bool hands_over; /* HANDOVER=1: another process of this user requests it */
    bool is_polled;  /* without FDPOLL=0 */
    bool has_name;
    char name[KEEPER_NAME_MAX + 1];
    pid_t main_pid;          /* 0: not in the message */
    span_us watchdog;        /* 0: not in the message */
    const char *invalid_key; /* with an invalid value, and so ignored; NULL: none */
    /* lines for the keeper's own service manager, one after the other; "": none */
    char upward[KEEPER_MESSAGE_MAX + 1];
};

/*
 * Parse a message. Unknown keys are ignored. Of a key that is there twice the first line counts for
 * names, as with systemd.
 * @text: @len bytes, without a NUL at the end
 * Return: 0; -EINVAL: a NUL in it, or BARRIER=1 or HANDOVER=1 beside other lines; -EMSGSIZE: longer
 * than KEEPER_MESSAGE_MAX.
 */
int keeper_message_parse(const char *text, size_t len, struct keeper_message *ret_message);

bool keeper_name_is_valid(const char *name);

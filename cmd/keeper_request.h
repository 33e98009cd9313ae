/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Requests a hand-over from a keeper, and waits for the outcome. Source: secretfs-keeper(8). */
#include "base/buf.h"
#include "base/error.h"

/* The limit of what the check of the next program prints; a few lines are usual. */
#define KEEPER_REQUEST_MESSAGES_MAX (64u << 10)

enum keeper_outcome {
    KEEPER_OUTCOME_DONE,    /* the next process is ready */
    KEEPER_OUTCOME_FAILED,  /* the running process goes on; the messages say why */
    KEEPER_OUTCOME_UNKNOWN, /* the keeper has closed the connection without one */
};

/* Find the outcome at the end of what a keeper has sent, and cut it off: messages are left. */
enum keeper_outcome keeper_outcome_cut(struct buf *sent);

/* Return: whether a notification socket is that of secretfs-keeper. */
bool keeper_request_is_keeper(const char *socket_path);

/*
 * Request a hand-over.
 * @socket_path: NOTIFY_SOCKET of the process that another one is to follow
 * @messages: what the check of the next program has printed is appended
 * Return: enum keeper_outcome; -ENOENT: this mount namespace has no such socket; -ECONNREFUSED: the
 * keeper has ended; -EPERM: the socket is another user's; -ETIMEDOUT; -errno; with @e.
 */
int keeper_request_hand_over(const char *socket_path, struct buf *messages, struct error *e);

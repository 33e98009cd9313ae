/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A socket for orders of the administrator: a client sends one line with a JSON object, and gets
 * one as the answer. Only root can connect: the socket has mode 0600, in a directory that only its
 * owner can enter. See control_socket.c.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "encoding/json.h"

#define CONTROL_REQUEST_MAX 4096u      /* an order names one object */
#define CONTROL_ANSWER_MAX  (4u << 20) /* a line for each volume of a node */

struct control_socket;

/*
 * Carry an order out.
 * @answer: an empty object
 * Return: 0; -errno: the client gets @e as its answer.
 */
typedef int control_handle_fn(void *userdata, const cJSON *request, cJSON *answer, struct error *e);

/*
 * Listen at a path; what an earlier process left there is removed.
 * Return: 0, *ret_socket is the caller's; -ENAMETOOLONG; -errno; with @e.
 */
int control_socket_new(sd_event *event, const char *path, control_handle_fn *handle, void *userdata,
                       struct control_socket **ret_socket, struct error *e);
/* Return: NULL. */
struct control_socket *control_socket_free(struct control_socket *socket);
DEFINE_CLEANUP(struct control_socket *, control_socket_free)

/*
 * Send an order, and wait for the answer.
 * @timeout_ms: for each step
 * Return: 0, *ret_answer is the caller's; -EREMOTEIO: the order was not carried out; -errno; with
 * @e.
 */
int control_request(const char *path, const cJSON *request, unsigned timeout_ms, cJSON **ret_answer,
                    struct error *e);

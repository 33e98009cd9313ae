/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The socket by which the kubelet finds the plug-in. See registration.c.
 *
 * Thread: the event loop's.
 */
#include "grpc/server.h"

struct registration;

struct registration_options {
    const char *path; /* of the registration socket */
    const char *driver_name;
    const char *endpoint;             /* of the CSI socket, as the kubelet sees it */
    const struct grpc_limits *limits; /* NULL: the default */
    /* is_on_request; its tag differs if what the kubelet has learned at the socket does. NULL: the
     * socket ends with the process */
    const struct kept_socket *keep;
    /* The kubelet has accepted the plug-in, or refused it with the reason @error, else "". */
    void (*status_changed)(void *userdata, bool is_registered, const char *error);
    void (*answered)(void *userdata, const char *method, enum grpc_code code, span_us took);
};

/*
 * Create the socket; the CSI socket has to exist already.
 * @options: copied; its strings are borrowed and outlive the registration
 * Return: 0, *ret_registration is the caller's; grpc_server_new()'s errors with @e.
 */
int registration_new(sd_event *event, const struct registration_options *options, void *userdata,
                     struct registration **ret_registration, struct error *e);
struct registration *registration_free(struct registration *registration);
DEFINE_CLEANUP(struct registration *, registration_free)

/* Whether the kubelet has accepted the plug-in, perhaps as that of an earlier process. */
bool registration_is_accepted(const struct registration *registration);

/* Return: the name of a method, as answered() is called with; NULL past the last. */
const char *registration_method_name(size_t i);

/* Return: the wait before the next attempt after @n_refusals in a row, at least one. */
span_us registration_back_off(unsigned n_refusals);

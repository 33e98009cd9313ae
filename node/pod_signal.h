/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Sends a signal to the containers of a pod that have a volume mounted. See pod_signal.c.
 *
 * Thread: any; the daemon has one of its own for it, see signaller.h.
 */
#include <limits.h>
#include <sys/types.h>

#include "base/error.h"
#include "consumers/identity.h"
#include "fetcher/api/pod.h"

#define POD_SIGNAL_CONTAINER_SIZE 64u /* a DNS label */

/* What is sent, and to whom. */
struct pod_signal {
    char pod_uid[POD_UID_MAX + 1];
    dev_t device;                 /* of the volume's file system */
    char directory[NAME_MAX + 1]; /* the volume's in it */
    int signal;
    char container[POD_SIGNAL_CONTAINER_SIZE]; /* its name in the pod; "": each */
    char process[IDENTITY_COMM_SIZE];          /* "": the first of the container */
};

/* The kernel's file systems and calls; a test in their place. */
struct pod_signal_system {
    /*
     * Read a file from its beginning, @size - 1 bytes at most.
     * Return: their number, with a NUL behind them; -errno.
     */
    ssize_t (*read)(void *userdata, const char *path, char *text, size_t size);
    /*
     * Visit the directories in a directory.
     * @visit: @is_roots: it belongs to root, so only root can create one in it
     * Return: 0 or -errno.
     */
    int (*list)(void *userdata, const char *path,
                void (*visit)(void *userdata, const char *name, bool is_roots),
                void *visit_userdata);
    /* Return: a descriptor as of pidfd_open(2), the caller's; -errno. */
    int (*open_process)(void *userdata, pid_t pid);
    /* @signal: 0: none; Return: 0; -ESRCH: it was reaped; -errno. */
    int (*send)(void *userdata, int process, int signal);
    void *userdata;
};

/* How metrics count it. */
enum pod_signal_outcome {
    POD_SIGNAL_SENT,
    POD_SIGNAL_FAILED,
    POD_SIGNAL_NONE, /* no process was found */
    POD_SIGNAL_OUTCOMES,
};

/* "sent". Return: a constant. */
const char *pod_signal_outcome_name(enum pod_signal_outcome outcome);

struct pod_signal_result {
    unsigned n_sent;   /* processes */
    unsigned n_failed; /* the same; they were found, and the kernel refused */
    struct error e;    /* why one failed, or why none was found; else empty */
};

/* Find the processes, and send the signal to each of them once. */
void pod_signal_send(const struct pod_signal *signal, const struct pod_signal_system *system,
                     struct pod_signal_result *ret_result);

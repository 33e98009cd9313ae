/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Checks of the host: FUSE, kernel, sockets, mounts, limits, processes. Collecting reads them;
 * evaluating is a pure function.
 */
#include <sys/types.h>

#include "cmd/doctor/options.h"
#include "cmd/doctor/report.h"
#include "cmd/doctor/volumes.h"

/* Ints are 0, or the -errno of the attempt that the comment names. */
struct doctor_host {
    bool is_root;
    int fuse_device;     /* open /dev/fuse */
    int fuse_mount;      /* create a FUSE mount that is attached to no path */
    char kernel[72];     /* uname -r */
    uint64_t fuse_offer; /* flags of the kernel's INIT, flags2 as the upper half; 0: unknown */
    int fusermount;      /* find fusermount3 on PATH */

    int kubelet_root; /* stat the directory */
    bool kubelet_root_is_shared;
    int endpoint;     /* connect to the socket */
    int registration; /* connect to the socket */

    int run_dir; /* lstat the directory */
    uid_t run_dir_owner;
    mode_t run_dir_mode;

    int64_t locked_limit_bytes; /* of the node daemon if it runs, else our own; -1: unlimited */
    size_t n_stale;             /* mounts of dead processes */
    char stale[256];            /* one of them */
    struct doctor_volumes volumes[DOCTOR_VOLUME_STATES];
    bool node_runs;
    bool node_is_registered;
    char node_registration_error[256];
};

/* Look at the machine; what cannot be found out stays as it is in a zeroed host. */
void doctor_host_collect(const struct doctor_options *options, struct doctor_host *ret_host);
/* Report what is wrong with it. A pure function of @host, but for its volumes. */
void doctor_host_evaluate(const struct doctor_host *host, const struct doctor_options *options,
                          struct doctor_report *report);

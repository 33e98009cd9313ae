/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a doctor looks at on the host: devices, kernel, sockets, mounts, limits. */
#include <sys/types.h>

#include "cmd/doctor/options.h"
#include "cmd/doctor/report.h"

/* How something was found: 0 if it is well, -errno of looking at it otherwise. */
struct doctor_host {
    bool is_root;
    int fuse_device;     /* opening /dev/fuse */
    int fuse_mount;      /* making a mount of it that is attached nowhere */
    char kernel[72];     /* uname -r */
    uint64_t fuse_offer; /* flags of the kernel's INIT, flags2 above them; 0: not known */
    int fusermount;      /* finding fusermount3 */

    int kubelet_root;
    bool kubelet_root_is_shared;
    int endpoint;     /* connecting to it */
    int registration; /* the same */

    int run_dir;
    uid_t run_dir_owner;
    mode_t run_dir_mode;

    int64_t locked_limit_bytes; /* that may be locked, by the node daemon if it runs; -1: any */
    size_t n_stale;             /* mounts whose program is gone */
    char stale[256];            /* one of them */
    bool node_runs;
    bool node_is_registered;
    char node_registration_error[256];
};

void doctor_host_look(const struct doctor_options *options, struct doctor_host *ret_host);
void doctor_host_judge(const struct doctor_host *host, const struct doctor_options *options,
                       struct doctor_report *report);

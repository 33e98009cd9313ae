/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/request_counts.h"

#include <linux/fuse.h>

#include "base/util.h"

static const char *const opcode_names[] = {
    [FUSE_LOOKUP] = "lookup",
    [FUSE_FORGET] = "forget",
    [FUSE_GETATTR] = "getattr",
    [FUSE_SETATTR] = "setattr",
    [FUSE_READLINK] = "readlink",
    [FUSE_SYMLINK] = "symlink",
    [FUSE_MKNOD] = "mknod",
    [FUSE_MKDIR] = "mkdir",
    [FUSE_UNLINK] = "unlink",
    [FUSE_RMDIR] = "rmdir",
    [FUSE_RENAME] = "rename",
    [FUSE_LINK] = "link",
    [FUSE_OPEN] = "open",
    [FUSE_READ] = "read",
    [FUSE_WRITE] = "write",
    [FUSE_STATFS] = "statfs",
    [FUSE_RELEASE] = "release",
    [FUSE_FSYNC] = "fsync",
    [FUSE_SETXATTR] = "setxattr",
    [FUSE_GETXATTR] = "getxattr",
    [FUSE_LISTXATTR] = "listxattr",
    [FUSE_REMOVEXATTR] = "removexattr",
    [FUSE_FLUSH] = "flush",
    [FUSE_INIT] = "init",
    [FUSE_OPENDIR] = "opendir",
    [FUSE_READDIR] = "readdir",
    [FUSE_RELEASEDIR] = "releasedir",
    [FUSE_ACCESS] = "access",
    [FUSE_CREATE] = "create",
    [FUSE_INTERRUPT] = "interrupt",
    [FUSE_DESTROY] = "destroy",
    [FUSE_BATCH_FORGET] = "batch_forget",
    [FUSE_READDIRPLUS] = "readdirplus",
    [FUSE_RENAME2] = "rename2",
    [FUSE_IOCTL] = "ioctl", /* the kernel does not remember ENOSYS here: Python's open() asks */
    [FUSE_POLL] = "poll",
    [FUSE_FALLOCATE] = "fallocate",
    [FUSE_LSEEK] = "lseek",
    [FUSE_COPY_FILE_RANGE] = "copy_file_range",
    [REQUEST_KINDS - 1] = "other",
};

static size_t kind_of(uint32_t opcode)
{
    return opcode < REQUEST_KINDS && opcode_names[opcode] != NULL ? opcode : REQUEST_KINDS - 1;
}

const char *request_kind_name(uint32_t opcode)
{
    return opcode_names[kind_of(opcode)];
}

void request_counters_count(struct request_counters *counters, const void *request, size_t len)
{
    const struct fuse_in_header *header = request;
    size_t kind = len >= sizeof(*header) ? kind_of(header->opcode) : REQUEST_KINDS - 1;

    atomic_fetch_add_explicit(&counters->n[kind], 1, memory_order_relaxed);
}

void request_counts_add(struct request_counts *counts, const struct request_counters *counters)
{
    for (size_t i = 0; i < REQUEST_KINDS; i++)
        counts->n[i] += atomic_load_explicit(&counters->n[i], memory_order_relaxed);
}

void request_counts_visit(const struct request_counts *counts, request_counts_visit_fn *visit,
                          void *userdata)
{
    for (size_t i = 0; i < REQUEST_KINDS; i++)
        if (counts->n[i] > 0)
            visit(userdata, opcode_names[i], counts->n[i]);
}

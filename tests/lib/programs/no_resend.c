/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For LD_PRELOAD: a kernel before Linux 6.9, as far as FUSE says what it can do. The flag
 * FUSE_HAS_RESEND is taken out of the INIT request that a program reads.
 */
#include <dlfcn.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define HAS_RESEND (1u << 7) /* in flags2 */

static void strip(void *request, size_t len)
{
    struct fuse_in_header header;
    struct fuse_init_in in;

    if (len < sizeof(header) + sizeof(in))
        return;
    memcpy(&header, request, sizeof(header));
    memcpy(&in, (char *)request + sizeof(header), sizeof(in));
    if (header.opcode != FUSE_INIT || header.len != len || header.nodeid != 0 || in.major != 7)
        return;
    in.flags2 &= ~HAS_RESEND;
    memcpy((char *)request + sizeof(header), &in, sizeof(in));
}

ssize_t read(int fd, void *buf, size_t len)
{
    static ssize_t (*next)(int, void *, size_t);
    ssize_t n;

    if (next == NULL)
        next = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    n = next(fd, buf, len);
    if (n > 0)
        strip(buf, (size_t)n);
    return n;
}

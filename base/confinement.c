/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capabilities. The process keeps what mounting needs, that of a node CAP_KILL, and one with
 * commands of the administrator what running them as other users needs, in the bounding set as
 * well. Of its threads four kinds do: the privileged one (privileged.c), publishers, which mount,
 * the signaller, which signals, and runners (command.c). A thread that dropped a capability cannot
 * get it back, nor can a program that it runs, as no_new_privs is set. CAP_IPC_LOCK is the
 * exception: where the limit of locked memory is finite, memory that is mapped after mlockall(2)
 * counts against it, and without the capability malloc() would fail at the limit.
 *
 * System calls. A filter denies with EPERM; it kills nothing, as a credential plug-in inherits it.
 * A filter of a thread is added to that of the process; the kernel takes the strictest result.
 * clone3(2) has its flags in memory, where a filter cannot read them: it fails with ENOSYS, and
 * glibc calls clone(2) instead, of which only namespaces are denied.
 *
 * What a thread's filter is worth: threads share memory, so code that runs in one can change what
 * another does. The filter bounds what a confused thread does in its own name: the kernel checks
 * the caller of each call, so a path or a descriptor that the loop or a worker is led to use opens
 * nothing that needs a capability. The process's filter has no such limit.
 *
 * Order. no_new_privs comes first, since an ordinary user may install a filter only after it.
 * Capabilities go last: PR_CAPBSET_DROP needs CAP_SETPCAP.
 */
#include "base/confinement.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

#define CAP(name) (1ull << CAP_##name)

/* Each has its reason in docs/security.md. */
#define MOUNTING_CAPABILITIES                                                                      \
    (CAP(SYS_ADMIN) | CAP(DAC_READ_SEARCH) | CAP(DAC_OVERRIDE) | CAP(CHOWN) | CAP(FOWNER) |        \
     CAP(FSETID))
#define NODE_CAPABILITIES   (MOUNTING_CAPABILITIES | CAP(KILL))
#define RUNNER_CAPABILITIES (CAP(SETUID) | CAP(SETGID) | CAP(KILL))

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#define CLONE_NAMESPACES                                                                           \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)

/* The leak checker of a sanitizer attaches to the process at its end. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif

#if defined(__x86_64__) && defined(__LP64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && defined(__LP64__) && !defined(__AARCH64EB__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define NATIVE_ARCH AUDIT_ARCH_RISCV64
#endif

/* ---- system calls */

#define DENY(name) SYS_##name

/* Of the process and of every program that it runs: no part of it needs them. */
static const int denied_to_process[] = {
    /* other processes, their roots and their memory */
    DENY(setns),
    DENY(chroot),
    DENY(pivot_root),
#ifndef HAS_SANITIZER
    DENY(ptrace),
#endif
    DENY(process_vm_readv),
    DENY(process_vm_writev),
    DENY(kcmp),
#ifdef SYS_pidfd_getfd
    DENY(pidfd_getfd),
#endif
#ifdef SYS_process_madvise
    DENY(process_madvise),
#endif
    /* whose processor time they take; the slice was chosen before (base/thread.h) */
    DENY(sched_setattr),
    DENY(sched_setscheduler),
    DENY(sched_setparam),
    /* files by handle, around all directories */
    DENY(open_by_handle_at),
    /* the kernel's code, and large interfaces to it */
    DENY(init_module),
    DENY(finit_module),
    DENY(delete_module),
    DENY(kexec_load),
#ifdef SYS_kexec_file_load
    DENY(kexec_file_load),
#endif
    DENY(bpf),
    DENY(perf_event_open),
    DENY(userfaultfd),
#ifdef SYS_io_uring_setup
    DENY(io_uring_setup),
#endif
    /* the machine */
    DENY(reboot),
    DENY(swapon),
    DENY(swapoff),
    DENY(acct),
    DENY(quotactl),
    DENY(syslog),
    DENY(sethostname),
    DENY(setdomainname),
    DENY(settimeofday),
    DENY(clock_settime),
    DENY(clock_adjtime),
    DENY(adjtimex),
#ifdef SYS_iopl
    DENY(iopl),
    DENY(ioperm),
#endif
};

/* They mount. */
static const int mounting[] = {
    DENY(mount),         DENY(umount2),  DENY(open_tree), DENY(move_mount),
    DENY(fsopen),        DENY(fsconfig), DENY(fsmount),   DENY(fspick),
#ifdef SYS_mount_setattr
    DENY(mount_setattr),
#endif
};

/* They run a program, connect, or change whose rights count. */
static const int reaching_out[] = {
    DENY(execve),   DENY(execveat), DENY(connect),   DENY(bind),      DENY(listen),
#ifdef SYS_accept
    DENY(accept),
#endif
    DENY(accept4),
#ifdef SYS_fork
    DENY(fork),     DENY(vfork),
#endif
    DENY(setuid),   DENY(setgid),   DENY(setgroups), DENY(setresuid), DENY(setresgid),
    DENY(setreuid), DENY(setregid), DENY(setfsuid),  DENY(setfsgid),
};

/* They make a socket, without which there is no network. */
static const int making_sockets[] = {DENY(socket)};

/* They leave a process group. */
static const int leaving_group[] = {DENY(setsid), DENY(setpgid)};

/* They start a thread, or give this one a table of its own. */
static const int starting_threads[] = {DENY(clone), DENY(unshare)};

/* They change a file or a name, or end a process. */
static const int changing_files[] = {
#ifdef SYS_chown
    DENY(chown),     DENY(lchown),   DENY(chmod),    DENY(rename),    DENY(mkdir),
    DENY(rmdir),     DENY(link),     DENY(unlink),   DENY(symlink),   DENY(mknod),
#endif
    DENY(fchown),    DENY(fchownat), DENY(fchmod),   DENY(fchmodat),
#ifdef SYS_renameat
    DENY(renameat),
#endif
    DENY(renameat2), DENY(mkdirat),  DENY(linkat),   DENY(unlinkat),  DENY(symlinkat),
    DENY(mknodat),   DENY(truncate), DENY(setxattr), DENY(lsetxattr), DENY(fsetxattr),
    DENY(fchdir),    DENY(chdir),    DENY(kill),     DENY(tkill),     DENY(capset),
};

/* ---- filters */

#define INSTRUCTIONS_MAX 512 /* two for each system call of all tables, and some for arguments */
#define RETURN_ERROR(e)  (SECCOMP_RET_ERRNO | (e))

struct filter {
    struct sock_filter instructions[INSTRUCTIONS_MAX];
    unsigned short n;
};

static void add(struct filter *f, struct sock_filter instruction)
{
    assert(f->n < INSTRUCTIONS_MAX);
    f->instructions[f->n++] = instruction;
}

static void load(struct filter *f, size_t offset)
{
    add(f, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* Fail with @error if the loaded word equals @value. */
static void fail_if_equal(struct filter *f, uint32_t value, int error)
{
    add(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
    add(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, RETURN_ERROR((uint32_t)error)));
}

static void deny_all(struct filter *f, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fail_if_equal(f, (uint32_t)calls[i], EPERM);
}

/* Deny @call if its first argument has a bit of @mask. The number stays loaded for what follows. */
static void deny_flags(struct filter *f, int call, uint32_t mask)
{
    add(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 4));
    load(f, offsetof(struct seccomp_data, args)); /* its low half: the machine is little-endian */
    add(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, mask, 0, 1));
    add(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, RETURN_ERROR(EPERM)));
    add(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

/* Deny calls of another architecture, whose numbers mean something else. */
static void filter_begin(struct filter *f)
{
    f->n = 0;
#ifdef NATIVE_ARCH
    load(f, offsetof(struct seccomp_data, arch));
    add(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0));
    add(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, RETURN_ERROR(EPERM)));
    load(f, offsetof(struct seccomp_data, nr));
#ifdef __X32_SYSCALL_BIT
    add(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, __X32_SYSCALL_BIT, 0, 1));
    add(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, RETURN_ERROR(EPERM)));
#endif
#endif
}

/* Return: 0; -EOPNOTSUPP on an architecture without a filter; -errno. */
static int filter_install(struct filter *f)
{
    const struct sock_fprog program = {.len = f->n + 1, .filter = f->instructions};

    add(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
#ifndef NATIVE_ARCH
    return -EOPNOTSUPP;
#endif
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? negative_errno() : 0;
}

/* What a thread has, besides what is denied to the process. */
struct role {
    uint64_t capabilities; /* of those that the process has */
    bool mounts;
    bool reaches_out;
    bool starts_threads;
    bool changes_files;
    bool stays_in_group;
    bool lacks_sockets;
    /* Of an ordinary user: set-user-ID programs that it runs gain privileges, so it has neither
     * no_new_privs nor a filter. */
    bool gains_privileges;
};

static const struct role whole_process = {
    .mounts = true, .reaches_out = true, .starts_threads = true, .changes_files = true};

static const struct role roles[] = {
    [CONFINEMENT_LOOP] = {.reaches_out = true, .starts_threads = true, .changes_files = true},
    [CONFINEMENT_PLUGIN] = {.reaches_out = true,
                            .starts_threads = true,
                            .changes_files = true,
                            .gains_privileges = true},
    [CONFINEMENT_PRIVILEGED] = {.capabilities = NODE_CAPABILITIES,
                                .mounts = true,
                                .starts_threads = true,
                                .changes_files = true,
                                .gains_privileges = true},
    [CONFINEMENT_PUBLISHER] = {.capabilities = MOUNTING_CAPABILITIES,
                               .mounts = true,
                               .changes_files = true},
    [CONFINEMENT_SIGNALLER] = {.capabilities = CAP(KILL)},
    [CONFINEMENT_RUNNER] = {.capabilities = RUNNER_CAPABILITIES,
                            .reaches_out = true,
                            .starts_threads = true,
                            .changes_files = true},
    [CONFINEMENT_GUARD] = {.capabilities = CAP(KILL), .changes_files = true},
    [CONFINEMENT_COMMAND] = {.reaches_out = true,
                             .starts_threads = true,
                             .changes_files = true,
                             .stays_in_group = true},
    [CONFINEMENT_CHECK] = {.reaches_out = true,
                           .starts_threads = true,
                           .changes_files = true,
                           .stays_in_group = true,
                           .lacks_sockets = true},
    [CONFINEMENT_WORKER] = {.mounts = false},
};

static int install_filter(const struct role *role)
{
    struct filter f;

    filter_begin(&f);
    deny_all(&f, denied_to_process, ELEMENTS_OF(denied_to_process));
#ifdef SYS_clone3
    fail_if_equal(&f, SYS_clone3, ENOSYS);
#endif
    if (!role->mounts)
        deny_all(&f, mounting, ELEMENTS_OF(mounting));
    if (!role->reaches_out)
        deny_all(&f, reaching_out, ELEMENTS_OF(reaching_out));
    if (!role->starts_threads)
        deny_all(&f, starting_threads, ELEMENTS_OF(starting_threads));
    if (!role->changes_files)
        deny_all(&f, changing_files, ELEMENTS_OF(changing_files));
    if (role->stays_in_group)
        deny_all(&f, leaving_group, ELEMENTS_OF(leaving_group));
    if (role->lacks_sockets)
        deny_all(&f, making_sockets, ELEMENTS_OF(making_sockets));
    deny_flags(&f, SYS_clone, CLONE_NAMESPACES);
    deny_flags(&f, SYS_unshare, CLONE_NAMESPACES | CLONE_NEWTIME);
    return filter_install(&f);
}

/* ---- capabilities */

static uint64_t memory_capabilities(void)
{
    struct rlimit limit;
    bool is_unlimited = getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY;

    return is_unlimited ? 0 : CAP(IPC_LOCK);
}

/* Drop all but @keep from the bounding set. A service manager may have done it before. */
static int drop_bounding(uint64_t keep)
{
    int r = 0;

    for (unsigned long each = 0; each < 64 && prctl(PR_CAPBSET_READ, each) >= 0; each++)
        if ((keep & 1ull << each) == 0 && prctl(PR_CAPBSET_READ, each) == 1 &&
            prctl(PR_CAPBSET_DROP, each) < 0)
            r = negative_errno();
    return r;
}

/* Of the calling thread. Return: 0, also if it had no others; -errno. */
static int keep_capabilities(uint64_t keep)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    uint32_t parts[2] = {(uint32_t)keep, (uint32_t)(keep >> 32)};

    if (syscall(SYS_capget, &header, data) < 0)
        return negative_errno();
    for (size_t i = 0; i < ELEMENTS_OF(data); i++) {
        data[i].permitted &= parts[i];
        data[i].effective &= parts[i];
        data[i].inheritable = 0;
    }
    return syscall(SYS_capset, &header, data) < 0 ? negative_errno() : 0;
}

static uint64_t permitted_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};

    syscall(SYS_capget, &header, data);
    return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

/* ---- what callers use */

int confinement_check_commands(struct error *e)
{
    if (geteuid() != 0 || (~permitted_capabilities() & RUNNER_CAPABILITIES) == 0)
        return 0;
    return error_set(e, -EPERM,
                     "commands of the administrator need CAP_SETUID, CAP_SETGID and CAP_KILL, "
                     "which this process lacks: install the example commands.conf as a drop-in of "
                     "the systemd unit, or add them to the container");
}

int confinement_restrict_process(unsigned program, struct error *e)
{
    uint64_t keep =
        MOUNTING_CAPABILITIES | ((program & CONFINEMENT_NODE) != 0 ? NODE_CAPABILITIES : 0) |
        ((program & CONFINEMENT_COMMANDS) != 0 ? RUNNER_CAPABILITIES : 0) | memory_capabilities();
    int r, bounding;

    if (geteuid() != 0)
        return 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set_errno(e, negative_errno(), "cannot set no_new_privs");
    r = install_filter(&whole_process);
    if (r < 0)
        error_set_errno(e, r, "cannot install the filter of system calls");
    bounding = drop_bounding(keep);
    if (bounding < 0)
        r = error_set_errno(e, bounding, "cannot drop capabilities from the bounding set");
    bounding = keep_capabilities(keep);
    if (bounding < 0)
        r = error_set_errno(e, bounding, "cannot drop capabilities");
    return r;
}

void confinement_restrict_thread(enum confinement_role role)
{
    const struct role *has = &roles[role];
    /* before capset(2) is denied */
    int r = keep_capabilities(has->capabilities | memory_capabilities());

    if (r < 0)
        log_debug("cannot drop capabilities of a thread", "error", strerror(-r));
    if (has->gains_privileges && geteuid() != 0)
        return;
    r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? negative_errno() : install_filter(has);
    if (r < 0)
        log_debug("cannot install a thread's filter of system calls", "error", strerror(-r));
}

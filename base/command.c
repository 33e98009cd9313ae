/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   runner (thread)        this program again            the command
 *     posix_spawn(3) ------> guard(): fork(2) ---------> become_command(): limits, user, filter
 *     writes content         waits for both              execve(2)
 *     reads errors, waits    exits as the command <----- reads standard input, exits
 *     kills its group
 *
 * A thread cannot become another user for a program that it starts: other processes of that user
 * could signal it, and with it this process. So the program starts itself again, and that process,
 * which has no content yet, gives everything up.
 *
 * The command is the administrator's, but what it parses is chosen by others, who may know how to
 * take it over. So it has no capabilities, no new privileges and no descriptor but three, runs as a
 * user of its own, and has limits; one that checks has no network. It cannot leave its process
 * group, so kill(2) of the group ends all that it has started. If this process is killed, nothing
 * here can do that: the guard leads the group, gets a signal then, and kills the group. The command
 * is of another user, so it cannot keep the guard from it.
 *
 * Content goes through a pipe: it is in no argument, variable or file. A pipe's pages are not
 * swapped, unlike those of a memfd.
 *
 * What becomes of the execve(2) is not told by an exit status, which is the command's to choose. So
 * standard output is a pipe until then; an error goes into it, and the command never has it.
 *
 * Of a user of its own the processes are counted. RLIMIT_NPROC counts those of the user on the
 * whole host, so with another one, which containers may have as well, time alone bounds them. The
 * kernel ends them first when memory is short.
 */
#include "base/command.h"

#include <ctype.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/confinement.h"
#include "base/process.h"

/* Messages of a large configuration; what floods has no more to say. */
#define ERRORS_MAX_BYTES 65536u
/* Address space, of which Go and interpreters reserve more than they use. */
#define MEMORY_MAX_BYTES (1u << 30)
#define FAILURE_MAX      512 /* bytes of the text why a command cannot run */
/* The largest volume, written to a file of its own. */
#define FILE_MAX_BYTES   (16u << 20)
#define FILES_MAX        256u
/* Threads count, of which Go makes up to one for each processor. */
#define PROCESSES_MAX    256u
/* Of processor time for each process; a run ends sooner by its timeout. */
#define PROCESSOR_SEC    60u
#define EXIT_NOT_STARTED 127
/* systemd gives these numbers to no user, container or service. */
#define OWN_USERS_FIRST  0x70000000u
#define OWN_USERS        0x0ff00000u
#define UPDATES_USER     65534u
/* After SIGKILL it takes milliseconds, also on a node that is out of memory. */
#define END_TIME         SPAN_SEC(5)

bool command_name_is_valid(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return len > 0 && len <= COMMAND_NAME_MAX && name[len] == '\0' && name[0] != '-';
}

/* ---- the process that becomes the command */

static void limit(__rlimit_resource_t resource, rlim_t most)
{
    struct rlimit old;

    if (getrlimit(resource, &old) == 0 && (old.rlim_max == RLIM_INFINITY || old.rlim_max > most))
        setrlimit(resource, &(struct rlimit){most, most});
}

/* The kernel ends a process with the most points first. */
static void give_way_for_memory(void)
{
    _cleanup_(fd_closep) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, "1000", 4) < 0)
        return; /* it has the points of its parent */
}

static bool is_own_user(uid_t uid)
{
    return uid >= OWN_USERS_FIRST && uid - OWN_USERS_FIRST < OWN_USERS;
}

/* Return: 0; -errno. */
static int become_user(uid_t uid, gid_t gid)
{
    if (geteuid() != 0)
        return 0;
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return negative_errno();
    return 0;
}

/*
 * Tell the runner why there is no command, without memory of the heap, which is limited by now.
 * Return: an exit status.
 */
static int fail(int failure_fd, const char *what, const char *object, int error)
{
    char text[FAILURE_MAX];
    int len = snprintf(text, sizeof(text), "%s %.200s: %s", what, object, strerror(error));

    if (len > 0 && write(failure_fd, text, size_min((size_t)len, sizeof(text) - 1)) < 0)
        return EXIT_NOT_STARTED; /* the exit status alone tells it */
    return EXIT_NOT_STARTED;
}

/* @argv: as of command_become(). @failure_fd: close-on-exec. Return: an exit status. */
static int become_command(char *argv[], int failure_fd)
{
    bool is_check = streq(argv[0], "check");
    int r;

    give_way_for_memory(); /* of another user's process the file is root's */
    r = become_user((uid_t)strtoul(argv[1], NULL, 10), (gid_t)strtoul(argv[2], NULL, 10));
    if (r < 0)
        return fail(failure_fd, "cannot become user", argv[1], -r);
    umask(077);
    confinement_restrict_thread(is_check ? CONFINEMENT_CHECK : CONFINEMENT_COMMAND);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_MEMLOCK, 0);
    limit(RLIMIT_CPU, PROCESSOR_SEC);
    limit(RLIMIT_FSIZE, FILE_MAX_BYTES);
    limit(RLIMIT_NOFILE, FILES_MAX);
    limit(RLIMIT_AS, MEMORY_MAX_BYTES);
    if (is_own_user(geteuid()))
        limit(RLIMIT_NPROC, PROCESSES_MAX);
    if (chdir("/") == 0)
        execv(argv[3], argv + 3);
    return fail(failure_fd, "cannot be run:", argv[3], errno);
}

/*
 * Standard output becomes nothing, as the command is to find it.
 * Return: the pipe that it was; -1: no descriptor is left.
 */
static int take_failure_pipe(void)
{
    int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    _cleanup_(fd_closep) int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd >= 0 && nothing >= 0 && dup2(nothing, STDOUT_FILENO) == STDOUT_FILENO)
        return fd;
    fd_close(fd);
    return -1;
}

/* Return: whether @command has ended, how in @ret_status; it may have been stopped. */
static bool has_ended(pid_t command, siginfo_t *ret_status)
{
    *ret_status = (siginfo_t){.si_pid = 0};
    return waitid(P_PID, (id_t)command, ret_status, WEXITED | WNOHANG) < 0 ||
           ret_status->si_pid == command;
}

/*
 * Wait for the command's end, and end in the same way; or end all when the runner has ended.
 * @signals: SIGCHLD and SIGTERM, which tell of them; they are blocked
 */
static _Noreturn void guard(pid_t command, const sigset_t *signals)
{
    siginfo_t status;

    /* whether an end of a pipe is open is the command's to say */
    close(STDIN_FILENO);
    close(STDERR_FILENO);
    confinement_restrict_thread(CONFINEMENT_GUARD);
    while (!has_ended(command, &status))
        if (sigwaitinfo(signals, NULL) == SIGTERM)
            kill(0, SIGKILL);
    if (status.si_code == CLD_EXITED)
        _exit(status.si_status);
    limit(RLIMIT_CORE, 0);
    sigprocmask(SIG_UNBLOCK, signals, NULL);
    kill(getpid(), status.si_status);
    _exit(EXIT_NOT_STARTED);
}

int command_become(int argc, char *argv[])
{
    sigset_t signals, old;
    pid_t command;
    int failure_fd;

    if (argc < 4)
        return EXIT_NOT_STARTED;
    failure_fd = take_failure_pipe();
    if (failure_fd < 0)
        return fail(STDOUT_FILENO, "cannot be run:", argv[3], errno);
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, &old);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* by a runner, which lives as long as its process */
    command = fork();
    if (command > 0) {
        fd_close(failure_fd);
        guard(command, &signals);
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    if (command == 0)
        return become_command(argv, failure_fd);
    return fail(failure_fd, "cannot be run:", argv[3], errno);
}

/* ---- a run */

struct process {
    const struct command_run *run;
    mono_us until;
    pid_t pid;
    int pidfd;
    int input;  /* -1: it is closed */
    int errors; /* the same */
    int failure;
    struct iovec piece;
    size_t n_written; /* of @piece */
    size_t n_errors;  /* bytes */
    char line[COMMAND_LINE_MAX + 1];
    size_t line_len;
    bool has_line;
};

/*
 * Processes of one user can trace each other: other checks, and those of containers with hostPID,
 * many of which are user 65534.
 */
static uid_t own_user(bool is_check)
{
    uint32_t random = 0;

    if (!is_check)
        return UPDATES_USER;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
        random = (uint32_t)clock_mono();
    return OWN_USERS_FIRST + random % OWN_USERS;
}

/* @ret_argv: for free(); its strings are borrowed. Return: 0; -ENOMEM. */
static int make_argv(const struct command_run *run, char user[static 32], char group[static 32],
                     char ***ret_argv)
{
    static char program[] = "/proc/self/exe", become[] = COMMAND_BECOME, check[] = "check",
                update[] = "update";
    const bool is_own = run->command->uid == COMMAND_OWN_USER;
    const uid_t uid = is_own ? own_user(run->is_check) : run->command->uid;
    size_t n = 0;
    char **argv;

    while (run->command->argv[n] != NULL)
        n++;
    argv = calloc(n + 6, sizeof(*argv));
    if (argv == NULL)
        return -ENOMEM;
    snprintf(user, 32, "%lu", (unsigned long)uid);
    snprintf(group, 32, "%lu", (unsigned long)(is_own ? uid : run->command->gid));
    argv[0] = program;
    argv[1] = become;
    argv[2] = run->is_check ? check : update;
    argv[3] = user;
    argv[4] = group;
    memcpy(argv + 5, run->command->argv, n * sizeof(*argv));
    *ret_argv = argv;
    return 0;
}

/* @ours: its index among the pipe's ends. Return: 0; -errno. */
static int open_pipe(int ours, int *ret_ours, int *ret_theirs)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return negative_errno();
    *ret_ours = fds[ours];
    *ret_theirs = fds[1 - ours];
    /* our end only: the program expects a blocking pipe */
    return fcntl(*ret_ours, F_SETFL, O_NONBLOCK) < 0 ? negative_errno() : 0;
}

static int start(struct process *p)
{
    _cleanup_(freep) char **argv = NULL;
    _cleanup_(fd_closep) int input = -1, errors = -1, failure = -1;
    char user[32], group[32];
    int r = make_argv(p->run, user, group, &argv);

    if (r == 0)
        r = open_pipe(0, &p->errors, &errors);
    if (r == 0)
        r = open_pipe(0, &p->failure, &failure);
    if (r == 0 && p->run->next_input != NULL)
        r = open_pipe(1, &p->input, &input);
    if (r == 0)
        r = process_start(
            argv, p->run->envp,
            &(struct process_files){.input = input, .output = failure, .errors = errors}, &p->pid);
    if (r < 0)
        return r;
    p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    return p->pidfd < 0 ? negative_errno() : 0;
}

/* Only what a terminal and a log can show: the rest could be meant for them. */
static void keep_line(struct process *p, const char *text, size_t len)
{
    for (size_t i = 0; i < len && !p->has_line; i++) {
        if (text[i] == '\n')
            p->has_line = p->line_len > 0;
        else if (p->line_len < COMMAND_LINE_MAX)
            p->line[p->line_len++] = (char)(isprint((unsigned char)text[i]) != 0 ? text[i] : '?');
    }
}

/* Return: 0; -EFBIG. */
static int read_errors(struct process *p)
{
    char text[4096];
    ssize_t n;

    while ((n = read(p->errors, text, sizeof(text))) > 0) {
        keep_line(p, text, (size_t)n);
        p->n_errors += (size_t)n;
        if (p->n_errors > ERRORS_MAX_BYTES)
            return -EFBIG;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        p->errors = fd_close(p->errors);
    return 0;
}

/* Return: whether there is something to write, in @p->piece. */
static bool has_piece(struct process *p)
{
    while (p->n_written == p->piece.iov_len) {
        p->n_written = 0;
        if (!p->run->next_input(p->run->userdata, &p->piece))
            return false;
    }
    return true;
}

/* A command that does not read all of it may still be content with what it has read. */
static void write_input(struct process *p)
{
    ssize_t n = 0;

    while (n >= 0 && has_piece(p)) {
        n = write(p->input, (const char *)p->piece.iov_base + p->n_written,
                  p->piece.iov_len - p->n_written);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        p->n_written += n > 0 ? (size_t)n : 0;
    }
    p->input = fd_close(p->input); /* all is written, or the command has closed its end */
}

static int poll_until(struct pollfd *polled, size_t n, mono_us until)
{
    mono_us now = clock_mono();
    span_us left = until > now ? until - now : 0;
    const struct timespec timeout = clock_timespec(left);
    int r = ppoll(polled, n, &timeout, NULL);

    if (r == 0)
        return -ETIMEDOUT;
    return r < 0 && errno != EINTR ? negative_errno() : 0;
}

/* Until its first process has ended. Return: 0; -ETIMEDOUT, -ECANCELED, -EFBIG, -errno. */
static int serve(struct process *p)
{
    for (;;) {
        struct pollfd polled[] = {{.fd = p->pidfd, .events = POLLIN},
                                  {.fd = p->run->stop_fd, .events = POLLIN},
                                  {.fd = p->errors, .events = POLLIN},
                                  {.fd = p->input, .events = POLLOUT}};
        int r = poll_until(polled, ELEMENTS_OF(polled), p->until);

        if (r == 0 && polled[2].revents != 0)
            r = read_errors(p);
        if (r < 0)
            return r;
        if (polled[0].revents != 0)
            return 0;
        if (polled[1].revents != 0)
            return -ECANCELED;
        if (polled[3].revents != 0)
            write_input(p);
    }
}

/*
 * Of the whole group, and collect its first process. One that waits in the kernel, as for a file
 * server, must not hold the thread: it stays, until it ends, a child of this process. Without a
 * pidfd, when descriptors were short, it has not got that far.
 * Return: 0; -errno.
 */
static int end(const struct process *p, siginfo_t *ret_status)
{
    struct pollfd ended = {.fd = p->pidfd, .events = POLLIN};
    mono_us until = clock_mono() + END_TIME;
    int r = kill(-p->pid, SIGKILL) < 0 && errno == EPERM ? -EPERM : 0;

    while (r == 0 && p->pidfd >= 0 && ended.revents == 0)
        r = poll_until(&ended, 1, until);
    while (r == 0 && waitid(P_PID, (id_t)p->pid, ret_status, WEXITED) < 0)
        r = errno == EINTR ? 0 : negative_errno();
    return r == -ETIMEDOUT ? -EBUSY : r;
}

/* Once it has ended. Return: 0; -ENOEXEC with @e: it never ran. */
static int read_failure(const struct process *p, struct error *e)
{
    char text[FAILURE_MAX];
    ssize_t len = read(p->failure, text, sizeof(text));

    return len > 0 ? error_set(e, -ENOEXEC, "%.*s", (int)len, text) : 0;
}

static int judge(const struct process *p, const siginfo_t *status, struct error *e)
{
    int r = read_failure(p, e);

    if (r < 0)
        return r;
    if (status->si_code != CLD_EXITED)
        return error_set(e, -EINTR, "was ended by signal %d", status->si_status);
    if (status->si_status == 0)
        return 0;
    return error_set(e, -EINVAL, "ended with exit status %d%s%s", status->si_status,
                     p->line_len > 0 ? ": " : "", p->line);
}

static int explain(const struct process *p, int r, struct error *e)
{
    if (r == -ETIMEDOUT)
        return error_set(e, r, "took longer than %llu s",
                         (unsigned long long)(p->run->command->timeout / SPAN_SEC(1)));
    if (r == -EFBIG)
        return error_set(e, r, "wrote more than %u bytes to standard error", ERRORS_MAX_BYTES);
    if (r == -ECANCELED)
        return error_set(e, r, "was ended");
    return error_set_errno(e, r, "could not be run");
}

static void close_all(struct process *p)
{
    p->input = fd_close(p->input);
    p->errors = fd_close(p->errors);
    p->failure = fd_close(p->failure);
    p->pidfd = fd_close(p->pidfd);
}

int command_run(const struct command_run *run, struct error *e)
{
    struct process p = {.run = run,
                        .until = clock_mono() + run->command->timeout,
                        .pidfd = -1,
                        .input = -1,
                        .errors = -1,
                        .failure = -1};
    siginfo_t status = {0};
    int r = start(&p), ended;

    if (r == 0)
        r = serve(&p);
    ended = p.pid > 0 ? end(&p, &status) : 0;
    if (r == 0)
        r = ended;
    if (r == 0 && p.errors >= 0)
        read_errors(&p); /* what it wrote at last */
    r = r == 0 ? judge(&p, &status, e) : explain(&p, r, e);
    close_all(&p);
    return r;
}

bool command_did_not_run(int result)
{
    return result != 0 && result != -EINVAL && result != -EINTR && result != -ETIMEDOUT &&
           result != -EFBIG && result != -ECANCELED;
}

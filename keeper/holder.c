/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While a client is connected, others wait in the listening socket's queue, in the order in which
 * they have connected. When the client has closed its connection or died, all that it has sent is
 * read first; then the next one is accepted and receives what is stored, in one message. So it
 * receives all that the earlier one has stored.
 */
#include "keeper/holder.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "keeper/intake.h"
#include "keeper/report.h"
#include "keeper/upward.h"

#define CLIENTS_WAITING_MAX 8 /* more than old and new pods of a rolling update */
#define GREETING_SIZE       (KEEPER_NAMES_SIZE + 64)
#define ACCEPT_PAUSE_MS     200

enum { POLLED_SIGNALS, POLLED_SOCKET, POLLED_STORED };

struct holder {
    int listening;
    int client; /* -1: none */
    int signals;
    bool is_ended;
    struct keeper_store store;
};

/* ---- the socket */

static bool is_listening(const struct sockaddr_un *address)
{
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
                       errno == EAGAIN); /* its queue is full */
}

static int bind_socket(int fd, const struct sockaddr_un *address)
{
    mode_t mask = umask(0177);
    int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? negative_errno() : 0;

    umask(mask);
    return r;
}

/* Only a socket is removed, and only one at which no process listens. */
static int replace_socket(int fd, const struct sockaddr_un *address)
{
    struct stat st;

    if (lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode) || is_listening(address))
        return -EADDRINUSE;
    unlink(address->sun_path);
    return bind_socket(fd, address);
}

static int listen_at(const char *path, int *ret_fd, struct error *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r;

    if (strlen(path) >= sizeof(address.sun_path))
        return error_set(e, -ENAMETOOLONG, "socket \"%s\": the path has more than %zu characters",
                         path, sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, strlen(path));
    r = fd < 0 ? negative_errno() : bind_socket(fd, &address);
    if (r == -EADDRINUSE)
        r = replace_socket(fd, &address);
    if (r == 0 && listen(fd, CLIENTS_WAITING_MAX) < 0)
        r = negative_errno();
    if (r < 0)
        return error_set_errno(e, r, "cannot listen at \"%s\"%s", path,
                               r == -EADDRINUSE ? ", where another keeper or file is" : "");
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* ---- clients */

static bool may_connect(int client, pid_t *ret_pid)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return false;
    *ret_pid = peer.pid;
    return peer.uid == 0 || peer.uid == geteuid();
}

/* The one message of the keeper: all names, and the descriptors beside them. */
static int greet(const struct holder *h)
{
    static char text[GREETING_SIZE], names[KEEPER_NAMES_SIZE];
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * KEEPER_FDS_MAX)];
    } control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec iov = {.iov_base = text};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    int *fds = (int *)(void *)CMSG_DATA(&control.header);

    keeper_store_join_names(&h->store, names);
    iov.iov_len = (size_t)snprintf(text, sizeof(text), "LISTEN_FDS=%zu\nLISTEN_FDNAMES=%s",
                                   h->store.n, names);
    for (size_t i = 0; i < h->store.n; i++)
        fds[i] = h->store.entries[i].fd;
    if (h->store.n > 0) {
        control.header.cmsg_len = CMSG_LEN(sizeof(int) * h->store.n);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * h->store.n);
    }
    return sendmsg(h->client, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? negative_errno() : 0;
}

/* Without descriptors or memory the client stays in the queue, and the socket readable. */
static void pause_accepting(int error)
{
    if (error == EAGAIN || error == ECONNABORTED || error == EINTR)
        return;
    keeper_warn("cannot accept a client: %s; trying again in %d ms", strerror(error),
                ACCEPT_PAUSE_MS);
    poll(NULL, 0, ACCEPT_PAUSE_MS);
}

static void accept_client(struct holder *h)
{
    pid_t pid = 0;
    int r = 0;

    h->client = accept4(h->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (h->client < 0) {
        pause_accepting(errno);
        return;
    }
    if (!may_connect(h->client, &pid))
        r = -EACCES;
    else
        r = greet(h);
    if (r == 0) {
        keeper_info("process %d takes %zu descriptors", pid, h->store.n);
        return;
    }
    keeper_warn("refusing process %d: %s", pid, strerror(-r));
    h->client = fd_close(h->client);
}

static void read_messages(struct holder *h)
{
    struct keeper_message m;
    int r;

    do
        r = keeper_intake(h->client, NULL, &h->store, &m, NULL);
    while (r == 0 || r == -EBADMSG);
    if (r == -EAGAIN)
        return;
    keeper_info("the client is gone; %zu descriptors are kept", h->store.n);
    h->client = fd_close(h->client);
}

/* ---- the loop */

static int block_signals(void)
{
    sigset_t mask;
    int fd;

    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? negative_errno() : fd;
}

static void wait_and_act(struct holder *h)
{
    struct pollfd polled[POLLED_STORED + KEEPER_FDS_MAX] = {
        [POLLED_SIGNALS] = {.fd = h->signals, .events = POLLIN},
        [POLLED_SOCKET] = {.fd = h->client >= 0 ? h->client : h->listening, .events = POLLIN},
    };
    mono_us now = clock_mono(), until = keeper_upward_alive(now);
    const struct timespec left = clock_timespec(until - now);
    size_t n_hung;

    keeper_store_fill_polled(&h->store, polled + POLLED_STORED);
    if (ppoll(polled, POLLED_STORED + h->store.n, until == UINT64_MAX ? NULL : &left, NULL) <= 0)
        return;
    n_hung = keeper_store_close_hung(&h->store, polled + POLLED_STORED);
    if (n_hung > 0)
        keeper_info("closed %zu stored descriptors that hung up", n_hung);
    if (polled[POLLED_SOCKET].revents != 0 && h->client >= 0)
        read_messages(h);
    else if (polled[POLLED_SOCKET].revents != 0)
        accept_client(h);
    h->is_ended = polled[POLLED_SIGNALS].revents != 0;
}

int keeper_hold(const char *path, size_t fds_max, struct error *e)
{
    static struct holder h;

    h = (struct holder){.client = -1, .listening = -1, .store.max = fds_max};
    assert(fds_max >= 1 && fds_max <= KEEPER_FDS_MAX);
    keeper_upward_init();
    h.signals = block_signals();
    if (h.signals < 0) {
        error_set_errno(e, h.signals, "cannot receive signals");
        return EXIT_FAILURE;
    }
    if (listen_at(path, &h.listening, e) < 0)
        return EXIT_FAILURE;
    keeper_info("keeping up to %zu descriptors behind %s", fds_max, path);
    keeper_upward_send("READY=1");
    while (!h.is_ended)
        wait_and_act(&h);
    keeper_info("closing %zu descriptors", h.store.n);
    unlink(path);
    keeper_store_clear(&h.store);
    return EXIT_SUCCESS;
}

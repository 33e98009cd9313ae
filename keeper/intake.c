/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel says who sent a message (SCM_CREDENTIALS); SO_PASSCRED has to be set before anything
 * is sent. All descriptors that come with a message are in this process as soon as recvmsg(2)
 * returns, also those of a refused message: each is stored or closed.
 */
#include "keeper/intake.h"

#include <sys/socket.h>

#include "base/cleanup.h"
#include "keeper/report.h"

#define DEFAULT_NAME                                                                               \
    "stored" /* of a descriptor without FDNAME; Source: sd_pid_notify_with_fds(3) */

struct received {
    char text[KEEPER_MESSAGE_MAX];
    size_t len;
    int fds[KEEPER_FDS_MAX];
    size_t n_fds;
    pid_t sender; /* 0: unknown */
    uid_t user;   /* of the sender, if that is known */
};

static void read_control(struct msghdr *header, struct received *r)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_RIGHTS) {
            r->n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(r->fds, CMSG_DATA(c), r->n_fds * sizeof(int));
        } else if (c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred sender;

            memcpy(&sender, CMSG_DATA(c), sizeof(sender));
            r->sender = sender.pid;
            r->user = sender.uid;
        }
    }
}

/* Return: 0; -EMSGSIZE: parts are missing, what is there counts for nothing; -errno. */
static int receive(int socket, struct received *r)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * KEEPER_FDS_MAX) + CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec iov = {.iov_base = r->text, .iov_len = sizeof(r->text)};
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control)};
    ssize_t len = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    r->n_fds = 0;
    r->sender = 0;
    if (len < 0)
        return negative_errno();
    r->len = (size_t)len;
    read_control(&header, r);
    return (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ? -EMSGSIZE : 0;
}

static bool is_sender(pid_t sender, const pid_t *senders)
{
    if (senders == NULL)
        return true;
    for (; *senders != 0; senders++)
        if (sender == *senders)
            return true;
    return false;
}

/* A signal to the keeper, which each of them can send, does the same. */
static bool may_request(const struct received *r, const struct keeper_message *m)
{
    return m->hands_over && r->sender != 0 && (r->user == 0 || r->user == geteuid());
}

static const char *reason_to_refuse(const struct received *r, int received, int parsed,
                                    const struct keeper_message *m, const pid_t *senders)
{
    if (!is_sender(r->sender, senders) && (received < 0 || parsed < 0 || !may_request(r, m)))
        return "it is not from the child";
    if (received == -EMSGSIZE)
        return "it is too long, or there was no room for its descriptors";
    if (parsed == -EMSGSIZE)
        return "it is too long";
    return parsed < 0 ? "it is malformed" : NULL;
}

/* ---- descriptors */

static void store_one(struct keeper_store *store, int consume_fd, const struct keeper_message *m)
{
    const char *name = m->has_name ? m->name : DEFAULT_NAME;

    switch (keeper_store_put(store, consume_fd, name, m->is_polled)) {
    case KEEPER_PUT_STORED:
    case KEEPER_PUT_DUPLICATE:
        break;
    case KEEPER_PUT_FULL:
        keeper_warn("descriptor \"%s\" is not stored: %zu are the limit", name, store->max);
        break;
    }
}

static void apply(struct keeper_store *store, struct received *r, const struct keeper_message *m)
{
    if (m->invalid_key != NULL)
        keeper_warn("ignoring %s in a message: invalid value", m->invalid_key);
    if (m->removes && m->has_name)
        keeper_store_remove(store, m->name);
    else if (m->removes)
        keeper_warn("ignoring FDSTOREREMOVE=1: FDNAME is missing or invalid");
    for (size_t i = 0; m->stores && i < r->n_fds; i++)
        store_one(store, TAKE_FD(r->fds[i]), m);
}

/* The pipe of a barrier is among them: its sender learns that all before is done. */
static void close_rest(struct received *r)
{
    for (size_t i = 0; i < r->n_fds; i++)
        fd_close(r->fds[i]);
}

static int take_requester(struct received *r, const struct keeper_message *m)
{
    return m->hands_over && r->n_fds > 0 ? TAKE_FD(r->fds[0]) : -1;
}

int keeper_intake(int socket, const pid_t *senders, struct keeper_store *store,
                  struct keeper_message *ret_message, int *ret_requester_fd)
{
    struct received r;
    const char *reason;
    int received = receive(socket, &r), parsed = 0;

    if (received < 0 && received != -EMSGSIZE)
        return received;
    if (received == 0 && r.len == 0 && r.n_fds == 0)
        return -ECONNRESET;
    if (received == 0)
        parsed = keeper_message_parse(r.text, r.len, ret_message);
    reason = reason_to_refuse(&r, received, parsed, ret_message, senders);
    if (reason == NULL)
        apply(store, &r, ret_message);
    else
        keeper_warn("refusing a message of process %d: %s", r.sender, reason);
    if (ret_requester_fd != NULL)
        *ret_requester_fd = reason == NULL ? take_requester(&r, ret_message) : -1;
    close_rest(&r);
    return reason == NULL ? 0 : -EBADMSG;
}

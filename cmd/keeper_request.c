/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HANDOVER=1 goes to the socket to which the keeper's command sends its notifications, with one end
 * of a connection. What arrives at the other end is what the check of the next program prints, then
 * the outcome as the last line, then the end.
 *
 * No process id is involved, so no other process can get the request. The socket's directory is the
 * keeper's own: it is opened once and checked, and the socket is found by its descriptor. In /tmp a
 * directory of that name could be another user's.
 */
#include "cmd/keeper_request.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/descriptors.h"

/* keeper/notify_socket.c and keeper/requester.h, of another program */
#define DIRECTORY_PREFIX "secretfs-keeper-"
#define SOCKET_NAME      "notify"
#define REQUEST          "HANDOVER=1"
#define OUTCOME_DONE     "HANDOVER=done"
#define OUTCOME_FAILED   "HANDOVER=failed"

#define SEND_TIMEOUT_S    5 /* a keeper reads its queue in microseconds */
/* 60 s for the check, 20 s for the process to end, the rest for the start of the next one */
#define OUTCOME_TIMEOUT_S 180

/* ---- the outcome */

enum keeper_outcome keeper_outcome_cut(struct buf *sent)
{
    static const struct {
        const char *line;
        enum keeper_outcome outcome;
    } outcomes[] = {{OUTCOME_DONE "\n", KEEPER_OUTCOME_DONE},
                    {OUTCOME_FAILED "\n", KEEPER_OUTCOME_FAILED}};

    for (size_t i = 0; i < ELEMENTS_OF(outcomes); i++) {
        size_t len = strlen(outcomes[i].line);
        bool is_at_end =
            sent->len >= len && memcmp(sent->data + sent->len - len, outcomes[i].line, len) == 0;

        if (is_at_end && (sent->len == len || sent->data[sent->len - len - 1] == '\n')) {
            sent->len -= len;
            sent->data[sent->len] = '\0';
            return outcomes[i].outcome;
        }
    }
    return KEEPER_OUTCOME_UNKNOWN;
}

/* ---- the socket */

/* Return: whether the path has a directory. */
static bool directory_of(const char *socket_path, char ret_path[static PATH_MAX])
{
    const char *end = strrchr(socket_path, '/');

    if (end == NULL || end == socket_path || end - socket_path >= PATH_MAX)
        return false;
    memcpy(ret_path, socket_path, (size_t)(end - socket_path));
    ret_path[end - socket_path] = '\0';
    return streq(end + 1, SOCKET_NAME);
}

bool keeper_request_is_keeper(const char *socket_path)
{
    char path[PATH_MAX];

    return directory_of(socket_path, path) && str_after(basename(path), DIRECTORY_PREFIX) != NULL;
}

static int open_directory(const char *socket_path, int *ret_fd, struct error *e)
{
    _cleanup_(fd_closep) int fd = -1;
    struct stat status;
    char path[PATH_MAX];

    if (!directory_of(socket_path, path))
        return error_set(e, -EINVAL, "%.200s is not the socket of a keeper", socket_path);
    fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set_errno(e, negative_errno(), "cannot open %.200s", path);
    if (status.st_uid != geteuid() || (status.st_mode & 0077) != 0)
        return error_set(e, -EPERM, "%.200s is another user's, or others may write to it", path);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* ---- the request */

static int set_timeout(int fd, int option, int seconds)
{
    const struct timeval timeout = {.tv_sec = seconds};

    return setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof(timeout)) < 0 ? negative_errno() : 0;
}

static int send_request(int directory_fd, int answer_fd)
{
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int r;

    if (fd < 0)
        return negative_errno();
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" SOCKET_NAME,
             directory_fd);
    r = set_timeout(fd, SO_SNDTIMEO, SEND_TIMEOUT_S);
    if (r == 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        r = negative_errno();
    return r == 0 ? descriptors_send(fd, REQUEST, answer_fd) : r;
}

int keeper_request_hand_over(const char *socket_path, struct buf *messages, struct error *e)
{
    _cleanup_(fd_closep) int directory_fd = -1, own_fd = -1, keepers_fd = -1;
    int ends[2], r = open_directory(socket_path, &directory_fd, e);

    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set_errno(e, negative_errno(), "cannot make a socket");
    own_fd = ends[0];
    keepers_fd = ends[1];
    r = set_timeout(own_fd, SO_RCVTIMEO, OUTCOME_TIMEOUT_S);
    if (r == 0)
        r = send_request(directory_fd, keepers_fd);
    if (r < 0)
        return error_set_errno(e, r, "cannot send to its keeper at %.200s", socket_path);
    fd_closep(&keepers_fd); /* so that its end is seen */
    r = buf_read_fd(messages, own_fd);
    if (r == -EAGAIN)
        return error_set(e, -ETIMEDOUT,
                         "the next process is not ready after %d s; the log of the keeper says why",
                         OUTCOME_TIMEOUT_S);
    if (r < 0)
        return error_set_errno(e, r, "cannot read the outcome of the hand-over");
    return (int)keeper_outcome_cut(messages);
}

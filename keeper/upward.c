/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/upward.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct {
    int fd; /* -1: no service manager */
    struct sockaddr_un address;
    socklen_t address_len;
    span_us interval;
    mono_us next_at;
} upward = {.fd = -1};

/* Return: the length of the address; 0: not one of a Unix socket. */
static socklen_t parse_address(const char *text, struct sockaddr_un *ret_address)
{
    size_t len = strlen(text);

    if ((text[0] != '/' && text[0] != '@') || len >= sizeof(ret_address->sun_path))
        return 0;
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path, text, len);
    if (text[0] == '@')
        ret_address->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (text[0] == '/'));
}

static span_us watchdog_limit(void)
{
    const char *limit = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

    if (limit == NULL || (pid != NULL && strtol(pid, NULL, 10) != getpid()))
        return 0;
    return strtoull(limit, NULL, 10);
}

void keeper_upward_init(void)
{
    const char *text = getenv("NOTIFY_SOCKET");

    upward.address_len = text != NULL ? parse_address(text, &upward.address) : 0;
    if (upward.address_len == 0)
        return;
    upward.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    upward.interval = watchdog_limit() / 2;
}

void keeper_upward_send(const char *text)
{
    if (upward.fd >= 0 && text[0] != '\0')
        (void)!sendto(upward.fd, text, strlen(text), MSG_NOSIGNAL,
                      (const struct sockaddr *)&upward.address, upward.address_len);
}

mono_us keeper_upward_alive(mono_us now)
{
    if (upward.fd < 0 || upward.interval == 0)
        return UINT64_MAX;
    if (now >= upward.next_at) {
        keeper_upward_send("WATCHDOG=1");
        upward.next_at = now + upward.interval;
    }
    return upward.next_at;
}

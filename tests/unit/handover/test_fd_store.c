/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "handover/fd_store.h"

/* ---- a manager: one socket, and one message with its descriptors at a time */

struct message {
    char text[512];
    int fds[4];
    size_t n_fds;
};

static struct message receive_message(int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * 4)];
    } control;
    struct message m = {.n_fds = 0};
    struct iovec iov = {.iov_base = m.text, .iov_len = sizeof(m.text) - 1};
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control)};

    assert_true(recvmsg(fd, &header, MSG_CMSG_CLOEXEC) >= 0);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c))
        if (c->cmsg_type == SCM_RIGHTS) {
            m.n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            assert_true(m.n_fds <= ELEMENTS_OF(m.fds));
            memcpy(m.fds, CMSG_DATA(c), m.n_fds * sizeof(int));
        }
    return m;
}

static void close_fds(struct message *m)
{
    for (size_t i = 0; i < m->n_fds; i++)
        close(m->fds[i]);
    m->n_fds = 0;
}

static bool is_same_file(int a, int b)
{
    struct stat sa, sb;

    assert_int_equal(fstat(a, &sa), 0);
    assert_int_equal(fstat(b, &sb), 0);
    return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* In the abstract namespace: no file is left. Return: the address as NOTIFY_SOCKET has it. */
static const char *bind_socket(int fd, char name[static 64])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(name, 64, "@secretfs-fd-store-%d", getpid());
    memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    return name;
}

static void clear_environment(void)
{
    static const char *const names[] = {"NOTIFY_SOCKET", "FDSTORE",        "LISTEN_PID",
                                        "LISTEN_FDS",    "LISTEN_FDNAMES", "LISTEN_PIDFDID"};

    for (size_t i = 0; i < ELEMENTS_OF(names); i++)
        unsetenv(names[i]);
}

static int bind_manager(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char name[64];

    assert_true(fd >= 0);
    clear_environment();
    setenv("NOTIFY_SOCKET", bind_socket(fd, name), 1);
    return fd;
}

static struct fd_store *new_store(void)
{
    struct error e = ERROR_INIT;
    struct fd_store *s;

    assert_int_equal(fd_store_new(NULL, &s, &e), 0);
    return s;
}

/* ---- names */

static void test_names(void **state)
{
    char longest[FD_STORE_NAME_MAX + 2];

    memset(longest, 'x', sizeof(longest));
    longest[FD_STORE_NAME_MAX + 1] = '\0';
    assert_false(fd_store_name_is_valid(longest));
    longest[FD_STORE_NAME_MAX] = '\0';
    assert_true(fd_store_name_is_valid(longest));
    assert_true(fd_store_name_is_valid(""));
    assert_true(fd_store_name_is_valid("fuse-standard ~!"));
    assert_false(fd_store_name_is_valid("a:b"));
    assert_false(fd_store_name_is_valid("a\nb"));
    assert_false(fd_store_name_is_valid("a\x7f"));
    assert_false(fd_store_name_is_valid("\xc3\xa4"));
}

/* ---- storing */

static void test_put_and_remove(void **state)
{
    int manager = bind_manager();
    struct fd_store *s = new_store();
    struct error e = ERROR_INIT;
    struct message m;

    assert_true(fd_store_is_available(s));
    assert_int_equal(fd_store_peek_fd(s), -1);
    assert_int_equal(fd_store_put(s, "state", manager, FD_STORE_UNTIL_REMOVED, &e), 0);
    m = receive_message(manager);
    assert_string_equal(m.text, "FDSTORE=1\nFDNAME=state\nFDPOLL=0");
    assert_int_equal(m.n_fds, 1);
    assert_true(is_same_file(m.fds[0], manager));
    close_fds(&m);

    assert_int_equal(fd_store_put(s, "fuse", manager, FD_STORE_UNTIL_HANGUP, &e), 0);
    m = receive_message(manager);
    assert_string_equal(m.text, "FDSTORE=1\nFDNAME=fuse");
    assert_int_equal(m.n_fds, 1);
    close_fds(&m);

    assert_int_equal(fd_store_remove(s, "state", &e), 0);
    m = receive_message(manager);
    assert_string_equal(m.text, "FDSTOREREMOVE=1\nFDNAME=state");
    assert_int_equal(m.n_fds, 0);
    fd_store_free(s);
    close(manager);
}

static void *confirm_barrier(void *userdata)
{
    struct message m = receive_message(*(const int *)userdata);

    assert_string_equal(m.text, "BARRIER=1");
    assert_int_equal(m.n_fds, 1);
    close_fds(&m);
    return NULL;
}

static void test_sync_waits_for_the_manager(void **state)
{
    int manager = bind_manager();
    struct fd_store *s = new_store();
    struct error e = ERROR_INIT;
    pthread_t thread;

    assert_int_equal(fd_store_sync(s, SPAN_MS(1), &e), -ETIMEDOUT);
    assert_non_null(strstr(e.text, "has not confirmed"));
    confirm_barrier(&manager);
    assert_int_equal(pthread_create(&thread, NULL, confirm_barrier, &manager), 0);
    assert_int_equal(fd_store_sync(s, SPAN_FOREVER, &e), 0);
    pthread_join(thread, NULL);
    fd_store_free(s);
    close(manager);
}

static void test_a_dead_manager_is_an_error(void **state)
{
    int manager = bind_manager();
    struct fd_store *s = new_store();
    struct error e = ERROR_INIT;

    close(manager);
    assert_int_equal(fd_store_put(s, "state", 0, FD_STORE_UNTIL_REMOVED, &e), -ECONNREFUSED);
    assert_string_equal(e.text, "cannot store descriptor \"state\": Connection refused");
    assert_int_equal(fd_store_remove(s, "state", &e), -ECONNREFUSED);
    assert_int_equal(fd_store_sync(s, SPAN_FOREVER, &e), -ECONNREFUSED);
    fd_store_free(s);
}

static void test_without_a_manager_nothing_is_stored(void **state)
{
    struct error e = ERROR_INIT;
    struct fd_store *s;

    clear_environment();
    s = new_store();
    assert_false(fd_store_is_available(s));
    assert_int_equal(fd_store_put(s, "state", 0, FD_STORE_UNTIL_REMOVED, &e), 0);
    assert_int_equal(fd_store_remove(s, "state", &e), 0);
    assert_int_equal(fd_store_sync(s, SPAN_FOREVER, &e), 0);
    assert_int_equal(fd_store_take(s, "state"), -ENOENT);
    assert_null(fd_store_peek_name(s, 0));
    fd_store_free(s);
}

static void test_a_manager_that_keeps_nothing(void **state)
{
    int manager = bind_manager();
    struct fd_store *s;

    setenv("FDSTORE", "0", 1);
    s = new_store();
    assert_false(fd_store_is_available(s));
    fd_store_free(s);
    setenv("FDSTORE", "16", 1);
    s = new_store();
    assert_true(fd_store_is_available(s));
    fd_store_free(s);
    clear_environment();
    close(manager);
}

/* ---- taking; descriptors have fixed numbers, so each case is a process */

static void run_child(void (*child)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        clear_environment();
        child();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* A failed assertion of cmocka cannot leave a child: its exit status tells the test. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void set_listen(const char *count, const char *names)
{
    char pid[16];

    snprintf(pid, sizeof(pid), "%d", getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", count, 1);
    if (names != NULL)
        setenv("LISTEN_FDNAMES", names, 1);
}

static void place_three(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int i = 3; i < 6; i++)
        CHECK(fd == i || dup2(fd, i) == i);
}

static void take_three(void)
{
    struct error e = ERROR_INIT;
    struct fd_store *s;

    place_three();
    set_listen("3", "fuse:state:fuse");
    CHECK(fd_store_new(NULL, &s, &e) == 0);
    CHECK(getenv("LISTEN_FDS") == NULL && getenv("LISTEN_PID") == NULL &&
          getenv("LISTEN_FDNAMES") == NULL);
    CHECK((fcntl(4, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(fd_store_take(s, "fuse") == 3);
    CHECK(fd_store_take(s, "fuse") == 5);
    CHECK(fd_store_take(s, "fuse") == -ENOENT);
    CHECK(streq(fd_store_peek_name(s, 0), "state") && fd_store_peek_name(s, 1) == NULL);
    fd_store_free(s);
    CHECK(fcntl(4, F_GETFD) < 0); /* it was left, and is closed */
    CHECK(fcntl(3, F_GETFD) >= 0 && fcntl(5, F_GETFD) >= 0);
}

static void take_what_is_for_another_process(void)
{
    struct error e = ERROR_INIT;
    struct fd_store *s;

    set_listen("3", "a:b:c");
    setenv("LISTEN_PID", "1", 1);
    CHECK(fd_store_new(NULL, &s, &e) == 0);
    CHECK(fd_store_peek_name(s, 0) == NULL);
    CHECK(getenv("LISTEN_FDS") == NULL);
    fd_store_free(s);
}

static void check_malformed(const char *count, const char *names)
{
    struct error e = ERROR_INIT;
    struct fd_store *s;

    place_three();
    set_listen(count, names);
    CHECK(fd_store_new(NULL, &s, &e) < 0);
    CHECK(strstr(e.text, "invalid LISTEN_PID, LISTEN_FDS or LISTEN_FDNAMES") != NULL);
    CHECK(getenv("LISTEN_FDS") == NULL);
}

static void take_malformed(void)
{
    check_malformed("x", NULL);
    check_malformed("-1", NULL);
    check_malformed("2147483647", NULL);
    check_malformed("3", "a:b");
    check_malformed("3", "a:b:c:d");
    check_malformed("200", NULL); /* not open */
}

static void test_take(void **state)
{
    run_child(take_three);
    run_child(take_what_is_for_another_process);
    run_child(take_malformed);
}

/* ---- a keeper's socket */

#define KEEPER_FDS_MAX 2

struct keeper {
    char directory[32], path[48];
    int listening, connection;
    const char *greeting;
    size_t n_fds;
    pthread_t thread;
};

static void send_greeting(const struct keeper *k)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * KEEPER_FDS_MAX)];
    } control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    int fds[KEEPER_FDS_MAX] = {k->listening, k->listening};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)k->greeting, .iov_len = strlen(k->greeting)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (k->n_fds > 0) {
        control.header.cmsg_len = CMSG_LEN(sizeof(int) * k->n_fds);
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * k->n_fds);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * k->n_fds);
    }
    sendmsg(k->connection, &message, MSG_NOSIGNAL); /* a client may have given up */
}

/* Greets each client until end_greeting(); the last one stays connected. */
static void *greet(void *userdata)
{
    struct keeper *k = userdata;
    int fd;

    while ((fd = accept4(k->listening, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        if (k->connection >= 0)
            close(k->connection);
        k->connection = fd;
        send_greeting(k);
    }
    return NULL;
}

static void end_greeting(struct keeper *k)
{
    shutdown(k->listening, SHUT_RDWR);
    pthread_join(k->thread, NULL);
}

static void listen_as_keeper(struct keeper *k)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, k->path, strlen(k->path));
    k->listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(k->listening, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(k->listening, 4), 0);
}

static void start_keeper(struct keeper *k, const char *greeting, size_t n_fds)
{
    *k = (struct keeper){.directory = "/tmp/fd-store-XXXXXX",
                         .greeting = greeting,
                         .n_fds = n_fds,
                         .connection = -1};
    assert_non_null(mkdtemp(k->directory));
    snprintf(k->path, sizeof(k->path), "%s/keeper", k->directory);
    listen_as_keeper(k);
    assert_int_equal(pthread_create(&k->thread, NULL, greet, k), 0);
}

static void stop_keeper(struct keeper *k)
{
    close(k->listening);
    if (k->connection >= 0)
        close(k->connection);
    unlink(k->path);
    rmdir(k->directory);
}

static void test_a_keeper_sends_what_is_stored(void **state)
{
    struct error e = ERROR_INIT;
    struct fd_store *s;
    struct keeper k;
    struct message m;
    int first;

    clear_environment();
    start_keeper(&k, "LISTEN_FDS=2\nLISTEN_FDNAMES=fuse:state", 2);
    assert_int_equal(fd_store_new(k.path, &s, &e), 0);
    end_greeting(&k);
    assert_true(fd_store_is_available(s));
    first = fd_store_take(s, "state");
    assert_true(first >= 0 && is_same_file(first, k.listening));
    assert_true((fcntl(first, F_GETFD) & FD_CLOEXEC) != 0);
    assert_string_equal(fd_store_peek_name(s, 0), "fuse");

    assert_int_equal(fd_store_put(s, "new", first, FD_STORE_UNTIL_REMOVED, &e), 0);
    m = receive_message(k.connection);
    assert_string_equal(m.text, "FDSTORE=1\nFDNAME=new\nFDPOLL=0");
    assert_int_equal(m.n_fds, 1);
    close_fds(&m);
    assert_int_equal(pthread_create(&k.thread, NULL, confirm_barrier, &k.connection), 0);
    assert_int_equal(fd_store_sync(s, SPAN_FOREVER, &e), 0);
    pthread_join(k.thread, NULL);

    assert_true(fd_store_is_certain(s));

    close(k.connection);
    k.connection = -1;
    assert_false(fd_store_is_certain(s));
    assert_int_equal(fd_store_remove(s, "new", &e), 0); /* the next keeper does not have it */
    assert_int_equal(fd_store_sync(s, SPAN_FOREVER, &e), 0);
    close(first);
    fd_store_free(s);
    stop_keeper(&k);
}

/* It listens, and responds to no client yet. */
static void listen_again(struct keeper *k)
{
    close(k->connection);
    k->connection = -1;
    close(k->listening);
    unlink(k->path);
    listen_as_keeper(k);
}

/* It waits until the keeper responds. */
static void reconnect(struct fd_store *s, struct keeper *k)
{
    struct error e = ERROR_INIT;
    struct pollfd polled = {.events = POLLIN};

    assert_int_equal(fd_store_reconnect(s, &polled.fd, &e), FD_STORE_WAITS);
    assert_int_equal(fd_store_reconnect(s, &polled.fd, &e), FD_STORE_WAITS);
    assert_false(fd_store_is_certain(s));
    assert_int_equal(pthread_create(&k->thread, NULL, greet, k), 0);
    assert_int_equal(poll(&polled, 1, -1), 1);
    assert_int_equal(fd_store_reconnect(s, &polled.fd, &e), 0);
    assert_string_equal(e.text, "");
    end_greeting(k);
}

static void check_put(struct fd_store *s, const struct keeper *k)
{
    struct error e = ERROR_INIT;
    struct message m;

    assert_int_equal(fd_store_put(s, "fuse", k->listening, FD_STORE_UNTIL_HANGUP, &e), 0);
    m = receive_message(k->connection);
    assert_string_equal(m.text, "FDSTORE=1\nFDNAME=fuse");
    close_fds(&m);
}

static void test_a_new_keeper_at_the_same_path(void **state)
{
    struct error e = ERROR_INIT;
    struct pollfd polled;
    struct fd_store *s;
    struct keeper k;
    int fd;

    start_keeper(&k, "LISTEN_FDS=1\nLISTEN_FDNAMES=fuse", 1);
    assert_int_equal(fd_store_new(k.path, &s, &e), 0);
    end_greeting(&k);
    assert_int_equal(fd_store_reconnect(s, &fd, &e), -ECONNREFUSED);
    listen_again(&k);
    polled = (struct pollfd){.fd = fd_store_peek_fd(s)};
    assert_int_equal(poll(&polled, 1, -1), 1);
    assert_true((polled.revents & POLLHUP) != 0);

    assert_int_equal(fd_store_reconnect(s, &fd, &e), FD_STORE_WAITS);
    assert_int_equal(fd_store_peek_fd(s), polled.fd);
    listen_again(&k); /* the one that it waits for ends */
    assert_int_equal(fd_store_reconnect(s, &fd, &e), -ECONNRESET);
    assert_non_null(strstr(e.text, "does not respond as one: Connection reset by peer"));
    reconnect(s, &k);
    assert_string_equal(fd_store_peek_name(s, 0), "fuse"); /* of the first keeper */
    assert_null(fd_store_peek_name(s, 1));
    check_put(s, &k);
    fd_store_free(s);
    stop_keeper(&k);
}

static void test_an_empty_keeper(void **state)
{
    struct error e = ERROR_INIT;
    struct fd_store *s;
    struct keeper k;

    start_keeper(&k, "LISTEN_FDS=0\nLISTEN_FDNAMES=", 0);
    setenv("SECRETFS_KEEPER_SOCKET", k.path, 1);
    assert_int_equal(fd_store_new(NULL, &s, &e), 0);
    assert_null(getenv("SECRETFS_KEEPER_SOCKET"));
    end_greeting(&k);
    assert_true(fd_store_is_available(s));
    assert_null(fd_store_peek_name(s, 0));
    fd_store_free(s);
    stop_keeper(&k);
}

static void test_invalid_responses_of_a_keeper(void **state)
{
    static const struct {
        const char *greeting;
        size_t n_fds;
    } cases[] = {
        {"LISTEN_FDS=0", 0},
        {"LISTEN_FDNAMES=a\nLISTEN_FDS=1", 1},
        {"LISTEN_FDS=1\nLISTEN_FDNAMES=a", 0},
        {"LISTEN_FDS=0\nLISTEN_FDNAMES=", 1},
        {"LISTEN_FDS=2\nLISTEN_FDNAMES=a", 2},
        {"LISTEN_FDS=1\nLISTEN_FDNAMES=a:b", 1},
        {"LISTEN_FDS=1\nLISTEN_FDNAMES=a\nb", 1},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct error e = ERROR_INIT;
        struct fd_store *s;
        struct keeper k;

        start_keeper(&k, cases[i].greeting, cases[i].n_fds);
        assert_int_equal(fd_store_new(k.path, &s, &e), -EPROTO);
        assert_non_null(strstr(e.text, "the keeper at \"/tmp/fd-store-"));
        assert_non_null(strstr(e.text, "does not respond as one: Protocol error"));
        end_greeting(&k);
        stop_keeper(&k);
    }
}

/* It starts later, or refuses this process, or has ended while this process waited. */
static void test_no_keeper_yet(void **state)
{
    struct error e = ERROR_INIT;
    struct fd_store *s;
    struct keeper k;

    start_keeper(&k, "", 0);
    assert_int_equal(fd_store_new(k.path, &s, &e), 0);
    end_greeting(&k);
    assert_string_equal(e.text, "");
    assert_true(fd_store_is_available(s) && fd_store_is_behind_socket(s));
    assert_false(fd_store_is_certain(s));
    assert_int_equal(fd_store_peek_fd(s), -1);
    assert_int_equal(fd_store_put(s, "fuse", k.listening, FD_STORE_UNTIL_HANGUP, &e), 0);
    assert_int_equal(fd_store_sync(s, SPAN_FOREVER, &e), 0);

    k.greeting = "LISTEN_FDS=0\nLISTEN_FDNAMES=";
    listen_again(&k);
    reconnect(s, &k);
    assert_true(fd_store_is_certain(s));
    check_put(s, &k);
    fd_store_free(s);
    stop_keeper(&k);
}

static void test_no_keeper(void **state)
{
    struct error e = ERROR_INIT;
    char path[200];
    struct fd_store *s;
    int fd;

    assert_int_equal(fd_store_new("/nonexistent/keeper", &s, &e), 0);
    assert_false(fd_store_is_certain(s));
    assert_int_equal(fd_store_reconnect(s, &fd, &e), -ENOENT);
    assert_string_equal(e.text, "cannot connect to the keeper at \"/nonexistent/keeper\": "
                                "No such file or directory");
    fd_store_free(s);
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(fd_store_new(path, &s, &e), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_put_and_remove),
        cmocka_unit_test(test_sync_waits_for_the_manager),
        cmocka_unit_test(test_a_dead_manager_is_an_error),
        cmocka_unit_test(test_without_a_manager_nothing_is_stored),
        cmocka_unit_test(test_a_manager_that_keeps_nothing),
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_a_keeper_sends_what_is_stored),
        cmocka_unit_test(test_a_new_keeper_at_the_same_path),
        cmocka_unit_test(test_an_empty_keeper),
        cmocka_unit_test(test_invalid_responses_of_a_keeper),
        cmocka_unit_test(test_no_keeper_yet),
        cmocka_unit_test(test_no_keeper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

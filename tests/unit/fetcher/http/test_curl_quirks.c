/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lets secrets come from a server, over every protocol, and then looks through all of this
 * process's memory for what should not be there any more. The program's own heap is part of the
 * promise, so it is part of this test.
 */
#include "fetcher/http/curl_quirks.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/heap.c"
#include "fetcher/api/api_source.h"
#include "tests/unit/test_server.h"

#define DIR_TEMPLATE "/tmp/test-memory-XXXXXX"

/*
 * A value is a unit repeated, which is made of the version. Its base64 repeats as well, as the unit
 * is a multiple of three.
 */
#define UNIT_LEN   48
#define NEEDLE_LEN 16
#define UNITS_MAX  16384

static char value_byte(unsigned version, size_t i)
{
    i %= UNIT_LEN;
    return (char)('a' + (version * 7 + i * i + i * version) % 26);
}

static char base64_char(unsigned version, size_t i)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = i / 4 * 3;
    unsigned long bits = ((unsigned long)value_byte(version, at) << 16) |
                         ((unsigned long)value_byte(version, at + 1) << 8) |
                         (unsigned long)value_byte(version, at + 2);

    return alphabet[(bits >> (18 - 6 * (i % 4))) & 63];
}

/* ---- the server, a process of its own */

struct command {
    unsigned version;
    size_t n_units;
};

static char *make_secret(const struct command *command)
{
    size_t len = command->n_units * (UNIT_LEN / 3 * 4);
    char *value = malloc(len + 1), *text;

    for (size_t i = 0; i < len; i++)
        value[i] = base64_char(command->version, i);
    value[len] = '\0';
    if (asprintf(&text,
                 "{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"db\","
                 "\"namespace\":\"default\",\"uid\":\"u\",\"resourceVersion\":\"%u\"},"
                 "\"data\":{\"key\":\"%s\"}}",
                 command->version, value) < 0)
        abort();
    free(value);
    return text;
}

static void serve_list(struct connection *c, bool is_db)
{
    const struct command first = {.version = 1, .n_units = 1000};
    char *secret = make_secret(&first), *list;

    if (asprintf(
            &list,
            "{\"kind\":\"SecretList\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[%s]}",
            is_db ? secret : "") < 0)
        abort();
    server_answer(c, "200 OK", list);
    free(list);
    free(secret);
}

static void serve_event(struct connection *c, const struct command *command)
{
    char *secret = make_secret(command), *event;
    int len = asprintf(&event, "{\"type\":\"MODIFIED\",\"object\":%s}\n", secret);

    server_printf(c, "%x\r\n%s\r\n", (unsigned)len, event);
    free(event);
    free(secret);
}

static void serve(struct connection *c, const char *head)
{
    bool is_db = strstr(head, "%3Ddb") != NULL;
    struct command command;

    if (strstr(head, "watch=true") == NULL) {
        serve_list(c, is_db);
        return;
    }
    server_printf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    if (!is_db)
        server_hang(c);
    while (read(c->control_fd, &command, sizeof(command)) == sizeof(command))
        serve_event(c, &command);
}

/* ---- searching */

/* The beginning of a unit, with each bit 7 set so that it is not what is searched for. */
struct needle {
    unsigned char hidden[NEEDLE_LEN];
};

static struct needle hide_value(unsigned version)
{
    struct needle needle;

    for (size_t i = 0; i < NEEDLE_LEN; i++)
        needle.hidden[i] = (unsigned char)(value_byte(version, i) | 0x80);
    return needle;
}

static struct needle hide_base64(unsigned version)
{
    struct needle needle;

    for (size_t i = 0; i < NEEDLE_LEN; i++)
        needle.hidden[i] = (unsigned char)(base64_char(version, i) | 0x80);
    return needle;
}

static size_t count_in(const unsigned char *from, const unsigned char *to,
                       const struct needle *needle)
{
    unsigned char first = needle->hidden[0] & 0x7f;
    size_t n = 0;

    for (const unsigned char *p = from; p + NEEDLE_LEN <= to; p++) {
        size_t i;

        p = memchr(p, first, (size_t)(to - p));
        if (p == NULL || p + NEEDLE_LEN > to)
            break;
        for (i = 1; i < NEEDLE_LEN && (p[i] ^ needle->hidden[i]) == 0x80; i++)
            continue;
        n += i == NEEDLE_LEN;
    }
    return n;
}

/* What all memory that was ever written to holds. */
static size_t count_in_memory(struct needle needle)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long from, to;
    size_t n = 0;
    char line[512], mode[5];

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        bool is_kernels = strstr(line, "[v") != NULL;

        if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) == 3 && mode[0] == 'r' && !is_kernels)
            n += count_in((const unsigned char *)from, (const unsigned char *)to, &needle);
    }
    fclose(maps);
    return n;
}

/* ---- the fetcher */

struct fixture {
    struct made_pair pair;
    struct test_server plain;
    struct test_server tls;
    struct http_proxy proxy;
    char dir[sizeof(DIR_TEMPLATE)];
    sd_event *event;
    struct store *store;
    struct source *source;
    struct store_subscription *db;
    struct store_subscription *idle[5]; /* what shares the connection */
};

static void on_changed(void *userdata, const struct store_view *view)
{
}

static struct store_subscription *subscribe(struct fixture *f, const char *name)
{
    const struct object_key key = {OBJECT_SECRET, "default", name, NULL};
    struct store_subscription *subscription;

    assert_int_equal(store_subscribe(f->store, &key, on_changed, NULL, &subscription, NULL), 0);
    return subscription;
}

static void begin(struct fixture *f, const char *scheme, int port)
{
    struct api_config *config;
    struct error e = ERROR_INIT;

    if (!heap_wipes())
        skip(); /* a sanitizer's heap keeps what was freed */
    config = calloc(1, sizeof(*config));
    assert_non_null(config);
    config->origin = strdup("the test");
    config->token = strdup("dummy");
    config->tls_server_name = strdup("dummy");
    config->certificate_authority.data = strdup(f->pair.cert_pem);
    assert_true(asprintf(&config->server, "%s://127.0.0.1:%d", scheme, port) > 0);
    assert_int_equal(api_source_new(f->event, f->store, config, &f->source, &e), 0);
    store_set_source(f->store, &f->source->ops->store, f->source);
    f->db = subscribe(f, "db");
    for (size_t i = 0; i < ELEMENTS_OF(f->idle); i++) {
        const char name[] = {(char)('a' + i), '\0'};

        f->idle[i] = subscribe(f, name);
    }
}

static bool is_shown(struct fixture *f, unsigned version)
{
    const struct store_view *view = store_peek(f->db);

    return view->object != NULL && strtoul(view->object->resource_version, NULL, 10) == version &&
           view->source_state == STORE_SOURCE_LIVE;
}

/* Until the version is there and the loop has nothing to do any more. */
static void run_until_shown(struct fixture *f, unsigned version)
{
    while (!is_shown(f, version))
        assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
    while (sd_event_run(f->event, 0) > 0)
        continue;
}

static const size_t sizes[] = {
    1, 10000, 1, 16384, 300, 2, 700, 16384, 341, 1,
};

static void check_memory(struct fixture *f, int control_fd)
{
    struct command command = {.version = 1};

    run_until_shown(f, command.version);
    for (size_t i = 0; i < ELEMENTS_OF(sizes); i++) {
        assert_true(count_in_memory(hide_value(command.version)) > 0); /* the search finds it */
        assert_int_equal(count_in_memory(hide_base64(command.version)), 0);
        command.version++;
        command.n_units = sizes[i];
        assert_int_equal(write(control_fd, &command, sizeof(command)), sizeof(command));
        run_until_shown(f, command.version);
        assert_int_equal(count_in_memory(hide_value(command.version - 1)), 0);
    }
}

static void test_plain(void **state)
{
    struct fixture *f = *state;

    begin(f, "http", f->plain.port);
    check_memory(f, f->plain.control_fd);
}

static void test_tls(void **state)
{
    struct fixture *f = *state;

    begin(f, "https", f->tls.port);
    check_memory(f, f->tls.control_fd);
}

static void test_http2(void **state)
{
    struct fixture *f = *state;

    if (f->proxy.pid == 0 || !curl_quirk_applies(CURL_QUIRK_RECEIVE_BUFFER))
        skip();
    begin(f, "https", f->proxy.port);
    check_memory(f, f->plain.control_fd);
}

/* @version: major << 16 | minor << 8 | patch */
static void assert_quirks(unsigned version, unsigned expected)
{
    unsigned found = 0;

    for (unsigned i = 0; i < CURL_QUIRKS; i++)
        found |= curl_quirk_is_in((enum curl_quirk)i, version) ? 1u << i : 0;
    assert_int_equal(found, expected);
}

static void test_versions(void **state)
{
    const unsigned all = 1u << CURL_QUIRK_BUFFERED_RESET | 1u << CURL_QUIRK_HELD_RESTART,
                   before_8_14 =
                       all | 1u << CURL_QUIRK_LOST_SOCKET | 1u << CURL_QUIRK_INHERITED_SOCKETS,
                   after_8_14 =
                       all | 1u << CURL_QUIRK_LATE_VERIFICATION | 1u << CURL_QUIRK_KEY_ERROR,
                   only_7_88 = 1u << CURL_QUIRK_UNREAD_INPUT | 1u << CURL_QUIRK_RECEIVE_BUFFER;

    assert_quirks(0x075700, before_8_14);
    assert_quirks(0x075800, before_8_14 | only_7_88);
    assert_quirks(0x0758ff, before_8_14 | only_7_88);
    assert_quirks(0x080000, before_8_14);
    assert_quirks(0x080dff, before_8_14);
    assert_quirks(0x080e00, all);
    assert_quirks(0x080eff, all);
    assert_quirks(0x080f00, after_8_14);
    assert_quirks(0x081700, after_8_14);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    snprintf(f->dir, sizeof(f->dir), "%s", DIR_TEMPLATE);
    assert_non_null(mkdtemp(f->dir));
    f->pair = pair_make(3600);
    test_server_start(&f->plain, NULL, serve);
    test_server_start(&f->tls, &f->pair, serve);
    http_proxy_start(&f->proxy, f->dir, &f->pair, f->plain.port);
    assert_int_equal(sd_event_new(&f->event), 0);
    assert_int_equal(store_new(&f->store), 0);
    assert_int_equal(curl_quirks_init(NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    f->db = store_unsubscribe(f->db);
    for (size_t i = 0; i < ELEMENTS_OF(f->idle); i++)
        f->idle[i] = store_unsubscribe(f->idle[i]);
    store_free(f->store);
    source_free(f->source);
    sd_event_unref(f->event);
    http_proxy_stop(&f->proxy, f->dir);
    test_server_stop(&f->plain);
    test_server_stop(&f->tls);
    pair_unmake(&f->pair);
    free(f);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        TEST(test_plain),
        TEST(test_tls),
        TEST(test_http2),
    };

    alarm(120);
    setenv("no_proxy", "*", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

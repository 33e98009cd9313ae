/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "grpc/headers.h"

struct header {
    const char *name, *value;
};

/* The headers of a kubelet. */
#define METHOD                                                                                     \
    {                                                                                              \
        ":method", "POST"                                                                          \
    }
#define SCHEME                                                                                     \
    {                                                                                              \
        ":scheme", "http"                                                                          \
    }
#define PATH                                                                                       \
    {                                                                                              \
        ":path", "/csi.v1.Node/NodeGetInfo"                                                        \
    }
#define AUTHORITY                                                                                  \
    {                                                                                              \
        ":authority", "localhost"                                                                  \
    }
#define PSEUDO METHOD, SCHEME, PATH, AUTHORITY
#define TYPE                                                                                       \
    {                                                                                              \
        "content-type", "application/grpc"                                                         \
    }

struct outcome {
    enum grpc_headers_verdict verdict;
    struct grpc_headers headers;
    unsigned http_status;
    enum grpc_code code;
    struct error e;
};

static struct outcome check_all(const struct header *all, size_t n)
{
    struct outcome o = {.code = GRPC_UNKNOWN, .e = ERROR_INIT};

    grpc_headers_init(&o.headers);
    for (size_t i = 0; i < n; i++)
        grpc_headers_add(&o.headers, all[i].name, strlen(all[i].name), all[i].value,
                         strlen(all[i].value));
    o.verdict = grpc_headers_check(&o.headers, &o.http_status, &o.code, &o.e);
    return o;
}
#define check(...)                                                                                 \
    check_all((const struct header[]){__VA_ARGS__},                                                \
              sizeof((const struct header[]){__VA_ARGS__}) / sizeof(struct header))

static void those_of_a_kubelet(void **state)
{
    static const char *const authorities[] = {"/var/lib/kubelet/plugins/x/csi.sock",
                                              "%2Fvar%2Flib%2Fx.sock", "localhost", ""};
    struct outcome o;

    for (size_t i = 0; i < ELEMENTS_OF(authorities); i++) {
        o = check(METHOD, SCHEME, PATH, {":authority", authorities[i]}, TYPE, {"te", "trailers"},
                  {"user-agent", "grpc-go/1.27"}, {"grpc-timeout", "119999m"});
        assert_int_equal(o.verdict, GRPC_HEADERS_VALID);
        assert_string_equal(o.headers.path, "/csi.v1.Node/NodeGetInfo");
        assert_int_equal(o.headers.timeout, SPAN_MS(119999));
    }
    o = check(METHOD, SCHEME, PATH, TYPE);
    assert_int_equal(o.verdict, GRPC_HEADERS_VALID);
    assert_int_equal(o.headers.timeout, SPAN_FOREVER);
}

static void forbidden_headers_are_malformed(void **state)
{
#define MALFORMED(...) assert_int_equal(check(__VA_ARGS__).verdict, GRPC_HEADERS_MALFORMED)
    MALFORMED(SCHEME, PATH, TYPE);
    MALFORMED(METHOD, PATH, TYPE);
    MALFORMED(METHOD, SCHEME, TYPE);
    MALFORMED(PSEUDO, METHOD, TYPE);
    MALFORMED(PSEUDO, AUTHORITY, TYPE);
    MALFORMED(METHOD, SCHEME, TYPE, PATH);
    MALFORMED(PSEUDO, {":status", "200"}, TYPE);
    MALFORMED(PSEUDO, {":", "x"}, TYPE);
    MALFORMED(PSEUDO, {"", "x"}, TYPE);
    MALFORMED(PSEUDO, {"Content-Type", "application/grpc"}, TYPE);
    MALFORMED(PSEUDO, TYPE, {"connection", "close"});
    MALFORMED(PSEUDO, TYPE, {"keep-alive", "x"});
    MALFORMED(PSEUDO, TYPE, {"proxy-connection", "x"});
    MALFORMED(PSEUDO, TYPE, {"transfer-encoding", "chunked"});
    MALFORMED(PSEUDO, TYPE, {"upgrade", "x"});
    MALFORMED(PSEUDO, TYPE, {"te", "gzip"});
    MALFORMED(METHOD, SCHEME, {":path", ""}, TYPE);
    MALFORMED(METHOD, SCHEME, {":path", "csi"}, TYPE);
#undef MALFORMED
}

static void what_is_no_grpc(void **state)
{
    static const char *const types[] = {"",
                                        "application/grp",
                                        "application/grpc-web",
                                        "application/grpcx",
                                        "application/grpc+json",
                                        "application/grpc+protox",
                                        "text/html"};
    static const char *const good_types[] = {"application/grpc", "application/grpc+proto",
                                             "application/grpc;q=1", "application/grpc+proto ;q"};
    struct outcome o = check(PSEUDO);

    assert_int_equal(o.verdict, GRPC_HEADERS_NOT_GRPC);
    assert_int_equal(o.http_status, 415);
    for (size_t i = 0; i < ELEMENTS_OF(types); i++) {
        o = check(PSEUDO, {"content-type", types[i]});
        assert_int_equal(o.verdict, GRPC_HEADERS_NOT_GRPC);
        assert_int_equal(o.http_status, 415);
    }
    for (size_t i = 0; i < ELEMENTS_OF(good_types); i++)
        assert_int_equal(check(PSEUDO, {"content-type", good_types[i]}).verdict,
                         GRPC_HEADERS_VALID);
    o = check({":method", "GET"}, SCHEME, PATH, TYPE);
    assert_int_equal(o.verdict, GRPC_HEADERS_NOT_GRPC);
    assert_int_equal(o.http_status, 405);
}

static void unsupported_headers_are_refused(void **state)
{
    struct outcome o = check(PSEUDO, TYPE, {"grpc-encoding", "gzip"});

    assert_int_equal(o.verdict, GRPC_HEADERS_REFUSED);
    assert_int_equal(o.code, GRPC_UNIMPLEMENTED);
    assert_int_equal(check(PSEUDO, TYPE, {"grpc-encoding", "identity"}).verdict,
                     GRPC_HEADERS_VALID);
    o = check(PSEUDO, TYPE, {"grpc-timeout", "soon"});
    assert_int_equal(o.verdict, GRPC_HEADERS_REFUSED);
    assert_int_equal(o.code, GRPC_INTERNAL);
}

/* A long path is cut, and can be none that is served. */
static void long_paths(void **state)
{
    char path[1000];
    struct outcome o;

    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    o = check(METHOD, SCHEME, {":path", path}, TYPE);
    assert_int_equal(o.verdict, GRPC_HEADERS_VALID);
    assert_int_equal(strlen(o.headers.path), GRPC_PATH_MAX - 1);
}

static void nul_in_path_is_malformed(void **state)
{
    static const char path[] = "/csi.v1.Node/NodeGetInfo\0x";
    struct grpc_headers headers;

    grpc_headers_init(&headers);
    grpc_headers_add(&headers, ":path", 5, path, sizeof(path) - 1);
    assert_true(headers.is_malformed);
}

/* Counted as HTTP/2 does it: 32 for each header beside its characters. */
static void size_is_limited(void **state)
{
    struct grpc_headers headers;
    struct error e = ERROR_INIT;
    enum grpc_code code = GRPC_OK;
    unsigned http_status;

    grpc_headers_init(&headers);
    grpc_headers_add(&headers, ":method", 7, "POST", 4);
    grpc_headers_add(&headers, ":scheme", 7, "http", 4);
    grpc_headers_add(&headers, ":path", 5, "/", 1);
    grpc_headers_add(&headers, "content-type", 12, "application/grpc", 16);
    while (headers.n_bytes + 33 <= GRPC_HEADERS_MAX_BYTES)
        grpc_headers_add(&headers, "x", 1, "", 0);
    assert_int_equal(grpc_headers_check(&headers, &http_status, &code, &e), GRPC_HEADERS_VALID);
    grpc_headers_add(&headers, "x", 1, "", 0);
    assert_int_equal(grpc_headers_check(&headers, &http_status, &code, &e), GRPC_HEADERS_REFUSED);
    assert_int_equal(code, GRPC_RESOURCE_EXHAUSTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_of_a_kubelet), cmocka_unit_test(forbidden_headers_are_malformed),
        cmocka_unit_test(what_is_no_grpc),    cmocka_unit_test(unsupported_headers_are_refused),
        cmocka_unit_test(long_paths),         cmocka_unit_test(nul_in_path_is_malformed),
        cmocka_unit_test(size_is_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/auth/api_config.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* For sources with a token of their own: nothing of the user stays. */
static void test_anonymous_copy_has_no_credentials(void **state)
{
    static char some[] = "some", *names[] = {some, NULL};
    const struct api_config config = {
        .origin = some,
        .server = some,
        .tls_server_name = some,
        .proxy_url = some,
        .insecure_skip_tls_verify = true,
        .certificate_authority = {.data = some, .file = some},
        .client_certificate = {.data = some, .file = some},
        .client_key = {.data = some, .file = some},
        .token = some,
        .token_file = some,
        .username = some,
        .password = some,
        .impersonate_user = some,
        .impersonate_groups = names,
        .impersonate_uid = some,
        .namespace = some,
    };
    struct api_config *dup = api_config_dup_anonymous(&config);

    assert_non_null(dup);
    assert_string_equal(dup->origin, "some");
    assert_string_equal(dup->server, "some");
    assert_string_equal(dup->tls_server_name, "some");
    assert_string_equal(dup->proxy_url, "some");
    assert_true(dup->insecure_skip_tls_verify);
    assert_string_equal(dup->certificate_authority.data, "some");
    assert_string_equal(dup->certificate_authority.file, "some");
    assert_string_equal(dup->namespace, "some");
    assert_null(dup->client_certificate.data);
    assert_null(dup->client_certificate.file);
    assert_null(dup->client_key.data);
    assert_null(dup->client_key.file);
    assert_null(dup->token);
    assert_null(dup->token_file);
    assert_null(dup->username);
    assert_null(dup->password);
    assert_null(dup->exec);
    assert_null(dup->impersonate_user);
    assert_null(dup->impersonate_groups);
    assert_null(dup->impersonate_uid);
    api_config_free(dup);
}

static char *normalised(const char *server, bool is_tls)
{
    struct api_config config = {.server = strdup(server), .insecure_skip_tls_verify = is_tls};
    struct error e = ERROR_INIT;

    if (api_config_normalise_server(&config, &e) < 0) {
        assert_string_not_equal(e.text, "");
        free(config.server);
        return NULL;
    }
    return config.server;
}

static void test_servers_form(void **state)
{
    static const struct {
        const char *server;
        const char *plain;    /* NULL: an error */
        const char *with_tls; /* beside TLS settings */
    } servers[] = {
        {"https://c.test:6443/", "https://c.test:6443", "https://c.test:6443"},
        {"HTTP://c.test/a//", "http://c.test/a", "http://c.test/a"},
        {"c.test:6443", NULL, "https://c.test:6443"},
        {"ftp://c.test", NULL, NULL},
        {"https://me@c.test", NULL, NULL},
    };

    for (size_t i = 0; i < ELEMENTS_OF(servers); i++) {
        for (int is_tls = 0; is_tls <= 1; is_tls++) {
            const char *expected = is_tls ? servers[i].with_tls : servers[i].plain;
            char *server = normalised(servers[i].server, is_tls);

            assert_int_equal(server == NULL, expected == NULL);
            if (server != NULL)
                assert_string_equal(server, expected);
            free(server);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anonymous_copy_has_no_credentials),
        cmocka_unit_test(test_servers_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

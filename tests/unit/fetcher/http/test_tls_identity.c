/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/http/tls_identity.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"

static struct tls_identity *get(void **tree, const struct credentials_snapshot *snapshot)
{
    struct tls_identity *identity = tls_identity_get(tree, snapshot);

    assert_non_null(identity);
    return identity;
}

static void same_content_is_shared(void **state)
{
    char token[] = "Bearer dummy";
    struct credentials_snapshot snapshot = {.ca_pem = "ca", .authorization = token, .version = 1};
    void *tree = NULL;
    struct tls_identity *a = get(&tree, &snapshot), *b;

    snapshot.version = 2; /* not content */
    assert_ptr_equal(get(&tree, &snapshot), a);
    token[0] = 'X'; /* it has a copy */
    assert_string_equal(a->authorization, "Authorization: Bearer dummy");
    assert_string_equal(a->ca_pem, "ca");
    assert_null(a->client_cert_pem);
    b = get(&tree, &snapshot);
    assert_ptr_not_equal(b, a);
    assert_string_equal(b->authorization, "Authorization: Xearer dummy");
    assert_null(tls_identity_unref(a));
    token[0] = 'B';
    assert_ptr_equal(get(&tree, &snapshot), a); /* as it is still referred to */
    tls_identity_unref(a);
    tls_identity_unref(a);
    tls_identity_unref(b);
    assert_null(tree);
    assert_null(tls_identity_unref(NULL));
}

static void any_difference_counts(void **state)
{
    static const struct credentials_snapshot all[] = {
        {.version = 1},
        {.authorization = "a"},
        {.authorization = "b"},
        {.ca_pem = "a"},
        {.client_cert_pem = "a"},
        {.client_cert_pem = "a", .client_key_pem = "a"},
        {.client_cert_pem = "a", .client_key_pem = "b"},
        {.client_cert_pem = "a", .client_key_pem = "b", .ca_pem = "c", .authorization = "d"},
    };
    struct tls_identity *made[ELEMENTS_OF(all)];
    void *tree = NULL;

    for (size_t i = 0; i < ELEMENTS_OF(all); i++) {
        made[i] = get(&tree, &all[i]);
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(made[i], made[k]);
    }
    for (size_t i = 0; i < ELEMENTS_OF(all); i++)
        tls_identity_unref(made[i]);
    assert_null(tree);
}

static int get_and_free(void *userdata)
{
    const struct credentials_snapshot snapshot = {
        .ca_pem = "a", .client_cert_pem = "b", .client_key_pem = "c", .authorization = "d"};
    void *tree = NULL;
    struct tls_identity *identity = tls_identity_get(&tree, &snapshot);

    if (identity == NULL)
        return -ENOMEM;
    tls_identity_unref(identity);
    return 0;
}

static void without_memory(void **state)
{
    failmalloc_try(get_and_free, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_content_is_shared),
        cmocka_unit_test(any_difference_counts),
        cmocka_unit_test(without_memory),
    };

    return cmocka_run_group_tests_name("tls_identity", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Receive buffers: their content, and which of their pages are resident. */
#include "fetcher/http/page_buffers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PAGE  4096u
#define PAGES 5u

static size_t n_resident(void *buffer)
{
    unsigned char resident[PAGES];
    size_t n = 0;

    assert_int_equal(mincore(buffer, (size_t)PAGES * PAGE, resident), 0);
    for (size_t i = 0; i < PAGES; i++)
        n += resident[i] & 1u;
    return n;
}

static void assert_zero(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        assert_int_equal(bytes[i], 0);
}

static void test_unused_buffer_costs_no_page(void **state)
{
    char *buffer = page_buffers_alloc();

    assert_non_null(buffer);
    assert_true(page_buffers_have(buffer));
    assert_false(page_buffers_have(buffer + 1));
    assert_int_equal(n_resident(buffer), 0);
    buffer[0] = 'x';
    assert_int_equal(n_resident(buffer), 1);
    assert_true(page_buffers_free(buffer));
    assert_int_equal(page_buffers_mapped_bytes(), 0);
}

static void test_next_owner_finds_zeros_and_no_page(void **state)
{
    char *other = page_buffers_alloc(), *buffer = page_buffers_alloc();

    memset(buffer, 'x', PAGE_BUFFER_BYTES);
    assert_true(page_buffers_free(buffer));
    assert_ptr_equal(page_buffers_alloc(), buffer);
    assert_int_equal(n_resident(buffer), 0);
    assert_zero(buffer, PAGE_BUFFER_BYTES);
    page_buffers_free(buffer);
    page_buffers_free(other);
}

static void wipe(char *buffer, size_t from, size_t len, size_t n_pages_left)
{
    memset(buffer, 'x', PAGE_BUFFER_BYTES);
    page_buffers_wipe(buffer + from, len);
    assert_int_equal(n_resident(buffer), n_pages_left);
    assert_zero(buffer + from, len);
    for (size_t i = 0; i < PAGE_BUFFER_BYTES; i++)
        if (i < from || i >= from + len)
            assert_int_equal(buffer[i], 'x');
}

static void test_wiping_releases_whole_pages_and_nothing_beside(void **state)
{
    char *buffer = page_buffers_alloc();

    wipe(buffer, 0, 0, 5);
    wipe(buffer, 10, 100, 5);
    wipe(buffer, 10, PAGE, 5);
    wipe(buffer, 0, PAGE, 4);
    wipe(buffer, PAGE - 1, 2, 5);
    wipe(buffer, PAGE - 1, PAGE + 2, 4);
    wipe(buffer, 1, PAGE_BUFFER_DATA_BYTES - 1, 2);
    wipe(buffer, 0, PAGE_BUFFER_BYTES, 0);
    page_buffers_free(buffer);
}

static void receive(size_t from, size_t len)
{
    char *buffer = page_buffers_alloc(); /* of which no page is resident */

    memset(buffer + from, 'x', len);
    page_buffers_wipe(buffer + from, len);
    assert_int_equal(n_resident(buffer), 0);
    assert_zero(buffer, PAGE_BUFFER_BYTES);
    page_buffers_free(buffer);
}

static void test_what_is_shorter_than_a_page_leaves_none(void **state)
{
    receive(0, 1);
    receive(0, PAGE - 1);
    receive(10, 100);
    receive(PAGE - 1, 2);
    receive(PAGE + 1, PAGE + 1);
    receive(PAGE_BUFFER_BYTES - 1, 1);
}

static void test_other_memory_is_wiped_and_not_freed(void **state)
{
    size_t len = (size_t)PAGES * PAGE;
    char *memory = malloc(len);

    memset(memory, 'x', len);
    page_buffers_wipe(memory, len);
    assert_zero(memory, len);
    assert_false(page_buffers_have(memory));
    assert_false(page_buffers_free(memory));
    assert_false(page_buffers_free(NULL));
    free(memory);
}

/* As root the program's memory is locked. */
static void test_locked_pages_are_wiped(void **state)
{
    char *buffer = page_buffers_alloc();

    if (mlock(buffer, PAGE_BUFFER_BYTES) < 0)
        skip();
    memset(buffer, 'x', PAGE_BUFFER_BYTES);
    page_buffers_wipe(buffer, PAGE_BUFFER_DATA_BYTES);
    assert_zero(buffer, PAGE_BUFFER_DATA_BYTES);
    page_buffers_free(buffer);
}

static void test_limit(void **state)
{
    static void *all[64 * 256];

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        all[i] = page_buffers_alloc();
        assert_non_null(all[i]);
    }
    assert_null(page_buffers_alloc());
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        assert_true(page_buffers_free(all[i]));
    assert_int_equal(page_buffers_mapped_bytes(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unused_buffer_costs_no_page),
        cmocka_unit_test(test_next_owner_finds_zeros_and_no_page),
        cmocka_unit_test(test_wiping_releases_whole_pages_and_nothing_beside),
        cmocka_unit_test(test_what_is_shorter_than_a_page_leaves_none),
        cmocka_unit_test(test_other_memory_is_wiped_and_not_freed),
        cmocka_unit_test(test_locked_pages_are_wiped),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests_name("page_buffers", tests, NULL, NULL);
}

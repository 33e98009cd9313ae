/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/list.h"

struct item {
    int n;
    struct list link;
};

static void fill(struct list *head, struct item items[static 3])
{
    list_init(head);
    for (int i = 0; i < 3; i++) {
        items[i].n = i;
        list_append(head, &items[i].link);
    }
}

static void test_order(void **state)
{
    struct list head = LIST_INIT(head);
    struct item items[3], *item;
    int n = 0;

    assert_true(list_is_empty(&head));
    list_for_each (item, &head, link)
        fail();
    fill(&head, items);
    assert_false(list_is_empty(&head));
    list_for_each (item, &head, link)
        assert_int_equal(item->n, n++);
    assert_int_equal(n, 3);
}

static void test_removes_while_walking(void **state)
{
    struct list head;
    struct item items[3], *item, *tmp;

    fill(&head, items);
    list_for_each_safe (item, tmp, &head, link)
        if (item->n != 1)
            list_remove(&item->link);
    list_for_each (item, &head, link)
        assert_int_equal(item->n, 1);
    list_remove(&items[1].link);
    list_remove(&items[1].link); /* again is fine */
    assert_true(list_is_empty(&head));
    list_append(&head, &items[0].link);
    assert_false(list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_removes_while_walking),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

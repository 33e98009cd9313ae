/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A circular doubly linked list; the link is embedded in its element, the head is a link too. */
#include "base/util.h"

struct list {
    struct list *next;
    struct list *prev;
};

#define LIST_INIT(head)                                                                            \
    (struct list)                                                                                  \
    {                                                                                              \
        .next = &(head), .prev = &(head)                                                           \
    }

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_append(struct list *head, struct list *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

/* Take @l out of its list; it may be removed again, or appended to another list. */
static inline void list_remove(struct list *l)
{
    assert(l->prev->next == l && l->next->prev == l);
    l->prev->next = l->next;
    l->next->prev = l->prev;
    list_init(l);
}

#define list_entry(link, type, member) CONTAINER_OF(link, type, member)

#define list_for_each(pos, head, member)                                                           \
    for ((pos) = list_entry((head)->next, __typeof__(*(pos)), member); &(pos)->member != (head);   \
         (pos) = list_entry((pos)->member.next, __typeof__(*(pos)), member))

/* The body may remove @pos. */
#define list_for_each_safe(pos, tmp, head, member)                                                 \
    for ((pos) = list_entry((head)->next, __typeof__(*(pos)), member),                             \
        (tmp) = list_entry((pos)->member.next, __typeof__(*(pos)), member);                        \
         &(pos)->member != (head);                                                                 \
         (pos) = (tmp), (tmp) = list_entry((tmp)->member.next, __typeof__(*(tmp)), member))

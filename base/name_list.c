/* SPDX-License-Identifier: Apache-2.0 */
#include "base/name_list.h"

#include <stdio.h>

#include "base/nearest.h"

static unsigned distance_to(const struct name_list *list, const char *name)
{
    size_t len = strlen(name), wanted_len = strlen(list->wanted);

    return wanted_len > NEAREST_WORD_MAX_LEN
               ? 0
               : nearest_distance(list->wanted, wanted_len, name, len);
}

/* Whether @a stands before @b. */
static bool is_before(const struct name_list_entry *a, const struct name_list_entry *b)
{
    return a->distance != b->distance ? a->distance < b->distance : strcmp(a->name, b->name) < 0;
}

/* The farthest one leaves a full list. */
static void insert(struct name_list *list, const struct name_list_entry *entry)
{
    size_t at = list->n_shown;

    while (at > 0 && is_before(entry, &list->shown[at - 1]))
        at--;
    if (at == NAME_LIST_SHOWN_MAX)
        return;
    if (list->n_shown < NAME_LIST_SHOWN_MAX)
        list->n_shown++;
    memmove(&list->shown[at + 1], &list->shown[at],
            (list->n_shown - at - 1) * sizeof(list->shown[0]));
    list->shown[at] = *entry;
}

void name_list_offer(void *list, const char *name)
{
    struct name_list *l = list;
    struct name_list_entry entry;

    l->n++;
    if (strlen(name) > NAME_LIST_NAME_MAX_LEN)
        return;
    entry.distance = distance_to(l, name);
    memcpy(entry.name, name, strlen(name) + 1);
    insert(l, &entry);
}

void name_list_offer_once(struct name_list *list, const char *name)
{
    for (size_t i = 0; i < list->n_shown; i++)
        if (streq(list->shown[i].name, name))
            return;
    name_list_offer(list, name);
}

static void append(struct error *text, const char *words)
{
    size_t used = strlen(text->text);

    snprintf(text->text + used, sizeof(text->text) - used, "%s", words);
}

/* Eight names of 63 bytes would not leave room for the rest of a message. */
static size_t fitting(const struct name_list *list)
{
    size_t n = 0, len = 0;

    while (n < list->n_shown) {
        len += strlen(list->shown[n].name) + 2;
        if (len > ERROR_TEXT_MAX / 2)
            break;
        n++;
    }
    return n;
}

/* What follows @n names. */
static void append_rest(const struct name_list *list, size_t n, struct error *text)
{
    char rest[64] = "";

    if (list->n == 0)
        snprintf(rest, sizeof(rest), "none");
    else if (n == 0)
        snprintf(rest, sizeof(rest), "%zu with long names", list->n);
    else if (list->is_part)
        snprintf(rest, sizeof(rest), " and more");
    else if (list->n > n)
        snprintf(rest, sizeof(rest), " and %zu more", list->n - n);
    append(text, rest);
}

void name_list_print(const struct name_list *list, struct error *ret_text)
{
    size_t n = fitting(list);

    *ret_text = ERROR_INIT;
    for (size_t i = 0; i < n; i++) {
        append(ret_text, i > 0 ? ", " : "");
        append(ret_text, list->shown[i].name);
    }
    append_rest(list, n, ret_text);
}

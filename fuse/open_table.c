/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handle is the place of the open file in the table, plus 1, and above it 32 bits of the number
 * of its OPEN request. The kernel numbers requests in steps of 2 and never again, so a handle of an
 * open file that was closed is not found, although another one may have its place.
 *
 * Free places form a list. The one that was freed last is used next, so that the table stays as
 * small as the largest number of files that were open at a time.
 */
#include "fuse/open_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define N_SLOTS_MIN 64u

void open_table_deinit(struct open_table *table)
{
    free(table->slots);
    *table = (struct open_table){0};
}

uint32_t open_table_index(uint64_t handle)
{
    return (uint32_t)handle - 1;
}

static uint64_t handle_of(uint32_t index, uint64_t unique)
{
    return unique >> 1 << 32 | (index + 1);
}

static void add_free(struct open_table *t, uint32_t index)
{
    t->slots[index] = (struct open_slot){.next_free = t->first_free};
    t->first_free = index + 1;
}

/* Have room for an index. Return: 0; -ENOMEM; -ENFILE. */
static int grow(struct open_table *t, uint32_t index)
{
    uint32_t n = t->n_slots < N_SLOTS_MIN ? N_SLOTS_MIN : t->n_slots, n_before = t->n_slots;
    struct open_slot *slots;

    if (index >= OPEN_TABLE_MAX)
        return -ENFILE;
    while (n <= index)
        n *= 2;
    slots = reallocarray(t->slots, n, sizeof(*slots));
    if (slots == NULL)
        return -ENOMEM;
    t->slots = slots;
    t->n_slots = n;
    for (uint32_t i = n; i > n_before; i--)
        add_free(t, i - 1);
    return 0;
}

int open_table_add(struct open_table *table, struct open_file *file)
{
    int r = table->first_free == 0 ? grow(table, table->n_slots) : 0;
    uint32_t index;

    if (r < 0)
        return r;
    index = table->first_free - 1;
    table->first_free = table->slots[index].next_free;
    table->slots[index].file = file;
    file->handle = handle_of(index, file->unique);
    return 0;
}

int open_table_adopt(struct open_table *table, struct open_file *file)
{
    uint32_t index = open_table_index(file->handle);
    int r;

    if (index >= OPEN_TABLE_MAX || file->handle != handle_of(index, file->unique))
        return -EINVAL;
    r = index >= table->n_slots ? grow(table, index) : 0;
    if (r < 0)
        return r;
    if (table->slots[index].file != NULL)
        return -EEXIST;
    table->slots[index].file = file;
    return 0;
}

void open_table_end_adopting(struct open_table *table)
{
    table->first_free = 0;
    for (uint32_t i = table->n_slots; i > 0; i--)
        if (table->slots[i - 1].file == NULL)
            add_free(table, i - 1);
}

struct open_file *open_table_at(const struct open_table *table, uint32_t index)
{
    return index < table->n_slots ? table->slots[index].file : NULL;
}

struct open_file *open_table_find(const struct open_table *table, uint64_t handle)
{
    struct open_file *file = open_table_at(table, open_table_index(handle));

    return file != NULL && file->handle == handle ? file : NULL;
}

struct open_file *open_table_find_request(const struct open_table *table, uint64_t unique)
{
    for (uint32_t i = 0; i < table->n_slots; i++)
        if (table->slots[i].file != NULL && table->slots[i].file->unique == unique)
            return table->slots[i].file;
    return NULL;
}

void open_table_remove(struct open_table *table, const struct open_file *file)
{
    uint32_t index = open_table_index(file->handle);

    assert(open_table_find(table, file->handle) == file);
    add_free(table, index);
}

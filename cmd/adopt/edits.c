/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/adopt/edits.h"

#include <stdlib.h>

int edits_add(struct edits *edits, size_t at, size_t removed, const char *text)
{
    char *copy = strdup(text);

    if (edits->n == edits->room) {
        size_t room = edits->room > 0 ? 2 * edits->room : 16;
        struct edit *list = copy != NULL ? reallocarray(edits->list, room, sizeof(*list)) : NULL;

        if (list == NULL) {
            free(copy);
            return -ENOMEM;
        }
        edits->list = list;
        edits->room = room;
    }
    if (copy == NULL)
        return -ENOMEM;
    edits->list[edits->n] =
        (struct edit){.at = at, .removed = removed, .text = copy, .order = edits->n};
    edits->n++;
    return 0;
}

static int edit_compare(const void *a, const void *b)
{
    const struct edit *x = a, *y = b;

    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

int edits_apply(struct edits *edits, const char *text, size_t len, struct buf *result)
{
    size_t at = 0;
    int r = 0;

    if (edits->n > 0)
        qsort(edits->list, edits->n, sizeof(*edits->list), edit_compare);
    for (size_t i = 0; i < edits->n && r == 0; i++) {
        const struct edit *edit = &edits->list[i];

        assert(edit->at >= at && edit->removed <= len && edit->at <= len - edit->removed);
        r = buf_add(result, text + at, edit->at - at);
        if (r == 0)
            r = buf_add_text(result, edit->text);
        at = edit->at + edit->removed;
    }
    return r == 0 ? buf_add(result, text + at, len - at) : r;
}

void edits_deinit(struct edits *edits)
{
    for (size_t i = 0; i < edits->n; i++)
        free(edits->list[i].text);
    free(edits->list);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/words.h"

#include <stdio.h>

static struct nearest find_nearest(const char *const known[], const char *word, size_t len)
{
    struct nearest nearest = NEAREST_INIT(word, len);

    for (size_t i = 0; known[i] != NULL; i++)
        nearest_offer(&nearest, known[i], strlen(known[i]));
    return nearest;
}

static void join(const char *const known[], char ret_text[static ERROR_TEXT_MAX])
{
    size_t used = 0;

    ret_text[0] = '\0';
    for (size_t i = 0; known[i] != NULL && used < ERROR_TEXT_MAX; i++)
        used += (size_t)snprintf(ret_text + used, ERROR_TEXT_MAX - used, "%s%s", i > 0 ? ", " : "",
                                 known[i]);
}

int words_find_part(const char *const known[], const char *what, const char *word, size_t len,
                    struct error *e)
{
    struct nearest nearest;
    char list[ERROR_TEXT_MAX];

    for (size_t i = 0; known[i] != NULL; i++)
        if (strlen(known[i]) == len && memcmp(known[i], word, len) == 0)
            return (int)i;
    nearest = find_nearest(known, word, len);
    join(known, list);
    error_set(e, -EINVAL, "invalid %s \"%.*s\", expected one of: %s", what,
              (int)size_min(len, NEAREST_WORD_MAX_LEN), word, list);
    return words_hint(&nearest, "", e, -EINVAL);
}

int words_find(const char *const known[], const char *what, const char *word, struct error *e)
{
    return words_find_part(known, what, word, strlen(word), e);
}

int words_hint(const struct nearest *nearest, const char *before, struct error *e, int code)
{
    size_t used = e != NULL ? strlen(e->text) : 0;

    if (e != NULL && nearest->found_len > 0)
        snprintf(e->text + used, sizeof(e->text) - used, "; did you mean \"%s%.*s\"?", before,
                 (int)nearest->found_len, nearest->found);
    return code;
}

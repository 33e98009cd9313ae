/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/names.h"

void names_deinit(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->all[i].text);
    free(names->all);
    *names = (struct names){0};
}

int names_add(struct names *names, const char *text, size_t len, const struct stat *stat)
{
    char *copy;

    if (names->n == names->capacity) {
        size_t capacity = names->capacity == 0 ? 16 : names->capacity * 2;
        struct name *all = reallocarray(names->all, capacity, sizeof(*all));

        if (all == NULL)
            return -ENOMEM;
        names->all = all;
        names->capacity = capacity;
    }
    copy = strndup(text, len);
    if (copy == NULL)
        return -ENOMEM;
    names->all[names->n++] =
        (struct name){.text = copy, .id = stat->st_ino, .is_directory = S_ISDIR(stat->st_mode)};
    return 0;
}

static bool names_collect(void *userdata, const char *name, const struct stat *stat,
                          uint64_t cookie)
{
    struct names *names = userdata;

    if (streq(name, ".") || streq(name, ".."))
        return true;
    names->is_incomplete = names_add(names, name, strlen(name), stat) < 0;
    return !names->is_incomplete;
}

int names_read(struct names *names, struct tree *tree, uint64_t dir_id)
{
    int r = tree_readdir(tree, dir_id, 0, false, names_collect, names);

    return r == 0 && names->is_incomplete ? -ENOMEM : r;
}

char *names_join(const char *directory, const char *name)
{
    bool is_start = *directory == '\0' || streq(directory, ".");
    char *path;
    int r;

    if (is_start || *name == '\0')
        return strdup(is_start ? name : directory);
    r = asprintf(&path, "%s/%s", directory, name);
    return r < 0 ? NULL : path;
}

static int compare_texts(const void *a, const void *b)
{
    const struct name *x = a, *y = b;

    return strcmp(x->text, y->text);
}

void names_sort(struct names *names)
{
    if (names->n > 0)
        qsort(names->all, names->n, sizeof(*names->all), compare_texts);
}

bool names_contain(const struct names *sorted, const char *text)
{
    char *mutable_text = strdupa(text);
    const struct name like = {.text = mutable_text};

    return sorted->n > 0 &&
           bsearch(&like, sorted->all, sorted->n, sizeof(like), compare_texts) != NULL;
}

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

int names_take_removed(struct names *names, struct tree *tree, uint64_t dir_id)
{
    return tree_take_removed(tree, dir_id, names_collect, names);
}

/* A directory on the way of a walk. */
struct level {
    struct level *up;
    char *path;
    struct names names;
    size_t next; /* of names */
};

static void level_pop(struct level **top)
{
    struct level *l = *top;

    *top = l->up;
    names_deinit(&l->names);
    free(l->path);
    free(l);
}

/* @path_consumed: NULL when out of memory */
static int level_push(struct level **top, struct tree *tree, uint64_t id, char *path_consumed)
{
    struct level *l = calloc(1, sizeof(*l));

    if (l == NULL || path_consumed == NULL) {
        free(path_consumed);
        free(l);
        return -ENOMEM;
    }
    l->path = path_consumed;
    l->up = *top;
    *top = l;
    return names_read(&l->names, tree, id);
}

static int visit_name(struct level *l, names_visit_fn *visit, void *userdata)
{
    const struct name *name = &l->names.all[l->next++];
    _cleanup_(freep) char *path = names_join(l->path, name->text);

    return path != NULL ? visit(userdata, path, name) : -ENOMEM;
}

static int visit_next(struct level **top, struct tree *tree, names_visit_fn *visit, void *userdata)
{
    struct level *l = *top;
    const struct name *name = &l->names.all[l->next];

    if (!name->is_directory)
        return visit_name(l, visit, userdata);
    return level_push(top, tree, name->id, names_join(l->path, name->text));
}

int names_walk(struct tree *tree, uint64_t dir_id, const char *path, names_visit_fn *visit,
               void *userdata)
{
    struct level *top = NULL;
    int r = level_push(&top, tree, dir_id, strdup(path));

    while (r == 0) {
        if (top->next < top->names.n) {
            r = visit_next(&top, tree, visit, userdata);
            continue;
        }
        level_pop(&top);
        if (top == NULL)
            return 0;
        r = visit_name(top, visit, userdata);
    }
    while (top != NULL)
        level_pop(&top);
    return r;
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

/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/payload.h"

#include <limits.h>
#include <stdatomic.h>

struct counted {
    struct payload payload;
    atomic_uint n_refs;
    struct payload_file files[];
};

struct payload_builder {
    struct payload_file *files; /* in the order of adding */
    size_t n_files;
    size_t capacity;
};

int payload_builder_new(struct payload_builder **ret_builder)
{
    struct payload_builder *b = calloc(1, sizeof(*b));

    if (b == NULL)
        return -ENOMEM;
    *ret_builder = b;
    return 0;
}

static void files_release(struct payload_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(files[i].path);
        object_unref(files[i].object);
    }
}

struct payload_builder *payload_builder_free(struct payload_builder *builder)
{
    if (builder == NULL)
        return NULL;
    files_release(builder->files, builder->n_files);
    free(builder->files);
    free(builder);
    return NULL;
}

static bool element_is(const char *element, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(element, word, len) == 0;
}

const char *payload_path_fault(const char *path)
{
    bool is_first = true;
    size_t n_elements = 0;

    if (*path == '\0')
        return "it is empty";
    if (*path == '/')
        return "it is absolute";
    if (strlen(path) > PAYLOAD_PATH_MAX)
        return "it is longer than 4096 bytes";
    for (const char *p = path; *p != '\0';) {
        size_t len = strcspn(p, "/");

        if (len > PAYLOAD_ELEMENT_MAX)
            return "an element is longer than 255 bytes";
        if (element_is(p, len, ".."))
            return "\"..\" is not allowed in it";
        /* "." and empty elements are dropped: the first one that remains could hide ..data */
        if (is_first && len > 0 && !element_is(p, len, ".")) {
            if (len > 2 && p[0] == '.' && p[1] == '.')
                return "names that begin with \"..\" are reserved";
            is_first = false;
        }
        n_elements += len > 0 && !element_is(p, len, ".");
        p += len;
        p += *p == '/';
    }
    if (n_elements > PAYLOAD_ELEMENTS_MAX)
        return "it has more than 64 elements";
    return is_first ? "it names no file" : NULL;
}

/* Drop "." and empty elements. @ret_path: at least as large as @path. Source: B5. */
static void path_clean(const char *path, char *ret_path)
{
    char *out = ret_path;

    for (const char *p = path; *p != '\0';) {
        size_t len = strcspn(p, "/");

        if (len > 0 && !element_is(p, len, ".")) {
            if (out != ret_path)
                *out++ = '/';
            memcpy(out, p, len);
            out += len;
        }
        p += len;
        p += *p == '/';
    }
    *out = '\0';
}

static int builder_reserve(struct payload_builder *b)
{
    size_t capacity = b->capacity == 0 ? 16 : b->capacity * 2;
    struct payload_file *files;

    if (b->n_files < b->capacity)
        return 0;
    files = reallocarray(b->files, capacity, sizeof(*files));
    if (files == NULL)
        return -ENOMEM;
    b->files = files;
    b->capacity = capacity;
    return 0;
}

int payload_builder_add(struct payload_builder *builder, const char *raw_path,
                        struct object *object, const struct object_entry *entry,
                        const struct payload_attributes *attributes, struct error *e)
{
    const char *fault = payload_path_fault(raw_path);
    char *path;

    if (fault != NULL)
        return error_set(e, -EINVAL, "invalid path \"%.128s\": %s", raw_path, fault);
    path = malloc(strlen(raw_path) + 1);
    if (path == NULL || builder_reserve(builder) < 0) {
        free(path);
        return error_set_errno(e, -ENOMEM, "cannot add path \"%.128s\"", raw_path);
    }
    path_clean(raw_path, path);
    builder->files[builder->n_files] = (struct payload_file){.path = path,
                                                             .object = object_ref(object),
                                                             .bytes = entry->bytes,
                                                             .len = entry->len,
                                                             .attributes = *attributes};
    builder->files[builder->n_files++].attributes.mode &= 0777;
    return 0;
}

static int file_compare(const void *a, const void *b)
{
    const struct payload_file *x = a, *y = b;

    return strcmp(x->path, y->path);
}

/* A file and its place in the builder's order: of the files of one path the last one is kept. */
struct ordered {
    struct payload_file file;
    size_t position;
};

static int ordered_compare(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    int order = file_compare(&x->file, &y->file);

    if (order != 0)
        return order;
    return x->position < y->position ? -1 : x->position > y->position;
}

/* Move the builder's files, sorted and without those of repeated paths, to @ret_files. */
static size_t builder_sort(struct payload_builder *b, struct ordered *scratch,
                           struct payload_file *ret_files)
{
    size_t n_kept = 0;

    for (size_t i = 0; i < b->n_files; i++)
        scratch[i] = (struct ordered){.file = b->files[i], .position = i};
    qsort(scratch, b->n_files, sizeof(*scratch), ordered_compare);
    for (size_t i = 0; i < b->n_files; i++) {
        if (n_kept > 0 && file_compare(&ret_files[n_kept - 1], &scratch[i].file) == 0)
            files_release(&ret_files[--n_kept], 1);
        ret_files[n_kept++] = scratch[i].file;
    }
    b->n_files = 0;
    return n_kept;
}

/* Return: the path of a file that @path lies below, or NULL. */
static const char *find_file_above(const struct payload *p, const char *path)
{
    char above[PAYLOAD_PATH_MAX + 1];

    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        const struct payload_file like = {.path = above};
        const struct payload_file *found;

        memcpy(above, path, (size_t)(slash - path));
        above[slash - path] = '\0';
        found = bsearch(&like, p->files, p->n_files, sizeof(like), file_compare);
        if (found != NULL)
            return found->path;
    }
    return NULL;
}

int payload_builder_finish(struct payload_builder *builder, struct payload **ret_payload,
                           struct error *e)
{
    size_t n = builder->n_files;
    struct ordered *scratch = reallocarray(NULL, n + 1, sizeof(*scratch));
    struct counted *c = malloc(sizeof(*c) + n * sizeof(c->files[0]));
    _cleanup_(payload_unrefp) struct payload *payload = NULL;

    if (scratch == NULL || c == NULL) {
        files_release(builder->files, builder->n_files);
        builder->n_files = 0;
        free(scratch);
        free(c);
        return error_set_errno(e, -ENOMEM, "cannot compute the volume's files");
    }
    c->payload.n_files = builder_sort(builder, scratch, c->files);
    assert(c->payload.n_files <= n && builder->n_files == 0);
    c->payload.files = c->files;
    atomic_init(&c->n_refs, 1);
    free(scratch);
    payload = &c->payload;
    for (size_t i = 0; i < payload->n_files; i++) {
        const char *above = find_file_above(payload, payload->files[i].path);

        if (above != NULL)
            return error_set(e, -EINVAL, "path \"%.128s\" lies below \"%.128s\", which is a file",
                             payload->files[i].path, above);
    }
    *ret_payload = TAKE(payload);
    return 0;
}

struct payload *payload_ref(struct payload *payload)
{
    unsigned n = atomic_fetch_add(&CONTAINER_OF(payload, struct counted, payload)->n_refs, 1);

    assert(n > 0 && n < UINT_MAX);
    return payload;
}

struct payload *payload_unref(struct payload *payload)
{
    struct counted *c;
    unsigned n;

    if (payload == NULL)
        return NULL;
    c = CONTAINER_OF(payload, struct counted, payload);
    n = atomic_fetch_sub(&c->n_refs, 1);
    assert(n > 0);
    if (n == 1) {
        files_release(c->files, payload->n_files);
        free(c);
    }
    return NULL;
}

bool payload_same_content(const struct payload *a, const struct payload *b)
{
    if (a->n_files != b->n_files)
        return false;
    for (size_t i = 0; i < a->n_files; i++) {
        const struct payload_file *x = &a->files[i], *y = &b->files[i];

        if (!streq(x->path, y->path) || x->len != y->len || memcmp(x->bytes, y->bytes, x->len) != 0)
            return false;
    }
    return true;
}

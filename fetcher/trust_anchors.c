/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/trust_anchors.h"

#include "base/openssl.h"

void trust_anchors_deinit(struct trust_anchors *anchors)
{
    for (size_t i = 0; i < anchors->n; i++)
        OPENSSL_free(anchors->list[i].der);
    free(anchors->list);
    *anchors = (struct trust_anchors){0};
}

static int reserve_one(struct trust_anchors *anchors)
{
    size_t capacity = anchors->capacity == 0 ? 16 : anchors->capacity * 2;
    struct trust_anchor *list;

    if (anchors->n < anchors->capacity)
        return 0;
    list = reallocarray(anchors->list, capacity, sizeof(*list));
    if (list == NULL)
        return -ENOMEM;
    anchors->list = list;
    anchors->capacity = capacity;
    return 0;
}

/* Return: 1; 0 at the end; -EINVAL for a damaged block; -ENOMEM. */
static int read_block(BIO *bio, struct trust_anchor *ret_anchor)
{
    char *name = NULL, *header = NULL;
    uint8_t *der = NULL;
    long len = 0;
    bool is_end;

    if (PEM_read_bio(bio, &name, &header, &der, &len) == 1) {
        OPENSSL_free(name);
        OPENSSL_free(header);
        *ret_anchor = (struct trust_anchor){.der = der, .len = (size_t)len};
        return 1;
    }
    is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (openssl_clear_errors() < 0)
        return -ENOMEM;
    return is_end ? 0 : -EINVAL;
}

static int add_blocks(struct trust_anchors *anchors, BIO *bio, size_t *ret_n)
{
    for (*ret_n = 0;; ++*ret_n) {
        int r = reserve_one(anchors);

        if (r == 0)
            r = read_block(bio, &anchors->list[anchors->n]);
        if (r <= 0)
            return r;
        anchors->n++;
    }
}

int trust_anchors_add(struct trust_anchors *anchors, const char *pem, struct error *e)
{
    _cleanup_(bio_freep) BIO *bio = BIO_new_mem_buf(pem, -1);
    size_t n = 0;
    int r = bio != NULL ? add_blocks(anchors, bio, &n) : -ENOMEM;

    if (r == -ENOMEM)
        return error_set_errno(e, r, "cannot read certificates");
    if (r < 0)
        return error_set(e, r, "certificate %zu is damaged or incomplete", n + 1);
    return n > 0 ? 0 : error_set(e, -EINVAL, "it contains no certificate in PEM");
}

static int compare(const void *a, const void *b)
{
    const struct trust_anchor *x = a, *y = b;
    int order = memcmp(x->der, y->der, size_min(x->len, y->len));

    if (order != 0 || x->len == y->len)
        return order;
    return x->len < y->len ? -1 : 1;
}

static int print_one(const struct trust_anchor *anchor, struct buf *pem)
{
    _cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;

    if (bio == NULL ||
        PEM_write_bio(bio, PEM_STRING_X509, "", anchor->der, (long)anchor->len) <= 0) {
        ERR_clear_error();
        return -ENOMEM;
    }
    len = BIO_get_mem_data(bio, &text);
    return buf_add(pem, text, (size_t)len);
}

int trust_anchors_print(struct trust_anchors *anchors, struct buf *pem)
{
    const struct trust_anchor *list = anchors->list;
    int r = 0;

    if (anchors->n > 0)
        qsort(anchors->list, anchors->n, sizeof(*list), compare);
    for (size_t i = 0; i < anchors->n && r == 0; i++)
        if (i == 0 || compare(&list[i - 1], &list[i]) != 0)
            r = print_one(&list[i], pem);
    return r;
}

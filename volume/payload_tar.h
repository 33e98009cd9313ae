/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A payload as a tar archive, piece by piece: values are not copied. See payload_tar.c.
 *
 * Thread: any one at a time.
 */
#include <sys/uio.h>

#include "volume/payload.h"

#define TAR_BLOCK 512

struct payload_tar {
    const struct payload *payload; /* borrowed */
    size_t file;                   /* the index of the next one */
    int step;
    char header[2 * TAR_BLOCK]; /* of the end, two */
};

void payload_tar_init(struct payload_tar *tar, const struct payload *payload);
/*
 * @ret_piece: borrowed, until the next call
 * Return: false: there is no more.
 */
bool payload_tar_next(struct payload_tar *tar, struct iovec *ret_piece);

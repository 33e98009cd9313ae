/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The format is ustar, which each tar and each library for archives reads. A path of more than 99
 * bytes goes in front of its file, as the content of an entry of type L, which GNU tar, libarchive,
 * Python and Go read. There are files only: who unpacks them makes the directories.
 *
 * Source: POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
 */
#include "volume/payload_tar.h"

#include <stdio.h>

enum step {
    LONG_HEADER, /* the entry of a long path */
    LONG_PATH,
    LONG_PADDING,
    HEADER,
    VALUE,
    PADDING,
};

struct tar_header {
    char name[100];
    char mode[8], uid[8], gid[8];
    char size[12], mtime[12];
    char checksum[8];
    char type;
    char linkname[100];
    char magic[6], version[2];
    char rest[247];
};

static_assert(sizeof(struct tar_header) == TAR_BLOCK, "a header is a block");

void payload_tar_init(struct payload_tar *tar, const struct payload *payload)
{
    *tar = (struct payload_tar){.payload = payload, .step = LONG_HEADER};
}

static bool has_long_path(const struct payload_file *file)
{
    return strlen(file->path) >= sizeof(((struct tar_header *)NULL)->name);
}

static void make_header(struct payload_tar *tar, const char *name, char type, mode_t mode,
                        size_t len)
{
    struct tar_header h = {.type = type};
    unsigned sum = 0;

    snprintf(h.name, sizeof(h.name), "%s", name);
    snprintf(h.mode, sizeof(h.mode), "%07o", (unsigned)mode & 0777);
    snprintf(h.uid, sizeof(h.uid), "%07o", 0);
    snprintf(h.gid, sizeof(h.gid), "%07o", 0);
    snprintf(h.size, sizeof(h.size), "%011zo", len);
    snprintf(h.mtime, sizeof(h.mtime), "%011o", 0);
    memcpy(h.magic, "ustar", sizeof(h.magic));
    memcpy(h.version, "00", sizeof(h.version));
    memset(h.checksum, ' ', sizeof(h.checksum));
    for (size_t i = 0; i < sizeof(h); i++)
        sum += ((const unsigned char *)&h)[i];
    snprintf(h.checksum, sizeof(h.checksum), "%06o", sum);
    memcpy(tar->header, &h, sizeof(h));
}

static struct iovec piece_of(const void *bytes, size_t len)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
}

static struct iovec padding(struct payload_tar *tar, size_t len)
{
    memset(tar->header, 0, TAR_BLOCK);
    return piece_of(tar->header, (TAR_BLOCK - len % TAR_BLOCK) % TAR_BLOCK);
}

static struct iovec make_piece(struct payload_tar *tar, const struct payload_file *file)
{
    size_t path_len = strlen(file->path) + 1;

    switch ((enum step)tar->step) {
    case LONG_HEADER:
        make_header(tar, "././@LongLink", 'L', 0, path_len);
        return piece_of(tar->header, TAR_BLOCK);
    case LONG_PATH:
        return piece_of(file->path, path_len);
    case LONG_PADDING:
        return padding(tar, path_len);
    case HEADER:
        make_header(tar, file->path, '0', file->attributes.mode, file->len);
        return piece_of(tar->header, TAR_BLOCK);
    case VALUE:
        return piece_of(file->bytes, file->len);
    case PADDING:
        return padding(tar, file->len);
    }
    abort();
}

bool payload_tar_next(struct payload_tar *tar, struct iovec *ret_piece)
{
    const struct payload *payload = tar->payload;

    if (tar->file > payload->n_files)
        return false;
    if (tar->file == payload->n_files) {
        memset(tar->header, 0, sizeof(tar->header));
        *ret_piece = piece_of(tar->header, sizeof(tar->header));
        tar->file++;
        return true;
    }
    if (tar->step == LONG_HEADER && !has_long_path(&payload->files[tar->file]))
        tar->step = HEADER;
    *ret_piece = make_piece(tar, &payload->files[tar->file]);
    if (tar->step == PADDING)
        tar->file++;
    tar->step = tar->step == PADDING ? LONG_HEADER : tar->step + 1;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/kept_socket.h"

#include <stdio.h>

#include "base/util.h"

#define LABEL_SIZE 128

int kept_socket_take(const struct kept_socket *keep, const char *label)
{
    return keep != NULL ? keep->ops->take(keep->userdata, keep->name, label) : -ENOENT;
}

void kept_socket_put(const struct kept_socket *keep, const char *label, int fd)
{
    if (keep != NULL)
        keep->ops->put(keep->userdata, keep->name, label, fd);
}

static void label_of(const struct kept_socket *keep, const struct stat *file,
                     char ret_label[static LABEL_SIZE])
{
    const char *tag = keep->tag != NULL ? keep->tag : "";

    snprintf(ret_label, LABEL_SIZE, "%jx.%ju%s%s", (uintmax_t)file->st_dev, (uintmax_t)file->st_ino,
             tag[0] != '\0' ? "." : "", tag);
}

int kept_socket_take_file(const struct kept_socket *keep, const struct stat *file)
{
    char label[LABEL_SIZE];

    if (keep == NULL)
        return -ENOENT;
    label_of(keep, file, label);
    return kept_socket_take(keep, label);
}

void kept_socket_put_file(const struct kept_socket *keep, const struct stat *file, int fd)
{
    char label[LABEL_SIZE];

    if (keep == NULL)
        return;
    label_of(keep, file, label);
    kept_socket_put(keep, label, fd);
}

void kept_socket_remove(const struct kept_socket *keep)
{
    if (keep != NULL)
        keep->ops->remove(keep->userdata, keep->name);
}

bool kept_socket_is_left(const struct kept_socket *keep)
{
    return keep != NULL && keep->ops->is_left(keep->userdata, keep->name);
}

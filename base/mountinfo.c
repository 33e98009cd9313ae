/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mountinfo.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

/* Decode \040 and the like, as the kernel writes blanks, newlines and backslashes. */
static void unescape(char *text)
{
    char *out = text;

    for (const char *in = text; *in != '\0'; out++) {
        if (in[0] == '\\' && is_octal(in[1]) && is_octal(in[2]) && is_octal(in[3])) {
            *out = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
            in += 4;
        } else {
            *out = *in++;
        }
    }
    *out = '\0';
}

/* Return: the next field; NULL at the end. */
static char *next(char **at)
{
    char *field;

    do
        field = strsep(at, " \n");
    while (field != NULL && *field == '\0');
    return field;
}

/* The six fields that each line begins with. */
static bool parse_mount(char **at, struct mountinfo *mount)
{
    unsigned major_number, minor_number;
    char *ids[3], *paths[2], *options;

    for (size_t i = 0; i < ELEMENTS_OF(ids); i++)
        ids[i] = next(at);
    for (size_t i = 0; i < ELEMENTS_OF(paths); i++)
        paths[i] = next(at);
    options = next(at);
    if (options == NULL || sscanf(ids[0], "%" SCNu64, &mount->id) != 1 ||
        sscanf(ids[1], "%" SCNu64, &mount->parent_id) != 1 ||
        sscanf(ids[2], "%u:%u", &major_number, &minor_number) != 2)
        return false;
    for (size_t i = 0; i < ELEMENTS_OF(paths); i++)
        unescape(paths[i]);
    mount->device = makedev(major_number, minor_number);
    mount->root = paths[0];
    mount->mountpoint = paths[1];
    mount->options = options;
    return true;
}

bool mountinfo_parse(char *line, struct mountinfo *ret_mount)
{
    struct mountinfo mount;
    char *at = line, *field, *source;

    if (!parse_mount(&at, &mount))
        return false;
    mount.is_shared = false;
    /* any number of propagation fields */
    while ((field = next(&at)) != NULL && !streq(field, "-"))
        mount.is_shared = mount.is_shared || str_after(field, "shared:") != NULL;
    mount.fs_type = next(&at);
    source = next(&at);
    mount.super_options = next(&at);
    if (mount.super_options == NULL)
        return false;
    unescape(source);
    mount.source = source;
    *ret_mount = mount;
    return true;
}

int mountinfo_visit(int dir_fd, const char *path, mountinfo_visit_fn *visit, void *userdata)
{
    _cleanup_(fd_closep) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
    _cleanup_(file_closep) FILE *f = fd >= 0 ? fdopen(fd, "re") : NULL;
    _cleanup_(freep) char *line = NULL;
    size_t size = 0;

    if (f == NULL)
        return negative_errno();
    (void)TAKE_FD(fd);
    while (errno = 0, getline(&line, &size, f) > 0) {
        struct mountinfo mount;

        if (mountinfo_parse(line, &mount) && !visit(userdata, &mount))
            return 0;
    }
    return ferror(f) || errno == ENOMEM ? negative_errno() : 0;
}

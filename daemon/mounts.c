/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/mounts.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"

/* A line of mountinfo that is of interest here. */
struct line {
    dev_t device;
    char *mountpoint; /* unescaped */
    uid_t owner;
};

/* \040 and its kind, as the kernel writes blanks in paths. */
static void unescape(char *text)
{
    char *out = text;

    for (const char *in = text; *in != '\0'; out++) {
        unsigned value;

        if (sscanf(in, "\\%3o", &value) == 1) {
            *out = (char)value;
            in += 4;
        } else {
            *out = *in++;
        }
    }
    *out = '\0';
}

/* Return: whether it is one of ours. @text is cut into pieces, to which @line points. */
static bool line_parse(char *text, struct line *line)
{
    char *separator = strstr(text, " - fuse.secretfs ");
    unsigned major_number, minor_number, owner = 0;
    char *field, *options, *at = text;

    if (separator == NULL)
        return false;
    options = strstr(separator, "user_id=");
    if (options != NULL && sscanf(options, "user_id=%u", &owner) != 1)
        return false;
    *separator = '\0';
    for (int i = 0; i < 5; i++) {
        field = strsep(&at, " ");
        if (field == NULL)
            return false;
        if (i == 2) {
            if (sscanf(field, "%u:%u", &major_number, &minor_number) != 2)
                return false;
            line->device = makedev(major_number, minor_number);
        }
    }
    unescape(field);
    line->mountpoint = field;
    line->owner = owner;
    return true;
}

/* @path is the mount point itself, or whatever lies in the mount has @device. */
static bool line_matches(const struct line *line, const char *path, const struct stat *status)
{
    return status != NULL ? line->device == status->st_dev : streq(line->mountpoint, path);
}

/* The last mount that matches is the one on top. Return: whether there was one. */
static bool find(const char *path, const struct stat *status, struct mount_entry *ret_entry)
{
    _cleanup_(file_closep) FILE *f = fopen("/proc/self/mountinfo", "re");
    _cleanup_(freep) char *text = NULL;
    size_t size = 0;
    bool found = false;

    while (f != NULL && getline(&text, &size, f) > 0) {
        struct line line;

        if (!line_parse(text, &line) || !line_matches(&line, path, status))
            continue;
        *ret_entry = (struct mount_entry){.device = line.device, .owner = line.owner};
        found = true;
    }
    return found;
}

int mounts_find(const char *path, struct mount_entry *ret_entry, struct error *e)
{
    _cleanup_(freep) char *absolute = NULL;
    struct stat status;

    if (stat(path, &status) == 0) {
        if (find(path, &status, ret_entry))
            return 0;
        return error_set(e, -ENOENT, "%s is not in a secretfs mount", path);
    }
    if (errno != ENOTCONN && errno != EACCES)
        return error_set_errno(e, negative_errno(), "cannot look at %s", path);
    /* dead, or another user's: the path can only be compared as text */
    absolute = *path == '/' ? strdup(path) : NULL;
    if (*path != '/') {
        _cleanup_(freep) char *cwd = getcwd(NULL, 0);

        if (cwd != NULL && asprintf(&absolute, "%s/%s", cwd, path) < 0)
            absolute = NULL;
    }
    if (absolute != NULL && find(absolute, NULL, ret_entry))
        return 0;
    return error_set(e, -ENOENT, "%s is not a secretfs mount", path);
}

bool mounts_is_mountpoint(const char *mountpoint)
{
    struct mount_entry entry;

    return find(mountpoint, NULL, &entry);
}

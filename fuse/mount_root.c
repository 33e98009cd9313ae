/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/mount_root.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define DELETED "//deleted" /* follows the path of an unlinked node in mountinfo */

static bool is_generation(const char *name)
{
    static const char pattern[] = "..dddd_dd_dd_dd_dd_dd."; /* A5 */
    size_t i;

    for (i = 0; pattern[i] != '\0'; i++)
        if (pattern[i] == 'd' ? !isdigit((unsigned char)name[i]) : name[i] != pattern[i])
            return false;
    return isdigit((unsigned char)name[i]);
}

bool mount_root_parse_path(char *text, struct mount_root *ret_root)
{
    char *at = text, *slash;

    *ret_root = (struct mount_root){.volume = "."};
    if (!is_generation(at)) {
        at = strchr(at, '/');
        if (at == NULL || !is_generation(at + 1))
            return false;
        *at++ = '\0';
        ret_root->volume = text;
    }
    ret_root->generation = at;
    slash = strchr(at, '/');
    ret_root->path = slash != NULL ? slash + 1 : at + strlen(at);
    if (slash != NULL)
        *slash = '\0';
    return true;
}

/* Return: whether it was there. */
static bool cut_deleted(char *text)
{
    size_t len = strlen(text), deleted_len = strlen(DELETED);

    if (len <= deleted_len || !streq(text + len - deleted_len, DELETED))
        return false;
    text[len - deleted_len] = '\0';
    return true;
}

bool mount_root_parse(char *text, struct mount_root *ret_root)
{
    static const char live[] = "/" LIVE_DIRECTORY "/";
    bool is_deleted = cut_deleted(text);

    if (strncmp(text, live, strlen(live)) == 0) {
        *ret_root = (struct mount_root){.live_id = strtoull(text + strlen(live), NULL, 10),
                                        .is_deleted = is_deleted};
        return ret_root->live_id != 0;
    }
    if (text[0] != '/' || !mount_root_parse_path(text + 1, ret_root))
        return false;
    ret_root->is_deleted = is_deleted;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line of /proc/PID/cgroup is "NUMBER:CONTROLLERS:PATH". The kernel accepts no line break in the
 * name of a control group, so a line is the kernel's. The paths of containers:
 *
 *   /kubepods.slice/.../kubepods-...-podUID.slice/cri-containerd-ID.scope     (systemd; also crio-)
 *   /kubepods/burstable/podUID/ID                                             (cgroupfs)
 *   /k8s.io/ID                                      (a kubelet with cgroupsPerQOS: false)
 *   /docker/ID, /machine.slice/libpod-ID.scope                                (outside of pods)
 *
 * with "_" for "-" in the UID of the first form. Anything further down the container chooses, and
 * anything below a service's directory its owner.
 */
#include "consumers/identity.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define START_TIME_FIELD 22 /* of stat; proc_pid_stat(5) */
#define LONGEST_LINE     4096u

/* ---- text */

/* Copy @len bytes, with "?" for what a terminal does not print. */
static void copy_printable(char *to, size_t size, const char *from, size_t len)
{
    size_t n = len < size - 1 ? len : size - 1;

    for (size_t i = 0; i < n; i++)
        to[i] = isgraph((unsigned char)from[i]) != 0 && (from[i] & 0x80) == 0 ? from[i] : '?';
    to[n] = '\0';
}

/* ---- stat */

/* Return: the text behind @n fields that end in blanks; NULL. */
static const char *skip_fields(const char *at, int n)
{
    for (; n > 0 && at != NULL; n--) {
        at = strchr(at, ' ');
        at = at != NULL ? at + 1 : NULL;
    }
    return at;
}

static bool parse_number(const char *text, uint64_t *ret_number)
{
    char *end;

    if (isdigit((unsigned char)text[0]) == 0)
        return false;
    errno = 0;
    *ret_number = strtoull(text, &end, 10);
    return errno == 0 && (*end == ' ' || *end == '\n' || *end == '\0');
}

/* The name is in parentheses and may have any bytes in it, so the last one ends it. */
bool identity_parse_stat(const char *text, struct identity_process *ret_process)
{
    const char *open = strchr(text, '('), *close = strrchr(text, ')');
    const char *field = close != NULL ? skip_fields(close, START_TIME_FIELD - 2) : NULL;
    struct identity_process process = {.pid = 0};
    uint64_t pid;

    if (open == NULL || field == NULL || close < open || !parse_number(text, &pid) || pid == 0 ||
        pid > INT32_MAX || !parse_number(field, &process.start_ticks))
        return false;
    process.pid = (pid_t)pid;
    process.has_ended = close[1] == ' ' && (close[2] == 'Z' || close[2] == 'X');
    copy_printable(process.comm, sizeof(process.comm), open + 1, (size_t)(close - open) - 1);
    *ret_process = process;
    return true;
}

/* ---- cgroup */

struct cgroup_line {
    const char *controllers;
    size_t controllers_len;
    const char *path;
    size_t path_len;
};

/* Return: the next line's text; NULL at the end. *ret_line: path is NULL for an invalid line. */
static const char *next_line(const char *text, struct cgroup_line *ret_line)
{
    size_t len = strcspn(text, "\n");
    const char *first = memchr(text, ':', len);
    const char *second =
        first != NULL ? memchr(first + 1, ':', len - (size_t)(first + 1 - text)) : NULL;

    *ret_line = (struct cgroup_line){.path = NULL};
    if (len == 0)
        return NULL;
    if (second != NULL && second[1] == '/' && len < LONGEST_LINE)
        *ret_line = (struct cgroup_line){
            .controllers = first + 1,
            .controllers_len = (size_t)(second - first) - 1,
            .path = second + 1,
            .path_len = len - (size_t)(second + 1 - text),
        };
    return text[len] == '\n' ? text + len + 1 : NULL;
}

/* An element of a path. */
struct element {
    const char *text;
    size_t len;
};

/* Return: whether there is another element; @at moves behind it. */
static bool next_element(const char **at, const char *end, struct element *ret_element)
{
    while (*at < end && **at == '/')
        (*at)++;
    ret_element->text = *at;
    while (*at < end && **at != '/')
        (*at)++;
    ret_element->len = (size_t)(*at - ret_element->text);
    return ret_element->len > 0;
}

static bool ends_with(struct element e, const char *suffix)
{
    size_t len = strlen(suffix);

    return e.len > len && memcmp(e.text + e.len - len, suffix, len) == 0;
}

/* "podUID", "kubepods-burstable-podUID.slice". Return: whether it is a pod's; @uid is set. */
static bool parse_pod(struct element e, char uid[static IDENTITY_POD_SIZE])
{
    size_t len = IDENTITY_POD_SIZE - 1, end = e.len;
    char found[IDENTITY_POD_SIZE] = "";

    if (ends_with(e, ".slice"))
        end -= strlen(".slice");
    if (end < len + 3 || memcmp(e.text + end - len - 3, "pod", 3) != 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = e.text[end - len + i];
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (is_dash ? c != '-' && c != '_' : isxdigit((unsigned char)c) == 0)
            return false;
        found[i] = is_dash ? '-' : c;
    }
    memcpy(uid, found, sizeof(found));
    return true;
}

/* "ID", "cri-containerd-ID.scope". Return: whether it is a container's; @id is set. */
static bool parse_container(struct element e, char id[static IDENTITY_CONTAINER_SIZE])
{
    size_t len = IDENTITY_CONTAINER_SIZE - 1, end = e.len;

    if (ends_with(e, ".scope"))
        end -= strlen(".scope");
    if (end < len || (end > len && e.text[end - len - 1] != '-'))
        return false;
    for (size_t i = 0; i < len; i++)
        if (isxdigit((unsigned char)e.text[end - len + i]) == 0)
            return false;
    memcpy(id, e.text + end - len, len);
    id[len] = '\0';
    return true;
}

bool identity_parse_pod(const char *name, char ret_uid[static IDENTITY_POD_SIZE])
{
    return parse_pod((struct element){name, strlen(name)}, ret_uid);
}

bool identity_parse_container(const char *name, char ret_id[static IDENTITY_CONTAINER_SIZE])
{
    return parse_container((struct element){name, strlen(name)}, ret_id);
}

/* The directory of a hierarchy below /sys/fs/cgroup: "" for cgroup 2 alone. */
static void set_cgroup(const struct cgroup_line *line, size_t path_len, bool is_hybrid,
                       struct identity_group *group)
{
    static const char named[] = "name=";
    const char *controllers = line->controllers;
    size_t len = line->controllers_len;
    int n;

    if (len == 0 && is_hybrid) {
        controllers = "unified";
        len = strlen(controllers);
    } else if (len > strlen(named) && memcmp(controllers, named, strlen(named)) == 0) {
        controllers += strlen(named);
        len -= strlen(named);
    }
    n = snprintf(group->cgroup, sizeof(group->cgroup), "%.*s%.*s", (int)len, controllers,
                 (int)path_len, line->path);
    if (n < 0 || (size_t)n >= sizeof(group->cgroup))
        group->cgroup[0] = '\0';
}

/* Return: whether the line has a pod; its container is set if it has one. */
static bool find_pod(const struct cgroup_line *line, bool is_hybrid, struct identity_group *group)
{
    const char *at = line->path, *end = line->path + line->path_len;
    struct element e;

    while (next_element(&at, end, &e)) {
        if (!parse_pod(e, group->pod_uid))
            continue;
        if (next_element(&at, end, &e) && parse_container(e, group->container))
            set_cgroup(line, (size_t)(at - line->path), is_hybrid, group);
        return true;
    }
    return false;
}

/* Return: whether the line has a container, below no service. */
static bool find_container(const struct cgroup_line *line, bool is_hybrid,
                           struct identity_group *group)
{
    const char *at = line->path, *end = line->path + line->path_len;
    struct element e;

    while (next_element(&at, end, &e) && !ends_with(e, ".service")) {
        if (!parse_container(e, group->container))
            continue;
        set_cgroup(line, (size_t)(at - line->path), is_hybrid, group);
        return true;
    }
    return false;
}

/* Hierarchies in which systemd makes the directories of units. */
static bool is_of_units(const struct cgroup_line *line)
{
    static const char named[] = "name=systemd";

    return line->controllers_len == 0 || (line->controllers_len == strlen(named) &&
                                          memcmp(line->controllers, named, strlen(named)) == 0);
}

/* The innermost service or scope. Return: whether the line has one. */
static bool find_unit(const struct cgroup_line *line, bool is_hybrid, struct identity_group *group)
{
    const char *at = line->path, *end = line->path + line->path_len;
    struct element e;

    while (is_of_units(line) && next_element(&at, end, &e)) {
        bool is_service = ends_with(e, ".service");

        if (!is_service && !ends_with(e, ".scope"))
            continue;
        copy_printable(group->unit, sizeof(group->unit), e.text, e.len);
        group->cgroup[0] = '\0';
        if (is_service)
            set_cgroup(line, (size_t)(at - line->path), is_hybrid, group);
    }
    return group->unit[0] != '\0';
}

typedef bool find_fn(const struct cgroup_line *line, bool is_hybrid, struct identity_group *group);

/* Return: whether @find found it in a line. */
static bool find_in_lines(const char *text, find_fn *find, bool is_hybrid,
                          struct identity_group *group)
{
    struct cgroup_line line;

    for (const char *at = text; at != NULL;) {
        at = next_line(at, &line);
        if (line.path != NULL && find(&line, is_hybrid, group))
            return true;
    }
    return false;
}

void identity_parse_cgroup(const char *text, bool is_hybrid, struct identity_group *ret_group)
{
    static find_fn *const finders[] = {find_pod, find_container, find_unit};
    struct identity_group group = {.cgroup_inode = 0};

    for (size_t i = 0; i < ELEMENTS_OF(finders); i++)
        if (find_in_lines(text, finders[i], is_hybrid, &group))
            break;
    *ret_group = group;
}

static bool is_of(const struct cgroup_line *line, const char *controllers)
{
    return line->controllers_len == strlen(controllers) &&
           memcmp(line->controllers, controllers, line->controllers_len) == 0;
}

/* A directory that was removed has " (deleted)" behind its path, so it is not below any. */
static bool is_path_below(const struct cgroup_line *line, const char *path)
{
    size_t len = strlen(path);

    return line->path_len >= len && memcmp(line->path, path, len) == 0 &&
           (line->path_len == len || line->path[len] == '/');
}

bool identity_is_below(const char *text, const char *controllers, const char *path)
{
    struct cgroup_line line;

    for (const char *at = text; at != NULL;) {
        at = next_line(at, &line);
        if (line.path != NULL && is_of(&line, controllers))
            return is_path_below(&line, path);
    }
    return false;
}

bool identity_group_same(const struct identity_group *a, const struct identity_group *b)
{
    return identity_group_exists(a) && streq(a->cgroup, b->cgroup) &&
           a->cgroup_inode == b->cgroup_inode;
}

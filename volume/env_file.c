/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands in the file, as the kubelet reads it:
 *
 * | line                                 | outcome                                             |
 * |--------------------------------------|-----------------------------------------------------|
 * | blank, or "#" after blanks           | no variable                                         |
 * | KEY='value', blanks and "#" after it | the text between the quotes, without any escapes    |
 * | KEY='first, and more lines           | goes on to the next quote; its lines keep their "\n"|
 * | KEY= and then a blank                | an empty value, with any text after the blank       |
 * | without "=", blanks before "=",      | invalid: the file ends here                         |
 * | no quote, text after the quote       |                                                     |
 *
 * The first line of a key counts, and lines after it are not read. "\r\n" ends a line as "\n" does.
 */
#include "volume/env_file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

/* Bytes that are not read yet, and the number of the line that was read last. */
struct lines {
    const char *at;
    const char *end;
    unsigned number;
};

/* Some bytes of a line. */
struct piece {
    const char *at;
    size_t len;
};

static bool next_line(struct lines *lines, struct piece *ret_line)
{
    const char *end =
        lines->at < lines->end ? memchr(lines->at, '\n', (size_t)(lines->end - lines->at)) : NULL;
    struct piece line = {.at = lines->at};

    if (lines->at == lines->end)
        return false;
    line.len = (size_t)((end != NULL ? end : lines->end) - lines->at);
    lines->at = end != NULL ? end + 1 : lines->end;
    lines->number++;
    if (line.len > 0 && line.at[line.len - 1] == '\r')
        line.len--;
    *ret_line = line;
    return true;
}

static struct piece skip_blanks(struct piece piece)
{
    while (piece.len > 0 && (*piece.at == ' ' || *piece.at == '\t')) {
        piece.at++;
        piece.len--;
    }
    return piece;
}

static struct piece piece_after(struct piece piece, const char *at)
{
    return (struct piece){.at = at + 1, .len = piece.len - (size_t)(at + 1 - piece.at)};
}

static bool is_comment(struct piece piece)
{
    return piece.len == 0 || *piece.at == '#';
}

static int invalid_line(unsigned number, const char *why, struct error *e)
{
    return error_set(e, -EBADMSG, "line %u: %s", number, why);
}

/*
 * Read what follows the first quote.
 * @value: NULL if the value is not wanted
 */
static int read_value(struct lines *lines, struct piece rest, struct buf *value, struct error *e)
{
    unsigned first = lines->number;
    const char *quote;
    int r = 0;

    while ((quote = memchr(rest.at, '\'', rest.len)) == NULL) {
        if (value != NULL)
            r = buf_add(value, rest.at, rest.len);
        if (value != NULL && r >= 0)
            r = buf_add_text(value, "\n");
        if (r < 0)
            return r;
        if (!next_line(lines, &rest))
            return invalid_line(first, "the closing ' is missing", e);
    }
    if (!is_comment(skip_blanks(piece_after(rest, quote))))
        return invalid_line(lines->number, "text after the closing '", e);
    return value != NULL ? buf_add(value, rest.at, (size_t)(quote - rest.at)) : 0;
}

static int check_name(const struct lines *lines, struct piece name, struct error *e)
{
    if (name.len == 0)
        return invalid_line(lines->number, "the name before = is missing", e);
    if (name.at[name.len - 1] == ' ' || name.at[name.len - 1] == '\t')
        return invalid_line(lines->number, "remove the blanks before =", e);
    return 0;
}

/* Read one line that is no comment. Return: 1 if it has the key; 0; -errno. */
static int read_line(struct lines *lines, struct piece line, const char *key, struct buf *value,
                     struct error *e)
{
    const char *equals = memchr(line.at, '=', line.len);
    struct piece name = {.at = line.at}, rest;
    bool has_key;
    int r;

    if (equals == NULL)
        return invalid_line(lines->number, "= is missing, expected KEY='value'", e);
    name.len = (size_t)(equals - line.at);
    r = check_name(lines, name, e);
    if (r < 0)
        return r;
    has_key = strlen(key) == name.len && memcmp(key, name.at, name.len) == 0;
    rest = piece_after(line, equals);
    if (skip_blanks(rest).len < rest.len)
        return has_key;
    if (rest.len == 0 || *rest.at != '\'')
        return invalid_line(lines->number, "the value is not in single quotes", e);
    r = read_value(lines, piece_after(rest, rest.at), has_key ? value : NULL, e);
    return r < 0 ? r : has_key;
}

int env_file_find(const char *text, size_t len, const char *key, struct buf *value, struct error *e)
{
    struct lines lines = {.at = text, .end = text + len};
    size_t before = value->len;
    struct piece line;
    int r = 0;

    while (r == 0 && next_line(&lines, &line)) {
        line = skip_blanks(line);
        if (!is_comment(line))
            r = read_line(&lines, line, key, value, e);
    }
    if (r < 0)
        return r;
    return value->len > before ? 0 : ENV_FILE_WITHOUT_KEY;
}

/* O_NONBLOCK: no FIFO may block the caller. */
static int open_in(int dir_fd, const char *path)
{
    const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                                 .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

    return fd < 0 ? negative_errno() : (int)fd;
}

int env_file_load(const char *directory, const char *path, struct buf *text, struct error *e)
{
    _cleanup_(fd_closep) int dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(fd_closep) int fd = -1;
    struct stat st;
    int r;

    if (dir_fd < 0)
        return error_set_errno(e, negative_errno(), "cannot open the directory %s", directory);
    fd = open_in(dir_fd, path);
    r = fd >= 0 && fstat(fd, &st) < 0 ? negative_errno() : fd;
    if (r >= 0 && !S_ISREG(st.st_mode))
        return error_set(e, -EINVAL, "cannot read %s in %s: expected a regular file", path,
                         directory);
    if (r >= 0)
        r = buf_read_fd(text, fd);
    return r < 0 ? error_set_errno(e, r, "cannot read %s in %s", path, directory) : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is built in a fixed buffer and written with a single write(2), so that lines of several
 * threads do not mix and logging needs no memory. A line that is too long is cut with "..." at the
 * end. Text looks like klog's structured lines,
 *
 *     2026-01-02T03:04:05.678Z INFO published object="secret/default/db" generation="..2026_..."
 *
 * and JSON is one object per line with ts, level, msg and the pairs.
 *
 * An entry of the journal has the line without time and level as its message, and each pair as a
 * field, which journalctl(1) can match: SECRETFS_OBJECT=secret/default/db.
 */
#include "base/log.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include "base/clock.h"
#include "base/words.h"

#define LINE_MAX_BYTES 2048

static struct {
    enum log_level level;
    enum log_format format;
    _Atomic(enum log_target) target;
} log_state = {.level = LOG_LEVEL_INFO, .format = LOG_FORMAT_TEXT, .target = LOG_TARGET_STDERR};

struct level {
    const char *name;  /* as an argument and in JSON */
    const char *title; /* in text */
    int priority;      /* syslog(3) */
};

const char *const log_level_words[] = {[LOG_LEVEL_ERROR] = "error",
                                       [LOG_LEVEL_WARN] = "warn",
                                       [LOG_LEVEL_INFO] = "info",
                                       [LOG_LEVEL_DEBUG] = "debug",
                                       NULL};
const char *const log_format_words[] = {
    [LOG_FORMAT_TEXT] = "text", [LOG_FORMAT_JSON] = "json", NULL};

static const struct level log_levels[] = {
    [LOG_LEVEL_ERROR] = {"error", "ERROR", LOG_ERR},
    [LOG_LEVEL_WARN] = {"warn", "WARN", LOG_WARNING},
    [LOG_LEVEL_INFO] = {"info", "INFO", LOG_INFO},
    [LOG_LEVEL_DEBUG] = {"debug", "DEBUG", LOG_DEBUG},
};

static const struct level trace_level = {"trace", "TRACE", LOG_DEBUG};

unsigned log_trace_mask;

const char *const log_trace_words[] = {
    [LOG_TRACE_FUSE] = "fuse",
    [LOG_TRACE_GRPC] = "grpc",
    [LOG_TRACE_HTTP] = "http",
    [LOG_TRACE_NODE] = "node",
    [LOG_TRACE_PUBLISHER] = "publisher",
    [LOG_TRACE_REFLECTOR] = "reflector",
    [LOG_TRACE_STORE] = "store",
    [LOG_TRACE_VOLUME] = "volume",
    NULL,
};

/* Reserved for the end of a line: dots, quotes, braces, the newline and the NUL. */
#define TAIL_BYTES      16
/* A pair is not begun with less space than this. */
#define MIN_VALUE_BYTES 16

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
    bool is_full; /* something was left out; only line_close() may add to it */
};

int log_level_parse(const char *what, const char *name, enum log_level *ret_level, struct error *e)
{
    int found = words_find(log_level_words, what, name, e);

    if (found < 0)
        return found;
    *ret_level = (enum log_level)found;
    return 0;
}

int log_format_parse(const char *what, const char *name, enum log_format *ret_format,
                     struct error *e)
{
    int found = words_find(log_format_words, what, name, e);

    if (found < 0)
        return found;
    *ret_format = (enum log_format)found;
    return 0;
}

enum log_target log_target_of_stderr(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    uint64_t device, inode;
    struct stat status;

    if (text == NULL || sscanf(text, "%" SCNu64 ":%" SCNu64, &device, &inode) != 2 ||
        fstat(STDERR_FILENO, &status) < 0)
        return LOG_TARGET_STDERR;
    return status.st_dev == device && status.st_ino == inode ? LOG_TARGET_SYSTEM
                                                             : LOG_TARGET_STDERR;
}

void log_setup(enum log_level level, enum log_format format, enum log_target target)
{
    assert(level < ELEMENTS_OF(log_levels));
    log_state.level = level;
    log_state.format = format;
    atomic_store(&log_state.target, target);
}

void log_set_target(enum log_target target)
{
    atomic_store(&log_state.target, target);
}

bool log_enabled(enum log_level level)
{
    return level <= log_state.level;
}

int log_trace_parse(const char *categories, unsigned *ret_mask, struct error *e)
{
    const char *name = categories;
    unsigned mask = 0;

    for (;;) {
        size_t len = strcspn(name, ",");
        int category = words_find_part(log_trace_words, "trace category", name, len, e);

        if (category < 0)
            return category;
        mask |= 1u << category;
        if (name[len] == '\0')
            break;
        name += len + 1;
    }
    *ret_mask = mask;
    return 0;
}

void log_trace_set(unsigned mask)
{
    assert(mask >> LOG_TRACE_N_CATEGORIES == 0);
    log_trace_mask = mask;
}

const char *log_number(long long n, char buf[static LOG_NUMBER_SIZE])
{
    snprintf(buf, LOG_NUMBER_SIZE, "%lld", n);
    return buf;
}

static size_t line_room(const struct line *l)
{
    size_t end = sizeof(l->text) - TAIL_BYTES;

    return l->len < end ? end - l->len : 0;
}

/* Add something short that a line is not complete without. */
static void line_close(struct line *l, const char *text)
{
    size_t len = strlen(text);

    assert(len < sizeof(l->text) - l->len);
    memcpy(l->text + l->len, text, len);
    l->len += len;
}

static void line_add(struct line *l, const char *text)
{
    size_t room = line_room(l), len = strlen(text);

    if (l->is_full)
        return;
    l->is_full = len > room;
    len = size_min(len, room);
    memcpy(l->text + l->len, text, len);
    l->len += len;
}

/* Adds text between double quotes with JSON's escapes, which serve the text format as well. */
static void line_add_quoted(struct line *l, const char *text)
{
    if (l->is_full)
        return;
    line_add(l, "\"");
    for (const char *p = text; *p != '\0' && !l->is_full; p++) {
        unsigned char c = (unsigned char)*p;
        char escaped[8];

        if (c == '"' || c == '\\')
            snprintf(escaped, sizeof(escaped), "\\%c", c);
        else if (c == '\n')
            snprintf(escaped, sizeof(escaped), "\\n");
        else if (c < 0x20 || c == 0x7f)
            snprintf(escaped, sizeof(escaped), "\\u%04x", c);
        else
            snprintf(escaped, sizeof(escaped), "%c", c);
        if (strlen(escaped) > line_room(l))
            l->is_full = true; /* half an escape would spoil the line */
        else
            line_add(l, escaped);
    }
    line_close(l, l->is_full ? "...\"" : "\"");
}

static void line_add_pair(struct line *l, const char *key, const char *value)
{
    if (line_room(l) < strlen(key) + MIN_VALUE_BYTES)
        l->is_full = true;
    if (l->is_full)
        return;
    if (log_state.format == LOG_FORMAT_JSON) {
        line_add(l, ",");
        line_add_quoted(l, key);
        line_add(l, ":");
    } else {
        line_add(l, " ");
        line_add(l, key);
        line_add(l, "=");
    }
    line_add_quoted(l, value);
}

static void line_add_pairs(struct line *l, va_list args)
{
    const char *key;

    while ((key = va_arg(args, const char *)) != NULL) {
        const char *value = va_arg(args, const char *);

        if (value != NULL)
            line_add_pair(l, key, value);
    }
}

static void line_open(struct line *l, const struct level *level, const char *message)
{
    char now[CLOCK_RFC3339_SIZE];

    clock_rfc3339(clock_wall(), now);
    if (log_state.format == LOG_FORMAT_JSON) {
        line_add(l, "{\"ts\":");
        line_add_quoted(l, now);
        line_add(l, ",\"level\":");
        line_add_quoted(l, level->name);
        line_add(l, ",\"msg\":");
        line_add_quoted(l, message);
        return;
    }
    /* the journal and syslog add their own time and level */
    if (log_state.target == LOG_TARGET_STDERR) {
        line_add(l, now);
        line_add(l, " ");
        line_add(l, level->title);
        line_add(l, " ");
    }
    line_add(l, message);
}

/* ---- the journal's entries */

#define FIELD_PREFIX "SECRETFS_"
#define FIELDS_MAX   18 /* more than any line has pairs; the message has them all */

struct entry {
    char text[3 * LINE_MAX_BYTES]; /* what the fields point to: the message, and its pairs again */
    size_t len;
    struct iovec fields[FIELDS_MAX];
    int n_fields;
};

/* A field that does not fit is left out. */
static void entry_add(struct entry *entry, const char *name, const char *value)
{
    size_t room = sizeof(entry->text) - entry->len;
    char *start = entry->text + entry->len;
    int n = snprintf(start, room, "%s=%s", name, value);

    if (n < 0 || (size_t)n >= room || entry->n_fields == FIELDS_MAX)
        return;
    entry->fields[entry->n_fields++] = (struct iovec){.iov_base = start, .iov_len = (size_t)n};
    entry->len += (size_t)n + 1;
}

/* resourceVersion becomes SECRETFS_RESOURCE_VERSION; other characters are not allowed there. */
static void field_name(const char *key, char *name, size_t size)
{
    size_t len = strlen(FIELD_PREFIX);

    memcpy(name, FIELD_PREFIX, len);
    for (; *key != '\0' && len < size - 2; key++) {
        if (isupper((unsigned char)*key) != 0)
            name[len++] = '_';
        name[len++] = isalnum((unsigned char)*key) != 0 ? (char)toupper(*key) : '_';
    }
    name[len] = '\0';
}

static void entry_add_pairs(struct entry *entry, va_list args)
{
    const char *key;

    while ((key = va_arg(args, const char *)) != NULL) {
        const char *value = va_arg(args, const char *);
        char name[64];

        field_name(key, name, sizeof(name));
        if (value != NULL)
            entry_add(entry, name, value);
    }
}

static void send_to_journal(const char *message, int priority, const char *category, va_list args)
{
    const char digit[] = {(char)('0' + priority), '\0'};
    struct entry entry = {.len = 0};

    entry_add(&entry, "MESSAGE", message);
    entry_add(&entry, "PRIORITY", digit);
    if (category != NULL)
        entry_add(&entry, FIELD_PREFIX "CATEGORY", category);
    entry_add_pairs(&entry, args);
    sd_journal_sendv(entry.fields, entry.n_fields);
}

/* ---- lines */

/* @category: of a trace, else NULL */
static void write_line(const struct level *level, const char *category, const char *message,
                       va_list args)
{
    struct line line = {.len = 0};
    int saved = errno;
    va_list again;

    line_open(&line, level, message);
    if (category != NULL)
        line_add_pair(&line, "category", category);
    va_copy(again, args);
    line_add_pairs(&line, again);
    va_end(again);
    if (log_state.format == LOG_FORMAT_JSON)
        line_close(&line, "}");
    else if (line.is_full)
        line_close(&line, "...");
    if (log_state.target != LOG_TARGET_SYSTEM) {
        line_close(&line, "\n");
        if (write(STDERR_FILENO, line.text, line.len) < 0)
            errno = saved; /* a failure to write a line cannot be logged */
    } else {
        line.text[line.len] = '\0';
        if (access("/run/systemd/journal/socket", W_OK) == 0)
            send_to_journal(line.text, level->priority, category, args);
        else
            syslog(LOG_DAEMON | level->priority, "%s", line.text);
    }
    errno = saved;
}

void log_write(enum log_level level, const char *message, ...)
{
    va_list args;

    if (!log_enabled(level))
        return;
    va_start(args, message);
    write_line(&log_levels[level], NULL, message, args);
    va_end(args);
}

void log_trace_write(enum log_trace_category category, const char *message, ...)
{
    va_list args;

    assert(category < LOG_TRACE_N_CATEGORIES);
    va_start(args, message);
    write_line(&trace_level, log_trace_words[category], message, args);
    va_end(args);
}

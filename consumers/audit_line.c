/* SPDX-License-Identifier: Apache-2.0 */
#include "consumers/audit_line.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/util.h"

#define TEXT_MAX 512u /* of a member; only a mount point is longer */

struct line {
    char *text;
    size_t len;
};

static void add(struct line *l, const char *text)
{
    size_t len = strlen(text);

    assert(l->len + len < AUDIT_LINE_SIZE);
    memcpy(l->text + l->len, text, len + 1);
    l->len += len;
}

static void add_char(struct line *l, char c)
{
    const char text[] = {c >= ' ' && c < 0x7f ? c : '?', '\0'};

    if (c == '"' || c == '\\')
        add(l, "\\");
    add(l, text);
}

static void add_name(struct line *l, const char *name)
{
    add(l, l->len > 1 ? ",\"" : "\"");
    add(l, name);
    add(l, "\":");
}

/* An unknown text is left out. */
static void add_text(struct line *l, const char *name, const char *text)
{
    if (text == NULL || text[0] == '\0')
        return;
    add_name(l, name);
    add(l, "\"");
    for (size_t i = 0; i < TEXT_MAX && text[i] != '\0'; i++)
        add_char(l, text[i]);
    add(l, "\"");
}

static void add_number(struct line *l, const char *name, uint64_t n)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, n);
    add_name(l, name);
    add(l, text);
}

static struct line begin(char *text, struct timespec at, const char *event)
{
    struct line l = {.text = text};
    char time[CLOCK_RFC3339_SIZE];

    add(&l, "{");
    add_text(&l, "time", clock_rfc3339(at, time));
    add_text(&l, "event", event);
    return l;
}

static size_t end(struct line *l)
{
    add(l, "}\n");
    return l->len;
}

static void add_volume(struct line *l, const struct audit_volume *volume)
{
    if (volume->pod == NULL) {
        add_text(l, "mountpoint", volume->mountpoint);
        return;
    }
    add_text(l, "namespace", volume->namespace);
    add_text(l, "pod", volume->pod);
}

static void add_identity(struct line *l, const struct consumer_identity *identity)
{
    add_text(l, "podUID", identity->group.pod_uid);
    add_text(l, "container", identity->group.container);
    add_text(l, "unit", identity->group.unit);
    add_number(l, "uid", identity->process.uid);
    add_text(l, "process", identity->process.comm);
}

size_t audit_line_open(const struct audit_volume *volume, const struct audit_open *open,
                       char ret_line[static AUDIT_LINE_SIZE])
{
    struct line l = begin(ret_line, open->at, "open");
    char object[OBJECT_KEY_TEXT_SIZE];

    add_volume(&l, volume);
    if (open->identity != NULL)
        add_identity(&l, open->identity);
    if (open->pid > 0)
        add_number(&l, "pid", (uint64_t)open->pid);
    add_text(&l, "object", object_key_text(open->object, object));
    add_text(&l, "key", open->key);
    add_text(&l, "resourceVersion", open->version);
    return end(&l);
}

size_t audit_line_dropped(const struct audit_volume *volume, struct timespec at, uint64_t n,
                          char ret_line[static AUDIT_LINE_SIZE])
{
    struct line l = begin(ret_line, at, "dropped");

    if (volume != NULL)
        add_volume(&l, volume);
    add_number(&l, "count", n);
    return end(&l);
}

size_t audit_line_lost(struct timespec at, char ret_line[static AUDIT_LINE_SIZE])
{
    struct line l = begin(ret_line, at, "lost");

    return end(&l);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/status/table.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#define CELL_SIZE    1024 /* longer texts are cut; a target's path is shorter as a rule */
#define OBJECTS_MAX  3    /* of a projected volume; "+N" stands for the others */
#define COLUMN_SPACE 3    /* as kubectl */

const char *status_age(uint64_t seconds, char buf[static STATUS_AGE_SIZE])
{
    static const uint64_t minute = 60, hour = 3600, day = 86400, year = 31536000;
    /* two units up to some age, then the larger one alone */
    static const struct {
        uint64_t below, unit, smaller;
        const char *name, *smaller_name;
    } steps[] = {
        {2 * minute, 1, 0, "s", ""},    {10 * minute, minute, 1, "m", "s"},
        {3 * hour, minute, 0, "m", ""}, {8 * hour, hour, minute, "h", "m"},
        {2 * day, hour, 0, "h", ""},    {8 * day, day, hour, "d", "h"},
        {2 * year, day, 0, "d", ""},    {UINT64_MAX, year, day, "y", "d"},
    };
    size_t i = 0;
    uint64_t rest;

    while (i + 1 < ELEMENTS_OF(steps) && seconds >= steps[i].below)
        i++;
    rest = steps[i].smaller != 0 ? seconds % steps[i].unit / steps[i].smaller : 0;
    if (rest != 0)
        snprintf(buf, STATUS_AGE_SIZE, "%ju%s%ju%s", (uintmax_t)(seconds / steps[i].unit),
                 steps[i].name, (uintmax_t)rest, steps[i].smaller_name);
    else
        snprintf(buf, STATUS_AGE_SIZE, "%ju%s", (uintmax_t)(seconds / steps[i].unit),
                 steps[i].name);
    return buf;
}

/* ---- cells: an empty one is printed as "-" */

struct cell {
    char text[CELL_SIZE];
    size_t len;
};

static void cell_add_part(struct cell *cell, const char *text, size_t text_len)
{
    size_t len = size_min(text_len, sizeof(cell->text) - 1 - cell->len);

    assert(cell->len < sizeof(cell->text));

    memcpy(cell->text + cell->len, text, len);
    cell->len += len;
    cell->text[cell->len] = '\0';
}

static void cell_add(struct cell *cell, const char *text)
{
    cell_add_part(cell, text, strlen(text));
}

static void add_text(struct cell *cell, const cJSON *json, const char *key)
{
    const char *text = json_text(json, key);

    if (text != NULL)
        cell_add(cell, text);
}

static void add_count(struct cell *cell, const cJSON *json, const char *key)
{
    const cJSON *number = json_member(json, key);
    char text[32];

    if (!cJSON_IsNumber(number))
        return;
    snprintf(text, sizeof(text), "%.0f", number->valuedouble);
    cell_add(cell, text);
}

static void cell_target(struct cell *cell, const cJSON *volume, struct timespec now)
{
    add_text(cell, volume, "mountpoint");
}

/*
 * What identifies the volume to its owner: a pod's name for it, which the kubelet puts into the
 * target; the name of a static volume's file; of `secretfs mount`, the name in the file of
 * --volume, or the mount point.
 */
static void cell_volume(struct cell *cell, const cJSON *volume, struct timespec now)
{
    static const char after[] = "/volumes/kubernetes.io~csi/";
    const char *target = json_text(volume, "mountpoint");
    const char *name = json_text(volume, "pod") != NULL ? strstr(target, after) : NULL;

    if (json_text(volume, "static") != NULL)
        add_text(cell, volume, "static");
    else if (name != NULL)
        cell_add_part(cell, name + sizeof(after) - 1, strcspn(name + sizeof(after) - 1, "/"));
    else if (json_path(volume, "volume", "name", NULL) != NULL)
        add_text(cell, json_member(volume, "volume"), "name");
    else
        add_text(cell, volume, "mountpoint");
}

static void cell_node(struct cell *cell, const cJSON *volume, struct timespec now)
{
    add_text(cell, volume, "node");
}

static void cell_pod(struct cell *cell, const cJSON *volume, struct timespec now)
{
    add_text(cell, volume, "pod");
}

/* Call @add for the object, or for up to OBJECTS_MAX objects, of a volume. */
static void visit_objects(struct cell *cell, const cJSON *volume,
                          void (*add)(struct cell *cell, const cJSON *object))
{
    const cJSON *list = json_member(volume, "objects"), *object;
    int n = 0;
    char more[32];

    if (json_member(volume, "object") != NULL)
        add(cell, json_member(volume, "object"));
    cJSON_ArrayForEach (object, list) {
        if (n++ >= OBJECTS_MAX)
            break;
        if (n > 1)
            cell_add(cell, ",");
        add(cell, object);
    }
    if (cJSON_GetArraySize(list) > OBJECTS_MAX) {
        snprintf(more, sizeof(more), ",+%d", cJSON_GetArraySize(list) - OBJECTS_MAX);
        cell_add(cell, more);
    }
}

/* "secret/NAMESPACE/NAME", as object_key_text() has it. */
static void add_object(struct cell *cell, const cJSON *object)
{
    const char *kind = json_text(object, "kind"), *namespace = json_text(object, "namespace");

    for (const char *p = kind != NULL ? kind : "-"; *p != '\0'; p++)
        cell_add(cell, (char[]){(char)tolower((unsigned char)*p), '\0'});
    cell_add(cell, "/");
    if (namespace == NULL || namespace[0] != '\0') { /* a cluster-wide object has none */
        add_text(cell, object, "namespace");
        cell_add(cell, "/");
    }
    add_text(cell, object, "name");
}

static void cell_object(struct cell *cell, const cJSON *volume, struct timespec now)
{
    visit_objects(cell, volume, add_object);
}

static void add_version(struct cell *cell, const cJSON *object)
{
    const char *version = json_text(object, "resourceVersion");

    cell_add(cell, version != NULL && *version != '\0' ? version : "-");
}

static void cell_version(struct cell *cell, const cJSON *volume, struct timespec now)
{
    visit_objects(cell, volume, add_version);
}

static void cell_state(struct cell *cell, const cJSON *volume, struct timespec now)
{
    add_text(cell, json_member(volume, "volume"), "state");
}

static void cell_generation(struct cell *cell, const cJSON *volume, struct timespec now)
{
    add_text(cell, json_member(volume, "volume"), "generation");
}

static void cell_age(struct cell *cell, const cJSON *volume, struct timespec now)
{
    const char *time = json_text(json_member(volume, "lastUpdate"), "time");
    struct timespec then;

    if (time != NULL && clock_parse_rfc3339(time, &then) == 0)
        cell_add(cell,
                 status_age(now.tv_sec > then.tv_sec ? (uint64_t)(now.tv_sec - then.tv_sec) : 0,
                            (char[STATUS_AGE_SIZE]){""}));
}

/* "2/3": of three consumers two have opened the newest version. Empty where none are noted. */
static void cell_readers(struct cell *cell, const cJSON *volume, struct timespec now)
{
    const cJSON *consumers = json_path(volume, "volume", "consumers", NULL), *consumer;
    int n = 0, n_current = 0;
    char text[32];

    if (consumers == NULL || cJSON_IsFalse(json_member(consumers, "known")))
        return;
    cJSON_ArrayForEach (consumer, json_member(consumers, "list")) {
        const char *state = json_text(consumer, "state");

        n++;
        n_current += state != NULL && streq(state, "current");
    }
    snprintf(text, sizeof(text), "%d/%d", n_current, n);
    cell_add(cell, text);
}

static void cell_source(struct cell *cell, const cJSON *volume, struct timespec now)
{
    add_text(cell, json_member(volume, "source"), "state");
}

/* Number of files and directories mounted alone; "1,stale" if they do not follow updates. */
static void cell_mounted_alone(struct cell *cell, const cJSON *volume, struct timespec now)
{
    const cJSON *mounts = json_member(json_member(volume, "volume"), "mountedAlone");

    add_count(cell, mounts, "count");
    if (cJSON_IsFalse(json_member(mounts, "live")) &&
        cJSON_GetNumberValue(json_member(mounts, "count")) > 0)
        cell_add(cell, ",stale");
}

static void cell_files(struct cell *cell, const cJSON *volume, struct timespec now)
{
    add_count(cell, json_member(volume, "volume"), "files");
}

static void cell_bytes(struct cell *cell, const cJSON *volume, struct timespec now)
{
    add_count(cell, json_member(volume, "volume"), "bytes");
}

static void cell_updates(struct cell *cell, const cJSON *volume, struct timespec now)
{
    add_count(cell, json_member(volume, "lastUpdate"), "count");
}

static void cell_latency(struct cell *cell, const cJSON *volume, struct timespec now)
{
    const cJSON *latency = json_path(volume, "lastUpdate", "latencySeconds", NULL);
    char text[32];

    if (!cJSON_IsNumber(latency))
        return;
    snprintf(text, sizeof(text), "%.3fms", latency->valuedouble * 1e3);
    cell_add(cell, text);
}

static void cell_pid(struct cell *cell, const cJSON *volume, struct timespec now)
{
    add_count(cell, volume, "pid");
}

static void cell_error(struct cell *cell, const cJSON *volume, struct timespec now)
{
    const cJSON *content = json_member(volume, "volume");

    if (json_text(content, "error") != NULL)
        add_text(cell, content, "error");
    else
        add_text(cell, json_member(volume, "source"), "error");
}

/* ---- lines */

static const struct column {
    const char *name;
    void (*write)(struct cell *cell, const cJSON *volume, struct timespec now);
    enum { ALWAYS, WIDE /* -o wide */, OF_CLUSTER } shown;
} columns[] = {
    {"NODE", cell_node, OF_CLUSTER}, {"POD", cell_pod, ALWAYS},
    {"VOLUME", cell_volume, ALWAYS}, {"OBJECT", cell_object, ALWAYS},
    {"STATE", cell_state, ALWAYS},   {"VERSION", cell_version, ALWAYS},
    {"AGE", cell_age, ALWAYS},       {"READERS", cell_readers, ALWAYS},
    {"SOURCE", cell_source, WIDE},   {"MOUNTED-ALONE", cell_mounted_alone, WIDE},
    {"FILES", cell_files, WIDE},     {"BYTES", cell_bytes, WIDE},
    {"UPDATES", cell_updates, WIDE}, {"LATENCY", cell_latency, WIDE},
    {"PID", cell_pid, WIDE},         {"GENERATION", cell_generation, WIDE},
    {"TARGET", cell_target, WIDE},   {"ERROR", cell_error, ALWAYS},
};
_Static_assert(ELEMENTS_OF(columns) <= STATUS_COLUMNS_MAX, "each column has a width");

static bool is_shown(const struct status_table *table, size_t i)
{
    switch (columns[i].shown) {
    case WIDE:
        return table->is_wide;
    case OF_CLUSTER:
        return table->has_nodes;
    default:
        return true;
    }
}

/* Characters that would split a line or a column are written in octal, as in mountinfo. */
static void cell_escape(const struct cell *cell, bool is_last, struct cell *ret_cell)
{
    ret_cell->len = 0;
    ret_cell->text[0] = '\0';
    for (const unsigned char *c = (const unsigned char *)cell->text; *c != '\0'; c++) {
        char piece[8] = {(char)*c, '\0'};
        bool is_plain = *c > ' ' && *c != 0x7f && *c != '\\';

        if (!is_plain && !(is_last && (*c == ' ' || *c == '\\')))
            snprintf(piece, sizeof(piece), "\\%03o", *c);
        cell_add(ret_cell, piece);
    }
}

/* @volume: NULL for the header. */
static void write_cell(size_t i, const cJSON *volume, struct timespec now, struct cell *ret_cell)
{
    struct cell cell = {.text = ""};

    if (volume == NULL)
        cell_add(&cell, columns[i].name);
    else
        columns[i].write(&cell, volume, now);
    if (cell.len == 0)
        cell_add(&cell, "-");
    cell_escape(&cell, i + 1 == ELEMENTS_OF(columns), ret_cell);
}

static void measure(struct status_table *table, const cJSON *volume, struct timespec now)
{
    struct cell cell;

    for (size_t i = 0; i < ELEMENTS_OF(columns); i++) {
        write_cell(i, volume, now, &cell);
        if (cell.len > table->widths[i])
            table->widths[i] = cell.len;
    }
}

/* ECMA-48's colours, by how bad a state is for readers: red shows nothing, or does not update. */
#define COLOUR_GREEN  "\033[32m"
#define COLOUR_YELLOW "\033[33m"
#define COLOUR_RED    "\033[31m"
#define COLOUR_OFF    "\033[0m"

static const char *colour_of(const char *state)
{
    static const struct {
        const char *state, *colour;
    } colours[] = {
        {"current", COLOUR_GREEN}, {"waiting", COLOUR_YELLOW}, {"disconnected", COLOUR_YELLOW},
        {"held", COLOUR_YELLOW},   {"stale", COLOUR_YELLOW},   {"failing", COLOUR_RED},
        {"dead", COLOUR_RED},      {"unknown", COLOUR_RED},
    };

    for (size_t i = 0; i < ELEMENTS_OF(colours); i++)
        if (streq(state, colours[i].state))
            return colours[i].colour;
    return "";
}

/* @volume: NULL for the header */
static int print_cell(const struct status_table *table, size_t i, const cJSON *volume,
                      const struct cell *cell, struct buf *text)
{
    bool is_state = volume != NULL && columns[i].write == cell_state;
    const char *colour = table->is_coloured && is_state ? colour_of(cell->text) : "";
    size_t width = table->widths[i] + COLUMN_SPACE;

    assert(cell->len <= table->widths[i]);
    if (i + 1 == ELEMENTS_OF(columns))
        return buf_addf(text, "%s\n", cell->text);
    return buf_addf(text, "%s%s%s%*s", colour, cell->text, colour[0] != '\0' ? COLOUR_OFF : "",
                    (int)(width - cell->len), "");
}

static int print_line(const struct status_table *table, const cJSON *volume, struct timespec now,
                      struct buf *text)
{
    struct cell cell;
    int r = 0;

    for (size_t i = 0; i < ELEMENTS_OF(columns) && r >= 0; i++) {
        if (!is_shown(table, i))
            continue;
        write_cell(i, volume, now, &cell);
        r = print_cell(table, i, volume, &cell, text);
    }
    return r;
}

int status_table_print(struct status_table *table, const cJSON *volumes, struct timespec now,
                       struct buf *text)
{
    const cJSON *volume;
    int r = 0;

    if (!table->has_header)
        measure(table, NULL, now);
    cJSON_ArrayForEach (volume, volumes) {
        measure(table, volume, now);
    }
    if (!table->has_header)
        r = print_line(table, NULL, now, text);
    table->has_header = true;
    cJSON_ArrayForEach (volume, volumes) {
        if (r >= 0)
            r = print_line(table, volume, now, text);
    }
    return r;
}

bool status_table_same(const struct status_table *table, const cJSON *a, const cJSON *b)
{
    static const struct timespec now;
    struct cell of_a, of_b;

    for (size_t i = 0; i < ELEMENTS_OF(columns); i++) {
        if (!is_shown(table, i) || columns[i].write == cell_age)
            continue;
        write_cell(i, a, now, &of_a);
        write_cell(i, b, now, &of_b);
        if (!streq(of_a.text, of_b.text))
            return false;
    }
    return true;
}

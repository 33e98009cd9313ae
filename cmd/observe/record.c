/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/observe/record.h"

#include <ctype.h>
#include <stdio.h>
#include <sys/inotify.h>

#include "base/clock.h"

static const struct {
    uint32_t bit;
    const char *name;
} kinds[] = {
    {IN_CREATE, "CREATE"},           {IN_DELETE, "DELETE"},           {IN_MOVED_FROM, "MOVED_FROM"},
    {IN_MOVED_TO, "MOVED_TO"},       {IN_ATTRIB, "ATTRIB"},           {IN_MODIFY, "MODIFY"},
    {IN_CLOSE_WRITE, "CLOSE_WRITE"}, {IN_DELETE_SELF, "DELETE_SELF"}, {IN_MOVE_SELF, "MOVE_SELF"},
    {IN_Q_OVERFLOW, "Q_OVERFLOW"},
};

static const char *const change_lists[] = {
    [SNAPSHOT_ADDED] = "added",
    [SNAPSHOT_CHANGED] = "changed",
    [SNAPSHOT_REMOVED] = "removed",
};

/* Text of an inotify event: "CREATE name", "DELETE name/" for a directory. */
#define EVENT_SIZE 320
static const char *event_text(uint32_t mask, const char *name, char buf[static EVENT_SIZE])
{
    const char *kind = "OTHER";

    for (size_t i = 0; i < ELEMENTS_OF(kinds); i++)
        if ((mask & kinds[i].bit) != 0)
            kind = kinds[i].name;
    snprintf(buf, EVENT_SIZE, "%s%s%.256s%s", kind, name[0] != '\0' ? " " : "", name,
             (mask & IN_ISDIR) != 0 && name[0] != '\0' ? "/" : "");
    return buf;
}

/* Return: the member, a list, which is made if it is missing; NULL without memory. */
static cJSON *list_of(cJSON *json, const char *key)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(json, key);

    return list != NULL ? list : cJSON_AddArrayToObject(json, key);
}

static int add_to_list(cJSON *json, const char *key, const char *text)
{
    cJSON *list = list_of(json, key), *item = cJSON_CreateString(text);

    if (list != NULL && item != NULL && cJSON_AddItemToArray(list, item))
        return 0;
    cJSON_Delete(item);
    return -ENOMEM;
}

static int begin(struct record *record)
{
    if (record->json == NULL)
        record->json = cJSON_CreateObject();
    return record->json != NULL ? 0 : -ENOMEM;
}

int record_add_event(struct record *record, uint32_t mask, const char *name)
{
    char text[EVENT_SIZE];
    cJSON *list;

    if (begin(record) < 0)
        return -ENOMEM;
    list = list_of(record->json, "events");
    if (list != NULL && cJSON_GetArraySize(list) >= RECORD_EVENTS_MAX) {
        record->n_dropped++;
        return 0;
    }
    return add_to_list(record->json, "events", event_text(mask, name, text));
}

static int add_change(void *userdata, enum snapshot_change change, const char *path)
{
    return add_to_list(userdata, change_lists[change], path);
}

int record_show(struct record *record, const char *generation, const struct snapshot *from,
                const struct snapshot *to)
{
    char time[CLOCK_RFC3339_SIZE];
    int r;

    if (begin(record) < 0)
        return -ENOMEM;
    record->is_shown = true;
    r = json_add_text(record->json, "time", clock_rfc3339(clock_wall(), time));
    r |= json_add_text(record->json, "generation", generation);
    for (size_t i = 0; i < ELEMENTS_OF(change_lists); i++)
        r |= list_of(record->json, change_lists[i]) != NULL ? 0 : -ENOMEM;
    r |= snapshot_compare(from, to, add_change, record->json);
    return r != 0 ? -ENOMEM : 0;
}

static int add_object(cJSON *json, const cJSON *object)
{
    static const char *const members[] = {"kind", "namespace", "name", "resourceVersion"};
    cJSON *added = cJSON_AddObjectToObject(json, "object");
    int r = added != NULL ? 0 : -ENOMEM;

    for (size_t i = 0; i < ELEMENTS_OF(members) && r == 0; i++)
        r = json_add_text(added, members[i], json_text(object, members[i]));
    return r;
}

int record_add_status(struct record *record, const cJSON *status)
{
    const char *shown = json_text(json_member(status, "volume"), "generation");
    const char *generation = json_text(record->json, "generation");
    const cJSON *object = json_member(status, "object");
    const cJSON *latency = json_path(status, "lastUpdate", "latencySeconds", NULL);
    int r = 0;

    if (shown == NULL || generation == NULL || !streq(shown, generation))
        return 0;
    if (object != NULL)
        r = add_object(record->json, object);
    if (r == 0 && cJSON_IsNumber(latency))
        r = json_add_number(record->json, "latencySeconds", latency->valuedouble);
    return r;
}

void record_deinit(struct record *record)
{
    cJSON_Delete(record->json);
    *record = (struct record){0};
}

/* ---- printing */

/* A name may have any byte: a terminal must not take it for a command. */
static int print_name(const char *name, struct buf *text)
{
    int r = 0;

    for (; *name != '\0' && r == 0; name++)
        r = buf_add(text, iscntrl((unsigned char)*name) != 0 ? "?" : name, 1);
    return r;
}

static int print_list(const cJSON *names, const char *word, const char **separator,
                      struct buf *text)
{
    const cJSON *name;
    int r = 0;

    cJSON_ArrayForEach (name, names) {
        r |= buf_addf(text, "%s%s", *separator, word);
        r |= print_name(name->valuestring, text);
        *separator = ", ";
    }
    return r;
}

static int print_changes(const cJSON *record, struct buf *text)
{
    const char *separator = " ";
    int r = print_list(json_member(record, "added"), "added ", &separator, text);

    r |= print_list(json_member(record, "changed"), "changed ", &separator, text);
    r |= print_list(json_member(record, "removed"), "removed ", &separator, text);
    return r != 0 ? r : *separator == ' ' ? buf_add_text(text, " no content differs") : 0;
}

/* What the first record says of a volume; it has no events. */
static int print_content(const cJSON *record, struct buf *text)
{
    const char *separator = " ";
    int r = print_list(json_member(record, "added"), "", &separator, text);

    return r != 0 ? r : *separator == ' ' ? buf_add_text(text, " no files") : 0;
}

static int print_header(const cJSON *record, struct buf *text)
{
    const char *time = json_text(record, "time");
    bool is_first = json_member(record, "events") == NULL;
    int r;

    if (time == NULL)
        return buf_add_text(text, "events without an update:\n");
    r = buf_addf(text, "%s %s:", time, is_first ? "content" : "update");
    r |= is_first ? print_content(record, text) : print_changes(record, text);
    r |= buf_addf(text, "\n  generation ");
    r |= print_name(json_text(record, "generation"), text);
    r |= buf_add_text(text, "\n");
    return r;
}

static int print_object(const cJSON *record, struct buf *text)
{
    const cJSON *object = json_member(record, "object");
    const cJSON *latency = json_member(record, "latencySeconds");
    int r = 0;

    if (object != NULL)
        r = buf_addf(text, "  %s %s/%s at resourceVersion %s", json_text(object, "kind"),
                     json_text(object, "namespace"), json_text(object, "name"),
                     json_text(object, "resourceVersion"));
    if (r == 0 && latency != NULL)
        r = buf_addf(text, "%s %.1f ms after secretfs received it\n",
                     object != NULL ? ", shown" : "  shown", latency->valuedouble * 1e3);
    else if (r == 0 && object != NULL)
        r = buf_add_text(text, "\n");
    return r;
}

int record_print(const cJSON *record, struct buf *text)
{
    const cJSON *event;
    int r = print_header(record, text);

    r |= print_object(record, text);
    cJSON_ArrayForEach (event, json_member(record, "events")) {
        r |= buf_add_text(text, "  ");
        r |= print_name(event->valuestring, text);
        r |= buf_add_text(text, "\n");
    }
    return r != 0 ? -ENOMEM : 0;
}

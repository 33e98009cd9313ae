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

/* Return: a copy of what the record says of an object; NULL without memory. */
static cJSON *copy_object(const cJSON *object)
{
    static const char *const members[] = {"kind", "namespace", "name", "resourceVersion"};
    cJSON *copy = cJSON_CreateObject();
    int r = 0;

    for (size_t i = 0; i < ELEMENTS_OF(members); i++) {
        const char *text = json_text(object, members[i]);

        r |= json_add_text(copy, members[i], text != NULL ? text : "");
    }
    if (r == 0)
        return copy;
    cJSON_Delete(copy);
    return NULL;
}

/* As in the status, a projected volume has a list. */
static int add_objects(cJSON *json, const cJSON *status)
{
    const cJSON *object = json_member(status, "object"), *objects = json_member(status, "objects");
    cJSON *list = NULL, *copy;

    if (object != NULL) {
        copy = copy_object(object);
        return cJSON_AddItemToObject(json, "object", copy) ? 0 : -ENOMEM;
    }
    cJSON_ArrayForEach (object, objects) {
        list = list_of(json, "objects");
        copy = copy_object(object);
        if (!cJSON_AddItemToArray(list, copy)) {
            cJSON_Delete(copy);
            return -ENOMEM;
        }
    }
    return 0;
}

int record_add_status(struct record *record, const cJSON *status)
{
    const char *shown = json_text(json_member(status, "volume"), "generation");
    const char *generation = json_text(record->json, "generation");
    const cJSON *latency = json_path(status, "lastUpdate", "latencySeconds", NULL);
    int r;

    if (shown == NULL || generation == NULL || !streq(shown, generation))
        return 0;
    r = add_objects(record->json, status);
    if (r == 0 && cJSON_IsNumber(latency))
        r = json_add_number(record->json, "latencySeconds", latency->valuedouble);
    return r;
}

int record_add_change(struct record *record, const char *version, span_us since)
{
    cJSON *added = cJSON_AddObjectToObject(record->json, "sinceChange");
    int r = added != NULL ? json_add_text(added, "resourceVersion", version) : -ENOMEM;

    return r == 0 ? json_add_number(added, "seconds", (double)since / 1e6) : r;
}

/* ---- other records */

/* Return: a record with a member, *ret_member, of that name; NULL without memory. */
static cJSON *new_record(struct timespec at, const char *name, cJSON **ret_member)
{
    char time[CLOCK_RFC3339_SIZE];
    cJSON *json = cJSON_CreateObject();

    *ret_member = NULL;
    if (json != NULL && json_add_text(json, "time", clock_rfc3339(at, time)) == 0)
        *ret_member = cJSON_AddObjectToObject(json, name);
    if (*ret_member != NULL)
        return json;
    cJSON_Delete(json);
    return NULL;
}

static cJSON *check_record(cJSON *json, int result)
{
    if (result == 0)
        return json;
    cJSON_Delete(json);
    return NULL;
}

cJSON *record_of_change(const struct object_key *key, const char *version)
{
    cJSON *change, *json = new_record(clock_wall(), "change", &change);
    int r = 0;

    if (json == NULL)
        return NULL;
    r |= json_add_text(change, "kind", object_kind_name(key->kind));
    r |= json_add_text(change, "namespace", key->namespace);
    r |= json_add_text(change, "name", key->name);
    if (version != NULL)
        r |= json_add_text(change, "resourceVersion", version);
    return check_record(json, r);
}

static int add_identity(cJSON *open, const struct consumer_identity *identity)
{
    const struct identity_process *process = &identity->process;
    const struct {
        const char *name, *text;
    } texts[] = {
        {"process", process->comm},
        {"podUID", identity->group.pod_uid},
        {"container", identity->group.container},
        {"unit", identity->group.unit},
    };
    int r = json_add_number(open, "pid", process->pid);

    if (process->comm[0] != '\0')
        r |= json_add_number(open, "uid", process->uid);
    for (size_t i = 0; i < ELEMENTS_OF(texts); i++)
        if (texts[i].text[0] != '\0')
            r |= json_add_text(open, texts[i].name, texts[i].text);
    return r;
}

cJSON *record_of_open(const char *path, const char *generation, const char *file,
                      const struct opened *opened, mono_us shown_at)
{
    cJSON *open, *json = new_record(opened->time, "open", &open);
    int r = 0;

    if (json == NULL)
        return NULL;
    r |= json_add_text(json, "path", path);
    r |= json_add_text(open, "file", file);
    r |= json_add_text(open, "generation", generation);
    r |= add_identity(open, &opened->identity);
    if (shown_at != 0)
        r |= json_add_number(open, "sinceUpdateSeconds",
                             opened->at > shown_at ? (double)(opened->at - shown_at) / 1e6 : 0);
    return check_record(json, r);
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

static int print_start(const cJSON *record, bool with_path, struct buf *text)
{
    const char *path = json_text(record, "path");
    int r = buf_addf(text, "%s ", json_text(record, "time"));

    if (with_path && path != NULL) {
        r |= print_name(path, text);
        r |= buf_add_text(text, " ");
    }
    return r;
}

static int print_header(const cJSON *record, bool with_path, struct buf *text)
{
    bool is_first = json_member(record, "events") == NULL;
    int r = print_start(record, with_path, text);

    r |= buf_add_text(text, is_first ? "content:" : "update:");
    r |= is_first ? print_content(record, text) : print_changes(record, text);
    r |= buf_add_text(text, "\n  generation ");
    r |= print_name(json_text(record, "generation"), text);
    r |= buf_add_text(text, "\n");
    return r;
}

static int print_object(const cJSON *object, struct buf *text)
{
    const char *namespace = json_text(object, "namespace");
    const char *version = json_text(object, "resourceVersion");

    return buf_addf(text, "%s %s%s%s%s%s", json_text(object, "kind"), namespace,
                    namespace[0] != '\0' ? "/" : "", json_text(object, "name"),
                    version != NULL && version[0] != '\0' ? " at resourceVersion " : "",
                    version != NULL ? version : " was deleted");
}

static int print_objects(const cJSON *record, struct buf *text)
{
    const cJSON *object, *latency = json_member(record, "latencySeconds");
    const char *separator = "  ";
    int r = 0;

    if (json_member(record, "object") != NULL) {
        r |= buf_add_text(text, separator);
        r |= print_object(json_member(record, "object"), text);
        separator = ", ";
    }
    cJSON_ArrayForEach (object, json_member(record, "objects")) {
        r |= buf_add_text(text, separator);
        r |= print_object(object, text);
        separator = ", ";
    }
    if (latency != NULL)
        r |= buf_addf(text, "%sshown %.1f ms after secretfs received it", separator,
                      latency->valuedouble * 1e3);
    if (latency != NULL || separator[0] == ',')
        r |= buf_add_text(text, "\n");
    return r;
}

/* Milliseconds below a second. */
static int print_span(double seconds, struct buf *text)
{
    return seconds < 1 ? buf_addf(text, "%.1f ms", seconds * 1e3)
                       : buf_addf(text, "%.3f s", seconds);
}

static int print_since_change(const cJSON *record, struct buf *text)
{
    const cJSON *since = json_member(record, "sinceChange");
    const cJSON *seconds = json_member(since, "seconds");
    int r;

    if (since == NULL)
        return 0;
    r = buf_add_text(text, "  shown ");
    if (seconds->valuedouble > 0)
        r |= print_span(seconds->valuedouble, text);
    else /* its own watch may be slower than that of secretfs */
        r |= buf_add_text(text, "no time");
    r |= buf_addf(text, " after this program received resourceVersion %s\n",
                  json_text(since, "resourceVersion"));
    return r;
}

static int print_update(const cJSON *record, bool with_path, struct buf *text)
{
    int r = json_text(record, "time") != NULL
                ? print_header(record, with_path, text)
                : buf_addf(text, "%s%sevents without an update:\n",
                           with_path ? json_text(record, "path") : "", with_path ? " " : "");
    const cJSON *event;

    r |= print_objects(record, text);
    r |= print_since_change(record, text);
    cJSON_ArrayForEach (event, json_member(record, "events")) {
        r |= buf_add_text(text, "  ");
        r |= print_name(event->valuestring, text);
        r |= buf_add_text(text, "\n");
    }
    return r;
}

static int print_change(const cJSON *record, struct buf *text)
{
    int r = print_start(record, false, text);

    r |= buf_add_text(text, "change: ");
    r |= print_object(json_member(record, "change"), text);
    return r | buf_add_text(text, "\n");
}

/* "nginx (4711) of container 0123456789ab" */
static int print_identity(const cJSON *open, struct buf *text)
{
    const char *name = json_text(open, "process"), *container = json_text(open, "container");
    const char *unit = json_text(open, "unit");
    int r = print_name(name != NULL ? name : "a process that has ended", text);

    r |= buf_addf(text, " (%.0f)", json_member(open, "pid")->valuedouble);
    if (container != NULL)
        r |= buf_addf(text, " of container %.12s", container);
    else if (unit != NULL)
        r |= buf_addf(text, " of %s", unit);
    return r;
}

static int print_open(const cJSON *record, bool with_path, struct buf *text)
{
    const cJSON *open = json_member(record, "open");
    const cJSON *since = json_member(open, "sinceUpdateSeconds");
    int r = print_start(record, with_path, text);

    r |= buf_add_text(text, "opened: ");
    r |= print_name(json_text(open, "file"), text);
    r |= buf_add_text(text, " by ");
    r |= print_identity(open, text);
    if (since != NULL) {
        r |= buf_add_text(text, ", ");
        r |= print_span(since->valuedouble, text);
        r |= buf_add_text(text, " after the update");
    }
    return r | buf_add_text(text, "\n");
}

int record_print(const cJSON *record, bool with_path, struct buf *text)
{
    int r = json_member(record, "change") != NULL ? print_change(record, text)
            : json_member(record, "open") != NULL ? print_open(record, with_path, text)
                                                  : print_update(record, with_path, text);

    return r != 0 ? -ENOMEM : 0;
}

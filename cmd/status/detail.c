/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/status/detail.h"

#include <stdio.h>

static const char *or_dash(const char *text)
{
    return text != NULL && *text != '\0' ? text : "-";
}

static double number(const cJSON *json, const char *key)
{
    const cJSON *member = json_member(json, key);

    return cJSON_IsNumber(member) ? member->valuedouble : 0;
}

static void print_line(const char *name, const char *value)
{
    printf("%-18s%s\n", name, or_dash(value));
}

static void print_certificate(const cJSON *certificate)
{
    if (json_text(certificate, "notAfter") != NULL)
        printf("%-18svalid until %s\n", "Certificate:", json_text(certificate, "notAfter"));
    if (json_text(certificate, "problem") != NULL)
        print_line("Certificate:", json_text(certificate, "problem"));
}

static void print_object(const cJSON *object)
{
    const char *presence = json_text(object, "presence");

    const char *namespace = json_text(object, "namespace");
    /* a cluster-wide object has the namespace "" */
    bool has_namespace = namespace == NULL || namespace[0] != '\0';

    printf("%-18s%s %s%s%s%s%s\n", "Object:", or_dash(json_text(object, "kind")),
           has_namespace ? or_dash(namespace) : "", has_namespace ? "/" : "",
           or_dash(json_text(object, "name")), presence != NULL ? ", " : "",
           presence != NULL ? presence : "");
    if (json_text(object, "type") != NULL)
        print_line("Type:", json_text(object, "type"));
    if (json_text(object, "resourceVersion") != NULL)
        printf("%-18s%s%s\n", "Resource version:", json_text(object, "resourceVersion"),
               json_is_true(object, "immutable") ? " (immutable)" : "");
    print_certificate(json_member(object, "certificate"));
}

static void print_objects(const cJSON *status)
{
    const cJSON *object;

    if (json_member(status, "object") != NULL)
        print_object(json_member(status, "object"));
    cJSON_ArrayForEach (object, json_member(status, "objects")) {
        print_object(object);
    }
}

static void print_source(const cJSON *source)
{
    const char *where = json_text(source, "server");

    if (where == NULL)
        where = json_text(source, "directory");
    printf("%-18s%s %s, %s since %s\n", "Source:", or_dash(json_text(source, "kind")),
           or_dash(where), or_dash(json_text(source, "state")),
           or_dash(json_text(source, "since")));
    if (json_text(source, "error") != NULL)
        print_line("Source error:", json_text(source, "error"));
}

static void print_update(const cJSON *update)
{
    if (update == NULL)
        return;
    printf("%-18s%s, readable %.3f ms after it arrived (%.0f in total)\n",
           "Last update:", or_dash(json_text(update, "time")),
           number(update, "latencySeconds") * 1e3, number(update, "count"));
}

static void print_requests(const cJSON *requests)
{
    const char *separator = " (";
    const cJSON *kind;

    printf("%-18s%.0f", "FUSE requests:", number(requests, "total"));
    cJSON_ArrayForEach (kind, json_member(requests, "byKind")) {
        printf("%s%s %.0f", separator, kind->string, kind->valuedouble);
        separator = ", ";
    }
    printf("%s\n", separator[0] == ',' ? ")" : "");
}

/* Without pods, a node does not know which volumes are mounted by subPath. */
static void print_pods(const cJSON *pods)
{
    if (json_text(pods, "error") != NULL)
        printf("%-18scannot be read, so volumes that are mounted by subPath do not follow "
               "updates unless they have `updates: in-place`: %s\n",
               "Pods:", json_text(pods, "error"));
}

static void print_watch(const cJSON *watch)
{
    printf("%-18s%s, %s at resource version %s, %.0f events, opened %.0f times%s\n",
           "Watch:", or_dash(json_text(watch, "object")), or_dash(json_text(watch, "state")),
           or_dash(json_text(watch, "resourceVersion")), number(watch, "events"),
           number(watch, "watchesOpened"),
           json_is_true(watch, "requestActive") ? ", request active" : "");
}

/* The members that --debug adds. */
static void print_debug(const cJSON *status)
{
    const cJSON *debug = json_member(status, "debug"), *queue = json_member(debug, "queue");
    const cJSON *watch;

    if (debug == NULL)
        return;
    print_line("Publishing:", json_text(debug, "state"));
    if (queue != NULL)
        printf("%-18supdate %s, old generations %s%s%s%s%s\n",
               "Queue:", or_dash(json_text(queue, "update")),
               or_dash(json_text(queue, "oldGenerations")),
               json_is_true(queue, "payloadWaits") ? ", payload waits" : "",
               json_is_true(queue, "bindWaits") ? ", bind waits" : "",
               json_is_true(queue, "liveFilesBehind") ? ", live files behind" : "",
               json_is_true(queue, "active") ? ", active" : "");
    cJSON_ArrayForEach (watch, json_path(status, "source", "watchStates", NULL)) {
        print_watch(watch);
    }
}

/* A file system that the next process cannot take over, and why. */
static void print_handovers(const cJSON *list)
{
    const cJSON *one;

    cJSON_ArrayForEach (one, list)
        if (json_text(one, "error") != NULL)
            printf("%-18scannot store the state: %s\n", "Hand-over:", json_text(one, "error"));
}

void status_detail_print(const cJSON *status)
{
    const cJSON *volume = json_member(status, "volume");

    print_line("Mount point:", json_text(status, "mountpoint"));
    if (json_text(status, "pod") != NULL)
        print_line("Pod:", json_text(status, "pod"));
    print_objects(status);
    print_line("State:", json_text(volume, "state"));
    if (json_text(volume, "error") != NULL)
        print_line("Reason:", json_text(volume, "error"));
    if (json_text(volume, "lastConfirmed") != NULL)
        print_line("Last confirmed:", json_text(volume, "lastConfirmed"));
    print_line("Generation:", json_text(volume, "generation"));
    if (json_text(status, "fileSystem") != NULL)
        print_line("File system:", json_text(status, "fileSystem"));
    printf("%-18s%.0f (%.0f bytes)\n", "Files:", number(volume, "files"), number(volume, "bytes"));
    print_update(json_member(status, "lastUpdate"));
    print_source(json_member(status, "source"));
    print_requests(json_member(status, "requests"));
    printf("%-18s%.0f, running since %s, version %s\n", "Process:", number(status, "pid"),
           or_dash(json_text(status, "since")), or_dash(json_text(status, "version")));
    print_pods(json_member(status, "pods"));
    if (number(json_member(status, "memory"), "unlockedBytes") > 0)
        printf("%-18s%.0f bytes of secret memory are not locked; raise `ulimit -l`\n",
               "Memory:", number(json_member(status, "memory"), "unlockedBytes"));
    print_handovers(json_member(status, "handover"));
    print_debug(status);
}

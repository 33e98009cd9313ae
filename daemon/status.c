/* SPDX-License-Identifier: Apache-2.0 */
/* `secretfs status MOUNTPOINT`: asks the program behind a mount and shows what it says. */
#include <getopt.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/json.h"
#include "daemon/commands.h"
#include "daemon/control.h"

static void print_help(const struct invocation *invocation)
{
    printf("Usage: %s status [-o json] MOUNTPOINT\n"
           "\n"
           "Show what a mount shows and how it is doing: object, generation, source, the last\n"
           "update and its latency, and how many requests reached the program, by kind.\n"
           "\n"
           "  -o, --output FORMAT  text (default) or json\n"
           "  -h, --help           show this help\n",
           invocation->program);
}

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

    printf("%-18s%s %s/%s%s%s\n", "Object:", or_dash(json_text(object, "kind")),
           or_dash(json_text(object, "namespace")), or_dash(json_text(object, "name")),
           presence != NULL ? ", " : "", presence != NULL ? presence : "");
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
    printf("%-18s%s, readable %.3f ms after it arrived (%.0f in all)\n",
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

static void print_text(const cJSON *status)
{
    const cJSON *volume = json_member(status, "volume");

    print_line("Mount point:", json_text(status, "mountpoint"));
    print_objects(status);
    print_line("State:", json_text(volume, "state"));
    if (json_text(volume, "error") != NULL)
        print_line("Reason:", json_text(volume, "error"));
    print_line("Generation:", json_text(volume, "generation"));
    printf("%-18s%.0f (%.0f bytes)\n", "Files:", number(volume, "files"), number(volume, "bytes"));
    print_update(json_member(status, "lastUpdate"));
    print_source(json_member(status, "source"));
    print_requests(json_member(status, "requests"));
    printf("%-18s%.0f, running since %s, version %s\n", "Process:", number(status, "pid"),
           or_dash(json_text(status, "since")), or_dash(json_text(status, "version")));
    if (number(json_member(status, "memory"), "unlockedBytes") > 0)
        printf("%-18s%.0f bytes of secret memory are not locked; raise `ulimit -l`\n",
               "Memory:", number(json_member(status, "memory"), "unlockedBytes"));
}

static int show_status(const char *path, bool as_json, struct error *e)
{
    _cleanup_(buf_deinit) struct buf document = BUF_INIT(CONTROL_DOCUMENT_MAX);
    _cleanup_(cJSON_Deletep) cJSON *status = NULL;
    _cleanup_(fd_closep) int fd = -1;
    int r = control_connect(path, &fd, e);

    if (r == 0)
        r = control_receive(fd, &document, e);
    if (r < 0)
        return r;
    if (as_json) {
        printf("%s\n", buf_text(&document));
        return 0;
    }
    r = json_parse(document.data, document.len, &status, e);
    if (r < 0)
        return error_prefix(e, r, "the program sent a status that cannot be read");
    print_text(status);
    return 0;
}

int command_status(const struct invocation *invocation, int argc, char *argv[])
{
    static const struct option long_options[] = {
        {"output", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'}, {0}};
    struct error e = ERROR_INIT;
    bool as_json = false;
    int option;

    opterr = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "o:h", long_options, NULL)) != -1) {
        if (option == 'h') {
            print_help(invocation);
            return EXIT_OK;
        }
        if (option != 'o' || (!streq(optarg, "json") && !streq(optarg, "text")))
            return command_failed(invocation, EXIT_USAGE, "status takes -o text or -o json");
        as_json = streq(optarg, "json");
    }
    if (argc - optind != 1)
        return command_failed(invocation, EXIT_USAGE, "status takes one mount point");
    if (show_status(argv[optind], as_json, &e) < 0)
        return command_failed(invocation, EXIT_FAILED, e.text);
    return EXIT_OK;
}

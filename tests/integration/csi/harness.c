/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CSI plug-in with a program behind it that does what a test says: each request is written to
 * standard output as a line of JSON, each line of standard input is a command.
 *
 *     reply VOLUME-ID CODE MESSAGE   answer the open call for a volume
 *     ready yes|no                   what Probe says
 *     quit                           as the end of the input: take the sockets down
 *
 * harness ENDPOINT REGISTRATION|- [LIMIT=NUMBER...]
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "csi/plugin.h"
#include "encoding/json.h"

#define LINE_MAX_BYTES 4096

struct harness {
    sd_event *event;
    struct csi_plugin *plugin;
    struct list calls;
    bool is_ready;
    char line[LINE_MAX_BYTES];
    size_t line_len;
};

/* A call that is not replied to. */
struct open_call {
    struct list link;
    struct csi_call *call;
};

static void say(cJSON *json)
{
    char *text = cJSON_PrintUnformatted(json);

    printf("%s\n", text);
    fflush(stdout);
    cJSON_free(text);
    cJSON_Delete(json);
}

static cJSON *event_new(const char *name)
{
    cJSON *json = cJSON_CreateObject();

    cJSON_AddStringToObject(json, "event", name);
    return json;
}

static void remember(struct harness *h, struct csi_call *call)
{
    struct open_call *open = calloc(1, sizeof(*open));

    open->call = call;
    csi_call_set_userdata(call, open);
    list_append(&h->calls, &open->link);
}

static void on_publish(void *userdata, struct csi_call *call, const struct csi_publish *request)
{
    struct harness *h = userdata;
    cJSON *json = event_new("publish"), *attributes = cJSON_AddObjectToObject(json, "attributes");

    cJSON_AddStringToObject(json, "volume_id", request->volume_id);
    cJSON_AddStringToObject(json, "target_path", request->target_path);
    cJSON_AddStringToObject(json, "fs_type", request->fs_type);
    cJSON_AddStringToObject(json, "pod_name", request->pod_name);
    cJSON_AddStringToObject(json, "pod_namespace", request->pod_namespace);
    cJSON_AddStringToObject(json, "pod_uid", request->pod_uid);
    cJSON_AddStringToObject(json, "service_account", request->service_account);
    cJSON_AddStringToObject(json, "tokens", request->service_account_tokens);
    cJSON_AddBoolToObject(json, "read_only", request->is_read_only);
    cJSON_AddNumberToObject(json, "mount_group",
                            request->mount_group == CSI_GROUP_UNSET ? -1
                                                                    : (double)request->mount_group);
    for (size_t i = 0; i < request->n_attributes; i++)
        cJSON_AddStringToObject(attributes, request->attributes[i].key,
                                request->attributes[i].value);
    remember(h, call);
    say(json);
}

static void on_unpublish(void *userdata, struct csi_call *call, const char *volume_id,
                         const char *target_path)
{
    struct harness *h = userdata;
    cJSON *json = event_new("unpublish");

    cJSON_AddStringToObject(json, "volume_id", volume_id);
    cJSON_AddStringToObject(json, "target_path", target_path);
    remember(h, call);
    say(json);
}

static void on_cancelled(void *userdata, struct csi_call *call)
{
    cJSON *json = event_new("cancelled");

    cJSON_AddStringToObject(json, "volume_id", csi_call_volume_id(call));
    say(json);
}

static bool on_is_ready(void *userdata)
{
    const struct harness *h = userdata;

    return h->is_ready;
}

static void on_registration(void *userdata, bool is_registered, const char *error)
{
    cJSON *json = event_new("registration");

    cJSON_AddBoolToObject(json, "registered", is_registered);
    cJSON_AddStringToObject(json, "error", error);
    say(json);
}

static void on_answered(void *userdata, const char *method, enum grpc_code code, span_us took)
{
    cJSON *json = event_new("answered");

    cJSON_AddStringToObject(json, "method", method);
    cJSON_AddStringToObject(json, "code", grpc_code_name(code));
    say(json);
}

/* ---- commands */

static void reply(struct harness *h, char *arguments)
{
    const char *volume_id = strsep(&arguments, " "), *code = strsep(&arguments, " ");
    struct open_call *open, *tmp;

    list_for_each_safe (open, tmp, &h->calls, link) {
        if (!streq(csi_call_volume_id(open->call), volume_id))
            continue;
        csi_call_reply(open->call, (enum grpc_code)strtoul(code, NULL, 10), arguments);
        list_remove(&open->link);
        free(open);
        return;
    }
    fprintf(stderr, "harness: no call for %s is open\n", volume_id);
    exit(3);
}

static void command(struct harness *h, char *line)
{
    const char *word = strsep(&line, " ");

    if (streq(word, "reply"))
        reply(h, line);
    else if (streq(word, "ready"))
        h->is_ready = streq(line, "yes");
    else if (streq(word, "quit"))
        sd_event_exit(h->event, 0);
    else
        exit(2);
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct harness *h = userdata;
    ssize_t n = read(fd, h->line + h->line_len, sizeof(h->line) - h->line_len);
    char *end;

    if (n <= 0)
        return sd_event_exit(h->event, 0);
    h->line_len += (size_t)n;
    while ((end = memchr(h->line, '\n', h->line_len)) != NULL) {
        size_t len = (size_t)(end - h->line) + 1;

        *end = '\0';
        command(h, h->line);
        h->line_len -= len;
        memmove(h->line, h->line + len, h->line_len);
    }
    return 0;
}

static void set_limit(struct grpc_limits *limits, const char *argument)
{
    const char *number = strchr(argument, '=') + 1;
    unsigned long n = strtoul(number, NULL, 10);

    if (str_after(argument, "connections=") != NULL)
        limits->connections = (unsigned)n;
    else if (str_after(argument, "streams=") != NULL)
        limits->streams = (unsigned)n;
    else if (str_after(argument, "received_bytes=") != NULL)
        limits->received_bytes = n;
    else if (str_after(argument, "receive_ms=") != NULL)
        limits->receive = SPAN_MS(n);
    else if (str_after(argument, "send_ms=") != NULL)
        limits->send = SPAN_MS(n);
    else if (str_after(argument, "idle_ms=") != NULL)
        limits->idle = SPAN_MS(n);
    else
        exit(2);
}

int main(int argc, char **argv)
{
    static const struct csi_handlers handlers = {
        .publish = on_publish,
        .unpublish = on_unpublish,
        .cancelled = on_cancelled,
        .is_ready = on_is_ready,
        .registration = on_registration,
        .answered = on_answered,
    };
    struct grpc_limits limits = grpc_limits_default;
    struct csi_plugin_options options = {
        .driver_name = "csi.secretfs.io",
        .version = "1.2.3",
        .node_id = "node-1",
        .limits = &limits,
    };
    struct harness h = {.is_ready = true};
    struct open_call *open, *tmp;
    struct error e = ERROR_INIT;

    if (argc < 3)
        return 2;
    options.endpoint = argv[1];
    options.registration_path = streq(argv[2], "-") ? NULL : argv[2];
    for (int i = 3; i < argc; i++)
        set_limit(&limits, argv[i]);
    list_init(&h.calls);
    if (sd_event_default(&h.event) < 0 ||
        sd_event_add_io(h.event, NULL, STDIN_FILENO, EPOLLIN, on_input, &h) < 0)
        return 1;
    if (csi_plugin_new(h.event, &options, &handlers, &h, &h.plugin, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    say(event_new("started"));
    sd_event_loop(h.event);
    csi_plugin_free(h.plugin);
    list_for_each_safe (open, tmp, &h.calls, link)
        free(open);
    sd_event_unref(h.event);
    return 0;
}

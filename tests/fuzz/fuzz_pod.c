/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A watch of pods as an API server or a proxy may send it: the pods that are kept are valid. The
 * first byte gives the length of the pieces.
 */
#include "fetcher/api/pod_watch.h"

#include "cache/object.h"
#include "encoding/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A server that sends what the fuzzer says, and a clock that stands still. */
struct world {
    bool is_open;
    bool is_failing;
};

static int request(void *userdata, const struct watch_request *request, struct error *e)
{
    struct world *w = userdata;

    assert(!w->is_open && request->path[0] == '/' && request->total_limit > 0);
    w->is_open = true;
    return 0;
}

static void cancel(void *userdata)
{
    struct world *w = userdata;

    w->is_open = false;
}

static int reject_credentials(void *userdata, struct error *e)
{
    return 0;
}

static void set_timer(void *userdata, span_us delay)
{
}

static mono_us now(void *userdata)
{
    return SPAN_SEC(1000);
}

static uint32_t zero(void *userdata)
{
    return 0;
}

static void check_pod(const struct pod *pod)
{
    size_t n = 0;

    assert(object_namespace_is_valid(pod->namespace) && object_name_is_valid(pod->name));
    assert(pod->uid[0] != '\0' && strlen(pod->uid) <= POD_UID_MAX);
    for (const char *at = pod->sub_paths; *at != '\0'; at += strlen(at) + 1, n++)
        assert(object_namespace_is_valid(at) && pod_has_sub_path(pod, at));
    assert(n <= POD_VOLUMES_MAX);
}

static void on_pod(void *userdata, const struct pod *pod)
{
    check_pod(pod);
}

static void on_health(void *userdata, enum pod_watch_health health, const struct error *e)
{
    struct world *w = userdata;

    assert((health == POD_WATCH_LIVE) == (e->text[0] == '\0'));
    w->is_failing = health != POD_WATCH_LIVE;
}

static void watch(const char *text, size_t size, size_t piece)
{
    static const struct pod_watch_io io = {
        .watch = {.request = request,
                  .cancel = cancel,
                  .reject_credentials = reject_credentials,
                  .set_timer = set_timer,
                  .now = now,
                  .random = zero},
        .on_pod = on_pod,
        .on_health = on_health,
    };
    static const struct http_response good = {.status = 200, .content_type = ""};
    struct pods pods;
    const struct pod_watch_options options = {
        .driver_name = "csi.secretfs.io", .node_name = "n", .pods = &pods};
    struct world world = {.is_open = false};
    struct pod_watch *w = NULL;
    const struct pod *pod;

    pods_init(&pods);
    if (pod_watch_new(&options, &io, &world, &w) < 0)
        abort();
    watch_start(pod_watch_watch(w));
    watch_on_response(pod_watch_watch(w), &good);
    for (size_t at = 0; at < size && world.is_open; at += piece)
        watch_on_body(pod_watch_watch(w), text + at, size_min(piece, size - at));
    assert(world.is_open != world.is_failing);
    list_for_each (pod, &pods.list, link)
        check_pod(pod);
    pod_watch_free(w);
    assert(!world.is_open);
    pods_deinit(&pods);
}

/* What was kept of it is valid JSON. */
static void check_details(const struct pod *pod)
{
    cJSON *details = NULL;

    assert(pod_details(pod, &details) == 0);
    pod_volume_entry(details, "creds");
    cJSON_Delete(details);
}

/* The text as a single pod, as a GET returns it. */
static void decode(const char *text, size_t size)
{
    cJSON *json = NULL;
    struct pod *pod = NULL;

    if (json_parse(text, size, &json, NULL) < 0)
        return;
    if (pod_decode(json, "csi.secretfs.io", &pod) == 0) {
        check_pod(pod);
        check_details(pod);
    }
    pod_free(pod);
    cJSON_Delete(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    decode((const char *)data, size);
    watch((const char *)data + 1, size - 1, data[0] + 1u);
    return 0;
}

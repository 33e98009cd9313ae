/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a watch costs: `watches [-i SECONDS] N...` follows N Secrets of ten keys, each N in a
 * process of its own, at a server of its own that speaks HTTP/2 through nghttpx. A line of JSON for
 * each N: how long until all are live, resident memory before and after, connections, and the
 * processor time of SECONDS without any event.
 */
#include <fcntl.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "fetcher/api/api_source.h"
#include "tests/unit/test_server.h"

#define DIR_TEMPLATE "/tmp/bench-watches-XXXXXX"
#define MAX_WATCHES  20000u
/* libcurl has a timer for the time that a connection may take, which each request meets once. */
#define SETTLE       SPAN_SEC(12)

struct follower {
    struct run *run;
    struct store_subscription *subscription;
    bool is_present;
    bool is_live;
};

struct run {
    sd_event *event;
    struct store *store;
    struct source *source;
    struct follower followers[MAX_WATCHES];
    size_t n;
    size_t n_present;
    size_t n_live;
};

/* ---- the server */

static void serve(struct connection *c, const char *head)
{
    static const char value[] = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3";
    const char *name = strstr(head, "metadata.name%3D");
    int len;
    _cleanup_(buf_deinit) struct buf body = BUF_INIT(1u << 20);
    int r;

    if (name == NULL) {
        server_answer(c, "404 Not Found", "");
        return;
    }
    if (strstr(head, "watch=true") != NULL) {
        server_printf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        server_hang(c);
    }
    name += strlen("metadata.name%3D");
    len = (int)strcspn(name, "& ");
    r = buf_addf(&body,
                 "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[{\"metadata\":{\"name\":"
                 "\"%.*s\",\"namespace\":\"default\",\"uid\":\"u\",\"resourceVersion\":\"3\"},"
                 "\"data\":{",
                 len, name);
    for (int i = 0; i < 10 && r >= 0; i++)
        r = buf_addf(&body, "%s\"key-%d\":\"%s\"", i > 0 ? "," : "", i, value);
    if (r >= 0)
        r = buf_add_text(&body, "}}]}");
    if (r < 0)
        abort();
    server_answer(c, "200 OK", buf_text(&body));
}

/* ---- the client */

static void on_changed(void *userdata, const struct store_view *view)
{
    struct follower *f = userdata;

    f->run->n_present -= f->is_present;
    f->run->n_live -= f->is_live;
    f->is_present = view->presence == STORE_PRESENT;
    f->is_live = view->source_state == STORE_SOURCE_LIVE;
    f->run->n_present += f->is_present;
    f->run->n_live += f->is_live;
}

static void subscribe(struct run *run, size_t n)
{
    for (run->n = 0; run->n < n; run->n++) {
        char name[32];
        struct object_key key = {OBJECT_SECRET, "default", name, NULL};
        struct follower *f = &run->followers[run->n];

        f->run = run;
        snprintf(name, sizeof(name), "secret-%zu", run->n);
        if (store_subscribe(run->store, &key, on_changed, f, &f->subscription, NULL) < 0)
            abort();
    }
}

static long resident_kib(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long all = 0, resident = 0;

    if (f == NULL || fscanf(f, "%ld %ld", &all, &resident) != 2)
        abort();
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static double processor_sec(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void run_for(struct run *run, span_us span)
{
    mono_us end = clock_mono() + span;

    while (clock_mono() < end)
        sd_event_run(run->event, end - clock_mono());
}

static struct api_config *make_config(const struct made_pair *pair, int port)
{
    struct api_config *config = calloc(1, sizeof(*config));

    if (config == NULL || asprintf(&config->server, "https://127.0.0.1:%d", port) < 0)
        abort();
    config->origin = strdup("the bench");
    config->tls_server_name = strdup("dummy");
    config->token = strdup("dummy");
    config->certificate_authority.data = strdup(pair->cert_pem);
    return config;
}

static double number_in(const cJSON *json, const char *name)
{
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(json, name));
}

/* Times in seconds. */
struct result {
    double present;
    double live;
    double start_processor;
    double idle_processor;
    long before_kib;
    long resident_kib;
};

static void report(const struct run *run, const struct result *result, double idle_sec)
{
    cJSON *status = cJSON_CreateObject();

    run->source->ops->describe(run->source, status);
    printf(
        "{\"watches\": %zu, \"presentSeconds\": %.3f, \"liveSeconds\": %.3f, \"beforeKiB\": %ld, "
        "\"residentKiB\": %ld, \"bytesPerWatch\": %.0f, \"connections\": %.0f, "
        "\"startProcessorSeconds\": %.3f, \"idleSeconds\": %.0f, \"idleProcessorSeconds\": "
        "%.4f}\n",
        run->n, result->present, result->live, result->before_kib, result->resident_kib,
        (double)(result->resident_kib - result->before_kib) * 1024 / (double)run->n,
        number_in(status, "connections"), result->start_processor, idle_sec,
        result->idle_processor);
    fflush(stdout);
    cJSON_Delete(status);
}

static double seconds_since(mono_us at)
{
    return (double)(clock_mono() - at) / 1e6;
}

static void begin(struct run *run, const struct made_pair *pair, int port)
{
    struct error e = ERROR_INIT;

    if (sd_event_new(&run->event) < 0 || store_new(&run->store) < 0)
        abort();
    if (api_source_new(run->event, run->store, make_config(pair, port), &run->source, &e) < 0) {
        fprintf(stderr, "watches: %s\n", e.text);
        _exit(1);
    }
    store_set_source(run->store, &run->source->ops->store, run->source);
}

static void measure(const struct made_pair *pair, int port, size_t n, double idle_sec)
{
    static struct run run;
    struct result result = {0};
    mono_us began = clock_mono();

    begin(&run, pair, port);
    result.before_kib = resident_kib();
    subscribe(&run, n);
    while (run.n_live < n) {
        sd_event_run(run.event, UINT64_MAX);
        if (run.n_present == n && result.present == 0)
            result.present = seconds_since(began);
    }
    result.live = seconds_since(began);
    result.start_processor = processor_sec();
    run_for(&run, SETTLE);
    result.resident_kib = resident_kib();
    result.idle_processor = processor_sec();
    run_for(&run, (span_us)(idle_sec * 1e6));
    result.idle_processor = processor_sec() - result.idle_processor;
    report(&run, &result, idle_sec);
    _exit(0);
}

/* Return: whether it was measured. */
static bool measure_apart(size_t n, double idle_sec)
{
    struct made_pair pair = pair_make(3600);
    char dir[] = DIR_TEMPLATE;
    struct test_server server;
    struct http_proxy proxy;
    pid_t pid;
    int status = 0;

    test_server_start(&server, NULL, serve);
    if (mkdtemp(dir) == NULL)
        abort();
    http_proxy_start(&proxy, dir, &pair, server.port);
    if (proxy.pid == 0) {
        fprintf(stderr, "watches: nghttpx does not run\n");
        exit(1);
    }
    fflush(stdout);
    pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0)
        measure(&pair, proxy.port, n, idle_sec);
    waitpid(pid, &status, 0);
    http_proxy_stop(&proxy, dir);
    test_server_stop(&server);
    pair_unmake(&pair);
    if (status != 0)
        fprintf(stderr, "watches: the run with %zu failed\n", n);
    return status == 0;
}

int main(int argc, char *argv[])
{
    double idle_sec = 0;
    int option;

    while ((option = getopt(argc, argv, "i:")) == 'i')
        idle_sec = strtod(optarg, NULL);
    if (option != -1 || optind == argc) {
        fprintf(stderr, "usage: watches [-i SECONDS] N...\n");
        return 2;
    }
    setenv("no_proxy", "*", 1);
    for (int i = optind; i < argc; i++) {
        unsigned long n = strtoul(argv[i], NULL, 10);

        if (n == 0 || n > MAX_WATCHES || !measure_apart(n, idle_sec))
            return 1;
    }
    return 0;
}

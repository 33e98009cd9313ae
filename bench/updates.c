/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long it takes until a change of a Secret can be read.
 *
 * Everything happens in this process and on one clock. The main thread changes one key of the
 * Secret with a PATCH and notes when the answer's first byte is there. Meanwhile, each on a thread
 * of its own,
 *
 *  - a bare watch client, with its own connection, notes when it has received the event;
 *  - a consumer waits for inotify to say that ..data was renamed, notes when it did, reads the key
 *    through the volume and notes when it has the new bytes;
 *  - with --lone-mounts, another consumer waits for inotify to say that one of the files 0 to N-1
 * in a directory was written to, each of which is the key bind-mounted on its own, reads it, and
 *    notes when the last of them had the new bytes;
 *  - or, with --reader poll, the consumer does not wait for inotify but opens and reads the key
 *    again and again with a short sleep in between. It takes processor time from everybody else.
 *
 * When all have seen the change, and after a pause, the next one is made. For each one a line is
 * printed, in nanoseconds since the answer to the PATCH, so that an event which overtook the answer
 * is below 0: sent, watched, notified, read, alone. The last line says how often the consumer
 * has opened the key, and how often that failed.
 */
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>
#include <openssl/evp.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/util.h"
#include "bench/program.h"

#define VALUE_BYTES     60         /* unless --value-bytes says otherwise */
#define VALUE_BYTES_MAX (1u << 20) /* the API server takes no more */
#define LONE_MOUNTS_MAX 1000u
#define EVENT_BYTES_MAX (4 << 20) /* a Secret has 1 MiB, and 4/3 of that in base64 */
#define TOKEN_BYTES_MAX 16384
#define GIVE_UP_SEC     60 /* for one change; only a fault takes this long */
#define POLL_SLEEP_NS   20000

/* Pauses differ, so that nothing which happens at intervals falls in step with the changes. */
#define PAUSE_MIN_MS  20 /* unless --pause-ms says otherwise */
#define PAUSE_MAX_MS  900
#define PAUSE_SPAN_MS 31
#define PAUSE_STEP_MS 7

enum sight { SIGHT_WATCHED, SIGHT_NOTIFIED, SIGHT_READ, SIGHT_ALONE, SIGHT_COUNT };

struct options {
    const char *server, *ca_file, *token_file, *namespace, *secret, *key, *root, *lone_mounts;
    unsigned long n_updates, n_warm_up, n_lone_mounts, pause_min_ms;
    size_t value_bytes;
    bool polls;
};

/* A file that is the key on its own. */
struct lone_mount {
    char path[4096];
    int wd;              /* of inotify */
    unsigned long round; /* the change it has shown last */
    unsigned long told;  /* the change that inotify has told of last */
};

struct bench {
    struct options options;
    char key_path[4096];
    struct curl_slist *headers, *patch_headers;
    struct lone_mount *lone_mounts;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    char *value;                  /* that the key has after the present change */
    char *base64;                 /* the same, as the API has it */
    unsigned long round;          /* how many changes there have been */
    unsigned long n_lone_read;    /* how many lone mounts have shown it */
    int64_t seen_ns[SIGHT_COUNT]; /* 0 = not yet */
    bool is_watching;             /* the watch was answered */
    bool is_consuming;            /* the consumer is in its place */
    bool is_reading_lone;         /* and the one of the lone mounts */
    unsigned long n_opens, n_failed_opens;
};

static void sleep_ns(long ns)
{
    const struct timespec span = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

    nanosleep(&span, NULL);
}

/* ---- what was seen */

/* A new value of the given length. */
static void expect(struct bench *b, const char *text)
{
    size_t size = b->options.value_bytes, len = strlen(text);

    pthread_mutex_lock(&b->lock);
    memset(b->value, 'x', size);
    memcpy(b->value, text, size_min(len, size));
    (void)EVP_EncodeBlock((unsigned char *)b->base64, (const unsigned char *)b->value, (int)size);
    memset(b->seen_ns, 0, sizeof(b->seen_ns));
    b->n_lone_read = 0;
    b->round++;
    pthread_mutex_unlock(&b->lock);
}

static void see(struct bench *b, enum sight sight, int64_t at_ns)
{
    if (b->seen_ns[sight] != 0)
        return;
    b->seen_ns[sight] = at_ns;
    pthread_cond_broadcast(&b->changed);
}

static bool is_seen_by_all(const struct bench *b)
{
    return b->seen_ns[SIGHT_WATCHED] != 0 && b->seen_ns[SIGHT_READ] != 0 &&
           (b->options.n_lone_mounts == 0 || b->seen_ns[SIGHT_ALONE] != 0);
}

static bool is_in_place(const struct bench *b)
{
    return b->is_watching && b->is_consuming &&
           (b->is_reading_lone || b->options.n_lone_mounts == 0);
}

/* Return: false after GIVE_UP_SEC. */
static bool await(struct bench *b, bool (*is_so)(const struct bench *b))
{
    bool is = true;
    struct timespec give_up;

    clock_gettime(CLOCK_MONOTONIC, &give_up);
    give_up.tv_sec += GIVE_UP_SEC;
    pthread_mutex_lock(&b->lock);
    while (is && !is_so(b))
        is = pthread_cond_timedwait(&b->changed, &b->lock, &give_up) == 0;
    pthread_mutex_unlock(&b->lock);
    return is;
}

static void mark(struct bench *b, bool *flag)
{
    pthread_mutex_lock(&b->lock);
    *flag = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

/* ---- requests */

static CURL *make_request(const struct bench *b, const char *query, struct curl_slist *headers)
{
    const struct options *o = &b->options;
    _cleanup_(freep) char *url = NULL;
    CURL *easy = curl_easy_init();

    if (easy == NULL ||
        asprintf(&url, "%s/api/v1/namespaces/%s/secrets%s", o->server, o->namespace, query) < 0)
        die("request", "out of memory");
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_CAINFO, o->ca_file);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    return easy;
}

static size_t discard(char *bytes, size_t size, size_t n, void *userdata)
{
    return size * n;
}

static size_t note_answer(char *bytes, size_t size, size_t n, void *userdata)
{
    int64_t *answered_ns = userdata;

    if (*answered_ns == 0)
        *answered_ns = now_ns();
    return size * n;
}

static void patch(const struct bench *b, CURL *easy, int64_t *ret_sent_ns, int64_t *ret_answered_ns)
{
    _cleanup_(freep) char *body = NULL;
    long status = 0;
    CURLcode code;

    if (asprintf(&body, "{\"data\":{\"%s\":\"%s\"}}", b->options.key, b->base64) < 0)
        die("PATCH", "out of memory");
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, ret_answered_ns);
    *ret_answered_ns = 0;
    *ret_sent_ns = now_ns();
    code = curl_easy_perform(easy);
    if (code != CURLE_OK)
        die("PATCH", curl_easy_strerror(code));
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        die("PATCH", "the server did not answer 200");
}

/* ---- the bare watch client */

struct watch {
    struct bench *bench;
    struct buf event; /* what came since the last line end */
};

static size_t watch_on_header(char *bytes, size_t size, size_t n, void *userdata)
{
    struct watch *w = userdata;

    mark(w->bench, &w->bench->is_watching);
    return size * n;
}

static size_t watch_on_body(char *bytes, size_t size, size_t n, void *userdata)
{
    int64_t at_ns = now_ns();
    struct watch *w = userdata;
    struct bench *b = w->bench;

    if (buf_add(&w->event, bytes, size * n) < 0)
        return 0;
    if (bytes[size * n - 1] != '\n')
        return size * n; /* a large event comes in pieces */
    pthread_mutex_lock(&b->lock);
    if (strstr(buf_text(&w->event), b->base64) != NULL)
        see(b, SIGHT_WATCHED, at_ns);
    pthread_mutex_unlock(&b->lock);
    buf_reset(&w->event);
    return size * n;
}

static void *watch_main(void *userdata)
{
    struct watch w = {.bench = userdata, .event = BUF_INIT(EVENT_BYTES_MAX)};
    struct bench *b = w.bench;
    char query[512];
    CURLcode code;
    CURL *easy;

    snprintf(query, sizeof(query), "?watch=true&fieldSelector=metadata.name%%3D%s",
             b->options.secret);
    easy = make_request(b, query, b->headers);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, watch_on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &w);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, watch_on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &w);
    code = curl_easy_perform(easy);
    die("watch", code == CURLE_OK ? "the server ended it" : curl_easy_strerror(code));
}

/* ---- the consumer */

/* Return: its length; -errno. */
static ssize_t read_file(const char *path, char *content, size_t size)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, content, size) : -1;

    return n >= 0 ? n : negative_errno();
}

/* Room for a value, and for a byte more, so that a longer one is noticed. */
static char *make_room(const struct bench *b)
{
    char *room = malloc(b->options.value_bytes + 1);

    if (room == NULL)
        die("value", "out of memory");
    return room;
}

/* The lock is held. */
static bool is_expected(const struct bench *b, const char *content, ssize_t n)
{
    return n == (ssize_t)b->options.value_bytes && memcmp(content, b->value, (size_t)n) == 0;
}

/* Read the key. If it has the expected value, note when it had, and @notified_ns unless 0. */
static void consume(struct bench *b, char *content, int64_t notified_ns)
{
    ssize_t n = read_file(b->key_path, content, b->options.value_bytes + 1);
    int64_t at_ns = now_ns();

    pthread_mutex_lock(&b->lock);
    b->n_opens++;
    b->n_failed_opens += n < 0;
    if (is_expected(b, content, n)) {
        if (notified_ns != 0)
            see(b, SIGHT_NOTIFIED, notified_ns);
        see(b, SIGHT_READ, at_ns);
    }
    pthread_mutex_unlock(&b->lock);
}

static bool has_switch(const char *events, size_t len)
{
    bool found = false;

    for (size_t at = 0; at < len;) {
        const struct inotify_event *event = (const void *)(events + at);

        found = found || (event->len > 0 && streq(event->name, "..data"));
        at += sizeof(*event) + event->len;
    }
    return found;
}

static void *notified_main(void *userdata)
{
    _Alignas(struct inotify_event) char events[4096];
    _cleanup_(fd_closep) int fd = inotify_init1(IN_CLOEXEC);
    struct bench *b = userdata;
    char *content = make_room(b);

    if (fd < 0 || inotify_add_watch(fd, b->options.root, IN_MOVED_TO) < 0)
        die(b->options.root, strerror(errno));
    mark(b, &b->is_consuming);
    for (;;) {
        ssize_t n = read(fd, events, sizeof(events));
        int64_t at_ns = now_ns();

        if (n < 0)
            die("inotify", strerror(errno));
        if (has_switch(events, (size_t)n))
            consume(b, content, at_ns);
    }
}

static void *polling_main(void *userdata)
{
    struct bench *b = userdata;
    char *content = make_room(b);

    prctl(PR_SET_TIMERSLACK, 1000UL); /* 50 us by default, more than the sleep itself */
    mark(b, &b->is_consuming);
    for (;;) {
        consume(b, content, 0);
        sleep_ns(POLL_SLEEP_NS);
    }
    return NULL;
}

/* ---- lone mounts */

static void read_lone_mount(struct bench *b, struct lone_mount *m, char *content)
{
    ssize_t n = read_file(m->path, content, b->options.value_bytes + 1);
    int64_t at_ns = now_ns();

    pthread_mutex_lock(&b->lock);
    m->told = b->round;
    if (m->round != b->round && is_expected(b, content, n)) {
        m->round = b->round;
        if (++b->n_lone_read == b->options.n_lone_mounts)
            see(b, SIGHT_ALONE, at_ns);
    }
    pthread_mutex_unlock(&b->lock);
}

static void read_lone_mounts(struct bench *b, struct lone_mount *mounts, char *content,
                             const char *events, size_t len)
{
    for (size_t at = 0; at < len;) {
        const struct inotify_event *event = (const void *)(events + at);

        for (size_t i = 0; i < b->options.n_lone_mounts; i++)
            if (mounts[i].wd == event->wd)
                read_lone_mount(b, &mounts[i], content);
        at += sizeof(*event) + event->len;
    }
}

static void *lone_mounts_main(void *userdata)
{
    _Alignas(struct inotify_event) char events[16384];
    _cleanup_(fd_closep) int fd = inotify_init1(IN_CLOEXEC);
    struct bench *b = userdata;
    struct lone_mount *mounts = b->lone_mounts;
    char *content = make_room(b);

    if (fd < 0)
        die("inotify", strerror(errno));
    for (size_t i = 0; i < b->options.n_lone_mounts; i++) {
        snprintf(mounts[i].path, sizeof(mounts[i].path), "%s/%zu", b->options.lone_mounts, i);
        mounts[i].wd = inotify_add_watch(fd, mounts[i].path, IN_CLOSE_WRITE);
        if (mounts[i].wd < 0)
            die(mounts[i].path, strerror(errno));
    }
    mark(b, &b->is_reading_lone);
    for (;;) {
        ssize_t n = read(fd, events, sizeof(events));

        if (n < 0)
            die("inotify", strerror(errno));
        read_lone_mounts(b, mounts, content, events, (size_t)n);
    }
}

/* ---- all of it */

/* What a change lacks, and whether its bytes or the event are lost. */
static void print_missing(struct bench *b)
{
    static const char *const names[SIGHT_COUNT] = {"watch client", "inotify", "consumer",
                                                   "lone mounts"};
    char *content = make_room(b);

    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < SIGHT_COUNT; i++)
        if (b->seen_ns[i] == 0)
            fprintf(stderr, "updates: not seen: %s\n", names[i]);
    for (size_t i = 0; i < b->options.n_lone_mounts; i++) {
        const struct lone_mount *m = &b->lone_mounts[i];
        ssize_t n = read_file(m->path, content, b->options.value_bytes + 1);

        if (m->round != b->round)
            fprintf(stderr, "updates: %s: %s; content is %s\n", m->path,
                    m->told == b->round ? "event" : "no event",
                    is_expected(b, content, n) ? "new" : "old");
    }
    pthread_mutex_unlock(&b->lock);
    free(content);
}

static void print_sight(int64_t seen_ns, int64_t answered_ns)
{
    if (seen_ns == 0)
        fputs(" -", stdout);
    else
        printf(" %lld", (long long)(seen_ns - answered_ns));
}

static void measure(struct bench *b)
{
    char name[256];
    CURL *easy;

    snprintf(name, sizeof(name), "/%s", b->options.secret);
    easy = make_request(b, name, b->patch_headers);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "PATCH");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, discard);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, note_answer);
    for (unsigned long i = 0; i < b->options.n_warm_up + b->options.n_updates; i++) {
        char text[VALUE_BYTES];
        int64_t sent_ns, answered_ns;

        snprintf(text, sizeof(text), "update-%lu-%lld", i, (long long)now_ns());
        expect(b, text);
        patch(b, easy, &sent_ns, &answered_ns);
        if (!await(b, is_seen_by_all)) {
            print_missing(b);
            die("update", "waited in vain");
        }
        if (i >= b->options.n_warm_up) {
            printf("%lld", (long long)(sent_ns - answered_ns));
            for (size_t sight = 0; sight < SIGHT_COUNT; sight++)
                print_sight(b->seen_ns[sight], answered_ns);
            putchar('\n');
        }
        sleep_ns((long)(b->options.pause_min_ms + i * PAUSE_STEP_MS % PAUSE_SPAN_MS) * 1000000);
    }
    curl_easy_cleanup(easy);
    pthread_mutex_lock(&b->lock);
    printf("%lu %lu\n", b->n_opens, b->n_failed_opens);
    pthread_mutex_unlock(&b->lock);
}

static struct curl_slist *make_headers(const struct bench *b, const char *content_type)
{
    _cleanup_(buf_deinit) struct buf token = BUF_INIT(TOKEN_BYTES_MAX);
    _cleanup_(buf_deinit) struct buf line = BUF_INIT(TOKEN_BYTES_MAX + 64);
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/json");

    if (buf_read_file(&token, AT_FDCWD, b->options.token_file) < 0)
        die(b->options.token_file, "cannot be read");
    if (buf_addf(&line, "Authorization: Bearer %s", buf_text(&token)) < 0)
        die("token", "too long");
    headers = curl_slist_append(headers, buf_text(&line));
    if (content_type != NULL)
        headers = curl_slist_append(headers, content_type);
    return headers;
}

static void start_thread(struct bench *b, void *(*run)(void *userdata))
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, b) != 0)
        die("thread", "cannot be started");
    pthread_detach(thread);
}

static void usage(void)
{
    fputs("usage: updates --server URL --ca FILE --token-file FILE --namespace NS --secret NAME\n"
          "               --key KEY --root DIR [--updates N] [--warm-up N] [--value-bytes N]\n"
          "               [--pause-ms MS] [--lone-mounts DIR --lone-mount-count N] [--reader "
          "inotify|poll]\n",
          stderr);
    exit(2);
}

static unsigned long parse_count(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (*text == '\0' || *end != '\0')
        usage();
    return n;
}

static void parse_options(int argc, char *argv[], struct options *o)
{
    static const struct option long_options[] = {{"server", required_argument, NULL, 's'},
                                                 {"ca", required_argument, NULL, 'c'},
                                                 {"token-file", required_argument, NULL, 't'},
                                                 {"namespace", required_argument, NULL, 'n'},
                                                 {"secret", required_argument, NULL, 'o'},
                                                 {"key", required_argument, NULL, 'k'},
                                                 {"root", required_argument, NULL, 'r'},
                                                 {"updates", required_argument, NULL, 'u'},
                                                 {"warm-up", required_argument, NULL, 'w'},
                                                 {"value-bytes", required_argument, NULL, 'v'},
                                                 {"pause-ms", required_argument, NULL, 'p'},
                                                 {"lone-mounts", required_argument, NULL, 'l'},
                                                 {"lone-mount-count", required_argument, NULL, 'L'},
                                                 {"reader", required_argument, NULL, 'm'},
                                                 {0}};
    int option;

    *o = (struct options){.n_updates = 1000,
                          .n_warm_up = 20,
                          .value_bytes = VALUE_BYTES,
                          .pause_min_ms = PAUSE_MIN_MS};
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 's':
            o->server = optarg;
            break;
        case 'c':
            o->ca_file = optarg;
            break;
        case 't':
            o->token_file = optarg;
            break;
        case 'n':
            o->namespace = optarg;
            break;
        case 'o':
            o->secret = optarg;
            break;
        case 'k':
            o->key = optarg;
            break;
        case 'r':
            o->root = optarg;
            break;
        case 'u':
            o->n_updates = parse_count(optarg);
            break;
        case 'w':
            o->n_warm_up = parse_count(optarg);
            break;
        case 'v':
            o->value_bytes = parse_count(optarg);
            break;
        case 'p':
            o->pause_min_ms = parse_count(optarg);
            break;
        case 'l':
            o->lone_mounts = optarg;
            break;
        case 'L':
            o->n_lone_mounts = parse_count(optarg);
            break;
        case 'm':
            o->polls = streq(optarg, "poll");
            break;
        default:
            usage();
        }
    }
    if (optind != argc || o->server == NULL || o->ca_file == NULL || o->token_file == NULL ||
        o->namespace == NULL || o->secret == NULL || o->key == NULL || o->root == NULL ||
        o->value_bytes < VALUE_BYTES || o->value_bytes > VALUE_BYTES_MAX ||
        o->n_lone_mounts > LONE_MOUNTS_MAX || o->pause_min_ms > PAUSE_MAX_MS ||
        (o->n_lone_mounts > 0) != (o->lone_mounts != NULL))
        usage();
}

int main(int argc, char *argv[])
{
    static struct bench b;
    pthread_condattr_t attr;

    parse_options(argc, argv, &b.options);
    snprintf(b.key_path, sizeof(b.key_path), "%s/%s", b.options.root, b.options.key);
    pthread_mutex_init(&b.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b.changed, &attr);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        die("libcurl", "cannot be started");
    b.headers = make_headers(&b, NULL);
    b.patch_headers = make_headers(&b, "Content-Type: application/merge-patch+json");
    b.value = make_room(&b);
    b.base64 = malloc(b.options.value_bytes * 4 / 3 + 8);
    if (b.base64 == NULL)
        die("value", "out of memory");
    expect(&b, "nothing has this value yet");
    b.lone_mounts = calloc(b.options.n_lone_mounts + 1, sizeof(*b.lone_mounts));
    if (b.lone_mounts == NULL)
        die("lone mounts", "out of memory");
    start_thread(&b, watch_main);
    if (b.options.n_lone_mounts > 0)
        start_thread(&b, lone_mounts_main);
    start_thread(&b, b.options.polls ? polling_main : notified_main);
    if (!await(&b, is_in_place))
        die("watch", "waited in vain");
    measure(&b);
    /* ends the process, and with it the threads, which wait for what never comes */
    return fflush(stdout) != 0 ? 1 : 0;
}

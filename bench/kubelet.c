/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kubelet and the pods of its node do with many volumes, without kubelet and pods.
 *
 * It calls a CSI plug-in as a kubelet does, with a new connection for every call, and watches the
 * targets by inotify as programs in pods would. Commands come by standard input, a line each:
 *
 *     publish SET COUNT PARALLEL     NodePublishVolume for volumes 0 to COUNT-1 of a set, as many
 *                                    calls at a time; volume N shows the Secret secret-N
 *     unpublish SET COUNT PARALLEL   the same for NodeUnpublishVolume
 *     await VERSION                  until every volume that is published has been read with this
 *                                    version, after inotify told of a new generation
 *
 * The first two answer with a line for each call, its nanoseconds from before the connection is
 * made until the answer is there, the third with a line for each volume, the nanoseconds of the
 * monotonic clock when its new bytes had been read. An empty line ends every answer. Requests are
 * put together here, byte by byte, so that a misunderstanding in the plug-in's own messages cannot
 * be shared.
 */
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/util.h"
#include "bench/program.h"

#define PARALLEL_MAX      64
#define MESSAGE_BYTES_MAX 65536u
#define ANSWER_BYTES_MAX  4096u
#define COMMAND_BYTES_MAX 256u
#define GRPC_PREFIX       5 /* a flag and the length */
#define CALL_SECONDS      120
#define KEY_THAT_IS_READ  "key-0"
#define VERSION_DIGITS    8 /* that each value begins with */

struct volume {
    char set;
    size_t number;
    int wd; /* of the watch on its target */
    unsigned version;
};

struct kubelet {
    const char *socket, *root, *namespace;
    size_t n_volumes_per_pod;
    int inotify_fd;
    struct volume *volumes; /* that are published */
    size_t n_volumes;
};

/* One command's calls, handed out to its threads. */
struct job {
    const struct kubelet *kubelet;
    char set;
    size_t n;
    bool publishes;
    pthread_mutex_t lock;
    size_t next;        /* under the lock */
    long long *took_ns; /* by call */
};

/* ---- messages */

static void add_varint(struct buf *b, size_t n)
{
    do {
        unsigned char byte = (unsigned char)((n & 0x7f) | (n > 0x7f ? 0x80 : 0));

        must(buf_add(b, &byte, 1), "a message");
        n >>= 7;
    } while (n > 0);
}

static void add_bytes(struct buf *b, unsigned field, const void *bytes, size_t len)
{
    add_varint(b, field << 3 | 2);
    add_varint(b, len);
    if (len > 0)
        must(buf_add(b, bytes, len), "a message");
}

static void add_text(struct buf *b, unsigned field, const char *text)
{
    add_bytes(b, field, text, strlen(text));
}

static void add_pair(struct buf *b, unsigned field, const char *key, const char *value)
{
    struct buf pair = BUF_INIT(MESSAGE_BYTES_MAX);

    add_text(&pair, 1, key);
    add_text(&pair, 2, value);
    add_bytes(b, field, buf_text(&pair), pair.len);
    buf_deinit(&pair);
}

static void name_volume(const struct job *job, size_t i, char id[64], char target[PATH_MAX])
{
    snprintf(id, 64, "csi-%c-%zu", job->set, i);
    snprintf(target, PATH_MAX, "%s/pods/pod-%c-%zu/volumes/kubernetes.io~csi/secret-%zu/mount",
             job->kubelet->root, job->set, i / job->kubelet->n_volumes_per_pod, i);
}

/* The fields of csi.v1.NodePublishVolumeRequest, as in S3 to S5. */
static void add_publish(struct buf *b, const struct job *job, size_t i)
{
    static const unsigned char capability[] = {0x12, 0x00, /* mount {} */
                                               0x1a, 0x02,
                                               0x08, 0x01}; /* mode SINGLE_NODE_WRITER */
    char id[64], target[PATH_MAX], text[64];

    name_volume(job, i, id, target);
    add_text(b, 1, id);
    add_text(b, 4, target);
    add_bytes(b, 5, capability, sizeof(capability));
    snprintf(text, sizeof(text), "secret-%zu", i);
    add_pair(b, 8, "secretName", text);
    snprintf(text, sizeof(text), "pod-%c-%zu", job->set, i / job->kubelet->n_volumes_per_pod);
    add_pair(b, 8, "csi.storage.k8s.io/pod.name", text);
    add_pair(b, 8, "csi.storage.k8s.io/pod.uid", text);
    add_pair(b, 8, "csi.storage.k8s.io/pod.namespace", job->kubelet->namespace);
    add_pair(b, 8, "csi.storage.k8s.io/serviceAccount.name", "default");
    add_pair(b, 8, "csi.storage.k8s.io/ephemeral", "true");
}

static void add_unpublish(struct buf *b, const struct job *job, size_t i)
{
    char id[64], target[PATH_MAX];

    name_volume(job, i, id, target);
    add_text(b, 1, id);
    add_text(b, 2, target);
}

/* ---- calls */

struct call {
    struct buf message; /* with its prefix; what was sent is dropped */
    char status[16], reason[ANSWER_BYTES_MAX];
    bool is_over;
};

static ssize_t give_message(nghttp2_session *http, int32_t id, uint8_t *bytes, size_t size,
                            uint32_t *flags, nghttp2_data_source *source, void *userdata)
{
    struct call *call = source->ptr;
    size_t n = size_min(size, call->message.len);

    memcpy(bytes, buf_text(&call->message), n);
    buf_drop_front(&call->message, n);
    if (call->message.len == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_header(nghttp2_session *http, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *userdata)
{
    struct call *call = userdata;

    if (streq((const char *)name, "grpc-status"))
        snprintf(call->status, sizeof(call->status), "%.*s", (int)value_len, (const char *)value);
    if (streq((const char *)name, "grpc-message"))
        snprintf(call->reason, sizeof(call->reason), "%.*s", (int)value_len, (const char *)value);
    return 0;
}

static int on_close(nghttp2_session *http, int32_t id, uint32_t code, void *userdata)
{
    struct call *call = userdata;

    if (code != NGHTTP2_NO_ERROR)
        die("call", nghttp2_http2_strerror(code));
    call->is_over = true;
    return 0;
}

static int connect_to(const char *path)
{
    const struct timeval patience = {.tv_sec = CALL_SECONDS};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die(path, strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static void send_all(nghttp2_session *http, int fd)
{
    const uint8_t *bytes;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(http, &bytes)) > 0)
        while (n > 0) {
            ssize_t sent = send(fd, bytes, (size_t)n, MSG_NOSIGNAL);

            if (sent < 0)
                die("send", strerror(errno));
            bytes += sent;
            n -= sent;
        }
}

#define HEADER(n, v)                                                                               \
    {                                                                                              \
        .name = (uint8_t *)(uintptr_t)(n), .namelen = strlen(n),                                   \
        .value = (uint8_t *)(uintptr_t)(v), .valuelen = strlen(v)                                  \
    }

static nghttp2_session *begin_call(struct call *call, const char *method, const char *socket)
{
    /* the authority is what kubelets up to 1.25 send (R11) */
    const nghttp2_nv headers[] = {HEADER(":method", "POST"),
                                  HEADER(":scheme", "http"),
                                  HEADER(":path", method),
                                  HEADER(":authority", socket),
                                  HEADER("content-type", "application/grpc"),
                                  HEADER("te", "trailers"),
                                  HEADER("grpc-timeout", "120000m")};
    const nghttp2_data_provider body = {.source.ptr = call, .read_callback = give_message};
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *http;

    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        die("nghttp2", "out of memory");
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    if (nghttp2_session_client_new(&http, callbacks, call) != 0 ||
        nghttp2_submit_settings(http, 0, NULL, 0) != 0 ||
        nghttp2_submit_request(http, NULL, headers, ELEMENTS_OF(headers), &body, NULL) < 0)
        die("nghttp2", "cannot begin a call");
    nghttp2_session_callbacks_del(callbacks);
    return http;
}

static void make_call(const struct kubelet *k, const char *method, struct call *call)
{
    int fd = connect_to(k->socket);
    nghttp2_session *http = begin_call(call, method, k->socket);
    uint8_t bytes[16384];

    send_all(http, fd);
    while (!call->is_over) {
        ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

        if (n <= 0)
            die(method, n == 0 ? "the plug-in closed the connection" : strerror(errno));
        if (nghttp2_session_mem_recv(http, bytes, (size_t)n) < 0)
            die(method, "the answer is no HTTP/2");
        send_all(http, fd);
    }
    nghttp2_session_del(http);
    fd_close(fd);
    if (!streq(call->status, "0"))
        die(method, call->reason[0] != '\0' ? call->reason : call->status);
}

static long long time_call(const struct job *job, size_t i)
{
    const char *method =
        job->publishes ? "/csi.v1.Node/NodePublishVolume" : "/csi.v1.Node/NodeUnpublishVolume";
    struct call call = {.message = BUF_INIT(MESSAGE_BYTES_MAX)};
    unsigned char prefix[GRPC_PREFIX] = {0};
    long long start_ns;
    size_t len;

    must(buf_add(&call.message, prefix, sizeof(prefix)), "a message");
    if (job->publishes)
        add_publish(&call.message, job, i);
    else
        add_unpublish(&call.message, job, i);
    len = call.message.len - GRPC_PREFIX;
    call.message.data[3] = (char)(len >> 8);
    call.message.data[4] = (char)(len & 0xff);
    start_ns = now_ns();
    make_call(job->kubelet, method, &call);
    start_ns = now_ns() - start_ns;
    buf_deinit(&call.message);
    return start_ns;
}

/* ---- the directories that the kubelet makes (S6), and removes (S11) */

static void make_parents(const char *target)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s", target);
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0750) < 0 && errno != EEXIST)
            die(path, strerror(errno));
        *slash = '/';
    }
}

static void remove_parents(const char *target)
{
    char path[PATH_MAX], *slash;

    snprintf(path, sizeof(path), "%s", target);
    for (int i = 0; i < 5; i++) {
        if (rmdir(path) < 0) {
            if (errno == ENOTEMPTY)
                return; /* other volumes of the pod */
            if (errno != ENOENT)
                die(path, strerror(errno));
        }
        slash = strrchr(path, '/');
        *slash = '\0';
    }
}

/* ---- jobs */

static void *work(void *userdata)
{
    struct job *job = userdata;

    for (;;) {
        size_t i;

        pthread_mutex_lock(&job->lock);
        i = job->next < job->n ? job->next++ : job->n;
        pthread_mutex_unlock(&job->lock);
        if (i == job->n)
            return NULL;
        job->took_ns[i] = time_call(job, i);
    }
}

static void run_job(struct job *job, unsigned parallel)
{
    pthread_t threads[PARALLEL_MAX];

    for (unsigned i = 0; i < parallel; i++)
        if (pthread_create(&threads[i], NULL, work, job) != 0)
            die("thread", "cannot be made");
    for (unsigned i = 0; i < parallel; i++)
        pthread_join(threads[i], NULL);
}

static void add_volumes(struct kubelet *k, const struct job *job)
{
    k->volumes = realloc(k->volumes, (k->n_volumes + job->n) * sizeof(*k->volumes));
    if (k->volumes == NULL)
        die("volumes", "out of memory");
    for (size_t i = 0; i < job->n; i++) {
        char id[64], target[PATH_MAX];
        int wd;

        name_volume(job, i, id, target);
        wd = inotify_add_watch(k->inotify_fd, target, IN_MOVED_TO);
        if (wd < 0)
            die(target, strerror(errno));
        k->volumes[k->n_volumes++] = (struct volume){.set = job->set, .number = i, .wd = wd};
    }
}

static void drop_volumes(struct kubelet *k, const struct job *job)
{
    size_t kept = 0;

    for (size_t i = 0; i < k->n_volumes; i++)
        if (k->volumes[i].set != job->set || k->volumes[i].number >= job->n)
            k->volumes[kept++] = k->volumes[i];
        else
            inotify_rm_watch(k->inotify_fd, k->volumes[i].wd);
    k->n_volumes = kept;
}

static void do_job(struct kubelet *k, bool publishes, char set, size_t n, unsigned parallel)
{
    struct job job = {.kubelet = k,
                      .set = set,
                      .n = n,
                      .publishes = publishes,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .took_ns = calloc(n, sizeof(*job.took_ns))};
    char id[64], target[PATH_MAX];

    if (job.took_ns == NULL)
        die("job", "out of memory");
    if (!publishes)
        drop_volumes(k, &job);
    for (size_t i = 0; publishes && i < n; i++) {
        name_volume(&job, i, id, target);
        make_parents(target);
    }
    run_job(&job, parallel);
    for (size_t i = 0; !publishes && i < n; i++) {
        name_volume(&job, i, id, target);
        remove_parents(target);
    }
    if (publishes)
        add_volumes(k, &job);
    for (size_t i = 0; i < n; i++)
        printf("%lld\n", job.took_ns[i]);
    free(job.took_ns);
}

/* ---- what pods see */

static unsigned read_version(const struct kubelet *k, const struct volume *volume)
{
    const struct job job = {.kubelet = k, .set = volume->set};
    char id[64], target[PATH_MAX], path[PATH_MAX + 16], bytes[VERSION_DIGITS + 1] = "";
    int fd;

    name_volume(&job, volume->number, id, target);
    snprintf(path, sizeof(path), "%s/" KEY_THAT_IS_READ, target);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, bytes, VERSION_DIGITS) != VERSION_DIGITS)
        die(path, strerror(errno));
    fd_close(fd);
    return (unsigned)strtoul(bytes, NULL, 10);
}

static struct volume *find_volume(const struct kubelet *k, int wd)
{
    for (size_t i = 0; i < k->n_volumes; i++)
        /* numbers are handed out in order, so that this is mostly the first guess */
        if (k->volumes[(i + (size_t)wd - 1) % k->n_volumes].wd == wd)
            return &k->volumes[(i + (size_t)wd - 1) % k->n_volumes];
    return NULL;
}

static void await(struct kubelet *k, unsigned version)
{
    char bytes[65536] __attribute__((aligned(__alignof__(struct inotify_event))));
    size_t n_seen = 0;

    while (n_seen < k->n_volumes) {
        ssize_t n = read(k->inotify_fd, bytes, sizeof(bytes));

        if (n <= 0)
            die("inotify", strerror(errno));
        for (char *at = bytes; at < bytes + n;) {
            const struct inotify_event *event = (const void *)at;
            struct volume *volume = find_volume(k, event->wd);

            at += sizeof(*event) + event->len;
            if ((event->mask & IN_Q_OVERFLOW) != 0)
                die("inotify", "events were lost: fs.inotify.max_queued_events is too small");
            if (volume == NULL || volume->version >= version)
                continue;
            volume->version = read_version(k, volume);
            if (volume->version >= version) {
                printf("%lld\n", now_ns());
                n_seen++;
            }
        }
    }
}

static void obey(struct kubelet *k, const char *command)
{
    char word[16], set;
    unsigned parallel, version;
    size_t n;

    if (sscanf(command, "%15s %c %zu %u", word, &set, &n, &parallel) == 4 && n > 0 &&
        parallel > 0 && parallel <= PARALLEL_MAX &&
        (streq(word, "publish") || streq(word, "unpublish")))
        do_job(k, streq(word, "publish"), set, n, parallel);
    else if (sscanf(command, "await %u", &version) == 1)
        await(k, version);
    else
        die("unknown command", command);
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"socket", required_argument, NULL, 's'},
                                            {"root", required_argument, NULL, 'r'},
                                            {"namespace", required_argument, NULL, 'n'},
                                            {"volumes-per-pod", required_argument, NULL, 'p'},
                                            {NULL, 0, NULL, 0}};
    struct kubelet k = {
        .namespace = "default", .n_volumes_per_pod = 1, .inotify_fd = inotify_init1(IN_CLOEXEC)};
    char command[COMMAND_BYTES_MAX];
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (option == 's')
            k.socket = optarg;
        else if (option == 'r')
            k.root = optarg;
        else if (option == 'n')
            k.namespace = optarg;
        else if (option == 'p')
            k.n_volumes_per_pod = strtoul(optarg, NULL, 10);
        else
            return 2;
    }
    if (k.socket == NULL || k.root == NULL || k.n_volumes_per_pod == 0)
        die("usage", "--socket PATH --root DIRECTORY [--namespace NAME] [--volumes-per-pod N]");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (fgets(command, sizeof(command), stdin) != NULL)
        obey(&k, command);
    return 0;
}

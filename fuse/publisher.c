/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/publisher.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/list.h"

/*
 * A volume goes round: idle -> waiting (submitted) -> active (the thread works on it) -> finished
 * (the loop is to be told) -> idle. A payload submitted after "waiting" makes it wait once more.
 */
struct publisher_volume {
    struct publisher *publisher;
    char *path;
    uint64_t dir_id;
    publisher_done_fn *done;
    void *userdata;

    /* under the publisher's lock */
    struct list waiting; /* in publisher.waiting while there is something to publish */
    struct payload *pending;
    mono_us pending_received_at;
    struct list finished; /* in publisher.finished while the loop has not been told */
    struct publisher_result result;
};

struct publisher {
    struct session *session;
    struct tree *tree;
    pthread_t thread;
    int done_fd; /* eventfd: something is in finished */
    sd_event_source *done_source;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    struct list waiting;
    struct list finished;
    struct publisher_volume *active;
    bool is_stopping;
};

/* ---- on the publisher's thread */

static int publish_in(struct publisher_volume *v, int root_fd, struct payload *payload,
                      struct writer_result *ret_result)
{
    _cleanup_(fd_closep) int dir_fd = openat(root_fd, v->path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir_fd < 0)
        return negative_errno();
    return writer_publish(v->publisher->tree, dir_fd, v->dir_id, payload, ret_result);
}

static void publish(struct publisher *p, struct publisher_volume *v,
                    struct publisher_result *result)
{
    struct writer_result written = {.generation = ""};
    int root_fd, r;

    r = session_begin_write(p->session, &root_fd);
    if (r == 0) {
        r = publish_in(v, root_fd, result->payload, &written);
        session_end_write(p->session, root_fd);
    }
    result->error = r;
    result->is_visible = written.generation[0] != '\0';
    result->visible_at = written.visible_at;
    (void)memcpy(result->generation, written.generation, sizeof(result->generation));
}

/* The lock is held. A result that the loop has not fetched yet is overtaken by the new one. */
static void finish(struct publisher *p, struct publisher_volume *v,
                   const struct publisher_result *result)
{
    (void)payload_unref(v->result.payload);
    v->result = *result;
    list_remove(&v->finished);
    list_append(&p->finished, &v->finished);
    (void)eventfd_write(p->done_fd, 1);
}

static void *publisher_main(void *userdata)
{
    struct publisher *p = userdata;

    (void)pthread_setname_np(pthread_self(), "publisher");
    session_set_publisher(p->session, gettid());
    (void)pthread_mutex_lock(&p->lock);
    while (!p->is_stopping) {
        struct publisher_result result = {0};
        struct publisher_volume *v;

        if (list_is_empty(&p->waiting)) {
            (void)pthread_cond_wait(&p->changed, &p->lock);
            continue;
        }
        v = list_entry(p->waiting.next, struct publisher_volume, waiting);
        list_remove(&v->waiting);
        result.payload = TAKE(v->pending);
        result.received_at = v->pending_received_at;
        p->active = v;
        (void)pthread_mutex_unlock(&p->lock);
        publish(p, v, &result);
        (void)pthread_mutex_lock(&p->lock);
        p->active = NULL;
        finish(p, v, &result);
        (void)pthread_cond_broadcast(&p->changed);
    }
    (void)pthread_mutex_unlock(&p->lock);
    session_set_publisher(p->session, 0);
    return NULL;
}

/* ---- on the loop's thread */

static bool take_result(struct publisher *p, struct publisher_volume **ret_volume,
                        struct publisher_result *ret_result)
{
    bool found;

    (void)pthread_mutex_lock(&p->lock);
    found = !list_is_empty(&p->finished);
    if (found) {
        struct publisher_volume *v =
            list_entry(p->finished.next, struct publisher_volume, finished);

        list_remove(&v->finished);
        *ret_volume = v;
        *ret_result = v->result;
        v->result = (struct publisher_result){0};
    }
    (void)pthread_mutex_unlock(&p->lock);
    return found;
}

static int on_done(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct publisher *p = userdata;
    struct publisher_volume *v;
    struct publisher_result result;
    eventfd_t count;

    (void)source;
    (void)revents;
    (void)eventfd_read(fd, &count);
    while (take_result(p, &v, &result)) {
        v->done(v->userdata, &result);
        (void)payload_unref(result.payload);
    }
    return 0;
}

static int publisher_start(struct publisher *p, sd_event *event, struct error *e)
{
    int r;

    p->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->done_fd < 0)
        return error_set_errno(e, negative_errno(), "cannot start the publisher");
    r = sd_event_add_io(event, &p->done_source, p->done_fd, EPOLLIN, on_done, p);
    if (r < 0)
        return error_set_errno(e, r, "cannot start the publisher");
    r = pthread_create(&p->thread, NULL, publisher_main, p);
    return r == 0 ? 0 : error_set_errno(e, -r, "cannot start the publisher's thread");
}

static void publisher_release(struct publisher *p)
{
    (void)sd_event_source_disable_unref(p->done_source);
    (void)fd_close(p->done_fd);
    (void)pthread_cond_destroy(&p->changed);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

int publisher_new(sd_event *event, struct session *session, struct tree *tree,
                  struct publisher **ret_publisher, struct error *e)
{
    struct publisher *p = calloc(1, sizeof(*p));
    int r;

    if (p == NULL)
        return error_set_errno(e, -ENOMEM, "cannot start the publisher");
    p->session = session;
    p->tree = tree;
    p->done_fd = -1;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->changed, NULL);
    list_init(&p->waiting);
    list_init(&p->finished);
    r = publisher_start(p, event, e);
    if (r < 0) {
        publisher_release(p);
        return r;
    }
    *ret_publisher = p;
    return 0;
}

struct publisher *publisher_free(struct publisher *publisher)
{
    struct publisher *p = publisher;

    if (p == NULL)
        return NULL;
    (void)pthread_mutex_lock(&p->lock);
    p->is_stopping = true;
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
    (void)pthread_join(p->thread, NULL);
    assert(list_is_empty(&p->waiting) && list_is_empty(&p->finished));
    publisher_release(p);
    return NULL;
}

int publisher_add_volume(struct publisher *publisher, const char *path, uint64_t dir_id,
                         publisher_done_fn *done, void *userdata,
                         struct publisher_volume **ret_volume)
{
    struct publisher_volume *v = calloc(1, sizeof(*v));

    if (v == NULL)
        return -ENOMEM;
    v->path = strdup(path);
    if (v->path == NULL) {
        free(v);
        return -ENOMEM;
    }
    v->publisher = publisher;
    v->dir_id = dir_id;
    v->done = done;
    v->userdata = userdata;
    list_init(&v->waiting);
    list_init(&v->finished);
    *ret_volume = v;
    return 0;
}

struct publisher_volume *publisher_remove_volume(struct publisher_volume *volume)
{
    struct publisher_volume *v = volume;
    struct publisher *p;

    if (v == NULL)
        return NULL;
    p = v->publisher;
    (void)pthread_mutex_lock(&p->lock);
    list_remove(&v->waiting);
    while (p->active == v)
        (void)pthread_cond_wait(&p->changed, &p->lock);
    list_remove(&v->finished);
    (void)pthread_mutex_unlock(&p->lock);
    (void)payload_unref(v->pending);
    (void)payload_unref(v->result.payload);
    free(v->path);
    free(v);
    return NULL;
}

void publisher_submit(struct publisher_volume *volume, struct payload *payload, mono_us received_at)
{
    struct publisher *p = volume->publisher;
    struct payload *overtaken;

    (void)pthread_mutex_lock(&p->lock);
    overtaken = volume->pending;
    volume->pending = payload_ref(payload);
    volume->pending_received_at = received_at;
    if (overtaken == NULL)
        list_append(&p->waiting, &volume->waiting);
    (void)pthread_cond_broadcast(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
    (void)payload_unref(overtaken);
}

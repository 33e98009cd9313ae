/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored for a file system NAME:
 *
 *   NAME.device    the FUSE device. As long as it is stored, the kernel keeps the mount and has
 *                  requests wait
 *   NAME.state.N   the state with the number N
 *
 * A state that is nearly full, that has no room for an update which is about to be published, or
 * that has lost a record, is replaced:
 *
 *  1. new memory is stored. It is empty, which handover_take() ignores
 *  2. with the tree's lock held, the whole tree and the facts are written to it and committed; from
 *     here on the larger number makes it the one that counts
 *  3. the old one is discarded and overwritten, and removed from the store
 *
 * A process may end after each of these: between 2 and 3 both are complete, and the next process
 * takes the newer one.
 *
 * The next process makes a state of its own at once, as its program may be another version.
 */
#include "handover/handover.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "base/log.h"
#include "handover/shared_memory.h"
#include "handover/state_size.h"
#include "handover/tree_recorder.h"
#include "handover/tree_state.h"

#define RECORD_SESSION (TREE_STATE_TYPE_MAX + 1)

static const struct notes_types note_types = {.set = TREE_STATE_TYPE_MAX + 2,
                                              .removed = TREE_STATE_TYPE_MAX + 3};

/* What readers of an earlier process held is freed a while after they have closed it. Most of it
 * was closed before this process began, so it looks soon, and then less and less often. */
#define RELEASE_AFTER     SPAN_SEC(1)
#define RELEASE_AFTER_MAX SPAN_SEC(32)

/* For lack of memory a state may not be replaced; there may be more later. */
#define RETRY_INTERVAL SPAN_SEC(5)

/* Of one file system. Its pages are locked memory as they are used. */
#define STATE_MAX (UINT64_C(512) << 20)

/* The tree may grow between its measurement and its recording. */
#define REPLACE_TRIES_MAX 3

#define NAME_SIZE 128 /* of a stored descriptor */

/* The checked part of the record, before INIT and the mount point. */
struct stored_session {
    uint64_t device;
    uint32_t answers_open;
    uint32_t init_len;
    uint32_t mountpoint_len;
    uint32_t pid_namespace; /* 0: of an earlier version of this program */
};

/* One state: its memory and what is recorded there. */
struct generation {
    struct shared_memory memory;
    struct state state;
    char name[NAME_SIZE]; /* in the store */
};

struct handover {
    struct handover_options options;
    sd_event *event;
    int low_fd; /* eventfd: the state should be replaced */
    sd_event_source *low_source;
    sd_event_source *release_timer; /* of a mount that was taken over */
    span_us release_after;          /* until the timer's next time */
    sd_event_source *retry_timer;   /* while the state could not be replaced */

    /* found */
    struct generation *found;
    struct device_init init;
    int device_fd;

    /* from handover_begin() on */
    struct session *session;
    struct tree *tree;
    char *mountpoint;
    struct notes notes; /* those of an earlier process from handover_take() on */
    uint32_t format;    /* of the states that are made */
    struct tree_recorder recorder;
    struct generation *current; /* NULL: the state is lost, or could not be made */
    uint64_t number;            /* the largest one that was used */
    uint64_t reserved;          /* bytes of updates that are about to be recorded */
    bool is_device_stored;
    bool is_peeking; /* the process that has stored the state is running */
    bool has_failed; /* and that was logged */
    struct kept_error failure;
};

static struct generation *generation_free(struct generation *g)
{
    if (g == NULL)
        return NULL;
    shared_memory_deinit(&g->memory);
    free(g);
    return NULL;
}
DEFINE_CLEANUP(struct generation *, generation_free)

static const char *device_name(const struct handover *h, char buf[static NAME_SIZE])
{
    snprintf(buf, NAME_SIZE, "%s.device", h->options.name);
    return buf;
}

static void remove_stored(const struct handover *h, const char *name)
{
    struct error e = ERROR_INIT;

    if (fd_store_remove(h->options.store, name, &e) < 0)
        log_warn("cannot remove a stored descriptor", "name", name, "error", e.text);
}

/* ---- the session in the state */

/*
 * A request has the thread id of its caller in the PID namespace of the process that has mounted.
 * Without the same namespace no thread of this process is known as a publisher (is_publisher() in
 * fuse/operations.c). The mount holds its namespace, so that no other one gets this number.
 * Return: its inode; 0: unknown.
 */
static uint32_t own_pid_namespace(void)
{
    struct stat st;

    return stat("/proc/self/ns/pid", &st) == 0 ? (uint32_t)st.st_ino : 0;
}

static bool is_of_other_pid_namespace(const struct stored_session *s)
{
    uint32_t own = own_pid_namespace();

    return own != 0 && s->pid_namespace != 0 && own != s->pid_namespace;
}

static void append_session(const struct handover *h, struct state *state)
{
    const struct device_init *init = session_init_request(h->session);
    const struct stored_session stored = {
        .device = session_device(h->session),
        .answers_open = tree_nodes(h->tree)->remembers_paths,
        .init_len = (uint32_t)init->len,
        .mountpoint_len = (uint32_t)strlen(h->mountpoint),
        .pid_namespace = own_pid_namespace(),
    };
    uint8_t buf[sizeof(stored) + DEVICE_INIT_MAX_BYTES + PATH_MAX];

    assert(stored.mountpoint_len < PATH_MAX);
    memcpy(buf, &stored, sizeof(stored));
    memcpy(buf + sizeof(stored), init->bytes, init->len);
    memcpy(buf + sizeof(stored) + init->len, h->mountpoint, stored.mountpoint_len);
    state_append(state, RECORD_SESSION, buf, sizeof(stored) + init->len + stored.mountpoint_len,
                 NULL, 0);
}

/* The tree's lock is held. */
static void append_facts(void *userdata, struct state *state)
{
    const struct handover *h = userdata;

    append_session(h, state);
    notes_append_all(&h->notes, &note_types, state);
}

static bool is_session(const struct state_record *record)
{
    const struct stored_session *s = record->checked;

    return record->type == RECORD_SESSION && record->checked_len >= sizeof(*s) &&
           s->init_len <= DEVICE_INIT_MAX_BYTES && s->mountpoint_len < PATH_MAX &&
           record->checked_len == sizeof(*s) + s->init_len + s->mountpoint_len;
}

/* Return: 0; -EBADMSG, -ENOMEM with @e. */
static int read_session(struct handover *h, struct handover_found *ret_found, struct error *e)
{
    struct state_record record = {0};
    const struct stored_session *s = NULL;
    const uint8_t *bytes;

    while (state_next(&h->found->state, &record))
        if (is_session(&record))
            s = record.checked;
    if (s == NULL)
        return error_set(e, -EBADMSG, "the stored state is contradictory: it has no session");
    if (is_of_other_pid_namespace(s))
        return error_set(e, -EBADMSG,
                         "the mount belongs to another PID namespace; run secretfs in that of the "
                         "host (a pod: hostPID: true)");
    bytes = (const uint8_t *)(s + 1);
    h->init.len = s->init_len;
    memcpy(h->init.bytes, bytes, s->init_len);
    free(h->mountpoint);
    h->mountpoint = strndup((const char *)bytes + s->init_len, s->mountpoint_len);
    if (h->mountpoint == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the stored state");
    *ret_found = (struct handover_found){
        .mountpoint = h->mountpoint,
        .answers_open = s->answers_open != 0,
        .adoption = {.device_fd = h->device_fd, .device = s->device, .init = &h->init}};
    h->device_fd = -1; /* the session's, or closed by handover_take()'s caller */
    return 0;
}

/* ---- what is stored */

/* The number in the name of a state of this file system. Return: whether it is one. */
static bool parse_name(const struct handover *h, const char *name, uint64_t *ret_number)
{
    size_t len = strlen(h->options.name);
    char *end;

    if (strncmp(name, h->options.name, len) != 0 || strncmp(name + len, ".state.", 7) != 0)
        return false;
    *ret_number = strtoull(name + len + 7, &end, 10);
    return *end == '\0';
}

/* Return: 0, *ret_name is a state's; -ENOENT. */
static int find_name(const struct handover *h, char ret_name[static NAME_SIZE])
{
    uint64_t ignored;
    const char *name;

    for (size_t i = 0; (name = fd_store_peek_name(h->options.store, i)) != NULL; i++)
        if (strlen(name) < NAME_SIZE && parse_name(h, name, &ignored)) {
            snprintf(ret_name, NAME_SIZE, "%s", name);
            return 0;
        }
    return -ENOENT;
}

/* Return: as state_open(). */
static int open_generation(const struct handover *h, const char *name,
                           struct generation **ret_generation, struct error *e)
{
    _cleanup_(generation_freep) struct generation *g = calloc(1, sizeof(*g));
    int r;

    if (g == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the stored state");
    g->memory = SHARED_MEMORY_NONE;
    snprintf(g->name, sizeof(g->name), "%s", name);
    r = h->is_peeking
            ? shared_memory_open_read_only(fd_store_take(h->options.store, name), &g->memory)
            : shared_memory_open(fd_store_take(h->options.store, name), &g->memory);
    if (r < 0)
        return error_set_errno(e, r, "cannot map the stored state");
    r = state_open(&g->state, g->memory.bytes, g->memory.size, e);
    if (r == 0)
        *ret_generation = TAKE(g);
    return r;
}

/* Keep the one that counts of two. */
static void keep_newer(struct handover *h, struct generation *g)
{
    struct generation *older = g;

    if (h->found == NULL || state_number(&h->found->state) < state_number(&g->state)) {
        older = h->found;
        h->found = g;
    }
    if (older != NULL && !h->is_peeking)
        remove_stored(h, older->name);
    generation_free(older);
}

/* No program can make anything of it. Another one may read a newer format, or have more memory. */
static bool is_worthless(int r)
{
    return r > 0 || r == -EBADMSG;
}

/*
 * Take all states of this file system. A damaged one is an error although another one may be
 * intact: which of them was the newer one is not known.
 */
static int take_states(struct handover *h, struct error *e)
{
    char name[NAME_SIZE];
    int result = 0;

    while (find_name(h, name) == 0) {
        struct generation *g = NULL;
        struct error why = ERROR_INIT;
        uint64_t number = 0;
        int r = open_generation(h, name, &g, &why);

        parse_name(h, name, &number);
        h->number = number > h->number ? number : h->number;
        if (r == 0)
            keep_newer(h, g);
        else if (is_worthless(r) && !h->is_peeking)
            remove_stored(h, name);
        if (r < 0 && result == 0) {
            *e = why;
            result = r;
        }
    }
    return result;
}

/* POLLERR: the kernel has ended the connection. */
static bool is_alive(int device_fd)
{
    struct pollfd poll_fd = {.fd = device_fd};

    return poll(&poll_fd, 1, 0) == 0;
}

int handover_take(struct handover *handover, struct handover_found *ret_found, struct error *e)
{
    struct handover *h = handover;
    char name[NAME_SIZE];
    int r;

    assert(h->found == NULL && h->session == NULL);
    h->device_fd = fd_store_take(h->options.store, device_name(h, name));
    h->is_device_stored = h->device_fd >= 0;
    r = take_states(h, e);
    if (r == 0 && (h->device_fd < 0 || h->found == NULL || !is_alive(h->device_fd)))
        r = HANDOVER_NOTHING;
    if (r == 0)
        r = notes_read(&h->notes, &note_types, &h->found->state, e);
    if (r == 0)
        r = read_session(h, ret_found, e);
    if (is_worthless(r))
        handover_end(h);
    return r;
}

static int no_complete_state(struct error *e)
{
    return error_set(e, -EAGAIN, "the running process has no complete state; try again");
}

/*
 * The running process may have begun a state that is not valid yet, or have discarded one: the
 * other one counts.
 */
static int peek_states(struct handover *h, struct error *e)
{
    int r = take_states(h, e);

    if (r == -EBADMSG && h->found != NULL)
        return 0;
    if (r == 0 && h->found == NULL)
        return no_complete_state(e);
    return r;
}

int handover_peek(struct handover *handover, struct handover_found *ret_found, struct error *e)
{
    struct handover *h = handover;
    char name[NAME_SIZE];
    int r;

    assert(h->found == NULL && h->session == NULL);
    h->is_peeking = true;
    h->device_fd = fd_store_take(h->options.store, device_name(h, name));
    if (h->device_fd < 0)
        return HANDOVER_NOTHING;
    r = peek_states(h, e);
    if (r == 0)
        r = notes_read(&h->notes, &note_types, &h->found->state, e);
    return r == 0 ? read_session(h, ret_found, e) : r;
}

int handover_peek_again(struct handover *handover, struct error *e)
{
    struct generation *g = handover->found;
    int r;

    assert(handover->is_peeking && g != NULL);
    r = state_open(&g->state, g->memory.bytes, g->memory.size, e);
    return r > 0 ? no_complete_state(e) : r;
}

int handover_read_tree(struct handover *handover, struct tree *tree, struct error *e)
{
    assert(handover->found != NULL);
    tree_nodes(tree)->lists_removed = !device_init_offers_resend(&handover->init);
    return tree_state_read(&handover->found->state, tree_nodes(tree), e);
}

/* ---- storing */

/* Step 1 of the top comment. */
static int make_generation(struct handover *h, uint64_t size, struct generation **ret_generation,
                           struct error *e)
{
    _cleanup_(generation_freep) struct generation *g = calloc(1, sizeof(*g));
    int r;

    if (g == NULL)
        return error_set_errno(e, -ENOMEM, "cannot make a state");
    g->memory = SHARED_MEMORY_NONE;
    r = shared_memory_new(size, &g->memory);
    if (r < 0)
        return error_set_errno(e, r, "cannot make memory for a state");
    h->number++;
    snprintf(g->name, sizeof(g->name), "%s.state.%" PRIu64, h->options.name, h->number);
    state_create(&g->state, g->memory.bytes, g->memory.size, h->number, h->options.program);
    state_require_format(&g->state, h->format);
    r = fd_store_put(h->options.store, g->name, g->memory.fd, FD_STORE_UNTIL_REMOVED, e);
    if (r == 0)
        *ret_generation = TAKE(g);
    return r;
}

/* Step 3. NULL is fine. */
static void drop_generation(const struct handover *h, struct generation *g)
{
    if (g == NULL)
        return;
    state_discard(&g->state);
    remove_stored(h, g->name);
    generation_free(g);
}

static uint64_t bytes_needed(struct handover *h)
{
    return tree_recorder_bytes_needed(&h->recorder) + notes_bytes_needed(&h->notes);
}

/* Return: 0; -EFBIG with @e. */
static int choose_size(struct handover *h, uint64_t *ret_size, struct error *e)
{
    uint64_t needed = bytes_needed(h);

    *ret_size = state_size_choose(needed, h->reserved, STATE_MAX);
    if (*ret_size != 0)
        return 0;
    return error_set(e, -EFBIG, "it takes %" PRIu64 " MiB, and the limit is %" PRIu64 " MiB",
                     needed >> 20, STATE_MAX >> 20);
}

static int replace(struct handover *h, struct error *e)
{
    struct generation *old = h->current, *g = NULL;
    int r = -ENOSPC;

    for (unsigned tries = 0; r == -ENOSPC && tries < REPLACE_TRIES_MAX; tries++) {
        struct state *ignored;
        uint64_t size;

        drop_generation(h, g);
        g = NULL;
        r = choose_size(h, &size, e);
        if (r == 0)
            r = make_generation(h, size << tries < STATE_MAX ? size << tries : STATE_MAX, &g, e);
        if (r < 0)
            return r;
        r = tree_recorder_switch(&h->recorder, &g->state, append_facts, h, &ignored);
    }
    h->current = r == 0 ? g : NULL;
    if (r < 0)
        drop_generation(h, g);
    drop_generation(h, old);
    return r < 0 ? error_set_errno(e, r, "cannot record the mount's state") : 0;
}

/* Without it the state would be lost once it is full. */
static void retry_later(struct handover *h)
{
    sd_event_source_set_time_relative(h->retry_timer, RETRY_INTERVAL);
    sd_event_source_set_enabled(h->retry_timer, SD_EVENT_ONESHOT);
}

static void replace_and_report(struct handover *h)
{
    struct error e = ERROR_INIT;
    int r = replace(h, &e);

    if (r < 0 && !h->has_failed)
        log_warn("cannot store the state, retrying; without it the mount ends with this process",
                 "mountpoint", h->mountpoint, "error", e.text);
    if (r == 0 && h->has_failed)
        log_info("the state is stored again", "mountpoint", h->mountpoint);
    h->has_failed = r < 0;
    if (r < 0) {
        kept_error_set(&h->failure, e.text);
        retry_later(h);
    } else {
        kept_error_clear(&h->failure);
    }
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    const struct handover *h = userdata;

    if (h->has_failed)
        replace_and_report(userdata);
    return 0;
}

static int on_low(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    eventfd_t count;

    eventfd_read(fd, &count);
    replace_and_report(userdata);
    return 0;
}

static int on_release(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct handover *h = userdata;

    session_release_forgotten(h->session);
    if (h->release_after < RELEASE_AFTER_MAX)
        h->release_after *= 2;
    sd_event_source_set_time_relative(source, h->release_after);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Without the timer the nodes stay until the end of the process. */
static void start_releasing(struct handover *h)
{
    h->release_after = RELEASE_AFTER;
    if (sd_event_add_time_relative(h->event, &h->release_timer, CLOCK_MONOTONIC, h->release_after,
                                   SPAN_SEC(1), on_release, h) < 0)
        log_debug("cannot set a timer to free nodes of an earlier process");
}

/*
 * A state of the largest size that is not half full would be replaced by one with hardly more room.
 */
static bool can_grow(const struct handover *h)
{
    return h->current == NULL || h->current->memory.size < STATE_MAX ||
           state_used_bytes(&h->current->state) > STATE_MAX / 2;
}

/* A tree_recorder_make_room_fn. */
static void make_room(void *userdata, uint64_t bytes)
{
    struct handover *h = userdata;

    h->reserved = bytes;
    if (!h->has_failed && tree_recorder_free_bytes(&h->recorder) < bytes && can_grow(h))
        replace_and_report(h);
}

/* Thread: any. */
static void report_low(void *userdata)
{
    const struct handover *h = userdata;

    eventfd_write(h->low_fd, 1);
}

int handover_begin(struct handover *handover, struct tree *tree, struct session *session,
                   const char *mountpoint, struct error *e)
{
    struct handover *h = handover;
    char *copy = strdup(mountpoint), name[NAME_SIZE];
    int r = 0;

    assert(h->session == NULL);
    if (copy == NULL)
        return error_set_errno(e, -ENOMEM, "cannot record the mount's state");
    free(h->mountpoint);
    h->mountpoint = copy;
    h->tree = tree;
    h->session = session;
    tree_recorder_init(&h->recorder, tree_nodes(tree), report_low, make_room, h);
    if (!h->is_device_stored)
        r = fd_store_put(h->options.store, device_name(h, name), session_device_fd(session),
                         FD_STORE_UNTIL_HANGUP, e);
    if (r == 0) {
        h->is_device_stored = true;
        if (h->found != NULL)
            start_releasing(h);
        h->current = TAKE(h->found); /* until it is replaced */
        r = replace(h, e);
    }
    if (r < 0)
        handover_end(h);
    return r;
}

int handover_store_again(struct handover *handover, struct error *e)
{
    const struct handover *h = handover;
    char name[NAME_SIZE];
    int r;

    if (h == NULL || h->session == NULL)
        return 0;
    r = fd_store_put(h->options.store, device_name(h, name), session_device_fd(h->session),
                     FD_STORE_UNTIL_HANGUP, e);
    if (r == 0 && h->current != NULL)
        r = fd_store_put(h->options.store, h->current->name, h->current->memory.fd,
                         FD_STORE_UNTIL_REMOVED, e);
    return r;
}

/* ---- notes */

struct note_change {
    const struct handover *handover;
    const char *key;
};

/* The tree's lock is held. */
static void append_note(void *userdata, struct state *state)
{
    const struct note_change *change = userdata;

    notes_append(&change->handover->notes, &note_types, change->key, state);
}

/* A state that had no room for it is replaced now: the caller relies on the note. */
static void record_note(struct handover *h, const char *key)
{
    struct note_change change = {.handover = h, .key = key};

    assert(h->session != NULL);
    tree_recorder_add_facts(&h->recorder, append_note, &change);
    if (!tree_recorder_is_complete(&h->recorder))
        replace_and_report(h);
}

int handover_set_note(struct handover *handover, const char *key, const char *text)
{
    int r = notes_set(&handover->notes, key, text);

    if (r == 0)
        record_note(handover, key);
    return r;
}

/* @key may be the note's own. */
void handover_remove_note(struct handover *handover, const char *key)
{
    char copy[NOTE_KEY_MAX + 1];

    assert(strlen(key) < sizeof(copy));
    memcpy(copy, key, strlen(key) + 1);
    if (notes_remove(&handover->notes, copy))
        record_note(handover, copy);
}

void handover_require_format(struct handover *handover, uint32_t format)
{
    bool is_changed = handover->format != format;

    handover->format = format;
    if (is_changed && handover->session != NULL)
        replace_and_report(handover);
}

const char *handover_find_note(const struct handover *handover, const char *key)
{
    return notes_find(&handover->notes, key);
}

void handover_visit_notes(const struct handover *handover, notes_visit_fn *visit, void *userdata)
{
    notes_visit(&handover->notes, visit, userdata);
}

/* ---- the end */

bool handover_is_complete(struct handover *handover)
{
    return handover != NULL && handover->current != NULL &&
           tree_recorder_is_complete(&handover->recorder);
}

/* Workers append to the state with the tree's lock held. */
static uint64_t used_bytes(const struct handover *h)
{
    if (h->current == NULL)
        return 0;
    NODE_TABLE_GUARD(tree_nodes(h->tree));
    return state_used_bytes(&h->current->state);
}

struct handover_usage handover_usage(struct handover *handover)
{
    const struct handover *h = handover;

    if (h == NULL)
        return (struct handover_usage){.error = ""};
    return (struct handover_usage){
        .is_complete = handover_is_complete(handover),
        .bytes = used_bytes(h),
        .error = kept_error_text(&h->failure),
    };
}

void handover_end(struct handover *handover)
{
    struct handover *h = handover;
    char name[NAME_SIZE];

    if (h == NULL)
        return;
    assert(!h->is_peeking);
    h->release_timer = sd_event_source_disable_unref(h->release_timer);
    sd_event_source_set_enabled(h->retry_timer, SD_EVENT_OFF);
    tree_recorder_deinit(&h->recorder);
    h->recorder = (struct tree_recorder){0};
    if (h->is_device_stored)
        remove_stored(h, device_name(h, name));
    h->is_device_stored = false;
    h->device_fd = fd_close(h->device_fd);
    drop_generation(h, TAKE(h->found));
    drop_generation(h, TAKE(h->current));
    notes_deinit(&h->notes);
    h->session = NULL;
    h->tree = NULL;
}

/* ---- the object */

static int add_sources(struct handover *h)
{
    int r = sd_event_add_io(h->event, &h->low_source, h->low_fd, EPOLLIN, on_low, h);

    if (r >= 0)
        r = sd_event_add_time_relative(h->event, &h->retry_timer, CLOCK_MONOTONIC, 0, SPAN_SEC(1),
                                       on_retry, h);
    return r < 0 ? r : sd_event_source_set_enabled(h->retry_timer, SD_EVENT_OFF);
}

int handover_new(sd_event *event, const struct handover_options *options,
                 struct handover **ret_handover, struct error *e)
{
    struct handover *h = calloc(1, sizeof(*h));
    int r;

    if (h == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare the hand-over");
    h->options = *options;
    h->format = STATE_FORMAT_FIRST;
    notes_init(&h->notes);
    h->event = sd_event_ref(event);
    h->device_fd = -1;
    h->low_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = h->low_fd < 0 ? negative_errno() : add_sources(h);
    if (r < 0) {
        handover_free(h);
        return error_set_errno(e, r, "cannot prepare the hand-over");
    }
    *ret_handover = h;
    return 0;
}

struct handover *handover_free(struct handover *handover)
{
    struct handover *h = handover;

    if (h == NULL)
        return NULL;
    tree_recorder_deinit(&h->recorder);
    sd_event_source_disable_unref(h->release_timer);
    sd_event_source_disable_unref(h->retry_timer);
    sd_event_source_disable_unref(h->low_source);
    fd_close(h->low_fd);
    fd_close(h->device_fd);
    generation_free(h->found);
    generation_free(h->current);
    notes_deinit(&h->notes);
    kept_error_clear(&h->failure);
    free(h->mountpoint);
    sd_event_unref(h->event);
    free(h);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a volume, named after what it waits for:
 *
 *   AWAITING_CONTENT   subscribed to its objects; the first payload is fetched and published, in
 *      |               the file system that the spec or the pod decides about
 *      | published
 *   AWAITING_REQUEST   the content is in the volume's directory, which is mounted nowhere
 *      | requested, target created    ^ mount failed or cancelled, unmounted, lost, released
 *   AWAITING_MOUNT     the publisher's thread mounts the directory on the target
 *      | mounted
 *   MOUNTED            readers see it
 *
 * A volume of an earlier process begins as MOUNTED. It is recorded for the next process before it
 * is mounted, so that a reader never finds a mount which the next process does not know, until it
 * is unmounted. A record whose target does not show the volume is dropped by the next process.
 *
 * A request to mount may come in any state. It ends with
 *
 *   DONE, UNCHANGED           when the volume is mounted, and not before;
 *   MISSING                   as soon as an object or key is known to be missing or invalid;
 *   FORBIDDEN, UNAVAILABLE    after ERROR_GRACE of errors of the source, or after REQUEST_TIMEOUT.
 *                             Sources retry by themselves, and the node authorizer may learn of a
 *                             pod late (K3).
 *
 * After the end of a request the volume continues for EXPIRE_AFTER, so that the kubelet's retry
 * (after two minutes at most, H6) finds the objects fetched. It is never mounted without a request
 * that waits for it: the kubelet must know of each mount (T2).
 *
 * A mount clones the directory (open_tree), makes the clone read-only (mount_setattr) and then
 * moves it to the target (move_mount), so no reader sees it empty, partial or writable. The clone
 * looks the directory up through our own mount: the publisher's thread does that, because the event
 * loop might wait for itself.
 */
#include "node/volume.h"

#include <limits.h>
#include <linux/mount.h>

#include "node/volume_record.h"

#define ERROR_GRACE     SPAN_SEC(2)
#define REQUEST_TIMEOUT SPAN_SEC(10)
#define EXPIRE_AFTER    SPAN_SEC(300)
/*
 * From the first payload to the pod's answer, which was requested together with the objects: only
 * a slow API server takes longer.
 */
#define POD_TIMEOUT     SPAN_SEC(1)
#define TIMER_SLACK     SPAN_MS(10)

static const char *const state_names[] = {
    [NODE_VOLUME_AWAITING_CONTENT] = "awaiting-content",
    [NODE_VOLUME_AWAITING_REQUEST] = "awaiting-request",
    [NODE_VOLUME_AWAITING_MOUNT] = "awaiting-mount",
    [NODE_VOLUME_MOUNTED] = "mounted",
};

static const unsigned next_states[] = {
    [NODE_VOLUME_AWAITING_CONTENT] = 1u << NODE_VOLUME_AWAITING_REQUEST | 1u << NODE_VOLUME_MOUNTED,
    [NODE_VOLUME_AWAITING_REQUEST] = 1u << NODE_VOLUME_AWAITING_MOUNT,
    [NODE_VOLUME_AWAITING_MOUNT] = 1u << NODE_VOLUME_MOUNTED | 1u << NODE_VOLUME_AWAITING_REQUEST,
    [NODE_VOLUME_MOUNTED] = 1u << NODE_VOLUME_AWAITING_REQUEST,
};

static void move(struct node_volume *v, enum node_volume_state state)
{
    log_trace(LOG_TRACE_NODE, "volume changes state", "id", v->id, "from", state_names[v->state],
              "to", state_names[state]);
    assert((next_states[v->state] & 1u << state) != 0);
    v->state = state;
}

bool node_volume_id_is_valid(const char *id)
{
    size_t len = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

    return len > 0 && len <= NAME_MAX && id[len] == '\0' && id[0] != '.';
}

/* ---- timers */

static void stop_timers(struct node_volume *v)
{
    v->timer = sd_event_source_disable_unref(v->timer);
    v->error_timer = sd_event_source_disable_unref(v->error_timer);
}

static int set_timer(struct node_volume *v, sd_event_source **timer, span_us delay,
                     sd_event_time_handler_t handler)
{
    *timer = sd_event_source_disable_unref(*timer);
    return sd_event_add_time_relative(v->context->event, timer, CLOCK_MONOTONIC, delay, TIMER_SLACK,
                                      handler, v);
}

/* Without the timer the volume waits, or lives on, until the next request. */
static void start_timer(struct node_volume *v, sd_event_source **timer, span_us delay,
                        sd_event_time_handler_t handler)
{
    int r = set_timer(v, timer, delay, handler);

    if (r < 0 && r != -ESTALE) /* -ESTALE: the loop has ended */
        log_error("cannot set a timer", "object", PUBLISHED_TEXT(&v->published),
                  PUBLISHED_LOG_POD(&v->published), "error", strerror(-r));
}

static int on_expired(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct node_volume *v = userdata;

    assert(!v->is_requested && v->state != NODE_VOLUME_MOUNTED);
    if (v->ops->expired != NULL)
        v->ops->expired(v);
    return 0;
}

/* ---- the end of a request */

static const char *const result_names[] = {
    [NODE_MOUNT_DONE] = "done",
    [NODE_MOUNT_UNCHANGED] = "unchanged",
    [NODE_MOUNT_MISSING] = "missing",
    [NODE_MOUNT_FORBIDDEN] = "forbidden",
    [NODE_MOUNT_UNAVAILABLE] = "unavailable",
    [NODE_MOUNT_INVALID_TARGET] = "invalid-target",
};

/* @e: NULL for none */
static void finish_request(struct node_volume *v, enum node_mount_result result,
                           const struct error *e)
{
    static const struct error none;

    assert(v->is_requested);
    log_trace(LOG_TRACE_NODE, "mount request ends", "id", v->id, "result", result_names[result],
              "reason", e != NULL ? e->text : NULL);
    stop_timers(v);
    v->is_requested = false;
    if (v->state != NODE_VOLUME_MOUNTED)
        start_timer(v, &v->timer, EXPIRE_AFTER, on_expired);
    v->ops->mount_done(v, result, e != NULL ? e : &none);
}

static void finish_without_content(struct node_volume *v, enum node_mount_result result)
{
    struct error e = ERROR_INIT;

    published_why_missing(&v->published, &e);
    finish_request(v, result, &e);
}

static bool is_forbidden(const struct node_volume *v)
{
    for (size_t i = 0; i < v->spec->n_sources; i++)
        if (volume_view(v->published.volume, i)->refusal != STORE_NOT_REFUSED)
            return true;
    return false;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct node_volume *v = userdata;

    if (v->is_requested && v->state == NODE_VOLUME_AWAITING_CONTENT)
        finish_without_content(v, is_forbidden(v) ? NODE_MOUNT_FORBIDDEN : NODE_MOUNT_UNAVAILABLE);
    return 0;
}

/* ---- the record for the next process */

static void set_default_owner(struct volume_spec *spec)
{
    if (spec->uid == VOLUME_ID_UNSET)
        spec->uid = geteuid();
    if (spec->gid == VOLUME_ID_UNSET)
        spec->gid = getegid();
}

static int print(const struct node_volume_options *options, const struct volume_kept_order *orders,
                 uint64_t notified, char **ret_text)
{
    const struct node_volume_options *o = options;
    struct volume_spec spec = *o->spec;
    const struct volume_record record = {.target = o->target,
                                         .namespace = o->namespace,
                                         .pod = o->pod,
                                         .pod_uid = o->pod_uid,
                                         .service_account = o->service_account,
                                         .source = o->pod == NULL ? o->identity->key : NULL,
                                         .spec = &spec,
                                         .orders = orders,
                                         .notified = notified};

    set_default_owner(&spec);
    return volume_record_print(&record, ret_text);
}

int node_volume_print_record(const struct node_volume_options *options, char **ret_text)
{
    return print(options, NULL, 0, ret_text);
}

/* Return: the orders of all sources, for free(); NULL when out of memory. */
static struct volume_kept_order *list_orders(const struct node_volume *v)
{
    struct volume_kept_order *orders = calloc(v->spec->n_sources + 1, sizeof(*orders));

    for (size_t i = 0; orders != NULL && i < v->spec->n_sources; i++)
        orders[i] = volume_order(v->published.volume, i);
    return orders;
}

static bool has_orders(const struct node_volume *v)
{
    for (size_t i = 0; i < v->spec->n_sources; i++)
        if (volume_order(v->published.volume, i).order != VOLUME_ORDER_NONE)
            return true;
    return false;
}

static int print_record(const struct node_volume *v, const struct volume_kept_order *orders,
                        char **ret_text)
{
    const struct node_volume_options options = {.target = v->target,
                                                .namespace = v->namespace,
                                                .pod = v->pod,
                                                .pod_uid = v->pod_uid,
                                                .service_account = v->service_account,
                                                .spec = v->spec,
                                                .identity = v->identity};

    return print(&options, orders, v->notified, ret_text);
}

static void note_recorded_orders(struct node_volume *v, bool has)
{
    if (has != v->has_recorded_orders)
        node_file_systems_count_orders(v->context->file_systems, v->fs, has ? 1 : -1);
    v->has_recorded_orders = has;
}

/* A volume without a pod's uid has no processes. */
bool node_volume_has_consumers(const struct node_volume *volume)
{
    return volume->notice.action.unit != NULL || volume->notice.action.command != NULL ||
           (volume->spec->update_signal != 0 && volume->pod_uid != NULL);
}

uint64_t node_volume_shown_update(const struct node_volume *volume)
{
    return node_file_systems_shown_update(volume->context->file_systems, volume->fs, volume->id);
}

/* Without a record the volume, or an order, ends with this process. */
static void record(struct node_volume *v)
{
    unsigned changes = volume_order_changes(v->published.volume);
    _cleanup_(freep) struct volume_kept_order *orders = NULL;
    _cleanup_(freep) char *text = NULL;
    int r;

    if (v->is_recorded && v->recorded_changes == changes && v->is_notified_recorded)
        return;
    orders = list_orders(v);
    r = orders != NULL ? print_record(v, orders, &text) : -ENOMEM;
    if (r == 0)
        r = node_file_systems_record(v->context->file_systems, v->fs, v->id, text);
    if (r < 0) {
        log_warn("cannot record the volume or its orders; they end with this process", "target",
                 v->target, PUBLISHED_LOG_POD(&v->published), "error", strerror(-r));
        return;
    }
    v->is_recorded = true;
    v->is_notified_recorded = true;
    v->recorded_changes = changes;
    note_recorded_orders(v, has_orders(v));
}

static void set_notified(struct node_volume *v, uint64_t update)
{
    v->is_notified_recorded = v->is_notified_recorded && v->notified == update;
    v->notified = update;
}

void node_volume_note_notified(struct node_volume *volume, uint64_t update)
{
    set_notified(volume, update);
    if (volume->is_recorded)
        record(volume);
}

/*
 * Of an update that an earlier process has shown, and whose consumers it has not notified, they are
 * notified now: volume_notices.c does it. From an earlier version of this program it is unknown.
 */
static void adopt_notified(struct node_volume *v)
{
    uint64_t update;

    if (!node_volume_has_consumers(v))
        return;
    update = node_volume_shown_update(v);
    v->notified = v->shown->notified; /* which is recorded */
    if (v->notified == 0)
        set_notified(v, update); /* recorded with what follows */
    update_notice_adopt(&v->notice, update, v->notified);
}

static void drop_record(struct node_volume *v)
{
    if (v->is_recorded)
        node_file_systems_drop_record(v->context->file_systems, v->id);
    v->is_recorded = false;
    note_recorded_orders(v, false);
}

/* ---- mounting */

static int create_target(const struct node_volume *v, int *ret_fd, struct error *e)
{
    int r = v->created_dirs != NULL ? created_dirs_make(v->created_dirs, v->target, e) : 0;

    return r < 0 ? r : target_make(&v->area, v->target, ret_fd, e);
}

static int remove_target(const struct node_volume *v, struct error *e)
{
    if (v->created_dirs == NULL)
        return target_remove(&v->area, v->target, e);
    created_dirs_remove(v->created_dirs, v->target);
    return 0;
}

static void on_mounted(void *userdata, int error, uint64_t mount_id, const struct error *e)
{
    struct node_volume *v = userdata;
    struct error reason = *e;

    assert(v->is_requested);
    if (error < 0) {
        move(v, NODE_VOLUME_AWAITING_REQUEST);
        drop_record(v);
        remove_target(v, NULL);
        error_prefix(&reason, error, "cannot mount the volume on %s", v->target);
        finish_request(v, NODE_MOUNT_UNAVAILABLE, &reason);
        return;
    }
    move(v, NODE_VOLUME_MOUNTED);
    v->mount_id = mount_id;
    if (v->is_cancelled) {
        node_volume_unmount(v, NULL);
        error_set(&reason, -ECANCELED, "the request was cancelled");
        finish_request(v, NODE_MOUNT_UNAVAILABLE, &reason);
        return;
    }
    v->was_mounted = true;
    finish_request(v, NODE_MOUNT_DONE, NULL);
}

static void mount_on_target(struct node_volume *v)
{
    struct error e = ERROR_INIT;
    int fd;
    int r = create_target(v, &fd, &e);

    assert(v->published.publisher != NULL && v->published.payload != NULL);
    if (r < 0) {
        finish_request(v, r == -EINVAL ? NODE_MOUNT_INVALID_TARGET : NODE_MOUNT_UNAVAILABLE, &e);
        return;
    }
    move(v, NODE_VOLUME_AWAITING_MOUNT);
    if (node_volume_has_consumers(v) && !v->is_recorded)
        set_notified(v, node_volume_shown_update(v)); /* no reader has seen another one */
    record(v);
    publisher_bind(v->published.publisher, fd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, on_mounted, v);
}

/* ---- progress of a request */

static void check_content(struct node_volume *v)
{
    struct error e = ERROR_INIT;

    error_set(&e, 0, "%s", kept_error_text(&v->error));
    if (e.text[0] != '\0')
        finish_request(v, NODE_MOUNT_UNAVAILABLE, &e);
    else if (v->published.payload != NULL || v->waits_indefinitely)
        return; /* on_ready() or on_failed() follows, or a payload */
    else if (volume_is_refused(v->published.volume))
        finish_without_content(v, NODE_MOUNT_MISSING);
    else if (volume_has_answer(v->published.volume) && v->error_timer == NULL)
        start_timer(v, &v->error_timer, ERROR_GRACE, on_timeout);
}

static void check(struct node_volume *v)
{
    if (!v->is_requested)
        return;
    switch (v->state) {
    case NODE_VOLUME_AWAITING_CONTENT:
        check_content(v);
        return;
    case NODE_VOLUME_AWAITING_REQUEST:
        mount_on_target(v);
        return;
    case NODE_VOLUME_AWAITING_MOUNT:
        return;
    case NODE_VOLUME_MOUNTED:
        finish_request(v, NODE_MOUNT_UNCHANGED, NULL);
        return;
    }
}

/* ---- the file system */

static void stop_waiting_for_pod(struct node_volume *v)
{
    v->pod_query = node_pods_query_free(v->pod_query);
    v->pod_timer = sd_event_source_disable_unref(v->pod_timer);
}

static int on_pod_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct node_volume *v = userdata;

    log_info("pod not read in time; its volume uses the standard file system",
             PUBLISHED_LOG_POD(&v->published), "target", v->target);
    node_volume_set_fs(v, NODE_FS_STANDARD);
    return 0;
}

/* Return: 0; -errno when there is no timer, and the standard file system is chosen. */
static int wait_for_pod(struct node_volume *v)
{
    int r = 0;

    if (v->pod_timer == NULL)
        r = set_timer(v, &v->pod_timer, POD_TIMEOUT, on_pod_timeout);
    if (r < 0)
        v->fs = NODE_FS_STANDARD;
    else
        node_pods_query_expedite(v->pod_query); /* the server has just sent the objects */
    return r < 0 ? r : 0;
}

static void on_pod(void *userdata, enum node_pods_answer answer, const struct pod *pod)
{
    struct node_volume *v = userdata;

    v->pod_query = NULL; /* it was freed */
    node_volume_set_fs(v, answer == NODE_PODS_SUB_PATH ? NODE_FS_LIVE : NODE_FS_STANDARD);
}

void node_volume_ask_pod(struct node_volume *volume, struct node_pods *pods)
{
    char name[NODE_PODS_VOLUME_NAME_SIZE];
    const struct node_pods_volume question = {.namespace = volume->namespace,
                                              .pod = volume->pod,
                                              .pod_uid = volume->pod_uid,
                                              .volume = name};
    enum node_pods_answer answer = NODE_PODS_UNKNOWN;

    assert(volume->pod_query == NULL);
    if (volume->fs != NODE_FS_UNDECIDED)
        return;
    if (node_pods_volume_name(volume->target, name))
        answer = node_pods_ask(pods, &question, on_pod, volume, &volume->pod_query);
    if (answer != NODE_PODS_LATER)
        on_pod(volume, answer, NULL);
}

void node_volume_set_fs(struct node_volume *volume, enum node_fs fs)
{
    assert(fs != NODE_FS_UNDECIDED);
    stop_waiting_for_pod(volume);
    if (volume->fs != NODE_FS_UNDECIDED)
        return;
    log_trace(LOG_TRACE_NODE, "file system chosen", "id", volume->id, "fileSystem",
              node_fs_name(fs));
    volume->fs = fs;
    published_retry(&volume->published);
}

/* ---- the published volume */

static int on_place(void *userdata, struct publisher_place *ret_place, struct error *e)
{
    struct node_volume *v = userdata;
    const struct volume_spec *spec = v->spec;
    struct publisher *publisher = NULL;
    int r;

    if (v->fs == NODE_FS_UNDECIDED && wait_for_pod(v) == 0)
        return PUBLISHED_LATER;
    r = node_file_systems_publisher(v->context->file_systems, v->fs, &publisher, e);
    if (r < 0)
        return r;
    published_set_consumers(&v->published,
                            node_file_systems_consumers(v->context->file_systems, v->fs));
    *ret_place = (struct publisher_place){
        .publisher = publisher,
        .name = v->id,
        .group = v->pod_uid,
        .uid = spec->uid,
        .gid = spec->fs_group != VOLUME_ID_UNSET ? spec->fs_group : spec->gid,
        .mode = volume_spec_root_mode(spec),
        .changes_in_place = spec->updates == VOLUME_UPDATES_IN_PLACE,
        .shown = v->shown != NULL ? v->shown->payload : NULL,
    };
    return 0;
}

static int on_ready(void *userdata, struct error *e)
{
    struct node_volume *v = userdata;

    assert(v->fs != NODE_FS_UNDECIDED);
    move(v, v->shown != NULL ? NODE_VOLUME_MOUNTED : NODE_VOLUME_AWAITING_REQUEST);
    check(v);
    return 0;
}

/* Nothing was published. The next payload tries again, and so does the next request. */
static void on_failed(void *userdata, int error, const struct error *e)
{
    struct node_volume *v = userdata;

    kept_error_set(&v->error, e->text);
    check(v);
}

static void on_changed(void *userdata)
{
    struct node_volume *v = userdata;

    if (v->is_recorded && v->published.volume != NULL)
        record(v); /* an order has begun or ended */
    check(v);
}

static const char *on_labels(void *userdata)
{
    const struct node_volume *v = userdata;
    const struct node_pods_volume which = {
        .namespace = v->namespace, .pod = v->pod, .pod_uid = v->pod_uid, .volume = ""};
    const struct pod *pod = NULL;

    if (v->pod_uid != NULL && v->context->known_pods != NULL)
        pod = node_pods_find(v->context->known_pods, &which);
    return pod != NULL ? pod->labels : NULL;
}

void node_volume_on_pod(struct node_volume *volume, const struct pod *pod)
{
    if (volume->published.volume != NULL && volume->pod_uid != NULL &&
        pod_is(pod, volume->namespace, volume->pod, volume->pod_uid))
        volume_labels_changed(volume->published.volume, clock_mono());
}

/* ---- init and deinit */

static char *dup_or_null(const char *text, bool *failed)
{
    char *copy = text != NULL ? strdup(text) : NULL;

    *failed |= text != NULL && copy == NULL;
    return copy;
}

static int copy_options(struct node_volume *v, const struct node_volume_options *o)
{
    bool failed = false;

    v->id = dup_or_null(o->id, &failed);
    v->target = dup_or_null(o->target, &failed);
    v->root = dup_or_null(o->area.root, &failed);
    v->namespace = dup_or_null(o->namespace, &failed);
    v->pod = dup_or_null(o->pod, &failed);
    v->pod_uid = dup_or_null(o->pod_uid, &failed);
    v->service_account = dup_or_null(o->service_account, &failed);
    v->area = (struct target_area){.root = v->root};
    v->created_dirs = o->created_dirs;
    return failed ? -ENOMEM : 0;
}

static int subscribe(struct node_volume *v, struct error *e)
{
    static const struct published_callbacks callbacks = {
        .place = on_place,
        .ready = on_ready,
        .failed = on_failed,
        .changed = on_changed,
        .labels = on_labels,
    };
    const struct published_options options = {
        .store = v->identity->store,
        .pods = v->context->pods,
        .spec = v->spec,
        .namespace = v->namespace,
        .pod = v->pod,
        .pod_uid = v->pod_uid,
        .mountpoint = v->target,
        .observer = v->context->observer,
        .source_log = v->context->source_log,
        .adopted = {.payload = v->shown != NULL ? v->shown->payload : NULL,
                    .orders = v->shown != NULL ? v->shown->orders : NULL},
        .adopted_generation = v->shown != NULL ? v->shown->generation : NULL,
        .adopted_directory = v->shown != NULL ? v->shown->node : 0,
        .keeps_previous = v->context->keeps_previous,
        .commands = v->context->commands,
    };

    return published_init(&v->published, v->context->event, &options, &callbacks, v, e);
}

static enum node_fs choose_fs(const struct node_volume_options *options)
{
    if (options->shown != NULL)
        return options->shown->fs;
    if (options->spec->updates == VOLUME_UPDATES_IN_PLACE)
        return NODE_FS_LIVE;
    return options->pod_decides_fs ? NODE_FS_UNDECIDED : NODE_FS_STANDARD;
}

int node_volume_init(struct node_volume *volume, const struct node_volume_context *context,
                     const struct node_volume_options *options, const struct node_volume_ops *ops,
                     struct error *e)
{
    struct node_volume *v = volume;
    int r;

    *v = (struct node_volume){
        .ops = ops,
        .context = context,
        .spec = options->spec,
        .borrows_spec = options->borrows_spec,
        .notice = {.published = &volume->published, .action = options->action},
        .identity = options->identity,
        .shown = options->shown,
        .mount_id = options->shown != NULL ? options->shown->mount_id : 0,
        .fs = choose_fs(options),
        .was_mounted = options->shown != NULL,
        .is_recorded = options->shown != NULL,
        .is_notified_recorded = options->shown != NULL,
    };
    list_init(&v->link);
    set_default_owner(v->spec);
    r = copy_options(v, options);
    if (r < 0)
        return error_set_errno(e, r, "cannot set up the volume");
    v->notice.target = v->target;
    if (v->shown != NULL)
        adopt_notified(v);
    r = subscribe(v, e);
    if (r == 0 && v->is_recorded)
        note_recorded_orders(v, has_orders(v));
    if (r == 0 && v->is_recorded)
        record(v);
    v->shown = NULL;
    if (r < 0 || v->state == NODE_VOLUME_MOUNTED)
        return r;
    r = set_timer(v, &v->timer, EXPIRE_AFTER, on_expired);
    return r < 0 ? error_set_errno(e, r, "cannot set a timer") : 0;
}

/* In state AWAITING_CONTENT or AWAITING_REQUEST there is nothing to unmount. */
static int unmount(struct node_volume *v, struct error *e)
{
    int r;

    if (v->state != NODE_VOLUME_AWAITING_MOUNT && v->state != NODE_VOLUME_MOUNTED)
        return 0;
    if (v->is_left)
        return 0;
    if (v->state == NODE_VOLUME_AWAITING_MOUNT)
        publisher_unbind(v->published.publisher); /* from now on it is mounted or never will be */
    move(v, NODE_VOLUME_AWAITING_REQUEST);
    v->was_mounted = false;
    r = target_detach(&v->area, v->target, e);
    if (r == 0)
        drop_record(v);
    return r == 0 ? remove_target(v, e) : r;
}

void node_volume_deinit(struct node_volume *volume)
{
    struct node_volume *v = volume;
    struct error e = ERROR_INIT;

    list_remove(&v->link);
    if (unmount(v, &e) < 0)
        log_warn("cannot unmount a volume", "target", v->target, PUBLISHED_LOG_POD(&v->published),
                 "reason", e.text);
    stop_timers(v);
    stop_waiting_for_pod(v);
    if (!v->is_left)
        drop_record(v);
    update_notice_deinit(&v->notice);
    published_deinit(&v->published);
    kept_error_clear(&v->error);
    identity_unref(v->identity);
    if (!v->borrows_spec)
        volume_spec_free(v->spec);
    free(v->id);
    free(v->target);
    free(v->root);
    free(v->namespace);
    free(v->pod);
    free(v->pod_uid);
    free(v->service_account);
}

/* ---- requests */

int node_volume_unmount(struct node_volume *volume, struct error *e)
{
    if (volume->state != NODE_VOLUME_AWAITING_REQUEST)
        start_timer(volume, &volume->timer, EXPIRE_AFTER, on_expired);
    return unmount(volume, e);
}

static void leave(struct node_volume *v, bool is_possible)
{
    v->is_left = is_possible;
    if (v->is_left && v->published.publisher != NULL)
        publisher_keep_directory(v->published.publisher);
}

void node_volume_leave(struct node_volume *volume)
{
    leave(volume, volume->is_recorded && volume->state != NODE_VOLUME_AWAITING_MOUNT);
}

void node_volume_leave_dead(struct node_volume *volume)
{
    leave(volume, volume->state == NODE_VOLUME_MOUNTED);
}

void node_volume_release_target(struct node_volume *volume)
{
    assert(!volume->is_requested && volume->state != NODE_VOLUME_AWAITING_MOUNT);
    if (volume->state == NODE_VOLUME_MOUNTED)
        move(volume, NODE_VOLUME_AWAITING_REQUEST);
    volume->was_mounted = false;
    drop_record(volume);
}

/* The mount may have been removed from outside, or by a kubelet that restarted. */
static void check_mount(struct node_volume *v)
{
    if (v->state != NODE_VOLUME_MOUNTED || target_shows(&v->area, v->target, v->mount_id))
        return;
    log_warn("mount of a volume is gone, mounting it again", "target", v->target,
             PUBLISHED_LOG_POD(&v->published));
    move(v, NODE_VOLUME_AWAITING_REQUEST);
}

void node_volume_request_mount(struct node_volume *volume, bool waits_indefinitely)
{
    struct node_volume *v = volume;

    log_trace(LOG_TRACE_NODE, "mount requested", "id", v->id, "state", state_names[v->state]);
    assert(!v->is_requested && v->state != NODE_VOLUME_AWAITING_MOUNT);
    stop_timers(v);
    v->is_requested = true;
    v->is_cancelled = false;
    v->waits_indefinitely = waits_indefinitely;
    check_mount(v);
    if (v->state == NODE_VOLUME_AWAITING_CONTENT && v->error.owned != NULL) {
        kept_error_clear(&v->error);
        published_retry(&v->published);
    }
    if (v->state == NODE_VOLUME_AWAITING_CONTENT && !waits_indefinitely)
        start_timer(v, &v->timer, REQUEST_TIMEOUT, on_timeout);
    check(v);
}

bool node_volume_cancel_request(struct node_volume *volume)
{
    struct node_volume *v = volume;

    if (!v->is_requested)
        return false;
    if (v->state == NODE_VOLUME_AWAITING_MOUNT) {
        v->is_cancelled = true;
        return true;
    }
    stop_timers(v);
    v->is_requested = false;
    if (v->state != NODE_VOLUME_MOUNTED)
        start_timer(v, &v->timer, EXPIRE_AFTER, on_expired);
    return false;
}

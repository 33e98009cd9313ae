/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a volume:
 *
 *   FOLLOWING   its objects are asked for, and its pod, if that decides about the file system
 *      | the first payload is in its directory
 *   IN_PLACE    where nobody looks
 *      | it is wanted: the target is made
 *   BINDING     the publisher's thread mounts the directory there
 *      | done                           | failed, or the mount is gone when it is wanted again:
 *   BOUND       readers see it          +-> IN_PLACE
 *
 * Whoever wants it is told how that went:
 *   - shown, when it is bound and not before;
 *   - missing, as soon as it is known that something is not there or no good;
 *   - forbidden or unavailable, when the source has had trouble for TROUBLE_GRACE, or after
 *     PATIENCE. A source tries again by itself, and the node authorizer may know a pod a moment
 * late (K3).
 *
 * What was unavailable lives on, so that whoever comes again finds the work going on and not at its
 * beginning: the kubelet comes again after two minutes at most (H6). After LINGER nobody will. It
 * is not bound meanwhile: nothing is ever shown without somebody having been told so (T2).
 */
#include "node/volume.h"

#include <limits.h>
#include <linux/mount.h>

#define TROUBLE_GRACE SPAN_SEC(2)
#define PATIENCE      SPAN_SEC(10) /* then somebody should be told what the trouble is */
#define LINGER        SPAN_SEC(300)
/*
 * Content is there and the pod is not known yet: it is asked for since the objects are, so that is
 * a slow server.
 */
#define POD_PATIENCE  SPAN_SEC(1)
#define TIMER_SLACK   SPAN_MS(10)

const char *node_fs_name(enum node_fs fs)
{
    static const char *const names[] = {
        [NODE_FS_UNDECIDED] = "", [NODE_FS_STANDARD] = "standard", [NODE_FS_LIVE] = "live"};

    return names[fs];
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
    v->trouble_timer = sd_event_source_disable_unref(v->trouble_timer);
}

static int set_timer(struct node_volume *v, sd_event_source **timer, span_us delay,
                     sd_event_time_handler_t handler)
{
    *timer = sd_event_source_disable_unref(*timer);
    return sd_event_add_time_relative(v->host->event, timer, CLOCK_MONOTONIC, delay, TIMER_SLACK,
                                      handler, v);
}

/* Without one it waits, or lives on, for as long as nobody asks again. */
static void start_timer(struct node_volume *v, sd_event_source **timer, span_us delay,
                        sd_event_time_handler_t handler)
{
    int r = set_timer(v, timer, delay, handler);

    if (r < 0 && r != -ESTALE) /* that is a loop that has ended */
        log_error("cannot set a timer", "object", PUBLISHED_TEXT(&v->published), "pod", v->pod,
                  "error", strerror(-r));
}

static int on_lingered(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct node_volume *v = userdata;

    v->callbacks->abandoned(v->userdata, v);
    return 0;
}

/* ---- telling how it went */

static void settle(struct node_volume *v, enum node_volume_outcome outcome, const struct error *e)
{
    static const struct error none;

    stop_timers(v);
    v->is_wanted = false;
    if (v->state != NODE_VOLUME_BOUND)
        start_timer(v, &v->timer, LINGER, on_lingered);
    v->callbacks->settled(v->userdata, v, outcome, e != NULL ? e : &none);
}

static void settle_missing(struct node_volume *v, enum node_volume_outcome outcome)
{
    struct error e = ERROR_INIT;

    published_why_missing(&v->published, &e);
    settle(v, outcome, &e);
}

static bool is_forbidden(const struct node_volume *v)
{
    for (size_t i = 0; i < v->spec->n_sources; i++)
        if (volume_view(v->published.volume, i)->is_forbidden)
            return true;
    return false;
}

static int on_too_late(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct node_volume *v = userdata;

    if (v->is_wanted && v->state == NODE_VOLUME_FOLLOWING)
        settle_missing(v, is_forbidden(v) ? NODE_VOLUME_FORBIDDEN : NODE_VOLUME_UNAVAILABLE);
    return 0;
}

/* ---- binding */

static void check(struct node_volume *v);

static int make_target(const struct node_volume *v, int *ret_fd, struct error *e)
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

static void on_bound(void *userdata, int error, uint64_t mount_id, const struct error *e)
{
    struct node_volume *v = userdata;
    struct error reason = *e;

    if (error < 0) {
        v->state = NODE_VOLUME_IN_PLACE;
        remove_target(v, NULL);
        error_prefix(&reason, error, "cannot show the volume on %s", v->target);
        settle(v, NODE_VOLUME_UNAVAILABLE, &reason);
        return;
    }
    v->state = NODE_VOLUME_BOUND;
    v->mount_id = mount_id;
    if (v->is_forgone) {
        node_volume_hide(v, NULL);
        error_set(&reason, -ECANCELED, "nobody waited for the volume any more");
        settle(v, NODE_VOLUME_UNAVAILABLE, &reason);
        return;
    }
    v->was_shown = true;
    settle(v, NODE_VOLUME_SHOWN, NULL);
}

static void bind_to_target(struct node_volume *v)
{
    struct error e = ERROR_INIT;
    int fd;
    int r = make_target(v, &fd, &e);

    if (r < 0) {
        settle(v, r == -EINVAL ? NODE_VOLUME_BAD_TARGET : NODE_VOLUME_UNAVAILABLE, &e);
        return;
    }
    v->state = NODE_VOLUME_BINDING;
    publisher_bind(v->published.publisher, fd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | v->mount_attr,
                   on_bound, v);
}

/* ---- what to do next */

static void check_following(struct node_volume *v)
{
    if (v->error.text[0] != '\0')
        settle(v, NODE_VOLUME_UNAVAILABLE, &v->error);
    else if (v->published.payload != NULL || v->is_patient)
        return; /* under way */
    else if (volume_is_refused(v->published.volume))
        settle_missing(v, NODE_VOLUME_MISSING);
    else if (volume_has_answer(v->published.volume) && v->trouble_timer == NULL)
        start_timer(v, &v->trouble_timer, TROUBLE_GRACE, on_too_late);
}

static void check(struct node_volume *v)
{
    if (!v->is_wanted)
        return;
    switch (v->state) {
    case NODE_VOLUME_FOLLOWING:
        check_following(v);
        return;
    case NODE_VOLUME_IN_PLACE:
        bind_to_target(v);
        return;
    case NODE_VOLUME_BINDING:
        return;
    case NODE_VOLUME_BOUND:
        settle(v, NODE_VOLUME_STILL_SHOWN, NULL);
        return;
    }
}

/* ---- the published volume */

static void stop_waiting_for_pod(struct node_volume *v)
{
    v->pod_query = node_pods_query_free(v->pod_query);
    v->pod_timer = sd_event_source_disable_unref(v->pod_timer);
}

static int on_pod_too_late(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct node_volume *v = userdata;

    log_info("the pod cannot be read in time; its volume goes to the standard file system", "pod",
             v->pod, "target", v->target);
    node_volume_decide(v, NODE_FS_STANDARD);
    return 0;
}

/* Return: 0; without a timer the standard file system it is, and -errno. */
static int wait_for_pod(struct node_volume *v)
{
    int r = 0;

    if (v->pod_timer == NULL)
        r = set_timer(v, &v->pod_timer, POD_PATIENCE, on_pod_too_late);
    if (r < 0)
        v->fs = NODE_FS_STANDARD;
    else
        node_pods_query_hurry(v->pod_query); /* the server has just sent the objects */
    return r < 0 ? r : 0;
}

static int on_place(void *userdata, struct publisher_place *ret_place, struct error *e)
{
    struct node_volume *v = userdata;
    const struct volume_spec *spec = v->spec;
    struct publisher *publisher = NULL;
    int r;

    if (v->fs == NODE_FS_UNDECIDED && wait_for_pod(v) == 0)
        return PUBLISHED_LATER;
    r = v->host->choose_publisher(v->host->userdata, v->fs, &publisher, e);
    if (r < 0)
        return r;
    *ret_place = (struct publisher_place){
        .publisher = publisher,
        .name = v->id,
        .uid = spec->uid,
        .gid = spec->fs_group != VOLUME_ID_UNSET ? spec->fs_group : spec->gid,
        .mode = volume_spec_root_mode(spec),
        .changes_in_place = spec->updates == VOLUME_UPDATES_IN_PLACE,
    };
    return 0;
}

static int on_ready(void *userdata, struct error *e)
{
    struct node_volume *v = userdata;

    v->state = NODE_VOLUME_IN_PLACE;
    check(v);
    return 0;
}

/* Nothing of it is there; the next payload is another try, and so is the next who wants it. */
static void on_failed(void *userdata, int error, const struct error *e)
{
    struct node_volume *v = userdata;

    v->error = *e;
    check(v);
}

static void on_changed(void *userdata)
{
    struct node_volume *v = userdata;

    v->host->changed(v->host->userdata, v);
    check(v);
}

static void on_updated(void *userdata)
{
    const struct node_volume *v = userdata;

    v->host->updated(v->host->userdata, v);
}

/* ---- all of it */

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
    v->area = (struct target_area){.root = v->root};
    v->created_dirs = o->created_dirs;
    v->mount_attr = o->mount_attr;
    v->fs = o->fs;
    return failed ? -ENOMEM : 0;
}

static int follow(struct node_volume *v, struct error *e)
{
    static const struct published_callbacks callbacks = {
        .place = on_place,
        .ready = on_ready,
        .failed = on_failed,
        .changed = on_changed,
        .updated = on_updated,
    };
    const struct published_options options = {
        .store = v->identity->store,
        .spec = v->spec,
        .namespace = v->namespace,
        .pod = v->pod,
        .source_log = v->host->source_log,
    };

    return published_init(&v->published, v->host->event, &options, &callbacks, v, e);
}

int node_volume_new(const struct node_volume_host *host, const struct node_volume_options *options,
                    const struct node_volume_callbacks *callbacks, void *userdata,
                    struct node_volume **ret_volume, struct error *e)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec =
        options->borrows_spec ? NULL : options->spec;
    _cleanup_(identity_unrefp) struct identity *identity = options->identity;
    _cleanup_(node_volume_freep) struct node_volume *v = calloc(1, sizeof(*v));
    int r;

    if (v == NULL)
        return error_set_errno(e, -ENOMEM, "cannot set the volume up");
    list_init(&v->link);
    v->host = host;
    v->callbacks = callbacks;
    v->userdata = userdata;
    v->borrows_spec = options->borrows_spec;
    v->spec = options->spec;
    spec = NULL;
    v->identity = TAKE(identity);
    if (v->spec->uid == VOLUME_ID_UNSET)
        v->spec->uid = geteuid();
    if (v->spec->gid == VOLUME_ID_UNSET)
        v->spec->gid = getegid();
    r = copy_options(v, options);
    if (r < 0)
        return error_set_errno(e, r, "cannot set the volume up");
    r = follow(v, e);
    if (r < 0)
        return r;
    r = set_timer(v, &v->timer, LINGER, on_lingered);
    if (r < 0)
        return error_set_errno(e, r, "cannot set a timer");
    *ret_volume = TAKE(v);
    return 0;
}

static int hide(struct node_volume *v, struct error *e)
{
    int r;

    if (v->state == NODE_VOLUME_BINDING) {
        /* when this returns it is bound or it never will be */
        publisher_unbind(v->published.publisher);
    } else if (v->state != NODE_VOLUME_BOUND) {
        return 0;
    }
    v->state = NODE_VOLUME_IN_PLACE;
    v->was_shown = false;
    r = target_detach(&v->area, v->target, e);
    return r == 0 ? remove_target(v, e) : r;
}

int node_volume_hide(struct node_volume *volume, struct error *e)
{
    if (volume->state != NODE_VOLUME_IN_PLACE)
        start_timer(volume, &volume->timer, LINGER, on_lingered);
    return hide(volume, e);
}

void node_volume_yield(struct node_volume *volume)
{
    assert(!volume->is_wanted && volume->state != NODE_VOLUME_BINDING);
    if (volume->state == NODE_VOLUME_BOUND)
        volume->state = NODE_VOLUME_IN_PLACE;
    volume->was_shown = false;
}

struct node_volume *node_volume_free(struct node_volume *volume)
{
    struct node_volume *v = volume;
    struct error e = ERROR_INIT;

    if (v == NULL)
        return NULL;
    list_remove(&v->link);
    if (hide(v, &e) < 0)
        log_warn("cannot take a volume down", "target", v->target, "pod", v->pod, "reason", e.text);
    stop_timers(v);
    stop_waiting_for_pod(v);
    published_deinit(&v->published);
    identity_unref(v->identity);
    if (!v->borrows_spec)
        volume_spec_free(v->spec);
    free(v->id);
    free(v->target);
    free(v->root);
    free(v->namespace);
    free(v->pod);
    free(v->pod_uid);
    free(v);
    return NULL;
}

void node_volume_decide(struct node_volume *volume, enum node_fs fs)
{
    assert(fs != NODE_FS_UNDECIDED);
    stop_waiting_for_pod(volume);
    if (volume->fs != NODE_FS_UNDECIDED)
        return;
    volume->fs = fs;
    published_retry(&volume->published);
}

static bool is_still_there(const struct node_volume *v)
{
    return target_shows(&v->area, v->target, v->mount_id);
}

void node_volume_want(struct node_volume *volume, bool is_patient)
{
    struct node_volume *v = volume;

    assert(!v->is_wanted);
    stop_timers(v);
    v->is_wanted = true;
    v->is_forgone = false;
    v->is_patient = is_patient;
    if (v->state == NODE_VOLUME_BOUND && !is_still_there(v)) {
        log_warn("the mount of a volume is gone; mounting it again", "target", v->target, "pod",
                 v->pod);
        v->state = NODE_VOLUME_IN_PLACE;
    }
    if (v->state == NODE_VOLUME_FOLLOWING && v->error.text[0] != '\0') {
        v->error = ERROR_INIT;
        published_retry(&v->published);
    }
    if (v->state == NODE_VOLUME_FOLLOWING && !is_patient)
        start_timer(v, &v->timer, PATIENCE, on_too_late);
    check(v);
}

bool node_volume_forgo(struct node_volume *volume)
{
    struct node_volume *v = volume;

    if (!v->is_wanted)
        return false;
    if (v->state == NODE_VOLUME_BINDING) {
        v->is_forgone = true;
        return true;
    }
    stop_timers(v);
    v->is_wanted = false;
    if (v->state != NODE_VOLUME_BOUND)
        start_timer(v, &v->timer, LINGER, on_lingered);
    return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A report is kept for each pod that has a mounted volume of which the condition is requested. A
 * turn, on a timer, looks at the reports that are due: it goes over all volumes once, adds theirs
 * up to the condition of the pod, and writes it if the pod has another one.
 *
 *   changed(volume) ---> due now ---+
 *   polling, settling, deferred ----+--> turn: volumes -> condition -> condition_patches
 *                                                    ^        |
 *             pods: the watch, containers' starts ---+        +--> known, when it is written
 *
 * - Consumers are polled while the pod waits for one, first after POLL_FIRST and in the end each
 *   POLL_LAST. A condition that is True needs no polling: an open cannot bring older content, as
 *   the generation is gone, so only an update ends it.
 * - What the pod has when its report begins comes from the watch, so that a restart writes nothing.
 *   Until the pod is known nothing is written, for POD_PATIENCE. Later the report knows what it has
 *   written, and compares no more: two programs that write the condition do not fight.
 * - Reports whose write was deferred are tried in the order in which they were tried last, so each
 *   pod gets its share of the limit.
 */
#include "node/pod_conditions.h"

#include <stdarg.h>
#include <stdio.h>

#include "node/condition_patches.h"

#define TURN_AFTER      SPAN_MS(50) /* of a change: those of a pod's volumes come together */
#define TIMER_SLACK     SPAN_MS(10)
#define POLL_FIRST      SPAN_SEC(1)
#define POLL_LAST       SPAN_SEC(8)
#define DEFERRED_RETRY  SPAN_SEC(1)
#define FAILED_RETRY    SPAN_SEC(15) /* the first back-off of post_limits.c */
#define POD_PATIENCE    SPAN_SEC(10)
#define REPORTS_A_TURN  64 /* each looks at the consumers of a few volumes */
#define BUCKETS         256
#define VERSIONS_LISTED 16 /* objects of one volume in the message */

struct report {
    struct list link;    /* those that were tried longest ago come first */
    struct report *next; /* of its bucket */
    struct pod_conditions *conditions;
    char *namespace, *pod, *uid;
    mono_us begun_at;
    mono_us due_at; /* SPAN_FOREVER: a change, or the answer to the patch */
    span_us poll;   /* the next interval */
    bool has_known; /* what the pod has is known, or will not be */
    bool is_gone;   /* the API server has no such pod */

    bool is_mounted; /* in this turn, as what follows */
    bool is_turn;    /* it is looked at */
    bool is_pending; /* an update is not visible yet */
    struct condition condition;

    mono_us since; /* when the condition became @pending */
    enum condition_reason pending;
    struct condition_known known;   /* what the pod has */
    struct condition_known written; /* what @patch makes of it */
    struct condition_patch *patch;  /* NULL: none is in flight */
};

struct pod_conditions {
    struct pod_conditions_options options;
    struct condition_patches *patches;
    sd_event_source *timer;
    mono_us timer_at; /* SPAN_FOREVER: off */
    struct list reports;
    struct report *buckets[BUCKETS];
};

/* ---- the timer */

static void set_timer(struct pod_conditions *c, mono_us at)
{
    if (at >= c->timer_at || sd_event_source_set_time(c->timer, at) < 0)
        return;
    if (sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT) >= 0)
        c->timer_at = at;
}

static void set_due(struct report *r, mono_us at)
{
    r->due_at = at;
    if (at != SPAN_FOREVER)
        set_timer(r->conditions, at);
}

/* ---- reports */

/* The kubelet's uids are random. */
static struct report **bucket_of(struct pod_conditions *c, const char *uid)
{
    unsigned hash = 0;

    for (const unsigned char *at = (const unsigned char *)uid; *at != '\0'; at++)
        hash = hash * 31 + *at;
    return &c->buckets[hash % BUCKETS];
}

static struct report *find_report(struct pod_conditions *c, const char *uid)
{
    for (struct report *r = *bucket_of(c, uid); r != NULL; r = r->next)
        if (streq(r->uid, uid))
            return r;
    return NULL;
}

static struct report *report_free(struct report *r)
{
    if (r == NULL)
        return NULL;
    condition_patch_free(r->patch);
    list_remove(&r->link);
    free(r->namespace);
    free(r->pod);
    free(r->uid);
    free(r);
    return NULL;
}
DEFINE_CLEANUP(struct report *, report_free)

static void remove_report(struct report *r)
{
    struct report **at = bucket_of(r->conditions, r->uid);

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    report_free(r);
}

/* Return: NULL when memory is short: the next turn tries again. */
static struct report *add_report(struct pod_conditions *c, const struct node_volume *v)
{
    _cleanup_(report_freep) struct report *r = calloc(1, sizeof(*r));
    struct report **bucket;

    if (r == NULL)
        return NULL;
    r->conditions = c;
    list_append(&c->reports, &r->link);
    r->namespace = strdup(v->namespace);
    r->pod = strdup(v->pod);
    r->uid = strdup(v->pod_uid);
    if (r->namespace == NULL || r->pod == NULL || r->uid == NULL)
        return NULL;
    r->begun_at = r->due_at = clock_mono();
    r->poll = POLL_FIRST;
    bucket = bucket_of(c, r->uid);
    r->next = *bucket;
    *bucket = r;
    return TAKE(r);
}

static bool is_reported(const struct pod_conditions *c, const struct node_volume *v)
{
    enum volume_report report = v->spec->report;
    bool is_wanted = report == VOLUME_REPORT_CONDITION ||
                     (report == VOLUME_REPORT_DEFAULT && c->options.is_default);

    return is_wanted && v->pod != NULL && v->pod_uid != NULL && v->was_mounted;
}

static const struct pod *find_pod(const struct report *r)
{
    const struct node_pods_volume question = {
        .namespace = r->namespace, .pod = r->pod, .pod_uid = r->uid};

    return node_pods_find(r->conditions->options.pods, &question);
}

/* ---- texts */

static bool has_part(const char *text, const char *part)
{
    size_t len = strlen(part);

    for (const char *at = text; (at = strstr(at, part)) != NULL; at += len)
        if (at[len] == '\0' || at[len] == ',')
            return true;
    return false;
}

/*
 * The version in which the bytes that readers get were published: a later one that changed nothing
 * else than metadata is no other content. Return: borrowed.
 */
static const char *shown_version(const struct payload *shown, const struct object_key *key)
{
    for (size_t i = 0; i < shown->n_files; i++) {
        const struct object *object = shown->files[i].object;

        if (object != NULL && object_key_compare(&object->key, key) == 0)
            return object->resource_version;
    }
    return "none";
}

static void describe_objects(const struct node_volume *v,
                             char ret_text[static CONDITION_MESSAGE_SIZE])
{
    const struct published *p = &v->published;
    size_t n = size_min(v->spec->n_sources, VERSIONS_LISTED);
    char part[CONDITION_MESSAGE_SIZE];

    ret_text[0] = '\0';
    for (size_t i = 0; i < n && p->shown != NULL; i++) {
        const struct object_key *key = volume_view(p->volume, i)->key;

        if (key->kind != OBJECT_SECRET && key->kind != OBJECT_CONFIGMAP)
            continue;
        snprintf(part, sizeof(part), "%s/%s/%s@%s", object_kind_word(key->kind), key->namespace,
                 key->name, shown_version(p->shown, key));
        condition_add_part(ret_text, ", ", part);
    }
    if (ret_text[0] == '\0') /* sources that are made of the pod */
        snprintf(ret_text, CONDITION_MESSAGE_SIZE, "%s", PUBLISHED_TEXT(p));
}

struct old_consumers {
    const struct pod *pod;
    char text[CONDITION_MESSAGE_SIZE];
};

/* "container web"; of a container that the pod does not name, its id as runtimes shorten it. */
static void name_consumer(const struct old_consumers *old, const struct identity_group *group,
                          char *ret_name, size_t size)
{
    const char *name = old->pod != NULL ? pod_container_name(old->pod, group->container) : NULL;

    if (name != NULL)
        snprintf(ret_name, size, "container %s", name);
    else if (group->container[0] != '\0')
        snprintf(ret_name, size, "container %.12s", group->container);
    else
        snprintf(ret_name, size, "a process outside of the pod");
}

static void visit_consumer(void *userdata, const struct table_consumer *consumer)
{
    struct old_consumers *old = userdata;
    char name[128];

    if (consumer->state != CONSUMER_OLD)
        return;
    name_consumer(old, &consumer->identity->group, name, sizeof(name));
    if (!has_part(old->text, name))
        condition_add_part(old->text, ", ", name);
}

/* ---- a volume */

/* Whether a container may have opened what was not noted, as it started before the volume did. */
static bool has_earlier_container(const struct pod *pod, const struct node_volume *v,
                                  bool is_adopted)
{
    span_us age = clock_mono() - v->published.started_at;
    struct timespec now = clock_wall();
    int64_t start = now.tv_sec * (int64_t)SPAN_SEC(1) + now.tv_nsec / 1000 - (int64_t)age;

    /* of an adopted volume's pod the watch may not have reported the start yet */
    if (pod->oldest_start == 0)
        return is_adopted;
    return pod->oldest_start < start / (int64_t)SPAN_SEC(1); /* which has whole seconds */
}

static enum condition_gap find_gap(const struct pod *pod, const struct node_volume *v,
                                   unsigned gaps)
{
    const unsigned missed = TABLE_GAP_LOST | TABLE_GAP_FULL | TABLE_GAP_ENDED;

    if ((gaps & missed) != 0)
        return CONDITION_GAP_MISSED;
    if (pod == NULL)
        return CONDITION_GAP_NO_POD;
    if (has_earlier_container(pod, v, (gaps & TABLE_GAP_ADOPTED) != 0))
        return CONDITION_GAP_EARLIER;
    return (gaps & TABLE_GAP_BEHIND) != 0 ? CONDITION_GAP_BEHIND : CONDITION_GAP_NONE;
}

static void add_volume(struct report *r, const struct node_volume *v)
{
    const struct published *p = &v->published;
    struct old_consumers old = {.pod = find_pod(r)};
    char objects[CONDITION_MESSAGE_SIZE];
    struct condition_volume volume = {.objects = objects,
                                      .reader = published_reader_state(p),
                                      .gap = CONDITION_GAP_NOT_NOTED,
                                      .old = old.text};
    unsigned gaps = TABLE_GAP_LOST;
    size_t n_held = 0;

    r->is_pending |= published_is_pending(p);
    describe_objects(v, objects);
    if (p->consumers != NULL && p->directory_id != 0) {
        (void)consumers_visit(p->consumers, p->directory_id, visit_consumer, &old, &gaps, &n_held);
        volume.gap = find_gap(old.pod, v, gaps);
        volume.has_held_files = n_held > 0 || publisher_volume_state(p->publisher).n_old > 0;
    }
    condition_add(&r->condition, &volume);
}

/* ---- writing */

/* Take over what the pod has. Return: whether it is known, or will not be. */
static bool learn_known(struct report *r, mono_us now)
{
    const struct pod *pod = find_pod(r);

    if (r->has_known)
        return true;
    r->has_known = pod != NULL || now - r->begun_at >= POD_PATIENCE;
    if (pod == NULL)
        return r->has_known;
    snprintf(r->known.status, sizeof(r->known.status), "%s", pod->condition.status);
    snprintf(r->known.reason, sizeof(r->known.reason), "%s", pod->condition.reason);
    snprintf(r->known.message, sizeof(r->known.message), "%s", pod->condition.message);
    snprintf(r->known.last_transition, sizeof(r->known.last_transition), "%s",
             pod->condition.last_transition);
    return true;
}

static void count(const struct report *r, enum condition_patch_result result)
{
    node_metrics_count_condition(r->conditions->options.metrics,
                                 condition_patch_result_name(result));
}

static void on_written(void *userdata, enum condition_patch_result result)
{
    struct report *r = userdata;

    r->patch = NULL; /* it was freed */
    count(r, result);
    r->is_gone = result == CONDITION_PATCH_GONE;
    if (result == CONDITION_PATCH_WRITTEN)
        r->known = r->written;
    set_due(r, clock_mono() + (result == CONDITION_PATCH_FAILED ? FAILED_RETRY : 0));
}

static void write_condition(struct report *r, mono_us now)
{
    struct pod_conditions *c = r->conditions;
    const struct condition_patch_pod pod = {
        .namespace = r->namespace, .name = r->pod, .uid = r->uid};
    int result = node_api_open(c->options.api, NULL);

    list_remove(&r->link);
    list_append(&c->reports, &r->link);
    r->written = r->known;
    condition_note_written(&r->written, &r->condition, clock_wall());
    if (result == 0)
        result = condition_patches_write(c->patches, c->options.api->source, &pod, &r->written, r,
                                         now, &r->patch);
    if (result == 0)
        return; /* on_written() follows */
    count(r, result == -EAGAIN ? CONDITION_PATCH_DEFERRED : CONDITION_PATCH_FAILED);
    set_due(r, now + (result == -EAGAIN ? DEFERRED_RETRY : FAILED_RETRY));
}

/* The interval grows while nothing changes. */
static void poll_later(struct report *r, mono_us now)
{
    if (r->is_pending || condition_needs_polling(&r->condition)) {
        set_due(r, now + r->poll);
        r->poll = r->poll * 2 < POLL_LAST ? r->poll * 2 : POLL_LAST;
    }
}

static void act(struct report *r, mono_us now)
{
    const struct pod *pod = find_pod(r);
    span_us delay;

    set_due(r, SPAN_FOREVER);
    if (r->patch != NULL || r->is_gone)
        return; /* on_written() makes it due */
    if (!learn_known(r, now)) {
        set_due(r, now + POLL_FIRST);
        return;
    }
    condition_keep_proof(&r->condition, &r->known);
    if (r->since == 0 || r->pending != r->condition.reason)
        r->since = now;
    r->pending = r->condition.reason;
    delay = condition_delay(&r->condition, &r->known, pod != NULL && pod->is_deleted);
    if (delay == SPAN_FOREVER)
        poll_later(r, now);
    else if (now - r->since >= delay)
        write_condition(r, now);
    else
        set_due(r, r->since + delay);
}

/* ---- turns */

static void begin_turn(struct pod_conditions *c, mono_us now)
{
    struct report *r;
    size_t n = 0;

    list_for_each (r, &c->reports, link) {
        r->is_mounted = false;
        r->is_turn = r->due_at <= now && n < REPORTS_A_TURN;
        if (!r->is_turn)
            continue;
        n++;
        r->is_pending = false;
        r->condition = (struct condition){.has_volumes = false};
    }
}

static bool visit_volume(void *userdata, struct node_volume *v)
{
    struct pod_conditions *c = userdata;
    struct report *r;

    if (!is_reported(c, v))
        return true;
    r = find_report(c, v->pod_uid);
    if (r == NULL)
        r = add_report(c, v);
    if (r == NULL)
        return true;
    r->is_mounted = true;
    if (r->is_turn)
        add_volume(r, v);
    return true;
}

/* A report that was added has its turn next. */
static void end_turn(struct pod_conditions *c, mono_us now)
{
    struct report *r, *tmp;

    list_for_each_safe (r, tmp, &c->reports, link) {
        bool is_turn = r->is_turn;

        r->is_turn = false; /* act() may move it to the end */
        if (!r->is_mounted)
            remove_report(r);
        else if (is_turn)
            act(r, now);
        else
            set_due(r, r->due_at);
    }
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct pod_conditions *c = userdata;
    mono_us now = clock_mono();

    c->timer_at = SPAN_FOREVER;
    begin_turn(c, now);
    node_volumes_visit(c->options.volumes, visit_volume, c);
    end_turn(c, now);
    return 0;
}

void pod_conditions_check(struct pod_conditions *conditions, const struct node_volume *volume)
{
    struct report *r = NULL;

    if (volume != NULL && !is_reported(conditions, volume))
        return;
    if (volume != NULL)
        r = find_report(conditions, volume->pod_uid);
    if (r != NULL) {
        r->poll = POLL_FIRST;
        r->due_at = 0;
    }
    set_timer(conditions, clock_mono() + TURN_AFTER);
}

/* ---- the object */

int pod_conditions_new(sd_event *event, const struct pod_conditions_options *options,
                       struct pod_conditions **ret_conditions)
{
    _cleanup_(pod_conditions_freep) struct pod_conditions *c = calloc(1, sizeof(*c));
    const struct condition_patches_options patches = {.calls = options->api->calls,
                                                      .done = on_written};
    int r = c != NULL ? 0 : -ENOMEM;

    if (r < 0)
        return r;
    c->options = *options;
    c->timer_at = SPAN_FOREVER;
    list_init(&c->reports);
    r = condition_patches_new(&patches, &c->patches);
    if (r == 0)
        r = sd_event_add_time(event, &c->timer, CLOCK_MONOTONIC, 0, TIMER_SLACK, on_timer, c);
    if (r >= 0)
        r = sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret_conditions = TAKE(c);
    return 0;
}

struct pod_conditions *pod_conditions_free(struct pod_conditions *conditions)
{
    if (conditions == NULL)
        return NULL;
    while (!list_is_empty(&conditions->reports))
        remove_report(list_entry(conditions->reports.next, struct report, link));
    condition_patches_free(conditions->patches);
    sd_event_source_disable_unref(conditions->timer);
    free(conditions);
    return NULL;
}

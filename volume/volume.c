/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     WAITING --> CURRENT <--> STALE        WAITING: no payload yet
 *         \------------------> STALE
 *
 * A volume promises that a payload, once shown, stays until a newer one replaces it: each error
 * after the first payload leaves that payload in place (G7, G8, G10, G15). Only files of optional
 * objects are removed (G9).
 *
 * Each source of the spec is a member with a subscription of its own. When one of them changes the
 * payload is computed again from all of them; one with the same paths and bytes is not reported
 * (E1 to E3).
 *
 * What a member shows is member.c's: the newest object, or an older one while `tls: hold`, `check`,
 * the object's annotations or an order of the node's administrator hold the newest. Other sources
 * are updated meanwhile. volume_show_due() looks for members whose turn has come.
 *
 * With a command in `check` the files as a whole are a candidate first (candidate.c), and the
 * payload stays until the command accepts them. What it accepts while newer content waits is shown
 * as well, unless it has since become wrong to show (is_outdated()).
 *
 * With `onRevoked: remove` the files of an object that we may not read any more go at once, also
 * while a check or an order holds the others.
 */
#include "volume/volume.h"

#include "base/log.h"

struct volume {
    const struct volume_spec *spec; /* borrowed */
    const struct volume_callbacks *callbacks;
    void *userdata;
    struct member_volume of_members; /* what they know of the volume */
    struct member *members;          /* one for each source */
    bool is_starting;                /* not all of them are subscribed yet */
    struct payload *adopted; /* of an earlier process, until the first of this one; or NULL */
    struct payload *payload; /* the last good one, NULL before the first */
    struct candidate candidate;
    enum volume_state state;
    int result; /* of the last projection: 0, VOLUME_INCOMPLETE, -errno */
    struct kept_error error;
};

static const struct {
    const char *name;
    unsigned next; /* a bit for each state that may follow */
} states[] = {
    [VOLUME_WAITING] = {"waiting", 1u << VOLUME_CURRENT | 1u << VOLUME_STALE},
    [VOLUME_CURRENT] = {"current", 1u << VOLUME_STALE},
    [VOLUME_STALE] = {"stale", 1u << VOLUME_CURRENT},
};

const char *volume_state_name(enum volume_state state)
{
    assert(state < ELEMENTS_OF(states));
    return states[state].name;
}

static void volume_move(struct volume *v, enum volume_state state)
{
    assert(state == v->state || (states[v->state].next & 1u << state) != 0);
    v->state = state;
}

/* ---- the payload */

/* Return: 0; -EINVAL if an object is held back and no older one can be shown. @e: why, in both. */
static int check_held_back(struct volume *v, struct error *e)
{
    int r = 0;

    for (size_t i = 0; i < v->spec->n_sources; i++) {
        const struct member *m = &v->members[i];
        struct error problem = ERROR_INIT;

        if (m->hold == HOLD_NONE)
            continue;
        member_explain_hold(m, &problem);
        error_set(e, -EINVAL, "%s is held back: %s",
                  object_key_text(&m->object->key, (char[OBJECT_KEY_TEXT_SIZE]){""}), problem.text);
        if (m->shown == NULL)
            r = -EINVAL;
    }
    return r;
}

/* @newest: of the newest objects, also of those that are held back */
static int project_objects(struct volume *v, bool newest, struct payload **ret_payload,
                           struct error *e)
{
    size_t n = v->spec->n_sources;
    _cleanup_(freep) struct store_view *views = calloc(n + 1, sizeof(*views));
    _cleanup_(freep) const struct store_view **all =
        calloc(n + 1, sizeof(const struct store_view *));

    if (views == NULL || all == NULL)
        return error_set_errno(e, -ENOMEM, "cannot compute the volume's files");
    for (size_t i = 0; i < n; i++) {
        views[i] = *volume_view(v, i);
        views[i].object = newest ? v->members[i].object : v->members[i].shown;
        views[i].refusal = v->members[i].is_revoked ? STORE_REVOKED : STORE_NOT_REFUSED;
        all[i] = &views[i];
    }
    return volume_spec_project(v->spec, all, ret_payload, e);
}

/* @e: empty; on success why a newer object is not shown, if so */
static int project(struct volume *v, struct payload **ret_payload, struct error *e)
{
    struct error held = ERROR_INIT;
    int r = check_held_back(v, &held);

    if (r == 0)
        r = project_objects(v, false, ret_payload, e);
    if (r >= 0 || e->text[0] == '\0')
        *e = held;
    return r;
}

/* ---- checks by a command */

/* Of candidate.running, which is refused if there is no check of it. */
static void start_check(struct volume *v, mono_us now)
{
    struct candidate *c = &v->candidate;
    struct payload *none;
    struct error e = ERROR_INIT;

    if (v->callbacks->check(v->userdata, c->running, &e) < 0)
        candidate_end(c, c->running, VOLUME_NOT_CHECKED, e.text, now, &none);
}

static bool may_show(const struct volume *v, const struct object *object)
{
    for (size_t i = 0; i < v->spec->n_sources; i++)
        if (object_key_compare(volume_view(v, i)->key, &object->key) == 0 &&
            member_may_show(&v->members[i], object))
            return true;
    return false;
}

/*
 * Whether content that is being checked must not be shown any more, although it may pass: since it
 * was offered one of its objects was deleted, revoked, paused or undone.
 */
static bool is_outdated(const struct volume *v, const struct payload *payload)
{
    const struct object *last = NULL;

    for (size_t i = 0; i < payload->n_files; i++) {
        const struct object *object = payload->files[i].object;

        if (object != last && !may_show(v, object))
            return true;
        last = object;
    }
    return false;
}

static bool is_revoked(const struct volume *v, const struct object *object)
{
    for (size_t i = 0; i < v->spec->n_sources; i++)
        if (v->members[i].is_revoked &&
            object_key_compare(volume_view(v, i)->key, &object->key) == 0)
            return true;
    return false;
}

/* @ret_payload: @shown without files of revoked objects. Return: 0; -ENOMEM with @e. */
static int project_allowed(const struct volume *v, const struct payload *shown,
                           struct payload **ret_payload, struct error *e)
{
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    int r = payload_builder_new(&builder);

    if (r < 0)
        return error_set_errno(e, r, "cannot compute the volume's files");
    for (size_t i = 0; i < shown->n_files && r == 0; i++) {
        const struct payload_file *file = &shown->files[i];
        const struct object_entry entry = {.bytes = file->bytes, .len = file->len};

        if (!is_revoked(v, file->object))
            r = payload_builder_add(builder, file->path, file->object, &entry, &file->attributes,
                                    e);
    }
    return r == 0 ? payload_builder_finish(builder, ret_payload, e) : r;
}

static bool has_revoked(const struct volume *v, const struct payload *shown)
{
    for (size_t i = 0; i < shown->n_files; i++)
        if (is_revoked(v, shown->files[i].object))
            return true;
    return false;
}

/* At once, also while the rest is held. Return: 0; -ENOMEM with @e. */
static int remove_revoked(struct volume *v, mono_us received_at, struct error *e)
{
    struct payload **shown = v->payload != NULL ? &v->payload : &v->adopted;
    struct payload *allowed = NULL;
    int r;

    if (*shown == NULL || !has_revoked(v, *shown))
        return 0;
    r = project_allowed(v, *shown, &allowed, e);
    if (r < 0)
        return r;
    payload_unref(*shown);
    *shown = allowed;
    v->callbacks->payload(v->userdata, allowed, received_at);
    return 0;
}

static bool is_shown(const struct volume *v, const struct payload *payload)
{
    const struct payload *shown = v->payload != NULL ? v->payload : v->adopted;

    return shown != NULL && payload_same_content(shown, payload);
}

static int explain_check(const struct volume *v, struct error *e)
{
    const char *older = kept_error_text(&v->candidate.reason);

    return error_set(e, VOLUME_INCOMPLETE, "the files are held back: command:%s checks them%s%s",
                     v->spec->check_command, older[0] != '\0' ? "; for those before it " : "",
                     older);
}

/* Return: 0: show it; VOLUME_INCOMPLETE: it is being checked; -EINVAL: refused. @e: why not. */
static int check_candidate(struct volume *v, struct payload *payload, mono_us received_at,
                           struct error *e)
{
    struct candidate *c = &v->candidate;

    if (v->spec->check_command == NULL || is_shown(v, payload)) {
        candidate_drop(c);
        return 0;
    }
    candidate_offer(c, payload, received_at);
    if (candidate_begin(c))
        start_check(v, clock_mono());
    if (c->state == CANDIDATE_CHECKING)
        return explain_check(v, e);
    if (c->state == CANDIDATE_REFUSED)
        return error_set(e, -EINVAL, "the files are held back: command:%s %s",
                         v->spec->check_command, kept_error_text(&c->reason));
    candidate_drop(c);
    return 0;
}

/* The earlier process had shown the update: nothing is staged, and nothing undone. */
static void show_what_was_adopted(struct volume *v)
{
    _cleanup_(payload_unrefp) struct payload *payload = NULL;
    struct error ignored = ERROR_INIT;

    if (project_objects(v, true, &payload, &ignored) != 0 ||
        !payload_same_content(v->adopted, payload))
        return;
    for (size_t i = 0; i < v->spec->n_sources; i++)
        member_show_adopted(&v->members[i]);
}

/* Names the first source: a volume has no name of its own in this room. */
static void volume_trace(const struct volume *v, const char *outcome)
{
    log_trace(LOG_TRACE_VOLUME, outcome, "source",
              v->spec->n_sources > 0 ? v->spec->sources[0].name : NULL, "sources",
              LOG_NUM(v->spec->n_sources), "state", volume_state_name(v->state), "error",
              v->error.owned);
}

static void set_payload(struct volume *v, struct payload *payload_consumed, mono_us received_at)
{
    v->adopted = payload_unref(v->adopted);
    payload_unref(v->payload);
    v->payload = payload_consumed;
    v->of_members.is_adopted = false;
    v->of_members.is_shown = true;
    v->callbacks->payload(v->userdata, v->payload, received_at);
}

static struct object *find_object(const struct payload *payload, const struct object_key *key)
{
    for (size_t i = 0; i < payload->n_files; i++)
        if (object_key_compare(&payload->files[i].object->key, key) == 0)
            return payload->files[i].object;
    return NULL;
}

/* Content that was accepted, while newer content waits. */
static void show_older(struct volume *v, struct payload *payload_consumed, mono_us received_at,
                       mono_us now)
{
    for (size_t i = 0; i < v->spec->n_sources; i++) {
        struct object *object = find_object(payload_consumed, volume_view(v, i)->key);

        if (object != NULL)
            member_note_passed(&v->members[i], object, now);
    }
    volume_move(v, VOLUME_STALE);
    set_payload(v, payload_consumed, received_at);
}

/* Compute the payload again; pass it on if its content differs from the last one's (E1 to E3). */
static void volume_update(struct volume *v, mono_us received_at)
{
    _cleanup_(payload_unrefp) struct payload *payload = NULL;
    struct error e = ERROR_INIT;

    if (v->adopted != NULL)
        show_what_was_adopted(v);
    if (v->candidate.running != NULL && is_outdated(v, v->candidate.running))
        candidate_cancel(&v->candidate);
    v->result = remove_revoked(v, received_at, &e);
    if (v->result == 0)
        v->result = project(v, &payload, &e);
    if (v->result == 0)
        v->result = check_candidate(v, payload, received_at, &e);
    else
        candidate_withdraw(&v->candidate);
    kept_error_set(&v->error, e.text);
    if (v->result != 0) {
        volume_move(v, v->payload != NULL ? VOLUME_STALE : VOLUME_WAITING);
        volume_trace(v, v->result < 0 ? "payload refused" : "payload incomplete");
        return;
    }
    volume_move(v, e.text[0] == '\0' ? VOLUME_CURRENT : VOLUME_STALE);
    for (size_t i = 0; i < v->spec->n_sources; i++)
        member_note_passed(&v->members[i], v->members[i].shown, clock_mono());
    if (v->payload != NULL && payload_same_content(v->payload, payload)) {
        volume_trace(v, "payload unchanged");
        return;
    }
    volume_trace(v, "payload changed");
    assert(payload != NULL && v->state != VOLUME_WAITING);
    set_payload(v, TAKE(payload), received_at);
}

/* All of them, as two sources may name the same object (N6). Return: whether one has changed. */
static bool members_update(struct volume *v, mono_us now)
{
    bool is_changed = false;

    for (size_t i = 0; i < v->spec->n_sources; i++)
        is_changed |= member_update(&v->members[i], now);
    return is_changed;
}

static void on_store_changed(void *userdata, const struct store_view *view)
{
    struct volume *v = userdata;

    if (v->is_starting)
        return;
    /* why an object is missing may have become known since */
    if (members_update(v, clock_mono()) || v->result == -ENOENT)
        volume_update(v, view->received_at);
    v->callbacks->state(v->userdata);
}

/* ---- the volume */

static int subscribe_all(struct volume *v, const struct volume_options *options, struct error *e)
{
    for (size_t i = 0; i < v->spec->n_sources; i++) {
        const struct volume_source *source = &v->spec->sources[i];
        const struct object_key key = {
            .kind = source->kind,
            .namespace = object_kind_is_namespaced(source->kind) ? options->namespace : "",
            .name = source->name,
            .detail = source->detail};
        bool is_stored = object_kind_is_stored(source->kind);
        int r;

        assert(is_stored || (options->pods != NULL && source->detail != NULL));
        r = store_subscribe(is_stored ? options->store : options->pods, &key, on_store_changed, v,
                            &v->members[i].subscription, e);
        if (r < 0)
            return r;
        if (v->spec->removes_revoked && is_stored)
            store_check_rights(v->members[i].subscription);
    }
    return 0;
}

/* Read all objects for the first time; the source may have answered already. */
static void volume_start(struct volume *v)
{
    mono_us received_at = 0;

    assert(v->is_starting && v->payload == NULL);
    v->is_starting = false;
    members_update(v, clock_mono());
    for (size_t i = 0; i < v->spec->n_sources; i++) {
        const struct store_view *view = volume_view(v, i);

        received_at = view->received_at > received_at ? view->received_at : received_at;
    }
    volume_update(v, received_at != 0 ? received_at : clock_mono());
    v->callbacks->state(v->userdata);
}

/* Return: 0 or -ENOMEM. */
static int make_members(struct volume *v, const struct volume_adopted *adopted)
{
    size_t n = v->spec->n_sources;

    v->members = calloc(n + 1, sizeof(*v->members));
    if (v->members == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        v->members[i].volume = &v->of_members;
        v->members[i].source = &v->spec->sources[i];
        if (v->adopted != NULL && adopted->orders != NULL)
            v->members[i].order = adopted->orders[i];
    }
    return 0;
}

int volume_new(const struct volume_options *options, const struct volume_callbacks *callbacks,
               void *userdata, struct volume **ret_volume, struct error *e)
{
    _cleanup_(volume_freep) struct volume *v = calloc(1, sizeof(*v));
    struct payload *adopted = options->adopted.payload;
    int r;

    if (v == NULL)
        return error_set_errno(e, -ENOMEM, "cannot set the volume up");
    v->spec = options->spec;
    v->callbacks = callbacks;
    v->userdata = userdata;
    v->is_starting = true;
    v->adopted = adopted != NULL ? payload_ref(adopted) : NULL;
    v->of_members = (struct member_volume){.spec = options->spec,
                                           .who = options->who,
                                           .labels = callbacks->labels,
                                           .userdata = userdata,
                                           .is_adopted = adopted != NULL,
                                           .is_shown = adopted != NULL,
                                           .keeps_previous = options->keeps_previous};
    if (make_members(v, &options->adopted) < 0)
        return error_set_errno(e, -ENOMEM, "cannot set the volume up");
    r = subscribe_all(v, options, e);
    if (r < 0)
        return r;
    volume_start(v);
    *ret_volume = TAKE(v);
    return 0;
}

struct volume *volume_free(struct volume *volume)
{
    if (volume == NULL)
        return NULL;
    for (size_t i = 0; volume->members != NULL && i < volume->spec->n_sources; i++) {
        struct member *m = &volume->members[i];

        m->subscription = store_unsubscribe(m->subscription);
        member_clear(m);
    }
    free(volume->members);
    payload_unref(volume->adopted);
    payload_unref(volume->payload);
    candidate_drop(&volume->candidate);
    kept_error_clear(&volume->error);
    free(volume);
    return NULL;
}

void volume_checked(struct volume *volume, const struct payload *payload,
                    enum volume_verdict verdict, const char *reason, mono_us now)
{
    struct candidate *c = &volume->candidate;
    mono_us received_at = c->running_received_at;
    struct payload *older;

    if (!candidate_end(c, payload, verdict, reason, now, &older))
        return;
    if (older != NULL)
        show_older(volume, older, received_at, now);
    volume_update(volume, c->state != CANDIDATE_NONE ? c->received_at : now);
    volume->callbacks->state(volume->userdata);
}

bool volume_has_candidate(const struct volume *volume)
{
    return volume->candidate.state != CANDIDATE_NONE;
}

bool volume_is_checking(const struct volume *volume)
{
    return volume->candidate.state == CANDIDATE_CHECKING;
}

enum volume_state volume_state(const struct volume *volume)
{
    return volume->state;
}

const char *volume_error(const struct volume *volume)
{
    const struct store_view *worst = volume_least_healthy_source(volume);

    if (volume->error.owned != NULL || worst == NULL)
        return kept_error_text(&volume->error);
    return kept_error_text(&worst->source_error);
}

bool volume_is_refused(const struct volume *volume)
{
    return volume->result < 0;
}

bool volume_find_missing(const struct volume *volume, struct missing *ret_missing)
{
    for (size_t i = 0; i < volume->spec->n_sources; i++)
        if (missing_of_volume_source(&volume->spec->sources[i], volume_view(volume, i),
                                     ret_missing))
            return true;
    return false;
}

bool volume_is_held(const struct volume *volume)
{
    if (volume_has_candidate(volume))
        return true;
    for (size_t i = 0; i < volume->spec->n_sources; i++)
        if (volume->members[i].hold != HOLD_NONE)
            return true;
    return false;
}

bool volume_is_staged(const struct volume *volume)
{
    bool is_staged = volume_is_checking(volume);

    if (volume_has_candidate(volume) && volume->candidate.reason.owned != NULL)
        return false;
    for (size_t i = 0; i < volume->spec->n_sources; i++) {
        enum member_hold hold = volume->members[i].hold;

        if (hold != HOLD_NONE && hold != HOLD_STAGED)
            return false;
        is_staged = is_staged || hold == HOLD_STAGED;
    }
    return is_staged &&
           (volume->result == 0 || volume_is_checking(volume) || volume->adopted != NULL);
}

mono_us volume_due_at(const struct volume *volume)
{
    mono_us due = candidate_due(&volume->candidate);

    for (size_t i = 0; i < volume->spec->n_sources; i++) {
        mono_us member_due = member_due_at(&volume->members[i]);

        due = member_due < due ? member_due : due;
    }
    return due;
}

void volume_show_due(struct volume *volume, mono_us now)
{
    bool is_changed = false;

    if (candidate_check_again(&volume->candidate, now))
        start_check(volume, now);
    for (size_t i = 0; i < volume->spec->n_sources; i++)
        is_changed |= member_show_due(&volume->members[i], now);
    if (!is_changed)
        return;
    volume_update(volume, now);
    volume->callbacks->state(volume->userdata);
}

void volume_labels_changed(struct volume *volume, mono_us now)
{
    bool is_concerned = false;

    for (size_t i = 0; i < volume->spec->n_sources; i++) {
        struct member *m = &volume->members[i];

        if (m->hold != HOLD_STAGED || m->object->staging.first_selector == NULL)
            continue;
        member_show(m, now);
        is_concerned = true;
    }
    if (!is_concerned)
        return;
    volume_update(volume, now); /* also as the reason may be another one */
    volume->callbacks->state(volume->userdata);
}

/* ---- orders */

/* The order of source @i has changed. */
static void on_ordered(struct volume *v, size_t i, mono_us now)
{
    if (v->members[i].object != NULL)
        volume_update(v, now);
    v->callbacks->state(v->userdata);
}

/* Readers keep what they get: not what a command still checks, or has refused. */
static void drop_candidate(struct volume *v, size_t i)
{
    struct member *m = &v->members[i];

    if (!volume_has_candidate(v) || (m->passed == NULL && v->adopted == NULL))
        return;
    object_unref(m->shown);
    m->shown = m->passed != NULL ? object_ref(m->passed) : NULL;
}

void volume_pause(struct volume *volume, size_t i, mono_us now)
{
    assert(i < volume->spec->n_sources);
    drop_candidate(volume, i);
    member_order(&volume->members[i], VOLUME_ORDER_PAUSED, now);
    on_ordered(volume, i, now);
}

void volume_resume(struct volume *volume, size_t i, mono_us now)
{
    assert(i < volume->spec->n_sources);
    member_order(&volume->members[i], VOLUME_ORDER_NONE, now);
    on_ordered(volume, i, now);
}

int volume_undo(struct volume *volume, size_t i, mono_us now)
{
    int r;

    assert(i < volume->spec->n_sources);
    r = member_undo(&volume->members[i], now);
    if (r == 0)
        on_ordered(volume, i, now);
    return r;
}

struct volume_kept_order volume_order(const struct volume *volume, size_t i)
{
    assert(i < volume->spec->n_sources);
    return volume->members[i].order;
}

unsigned volume_order_changes(const struct volume *volume)
{
    return volume->of_members.n_order_changes;
}

const struct object *volume_shown_object(const struct volume *volume, size_t i)
{
    assert(i < volume->spec->n_sources);
    return volume->members[i].shown;
}

bool volume_has_answer(const struct volume *volume)
{
    if (volume->result != VOLUME_INCOMPLETE)
        return true;
    if (volume_is_checking(volume))
        return false;
    for (size_t i = 0; i < volume->spec->n_sources; i++) {
        const struct store_view *view = volume_view(volume, i);

        if (view->presence == STORE_UNKNOWN && view->source_state != STORE_SOURCE_FAILING)
            return false;
    }
    return true;
}

const struct store_view *volume_view(const struct volume *volume, size_t i)
{
    assert(i < volume->spec->n_sources);
    return store_peek(volume->members[i].subscription);
}

const struct tls_pair *volume_tls(const struct volume *volume, size_t i)
{
    const struct member *m = &volume->members[i];

    assert(i < volume->spec->n_sources);
    return m->object != NULL && tls_is_pair(m->object) ? &m->tls : NULL;
}

/* STARTING is worse than LIVE: what it will be is unknown. */
static unsigned severity(enum store_source_state state)
{
    static const unsigned ranks[] = {
        [STORE_SOURCE_LIVE] = 0, [STORE_SOURCE_STARTING] = 1, [STORE_SOURCE_FAILING] = 2};

    return ranks[state];
}

const struct store_view *volume_least_healthy_source(const struct volume *volume)
{
    const struct store_view *worst = NULL;

    for (size_t i = 0; i < volume->spec->n_sources; i++) {
        const struct store_view *view = volume_view(volume, i);

        if (worst == NULL || severity(view->source_state) > severity(worst->source_state))
            worst = view;
    }
    return worst;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume.h"

struct volume {
    struct volume_spec spec;
    struct object_key *key; /* owned; the strings of spec.object */
    const struct volume_callbacks *callbacks;
    void *userdata;
    struct store_subscription *subscription;
    struct object *object; /* the one that payload was computed from, or that failed to give one */
    struct payload *payload; /* the last good one, NULL before the first */
    enum volume_state state;
    struct error error;
};

static const char *const state_names[] = {
    [VOLUME_WAITING] = "waiting", [VOLUME_CURRENT] = "current", [VOLUME_STALE] = "stale"};

const char *volume_state_name(enum volume_state state)
{
    return state_names[state];
}

/* Compute the payload of a new object; pass it on if there is anything new in it (E). */
static void volume_project(struct volume *v, const struct store_view *view)
{
    _cleanup_(payload_unrefp) struct payload *payload = NULL;
    int r;

    (void)object_unref(v->object);
    v->object = object_ref(view->object);
    v->error = ERROR_INIT;
    r = volume_spec_project(&v->spec, view->object, &payload, &v->error);
    if (r < 0) {
        v->state = v->payload != NULL ? VOLUME_STALE : VOLUME_WAITING;
        return;
    }
    v->state = VOLUME_CURRENT;
    if (v->payload != NULL && payload_same_content(v->payload, payload))
        return;
    (void)payload_unref(v->payload);
    v->payload = TAKE(payload);
    v->callbacks->payload(v->userdata, v->payload, view->received_at);
}

static void volume_object_absent(struct volume *v)
{
    char text[OBJECT_KEY_TEXT_SIZE];

    (void)error_set(&v->error, -ENOENT, "%s does not exist",
                    object_key_text(&v->spec.object, text));
    v->state = v->payload != NULL ? VOLUME_STALE : VOLUME_WAITING;
    /* should it come back with the very same content, it is looked at again */
    v->object = object_unref(v->object);
}

static void on_store_changed(void *userdata, const struct store_view *view)
{
    struct volume *v = userdata;

    if (view->presence == STORE_ABSENT)
        volume_object_absent(v);
    else if (view->presence == STORE_PRESENT && view->object != v->object)
        volume_project(v, view);
    v->callbacks->state(v->userdata);
}

int volume_new(struct store *store, const struct volume_spec *spec,
               const struct volume_callbacks *callbacks, void *userdata, struct volume **ret_volume,
               struct error *e)
{
    _cleanup_(volume_freep) struct volume *v = calloc(1, sizeof(*v));
    int r;

    if (v == NULL)
        return error_set_errno(e, -ENOMEM, "cannot set the volume up");
    v->key = object_key_dup(&spec->object);
    if (v->key == NULL)
        return error_set_errno(e, -ENOMEM, "cannot set the volume up");
    v->spec = *spec;
    v->spec.object = *v->key;
    v->callbacks = callbacks;
    v->userdata = userdata;
    r = store_subscribe(store, &v->spec.object, on_store_changed, v, &v->subscription, e);
    if (r < 0)
        return r;
    *ret_volume = TAKE(v);
    return 0;
}

struct volume *volume_free(struct volume *volume)
{
    if (volume == NULL)
        return NULL;
    volume->subscription = store_unsubscribe(volume->subscription);
    (void)object_unref(volume->object);
    (void)payload_unref(volume->payload);
    free(volume->key);
    free(volume);
    return NULL;
}

enum volume_state volume_state(const struct volume *volume)
{
    return volume->state;
}

const char *volume_error(const struct volume *volume)
{
    const struct store_view *view = volume_view(volume);

    if (volume->error.text[0] != '\0')
        return volume->error.text;
    return view->source_error.text;
}

const struct store_view *volume_view(const struct volume *volume)
{
    return store_peek(volume->subscription);
}

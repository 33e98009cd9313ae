/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     WAITING --> CURRENT <--> STALE
 *
 * The first env is computed when the source has answered about each object: before that it is not
 * known whether an optional one is missing. Then each change of an object computes it again, and an
 * env with the same names and values is not reported. As with a volume, an error after the first
 * env leaves that env in place (G8, G10). Files are read each time, as a kubelet reads them each
 * time it creates the container (Y35).
 */
#include "volume/environment.h"

#include "volume/env_file.h"

/* One object, however many variables it provides. */
struct followed {
    struct environment *environment;
    enum object_kind kind;
    const char *name; /* borrowed from the spec */
    struct store_subscription *subscription;
};

struct environment {
    const struct env_spec *spec;
    const char *namespace;
    const struct environment_callbacks *callbacks;
    void *userdata;
    struct followed *objects;
    size_t n_objects;
    bool is_complete; /* all subscriptions are made */
    bool lacks_file;  /* the last computation failed because of a file */
    struct env *env;  /* the last good one */
    enum environment_state state;
    struct error error;
};

static struct followed *find_followed(const struct environment *n, enum object_kind kind,
                                      const char *name)
{
    for (size_t i = 0; i < n->n_objects; i++)
        if (n->objects[i].kind == kind && streq(n->objects[i].name, name))
            return &n->objects[i];
    return NULL;
}

static const struct store_view *view_of(const struct followed *object)
{
    return store_peek(object->subscription);
}

/* A deleted object counts as absent, although the store keeps it (G9). */
static struct object *look_up(void *userdata, enum object_kind kind, const char *name)
{
    const struct followed *object = find_followed(userdata, kind, name);
    const struct store_view *view;

    assert(object != NULL); /* collect_objects() has all objects of the spec */
    view = view_of(object);
    return view->presence == STORE_PRESENT ? view->object : NULL;
}

static int read_file(void *userdata, const struct env_source *source, struct buf *text,
                     struct error *e)
{
    return env_file_load(source->directory, source->path, text, e);
}

static const unsigned next_states[] = {
    [ENVIRONMENT_WAITING] = 1u << ENVIRONMENT_CURRENT,
    [ENVIRONMENT_CURRENT] = 1u << ENVIRONMENT_STALE,
    [ENVIRONMENT_STALE] = 1u << ENVIRONMENT_CURRENT,
};

static void environment_move(struct environment *n, enum environment_state state)
{
    assert(state == n->state || (next_states[n->state] & 1u << state) != 0);
    n->state = state;
}

/* Add why the source may lack an object, such as an invalid manifest. */
static void explain_missing(struct environment *n)
{
    const struct error missing = n->error;

    for (size_t i = 0; i < n->n_objects; i++) {
        const struct store_view *view = view_of(&n->objects[i]);

        if (view->presence != STORE_ABSENT || kept_error_text(&view->source_error)[0] == '\0')
            continue;
        error_set(&n->error, -ENOENT, "%s; %s", missing.text, kept_error_text(&view->source_error));
        return;
    }
}

static void environment_compute(struct environment *n)
{
    const struct env_lookup lookup = {.object = look_up, .file = read_file, .userdata = n};
    _cleanup_(env_freep) struct env *env = NULL;
    int r;

    assert(n->is_complete);
    n->error = ERROR_INIT;
    r = env_compute(n->spec, n->namespace, &lookup, &env, &n->error);
    n->lacks_file = r == -EBADMSG;
    if (r == -ENOENT)
        explain_missing(n);
    if (r < 0) {
        environment_move(n, n->env != NULL ? ENVIRONMENT_STALE : ENVIRONMENT_WAITING);
        return;
    }
    environment_move(n, ENVIRONMENT_CURRENT);
    if (n->env != NULL && env_is_same(n->env, env))
        return;
    env_free(n->env);
    n->env = TAKE(env);
    n->callbacks->changed(n->userdata);
}

static bool all_are_known(const struct environment *n)
{
    for (size_t i = 0; i < n->n_objects; i++)
        if (view_of(&n->objects[i])->presence == STORE_UNKNOWN)
            return false;
    return true;
}

static void environment_update(struct environment *n)
{
    if (!n->is_complete)
        return;
    if (all_are_known(n))
        environment_compute(n);
    n->callbacks->state(n->userdata);
}

static void on_store_changed(void *userdata, const struct store_view *view)
{
    const struct followed *object = userdata;

    environment_update(object->environment);
}

/* The array is complete and does not move later: subscriptions point into it. */
static int collect_objects(struct environment *n)
{
    n->objects = calloc(n->spec->n_sources + 1, sizeof(*n->objects));
    if (n->objects == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n->spec->n_sources; i++) {
        const struct env_source *source = &n->spec->sources[i];

        if (source->object_name == NULL ||
            find_followed(n, source->object_kind, source->object_name) != NULL)
            continue;
        n->objects[n->n_objects++] = (struct followed){
            .environment = n, .kind = source->object_kind, .name = source->object_name};
    }
    return 0;
}

static int subscribe_all(struct environment *n, struct store *store, struct error *e)
{
    for (size_t i = 0; i < n->n_objects; i++) {
        const struct object_key key = {
            .kind = n->objects[i].kind, .namespace = n->namespace, .name = n->objects[i].name};
        int r = store_subscribe(store, &key, on_store_changed, &n->objects[i],
                                &n->objects[i].subscription, e);

        if (r < 0)
            return r;
    }
    return 0;
}

int environment_new(struct store *store, const struct env_spec *spec, const char *namespace,
                    const struct environment_callbacks *callbacks, void *userdata,
                    struct environment **ret_environment, struct error *e)
{
    _cleanup_(environment_freep) struct environment *n = calloc(1, sizeof(*n));
    int r;

    if (n == NULL)
        return error_set_errno(e, -ENOMEM, "cannot set the environment up");
    n->spec = spec;
    n->namespace = namespace;
    n->callbacks = callbacks;
    n->userdata = userdata;
    r = collect_objects(n);
    if (r < 0)
        return error_set_errno(e, r, "cannot set the environment up");
    r = subscribe_all(n, store, e);
    if (r < 0)
        return r;
    n->is_complete = true;
    *ret_environment = TAKE(n);
    environment_update(*ret_environment);
    return 0;
}

struct environment *environment_free(struct environment *environment)
{
    if (environment == NULL)
        return NULL;
    for (size_t i = 0; i < environment->n_objects; i++)
        store_unsubscribe(environment->objects[i].subscription);
    free(environment->objects);
    env_free(environment->env);
    free(environment);
    return NULL;
}

enum environment_state environment_state(const struct environment *environment)
{
    return environment->state;
}

const struct env *environment_env(const struct environment *environment)
{
    return environment->env;
}

const char *environment_error(const struct environment *environment)
{
    if (environment->error.text[0] != '\0')
        return environment->error.text;
    return environment_source_error(environment);
}

const char *environment_source_error(const struct environment *environment)
{
    for (size_t i = 0; i < environment->n_objects; i++) {
        const struct store_view *view = view_of(&environment->objects[i]);

        if (view->source_state == STORE_SOURCE_FAILING)
            return kept_error_text(&view->source_error);
    }
    return "";
}

bool environment_find_missing(const struct environment *environment, struct missing *ret_missing)
{
    for (size_t i = 0; i < environment->spec->n_sources; i++) {
        const struct env_source *source = &environment->spec->sources[i];
        const struct followed *object =
            source->object_name != NULL
                ? find_followed(environment, source->object_kind, source->object_name)
                : NULL;

        if (object != NULL && missing_of_env_source(source, view_of(object), ret_missing))
            return true;
    }
    return false;
}

bool environment_lacks_file(const struct environment *environment)
{
    return environment->env == NULL && environment->lacks_file;
}

bool environment_is_answered(const struct environment *environment)
{
    for (size_t i = 0; i < environment->n_objects; i++) {
        const struct store_view *view = view_of(&environment->objects[i]);

        if (view->presence == STORE_UNKNOWN && view->source_state != STORE_SOURCE_FAILING)
            return false;
    }
    return true;
}

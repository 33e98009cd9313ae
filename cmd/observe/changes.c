/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/observe/changes.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "cache/secmem.h"

/* A volume that skips more versions than that is behind by seconds at least. */
#define VERSIONS_MAX 16u

struct version {
    char text[CHANGES_VERSION_SIZE];
    mono_us at;
};

struct changes {
    struct store *store;
    struct source *source;
    struct store_subscription *subscription;
    struct object_key key;
    char *namespace;
    changes_fn *report;
    void *userdata;
    bool has_first; /* what follows are changes */
    bool is_absent;
    bool is_failing;
    char newest[CHANGES_VERSION_SIZE];
    struct version versions[VERSIONS_MAX]; /* a ring */
    size_t n_versions;                     /* all that there were */
};

static void add_version(struct changes *c, const char *text, mono_us at)
{
    struct version *v = &c->versions[c->n_versions++ % VERSIONS_MAX];

    snprintf(v->text, sizeof(v->text), "%s", text);
    v->at = at;
}

static void log_source(struct changes *c, const struct store_view *view)
{
    bool is_failing = view->source_state == STORE_SOURCE_FAILING;

    if (is_failing && !c->is_failing)
        log_warn("cannot see changes of the object, retrying", "reason",
                 kept_error_text(&view->source_error));
    else if (!is_failing && c->is_failing)
        log_info("changes of the object are seen again");
    c->is_failing = is_failing;
}

static void note_object(struct changes *c, const struct store_view *view)
{
    const char *version = view->object->resource_version;

    if (streq(c->newest, version) && !c->is_absent)
        return;
    if (c->has_first) {
        add_version(c, version, view->received_at);
        c->report(c->userdata, &c->key, version);
    }
    snprintf(c->newest, sizeof(c->newest), "%s", version);
}

static void on_changed(void *userdata, const struct store_view *view)
{
    struct changes *c = userdata;

    log_source(c, view);
    if (view->presence == STORE_UNKNOWN)
        return;
    if (view->presence == STORE_PRESENT)
        note_object(c, view);
    else if (c->has_first && !c->is_absent)
        c->report(c->userdata, &c->key, NULL);
    c->is_absent = view->presence == STORE_ABSENT;
    c->has_first = true;
}

int changes_parse(const char *text, struct object_key *ret_key, struct error *e)
{
    ret_key->name = object_kind_parse(text, &ret_key->kind);
    if (ret_key->name == NULL)
        return object_kind_invalid(text, e);
    if (!object_name_is_valid(ret_key->name))
        return error_set(e, -EINVAL, "--object: invalid name \"%.253s\" for a %s", ret_key->name,
                         object_kind_word(ret_key->kind));
    return 0;
}

static int start(struct changes *c, sd_event *event, const struct source_options *from,
                 struct error *e)
{
    int r = secmem_harden(e);

    if (r < 0)
        return r;
    r = store_new(&c->store);
    if (r < 0)
        return error_set_errno(e, r, "cannot watch the object");
    r = source_options_open(from, event, c->store, &c->source, &c->namespace, e);
    if (r < 0)
        return r;
    c->key.namespace = c->namespace;
    return store_subscribe(c->store, &c->key, on_changed, c, &c->subscription, e);
}

int changes_new(sd_event *event, const char *object, const struct source_options *from,
                changes_fn *report, void *userdata, struct changes **ret_changes, struct error *e)
{
    _cleanup_(changes_freep) struct changes *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return error_set_errno(e, -ENOMEM, "cannot watch the object");
    c->report = report;
    c->userdata = userdata;
    r = changes_parse(object, &c->key, e);
    if (r == 0)
        r = start(c, event, from, e);
    if (r == 0)
        *ret_changes = TAKE(c);
    return r;
}

struct changes *changes_free(struct changes *changes)
{
    if (changes == NULL)
        return NULL;
    store_unsubscribe(changes->subscription);
    source_free(changes->source);
    if (changes->store != NULL)
        store_free(changes->store);
    free(changes->namespace);
    free(changes);
    return NULL;
}

bool changes_is_of(const struct changes *changes, const char *kind, const char *namespace,
                   const char *name)
{
    return streq(kind, object_kind_name(changes->key.kind)) &&
           streq(namespace, changes->key.namespace) && streq(name, changes->key.name);
}

bool changes_find(const struct changes *changes, const char *version, mono_us *ret_at,
                  const char **ret_version)
{
    size_t first = changes->n_versions > VERSIONS_MAX ? changes->n_versions - VERSIONS_MAX : 0;

    for (size_t i = changes->n_versions; i > first; i--) {
        const struct version *v = &changes->versions[(i - 1) % VERSIONS_MAX];

        if (version != NULL && !streq(version, v->text))
            continue;
        *ret_at = v->at;
        *ret_version = v->text;
        return true;
    }
    return false;
}

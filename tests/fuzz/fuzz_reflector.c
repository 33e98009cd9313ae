/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reflector whose API server, timers and credentials the input plays (watch_server.h), and whose
 * subscriber may leave from within a callback. What the store gets is the object that was
 * requested, and a reflector that is freed leaves neither request nor timer.
 */
#include "fetcher/api/reflector.h"

#include "tests/fuzz/watch_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET_OF(name, version, value)                                                            \
    "{\"kind\":\"Secret\",\"metadata\":{\"name\":\"" name                                          \
    "\",\"namespace\":\"default\",\"uid\":\"u1\",\"resourceVersion\":\"" version                   \
    "\"},\"data\":{\"k\":\"" value "\"}}"
#define LIST(version, items)                                                                       \
    "{\"kind\":\"SecretList\",\"metadata\":{\"resourceVersion\":\"" version                        \
    "\"},\"items\":[" items "]}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}"
#define STATUS(code)        "{\"kind\":\"Status\",\"code\":" code ",\"message\":\"no\"}"

static const char *const events[] = {
    LIST("5", SECRET_OF("db", "3", "b25l")),
    LIST("6", ""),
    LIST("7", SECRET_OF("other", "3", "b25l")),
    LIST("8", "{\"kind\":\"Secret\",\"immutable\":true,\"metadata\":{\"name\":\"db\",\"namespace\":"
              "\"default\",\"resourceVersion\":\"4\"},\"data\":{\"k\":\"dHdv\"}}"),
    LIST("9", SECRET_OF("db", "5", "!")),
    EVENT("ADDED", SECRET_OF("db", "10", "dHdv")),
    EVENT("MODIFIED", SECRET_OF("db", "11", "dGhyZWU=")),
    EVENT("MODIFIED", SECRET_OF("db", "9", "b25l")),
    EVENT("MODIFIED", SECRET_OF("other", "12", "b25l")),
    EVENT("MODIFIED", SECRET_OF("db", "13", "!")),
    EVENT("DELETED", SECRET_OF("db", "14", "b25l")),
    EVENT("BOOKMARK", "{\"kind\":\"Secret\",\"metadata\":{\"resourceVersion\":\"15\"}}"),
    EVENT("BOOKMARK",
          "{\"kind\":\"Secret\",\"metadata\":{\"resourceVersion\":\"15\",\"annotations\":{"
          "\"k8s.io/initial-events-end\":\"true\"}}}"),
    EVENT("ERROR", STATUS("410")),
    EVENT("ERROR", STATUS("500")),
    EVENT("ADDED", "{}"),
    "{}",
};

static const struct object_key key = {OBJECT_SECRET, "default", "db", NULL};

struct run {
    struct server server;
    struct store *store;
    struct store_subscription *subscription;
    struct reflector *reflector;
    bool leaves; /* with the next change */
};

/* ---- the store's source */

static int begin_watching(void *userdata, const struct object_key *watched, struct error *e)
{
    static const struct watch_io io = SERVER_IO;
    struct run *run = userdata;
    int r = reflector_new(run->store, watched, &io, &run->server, &run->reflector);

    if (r < 0)
        return error_set_errno(e, r, "cannot watch");
    run->server.watch = reflector_watch(run->reflector);
    watch_start(run->server.watch);
    return 0;
}

static void end_watching(void *userdata, const struct object_key *watched)
{
    struct run *run = userdata;

    run->reflector = reflector_free(run->reflector);
    run->server.watch = NULL;
    assert(!run->server.has_request && run->server.timer_at == SPAN_FOREVER);
}

static void on_changed(void *userdata, const struct store_view *view)
{
    struct run *run = userdata;

    if (view->object != NULL) {
        assert(streq(view->object->key.name, key.name));
        assert(streq(view->object->key.namespace, key.namespace));
        assert(view->object->key.kind == key.kind);
    }
    if (run->leaves)
        run->subscription = store_unsubscribe(run->subscription);
}

/* ---- the script */

static void take_reflector_step(struct run *run)
{
    switch (take_byte(&run->server)) {
    case 0:
        reflector_refresh(run->reflector);
        break;
    case 1:
        reflector_check_rights(run->reflector);
        break;
    case 2:
        run->leaves = true;
        break;
    default:
        take_step(&run->server);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct store_source source = {.watch = begin_watching, .unwatch = end_watching};
    struct run run = {.server = server_new(data, size, events, ELEMENTS_OF(events))};

    if (store_new(&run.store) < 0)
        return 0;
    store_set_source(run.store, &source, &run);
    if (store_subscribe(run.store, &key, on_changed, &run, &run.subscription, NULL) == 0)
        while (run.server.at < run.server.end && run.server.watch != NULL)
            take_reflector_step(&run);
    store_unsubscribe(run.subscription);
    assert(run.reflector == NULL);
    store_free(run.store);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/mount/check.h"

#include "cache/secmem.h"
#include "serve/daemon.h"
#include "serve/mount_handover.h"

struct check {
    struct daemon daemon;
    const struct mount_options *options;
    struct fd_store *fd_store;
    struct store *store;
    struct source *source;
    char *namespace;
};

static int open_store(struct check *c, struct error *e)
{
    return fd_store_has_keeper_socket() ? 0 : fd_store_new(NULL, &c->fd_store, e);
}

/* Behind a keeper's socket nothing can be read of what is stored, and it is not checked. */
static int check_stored(struct check *c, struct error *e)
{
    const struct mount_handover_options options = {
        .store = c->fd_store,
        .name = MOUNT_HANDOVER_NAME,
        .mountpoint = c->options->mountpoint,
        .answers_open = c->options->spec->updates == VOLUME_UPDATES_IN_PLACE,
    };

    return c->fd_store != NULL ? mount_handover_check(c->daemon.event, &options, e) : 0;
}

static int open_source(struct check *c, struct error *e)
{
    int r = store_new(&c->store);

    if (r < 0)
        return error_set_errno(e, r, "cannot create the store");
    return source_options_open(&c->options->from, c->daemon.event, c->store, &c->source,
                               &c->namespace, e);
}

static int check_start(struct daemon *daemon, struct error *e)
{
    struct check *c = CONTAINER_OF(daemon, struct check, daemon);
    int r = open_store(c, e);

    if (r == 0)
        r = secmem_harden(e);
    if (r < 0)
        return r;
    daemon_restrict(CONFINEMENT_MOUNT, NULL);
    r = check_stored(c, e);
    if (r == 0)
        r = open_source(c, e);
    return r < 0 ? r : sd_event_exit(daemon->event, 0);
}

static void check_stop(struct daemon *daemon)
{
    struct check *c = CONTAINER_OF(daemon, struct check, daemon);

    source_free(c->source);
    store_free(c->store);
    free(c->namespace);
    fd_store_free(c->fd_store);
}

int mount_check(const struct mount_options *options, struct error *e)
{
    static const struct daemon_ops ops = {.start = check_start, .stop = check_stop};
    struct check c = {.options = options};

    return daemon_run(&c.daemon, &ops, NULL, e);
}

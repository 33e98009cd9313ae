/* SPDX-License-Identifier: Apache-2.0 */
#include "node/check.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/secmem.h"
#include "node/file_systems.h"
#include "serve/daemon.h"

struct check {
    struct daemon daemon;
    const struct node_options *options;
    struct fd_store *fd_store;
};

/*
 * The kubelet makes ROOT/pods when it starts. With another --root-dir than ours it would neither
 * find our socket nor accept a volume, and we would wait for it for ever. The default root is not
 * checked: it comes into being when the kubelet starts for the first time, which may be after us.
 */
static int check_kubelet_root(const struct node_options *o, struct error *e)
{
    char pods[PATH_MAX];
    struct stat status;

    if (o->registration_path == NULL || streq(o->kubelet_root, KUBELET_ROOT_DEFAULT))
        return 0;
    if (snprintf(pods, sizeof(pods), "%s/pods", o->kubelet_root) < (int)sizeof(pods) &&
        stat(pods, &status) == 0 && S_ISDIR(status.st_mode))
        return 0;
    return error_set(e, -ENOENT,
                     "no kubelet uses %s: there is no directory %s/pods; set --kubelet-root to the "
                     "kubelet's --root-dir",
                     o->kubelet_root, o->kubelet_root);
}

int node_check_host(const struct node_options *options, struct error *e)
{
    if (geteuid() != 0)
        return error_set(e, -EPERM, "the node daemon mounts volumes for pods: run it as root");
    return check_kubelet_root(options, e);
}

static int check_stored(struct check *c, struct error *e)
{
    int r = fd_store_new(NULL, &c->fd_store, e);

    if (r == 0)
        r = secmem_harden(e);
    if (r < 0)
        return r;
    daemon_restrict(CONFINEMENT_NODE, NULL);
    return node_file_systems_check(c->daemon.event, c->fd_store, c->options->run_dir, e);
}

static int check_start(struct daemon *daemon, struct error *e)
{
    struct check *c = CONTAINER_OF(daemon, struct check, daemon);
    int r = node_check_host(c->options, e);

    if (r == 0 && !fd_store_has_keeper_socket())
        r = check_stored(c, e);
    return r < 0 ? r : sd_event_exit(daemon->event, 0);
}

static void check_stop(struct daemon *daemon)
{
    const struct check *c = CONTAINER_OF(daemon, struct check, daemon);

    fd_store_free(c->fd_store);
}

int node_check(const struct node_options *options, struct error *e)
{
    static const struct daemon_ops ops = {.start = check_start, .stop = check_stop};
    struct check c = {.options = options};

    return daemon_run(&c.daemon, &ops, NULL, e);
}

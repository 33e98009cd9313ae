/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RUN_DIR/fs is mounted read-only, in a directory that only root can enter; a volume is shown to
 * its pod by a bind mount of its directory. Volumes with `updates: in-place`, and those that a
 * container mounts by subPath, are in RUN_DIR/fs-live instead, because live files cost a request
 * for each open.
 *
 * When RUN_DIR/fs is unmounted from outside, mounted volumes stay; it is mounted again for new
 * ones (serve/file_system.c).
 */
#include "node/file_systems.h"

#include <stdio.h>

#include "base/log.h"
#include "fuse/device.h"
#include "fuse/names.h"
#include "fuse/shown_payload.h"
#include "handover/keeper_watch.h"
#include "node/run_dir.h"
#include "node/volume_record.h"

/* Of the file systems among the stored descriptors. */
#define HANDOVER_NAME      "standard"
#define HANDOVER_NAME_LIVE "live"

struct node_file_systems {
    sd_event *event;
    struct node_file_systems_options options;
    struct keeper_watch *keeper_watch;
    struct mount_monitor *mount_monitor;
    struct file_system *standard;
    struct file_system *live;       /* NULL until the first volume that needs it */
    struct consumers *consumers[2]; /* standard, live; NULL: they are not noted */
    unsigned n_orders[2];           /* the same: volumes whose record has orders */
};

static int detach_leftovers(const struct node_file_systems *all, const char *name, struct error *e)
{
    int n = run_dir_detach_leftovers(all->options.run_dir, name, e);

    if (n > 0)
        log_warn("detached mounts of an earlier process", "name", name, "mounts", LOG_NUM(n));
    return n < 0 ? n : 0;
}

struct place {
    const char *name;          /* of the mount point in the run directory */
    const char *handover_name; /* among the stored descriptors */
    bool answers_open;
};

static const struct place places[] = {
    [NODE_FS_STANDARD] = {.name = RUN_DIR_MOUNT, .handover_name = HANDOVER_NAME},
    [NODE_FS_LIVE] = {.name = RUN_DIR_MOUNT_LIVE,
                      .handover_name = HANDOVER_NAME_LIVE,
                      .answers_open = true},
};

static int new_file_system(struct node_file_systems *all, const struct place *place,
                           struct file_system **ret_fs, struct error *e)
{
    _cleanup_(freep) char *mountpoint = NULL;
    struct file_system_options options = {.source = all->options.source,
                                          .answers_open = place->answers_open,
                                          .monitor = all->mount_monitor,
                                          .fd_store = all->options.fd_store,
                                          .handover_name = place->handover_name};

    if (asprintf(&mountpoint, "%s/%s", all->options.run_dir, place->name) < 0)
        return error_set_errno(e, -ENOMEM, "cannot mount the file system");
    options.mountpoint = mountpoint;
    return file_system_new(all->event, &options, all->options.failed, all->options.userdata, ret_fs,
                           e);
}

/* @only_adopts: mount none, if there is none of an earlier process */
static int start_one(struct node_file_systems *all, enum node_fs kind, bool only_adopts,
                     struct file_system **ret_fs, struct error *e)
{
    _cleanup_(file_system_freep) struct file_system *fs = NULL;
    int r = new_file_system(all, &places[kind], &fs, e);

    assert(*ret_fs == NULL);
    if (r == FILE_SYSTEM_NEW)
        r = detach_leftovers(all, places[kind].name, e);
    if (r < 0)
        return r;
    assert(fs != NULL);
    if (!fs->is_adopted && only_adopts)
        return 0;
    if (!fs->is_adopted)
        r = file_system_mount(fs, e);
    if (r < 0)
        return r;
    watchdog_add(all->options.watchdog, fs->publisher);
    *ret_fs = TAKE(fs);
    return 0;
}

static void store_again(const struct file_system *fs)
{
    struct error e = ERROR_INIT;

    if (fs != NULL && handover_store_again(fs->handover, &e) < 0)
        log_warn("cannot store the mount; it ends with this process", "mountpoint", fs->mountpoint,
                 "error", e.text);
}

static void on_new_keeper(void *userdata)
{
    const struct node_file_systems *all = userdata;

    store_again(all->standard);
    store_again(all->live);
    all->options.stored_again(all->options.userdata);
}

static int watch_keeper(struct node_file_systems *all, struct error *e)
{
    int r = 0;

    if (all->options.fd_store != NULL)
        r = keeper_watch_new(all->event, all->options.fd_store, on_new_keeper, all,
                             &all->keeper_watch);
    return r < 0 ? error_set_errno(e, r, "cannot watch the keeper") : 0;
}

/* Pods read their volumes all the same. */
static void start_consumers(struct node_file_systems *all, const struct file_system *fs)
{
    struct error e = ERROR_INIT;

    if (all->options.notes_consumers &&
        consumers_new(fs->tree, fs->session, all->options.audit,
                      &all->consumers[fs->options.answers_open], &e) < 0)
        log_warn("consumers are not noted", "mountpoint", fs->mountpoint, "error", e.text);
}

static int start_live(struct node_file_systems *all, bool only_adopts, struct error *e)
{
    int r = start_one(all, NODE_FS_LIVE, only_adopts, &all->live, e);

    if (r < 0 || all->live == NULL)
        return r;
    start_consumers(all, all->live);
    all->options.live_mounted(all->options.userdata, all->live->session);
    return 0;
}

int node_file_systems_new(sd_event *event, const struct node_file_systems_options *options,
                          struct node_file_systems **ret_all, struct error *e)
{
    _cleanup_(node_file_systems_freep) struct node_file_systems *all = calloc(1, sizeof(*all));
    int r;

    if (all == NULL)
        return error_set_errno(e, -ENOMEM, "cannot mount the file system");
    all->event = sd_event_ref(event);
    all->options = *options;
    r = mount_monitor_new(&all->mount_monitor, e);
    if (r == 0)
        r = watch_keeper(all, e);
    if (r == 0)
        r = start_one(all, NODE_FS_STANDARD, false, &all->standard, e);
    if (r == 0)
        start_consumers(all, all->standard);
    if (r == 0)
        r = start_live(all, true, e);
    if (r < 0)
        return r;
    *ret_all = TAKE(all);
    return 0;
}

/* What is in use the end of the process frees. */
static void release(struct node_file_systems *all)
{
    if (all->live != NULL || all->standard != NULL)
        return;
    mount_monitor_free(all->mount_monitor);
    keeper_watch_free(all->keeper_watch);
    sd_event_unref(all->event);
    free(all);
}

static void end_consumers(struct node_file_systems *all)
{
    for (size_t i = 0; i < ELEMENTS_OF(all->consumers); i++)
        all->consumers[i] = consumers_free(all->consumers[i]);
}

struct node_file_systems *node_file_systems_free(struct node_file_systems *all)
{
    if (all == NULL)
        return NULL;
    end_consumers(all);
    all->live = file_system_free(all->live);
    all->standard = file_system_free(all->standard);
    release(all);
    return NULL;
}

struct node_file_systems *node_file_systems_hand_over(struct node_file_systems *all)
{
    end_consumers(all);
    all->live = file_system_is_handed_over(all->live, true) ? file_system_hand_over(all->live)
                                                            : file_system_free(all->live);
    all->standard = file_system_hand_over(all->standard);
    release(all);
    return NULL;
}

bool node_file_systems_offer_idmap(const struct node_file_systems *all)
{
    return device_init_offers_idmap(session_init_request(all->standard->session));
}

int node_file_systems_publisher(struct node_file_systems *all, enum node_fs fs,
                                struct publisher **ret_publisher, struct error *e)
{
    assert(fs != NODE_FS_UNDECIDED);
    if (fs == NODE_FS_LIVE && all->live == NULL) {
        int r = start_live(all, false, e);

        if (r < 0)
            return r;
        assert(all->live != NULL);
    }
    *ret_publisher = (fs == NODE_FS_LIVE ? all->live : all->standard)->publisher;
    return 0;
}

/* ---- the hand-over */

static int check_record(const char *id, const char *text, struct error *e)
{
    _cleanup_(volume_record_deinit) struct volume_record_document document = {.json = NULL};

    return volume_record_parse(text, &document, e);
}

static int check_place(sd_event *event, struct fd_store *fd_store, const char *run_dir,
                       const struct place *place, struct error *e)
{
    _cleanup_(freep) char *mountpoint = NULL;
    struct mount_handover_options options = {.store = fd_store,
                                             .name = place->handover_name,
                                             .answers_open = place->answers_open,
                                             .check_note = check_record};

    if (asprintf(&mountpoint, "%s/%s", run_dir, place->name) < 0)
        return error_set_errno(e, -ENOMEM, "cannot check the stored file system");
    options.mountpoint = mountpoint;
    return mount_handover_check(event, &options, e);
}

int node_file_systems_check(sd_event *event, struct fd_store *fd_store, const char *run_dir,
                            struct error *e)
{
    int r = 0;

    for (size_t i = NODE_FS_STANDARD; i < ELEMENTS_OF(places) && r == 0; i++)
        r = check_place(event, fd_store, run_dir, &places[i], e);
    return r;
}

bool node_file_systems_are_handed_over(const struct node_file_systems *all, bool is_requested)
{
    return file_system_is_handed_over(all->standard, is_requested);
}

static const struct file_system *file_system_of(const struct node_file_systems *all,
                                                enum node_fs fs)
{
    return fs == NODE_FS_LIVE ? all->live : all->standard;
}

int node_file_systems_record(struct node_file_systems *all, enum node_fs fs, const char *id,
                             const char *text)
{
    struct handover *handover = file_system_of(all, fs)->handover;

    return handover != NULL ? handover_set_note(handover, id, text) : 0;
}

void node_file_systems_count_orders(struct node_file_systems *all, enum node_fs fs, int change)
{
    struct handover *handover = file_system_of(all, fs)->handover;
    unsigned *n = &all->n_orders[fs == NODE_FS_LIVE];

    assert(change == 1 || (change == -1 && *n > 0));
    *n = change > 0 ? *n + 1 : *n - 1;
    if (handover != NULL)
        handover_require_format(handover, *n > 0 ? STATE_FORMAT_ORDERS : STATE_FORMAT_FIRST);
}

static void drop_record(const struct file_system *fs, const char *id)
{
    if (fs != NULL && fs->handover != NULL)
        handover_remove_note(fs->handover, id);
}

void node_file_systems_drop_record(struct node_file_systems *all, const char *id)
{
    drop_record(all->standard, id);
    drop_record(all->live, id);
}

static bool is_adopted(const struct file_system *fs)
{
    return fs != NULL && fs->is_adopted;
}

void node_file_systems_visit_records(const struct node_file_systems *all, notes_visit_fn *visit,
                                     void *userdata)
{
    if (is_adopted(all->standard))
        handover_visit_notes(all->standard->handover, visit, userdata);
    if (is_adopted(all->live))
        handover_visit_notes(all->live->handover, visit, userdata);
}

static const char *find_record(const struct file_system *fs, const char *id)
{
    return is_adopted(fs) ? handover_find_note(fs->handover, id) : NULL;
}

const char *node_file_systems_find_record(const struct node_file_systems *all, const char *id)
{
    const char *text = find_record(all->standard, id);

    return text != NULL ? text : find_record(all->live, id);
}

int node_file_systems_find_directory(const struct node_file_systems *all, const char *id,
                                     enum node_fs *ret_fs, uint64_t *ret_node)
{
    struct stat status;
    enum node_fs fs = find_record(all->live, id) != NULL ? NODE_FS_LIVE : NODE_FS_STANDARD;
    int r = tree_find(file_system_of(all, fs)->tree, TREE_ROOT_ID, id, &status);

    if (r < 0)
        return r;
    *ret_fs = fs;
    *ret_node = status.st_ino;
    return 0;
}

int node_file_systems_read_shown(struct node_file_systems *all, enum node_fs fs, uint64_t node,
                                 struct payload **ret_payload,
                                 char ret_generation[static GENERATION_NAME_SIZE], struct error *e)
{
    return shown_payload_read(file_system_of(all, fs)->tree, node, ret_payload, ret_generation, e);
}

uint64_t node_file_systems_shown_update(const struct node_file_systems *all, enum node_fs fs,
                                        const char *id)
{
    struct tree *tree = file_system_of(all, fs)->tree;
    struct stat status;

    return tree_find(tree, TREE_ROOT_ID, id, &status) == 0 ? shown_update(tree, status.st_ino) : 0;
}

/* With its record, if it has one. */
static void remove_leftover(const struct file_system *fs, const char *name)
{
    int r = publisher_remove_leftover(fs->publisher, name);

    if (r < 0)
        log_warn("cannot remove the directory of an earlier process", "directory", name, "error",
                 strerror(-r));
    else
        log_debug("removing the directory of an earlier process", "directory", name);
    drop_record(fs, name);
}

void node_file_systems_drop_leftover(struct node_file_systems *all, const char *id)
{
    if (find_record(all->standard, id) != NULL)
        remove_leftover(all->standard, id);
    if (find_record(all->live, id) != NULL)
        remove_leftover(all->live, id);
}

static void remove_leftovers(const struct file_system *fs, node_file_systems_owned_fn *is_owned,
                             void *userdata)
{
    _cleanup_(names_deinit) struct names names = {.all = NULL};

    if (!is_adopted(fs))
        return;
    if (names_read(&names, fs->tree, TREE_ROOT_ID) < 0)
        log_warn("cannot remove directories of an earlier process: out of memory");
    for (size_t i = 0; i < names.n; i++)
        if (names.all[i].text[0] != '.' && !is_owned(userdata, names.all[i].text))
            remove_leftover(fs, names.all[i].text);
}

void node_file_systems_remove_leftovers(struct node_file_systems *all,
                                        node_file_systems_owned_fn *is_owned, void *userdata)
{
    remove_leftovers(all->standard, is_owned, userdata);
    remove_leftovers(all->live, is_owned, userdata);
}

/* ---- state */

struct consumers *node_file_systems_consumers(const struct node_file_systems *all, enum node_fs fs)
{
    return all->consumers[fs == NODE_FS_LIVE];
}

const struct session *node_file_systems_session(const struct node_file_systems *all,
                                                enum node_fs fs)
{
    return file_system_of(all, fs) != NULL ? file_system_of(all, fs)->session : NULL;
}

struct handover *node_file_systems_handover(const struct node_file_systems *all, enum node_fs fs)
{
    return file_system_of(all, fs) != NULL ? file_system_of(all, fs)->handover : NULL;
}

dev_t node_file_systems_device(const struct node_file_systems *all, enum node_fs fs)
{
    return session_device(node_file_systems_session(all, fs));
}

bool node_file_systems_are_serving(const struct node_file_systems *all)
{
    return !session_is_dead(all->standard->session) &&
           (all->live == NULL || !session_is_dead(all->live->session));
}

void node_file_systems_count_requests(const struct node_file_systems *all,
                                      struct request_counts *counts)
{
    session_count_requests(all->standard->session, counts);
    if (all->live != NULL)
        session_count_requests(all->live->session, counts);
}

struct tree_usage node_file_systems_usage(const struct node_file_systems *all)
{
    struct tree_usage usage = tree_usage(all->standard->tree), live;

    if (all->live == NULL)
        return usage;
    live = tree_usage(all->live->tree);
    usage.n_nodes += live.n_nodes;
    usage.content_bytes += live.content_bytes;
    usage.held_bytes += live.held_bytes;
    usage.n_dropped += live.n_dropped;
    return usage;
}

size_t node_file_systems_blocked_threads(const struct node_file_systems *all)
{
    size_t n = publisher_blocked_threads(all->standard->publisher);

    return all->live != NULL ? n + publisher_blocked_threads(all->live->publisher) : n;
}

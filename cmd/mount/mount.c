/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a mount:
 *
 *   waiting     the object was requested; nothing is mounted (G1)
 *      | first payload
 *   publishing  the file system exists but is attached to no path; the payload is written to it
 *      | published
 *   ready       it is attached to the mount point; the command returns
 *      | new payloads are published as they arrive; a failing source changes nothing here
 *      | the mount point was unmounted, and mounts elsewhere exist (in containers)
 *   ready       these are served, with updates, until the last one is gone
 *   stopping    a signal, or no mount is left
 *
 * Before it is ready, every failure and the end of --wait end the process with an error. After that
 * only the two events in the drawing do.
 *
 * Under a service manager that keeps descriptors, as secretfs-keeper does for a mount in the
 * background, the mount outlives the process: it begins as `ready` with the mount of an earlier
 * process, and a signal hands the mount over to the next one (docs/internals/handover.md).
 */
#include "cmd/mount/mount.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>

#include "cache/secmem.h"
#include "cmd/mount/check.h"
#include "cmd/shared/object_wait.h"
#include "encoding/json.h"
#include "fetcher/source.h"
#include "fuse/shown_payload.h"
#include "handover/keeper_watch.h"
#include "handover/kept_sockets.h"
#include "monitor/status_document.h"
#include "monitor/status_socket.h"
#include "serve/daemon.h"
#include "serve/mount_handover.h"
#include "serve/mounts.h"
#include "serve/published.h"
#include "serve/service_manager.h"
#include "serve/update_notifier.h"

/* In the state: the update that the notified service or command knows of, as a number. */
#define NOTE_NOTIFIED "notified"

struct mount {
    struct daemon daemon;
    const struct mount_options *options;
    enum background background;
    struct timespec started_at;

    struct store *store;
    struct source *source;
    char *namespace;
    struct published published;
    struct published_observer observer;
    struct update_notifier *notifier; /* NULL: nothing follows an update */
    struct update_notice notice;

    /* from the first payload on */
    struct tree *tree;
    struct session *session;
    struct publisher *publisher;
    struct consumers *consumers; /* NULL: they are not noted */
    struct audit *audit;         /* NULL: none */
    struct commands *commands;   /* the same */
    struct status_socket *status;
    bool serves_others; /* it was unmounted; mounts elsewhere exist */

    struct object_wait wait;

    struct fd_store *fd_store;
    struct kept_sockets *sockets;
    struct kept_socket keep_status;
    struct keeper_watch *keeper_watch;
    struct handover *handover; /* NULL: the mount ends with the process */
    bool is_stored;            /* it has begun */
    struct payload *adopted;   /* what readers get from an earlier process; NULL: a new mount */
    char adopted_generation[GENERATION_NAME_SIZE];
    bool is_unmounted;
};

/* ---- waiting for the object: --wait */

static int why_missing(void *userdata, struct error *e)
{
    const struct mount *m = userdata;

    return published_why_missing(&m->published, e);
}

static bool find_missing(void *userdata, struct missing *ret_missing)
{
    const struct mount *m = userdata;

    return m->published.volume != NULL && volume_find_missing(m->published.volume, ret_missing);
}

static void on_wait_over(void *userdata, const struct error *reason)
{
    struct mount *m = userdata;

    daemon_fail(&m->daemon, reason);
}

static int start_waiting(struct mount *m, struct error *e)
{
    const struct object_wait_options options = {.from = &m->options->from,
                                                .source = m->source,
                                                .why = why_missing,
                                                .find = find_missing,
                                                .over = on_wait_over,
                                                .userdata = m};

    return m->adopted != NULL ? 0 : object_wait_begin(&m->wait, m->daemon.event, &options, e);
}

/* ---- what follows an update */

static uint64_t on_shown(void *userdata, struct update_notice *notice)
{
    struct mount *m = userdata;

    return shown_update(m->tree, TREE_ROOT_ID);
}

static void on_notified(void *userdata, struct update_notice *notice, uint64_t update)
{
    const struct mount *m = userdata;
    char text[32];

    snprintf(text, sizeof(text), "%" PRIu64, update);
    if (m->is_stored && handover_set_note(m->handover, NOTE_NOTIFIED, text) < 0)
        log_warn("cannot record that an update was notified; the next process repeats it",
                 "mountpoint", m->options->mountpoint);
}

static void on_updated(void *userdata, struct published *p)
{
    struct mount *m = userdata;

    if (m->notifier != NULL)
        update_notifier_updated(m->notifier, &m->notice);
}

/* No reader has seen another update than that which is shown now. */
static void begin_notices(struct mount *m)
{
    m->is_stored = true;
    if (m->notifier != NULL)
        on_notified(m, &m->notice, shown_update(m->tree, TREE_ROOT_ID));
}

static void adopt_notices(struct mount *m)
{
    const char *text = handover_find_note(m->handover, NOTE_NOTIFIED);
    uint64_t notified = text != NULL ? strtoull(text, NULL, 10) : 0;

    m->is_stored = true;
    if (m->notifier == NULL)
        return;
    update_notice_adopt(&m->notice, shown_update(m->tree, TREE_ROOT_ID), notified);
    update_notifier_resume(m->notifier, &m->notice);
    if (notified == 0)
        begin_notices(m);
}

static int start_notifier(struct mount *m)
{
    static const struct update_notifier_callbacks callbacks = {.shown = on_shown,
                                                               .notified = on_notified};
    const struct update_action *action = &m->options->action;

    m->observer = (struct published_observer){.updated = on_updated, .userdata = m};
    m->notice = (struct update_notice){
        .published = &m->published, .target = m->options->mountpoint, .action = *action};
    if (action->unit == NULL && action->command == NULL)
        return 0;
    return update_notifier_new(m->daemon.event, geteuid() == 0 ? &unit_bus_system : &unit_bus_user,
                               m->commands, &callbacks, m, &m->notifier);
}

/* The next process notifies of what has not ended. */
static void stop_notifier(struct mount *m)
{
    if (m->notifier != NULL)
        update_notifier_finish(m->notifier, &m->notice);
    m->notifier = update_notifier_free(m->notifier);
    update_notice_deinit(&m->notice);
}

/* ---- mounting */

static int write_status(void *userdata, bool is_debug, uint64_t *cursor, struct buf *part)
{
    struct mount *m = userdata;
    cJSON *process = cJSON_CreateObject(), *volume = cJSON_CreateObject();
    struct request_counts counts = {0};
    int r;

    session_count_requests(m->session, &counts);
    r = status_document_process("mount", m->started_at, &counts, process);
    r |= json_add_bool(process, "servesOtherMounts", m->serves_others);
    r |= json_add_text(process, "audit", m->options->audit);
    r |= status_document_handover(NULL, m->handover, process);
    if (r >= 0)
        r = status_document_volume(&m->published, m->options->mountpoint, m->source, NULL, volume);
    r |= json_add_text(volume, "updateError", m->notice.error.owned);
    if (is_debug) {
        r |= status_document_debug_source(m->source,
                                          cJSON_GetObjectItemCaseSensitive(volume, "source"));
        r |= status_document_debug_volume(&m->published, volume);
    }
    r |= status_document_print(process, part);
    r |= status_document_print(volume, part);
    return r < 0 ? -ENOMEM : 0;
}

static bool answers_open(const struct mount *m)
{
    return m->options->spec->updates == VOLUME_UPDATES_IN_PLACE;
}

/*
 * Otherwise a request that a killed process had taken would never end while the device is stored.
 */
static bool can_outlive(const struct mount *m)
{
    return m->handover != NULL && session_can_outlive_process(m->session);
}

/* The state is stored before a reader can see the mount. */
static int show(struct mount *m, struct error *e)
{
    struct error why = ERROR_INIT;

    if (!can_outlive(m))
        return session_attach(m->session, e);
    if (handover_begin(m->handover, m->tree, m->session, m->options->mountpoint, &why) == 0) {
        begin_notices(m);
    } else {
        log_warn("cannot store the mount; it ends with this process", "error", why.text);
        m->handover = handover_free(m->handover);
    }
    return session_attach(m->session, e);
}

/* A socket that outlives the process is for a mount that does. */
static void start_status(struct mount *m)
{
    const struct kept_socket *keep = handover_is_complete(m->handover) ? &m->keep_status : NULL;
    struct error e = ERROR_INIT;

    if (status_socket_new(m->daemon.event, session_device(m->session), keep, write_status, m,
                          &m->status, &e) < 0)
        log_warn("cannot serve the status of this mount", "reason", e.text);
    kept_sockets_drop_rest(m->sockets);
}

/* The first payload is published: attach the file system to the mount point. */
static int on_ready(void *userdata, struct error *e)
{
    struct mount *m = userdata;
    int r;

    assert(m->status == NULL);
    r = m->adopted != NULL ? 0 : show(m, e);
    if (r < 0)
        return r;
    start_status(m);
    object_wait_end(&m->wait);
    background_ready(m->background);
    service_manager_status(PUBLISHED_TEXT(&m->published));
    service_manager_ready();
    log_info(m->adopted != NULL ? "took over the mount" : "mounted", "mountpoint",
             m->options->mountpoint);
    if (secmem_unlocked_bytes() > 0)
        log_warn("secret memory is not locked and could be swapped; raise `ulimit -l` "
                 "(LimitMEMLOCK=)");
    return 0;
}

static void on_failed(void *userdata, int error, const struct error *reason)
{
    struct mount *m = userdata;

    /* the volume never became readable */
    daemon_fail(&m->daemon, reason);
}

static void on_changed(void *userdata)
{
    struct mount *m = userdata;

    if (m->published.payload == NULL && volume_has_answer(m->published.volume))
        object_wait_answered(&m->wait);
}

static void on_session_ended(void *userdata)
{
    struct mount *m = userdata;

    m->is_unmounted = true;
    if (!m->serves_others && session_serve_others(m->session)) {
        m->serves_others = true;
        log_info("unmounted by another process; other mounts of it are served until they are gone",
                 "mountpoint", m->options->mountpoint);
        return;
    }
    log_info("unmounted by another process; stopping", "mountpoint", m->options->mountpoint);
    sd_event_exit(m->daemon.event, 0);
}

static int make_tree(struct mount *m, struct error *e)
{
    const struct mount_options *o = m->options;
    const struct volume_spec *spec = o->spec;
    const struct tree_options tree_options = {
        /* an ordinary user can only write to their own directories: the uid goes to files only */
        .uid = geteuid() == 0 ? spec->uid : geteuid(),
        .gid = spec->fs_group != VOLUME_ID_UNSET ? spec->fs_group : spec->gid,
        .root_mode = volume_spec_root_mode(spec),
        .answers_open = answers_open(m),
    };
    int r;

    assert(m->tree == NULL && m->session == NULL); /* the place is requested once */
    r = tree_new(&tree_options, &m->tree);
    return r < 0 ? error_set_errno(e, r, "cannot create the mount") : 0;
}

/* @adoption: NULL: mount */
static int make_session(struct mount *m, struct session_adoption *adoption, struct error *e)
{
    const struct mount_options *o = m->options;
    const struct session_options session_options = {
        .mountpoint = o->mountpoint,
        .source = o->source,
        .allow_other = o->allow_other,
        .mount_attr = o->mount_attr,
        .answers_open = answers_open(m),
        .user_options = o->user_options.len > 0 ? o->user_options.data : NULL,
        .adoption = adoption,
    };

    return session_new(m->daemon.event, m->tree, &session_options, on_session_ended, m, &m->session,
                       e);
}

static int start_publisher(struct mount *m, struct error *e)
{
    const struct publisher_options options = {
        .session = m->session, .tree = m->tree, .answers_open = answers_open(m)};
    int r = publisher_new(m->daemon.event, &options, &m->publisher, e);

    if (r < 0)
        return r;
    watchdog_add(m->daemon.watchdog, m->publisher);
    return 0;
}

static int start_audit(struct mount *m, struct error *e)
{
    const char *target = m->options->audit;

    return target != NULL ? audit_new(m->daemon.event, target, &m->audit, e) : 0;
}

static int start_consumers(struct mount *m, struct error *e)
{
    if (!m->options->notes_consumers)
        return 0;
    return consumers_new(m->tree, m->session, m->audit, &m->consumers, e);
}

/* Create the file system, attached to no path. */
static int start_session(struct mount *m, struct error *e)
{
    int r = make_tree(m, e);

    if (r == 0)
        r = make_session(m, NULL, e);
    if (r == 0)
        r = start_publisher(m, e);
    if (r < 0)
        return r;
    session_serve(m->session);
    return start_consumers(m, e);
}

/* ---- the mount of an earlier process */

/* Readers get answers once it has succeeded. */
static int adopt(void *userdata, struct handover *handover, struct session_adoption *adoption,
                 struct error *e)
{
    struct mount *m = userdata;
    int r = make_tree(m, e);

    if (r == 0)
        r = handover_read_tree(handover, m->tree, e);
    if (r == 0)
        r = shown_payload_read(m->tree, TREE_ROOT_ID, &m->adopted, m->adopted_generation, e);
    if (r == 0)
        r = make_session(m, adoption, e);
    if (r == 0)
        r = handover_begin(handover, m->tree, m->session, m->options->mountpoint, e);
    if (r == 0)
        r = start_publisher(m, e);
    if (r == 0)
        session_serve(m->session);
    return r;
}

static void undo_adopt(void *userdata)
{
    struct mount *m = userdata;

    m->adopted = payload_unref(m->adopted);
    m->session = session_hand_over(m->session);
    if (m->tree != NULL)
        live_file_close_all(m->tree);
    m->tree = tree_free(m->tree);
}

static void on_new_keeper(void *userdata)
{
    struct mount *m = userdata;
    struct error e = ERROR_INIT;

    if (handover_store_again(m->handover, &e) < 0)
        log_warn("cannot store the mount; it ends with this process", "mountpoint",
                 m->options->mountpoint, "error", e.text);
    kept_sockets_store_again(m->sockets);
}

/* Return: 0, m->adopted is set if there was a mount; -errno with @e, and it remains stored. */
static int take_over_stored(struct mount *m, struct error *e)
{
    const struct mount_handover_options options = {
        .store = m->fd_store,
        .name = MOUNT_HANDOVER_NAME,
        .mountpoint = m->options->mountpoint,
        .answers_open = answers_open(m),
        .serve = adopt,
        .undo = undo_adopt,
        .userdata = m,
    };
    int r;

    r = keeper_watch_new(m->daemon.event, m->fd_store, on_new_keeper, m, &m->keeper_watch);
    if (r < 0)
        return error_set_errno(e, r, "cannot watch the keeper");
    r = mount_handover_take_over(m->daemon.event, &options, &m->handover, e);
    return r == MOUNT_HANDOVER_NONE ? 0 : r;
}

static int on_place(void *userdata, struct publisher_place *ret_place, struct error *e)
{
    struct mount *m = userdata;
    int r = m->adopted != NULL ? 0 : start_session(m, e);

    if (r < 0)
        return r;
    published_set_consumers(&m->published, m->consumers);
    *ret_place = (struct publisher_place){
        .publisher = m->publisher,
        .name = ".",
        .changes_in_place = answers_open(m),
        .shown = m->adopted,
    };
    return 0;
}

/* ---- start and stop */

static int start_publishing(struct mount *m, struct error *e)
{
    static const struct published_callbacks callbacks = {
        .place = on_place, .ready = on_ready, .failed = on_failed, .changed = on_changed};
    const struct published_options options = {
        .store = m->store,
        .spec = m->options->spec,
        .namespace = m->namespace,
        .mountpoint = m->options->mountpoint,
        .adopted = {.payload = m->adopted},
        .adopted_generation = m->adopted_generation,
        .adopted_directory = TREE_ROOT_ID,
        .observer = &m->observer,
        .commands = m->commands,
    };

    return published_init(&m->published, m->daemon.event, &options, &callbacks, m, e);
}

/* Its readers go on without. */
static void start_consumers_of_adopted(struct mount *m)
{
    struct error e = ERROR_INIT;

    if (m->adopted != NULL && start_consumers(m, &e) < 0)
        log_warn("consumers are not noted", "mountpoint", m->options->mountpoint, "error", e.text);
}

/* A volume that hides files is a surprise, and often a wrong path. mount(8) does it as well. */
static void warn_of_hidden_files(const char *mountpoint)
{
    _cleanup_(dir_closep) DIR *dir = opendir(mountpoint);
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
            continue;
        log_warn("the mount point is not empty; its files are hidden while the volume is mounted",
                 "mountpoint", mountpoint, "file", entry->d_name);
        return;
    }
}

static int open_store(struct mount *m, struct error *e)
{
    int r = fd_store_new(NULL, &m->fd_store, e);

    if (r < 0)
        return r;
    r = kept_sockets_new(m->fd_store, &m->sockets);
    if (r < 0)
        return error_set_errno(e, r, "cannot start");
    m->keep_status = kept_sockets_get(m->sockets, "status");
    return 0;
}

static int mount_start(struct daemon *daemon, struct error *e)
{
    struct mount *m = CONTAINER_OF(daemon, struct mount, daemon);
    int r;

    r = open_store(m, e);
    if (r == 0)
        r = secmem_harden(e);
    if (r >= 0)
        r = commands_new(m->daemon.event, &m->options->commands, &m->commands, e);
    if (r < 0)
        return r;
    daemon_restrict(CONFINEMENT_MOUNT, m->commands);
    if (start_notifier(m) < 0)
        return error_set_errno(e, -ENOMEM, "cannot start");
    r = start_audit(m, e);
    if (r == 0)
        r = take_over_stored(m, e);
    if (r < 0)
        return r;
    if (m->adopted != NULL)
        adopt_notices(m);
    start_consumers_of_adopted(m);
    if (m->adopted == NULL && mounts_is_mountpoint(m->options->mountpoint))
        return error_set(e, -EBUSY,
                         "secretfs is mounted on %s already; run `secretfs unmount %s` first",
                         m->options->mountpoint, m->options->mountpoint);
    if (m->adopted == NULL)
        warn_of_hidden_files(m->options->mountpoint);
    r = store_new(&m->store);
    if (r < 0)
        return error_set_errno(e, r, "cannot create the store");
    r = source_options_open(&m->options->from, m->daemon.event, m->store, &m->source, &m->namespace,
                            e);
    if (r < 0)
        return r;
    r = start_waiting(m, e);
    return r < 0 ? r : start_publishing(m, e);
}

/* The next process takes them over with the mount; else nothing of it stays stored. */
static void leave_sockets(struct mount *m, bool is_kept)
{
    if (m->sockets == NULL)
        return;
    if (is_kept)
        kept_sockets_leave(m->sockets);
    else
        kept_sockets_drop_rest(m->sockets);
}

static void stop_serving(struct mount *m, bool is_kept)
{
    bool is_held = publisher_free(m->publisher) != NULL;

    consumers_free(m->consumers);
    if (is_kept)
        log_info("handing the mount over", "mountpoint", m->options->mountpoint);
    else
        handover_end(m->handover);
    if (is_held)
        log_warn("a process holds the directory; this process ends when that one does",
                 "mountpoint", m->options->mountpoint);
    if (is_held && !is_kept)
        session_abandon(m->session);
    if (is_held)
        return;
    if (is_kept)
        session_hand_over(m->session);
    else
        session_free(m->session);
    handover_free(m->handover); /* what the workers answer until they end is recorded */
    tree_free(m->tree);
}

/* From the readers to the source, so that no callback reaches a freed object. */
static void mount_stop(struct daemon *daemon)
{
    struct mount *m = CONTAINER_OF(daemon, struct mount, daemon);
    bool is_kept = !m->is_unmounted &&
                   mount_handover_is_due(m->handover, m->fd_store, m->daemon.must_hand_over);

    leave_sockets(m, is_kept);
    status_socket_close(m->status);
    object_wait_end(&m->wait);
    stop_notifier(m);
    published_deinit(&m->published);
    stop_serving(m, is_kept);
    audit_free(m->audit);
    commands_free(m->commands);
    payload_unref(m->adopted);
    keeper_watch_free(m->keeper_watch);
    source_free(m->source);
    store_free(m->store);
    free(m->namespace);
    status_socket_free(m->status); /* `secretfs unmount` waits for this */
    kept_sockets_free(m->sockets);
    fd_store_free(m->fd_store);
}

int mount_run(const struct mount_options *options, enum background background, char *const *command,
              struct error *e)
{
    static const struct daemon_ops ops = {.start = mount_start, .stop = mount_stop};
    struct mount m = {.options = options, .background = background, .started_at = clock_wall()};

    if (!options->is_foreground && !options->is_check && background == BACKGROUND_NONE)
        return background_run(command, e);
    log_setup(options->from.log_level, options->from.log_format, background_log_target(background));
    if (options->is_check)
        return mount_check(options, e);
    log_trace_set(options->from.trace);
    return daemon_run(&m.daemon, &ops, NULL, e);
}

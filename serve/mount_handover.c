/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a stored mount:
 *
 *   it is the one that this command serves, and its state is intact   taken over
 *   it is another one, or its files change in another way             unmounted
 *   its state is damaged or contradictory, or the mount has ended     unmounted, logged as an error
 *   a newer program has written its state                             stays; this command fails
 *   out of memory or of descriptors                                   stays; this command fails
 *
 * Where it is unmounted the command mounts again: a state is never guessed at.
 */
#include "serve/mount_handover.h"

#include "base/log.h"
#include "fuse/live_file.h"
#include "serve/mounts.h"
#include "version.h"

#define SYNC_TIMEOUT    SPAN_SEC(5)
#define CHECK_TRIES_MAX 10 /* the running process would have to publish during each of them */

/* The device is closed with the last stored descriptor of it. */
static void unmount_earlier(const struct mount_handover_options *o, struct handover *handover,
                            const char *mountpoint)
{
    struct error e = ERROR_INIT;
    int r;

    handover_end(handover);
    if (fd_store_sync(o->store, SYNC_TIMEOUT, &e) < 0)
        log_warn("the service manager does not respond", "error", e.text);
    r = mounts_is_mountpoint(mountpoint) ? mounts_detach(mountpoint) : 0;
    if (r < 0)
        log_warn("cannot unmount the mount of an earlier process", "mountpoint", mountpoint,
                 "error", strerror(-r));
}

static void report_lost(const struct mount_handover_options *o, const struct error *reason)
{
    log_error("cannot take the mount over; mounting again", "mountpoint", o->mountpoint, "error",
              reason->text);
}

static bool is_other_mount(const struct mount_handover_options *o,
                           const struct handover_found *found)
{
    return !streq(found->mountpoint, o->mountpoint) || found->answers_open != o->answers_open;
}

/* A state that no program can serve, or a mount that has ended. */
static bool is_lost(int r)
{
    return r == -EBADMSG || r == -ENOTCONN || r == -ENOENT || r == -ESTALE;
}

static int take_over_found(const struct mount_handover_options *o, struct handover *handover,
                           struct handover_found *found, struct error *e)
{
    int r;

    if (is_other_mount(o, found)) {
        log_warn("the stored mount is not the one that this command serves; unmounting it",
                 "mountpoint", found->mountpoint);
        unmount_earlier(o, handover, found->mountpoint);
        fd_close(found->adoption.device_fd);
        return MOUNT_HANDOVER_NONE;
    }
    r = o->serve(o->userdata, handover, &found->adoption, e);
    if (!is_lost(r))
        return r;
    report_lost(o, e);
    handover_end(handover); /* before its tree and its session go */
    o->undo(o->userdata);
    fd_close(found->adoption.device_fd); /* else its readers would wait for ever */
    unmount_earlier(o, handover, o->mountpoint);
    return MOUNT_HANDOVER_NONE;
}

int mount_handover_take_over(sd_event *event, const struct mount_handover_options *options,
                             struct handover **ret_handover, struct error *e)
{
    const struct mount_handover_options *o = options;
    const struct handover_options stored = {
        .store = o->store, .name = o->name, .program = SECRETFS_VERSION};
    _cleanup_(handover_freep) struct handover *handover = NULL;
    struct handover_found found;
    int r;

    *ret_handover = NULL;
    if (!fd_store_is_available(o->store))
        return MOUNT_HANDOVER_NONE;
    r = handover_new(event, &stored, &handover, e);
    if (r < 0)
        return r;
    r = handover_take(handover, &found, e);
    if (r == -EBADMSG) {
        report_lost(o, e);
        unmount_earlier(o, handover, o->mountpoint);
    }
    if (r == 0)
        r = take_over_found(o, handover, &found, e);
    else if (r == -EBADMSG || r == HANDOVER_NOTHING)
        r = MOUNT_HANDOVER_NONE;
    if (r < 0) {
        handover = handover_free(handover); /* before its tree and its session go */
        o->undo(o->userdata);
        return r;
    }
    *ret_handover = TAKE(handover);
    return r;
}

static int read_tree(struct handover *handover, struct error *e)
{
    _cleanup_(tree_freep) struct tree *tree = NULL;
    int r = tree_new(&(struct tree_options){.uid = geteuid(), .gid = getegid()}, &tree);

    if (r < 0)
        return error_set_errno(e, r, "cannot read the stored state");
    r = handover_read_tree(handover, tree, e);
    live_file_close_all(tree);
    return r;
}

struct notes_check {
    const struct mount_handover_options *options;
    struct error *e;
    int result;
};

static bool on_note(void *userdata, const char *key, const char *text)
{
    struct notes_check *c = userdata;

    c->result = c->options->check_note(key, text, c->e);
    if (c->result < 0)
        error_prefix(c->e, c->result, "the stored note of \"%s\"", key);
    return c->result == 0;
}

static int check_notes(const struct mount_handover_options *o, const struct handover *handover,
                       struct error *e)
{
    struct notes_check c = {.options = o, .e = e};

    if (o->check_note != NULL)
        handover_visit_notes(handover, on_note, &c);
    return c.result;
}

static int check_found(const struct mount_handover_options *o, struct handover *handover,
                       const struct handover_found *found, struct error *e)
{
    int r;

    if (is_other_mount(o, found))
        return error_set(e, -EXDEV,
                         "the running process serves another mount, or files of another kind, at "
                         "%s: a new process would unmount it",
                         found->mountpoint);
    r = read_tree(handover, e);
    for (unsigned tries = 1; r == -EBADMSG && tries < CHECK_TRIES_MAX; tries++) {
        r = handover_peek_again(handover, e);
        if (r == 0)
            r = read_tree(handover, e);
    }
    return r == 0 ? check_notes(o, handover, e) : r;
}

/* What is mounted is not stored: its files are live, and its kernel is too old for that. */
static int check_nothing(const struct mount_handover_options *o, struct error *e)
{
    if (!mounts_is_mountpoint(o->mountpoint))
        return 0;
    return error_set(
        e, -ENODATA,
        "the running process cannot hand over its mount at %s, so that a hand-over "
        "would unmount it (updates: in-place or subPath, on Linux before 6.9): restart it when "
        "its readers have ended",
        o->mountpoint);
}

int mount_handover_check(sd_event *event, const struct mount_handover_options *options,
                         struct error *e)
{
    const struct handover_options stored = {
        .store = options->store, .name = options->name, .program = SECRETFS_VERSION};
    _cleanup_(handover_freep) struct handover *handover = NULL;
    struct handover_found found;
    int r = handover_new(event, &stored, &handover, e);

    if (r == 0)
        r = handover_peek(handover, &found, e);
    if (r != 0)
        return r == HANDOVER_NOTHING ? check_nothing(options, e) : r;
    r = check_found(options, handover, &found, e);
    fd_close(found.adoption.device_fd);
    return r;
}

bool mount_handover_is_due(struct handover *handover, const struct fd_store *store,
                           bool is_requested)
{
    return handover_is_complete(handover) && (is_requested || fd_store_is_certain(store));
}

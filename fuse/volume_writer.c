/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three kinds of updates, all with two halves:
 *
 *  - In the standard file system the first half does nothing, and the second makes a generation
 *    (writer.c).
 *  - In the file system with live files the first half prepares the switch of what is mounted alone
 *    of the volume (live_update.c), which the rename of the second half commits.
 *  - A volume that changes in place makes no generation: its current one is a live directory of the
 *    update like one that is mounted alone, and the rename leads ..data to the same target. It
 *    makes a generation at first, and when a file becomes a directory, or the reverse, as a path
 *    cannot be both at the moment of the switch.
 *
 * To catch up is to repeat the last update for live files alone. So where files may be live the
 * payload that the volume shows is kept.
 */
#include "fuse/volume_writer.h"

#include "fuse/names.h"

int volume_writer_init(struct volume_writer *writer, const struct volume_writer_host *host,
                       const char *name)
{
    *writer = (struct volume_writer){.host = host};
    return volume_dir_init(&writer->dir, host->session, host->tree, name);
}

int volume_writer_adopt(struct volume_writer *writer, struct payload *shown)
{
    int r = volume_dir_adopt(&writer->dir);

    if (r < 0)
        return r;
    writer->has_generation = true;
    if (writer->host->answers_open)
        writer->shown = payload_ref(shown);
    return 0;
}

void volume_writer_deinit(struct volume_writer *writer)
{
    live_update_deinit(&writer->update);
    payload_unref(writer->shown);
    volume_dir_deinit(&writer->dir);
}

/* ---- what is live of a volume */

struct collection {
    struct volume_writer *writer;
    uint64_t generation; /* that changes in place; 0: none does */
    int result;
};

/* A file of the generation that changes in place is part of that already, unless it was removed. */
static bool collect_mount(void *userdata, const struct live_mount *mount)
{
    struct collection *c = userdata;
    struct stat status;

    if (c->generation != 0 && !mount->is_directory &&
        tree_find_path(c->writer->host->tree, c->generation, mount->path, &status) == 0 &&
        status.st_ino == mount->id)
        return true;
    c->result = live_update_add(&c->writer->update, mount);
    return c->result == 0;
}

/* Return: 0, *ret_id is its node's; -ENOENT before the first publish; -ENOMEM. */
static int add_current(struct volume_writer *w, uint64_t *ret_id)
{
    _cleanup_(freep) char *name = NULL, *location = NULL;
    struct live_mount mount = {.path = "", .is_directory = true, .is_generation = true};
    int r = writer_find_current(w->host->tree, w->dir.id, &name, &mount.id);

    if (r < 0)
        return r;
    location = names_join(w->dir.name, name);
    if (location == NULL)
        return -ENOMEM;
    mount.location = location;
    *ret_id = mount.id;
    return live_update_add(&w->update, &mount);
}

/* One that has begun already is dropped. */
static void begin_update(struct volume_writer *w, struct payload *payload)
{
    live_update_deinit(&w->update);
    live_update_init(&w->update, w->host->session, w->host->tree, payload);
}

static int collect_live(struct volume_writer *w)
{
    struct collection collection = {.writer = w};
    struct stat directory = {0};
    int r = tree_stat(w->host->tree, w->dir.id, &directory);

    w->update.volume = w->dir.id;
    w->update.uid = directory.st_uid;
    w->update.gid = directory.st_gid;
    if (r == 0 && !w->makes_generation)
        r = add_current(w, &collection.generation);
    if (r == -ENOENT) {
        w->makes_generation = true;
        r = 0;
    }
    if (r == 0 && w->host->live_mounts != NULL)
        live_mounts_visit(w->host->live_mounts, w->dir.name, collect_mount, &collection);
    return r == 0 ? collection.result : r;
}

static int begin_live(struct volume_writer *w, struct payload *payload, int root_fd)
{
    int r;

    w->makes_generation = !w->changes_in_place;
    r = collect_live(w);
    if (r == 0)
        r = live_update_begin(&w->update, root_fd);
    if ((r != -EEXIST && r != -ENOTDIR) || w->makes_generation)
        return r;
    w->makes_generation = true; /* a file becomes a directory, or the reverse */
    begin_update(w, payload);
    r = collect_live(w);
    return r == 0 ? live_update_begin(&w->update, root_fd) : r;
}

/* ---- where an earlier process ended */

/* What is live of a volume of an earlier process. */
static int finish_live(struct volume_writer *w)
{
    struct volume_dir_view view;
    int r;

    begin_update(w, w->shown);
    w->makes_generation = !w->changes_in_place;
    r = collect_live(w);
    if (r == 0)
        r = volume_dir_open(&w->dir, &view);
    if (r == 0) {
        live_update_finish(&w->update, view.root_fd);
        volume_dir_close(&w->dir, &view);
    }
    live_update_deinit(&w->update);
    return r;
}

/*
 * What an earlier process was doing is finished before an update begins, or old generations go,
 * whichever is first: where mounts are scanned, an update does not wait for the latter.
 */
static int finish(struct volume_writer *w)
{
    int r = w->dir.is_adopted && w->host->answers_open ? finish_live(w) : 0;

    return r == 0 ? volume_dir_finish(&w->dir) : r;
}

/* ---- the two halves */

int volume_writer_begin(struct volume_writer *writer, struct payload *payload)
{
    struct volume_writer *w = writer;
    struct volume_dir_view view;
    int r = finish(w);

    if (r < 0)
        return r;
    begin_update(w, payload);
    w->edition = tree_take_edition(w->host->tree);
    w->makes_generation = true;
    if (!w->host->answers_open)
        return 0;
    r = volume_dir_open(&w->dir, &view);
    if (r < 0)
        return r;
    r = begin_live(w, payload, view.root_fd);
    volume_dir_close(&w->dir, &view);
    return r;
}

mono_us volume_writer_drain_until(const struct volume_writer *writer)
{
    return live_update_drain_until(&writer->update);
}

bool volume_writer_is_partial(const struct volume_writer *writer)
{
    return live_update_is_partial(&writer->update);
}

static int write_update(struct volume_writer *w, const struct volume_dir_view *view,
                        struct writer_result *ret_written)
{
    const struct writer_options options = {.is_live = w->changes_in_place,
                                           .live_switch = w->update.live_switch};
    struct payload *payload = w->update.payload;
    struct tree *tree = w->host->tree;
    int r = w->makes_generation
                ? writer_publish(tree, view->fd, w->dir.id, payload, &options, ret_written)
                : writer_refresh(tree, view->fd, w->dir.id, payload, &options, ret_written);

    if (ret_written->generation[0] == '\0')
        return r;
    if (!w->has_generation && !w->host->answers_open)
        writer_open_first(tree, view->fd, w->dir.id);
    w->has_generation = true;
    if (w->host->answers_open) {
        payload_unref(w->shown);
        w->shown = payload_ref(payload);
    }
    if (options.live_switch != NULL)
        live_update_end(&w->update, view->root_fd);
    return r;
}

int volume_writer_end(struct volume_writer *writer, struct writer_result *ret_written)
{
    struct volume_dir_view view;
    int r = volume_dir_open(&writer->dir, &view);

    assert(writer->update.payload != NULL); /* volume_writer_begin() has set it */
    if (r == 0) {
        r = write_update(writer, &view, ret_written);
        volume_dir_close(&writer->dir, &view);
    }
    live_update_deinit(&writer->update);
    return r;
}

int volume_writer_begin_catching_up(struct volume_writer *writer)
{
    return writer->shown != NULL ? volume_writer_begin(writer, writer->shown) : -ENOENT;
}

void volume_writer_end_catching_up(struct volume_writer *writer)
{
    struct volume_dir_view view;

    assert(writer->update.live_switch != NULL);
    if (volume_dir_open(&writer->dir, &view) == 0) {
        live_switch_commit(writer->update.live_switch);
        live_update_end(&writer->update, view.root_fd);
        volume_dir_close(&writer->dir, &view);
    }
    live_update_deinit(&writer->update);
}

int volume_writer_clean(struct volume_writer *writer)
{
    int r = finish(writer);

    return r == 0 ? volume_dir_clean(&writer->dir) : r;
}

int volume_writer_remove(struct volume_writer *writer)
{
    live_update_deinit(&writer->update);
    if (writer->host->live_mounts != NULL)
        live_mounts_forget(writer->host->live_mounts, writer->dir.name);
    return volume_dir_remove(&writer->dir);
}

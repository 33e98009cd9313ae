/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file's volume is shown as soon as its objects are there, however long that takes; what cannot
 * be done now is tried again.
 *
 * A file that changes has two volumes for a while:
 *
 *  1. the old one is shown, and stays so;
 *  2. the new one, with another id, is made, and gets its objects;
 *  3. it is mounted on the target, from which the old one's mount is taken just before;
 *  4. the old one goes, and leaves the target alone.
 *
 * If 3 never comes, because the new one's objects are not there, the old one stays.
 */
#include "node/static_reconciler.h"

#include <limits.h>
#include <stdio.h>

#include "node/static_volumes.h"

#define RETRY_AFTER    SPAN_SEC(5) /* a target that is in use, a kubeconfig that is not there yet */
#define TIMER_SLACK    SPAN_SEC(1)
#define MADE_DIRS_FILE "made-dirs" /* in the run directory */

struct static_reconciler {
    struct node *node;
    struct static_volumes *files;
    struct created_dirs *created_dirs;
    sd_event_source *retry_timer;
    struct list entries;
};

/* What a file said at some time. */
struct said {
    struct entry *entry;
    struct static_volume *file; /* a reference; NULL: nothing */
    char id[NAME_MAX + 1];      /* of its volume, if that could be set up */
};

/* A CSI volume's id begins otherwise (S3); each of these with something that the other has not. */
static const char *const id_prefixes[] = {"static-", "static2-"};

/* A file that says a good volume, whether that could be set up or not. */
struct entry {
    struct list link;
    struct said said[ELEMENTS_OF(id_prefixes)];
    unsigned newest;   /* of these: what it says now; the other is what is still shown */
    struct error told; /* what was logged last */
};

static struct said *newest_of(struct entry *entry)
{
    return &entry->said[entry->newest];
}

static struct said *other_of(struct entry *entry)
{
    return &entry->said[1 - entry->newest];
}

static void retry_later(struct static_reconciler *all);

/* ---- one volume */

static struct node_volume *find_volume(const struct static_reconciler *all, const struct said *said)
{
    return said->file != NULL ? node_volumes_find(all->node->volumes, said->id) : NULL;
}

static void tell(struct entry *entry, const struct error *e)
{
    const struct static_volume *file = newest_of(entry)->file;

    if (!streq(entry->told.text, e->text))
        log_warn("cannot show a static volume; trying again", "volume", file->name, "target",
                 file->target, "reason", e->text);
    entry->told = *e;
}

/* Step 4 of the top comment. */
static void drop_replaced(struct static_reconciler *all, struct entry *entry)
{
    struct node_volume *v = find_volume(all, other_of(entry));

    if (v == NULL)
        return;
    node_volume_yield(v);
    node_volumes_drop(all->node->volumes, v); /* the reference to its file goes later: unsay() */
}

static void on_settled(void *userdata, struct node_volume *volume, enum node_volume_outcome outcome,
                       const struct error *e)
{
    struct static_reconciler *all = userdata;
    const struct said *said = volume->owner;
    struct entry *entry = said->entry;

    if (said != newest_of(entry))
        return;
    if (outcome != NODE_VOLUME_SHOWN && outcome != NODE_VOLUME_STILL_SHOWN) {
        tell(entry, e);
        retry_later(all);
        return;
    }
    entry->told = ERROR_INIT;
    if (outcome == NODE_VOLUME_SHOWN)
        log_info("shown", "volume", said->file->name, "target", volume->target);
    drop_replaced(all, entry);
    node_tell_status(all->node);
}

/* It is wanted again before that. */
static void on_abandoned(void *userdata, struct node_volume *volume)
{
}

static int make_volume(struct static_reconciler *all, struct said *said, struct error *e)
{
    static const struct node_volume_callbacks callbacks = {.settled = on_settled,
                                                           .abandoned = on_abandoned};
    const struct static_volume *file = said->file;
    const struct identity_place place = {
        .kubeconfig = file->kubeconfig, .context = file->context, .manifests = file->manifests};
    struct node_volume_options options = {
        .id = said->id,
        .target = file->target,
        .created_dirs = all->created_dirs,
        .fs = file->spec->updates == VOLUME_UPDATES_IN_PLACE ? NODE_FS_LIVE : NODE_FS_STANDARD,
        .spec = file->spec,
        .borrows_spec = true};
    struct node_volume *v;
    int r;

    if (!node_volume_id_is_valid(said->id))
        return error_set(e, -EINVAL, "its file's name may have letters, digits and - _ . only");
    r = identities_get_place(all->node->identities, &place, &options.identity, e);
    if (r < 0)
        return r;
    options.namespace = file->namespace != NULL ? file->namespace : options.identity->namespace;
    r = node_volume_new(&all->node->host, &options, &callbacks, all, &v, e);
    if (r < 0)
        return r;
    v->owner = said;
    r = node_volumes_add(all->node->volumes, v);
    return r < 0 ? error_set_errno(e, r, "cannot set the volume up") : 0;
}

/* Have it set up and shown, as far as that has not happened yet, or is no longer so. */
static void pursue(struct static_reconciler *all, struct entry *entry)
{
    struct said *said = newest_of(entry);
    struct node_volume *v = find_volume(all, said);
    struct error e = ERROR_INIT;

    if (v == NULL && make_volume(all, said, &e) < 0) {
        tell(entry, &e);
        retry_later(all);
        return;
    }
    v = find_volume(all, said);
    assert(v != NULL);
    if (!v->is_wanted)
        node_volume_want(v, true);
}

static void pursue_all(struct static_reconciler *all)
{
    struct entry *entry;

    list_for_each (entry, &all->entries, link)
        pursue(all, entry);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    pursue_all(userdata);
    return 0;
}

static void retry_later(struct static_reconciler *all)
{
    sd_event_source_set_time(all->retry_timer, clock_mono() + RETRY_AFTER);
    sd_event_source_set_enabled(all->retry_timer, SD_EVENT_ONESHOT);
}

/* ---- files */

static struct entry *find_entry(struct static_reconciler *all, const struct static_volume *file)
{
    struct entry *entry;

    list_for_each (entry, &all->entries, link)
        if (newest_of(entry)->file == file)
            return entry;
    return NULL;
}

/* Take down what came of it, if there is anything, and let go of it. */
static void unsay(struct static_reconciler *all, struct said *said)
{
    struct node_volume *v = find_volume(all, said);

    if (v != NULL)
        node_volumes_remove(all->node->volumes, v);
    node_volumes_sweep(all->node->volumes); /* what was dropped uses the file's spec */
    said->file = static_volume_unref(said->file);
}

static void say(struct said *said, struct static_volume *file)
{
    said->file = static_volume_ref(file);
    snprintf(said->id, sizeof(said->id), "%s%.240s", id_prefixes[said - said->entry->said],
             file->name);
}

static void on_added(void *userdata, struct static_volume *file)
{
    struct static_reconciler *all = userdata;
    struct entry *entry = calloc(1, sizeof(*entry));

    if (entry == NULL) {
        log_error("no memory for a static volume", "volume", file->name);
        return;
    }
    for (size_t i = 0; i < ELEMENTS_OF(entry->said); i++)
        entry->said[i].entry = entry;
    say(newest_of(entry), file);
    list_append(&all->entries, &entry->link);
    pursue(all, entry);
}

static void entry_free(struct static_reconciler *all, struct entry *entry)
{
    unsay(all, newest_of(entry));
    unsay(all, other_of(entry));
    list_remove(&entry->link);
    free(entry);
}

static void on_removed(void *userdata, const struct static_volume *file)
{
    struct static_reconciler *all = userdata;
    struct entry *entry = find_entry(all, file);

    if (entry == NULL)
        return;
    log_info("no longer asked for", "volume", file->name, "target", file->target);
    entry_free(all, entry);
    node_tell_status(all->node);
}

static void on_changed(void *userdata, const struct static_volume *old, struct static_volume *file)
{
    struct static_reconciler *all = userdata;
    struct entry *entry = find_entry(all, old);
    const struct node_volume *v;

    if (entry == NULL) {
        on_added(all, file);
        return;
    }
    v = find_volume(all, newest_of(entry));
    if (v != NULL && v->state == NODE_VOLUME_BOUND)
        entry->newest = 1 - entry->newest; /* what is shown stays for now */
    unsay(all, newest_of(entry));
    say(newest_of(entry), file);
    pursue(all, entry);
}

static void on_failed(void *userdata, const char *file, const char *reason)
{
    if (reason != NULL)
        log_warn("a file of static volumes is no good", "file", file, "reason", reason);
    else
        log_info("a file of static volumes is good again", "file", file);
}

/* ---- all of it */

/* Whether the path is a target, or leads to one. */
static bool is_on_the_way(void *userdata, const char *path)
{
    const struct static_reconciler *all = userdata;
    struct entry *entry;

    list_for_each (entry, &all->entries, link) {
        const char *rest = str_after(newest_of(entry)->file->target, path);

        if (rest != NULL && (*rest == '\0' || *rest == '/'))
            return true;
    }
    return false;
}

static int open_made_dirs(struct static_reconciler *all, struct error *e)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/" MADE_DIRS_FILE, all->node->options->run_dir);

    if (n < 0 || (size_t)n >= sizeof(path))
        return error_set(e, -ENAMETOOLONG, "the path of the run directory is too long");
    return created_dirs_new(path, &all->created_dirs, e);
}

int static_reconciler_new(struct node *node, struct static_reconciler **ret_static, struct error *e)
{
    static const struct static_volumes_callbacks callbacks = {
        .added = on_added, .changed = on_changed, .removed = on_removed, .failed = on_failed};
    _cleanup_(static_reconciler_freep) struct static_reconciler *all = calloc(1, sizeof(*all));
    int r;

    if (all == NULL)
        return error_set_errno(e, -ENOMEM, "cannot follow %s", node->options->volumes_dir);
    all->node = node;
    list_init(&all->entries);
    r = sd_event_add_time(node->event, &all->retry_timer, CLOCK_MONOTONIC, 0, TIMER_SLACK, on_retry,
                          all);
    if (r >= 0)
        r = sd_event_source_set_enabled(all->retry_timer, SD_EVENT_OFF);
    if (r < 0)
        return error_set_errno(e, r, "cannot set a timer");
    r = open_made_dirs(all, e);
    if (r == 0)
        r = static_volumes_new(node->event, node->options->volumes_dir, &callbacks, all,
                               &all->files, e);
    if (r < 0)
        return r;
    static_volumes_refresh(all->files);
    created_dirs_prune(all->created_dirs, is_on_the_way, all);
    *ret_static = TAKE(all);
    return 0;
}

struct static_reconciler *static_reconciler_free(struct static_reconciler *all)
{
    struct entry *entry, *tmp;

    if (all == NULL)
        return NULL;
    list_for_each_safe (entry, tmp, &all->entries, link)
        entry_free(all, entry);
    static_volumes_free(all->files);
    created_dirs_free(all->created_dirs);
    sd_event_source_disable_unref(all->retry_timer);
    free(all);
    return NULL;
}

void static_reconciler_refresh(struct static_reconciler *all)
{
    static_volumes_refresh(all->files);
    pursue_all(all);
}

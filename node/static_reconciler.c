/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A static volume is mounted as soon as its objects are available, however long that takes. What
 * fails is retried every RETRY_AFTER: the target may be in use, a kubeconfig missing.
 *
 * When a file changes, there are two volumes for a while:
 *
 *  1. The volume of the old revision is mounted, and stays.
 *  2. The volume of the new revision, with another id, is created and fetches its objects.
 *  3. It is mounted on the target, where it replaces the old mount.
 *  4. The old volume releases the target and is dropped.
 *
 * If step 3 never comes, because objects of the new revision are missing, the old volume stays.
 *
 * A change that comes while a mount is in progress waits until that has ended: readers may see the
 * mount before the loop knows of it, and one that is cancelled may have taken the old one's place.
 *
 * A volume of an earlier process is taken over if its file is the same; if it has changed since,
 * the volume is made again, and until it is mounted readers find nothing.
 */
#include "node/static_reconciler.h"

#include <limits.h>
#include <stdio.h>

#include "node/static_volumes.h"
#include "node/volume_record.h"

#define RETRY_AFTER       SPAN_SEC(5)
#define TIMER_SLACK       SPAN_SEC(1)
#define ID_SIZE           (NAME_MAX + 1)
#define CREATED_DIRS_FILE "made-dirs" /* in the run directory; earlier versions wrote it, too */

struct static_reconciler {
    struct static_reconciler_context context;
    struct static_volumes *files;
    struct created_dirs *created_dirs;
    sd_event_source *retry_timer;
    sd_event_source *changes; /* enabled after a mount for which changes may have waited */
    struct list entries;
};

/* One version of a file. */
struct revision {
    struct entry *entry;
    struct static_volume *file; /* a reference; NULL: unused */
    char id[ID_SIZE];           /* of the volume */
};

/*
 * CSI volume ids begin otherwise (S3). The two volumes of an entry differ in their prefix, and a
 * name cannot make them equal.
 */
static const char *const id_prefixes[] = {"static-", "static2-"};

/* A valid file. */
struct entry {
    struct list link;
    struct static_reconciler *reconciler;
    struct revision revisions[ELEMENTS_OF(id_prefixes)];
    unsigned newest;            /* of the revisions; the other one may still be mounted */
    struct static_volume *next; /* a reference: waits for the end of a mount; or NULL */
    struct error logged_error;  /* empty: none */
};

/* The volume of a revision. */
struct revision_volume {
    struct node_volume volume;
    struct revision *revision;  /* not valid any more once the volume is dropped */
    struct static_volume *file; /* a reference, as the volume borrows its spec */
};

static struct revision *newest_of(struct entry *entry)
{
    assert(entry->newest < ELEMENTS_OF(entry->revisions));
    return &entry->revisions[entry->newest];
}

static struct revision *previous_of(struct entry *entry)
{
    return &entry->revisions[1 - entry->newest];
}

/* ---- volumes */

static struct node_volume *find_volume(const struct static_reconciler *all,
                                       const struct revision *revision)
{
    return revision->file != NULL ? node_volumes_find(all->context.volumes, revision->id) : NULL;
}

static void handle_failure(struct entry *entry, const struct error *e)
{
    const struct static_volume *file = newest_of(entry)->file;
    sd_event_source *timer = entry->reconciler->retry_timer;

    if (!streq(entry->logged_error.text, e->text))
        log_warn("cannot mount a static volume, retrying", "volume", file->name, "target",
                 file->target, "reason", e->text);
    entry->logged_error = *e;
    sd_event_source_set_time(timer, clock_mono() + RETRY_AFTER);
    sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

/* Step 4 of the top comment. */
static void drop_previous(struct static_reconciler *all, struct entry *entry)
{
    struct node_volume *v = find_volume(all, previous_of(entry));

    if (v == NULL)
        return;
    node_volume_release_target(v);
    node_volumes_drop(all->context.volumes, v);
}

static void on_mount_done(struct node_volume *volume, enum node_mount_result result,
                          const struct error *e)
{
    const struct revision_volume *v = CONTAINER_OF(volume, struct revision_volume, volume);
    const struct revision *revision = v->revision;
    struct entry *entry = revision->entry;
    struct static_reconciler *all = entry->reconciler;

    if (revision != newest_of(entry))
        return;
    assert(revision->file == v->file);
    sd_event_source_set_enabled(all->changes, SD_EVENT_ONESHOT);
    if (result != NODE_MOUNT_DONE && result != NODE_MOUNT_UNCHANGED) {
        handle_failure(entry, e);
        return;
    }
    entry->logged_error = ERROR_INIT;
    if (result == NODE_MOUNT_DONE)
        log_info("mounted a static volume", "volume", revision->file->name, "target",
                 volume->target);
    drop_previous(all, entry);
    all->context.changed(all->context.userdata);
}

static void revision_volume_free(struct node_volume *volume)
{
    struct revision_volume *v = CONTAINER_OF(volume, struct revision_volume, volume);

    node_volume_deinit(volume);
    static_volume_unref(v->file);
    free(v);
}

/*
 * Whether an earlier process has recorded the same volume: its file has not changed since.
 * @ret_orders, @ret_notified: of its record; orders are NULL or the caller's
 */
static bool is_recorded(const struct static_reconciler *all,
                        const struct node_volume_options *options,
                        struct volume_kept_order **ret_orders, uint64_t *ret_notified)
{
    const char *recorded =
        node_file_systems_find_record(all->context.volume_context->file_systems, options->id);
    _cleanup_(volume_record_deinit) struct volume_record_document document = {.json = NULL};
    _cleanup_(freep) char *text = NULL, *same = NULL;

    if (recorded == NULL || volume_record_parse(recorded, &document, NULL) < 0)
        return false;
    *ret_notified = document.record.notified;
    document.record.orders = NULL; /* a file has neither */
    document.record.notified = 0;
    if (node_volume_print_record(options, &text) < 0 ||
        volume_record_print(&document.record, &same) < 0 || !streq(text, same))
        return false;
    *ret_orders = TAKE(document.orders);
    return true;
}

/*
 * Find what an earlier process shows of the volume. What cannot be taken over is removed, as its
 * directory has the name that the new one needs.
 * Return: 0; -ESTALE: nothing; -ENOMEM with @e.
 */
static int find_shown(const struct static_reconciler *all,
                      const struct node_volume_options *options, struct node_shown *ret_shown,
                      struct error *e)
{
    struct node_file_systems *file_systems = all->context.volume_context->file_systems;
    struct volume_kept_order *orders = NULL;
    uint64_t notified = 0;
    int r = -ESTALE;

    if (is_recorded(all, options, &orders, &notified))
        r = node_shown_find(file_systems, &options->area, options->id, options->target, ret_shown,
                            e);
    if (r == 0) {
        ret_shown->orders = TAKE(orders);
        ret_shown->notified = notified;
    }
    free(orders);
    if (r == -ESTALE)
        node_file_systems_drop_leftover(file_systems, options->id);
    return r;
}

/* @options: its identity is consumed */
static int add_volume(struct static_reconciler *all, struct revision *revision,
                      const struct node_volume_options *options, struct error *e)
{
    /* no `expired`: reconcile() requests the mount again */
    static const struct node_volume_ops ops = {.mount_done = on_mount_done,
                                               .free = revision_volume_free};
    struct revision_volume *v = calloc(1, sizeof(*v));
    int r;

    if (v == NULL) {
        identity_unref(options->identity);
        return error_set_errno(e, -ENOMEM, "cannot set up the volume");
    }
    v->revision = revision;
    v->file = static_volume_ref(revision->file);
    r = node_volume_init(&v->volume, all->context.volume_context, options, &ops, e);
    if (r < 0) {
        node_volume_leave(&v->volume); /* of an earlier process, for a later try */
        revision_volume_free(&v->volume);
        return r;
    }
    r = node_volumes_add(all->context.volumes, &v->volume);
    return r < 0 ? error_set_errno(e, r, "cannot set up the volume") : 0;
}

static int check_commands(const struct commands *commands, const struct static_volume *file,
                          struct error *e)
{
    int r = commands_check_name(commands, file->spec->check_command, e);

    if (r < 0)
        return error_prefix(e, r, "check");
    r = commands_check_name(commands, file->action.command, e);
    return r < 0 ? error_prefix(e, r, "onUpdate") : 0;
}

static int create_volume(struct static_reconciler *all, struct revision *revision, struct error *e)
{
    const struct static_volume *file = revision->file;
    _cleanup_(node_shown_deinit) struct node_shown shown = {.payload = NULL};
    const struct identity_place place = {
        .kubeconfig = file->kubeconfig, .context = file->context, .manifests = file->manifests};
    struct node_volume_options options = {.id = revision->id,
                                          .target = file->target,
                                          .created_dirs = all->created_dirs,
                                          .action = file->action,
                                          .spec = file->spec,
                                          .borrows_spec = true};
    int r;

    if (!node_volume_id_is_valid(revision->id))
        return error_set(e, -EINVAL, "invalid file name: expected letters, digits and - _ . only");
    r = check_commands(all->context.volume_context->commands, file, e);
    if (r == 0)
        r = identities_get_place(all->context.identities, &place, &options.identity, e);
    if (r < 0)
        return r;
    assert(options.identity != NULL);
    options.namespace = file->namespace != NULL ? file->namespace : options.identity->namespace;
    r = find_shown(all, &options, &shown, e);
    if (r < 0 && r != -ESTALE) {
        identity_unref(options.identity);
        return r;
    }
    if (r == 0) {
        options.shown = &shown;
        log_info("took over a static volume", "volume", file->name, "target", file->target);
    }
    return add_volume(all, revision, &options, e);
}

/* Create the volume of the newest revision if it is missing, and request its mount. */
static void reconcile(struct static_reconciler *all, struct entry *entry)
{
    struct revision *revision = newest_of(entry);
    struct node_volume *v = find_volume(all, revision);
    struct error e = ERROR_INIT;

    if (v == NULL && create_volume(all, revision, &e) < 0) {
        handle_failure(entry, &e);
        return;
    }
    v = find_volume(all, revision);
    assert(v != NULL);
    if (!v->is_requested)
        node_volume_request_mount(v, true);
}

static void reconcile_all(struct static_reconciler *all)
{
    struct entry *entry;

    list_for_each (entry, &all->entries, link)
        reconcile(all, entry);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    reconcile_all(userdata);
    return 0;
}

/* ---- files */

static struct entry *find_entry(struct static_reconciler *all, const struct static_volume *file)
{
    struct entry *entry;

    list_for_each (entry, &all->entries, link)
        if (file == (entry->next != NULL ? entry->next : newest_of(entry)->file))
            return entry;
    return NULL;
}

/* @i: of the revision in its entry */
static void format_id(const struct static_volume *file, unsigned i, char ret_id[static ID_SIZE])
{
    snprintf(ret_id, ID_SIZE, "%s%.240s", id_prefixes[i], file->name);
}

/* The revision that an earlier process has shown on the target; 0: none. */
static unsigned find_newest(const struct static_reconciler *all, const struct static_volume *file)
{
    static const struct target_area anywhere;
    struct node_file_systems *file_systems = all->context.volume_context->file_systems;
    struct node_shown shown;
    char id[ID_SIZE];

    format_id(file, 1, id);
    if (node_file_systems_find_record(file_systems, id) == NULL ||
        node_shown_find(file_systems, &anywhere, id, file->target, &shown, NULL) < 0)
        return 0;
    node_shown_deinit(&shown);
    return 1;
}

static void revision_set(struct revision *revision, struct static_volume *file)
{
    assert(revision->file == NULL);
    revision->file = static_volume_ref(file);
    format_id(file, (unsigned)(revision - revision->entry->revisions), revision->id);
}

/* Remove the volume of a revision, if there is one. */
static void revision_clear(struct static_reconciler *all, struct revision *revision)
{
    struct node_volume *v = find_volume(all, revision);

    if (v != NULL)
        node_volumes_remove(all->context.volumes, v);
    /* a dropped volume keeps the directory of its id, which the next revision may use */
    node_volumes_sweep(all->context.volumes);
    revision->file = static_volume_unref(revision->file);
}

static void on_added(void *userdata, struct static_volume *file)
{
    struct static_reconciler *all = userdata;
    struct entry *entry = calloc(1, sizeof(*entry));

    if (entry == NULL) {
        log_error("no memory for a static volume", "volume", file->name);
        return;
    }
    entry->reconciler = all;
    for (size_t i = 0; i < ELEMENTS_OF(entry->revisions); i++)
        entry->revisions[i].entry = entry;
    entry->newest = find_newest(all, file);
    revision_set(newest_of(entry), file);
    list_append(&all->entries, &entry->link);
    reconcile(all, entry);
}

static void entry_free(struct static_reconciler *all, struct entry *entry)
{
    revision_clear(all, newest_of(entry));
    revision_clear(all, previous_of(entry));
    static_volume_unref(entry->next);
    list_remove(&entry->link);
    free(entry);
}

static void on_removed(void *userdata, const struct static_volume *file)
{
    struct static_reconciler *all = userdata;
    struct entry *entry = find_entry(all, file);

    if (entry == NULL)
        return;
    log_info("file of a static volume removed, unmounting it", "volume", file->name, "target",
             file->target);
    entry_free(all, entry);
    all->context.changed(all->context.userdata);
}

/* Make the file that waits the newest revision, unless a mount is in progress. */
static void apply_change(struct static_reconciler *all, struct entry *entry)
{
    const struct node_volume *v = find_volume(all, newest_of(entry));

    if (v != NULL && v->state == NODE_VOLUME_AWAITING_MOUNT)
        return; /* on_mount_done() follows */
    if (v != NULL && v->state == NODE_VOLUME_MOUNTED)
        entry->newest = 1 - entry->newest; /* step 1 of the top comment */
    revision_clear(all, newest_of(entry));
    revision_set(newest_of(entry), entry->next);
    entry->next = static_volume_unref(entry->next);
    reconcile(all, entry);
}

static int on_changes(sd_event_source *source, void *userdata)
{
    struct static_reconciler *all = userdata;
    struct entry *entry;

    list_for_each (entry, &all->entries, link)
        if (entry->next != NULL)
            apply_change(all, entry);
    return 0;
}

static void on_changed(void *userdata, const struct static_volume *old, struct static_volume *file)
{
    struct static_reconciler *all = userdata;
    struct entry *entry = find_entry(all, old);

    if (entry == NULL) {
        on_added(all, file);
        return;
    }
    assert(streq(old->target, file->target));
    static_volume_unref(entry->next);
    entry->next = static_volume_ref(file);
    apply_change(all, entry);
}

static void on_failed(void *userdata, const char *file, const char *reason)
{
    if (reason != NULL)
        log_warn("invalid file of a static volume", "file", file, "reason", reason);
    else
        log_info("file of a static volume is valid again", "file", file);
}

/* ---- new and free */

/* Whether a target is @path or lies below it. */
static bool has_target_below(void *userdata, const char *path)
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

static int open_created_dirs(struct static_reconciler *all, struct error *e)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/" CREATED_DIRS_FILE, all->context.run_dir);

    if (n < 0 || (size_t)n >= sizeof(path))
        return error_set(e, -ENAMETOOLONG, "the path of the run directory is too long");
    return created_dirs_new(path, &all->created_dirs, e);
}

int static_reconciler_new(const struct static_reconciler_context *context,
                          struct static_reconciler **ret_static, struct error *e)
{
    static const struct static_volumes_callbacks callbacks = {
        .added = on_added, .changed = on_changed, .removed = on_removed, .failed = on_failed};
    _cleanup_(static_reconciler_freep) struct static_reconciler *all = calloc(1, sizeof(*all));
    int r;

    if (all == NULL)
        return error_set_errno(e, -ENOMEM, "cannot follow %s", context->volumes_dir);
    all->context = *context;
    list_init(&all->entries);
    r = sd_event_add_time(context->event, &all->retry_timer, CLOCK_MONOTONIC, 0, TIMER_SLACK,
                          on_retry, all);
    if (r >= 0)
        r = sd_event_source_set_enabled(all->retry_timer, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_defer(context->event, &all->changes, on_changes, all);
    if (r >= 0)
        r = sd_event_source_set_enabled(all->changes, SD_EVENT_OFF);
    if (r < 0)
        return error_set_errno(e, r, "cannot set a timer");
    r = open_created_dirs(all, e);
    if (r == 0)
        r = static_volumes_new(context->event, context->volumes_dir, &callbacks, all, &all->files,
                               e);
    if (r < 0)
        return r;
    static_volumes_refresh(all->files);
    created_dirs_prune(all->created_dirs, has_target_below, all);
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
    sd_event_source_disable_unref(all->changes);
    free(all);
    return NULL;
}

void static_reconciler_refresh(struct static_reconciler *all)
{
    static_volumes_refresh(all->files);
    reconcile_all(all);
}

bool static_reconciler_awaits(const struct static_reconciler *all, const char *volume_id)
{
    struct entry *entry;

    list_for_each (entry, &all->entries, link)
        if (streq(newest_of(entry)->id, volume_id))
            return true;
    return false;
}

const char *static_reconciler_name(const char *volume_id)
{
    const char *name = NULL;

    for (size_t i = 0; i < ELEMENTS_OF(id_prefixes) && name == NULL; i++)
        name = str_after(volume_id, id_prefixes[i]);
    return name;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process sends one document for all of its volumes, and has a socket for each of its file
 * systems. For a list:
 *
 *   1. connect to the process of each device in mountinfo, once; they all prepare their documents
 *   2. read what arrives, in the order in which processes answer; a document whose process was
 *      parsed before is skipped after its first line
 *   3. add an item for each mount whose process is dead or has not answered
 *
 * So a process that hangs is waited for while all others have answered, and costs none of them.
 *
 * For one path, mountinfo's mount ID leads to the mount point, which names the volume within the
 * document: a node's volumes share a device.
 */
#include "cmd/status/request.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "monitor/status_socket.h"
#include "serve/mounts.h"

/* ---- documents */

/* Copy a member unless it is there already. Return: 0 or -ENOMEM. */
static int copy_member(const cJSON *from, cJSON *to, const char *key)
{
    const cJSON *member = json_member(from, key);
    cJSON *copy;

    if (member == NULL || json_member(to, key) != NULL)
        return 0;
    copy = cJSON_Duplicate(member, true);
    if (copy != NULL && cJSON_AddItemToObject(to, key, copy))
        return 0;
    cJSON_Delete(copy);
    return -ENOMEM;
}

static int copy_members(const cJSON *from, cJSON *to)
{
    const cJSON *member;
    int r = 0;

    cJSON_ArrayForEach (member, from) {
        r |= copy_member(from, to, member->string);
    }
    return r < 0 ? -ENOMEM : 0;
}

static int add_to_list(cJSON *list, const char *key, cJSON **json)
{
    cJSON *array = cJSON_GetObjectItemCaseSensitive(list, key);

    if (array == NULL)
        array = cJSON_AddArrayToObject(list, key);
    if (!cJSON_AddItemToArray(array, *json))
        return -ENOMEM;
    (void)TAKE(*json);
    return 0;
}

static size_t count(const cJSON *list)
{
    const cJSON *items = json_member(list, "items");

    return items != NULL ? (size_t)cJSON_GetArraySize(items) : 0;
}

/* The members of its process that a volume in a list has. */
static int add_process(const cJSON *process, cJSON *volume)
{
    static const char *const keys[] = {"process", "pid", "version", "since"};
    int r = 0;

    for (size_t i = 0; i < ELEMENTS_OF(keys); i++)
        r |= copy_member(process, volume, keys[i]);
    return r;
}

/* A process with several mounts sends its document for each of them. */
static bool is_known(const cJSON *list, const cJSON *process)
{
    static const char *const keys[] = {"pid", "since"};
    const cJSON *known;

    cJSON_ArrayForEach (known, json_member(list, "processes")) {
        bool is_same = true;

        for (size_t i = 0; i < ELEMENTS_OF(keys); i++)
            is_same = is_same && cJSON_Compare(json_member(known, keys[i]),
                                               json_member(process, keys[i]), true);
        if (is_same)
            return true;
    }
    return false;
}

/*
 * @process: the process of this document; set by its first line
 * Return: 0; ALREADY_KNOWN for a document that was parsed before; -errno with @e.
 */
#define ALREADY_KNOWN 1
static int parse_line(const char *line, size_t len, cJSON *list, const cJSON **process,
                      size_t *n_items, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    int r = json_parse(line, len, &json, e);

    if (r < 0)
        return error_prefix(e, r, "invalid status document");
    if (json_text(json, "mountpoint") == NULL) {
        if (is_known(list, json))
            return ALREADY_KNOWN;
        *process = json;
        r = add_to_list(list, "processes", &json);
    } else if ((*n_items)++ == STATUS_VOLUMES_MAX) {
        return error_set(e, -E2BIG, "more than %u volumes", STATUS_VOLUMES_MAX);
    } else {
        r = add_process(*process, json);
        if (r == 0)
            r = add_to_list(list, "items", &json);
    }
    return r < 0 ? error_set_errno(e, r, "cannot read the status") : 0;
}

int status_parse(const char *document, cJSON *list, struct error *e)
{
    const cJSON *process = NULL;
    size_t n_items = count(list);
    int r = 0;

    for (const char *line = document; *line != '\0' && r == 0;) {
        size_t len = strcspn(line, "\n");

        if (len > 0)
            r = parse_line(line, len, list, &process, &n_items, e);
        line += line[len] == '\n' ? len + 1 : len;
    }
    return r < 0 ? r : 0;
}

static int receive(int fd, cJSON *list, struct error *e)
{
    _cleanup_(buf_deinit) struct buf document = BUF_INIT(STATUS_DOCUMENT_MAX);
    int r = status_socket_receive(fd, &document, e);

    return r < 0 ? r : status_parse(buf_text(&document), list, e);
}

/* ---- one volume */

/* Copy the source that the volume names from its process. */
static int add_source(const cJSON *process, cJSON *volume)
{
    cJSON *source = cJSON_GetObjectItemCaseSensitive(volume, "source");
    const char *identity = json_text(source, "identity");
    const cJSON *described;

    cJSON_ArrayForEach (described, json_member(process, "sources")) {
        const char *other = json_text(described, "identity");

        if (identity != NULL && other != NULL && streq(identity, other))
            return copy_members(described, source);
    }
    return 0;
}

/* @mountpoint: NULL if unknown, which is enough if there is one volume only. */
static cJSON *detach_item(cJSON *list, const char *mountpoint)
{
    cJSON *items = cJSON_GetObjectItemCaseSensitive(list, "items");
    cJSON *item;

    if (cJSON_GetArraySize(items) == 1)
        return cJSON_DetachItemFromArray(items, 0);
    cJSON_ArrayForEach (item, items) {
        if (mountpoint != NULL && streq(json_text(item, "mountpoint"), mountpoint))
            return cJSON_DetachItemViaPointer(items, item);
    }
    return NULL;
}

int status_request(const char *path, bool is_debug, cJSON **ret_volume, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = cJSON_CreateObject(), *volume = NULL;
    _cleanup_(freep) char *mountpoint = NULL;
    _cleanup_(fd_closep) int fd = -1;
    const cJSON *process;
    int r = status_socket_connect(path, is_debug, &fd, e);

    if (r == 0)
        r = list != NULL ? receive(fd, list, e)
                         : error_set_errno(e, -ENOMEM, "cannot request the status");
    if (r == -ETIMEDOUT && fd >= 0)
        return error_prefix(e, r, "the mount at %.200s", path);
    if (r < 0)
        return r;
    mounts_point_of(path, &mountpoint);
    volume = detach_item(list, mountpoint);
    if (volume == NULL)
        return error_set(e, -ENOENT, "%s is in a secretfs mount, but not in a volume", path);
    process = cJSON_GetArrayItem(json_member(list, "processes"), 0);
    r = add_source(process, volume);
    if (r == 0)
        r = copy_members(process, volume);
    cJSON_DeleteItemFromObjectCaseSensitive(volume, "sources");
    if (r < 0)
        return error_set_errno(e, r, "cannot read the status");
    *ret_volume = TAKE(volume);
    return 0;
}

int status_request_list(const char *path, bool is_debug, cJSON **ret_list, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL, *volume = NULL;
    int r = status_request(path, is_debug, &volume, e);

    if (r < 0)
        return r;
    list = cJSON_CreateObject();
    if (!cJSON_AddItemToArray(cJSON_AddArrayToObject(list, "items"), volume))
        return error_set_errno(e, -ENOMEM, "cannot request the status");
    (void)TAKE(volume);
    *ret_list = TAKE(list);
    return 0;
}

/* ---- all volumes */

#define DEVICES_MAX 1024 /* file systems of one host: two of a node, one of each mount */

enum device_state {
    DEVICE_AWAITED,
    DEVICE_ANSWERED,
    DEVICE_HIDDEN,  /* another user's mounts are not listed */
    DEVICE_DEAD,    /* no process has its socket */
    DEVICE_SILENT,  /* the process does not answer */
    DEVICE_INVALID, /* its document cannot be listed, or not all of it */
};

/* A file system, by the first of its mounts. */
struct device {
    dev_t number;
    char *mountpoint;
    int fd; /* while its document is awaited; else -1 */
    enum device_state state;
    struct error error; /* in DEVICE_SILENT and DEVICE_INVALID */
};

struct request {
    cJSON *list;
    bool is_debug;
    bool is_own; /* of the caller's own mounts only */
    struct device devices[DEVICES_MAX];
    size_t n_devices;
    bool has_too_many;
    mono_us began;
    int result;
};

static struct request *request_free(struct request *g)
{
    for (size_t i = 0; g != NULL && i < g->n_devices; i++) {
        fd_closep(&g->devices[i].fd);
        free(g->devices[i].mountpoint);
    }
    free(g);
    return NULL;
}
DEFINE_CLEANUP(struct request *, request_free)

/*
 * All processes share STATUS_TIMEOUT_MS, so that several that hang don't add up. What is left for
 * one that is requested after those is enough for a process that runs.
 */
#define TIMEOUT_MIN_MS 100

static unsigned remaining_ms(const struct request *g)
{
    uint64_t passed = (clock_mono() - g->began) / 1000;

    return passed + TIMEOUT_MIN_MS < STATUS_TIMEOUT_MS ? (unsigned)(STATUS_TIMEOUT_MS - passed)
                                                       : TIMEOUT_MIN_MS;
}

static struct device *find_device(struct request *g, dev_t number)
{
    for (size_t i = 0; i < g->n_devices; i++)
        if (g->devices[i].number == number)
            return &g->devices[i];
    return NULL;
}

/* ---- 1: connecting */

static void connect_device(const struct request *g, const struct mount_entry *entry,
                           struct device *device)
{
    int r = status_socket_connect_mount(entry, g->is_debug, remaining_ms(g), &device->fd,
                                        &device->error);

    if (r == 0)
        device->state = DEVICE_AWAITED;
    else if (r == -EACCES)
        device->state = DEVICE_HIDDEN;
    else if (r == -ENOTCONN && !status_socket_is_served(device->mountpoint))
        device->state = DEVICE_DEAD;
    else
        device->state = DEVICE_SILENT;
    if (r == -ENOTCONN)
        error_set(&device->error, -EIO, STATUS_SOCKET_MISSING); /* of a dead one it is not read */
}

static bool connect_mount(void *userdata, const char *mountpoint, const struct mount_entry *entry)
{
    struct request *g = userdata;
    struct device *device;

    if (find_device(g, entry->device) != NULL || (g->is_own && entry->owner != geteuid()))
        return true;
    g->has_too_many = g->n_devices == DEVICES_MAX;
    if (g->has_too_many)
        return false;
    device = &g->devices[g->n_devices++];
    *device = (struct device){
        .number = entry->device, .fd = -1, .mountpoint = strdup(mountpoint), .error = ERROR_INIT};
    if (device->mountpoint == NULL)
        g->result = -ENOMEM;
    else
        connect_device(g, entry, device);
    return g->result == 0;
}

/* ---- 2: reading */

static enum device_state state_after(int result)
{
    if (result == 0)
        return DEVICE_ANSWERED;
    return result == -EINVAL || result == -E2BIG ? DEVICE_INVALID : DEVICE_SILENT;
}

static void read_device(struct request *g, struct device *device)
{
    int r = receive(device->fd, g->list, &device->error);

    if (r == -ENOMEM)
        g->result = r;
    device->state = state_after(r);
    device->fd = fd_close(device->fd);
}

/* Wait until one of those that are awaited answers. Return: their number, or that of all. */
static size_t poll_devices(const struct request *g, struct pollfd *polled)
{
    size_t n_awaited = 0;

    for (size_t i = 0; i < g->n_devices; i++) {
        polled[i] = (struct pollfd){.fd = g->devices[i].fd, .events = POLLIN};
        n_awaited += g->devices[i].state == DEVICE_AWAITED;
    }
    if (n_awaited > 0 && poll(polled, g->n_devices, (int)remaining_ms(g)) <= 0)
        return 0;
    return n_awaited;
}

/* Those that answer first are read first, and those that do not answer last. */
static void read_devices(struct request *g)
{
    _cleanup_(freep) struct pollfd *polled = calloc(g->n_devices + 1, sizeof(*polled));

    while (polled != NULL && g->result == 0 && poll_devices(g, polled) > 0)
        for (size_t i = 0; i < g->n_devices; i++)
            if (polled[i].fd >= 0 && polled[i].revents != 0)
                read_device(g, &g->devices[i]);
    for (size_t i = 0; i < g->n_devices && g->result == 0; i++)
        if (g->devices[i].state == DEVICE_AWAITED &&
            fcntl(g->devices[i].fd, F_SETFL, O_NONBLOCK) == 0) /* it had its time */
            read_device(g, &g->devices[i]);
    if (polled == NULL)
        g->result = -ENOMEM;
}

/* ---- 3: mounts whose process is dead or silent */

static int add_error(struct request *g, const char *text)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateString(text);

    return add_to_list(g->list, "errors", &json);
}

static int add_item(struct request *g, const char *mountpoint, const char *state, const char *error)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    cJSON *volume = cJSON_AddObjectToObject(json, "volume");
    int r = 0;

    r |= json_add_text(json, "mountpoint", mountpoint);
    r |= json_add_text(volume, "state", state);
    r |= json_add_text(volume, "error", error);
    return r < 0 ? -ENOMEM : add_to_list(g->list, "items", &json);
}

static bool add_mount(void *userdata, const char *mountpoint, const struct mount_entry *entry)
{
    struct request *g = userdata;
    const struct device *device = find_device(g, entry->device);
    struct error dead = ERROR_INIT;

    error_set(&dead, -ENOTCONN,
              "the process is dead; run `secretfs unmount %.180s` and mount again", mountpoint);
    if (device != NULL && device->state == DEVICE_DEAD)
        g->result = add_item(g, mountpoint, "dead", dead.text);
    if (device != NULL && device->state == DEVICE_SILENT)
        g->result = add_item(g, mountpoint, "unknown", device->error.text);
    return g->result == 0;
}

static int add_errors(struct request *g)
{
    int r = g->has_too_many ? add_error(g, "too many mounts: some are not listed") : 0;

    for (size_t i = 0; i < g->n_devices && r == 0; i++) {
        struct device *device = &g->devices[i];
        struct error e = device->error;

        if (device->state != DEVICE_SILENT && device->state != DEVICE_INVALID)
            continue;
        error_prefix(&e, -EIO, "the mount at %s", device->mountpoint);
        r = add_error(g, e.text);
    }
    return r;
}

/* ---- the list */

static int compare_items(const void *a, const void *b)
{
    return strcmp(json_text(*(cJSON *const *)a, "mountpoint"),
                  json_text(*(cJSON *const *)b, "mountpoint"));
}

/* Return: a new array with the items, sorted; NULL when memory runs out. */
static cJSON *sort_items(cJSON *items)
{
    size_t n = (size_t)cJSON_GetArraySize(items);
    _cleanup_(freep) cJSON **order = calloc(n + 1, sizeof(cJSON *));
    cJSON *sorted = cJSON_CreateArray();

    if (order == NULL || sorted == NULL) {
        cJSON_Delete(sorted);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        order[i] = cJSON_DetachItemFromArray(items, 0);
    qsort(order, n, sizeof(cJSON *), compare_items);
    for (size_t i = 0; i < n; i++)
        cJSON_AddItemToArray(sorted, order[i]); /* allocates nothing */
    return sorted;
}

/* Return: 0; -errno with @e. */
static int request_all(struct request *g, struct error *e)
{
    int r = mounts_visit(connect_mount, g, e);

    if (r < 0)
        return r;
    if (g->result == 0)
        read_devices(g);
    if (g->result == 0)
        r = mounts_visit(add_mount, g, e);
    if (r < 0)
        return r;
    if (g->result == 0)
        g->result = add_errors(g);
    return g->result < 0 ? error_set_errno(e, g->result, "cannot list volumes") : 0;
}

static int request_list(bool is_debug, bool is_own, cJSON **ret_list, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *list = cJSON_CreateObject(), *sorted = NULL;
    _cleanup_(request_freep) struct request *g = calloc(1, sizeof(*g));
    int r;

    if (cJSON_AddArrayToObject(list, "processes") == NULL ||
        cJSON_AddArrayToObject(list, "items") == NULL || g == NULL)
        return error_set_errno(e, -ENOMEM, "cannot list volumes");
    g->list = list;
    g->is_debug = is_debug;
    g->is_own = is_own;
    g->began = clock_mono();
    r = request_all(g, e);
    if (r < 0)
        return r;
    sorted = sort_items(cJSON_GetObjectItemCaseSensitive(list, "items"));
    if (sorted == NULL || !cJSON_ReplaceItemInObjectCaseSensitive(list, "items", sorted))
        return error_set_errno(e, -ENOMEM, "cannot list volumes");
    (void)TAKE(sorted);
    *ret_list = TAKE(list);
    return 0;
}

int status_request_all(bool is_debug, cJSON **ret_list, struct error *e)
{
    return request_list(is_debug, false, ret_list, e);
}

int status_request_own(bool is_debug, cJSON **ret_list, struct error *e)
{
    return request_list(is_debug, true, ret_list, e);
}

int status_print_errors(const cJSON *list)
{
    const cJSON *error;

    cJSON_ArrayForEach (error, json_member(list, "errors")) {
        fprintf(stderr, "secretfs: %s\n", cJSON_GetStringValue(error));
    }
    return json_member(list, "errors") != NULL ? -EIO : 0;
}

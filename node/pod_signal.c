/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a pod's uid to a process:
 *
 *   /sys/fs/cgroup   the pod's directory --> one directory for each container --> its processes
 *   /proc/PID/stat   the oldest of them, or the oldest of a name, is the one to be signalled
 *   pidfd_open(2)    then, of this process:
 *   /proc/PID/stat, cgroup   it is still the same, and in the container's directory
 *   /proc/PID/mountinfo      the volume is mounted; the container's name
 *   pidfd_send_signal(2)
 *
 * No act of a process makes this code signal one outside of the pod:
 *
 * - The kubelet and the runtime make the directories down to a container's. Those on the way belong
 *   to root, so no one else can create a pod's directory elsewhere. What is below a container's the
 *   container may choose; it cannot move processes of others there.
 * - The descriptor is opened before the texts are read. While the process of a descriptor is not
 *   reaped, its number belongs to it, which a signal of number 0 shows after the reads.
 * - conmon is in the pod's control groups as well, and sees all volumes of the node: a runtime's
 *   names for containers are a list.
 *
 * A sandbox, such as that of Kata Containers or gVisor, does not have the volume mounted where its
 * processes are seen from, and is not signalled.
 *
 * The name of a container is in the mount of its termination log, which the kubelet adds to each
 * one:
 * .../pods/UID/containers/NAME/ID. A container can forge another one's name, and gets its signal as
 * well then.
 */
#include "node/pod_signal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mountinfo.h"

#define CGROUP_ROOT      "/sys/fs/cgroup"
/* Directories of slices above those of pods; a machine has some tens, and pods are not entered. */
#define WALK_MAX         4096u
#define WALK_DEPTH_MAX   8u /* kubelet.slice/kubelet-kubepods.slice/...: 4 */
/* Of what a container may create below its own; init systems have some tens. */
#define OWN_DIRS_MAX     256u
/* A pod has up to some tens of containers; directories of ended ones are removed. */
#define CONTAINERS_MAX   256u
#define PROCESSES_MAX    8192u /* looked at, for a container */
/* 1,000 mounts of a process: further ones are not looked at. */
#define TEXT_SIZE        (256u << 10)
#define STAT_SIZE        1024u
#define CGROUP_TEXT_SIZE 8192u /* twelve hierarchies */

/* Hierarchies in which a container has a directory; the first that has the pod's counts. */
static const struct hierarchy {
    const char *dir;         /* below CGROUP_ROOT */
    const char *controllers; /* in /proc/PID/cgroup */
} hierarchies[] = {
    {"", ""},         {"/systemd", "name=systemd"}, {"/memory", "memory"}, {"/pids", "pids"},
    {"/unified", ""},
};

/* What runtimes put in front of a container's id. */
static const char *const container_prefixes[] = {"", "cri-containerd-", "crio-", "docker-"};

const char *pod_signal_outcome_name(enum pod_signal_outcome outcome)
{
    static const char *const names[] = {
        [POD_SIGNAL_SENT] = "sent", [POD_SIGNAL_FAILED] = "failed", [POD_SIGNAL_NONE] = "none"};

    return names[outcome];
}

struct paths {
    char **list;
    size_t n, max;
};

struct search {
    const struct pod_signal *signal;
    const struct pod_signal_system *system;
    const struct hierarchy *hierarchy;
    struct pod_signal_result *result;
    bool has_invisible; /* processes of another PID namespace */
    char text[TEXT_SIZE];
};

/* ---- lists of paths, in a hierarchy */

static void paths_clear(struct paths *paths)
{
    for (size_t i = 0; i < paths->n; i++)
        free(paths->list[i]);
    free(paths->list);
    *paths = (struct paths){.max = paths->max};
}

/* What is too much or too long is left out. */
static void paths_add(struct paths *paths, const char *parent, const char *name)
{
    char **list;
    char *path;

    if (paths->n == paths->max || strlen(parent) + strlen(name) + 2 > IDENTITY_CGROUP_SIZE)
        return;
    list = reallocarray(paths->list, paths->n + 1, sizeof(*list));
    if (list == NULL)
        return;
    paths->list = list;
    if (asprintf(&path, "%s/%s", parent, name) >= 0)
        paths->list[paths->n++] = path;
}

/* ---- control groups */

#define PATH_SIZE (sizeof(CGROUP_ROOT) + 32 + IDENTITY_CGROUP_SIZE)

static const char *full_path(const struct search *s, const char *path, const char *file,
                             char buf[static PATH_SIZE])
{
    snprintf(buf, PATH_SIZE, CGROUP_ROOT "%s%s%s", s->hierarchy->dir, path, file);
    return buf;
}
#define FULL_PATH(s, path, file) full_path((s), (path), (file), (char[PATH_SIZE]){""})

static int list_dirs(const struct search *s, const char *path,
                     void (*visit)(void *userdata, const char *name, bool is_roots), void *userdata)
{
    return s->system->list(s->system->userdata, FULL_PATH(s, path, ""), visit, userdata);
}

static ssize_t read_procs(struct search *s, const char *path)
{
    return s->system->read(s->system->userdata, FULL_PATH(s, path, "/cgroup.procs"), s->text,
                           sizeof(s->text));
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && streq(text + len - end_len, end);
}

static size_t depth_of(const char *path)
{
    size_t n = 0;

    for (; *path != '\0'; path++)
        n += *path == '/';
    return n;
}

struct walk {
    const struct search *search;
    struct paths paths; /* to be listed, or listed */
    const char *parent;
    char found[IDENTITY_CGROUP_SIZE]; /* the pod's; "": not yet */
};

static void set_found(struct walk *walk, const char *name)
{
    int n = snprintf(walk->found, sizeof(walk->found), "%s/%s", walk->parent, name);

    if (n < 0 || (size_t)n >= sizeof(walk->found))
        walk->found[0] = '\0';
}

/* Services and scopes are left to others, which may not be root. */
static void visit_on_the_way(void *userdata, const char *name, bool is_roots)
{
    struct walk *walk = userdata;
    char uid[IDENTITY_POD_SIZE];

    if (!is_roots || ends_with(name, ".service") || ends_with(name, ".scope"))
        return;
    if (identity_parse_pod(name, uid)) {
        if (streq(uid, walk->search->signal->pod_uid))
            set_found(walk, name);
    } else if (depth_of(walk->parent) < WALK_DEPTH_MAX) {
        paths_add(&walk->paths, walk->parent, name);
    }
}

/* Return: whether the hierarchy has the pod; @ret_path is its directory's. */
static bool find_pod(const struct search *s, char ret_path[static IDENTITY_CGROUP_SIZE])
{
    struct walk walk = {.search = s, .paths.max = WALK_MAX, .parent = ""};

    list_dirs(s, walk.parent, visit_on_the_way, &walk);
    for (size_t i = 0; i < walk.paths.n && walk.found[0] == '\0'; i++) {
        walk.parent = walk.paths.list[i];
        list_dirs(s, walk.parent, visit_on_the_way, &walk);
    }
    paths_clear(&walk.paths);
    memcpy(ret_path, walk.found, sizeof(walk.found));
    return ret_path[0] != '\0';
}

/* Only the root of a hierarchy of cgroup 2, or of one of cgroup 1, has processes. */
static bool find_pod_anywhere(struct search *s, char ret_path[static IDENTITY_CGROUP_SIZE])
{
    for (size_t i = 0; i < ELEMENTS_OF(hierarchies); i++) {
        s->hierarchy = &hierarchies[i];
        if (read_procs(s, "") >= 0 && find_pod(s, ret_path))
            return true;
    }
    return false;
}

/* ---- the containers of the pod */

struct listing {
    struct paths paths;
    const char *parent;
};

static bool is_container(const char *name)
{
    char id[IDENTITY_CONTAINER_SIZE];

    if (!identity_parse_container(name, id))
        return false;
    for (size_t i = 0; i < ELEMENTS_OF(container_prefixes); i++) {
        const char *rest = str_after(name, container_prefixes[i]);

        if (rest != NULL && str_after(rest, id) != NULL)
            return true;
    }
    return false;
}

static void visit_container(void *userdata, const char *name, bool is_roots)
{
    struct listing *listing = userdata;

    if (is_container(name))
        paths_add(&listing->paths, listing->parent, name);
}

/* ---- the processes of a container */

static bool read_stat(const struct search *s, pid_t pid, struct identity_process *ret_process)
{
    char path[64], text[STAT_SIZE];

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    return s->system->read(s->system->userdata, path, text, sizeof(text)) > 0 &&
           identity_parse_stat(text, ret_process) && ret_process->pid == pid &&
           !ret_process->has_ended;
}

static bool is_older(const struct identity_process *a, const struct identity_process *b)
{
    if (a->start_ticks != b->start_ticks)
        return a->start_ticks < b->start_ticks;
    return a->pid < b->pid; /* numbers ascend, but for the one time in millions that they wrap */
}

struct choice {
    struct search *search;
    struct identity_process oldest; /* pid 0: none */
    size_t n_left;                  /* to be looked at */
};

static void consider(struct choice *choice, pid_t pid)
{
    const struct search *s = choice->search;
    struct identity_process process;

    if (pid <= 0) {
        choice->search->has_invisible = true;
        return;
    }
    if (choice->n_left == 0)
        return;
    choice->n_left--;
    if (!read_stat(s, pid, &process) ||
        (s->signal->process[0] != '\0' && !streq(process.comm, s->signal->process)))
        return;
    if (choice->oldest.pid == 0 || is_older(&process, &choice->oldest))
        choice->oldest = process;
}

/* The numbers of cgroup.procs. */
static void consider_all(struct choice *choice, char *text)
{
    char *at = text, *line;

    while ((line = strsep(&at, "\n")) != NULL)
        if (line[0] != '\0' && at != NULL) /* else it may be cut */
            consider(choice, (pid_t)strtol(line, NULL, 10));
}

static void visit_own_dir(void *userdata, const char *name, bool is_roots)
{
    struct listing *listing = userdata;

    if (depth_of(listing->parent) < depth_of(listing->paths.list[0]) + WALK_DEPTH_MAX)
        paths_add(&listing->paths, listing->parent, name);
}

/* Return: whether there is one. */
static bool choose_process(struct search *s, const char *container,
                           struct identity_process *ret_process)
{
    struct listing listing = {.paths.max = OWN_DIRS_MAX};
    struct choice choice = {.search = s, .n_left = PROCESSES_MAX};

    paths_add(&listing.paths, "", container + 1);
    for (size_t i = 0; i < listing.paths.n; i++) {
        listing.parent = listing.paths.list[i];
        if (read_procs(s, listing.parent) > 0)
            consider_all(&choice, s->text);
        list_dirs(s, listing.parent, visit_own_dir, &listing);
    }
    paths_clear(&listing.paths);
    *ret_process = choice.oldest;
    return choice.oldest.pid != 0;
}

/* ---- a process */

static bool is_same(const struct search *s, const struct identity_process *process)
{
    struct identity_process now;

    return read_stat(s, process->pid, &now) && now.start_ticks == process->start_ticks;
}

static bool is_in(const struct search *s, pid_t pid, const char *container)
{
    char path[64], text[CGROUP_TEXT_SIZE];

    snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
    return s->system->read(s->system->userdata, path, text, sizeof(text)) > 0 &&
           identity_is_below(text, s->hierarchy->controllers, container);
}

static bool shows_volume(const struct pod_signal *signal, const struct mountinfo *mount)
{
    const char *rest = mount->root[0] == '/' ? str_after(mount->root + 1, signal->directory) : NULL;

    return mount->device == signal->device && rest != NULL && (rest[0] == '\0' || rest[0] == '/');
}

/* ".../pods/UID/containers/NAME/ID" */
static bool is_log_of(const struct pod_signal *signal, const struct mountinfo *mount)
{
    char part[sizeof("/pods//containers//") + POD_UID_MAX + POD_SIGNAL_CONTAINER_SIZE];
    const char *found;

    snprintf(part, sizeof(part), "/pods/%s/containers/%s/", signal->pod_uid, signal->container);
    found = strstr(mount->root, part);
    return found != NULL && strchr(found + strlen(part), '/') == NULL;
}

/* Whether the process has the volume mounted, and is in the container that is wanted. */
static bool is_wanted(struct search *s, pid_t pid)
{
    bool has_volume = false, has_name = s->signal->container[0] == '\0';
    char path[64], *at = s->text, *line;

    snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
    if (s->system->read(s->system->userdata, path, s->text, sizeof(s->text)) <= 0)
        return false;
    while ((line = strsep(&at, "\n")) != NULL && !(has_volume && has_name)) {
        struct mountinfo mount;

        if (at == NULL || !mountinfo_parse(line, &mount))
            continue;
        has_volume |= shows_volume(s->signal, &mount);
        has_name = has_name || is_log_of(s->signal, &mount);
    }
    return has_volume && has_name;
}

static void note_failure(struct search *s, pid_t pid, int error)
{
    s->result->n_failed++;
    error_set_errno(&s->result->e, error, "cannot signal process %d", pid);
}

static void signal_process(struct search *s, const char *container,
                           const struct identity_process *process)
{
    const struct pod_signal_system *system = s->system;
    _cleanup_(fd_closep) int fd = system->open_process(system->userdata, process->pid);
    int r;

    if (fd == -ESRCH)
        return;
    if (fd < 0) {
        note_failure(s, process->pid, fd);
        return;
    }
    if (!is_same(s, process) || !is_in(s, process->pid, container) || !is_wanted(s, process->pid))
        return;
    r = system->send(system->userdata, fd, 0);
    if (r == 0)
        r = system->send(system->userdata, fd, s->signal->signal);
    if (r == 0)
        s->result->n_sent++;
    else if (r != -ESRCH)
        note_failure(s, process->pid, r);
}

/* ---- the whole */

static void signal_containers(struct search *s, const char *pod)
{
    struct listing listing = {.paths.max = CONTAINERS_MAX, .parent = pod};
    struct identity_process process;

    list_dirs(s, pod, visit_container, &listing);
    for (size_t i = 0; i < listing.paths.n; i++)
        if (choose_process(s, listing.paths.list[i], &process))
            signal_process(s, listing.paths.list[i], &process);
    paths_clear(&listing.paths);
}

static void explain_none(const struct search *s)
{
    const struct pod_signal *signal = s->signal;
    bool has_container = signal->container[0] != '\0', has_process = signal->process[0] != '\0';

    if (s->has_invisible)
        error_set(&s->result->e, -ESRCH,
                  "the pod's processes are in a PID namespace that the daemon does not see: set "
                  "hostPID");
    else
        error_set(&s->result->e, -ESRCH, "no running container%s%s has the volume mounted%s%s",
                  has_container ? " " : "", signal->container, has_process ? " and a process " : "",
                  signal->process);
}

void pod_signal_send(const struct pod_signal *signal, const struct pod_signal_system *system,
                     struct pod_signal_result *ret_result)
{
    _cleanup_(freep) struct search *s = malloc(sizeof(*s));
    char pod[IDENTITY_CGROUP_SIZE];

    *ret_result = (struct pod_signal_result){.e = ERROR_INIT};
    if (s == NULL) {
        error_set_errno(&ret_result->e, -ENOMEM, "cannot look for the pod's processes");
        return;
    }
    s->signal = signal;
    s->system = system;
    s->result = ret_result;
    s->has_invisible = false;
    if (!find_pod_anywhere(s, pod)) {
        error_set(&ret_result->e, -ENOENT,
                  "the daemon does not see the pod's control group below " CGROUP_ROOT);
        return;
    }
    signal_containers(s, pod);
    if (ret_result->n_sent == 0 && ret_result->n_failed == 0)
        explain_none(s);
}

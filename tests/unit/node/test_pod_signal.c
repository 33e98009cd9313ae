/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which processes of a pod are signalled, with a machine that the test makes: directories of
 * control groups, and texts of /proc.
 */
#include "node/pod_signal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#define UID       "11111111-2222-3333-4444-555555555555"
#define UID_      "11111111_2222_3333_4444_555555555555"
#define OTHER_UID "99999999-2222-3333-4444-555555555555"
#define SIXTEEN   "0123456789abcdef"
#define ID        SIXTEEN SIXTEEN SIXTEEN SIXTEEN
#define ID_2      SIXTEEN SIXTEEN SIXTEEN "fedcba9876543210"

#define ROOT        "/sys/fs/cgroup"
#define SLICE       "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_ ".slice"
#define CONTAINER   SLICE "/cri-containerd-" ID ".scope"
#define CONTAINER_2 SLICE "/cri-containerd-" ID_2 ".scope"

#define ENTRIES_MAX   4200
#define PROCESSES_MAX 9000

struct entry {
    char path[512];
    bool is_users; /* it does not belong to root */
};

struct process {
    pid_t pid; /* 0: a free place */
    unsigned long start;
    const char *comm;
    char state;
    const char *group; /* directory of a control group */
    const char *cgroup;
    const char *mountinfo;
    int send_error;
};

static struct {
    struct entry dirs[ENTRIES_MAX];
    size_t n_dirs;
    struct process processes[PROCESSES_MAX];
    size_t n_processes;
    pid_t opened; /* the process of the last descriptor */
    void (*on_open)(void);
    char sent[128]; /* "1@42 10@42 " */
} machine;

/* ---- making the machine */

static void add_dir(const char *path, bool is_users)
{
    struct entry *entry = &machine.dirs[machine.n_dirs++];

    assert_true(machine.n_dirs <= ENTRIES_MAX);
    snprintf(entry->path, sizeof(entry->path), "%s", path);
    entry->is_users = is_users;
}

static bool has_dir(const char *path)
{
    for (size_t i = 0; i < machine.n_dirs; i++)
        if (strcmp(machine.dirs[i].path, path) == 0)
            return true;
    return false;
}

/* With those above it. */
static void make_dirs(const char *path)
{
    char part[512];

    for (size_t len = strlen(ROOT); len <= strlen(path); len++) {
        if (path[len] != '/' && path[len] != '\0')
            continue;
        snprintf(part, sizeof(part), "%.*s", (int)len, path);
        if (!has_dir(part))
            add_dir(part, false);
    }
}

#define VOLUME_MOUNT "30 20 0:55 /csi-1 /etc/creds ro - fuse.secretfs csi.secretfs.io ro\n"
#define LOG_OF(name)                                                                               \
    "31 20 8:1 /var/lib/kubelet/pods/" UID "/containers/" name                                     \
    "/1a2b3c4d /dev/termination-log rw "                                                           \
    "- ext4 /dev/sda1 rw\n"

/* Process @pid of a container on cgroup 2. */
static struct process *add_process(pid_t pid, unsigned long start, const char *group,
                                   const char *cgroup)
{
    struct process *process = &machine.processes[machine.n_processes++];

    assert_true(machine.n_processes <= PROCESSES_MAX);
    make_dirs(group);
    *process = (struct process){.pid = pid,
                                .start = start,
                                .comm = "nginx",
                                .state = 'S',
                                .group = group,
                                .cgroup = cgroup,
                                .mountinfo = VOLUME_MOUNT LOG_OF("web")};
    return process;
}

static int set_up(void **state)
{
    memset(&machine, 0, sizeof(machine));
    make_dirs(ROOT);
    return 0;
}

/* ---- what it answers */

static struct process *find_process(pid_t pid)
{
    for (size_t i = 0; i < machine.n_processes; i++)
        if (machine.processes[i].pid == pid)
            return &machine.processes[i];
    return NULL;
}

/* Whether there is a hierarchy: then its root has processes, too. */
static bool is_hierarchy(const char *dir)
{
    bool is_cgroup_2 = !has_dir(ROOT "/systemd");

    return is_cgroup_2 ? has_dir(dir) : has_dir(dir) && strcmp(dir, ROOT) != 0;
}

static ssize_t read_procs(const char *path, char *text, size_t size)
{
    char dir[512];
    size_t len = 0;

    snprintf(dir, sizeof(dir), "%.*s", (int)(strlen(path) - strlen("/cgroup.procs")), path);
    if (!is_hierarchy(dir))
        return -ENOENT;
    text[0] = '\0';
    for (size_t i = 0; i < machine.n_processes; i++)
        if (strcmp(machine.processes[i].group, dir) == 0)
            len += (size_t)snprintf(text + len, size - len, "%d\n", machine.processes[i].pid);
    return (ssize_t)len;
}

static ssize_t read_of_process(const struct process *process, const char *name, char *text,
                               size_t size)
{
    if (strcmp(name, "stat") == 0)
        return snprintf(text, size, "%d (%s) %c 1 1 1 0 -1 4194304 10 0 0 0 1 2 0 0 20 0 1 0 %lu\n",
                        process->pid, process->comm, process->state, process->start);
    if (strcmp(name, "cgroup") == 0)
        return snprintf(text, size, "%s", process->cgroup);
    assert_string_equal(name, "mountinfo");
    return snprintf(text, size, "%s", process->mountinfo);
}

static ssize_t fake_read(void *userdata, const char *path, char *text, size_t size)
{
    const struct process *process;
    char name[16];
    int pid;

    if (sscanf(path, "/proc/%d/%15s", &pid, name) != 2)
        return read_procs(path, text, size);
    process = find_process(pid);
    return process != NULL ? read_of_process(process, name, text, size) : -ENOENT;
}

static int fake_list(void *userdata, const char *path,
                     void (*visit)(void *userdata, const char *name, bool is_roots),
                     void *visit_userdata)
{
    size_t len = strlen(path), n = machine.n_dirs;

    if (!has_dir(path))
        return -ENOENT;
    for (size_t i = 0; i < n; i++) {
        const char *each = machine.dirs[i].path;

        if (strncmp(each, path, len) == 0 && each[len] == '/' &&
            strchr(each + len + 1, '/') == NULL)
            visit(visit_userdata, each + len + 1, !machine.dirs[i].is_users);
    }
    return 0;
}

static int fake_open(void *userdata, pid_t pid)
{
    if (machine.on_open != NULL)
        machine.on_open();
    if (find_process(pid) == NULL)
        return -ESRCH;
    machine.opened = pid;
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int fake_send(void *userdata, int fd, int number)
{
    const struct process *process = find_process(machine.opened);
    size_t len = strlen(machine.sent);

    if (process == NULL)
        return -ESRCH;
    if (number == 0)
        return 0;
    if (process->send_error != 0)
        return process->send_error;
    snprintf(machine.sent + len, sizeof(machine.sent) - len, "%d@%d ", number, process->pid);
    return 0;
}

static const struct pod_signal_system fake = {
    .read = fake_read, .list = fake_list, .open_process = fake_open, .send = fake_send};

static struct pod_signal_result send_as(const char *container, const char *process)
{
    struct pod_signal signal = {
        .pod_uid = UID, .device = makedev(0, 55), .directory = "csi-1", .signal = SIGHUP};
    struct pod_signal_result result;

    snprintf(signal.container, sizeof(signal.container), "%s", container);
    snprintf(signal.process, sizeof(signal.process), "%s", process);
    machine.sent[0] = '\0';
    pod_signal_send(&signal, &fake, &result);
    return result;
}

static void expect_sent(const char *sent)
{
    struct pod_signal_result result = send_as("", "");

    assert_string_equal(result.e.text, "");
    assert_string_equal(machine.sent, sent);
}

static void expect_none(const char *reason)
{
    struct pod_signal_result result = send_as("", "");

    assert_string_equal(machine.sent, "");
    assert_int_equal(result.n_sent + result.n_failed, 0);
    assert_string_equal(result.e.text, reason);
}

#define NOT_MOUNTED "no running container has the volume mounted"
#define NOT_SEEN    "the daemon does not see the pod's control group below /sys/fs/cgroup"

/* ---- where containers are */

static void test_layouts(void **state)
{
    static const struct {
        const char *group;
        const char *cgroup;
    } layouts[] = {
        {ROOT CONTAINER, "0::" CONTAINER "\n"},
        {ROOT SLICE "/crio-" ID ".scope", "0::" SLICE "/crio-" ID ".scope\n"},
        /* crun */
        {ROOT SLICE "/crio-" ID ".scope/container", "0::" SLICE "/crio-" ID ".scope/container\n"},
        {ROOT "/kubepods/besteffort/pod" UID "/" ID, "0::/kubepods/besteffort/pod" UID "/" ID "\n"},
        {ROOT "/kubepods/pod" UID "/crio-" ID, "0::/kubepods/pod" UID "/crio-" ID "\n"},
        /* a kubelet with a root of its own, as in kind */
        {ROOT "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" UID_ ".slice/"
              "cri-containerd-" ID ".scope",
         "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" UID_ ".slice/"
         "cri-containerd-" ID ".scope\n"},
        {ROOT "/systemd" CONTAINER, "9:memory:/x\n1:name=systemd:" CONTAINER "\n0::/\n"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(layouts); i++) {
        set_up(NULL);
        add_process(42, 100, layouts[i].group, layouts[i].cgroup);
        expect_sent("1@42 ");
    }
}

/* Without systemd the hierarchy of that name may be missing. */
static void test_hierarchy_of_a_controller(void **state)
{
    make_dirs(ROOT "/systemd");
    add_process(42, 100, ROOT "/memory/kubepods/pod" UID "/" ID,
                "9:memory:/kubepods/pod" UID "/" ID "\n0::/\n");
    expect_sent("1@42 ");
}

static void test_each_container_that_mounts_it(void **state)
{
    add_process(42, 100, ROOT CONTAINER, "0::" CONTAINER "\n");
    add_process(52, 90, ROOT CONTAINER_2, "0::" CONTAINER_2 "\n");
    expect_sent("1@42 1@52 ");
    machine.processes[0].mountinfo = "30 20 0:55 /csi-2 /etc/creds ro - fuse.secretfs d ro\n";
    expect_sent("1@52 ");
    machine.processes[0].mountinfo = "30 20 0:56 /csi-1 /etc/creds ro - fuse.secretfs d ro\n";
    expect_sent("1@52 ");
    machine.processes[0].mountinfo = "30 20 0:55 /csi-12 /etc/creds ro - fuse.secretfs d ro\n";
    expect_sent("1@52 ");
    /* by subPath */
    machine.processes[0].mountinfo = "30 20 0:55 /csi-1/..1/tls.crt /c ro - fuse.secretfs d ro\n";
    expect_sent("1@42 1@52 ");
}

static void test_no_container_mounts_it(void **state)
{
    make_dirs(ROOT SLICE);
    expect_none(NOT_MOUNTED);
    add_process(42, 100, ROOT CONTAINER, "0::" CONTAINER "\n")->mountinfo = LOG_OF("web");
    expect_none(NOT_MOUNTED);
}

/* ---- which process */

static void test_the_oldest_process(void **state)
{
    add_process(50, 100, ROOT CONTAINER, "0::" CONTAINER "\n");
    add_process(42, 200, ROOT CONTAINER, "0::" CONTAINER "\n");
    add_process(51, 100, ROOT CONTAINER, "0::" CONTAINER "\n");
    expect_sent("1@50 ");
    machine.processes[0].state = 'Z';
    expect_sent("1@51 ");
}

/* An init system moves the first process into a control group of its own. */
static void test_the_oldest_is_in_a_group_below(void **state)
{
    add_process(50, 200, ROOT CONTAINER, "0::" CONTAINER "\n");
    add_process(42, 100, ROOT CONTAINER "/init.scope", "0::" CONTAINER "/init.scope\n");
    expect_sent("1@42 ");
}

static void test_a_process_by_name(void **state)
{
    struct pod_signal_result result;

    add_process(42, 100, ROOT CONTAINER, "0::" CONTAINER "\n")->comm = "tini";
    add_process(43, 200, ROOT CONTAINER, "0::" CONTAINER "\n");
    add_process(44, 300, ROOT CONTAINER, "0::" CONTAINER "\n");
    result = send_as("", "nginx");
    assert_string_equal(machine.sent, "1@43 ");
    assert_int_equal(result.n_sent, 1);
    result = send_as("", "envoy");
    assert_string_equal(machine.sent, "");
    assert_string_equal(result.e.text, NOT_MOUNTED " and a process envoy");
}

static void test_a_container_by_name(void **state)
{
    struct pod_signal_result result;

    add_process(42, 100, ROOT CONTAINER, "0::" CONTAINER "\n");
    add_process(52, 100, ROOT CONTAINER_2, "0::" CONTAINER_2 "\n")->mountinfo =
        VOLUME_MOUNT LOG_OF("web-2");
    send_as("web", "");
    assert_string_equal(machine.sent, "1@42 ");
    send_as("web-2", "");
    assert_string_equal(machine.sent, "1@52 ");
    result = send_as("we", "");
    assert_string_equal(machine.sent, "");
    assert_string_equal(result.e.text, "no running container we has the volume mounted");
}

/* ---- what an adversary writes */

/* A user of the host, to whom systemd has left a directory. */
static void test_directory_of_a_user_is_no_pod(void **state)
{
#define USERS "/user.slice/user-1000.slice/mine"
    add_dir(ROOT "/user.slice", false);
    add_dir(ROOT "/user.slice/user-1000.slice", false);
    add_dir(ROOT USERS, true);
    add_process(42, 100, ROOT USERS CONTAINER, "0::" USERS CONTAINER "\n");
    expect_none(NOT_SEEN);
}

static void test_services_are_not_entered(void **state)
{
    add_process(42, 100, ROOT "/system.slice/a.service" CONTAINER,
                "0::/system.slice/a.service" CONTAINER "\n");
    add_process(43, 100, ROOT "/system.slice/a.scope" CONTAINER,
                "0::/system.slice/a.scope" CONTAINER "\n");
    expect_none(NOT_SEEN);
}

/* A container makes directories that are named as those of another pod. */
static void test_pod_within_a_container(void **state)
{
#define OTHER "/kubepods/pod" OTHER_UID "/" ID
    add_process(42, 100, ROOT OTHER CONTAINER, "0::" OTHER CONTAINER "\n");
    expect_none(NOT_SEEN);
    add_process(43, 200, ROOT CONTAINER, "0::" CONTAINER "\n");
    expect_sent("1@43 ");
}

/* What belongs to the pod, and is no container: conmon sees the volumes of all pods. */
static void test_runtime_is_not_signalled(void **state)
{
    add_process(42, 100, ROOT SLICE "/crio-conmon-" ID ".scope",
                "0::" SLICE "/crio-conmon-" ID ".scope\n");
    add_process(43, 100, ROOT SLICE, "0::" SLICE "\n");
    expect_none(NOT_MOUNTED);
}

/* The number was given to another process before it was opened, in another control group. */
static void test_process_in_another_group(void **state)
{
    static const char *const groups[] = {
        "0::/kubepods/pod" OTHER_UID "/" ID "\n",
        "0::/system.slice/ssh.service\n",
        "0::/\n",
        "0::" SLICE "\n",
        "0::" CONTAINER "x\n",
        "0::" CONTAINER " (deleted)\n",
        "1:name=systemd:" CONTAINER "\n",
        "0::/system.slice\n0::" CONTAINER "\n",
        "",
    };

    for (size_t i = 0; i < ELEMENTS_OF(groups); i++) {
        set_up(NULL);
        add_process(42, 100, ROOT CONTAINER, groups[i]);
        expect_none(NOT_MOUNTED);
    }
}

static void give_the_number_away(void)
{
    machine.processes[0].start++;
}

static void test_number_that_was_given_away(void **state)
{
    add_process(42, 100, ROOT CONTAINER, "0::" CONTAINER "\n");
    machine.on_open = give_the_number_away;
    expect_none(NOT_MOUNTED);
}

static void end_process(void)
{
    machine.processes[0].pid = 0;
}

static void test_process_ends_meanwhile(void **state)
{
    add_process(42, 100, ROOT CONTAINER, "0::" CONTAINER "\n");
    machine.on_open = end_process;
    expect_none(NOT_MOUNTED);
}

static void test_texts_without_sense(void **state)
{
    static const char *const texts[] = {
        "",
        "\n\n",
        "30\n",
        "30 20 0:55 /csi-1\n",
        "30 20 x:y /csi-1 / ro - a b c\n",
        /* cut in the middle */
        "30 20 0:55 /csi-1 /etc/creds ro - fuse.secretfs csi.secretfs.io ro",
    };

    add_process(42, 100, ROOT CONTAINER, "0::" CONTAINER "\n");
    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        machine.processes[0].mountinfo = texts[i];
        expect_none(NOT_MOUNTED);
    }
}

/* ---- limits */

static void test_many_groups_of_a_container(void **state)
{
    char path[512];

    add_process(42, 100, ROOT CONTAINER, "0::" CONTAINER "\n");
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof(path), ROOT CONTAINER "/%d", i);
        add_dir(path, false);
    }
    for (int depth = 1; depth <= 20; depth++) {
        size_t len = (size_t)snprintf(path, sizeof(path), ROOT CONTAINER "/0");

        for (int i = 0; i < depth; i++)
            len += (size_t)snprintf(path + len, sizeof(path) - len, "/x");
        add_dir(path, false);
    }
    expect_sent("1@42 ");
}

static void test_many_processes_of_a_container(void **state)
{
    for (int i = 1; i <= 9000; i++)
        add_process(i, 10000 - (unsigned long)i, ROOT CONTAINER, "0::" CONTAINER "\n");
    expect_sent("1@8192 ");
}

static void test_many_slices(void **state)
{
    char path[512];

    for (int i = 0; i < 4097; i++) {
        snprintf(path, sizeof(path), ROOT "/%d.slice", i);
        add_dir(path, false);
    }
    add_process(42, 100, ROOT CONTAINER, "0::" CONTAINER "\n");
    expect_none(NOT_SEEN);
}

/* ---- failures */

static void test_signal_is_refused(void **state)
{
    struct pod_signal_result result;

    add_process(42, 100, ROOT CONTAINER, "0::" CONTAINER "\n")->send_error = -EPERM;
    add_process(52, 100, ROOT CONTAINER_2, "0::" CONTAINER_2 "\n");
    result = send_as("", "");
    assert_string_equal(machine.sent, "1@52 ");
    assert_int_equal(result.n_sent, 1);
    assert_int_equal(result.n_failed, 1);
    assert_string_equal(result.e.text, "cannot signal process 42: Operation not permitted");
}

static void test_processes_of_another_namespace(void **state)
{
    add_process(0, 100, ROOT CONTAINER, "0::" CONTAINER "\n");
    expect_none("the pod's processes are in a PID namespace that the daemon does not see: set "
                "hostPID");
}

static void test_no_control_groups(void **state)
{
    memset(&machine, 0, sizeof(machine));
    expect_none(NOT_SEEN);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_layouts),
        TEST(test_hierarchy_of_a_controller),
        TEST(test_each_container_that_mounts_it),
        TEST(test_no_container_mounts_it),
        TEST(test_the_oldest_process),
        TEST(test_the_oldest_is_in_a_group_below),
        TEST(test_a_process_by_name),
        TEST(test_a_container_by_name),
        TEST(test_directory_of_a_user_is_no_pod),
        TEST(test_services_are_not_entered),
        TEST(test_pod_within_a_container),
        TEST(test_runtime_is_not_signalled),
        TEST(test_process_in_another_group),
        TEST(test_number_that_was_given_away),
        TEST(test_process_ends_meanwhile),
        TEST(test_texts_without_sense),
        TEST(test_many_groups_of_a_container),
        TEST(test_many_processes_of_a_container),
        TEST(test_many_slices),
        TEST(test_signal_is_refused),
        TEST(test_processes_of_another_namespace),
        TEST(test_no_control_groups),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

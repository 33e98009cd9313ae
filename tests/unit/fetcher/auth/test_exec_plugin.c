/* SPDX-License-Identifier: Apache-2.0 */
/* The plug-ins are shell scripts; their file "f" is in a directory of the test's own. */
#include "fetcher/auth/exec_plugin.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/buf.h"
#include "encoding/json.h"
#include "tests/unit/assert_between.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/make_pair.h"

#define API     "client.authentication.k8s.io/v1"
#define STUCK_S 120 /* no test waits for a time; one that does is killed after this */
#define GOOD(token)                                                                                \
    "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API "\",\"status\":{\"token\":\"" token "\"}" \
    "}"
#define PRINT(token) "printf '%s' '" GOOD(token) "'"

struct fixture {
    char dir[64];
    char file[80];
    sd_event *event;
    char *args[4];
    char *env[4];
    char env_texts[3][128];
    struct exec_plugin exec;
    struct api_config config;
    struct exec_plugin_limits limits;
    struct exec_plugin_runner *runner;
    unsigned n_good;
    unsigned n_failed;
    struct exec_credential last;
    struct error error;
};

/* String literals end up in members that are not const only for the sake of free(). */
static char *literal(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void on_done(void *userdata, struct exec_credential *credential, const struct error *error)
{
    struct fixture *f = userdata;

    if (credential == NULL) {
        assert_non_null(error);
        f->error = *error;
        f->n_failed++;
        return;
    }
    assert_null(error);
    exec_credential_deinit(&f->last);
    f->last = *credential;
    *credential = (struct exec_credential){.authorization = NULL};
    f->n_good++;
}

static void begin(struct fixture *f, const char *script)
{
    struct error e = ERROR_INIT;

    if (script != NULL)
        f->args[1] = literal(script);
    assert_int_equal(exec_plugin_new(f->event, &f->config, &f->limits, on_done, f, &f->runner, &e),
                     0);
    assert_true(exec_plugin_is_busy(f->runner));
}

static void run_until(struct fixture *f, const unsigned *counter, unsigned n)
{
    while (*counter < n)
        assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
}

static void assert_error_has(const struct fixture *f, const char *part)
{
    if (strstr(f->error.text, part) == NULL)
        fail_msg("\"%s\" does not have \"%s\" in it", f->error.text, part);
}

/* The content of a script's file, the caller's. */
static char *written(const struct fixture *f)
{
    struct buf text = BUF_INIT(65536);

    assert_int_equal(buf_read_file(&text, -1, f->file), 0);
    return text.data;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    snprintf(f->dir, sizeof(f->dir), "/tmp/test_exec_plugin.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->file, sizeof(f->file), "%s/f", f->dir);
    assert_true(sd_event_new(&f->event) >= 0);
    f->args[0] = literal("-c");
    snprintf(f->env_texts[0], sizeof(f->env_texts[0]), "F=%s", f->file);
    f->env[0] = f->env_texts[0];
    f->exec = (struct exec_plugin){
        .api_version = literal(API),
        .command = literal("sh"),
        .args = f->args,
        .env = f->env,
        .install_hint = literal("Install it."),
    };
    f->config = (struct api_config){.server = literal("https://c.test"), .exec = &f->exec};
    f->limits = EXEC_PLUGIN_LIMITS;
    f->limits.retry_first = SPAN_MS(5);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    f->runner = exec_plugin_free(f->runner);
    exec_credential_deinit(&f->last);
    sd_event_unref(f->event);
    unlink(f->file);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

/* ---- a run */

static void test_token(void **state)
{
    struct fixture *f = *state;

    begin(f, PRINT("dummy-token"));
    run_until(f, &f->n_good, 1);
    assert_string_equal(f->last.authorization, "Bearer dummy-token");
    assert_null(f->last.client_cert_pem);
    assert_int_equal(f->last.expiry.tv_sec, 0);
    assert_false(exec_plugin_is_busy(f->runner));
    exec_plugin_refresh(f->runner);
    assert_true(exec_plugin_is_busy(f->runner));
    run_until(f, &f->n_good, 2);
    assert_int_equal(f->n_failed, 0);
}

static unsigned long capabilities_in(const char *status, const char *field)
{
    const char *found = strstr(status, field);
    unsigned long set = ~0ul;

    assert_non_null(found);
    assert_int_equal(sscanf(found + strlen(field), "%lx", &set), 1);
    return set;
}

/* It has no capability, and as root cannot gain any; the process itself keeps what it has. */
static void test_rights(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *text = NULL;
    bool is_root = geteuid() == 0;
    int had_no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);

    begin(f, "cat /proc/self/status >$F; " PRINT("dummy-token"));
    run_until(f, &f->n_good, 1);
    text = written(f);
    assert_non_null(strstr(text, "CapInh:\t0000000000000000"));
    assert_int_equal(capabilities_in(text, "CapPrm:") & ~(1ul << CAP_IPC_LOCK), 0);
    assert_int_equal(capabilities_in(text, "CapEff:") & ~(1ul << CAP_IPC_LOCK), 0);
    assert_int_equal(capabilities_in(text, "CapAmb:"), 0);
    assert_true(strstr(text, "NoNewPrivs:\t1") != NULL || !is_root);
    assert_true(strstr(text, "Seccomp:\t2") != NULL || !is_root);
    assert_int_equal(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), had_no_new_privs);
}

/* No input, standard descriptors only, no blocked signals, a process group of its own. */
static void test_surroundings(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *text = NULL;
    char others[16];
    unsigned long blocked = 1;
    int group = 0, pid = -1;
    int leaky = fcntl(STDERR_FILENO, F_DUPFD, 40); /* as a library might leave it */

    begin(f, "{ cat; echo /proc/$$/fd/[4-9][0-9]; grep SigBlk /proc/self/status;\n"
             /* not ps: it reads all processes, and waits for one that is within execve(2) */
             "  cut -d' ' -f5 /proc/$$/stat;\n"
             "  echo $$; } >$F 2>&1; " PRINT("dummy-token"));
    run_until(f, &f->n_good, 1);
    text = written(f);
    assert_int_equal(
        sscanf(text, "/proc/%*d/fd/%15s SigBlk: %lx %d %d", others, &blocked, &group, &pid), 4);
    assert_string_equal(others, "[4-9][0-9]"); /* nothing matched */
    assert_int_equal(blocked, 0);
    assert_int_equal(group, pid);
    close(leaky);
}

static void test_environment(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *text = NULL;

    assert_int_equal(setenv("KUBERNETES_EXEC_INFO", "inherited", 1), 0);
    assert_int_equal(setenv("OURS", "inherited", 1), 0);
    assert_int_equal(setenv("BOTH", "inherited", 1), 0);
    f->env[1] = literal("BOTH=configured");
    f->env[2] = literal("KUBERNETES_EXEC_INFO=configured");
    begin(f, "echo $OURS $BOTH $KUBERNETES_EXEC_INFO >$F; " PRINT("dummy-token"));
    run_until(f, &f->n_good, 1);
    text = written(f);
    assert_string_equal(text,
                        "inherited configured {\"kind\":\"ExecCredential\",\"apiVersion\":\"" API
                        "\",\"spec\":{\"interactive\":false}}\n");
}

static void test_cluster_info(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *text = NULL;
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    const cJSON *cluster;
    struct error e;

    f->exec.provide_cluster_info = true;
    f->exec.cluster_config = literal("{\"audience\":\"a\"}");
    f->config.proxy_url = literal("http://proxy.test");
    f->config.tls_server_name = literal("other.test");
    f->config.insecure_skip_tls_verify = true;
    begin(f, "printf %s \"$KUBERNETES_EXEC_INFO\" >$F; " PRINT("dummy-token"));
    exec_plugin_set_ca(f->runner, "dummy");
    run_until(f, &f->n_good, 1);
    text = written(f);
    assert_int_equal(json_parse(text, strlen(text), &json, &e), 0);
    cluster = json_path(json, "spec", "cluster", NULL);
    assert_string_equal(json_text(cluster, "server"), "https://c.test");
    assert_string_equal(json_text(cluster, "certificate-authority-data"), "ZHVtbXk=");
    assert_string_equal(json_text(cluster, "proxy-url"), "http://proxy.test");
    assert_string_equal(json_text(cluster, "tls-server-name"), "other.test");
    assert_true(json_is_true(cluster, "insecure-skip-tls-verify"));
    assert_string_equal(json_text(json_member(cluster, "config"), "audience"), "a");
}

/* A helper that stays and holds the pipe open is none of our business. */
static void test_helper_left_behind(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *pid = NULL;

    begin(f, "sleep 600 & echo $! >$F; " PRINT("dummy-token"));
    run_until(f, &f->n_good, 1);
    pid = written(f);
    assert_int_equal(kill((pid_t)strtol(pid, NULL, 10), SIGKILL), 0);
    assert_int_equal(waitpid((pid_t)strtol(pid, NULL, 10), NULL, 0), strtol(pid, NULL, 10));
}

/* ---- runs that fail */

static void test_exit_status_then_good(void **state)
{
    struct fixture *f = *state;

    begin(f, "[ -e $F ] || { touch $F; exit 3; }; " PRINT("dummy-token"));
    run_until(f, &f->n_failed, 1);
    assert_error_has(f, "\"sh\"");
    assert_error_has(f, "exit status 3");
    assert_error_has(f, "Install it.");
    run_until(f, &f->n_good, 1);
    assert_int_equal(f->n_failed, 1);
}

static void test_backoff(void **state)
{
    struct fixture *f = *state;
    mono_us begun = clock_mono();

    f->limits.retry_first = SPAN_MS(2);
    f->limits.retry_max = SPAN_MS(16);
    begin(f, "exit 1");
    run_until(f, &f->n_failed, 6);
    assert_true(clock_mono() - begun >= SPAN_MS(2 + 4 + 8 + 16 + 16));
}

static void test_signal(void **state)
{
    struct fixture *f = *state;

    begin(f, "kill -9 $$");
    run_until(f, &f->n_failed, 1);
    assert_error_has(f, "signal 9");
}

static void test_not_found(void **state)
{
    struct fixture *f = *state;

    f->exec.command = literal("no-such-plug-in");
    begin(f, NULL);
    run_until(f, &f->n_failed, 1);
    assert_error_has(f, "\"no-such-plug-in\"");
    assert_error_has(f, "the program does not exist");
    assert_error_has(f, "Install it.");
}

static void test_not_executable(void **state)
{
    struct fixture *f = *state;

    f->exec.command = literal("/dev/null");
    begin(f, NULL);
    run_until(f, &f->n_failed, 1);
    assert_error_has(f, "Permission denied");
}

/* Ends a run that the machine was too busy for, so that it can be repeated with more time. */
static void take_back(struct fixture *f)
{
    f->runner = exec_plugin_free(f->runner);
    f->n_failed = 0;
    unlink(f->file);
}

/* Return: the process id that the script has written before it was killed, as a string. */
static char *timed_out_helper(struct fixture *f)
{
    struct stat st;

    f->limits.retry_first = SPAN_SEC(600);
    for (f->limits.timeout = SPAN_MS(200);; f->limits.timeout *= 2) {
        begin(f, "sleep 600 & echo $! >$F; wait");
        run_until(f, &f->n_failed, 1);
        assert_error_has(f, "too long");
        if (stat(f->file, &st) == 0 && st.st_size > 0)
            return written(f);
        take_back(f);
    }
}

/* The script's helper dies with it. */
static void test_timeout(void **state)
{
    _cleanup_(freep) char *pid = timed_out_helper(*state);
    int status;

    assert_true(waitpid((pid_t)strtol(pid, NULL, 10), &status, 0) > 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_free_while_running(void **state)
{
    struct fixture *f = *state;

    begin(f, "sleep 600 & echo $! >$F; echo x; wait");
    while (access(f->file, F_OK) < 0)
        assert_true(sd_event_run(f->event, 1000) >= 0);
    f->runner = exec_plugin_free(f->runner);
    /* the script, reaped by free, and perhaps its helper, which is ours to reap */
    while (waitpid(-1, NULL, 0) > 0)
        ;
    assert_int_equal(errno, ECHILD);
    assert_int_equal(f->n_good + f->n_failed, 0);
}

static void test_huge_output(void **state)
{
    struct fixture *f = *state;

    begin(f, "yes dummy-token");
    run_until(f, &f->n_failed, 1);
    assert_error_has(f, "1 MiB");
}

static void test_garbage(void **state)
{
    struct fixture *f = *state;

    begin(f, "echo dummy-secret-that-is-no-json");
    run_until(f, &f->n_failed, 1);
    assert_error_has(f, "\"sh\" printed nothing usable");
    assert_error_has(f, "invalid JSON");
    assert_null(strstr(f->error.text, "dummy-secret"));
}

static void test_stillborn(void **state)
{
    struct fixture *f = *state;

    begin(f, "printf '%s' '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API "\",\"status\":"
             "{\"token\":\"dummy\",\"expirationTimestamp\":\"2001-01-01T00:00:00Z\"}}'");
    run_until(f, &f->n_failed, 1);
    assert_error_has(f, "clock");
}

/* ---- expiry */

static struct timespec set_expiry(struct fixture *f, long ms)
{
    struct timespec expiry = clock_wall();
    char text[CLOCK_RFC3339_SIZE];

    expiry.tv_nsec += ms % 1000 * 1000000;
    expiry.tv_sec += ms / 1000 + expiry.tv_nsec / 1000000000;
    expiry.tv_nsec %= 1000000000;
    snprintf(f->env_texts[1], sizeof(f->env_texts[1]), "EXPIRY=%s", clock_rfc3339(expiry, text));
    f->env[1] = f->env_texts[1];
    return expiry;
}

/* Return: when the first one expires. */
static struct timespec begin_renewed(struct fixture *f)
{
    for (long ms = 400;; ms *= 2) {
        struct timespec expiry = set_expiry(f, ms);

        begin(f, "[ -e $F ] && { " PRINT(
                     "second") "; exit; }\n"
                               "touch $F; echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API
                               "\",\"status\":"
                               "{\"token\":\"first\",\"expirationTimestamp\":\"'$EXPIRY'\"}}'");
        while (f->n_good + f->n_failed == 0)
            assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
        if (f->n_failed == 0)
            return expiry;
        assert_error_has(f, "has expired");
        take_back(f);
    }
}

static void test_renewal(void **state)
{
    struct fixture *f = *state;
    struct timespec expiry = begin_renewed(f);

    assert_string_equal(f->last.authorization, "Bearer first");
    assert_int_equal(f->last.expiry.tv_sec, expiry.tv_sec);
    run_until(f, &f->n_good, 2);
    assert_string_equal(f->last.authorization, "Bearer second");
}

static const struct {
    time_t left;
    span_us renew_in;
} renewals[] = {
    {3600, SPAN_SEC(2880)}, {100, SPAN_SEC(80)}, {40, SPAN_SEC(30)},
    {12, SPAN_SEC(6)},      {1, SPAN_SEC(1)},    {-5, SPAN_SEC(1)},
};

static void test_renew_in(void **state)
{
    const struct timespec now = {.tv_sec = 1000000, .tv_nsec = 500000000};
    struct timespec expiry = now;

    for (size_t i = 0; i < ELEMENTS_OF(renewals); i++) {
        expiry.tv_sec = now.tv_sec + renewals[i].left;
        assert_int_equal(exec_plugin_renew_in(expiry, now, &EXEC_PLUGIN_LIMITS),
                         renewals[i].renew_in);
    }
    expiry.tv_sec = (time_t)1 << 50;
    assert_int_equal(exec_plugin_renew_in(expiry, now, &EXEC_PLUGIN_LIMITS),
                     SPAN_SEC((span_us)365 * 86400));
}

/* ---- output */

#define STATUS(members)                                                                            \
    "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API "\",\"status\":{" members "}}"

static const struct {
    const char *text;
    const char *part; /* of the message */
} unusable[] = {
    {"", "JSON"},
    {"[]", "kind"},
    {"{\"kind\":\"Status\",\"apiVersion\":\"" API "\"}", "kind"},
    {"{\"kind\":\"ExecCredential\"}", "apiVersion"},
    {"{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1beta1\"}", API},
    {"{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API "\"}", "no status"},
    {STATUS(""), "neither"},
    {STATUS("\"token\":\"\""), "neither"},
    {STATUS("\"token\":1"), "neither"},
    {STATUS("\"token\":\"  \""), "empty"},
    {STATUS("\"token\":\"dummy\\r\\nX: y\""), "not allowed in a header"},
    {STATUS("\"token\":\"dummy\",\"expirationTimestamp\":\"tomorrow\""), "RFC 3339"},
    {STATUS("\"clientKeyData\":\"dummy\""), "have to be given together"},
    {STATUS("\"clientCertificateData\":\"dummy\""), "have to be given together"},
    {STATUS("\"clientCertificateData\":\"dummy\",\"clientKeyData\":\"dummy\""), "damaged"},
    {STATUS("\"token\":\"dummy\"") "x", "JSON"},
};

static void test_unusable(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(unusable); i++) {
        struct exec_credential credential;
        struct error e = ERROR_INIT;

        assert_int_equal(
            exec_credential_parse(unusable[i].text, strlen(unusable[i].text), API, &credential, &e),
            -EINVAL);
        if (strstr(e.text, unusable[i].part) == NULL)
            fail_msg("\"%s\" does not have \"%s\" in it", e.text, unusable[i].part);
        assert_null(strstr(e.text, "dummy"));
    }
}

static void test_certificate(void **state)
{
    struct made_pair pair = pair_make(3600);
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    _cleanup_(freep) char *text = NULL;
    _cleanup_(exec_credential_deinit) struct exec_credential credential = {.authorization = NULL};
    struct error e = ERROR_INIT;

    assert_int_equal(json_parse(STATUS(""), strlen(STATUS("")), &json, &e), 0);
    assert_int_equal(
        json_add_text(cJSON_GetObjectItem(json, "status"), "clientCertificateData", pair.cert_pem),
        0);
    assert_int_equal(
        json_add_text(cJSON_GetObjectItem(json, "status"), "clientKeyData", pair.key_pem), 0);
    text = cJSON_PrintUnformatted(json);
    assert_int_equal(exec_credential_parse(text, strlen(text), API, &credential, &e), 0);
    assert_string_equal(credential.client_cert_pem, pair.cert_pem);
    assert_string_equal(credential.client_key_pem, pair.key_pem);
    assert_null(credential.authorization);
    assert_between(credential.certificate_expiry.tv_sec - clock_wall().tv_sec, 3500, 3600);
    pair_unmake(&pair);
}

/* ---- without memory */

static int try_new(void *userdata)
{
    struct fixture *f = userdata;
    _cleanup_(exec_plugin_freep) struct exec_plugin_runner *runner = NULL;

    return exec_plugin_new(f->event, &f->config, &f->limits, on_done, f, &runner, NULL);
}

static void test_without_memory(void **state)
{
    failmalloc_try(try_new, *state);
}

#define WITH_LOOP(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LOOP(test_token),
        WITH_LOOP(test_rights),
        WITH_LOOP(test_surroundings),
        WITH_LOOP(test_environment),
        WITH_LOOP(test_cluster_info),
        WITH_LOOP(test_helper_left_behind),
        WITH_LOOP(test_exit_status_then_good),
        WITH_LOOP(test_backoff),
        WITH_LOOP(test_signal),
        WITH_LOOP(test_not_found),
        WITH_LOOP(test_not_executable),
        WITH_LOOP(test_timeout),
        WITH_LOOP(test_free_while_running),
        WITH_LOOP(test_huge_output),
        WITH_LOOP(test_garbage),
        WITH_LOOP(test_stillborn),
        WITH_LOOP(test_renewal),
        WITH_LOOP(test_without_memory),
        cmocka_unit_test(test_renew_in),
        cmocka_unit_test(test_unusable),
        cmocka_unit_test(test_certificate),
    };
    sigset_t child;

    alarm(STUCK_S);
    /* execvp(3) fails otherwise where PATH has a directory that the user cannot search */
    setenv("PATH", "/usr/bin:/bin", 1);
    /* as the program does for sd_event_add_child() */
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    /* orphans of a plug-in become our children, so that a test can wait for them */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 *                 timer, refresh             exit
 *     WAITING ---------------------> RUNNING -------> WAITING, for expiry or for a retry
 *                                     |   ^
 *          timeout, too much output   |   |
 *                                     +---+ killed
 *
 * The program is not trusted: it inherits no descriptor, signal mask, signal handler or terminal,
 * has no capabilities, and as root no new privileges and no system call that mounts,
 * and gets a process group of its own, so that its children are killed with it. It keeps our
 * standard error, so that an operator can read why it failed; its standard output contains the
 * credential and is read by the parser only. The output is what the pipe contains when the program
 * exits: a child that keeps the pipe open does not delay us.
 *
 * posix_spawn() shares our memory with the child until it calls execve(), so no other process ever
 * has a copy of a secret.
 *
 * The timer counts the time that the machine was suspended, as a credential's lifetime does.
 */
#include "fetcher/auth/exec_plugin.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/confinement.h"
#include "base/privileged.h"
#include "base/process.h"
#include "base/thread.h"
#include "encoding/base64.h"
#include "encoding/json.h"
#include "fetcher/auth/authorization.h"
#include "fetcher/auth/pem.h"

#define OUTPUT_MAX_BYTES (1u << 20) /* a token and two certificates need a hundredth of it */
#define TIMER_ACCURACY   SPAN_MS(5)
#define STACK_BYTES      131072u /* of the thread that starts the program; posix_spawn() has its own */
#define INFO_VARIABLE    "KUBERNETES_EXEC_INFO"

struct exec_plugin_runner {
    const struct api_config *config;
    struct exec_plugin_limits limits;
    exec_plugin_done_fn *done;
    void *userdata;
    sd_event *event;
    const char *ca_pem;
    sd_event_source *timer; /* RUNNING: the timeout; WAITING: when to run */
    bool is_due;            /* WAITING, and the timer was set to now */
    span_us retry_in;       /* after the next failure */

    pid_t pid; /* 0 unless RUNNING */
    sd_event_source *child_source;
    sd_event_source *output_source;
    int output_fd;
    struct buf output;
    const char *kill_reason; /* why we killed it, as the end of a sentence; NULL: we did not */
};

/* ---- a plug-in's output */

void exec_credential_deinit(struct exec_credential *credential)
{
    free(credential->authorization);
    free(credential->client_cert_pem);
    free(credential->client_key_pem);
    *credential = (struct exec_credential){.authorization = NULL};
}

static int parse_pair(const cJSON *status, struct exec_credential *credential, struct error *e)
{
    const char *cert = json_text(status, "clientCertificateData");
    const char *key = json_text(status, "clientKeyData");

    if (cert == NULL && key == NULL)
        return 0;
    if (cert == NULL || key == NULL)
        return error_set(e, -EINVAL,
                         "clientCertificateData and clientKeyData have to be given together");
    credential->client_cert_pem = strdup(cert);
    credential->client_key_pem = strdup(key);
    if (credential->client_cert_pem == NULL || credential->client_key_pem == NULL)
        return error_set_errno(e, -ENOMEM, "cannot keep the credential");
    return pem_check_pair(cert, key, &credential->certificate_expiry, e);
}

static int parse_output(const cJSON *json, const char *api_version,
                        struct exec_credential *credential, struct error *e)
{
    const char *kind = json_text(json, "kind"), *version = json_text(json, "apiVersion");
    const cJSON *status = json_member(json, "status");
    const char *token = json_text(status, "token");
    const char *expiry = json_text(status, "expirationTimestamp");
    int r;

    if (kind == NULL || !streq(kind, "ExecCredential"))
        return error_set(e, -EINVAL, "its kind is not ExecCredential");
    if (version == NULL || !streq(version, api_version))
        return error_set(e, -EINVAL, "its apiVersion is not the kubeconfig's, which is %.64s",
                         api_version);
    if (!cJSON_IsObject(status))
        return error_set(e, -EINVAL, "it has no status");
    r = parse_pair(status, credential, e);
    if (r >= 0 && token != NULL && token[0] != '\0')
        r = authorization_bearer(token, &credential->authorization, e);
    if (r < 0)
        return r;
    if (credential->authorization == NULL && credential->client_cert_pem == NULL)
        return error_set(e, -EINVAL, "its status has neither a token nor a certificate");
    if (expiry != NULL && clock_parse_rfc3339(expiry, &credential->expiry) < 0)
        return error_set(e, -EINVAL, "its expirationTimestamp is not an RFC 3339 time");
    return 0;
}

int exec_credential_parse(const char *text, size_t len, const char *api_version,
                          struct exec_credential *ret_credential, struct error *e)
{
    _cleanup_(exec_credential_deinit) struct exec_credential credential = {.authorization = NULL};
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    int r = json_parse(text, len, &json, e);

    if (r >= 0)
        r = parse_output(json, api_version, &credential, e);
    if (r < 0)
        return error_prefix(e, r, "printed nothing usable");
    *ret_credential = credential;
    credential = (struct exec_credential){.authorization = NULL};
    return 0;
}

static double seconds_between(struct timespec from, struct timespec to)
{
    return difftime(to.tv_sec, from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}

span_us exec_plugin_renew_in(struct timespec expiry, struct timespec now,
                             const struct exec_plugin_limits *limits)
{
    const double year_us = 365.0 * 86400e6; /* "for ever" is a date like 9999-12-31 */
    double left = seconds_between(now, expiry) * 1e6, early = left / 5;

    if (early < (double)limits->renew_early)
        early = (double)limits->renew_early;
    if (early > left / 2)
        early = left / 2;
    left -= early;
    if (left < (double)limits->retry_first)
        return limits->retry_first;
    return left < year_us ? (span_us)left : (span_us)year_us;
}

/* ---- a plug-in's environment */

static int add_cluster(cJSON *spec, const struct exec_plugin_runner *r)
{
    const struct api_config *config = r->config;
    cJSON *cluster = cJSON_AddObjectToObject(spec, "cluster");
    _cleanup_(freep) char *ca = r->ca_pem != NULL ? base64_encode_text(r->ca_pem) : NULL;

    if (cluster == NULL || (ca == NULL && r->ca_pem != NULL) ||
        json_add_text(cluster, "server", config->server) < 0 ||
        json_add_text(cluster, "tls-server-name", config->tls_server_name) < 0 ||
        json_add_text(cluster, "certificate-authority-data", ca) < 0 ||
        json_add_text(cluster, "proxy-url", config->proxy_url) < 0)
        return -ENOMEM;
    if (config->insecure_skip_tls_verify &&
        cJSON_AddTrueToObject(cluster, "insecure-skip-tls-verify") == NULL)
        return -ENOMEM;
    if (config->exec->cluster_config != NULL &&
        cJSON_AddRawToObject(cluster, "config", config->exec->cluster_config) == NULL)
        return -ENOMEM;
    return 0;
}

/* "KUBERNETES_EXEC_INFO={...}". Return: the caller's; NULL for want of memory. */
static char *make_exec_info(const struct exec_plugin_runner *r)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    _cleanup_(freep) char *text = NULL;
    cJSON *spec;
    char *info;

    if (json == NULL || json_add_text(json, "kind", "ExecCredential") < 0 ||
        json_add_text(json, "apiVersion", r->config->exec->api_version) < 0)
        return NULL;
    spec = cJSON_AddObjectToObject(json, "spec");
    if (spec == NULL || cJSON_AddFalseToObject(spec, "interactive") == NULL ||
        (r->config->exec->provide_cluster_info && add_cluster(spec, r) < 0))
        return NULL;
    text = cJSON_PrintUnformatted(json);
    if (text == NULL || asprintf(&info, "%s=%s", INFO_VARIABLE, text) < 0)
        return NULL;
    return info;
}

static size_t count(char *const *strings)
{
    size_t n = 0;

    while (strings != NULL && strings[n] != NULL)
        n++;
    return n;
}

/* Return: the command and its arguments, borrowed, in an array for the caller to free; or NULL. */
static char **make_argv(const struct exec_plugin *exec)
{
    size_t n = count(exec->args);
    char **argv = calloc(n + 2, sizeof(*argv));

    if (argv == NULL)
        return NULL;
    argv[0] = exec->command;
    if (n > 0)
        memcpy(argv + 1, exec->args, n * sizeof(*argv));
    return argv;
}

static bool same_variable(const char *a, const char *b)
{
    size_t len = strcspn(a, "=");

    return strncmp(a, b, len) == 0 && b[len] == '=';
}

/* Set @variable in the environment @envp, which has room for one more. */
static void set_variable(char **envp, char *variable)
{
    while (*envp != NULL && !same_variable(variable, *envp))
        envp++;
    *envp = variable;
}

/* Our environment, overridden by the kubeconfig's, and @info. Return: as make_argv(). */
static char **make_envp(const struct exec_plugin *exec, char *info)
{
    size_t n = count(environ);
    char **envp = calloc(n + count(exec->env) + 2, sizeof(*envp));

    if (envp == NULL)
        return NULL;
    if (n > 0)
        memcpy(envp, environ, n * sizeof(*envp));
    for (char **variable = exec->env; variable != NULL && *variable != NULL; variable++)
        set_variable(envp, *variable);
    set_variable(envp, info);
    return envp;
}

/* ---- the end of a run */

static void set_timer(struct exec_plugin_runner *r, span_us delay)
{
    /* neither can fail for a source that exists */
    sd_event_source_set_time(r->timer, clock_boot() + delay);
    sd_event_source_set_enabled(r->timer, SD_EVENT_ONESHOT);
    r->is_due = delay == 0;
}

static void kill_run(struct exec_plugin_runner *r)
{
    assert(r->pid > 0);
    kill(-r->pid, SIGKILL);
}

static void clear_run(struct exec_plugin_runner *r)
{
    r->child_source = sd_event_source_disable_unref(r->child_source);
    r->output_source = sd_event_source_disable_unref(r->output_source);
    r->output_fd = fd_close(r->output_fd);
    buf_deinit(&r->output);
    r->kill_reason = NULL;
    r->pid = 0;
}

/* The end of a run that failed. @what: the end of the sentence that has the plug-in as subject. */
static void finish_failed(struct exec_plugin_runner *r, const char *what)
{
    const struct exec_plugin *exec = r->config->exec;
    struct error e;

    error_set(&e, -EIO, "the exec plug-in \"%.100s\" %.200s%s%s", exec->command, what,
              exec->install_hint != NULL ? ". " : "",
              exec->install_hint != NULL ? exec->install_hint : "");
    clear_run(r);
    set_timer(r, r->retry_in);
    r->retry_in = r->retry_in * 2 < r->limits.retry_max ? r->retry_in * 2 : r->limits.retry_max;
    r->done(r->userdata, NULL, &e);
}

/* The end of a run with exit status 0. */
static void finish_run(struct exec_plugin_runner *r)
{
    _cleanup_(exec_credential_deinit) struct exec_credential credential = {.authorization = NULL};
    const char *api_version = r->config->exec->api_version;
    struct error e = ERROR_INIT;

    if (exec_credential_parse(buf_text(&r->output), r->output.len, api_version, &credential, &e) <
        0) {
        finish_failed(r, e.text);
        return;
    }
    if (credential.expiry.tv_sec != 0 && seconds_between(clock_wall(), credential.expiry) <= 0) {
        finish_failed(r, "printed a credential that has expired: check the system clock");
        return;
    }
    clear_run(r);
    sd_event_source_set_enabled(r->timer, SD_EVENT_OFF);
    if (credential.expiry.tv_sec != 0)
        set_timer(r, exec_plugin_renew_in(credential.expiry, clock_wall(), &r->limits));
    r->retry_in = r->limits.retry_first;
    r->done(r->userdata, &credential, NULL);
}

/* Read the pipe. Return: whether more may come. */
static bool read_output(struct exec_plugin_runner *r)
{
    int result = buf_read_fd(&r->output, r->output_fd);

    if (result == -EAGAIN)
        return true;
    if (result < 0 && r->kill_reason == NULL) {
        r->kill_reason = result == -EFBIG ? "was killed because it printed more than 1 MiB"
                                          : "was killed because its output could not be read";
        kill_run(r);
    }
    return false;
}

static int on_output(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct exec_plugin_runner *r = userdata;

    if (!read_output(r))
        sd_event_source_set_enabled(source, SD_EVENT_OFF);
    return 0;
}

static int on_exit_status(sd_event_source *source, const siginfo_t *info, void *userdata)
{
    struct exec_plugin_runner *r = userdata;
    char what[64];

    if (r->kill_reason == NULL)
        read_output(r);
    if (r->kill_reason != NULL) {
        finish_failed(r, r->kill_reason);
    } else if (info->si_code == CLD_EXITED && info->si_status == 0) {
        finish_run(r);
    } else {
        snprintf(what, sizeof(what), "%s %d, see its messages",
                 info->si_code == CLD_EXITED ? "ended with exit status" : "was killed by signal",
                 info->si_status);
        finish_failed(r, what);
    }
    return 0;
}

/* ---- the start of a run */

struct launch {
    char *const *argv;
    char *const *envp;
    int output_fd;
    int result;
    pid_t pid;
};

static void *spawn_main(void *userdata)
{
    struct launch *launch = userdata;
    const struct process_files files = {
        .input = -1, .output = launch->output_fd, .errors = STDERR_FILENO};

    confinement_restrict_thread(CONFINEMENT_PLUGIN);
    launch->result = process_start(launch->argv, launch->envp, &files, &launch->pid);
    return NULL;
}

/*
 * A program inherits what the thread that starts it has left, so a thread of its own gives up what
 * the program does not need. Return: 0; -errno.
 */
static int run_restricted(void *arguments)
{
    struct launch *launch = arguments;
    pthread_t thread;
    int r = thread_start(&thread, STACK_BYTES, spawn_main, launch);

    if (r < 0)
        return r;
    pthread_join(thread, NULL);
    return launch->result;
}

/* Start the program. Return: 0, with r->pid and r->output_fd set; -errno. */
static int start(struct exec_plugin_runner *r)
{
    _cleanup_(freep) char *info = make_exec_info(r);
    _cleanup_(freep) char **argv = make_argv(r->config->exec);
    _cleanup_(freep) char **envp = info != NULL ? make_envp(r->config->exec, info) : NULL;
    _cleanup_(fd_closep) int read_fd = -1, write_fd = -1;
    int pipe_fds[2], result;
    struct launch launch;

    if (argv == NULL || envp == NULL)
        return -ENOMEM;
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return negative_errno();
    read_fd = pipe_fds[0];
    write_fd = pipe_fds[1];
    /* the reading end only: the program expects a blocking pipe */
    if (fcntl(read_fd, F_SETFL, O_NONBLOCK) < 0)
        return negative_errno();
    launch = (struct launch){.argv = argv, .envp = envp, .output_fd = write_fd};
    result = privileged_run_program(run_restricted, &launch);
    if (result < 0)
        return result;
    r->pid = launch.pid;
    r->output_fd = TAKE_FD(read_fd);
    return 0;
}

static void end_run(struct exec_plugin_runner *r)
{
    pid_t pid = r->pid;

    if (pid > 0)
        kill_run(r);
    clear_run(r);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static void run(struct exec_plugin_runner *r)
{
    char what[128];
    int result;

    assert(r->pid == 0 && r->output.len == 0);
    result = start(r);
    if (result >= 0)
        result = sd_event_add_io(r->event, &r->output_source, r->output_fd, EPOLLIN, on_output, r);
    if (result >= 0)
        result = sd_event_add_child(r->event, &r->child_source, r->pid, WEXITED, on_exit_status, r);
    if (result >= 0) {
        set_timer(r, r->limits.timeout);
        return;
    }
    end_run(r);
    snprintf(what, sizeof(what), "could not be started: %s",
             result == -ENOENT ? "the program does not exist (on PATH)" : strerrordesc_np(-result));
    finish_failed(r, what);
}

static int on_timer(sd_event_source *source, uint64_t at, void *userdata)
{
    struct exec_plugin_runner *r = userdata;

    r->is_due = false;
    if (r->pid == 0) {
        run(r);
    } else if (r->kill_reason == NULL) {
        r->kill_reason = "was killed because it took too long";
        kill_run(r);
    }
    return 0;
}

/* ---- the object */

void exec_plugin_refresh(struct exec_plugin_runner *runner)
{
    if (runner->pid == 0)
        set_timer(runner, 0);
}

bool exec_plugin_is_busy(const struct exec_plugin_runner *runner)
{
    return runner->pid != 0 || runner->is_due;
}

void exec_plugin_set_ca(struct exec_plugin_runner *runner, const char *ca_pem)
{
    runner->ca_pem = ca_pem;
}

int exec_plugin_new(sd_event *event, const struct api_config *config,
                    const struct exec_plugin_limits *limits, exec_plugin_done_fn *done,
                    void *userdata, struct exec_plugin_runner **ret_runner, struct error *e)
{
    _cleanup_(exec_plugin_freep) struct exec_plugin_runner *r = calloc(1, sizeof(*r));
    int result = -ENOMEM;

    assert(config->exec != NULL && limits->retry_first > 0);
    if (r != NULL) {
        *r = (struct exec_plugin_runner){
            .config = config,
            .limits = *limits,
            .done = done,
            .userdata = userdata,
            .event = sd_event_ref(event),
            .is_due = true,
            .retry_in = limits->retry_first,
            .output_fd = -1,
            .output = BUF_INIT(OUTPUT_MAX_BYTES),
        };
        result = sd_event_add_time(event, &r->timer, CLOCK_BOOTTIME, clock_boot(), TIMER_ACCURACY,
                                   on_timer, r);
    }
    if (result < 0)
        return error_set_errno(e, result, "cannot prepare the exec plug-in \"%.100s\"",
                               config->exec->command);
    *ret_runner = TAKE(r);
    return 0;
}

struct exec_plugin_runner *exec_plugin_free(struct exec_plugin_runner *runner)
{
    if (runner == NULL)
        return NULL;
    end_run(runner);
    sd_event_source_disable_unref(runner->timer);
    sd_event_unref(runner->event);
    free(runner);
    return NULL;
}

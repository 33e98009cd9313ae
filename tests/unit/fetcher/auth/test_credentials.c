/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/auth/credentials.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "base/process.h"
#include "tests/unit/assert_between.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/make_pair.h"

#define STUCK_S 120 /* no test waits for a time; one that does is killed after this */

/* Made once: two pairs with different ends. */
struct pairs {
    struct made_pair a;
    struct made_pair b;
};

struct fixture {
    const struct pairs *pairs;
    char dir[64];
    char paths[4][128];
    sd_event *event;
    struct api_config config;
    struct exec_plugin exec;
    char *args[3];
    struct credentials *credentials;
    unsigned n_good;
    unsigned n_failed;
    struct error error;
};

/* String literals end up in members that are not const only for the sake of free(). */
static char *literal(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void on_changed(void *userdata, const struct error *error)
{
    struct fixture *f = userdata;

    if (error != NULL) {
        f->error = *error;
        f->n_failed++;
    } else {
        f->n_good++;
    }
}

/* A path in the test's directory, valid until slot @slot is used again. */
static char *at(struct fixture *f, unsigned slot, const char *name)
{
    snprintf(f->paths[slot], sizeof(f->paths[slot]), "%s/%s", f->dir, name);
    return f->paths[slot];
}

static void put(const char *path, const char *text, int flags)
{
    _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* Write @text to file @name of the directory, in place. */
static void rewrite(struct fixture *f, const char *name, const char *text)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    put(path, text, O_TRUNC);
}

/* The same by a rename of another file. */
static void replace(struct fixture *f, const char *name, const char *text)
{
    char path[128], temporary[128];

    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    snprintf(temporary, sizeof(temporary), "%s/temporary", f->dir);
    put(temporary, text, O_TRUNC);
    assert_int_equal(rename(temporary, path), 0);
}

/* Let symlink @name lead to @target, in one step as the kubelet does it. */
static void repoint(struct fixture *f, const char *name, const char *target)
{
    char path[128], temporary[128];

    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    snprintf(temporary, sizeof(temporary), "%s/temporary", f->dir);
    assert_int_equal(symlink(target, temporary), 0);
    assert_int_equal(rename(temporary, path), 0);
}

static struct fixture *rotates_before_key; /* at the next open of the key */

int openat(int dir_fd, const char *path, int flags, ...)
{
    struct fixture *f = rotates_before_key;

    if (f != NULL && str_after(strrchr(path, '/'), "/client.key") != NULL) {
        rotates_before_key = NULL;
        repoint(f, "..data", "..2");
    }
    return (int)syscall(SYS_openat, dir_fd, path, flags, 0600);
}

static void begin(struct fixture *f)
{
    struct error e = ERROR_INIT;
    int r = credentials_new(f->event, &f->config, on_changed, f, &f->credentials, &e);

    if (r < 0)
        fail_msg("%s", e.text);
}

static const struct credentials_snapshot *snapshot(const struct fixture *f)
{
    return credentials_peek(f->credentials);
}

static void turn(struct fixture *f)
{
    assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
}

/* Enough turns for an event, the read that it leads to, which has to fail, and a retry. */
static void turns(struct fixture *f)
{
    for (int i = 0; i < 4; i++)
        turn(f);
}

static void run_until(struct fixture *f, const unsigned *counter, unsigned n)
{
    while (*counter < n)
        turn(f);
}

static void assert_has(const struct error *e, const char *part)
{
    if (strstr(e->text, part) == NULL)
        fail_msg("\"%s\" does not have \"%s\" in it", e->text, part);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->pairs = *state; /* the test's initial state */
    snprintf(f->dir, sizeof(f->dir), "/tmp/test_credentials.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_true(sd_event_new(&f->event) >= 0);
    f->config = (struct api_config){.origin = literal("context \"x\" in /etc/kube"),
                                    .server = literal("https://c.test")};
    f->exec = (struct exec_plugin){
        .api_version = literal("client.authentication.k8s.io/v1"),
        .command = literal("sh"),
        .args = f->args,
    };
    f->args[0] = literal("-c");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    const char *const command[] = {"rm", "-rf", f->dir, NULL};

    f->credentials = credentials_free(f->credentials);
    sd_event_unref(f->event);
    assert_int_equal(process_run(command), 0);
    free(f);
    return 0;
}

/* ---- without files */

static void test_data(void **state)
{
    struct fixture *f = *state;
    struct timespec expiry;

    f->config.certificate_authority.data = f->pairs->b.cert_pem;
    f->config.client_certificate.data = f->pairs->a.cert_pem;
    f->config.client_key.data = f->pairs->a.key_pem;
    f->config.client_key.file = literal("/nonexistent"); /* data wins */
    f->config.token = literal("dummy-token");
    begin(f);
    assert_string_equal(snapshot(f)->ca_pem, f->pairs->b.cert_pem);
    assert_string_equal(snapshot(f)->client_cert_pem, f->pairs->a.cert_pem);
    assert_string_equal(snapshot(f)->client_key_pem, f->pairs->a.key_pem);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-token");
    assert_true(credentials_expiry(f->credentials, &expiry));
    assert_between(expiry.tv_sec - clock_wall().tv_sec, 3500, 3600);
}

static void test_basic(void **state)
{
    struct fixture *f = *state;
    struct timespec expiry;

    f->config.username = literal("user");
    begin(f);
    assert_string_equal(snapshot(f)->authorization, "Basic dXNlcjo=");
    assert_null(snapshot(f)->ca_pem);
    assert_false(credentials_expiry(f->credentials, &expiry));
}

/* No file and no plug-in can help, but each call is reported. */
static void test_rejected_without_files(void **state)
{
    struct fixture *f = *state;
    unsigned version;

    f->config.token = literal("dummy-token");
    begin(f);
    version = snapshot(f)->version;
    credentials_rejected(f->credentials, version);
    assert_int_equal(f->n_good, 0); /* never from within the call */
    run_until(f, &f->n_good, 1);
    credentials_rejected(f->credentials, version);
    run_until(f, &f->n_good, 2);
    assert_int_equal(snapshot(f)->version, version);
}

/* ---- files that change */

static void test_token_file(void **state)
{
    struct fixture *f = *state;
    unsigned version;

    rewrite(f, "token", "dummy-one\n");
    f->config.token = literal("not this");
    f->config.token_file = at(f, 0, "token");
    begin(f);
    version = snapshot(f)->version;
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-one");
    replace(f, "token", "dummy-one\n\n"); /* no news */
    credentials_rejected(f->credentials, version);
    run_until(f, &f->n_good, 1);
    assert_int_equal(snapshot(f)->version, version);
    replace(f, "token", "dummy-two");
    run_until(f, &f->n_good, 2);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-two");
    assert_int_equal(snapshot(f)->version, version + 1);
    rewrite(f, "token", "dummy-three");
    run_until(f, &f->n_good, 3);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-three");
    assert_int_equal(f->n_failed, 0);
}

/* The kubelet's own: certificate and key in one file, and a symlink to the newest. */
static void test_kubelet_pair(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *one = NULL, *two = NULL;
    struct timespec first, second;

    assert_true(asprintf(&one, "%s%s", f->pairs->a.cert_pem, f->pairs->a.key_pem) > 0);
    assert_true(asprintf(&two, "%s%s", f->pairs->b.cert_pem, f->pairs->b.key_pem) > 0);
    rewrite(f, "kubelet-client-1.pem", one);
    repoint(f, "kubelet-client-current.pem", at(f, 1, "kubelet-client-1.pem"));
    f->config.client_certificate.file = at(f, 0, "kubelet-client-current.pem");
    f->config.client_key.file = f->config.client_certificate.file;
    begin(f);
    assert_true(credentials_expiry(f->credentials, &first));
    rewrite(f, "kubelet-client-2.pem", two);
    repoint(f, "kubelet-client-current.pem", at(f, 1, "kubelet-client-2.pem"));
    run_until(f, &f->n_good, 1);
    assert_string_equal(snapshot(f)->client_cert_pem, two);
    assert_true(credentials_expiry(f->credentials, &second));
    assert_true(second.tv_sec > first.tv_sec + 3000);
}

static void make_generation(struct fixture *f, const char *dir, const char *token, const char *ca)
{
    char path[32];

    assert_int_equal(mkdir(at(f, 3, dir), 0700), 0);
    snprintf(path, sizeof(path), "%s/token", dir);
    rewrite(f, path, token);
    snprintf(path, sizeof(path), "%s/ca.crt", dir);
    rewrite(f, path, ca);
}

/* A pod's service account: ..data leads to the current directory. */
static void test_atomic_writer(void **state)
{
    struct fixture *f = *state;
    unsigned version;

    make_generation(f, "..1", "dummy-one", f->pairs->a.cert_pem);
    repoint(f, "..data", "..1");
    repoint(f, "token", "..data/token");
    repoint(f, "ca.crt", "..data/ca.crt");
    f->config.token_file = at(f, 0, "token");
    f->config.certificate_authority.file = at(f, 1, "ca.crt");
    begin(f);
    for (unsigned i = 1; i <= 3; i++) {
        char name[8];

        version = snapshot(f)->version;
        snprintf(name, sizeof(name), "..%u", i + 1);
        make_generation(f, name, name, i % 2 == 0 ? f->pairs->a.cert_pem : f->pairs->b.cert_pem);
        repoint(f, "..data", name);
        run_until(f, &f->n_good, i);
        assert_string_equal(snapshot(f)->authorization + strlen("Bearer "), name);
        assert_string_equal(snapshot(f)->ca_pem,
                            i % 2 == 0 ? f->pairs->a.cert_pem : f->pairs->b.cert_pem);
        assert_int_equal(snapshot(f)->version, version + 1);
    }
}

/* ---- files that are incomplete for a moment */

static void test_half_written(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *half = strndup(f->pairs->b.cert_pem, 300);
    const char *rest = f->pairs->b.cert_pem + 300;
    unsigned version;

    rewrite(f, "ca.crt", f->pairs->a.cert_pem);
    f->config.certificate_authority.file = at(f, 0, "ca.crt");
    begin(f);
    version = snapshot(f)->version;
    rewrite(f, "ca.crt", half);
    turns(f);
    assert_int_equal(snapshot(f)->version, version);
    assert_string_equal(snapshot(f)->ca_pem, f->pairs->a.cert_pem);
    put(f->config.certificate_authority.file, rest, O_APPEND);
    run_until(f, &f->n_good, 1);
    assert_string_equal(snapshot(f)->ca_pem, f->pairs->b.cert_pem);
    assert_int_equal(f->n_failed, 0);
}

static void test_missing_for_a_moment(void **state)
{
    struct fixture *f = *state;

    rewrite(f, "token", "dummy-one");
    f->config.token_file = at(f, 0, "token");
    begin(f);
    assert_int_equal(unlink(f->config.token_file), 0);
    turns(f);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-one");
    rewrite(f, "token", "dummy-two");
    run_until(f, &f->n_good, 1);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-two");
    assert_int_equal(f->n_failed, 0);
}

/* One file of two is replaced: they do not belong together until the other is. */
static void test_mismatch(void **state)
{
    struct fixture *f = *state;
    unsigned version;

    rewrite(f, "client.crt", f->pairs->a.cert_pem);
    rewrite(f, "client.key", f->pairs->a.key_pem);
    f->config.client_certificate.file = at(f, 0, "client.crt");
    f->config.client_key.file = at(f, 1, "client.key");
    begin(f);
    version = snapshot(f)->version;
    replace(f, "client.crt", f->pairs->b.cert_pem);
    turns(f);
    assert_string_equal(snapshot(f)->client_cert_pem, f->pairs->a.cert_pem);
    replace(f, "client.key", f->pairs->b.key_pem);
    run_until(f, &f->n_good, 1);
    assert_string_equal(snapshot(f)->client_cert_pem, f->pairs->b.cert_pem);
    assert_string_equal(snapshot(f)->client_key_pem, f->pairs->b.key_pem);
    assert_int_equal(snapshot(f)->version, version + 1);
    assert_int_equal(f->n_failed, 0);
}

/* The first read gets the certificate before the kubelet's step and the key after it. */
static void test_rotation_at_start(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir(at(f, 3, "..1"), 0700), 0);
    rewrite(f, "..1/client.crt", f->pairs->a.cert_pem);
    rewrite(f, "..1/client.key", f->pairs->a.key_pem);
    assert_int_equal(mkdir(at(f, 3, "..2"), 0700), 0);
    rewrite(f, "..2/client.crt", f->pairs->b.cert_pem);
    rewrite(f, "..2/client.key", f->pairs->b.key_pem);
    repoint(f, "..data", "..1");
    repoint(f, "client.crt", "..data/client.crt");
    repoint(f, "client.key", "..data/client.key");
    f->config.client_certificate.file = at(f, 0, "client.crt");
    f->config.client_key.file = at(f, 1, "client.key");
    rotates_before_key = f;
    begin(f);
    assert_null(rotates_before_key);
    assert_string_equal(snapshot(f)->client_cert_pem, f->pairs->b.cert_pem);
    assert_string_equal(snapshot(f)->client_key_pem, f->pairs->b.key_pem);
}

/* A directory that is removed and made again is watched again. */
static void test_directory_replaced(void **state)
{
    struct fixture *f = *state;

    make_generation(f, "d", "dummy-one", "");
    f->config.token_file = at(f, 0, "d/token");
    begin(f);
    make_generation(f, "d2", "dummy-two", "");
    assert_int_equal(rename(at(f, 1, "d"), at(f, 2, "old")), 0);
    turns(f);
    assert_int_equal(rename(at(f, 1, "d2"), at(f, 2, "d")), 0);
    run_until(f, &f->n_good, 1);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-two");
}

/* A failure that lasts is reported once, and so is its end. */
static void test_missing_for_long(void **state)
{
    struct fixture *f = *state;
    unsigned version;

    rewrite(f, "token", "dummy-one");
    f->config.token_file = at(f, 0, "token");
    begin(f);
    version = snapshot(f)->version;
    assert_int_equal(unlink(f->config.token_file), 0);
    run_until(f, &f->n_failed, 1);
    assert_has(&f->error, f->config.token_file);
    assert_has(&f->error, "No such file");
    assert_int_equal(f->n_good, 0);
    turn(f);
    assert_int_equal(f->n_failed, 1);
    rewrite(f, "token", "dummy-one");
    run_until(f, &f->n_good, 1);
    assert_int_equal(snapshot(f)->version, version);
    assert_int_equal(f->n_failed, 1);
}

/* ---- 401 */

/* Writing through a mapping causes no inotify event, like a write of another machine. */
static void write_unnoticed(const char *path, const char *text)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CLOEXEC);
    char *map = mmap(NULL, strlen(text), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_true(map != MAP_FAILED);
    memcpy(map, text, strlen(text));
    assert_int_equal(munmap(map, strlen(text)), 0);
}

static void test_rejected_rereads(void **state)
{
    struct fixture *f = *state;
    unsigned version;

    rewrite(f, "token", "dummy-one");
    f->config.token_file = at(f, 0, "token");
    begin(f);
    version = snapshot(f)->version;
    write_unnoticed(f->config.token_file, "dummy-two");
    credentials_rejected(f->credentials, version);
    run_until(f, &f->n_good, 1);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-two");
    assert_int_equal(snapshot(f)->version, version + 1);
    credentials_rejected(f->credentials, version); /* outdated, answered nevertheless */
    run_until(f, &f->n_good, 2);
    assert_int_equal(snapshot(f)->version, version + 1);
}

static void test_rejected_and_missing(void **state)
{
    struct fixture *f = *state;

    rewrite(f, "token", "dummy-one");
    f->config.token_file = at(f, 0, "token");
    begin(f);
    assert_int_equal(unlink(f->config.token_file), 0);
    credentials_rejected(f->credentials, snapshot(f)->version);
    run_until(f, &f->n_failed, 1);
    assert_has(&f->error, f->config.token_file);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-one");
}

/* ---- exec */

/* Counts its runs in file $F and puts the count into the token. */
#define COUNTING                                                                                   \
    "echo >>$F; printf '{\"kind\":\"ExecCredential\",\"apiVersion\":"                              \
    "\"client.authentication.k8s.io/v1\",\"status\":{\"token\":\"run-%d\"}}' $(wc -l <$F)"

static void use_plugin(struct fixture *f, const char *script)
{
    f->args[1] = literal(script);
    f->config.exec = &f->exec;
    assert_int_equal(setenv("F", at(f, 3, "runs"), 1), 0);
}

static void test_plugin(void **state)
{
    struct fixture *f = *state;
    unsigned version;

    use_plugin(f, COUNTING);
    begin(f);
    assert_null(snapshot(f));
    run_until(f, &f->n_good, 1);
    version = snapshot(f)->version;
    assert_string_equal(snapshot(f)->authorization, "Bearer run-1");
    credentials_rejected(f->credentials, version);
    credentials_rejected(f->credentials, version);
    run_until(f, &f->n_good, 2);
    assert_string_equal(snapshot(f)->authorization, "Bearer run-2");
    assert_int_equal(snapshot(f)->version, version + 1);
    credentials_rejected(f->credentials, version);
    run_until(f, &f->n_good, 3);
    assert_string_equal(snapshot(f)->authorization, "Bearer run-2");
}

/* The same token again: one run for the version, however often it is rejected. */
static void test_plugin_without_news(void **state)
{
    struct fixture *f = *state;
    unsigned version;
    struct stat st;

    use_plugin(f,
               COUNTING "0 >/dev/null; printf '{\"kind\":\"ExecCredential\",\"apiVersion\":"
                        "\"client.authentication.k8s.io/v1\",\"status\":{\"token\":\"dummy\"}}'");
    begin(f);
    run_until(f, &f->n_good, 1);
    version = snapshot(f)->version;
    for (unsigned i = 2; i <= 4; i++) {
        credentials_rejected(f->credentials, version);
        run_until(f, &f->n_good, i);
    }
    assert_int_equal(snapshot(f)->version, version);
    assert_int_equal(stat(f->paths[3], &st), 0);
    assert_int_equal(st.st_size, 2); /* a line per run: the first, and the one for 401 */
}

static void test_plugin_beside_files(void **state)
{
    struct fixture *f = *state;

    use_plugin(f, COUNTING);
    rewrite(f, "token", "dummy-one");
    f->config.token_file = at(f, 0, "token");
    f->config.certificate_authority.data = f->pairs->a.cert_pem;
    begin(f);
    run_until(f, &f->n_good, 1);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-one");
    assert_string_equal(snapshot(f)->ca_pem, f->pairs->a.cert_pem);
}

/* As client-go: the token until the file can be read, and never again after it could be. */
static void test_token_beside_missing_file(void **state)
{
    struct fixture *f = *state;

    f->config.token = literal("dummy-inline");
    f->config.token_file = at(f, 0, "token");
    begin(f);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-inline");
    rewrite(f, "token", "dummy-one");
    run_until(f, &f->n_good, 1);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-one");
    assert_int_equal(unlink(f->config.token_file), 0);
    run_until(f, &f->n_failed, 1);
    assert_has(&f->error, f->config.token_file);
    assert_string_equal(snapshot(f)->authorization, "Bearer dummy-one");
}

static void test_plugin_fails(void **state)
{
    struct fixture *f = *state;

    use_plugin(f, "exit 7");
    begin(f);
    run_until(f, &f->n_failed, 1);
    assert_has(&f->error, "exit status 7");
    assert_null(snapshot(f));
}

/* ---- errors at the start */

static void assert_refused(struct fixture *f, int code, const char *part, const char *path)
{
    struct error e = ERROR_INIT;

    assert_int_equal(credentials_new(f->event, &f->config, on_changed, f, &f->credentials, &e),
                     code);
    assert_null(f->credentials);
    assert_has(&e, part);
    assert_has(&e, path);
    assert_null(strstr(e.text, "dummy"));
}

static void test_refused_tokens(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *text = malloc((1u << 20) + 2);

    f->config.token_file = at(f, 0, "token");
    assert_refused(f, -ENOENT, "No such file", f->paths[0]);
    rewrite(f, "token", "");
    assert_refused(f, -EINVAL, "empty", f->paths[0]);
    rewrite(f, "token", " \n");
    assert_refused(f, -EINVAL, "empty", f->paths[0]);
    rewrite(f, "token", "dummy one");
    assert_refused(f, -EINVAL, "not allowed in a header", f->paths[0]);
    memset(text, 'a', (1u << 20) + 1);
    text[(1u << 20) + 1] = '\0';
    rewrite(f, "token", text);
    assert_refused(f, -EFBIG, "1 MiB", f->paths[0]);
}

static void test_refused_certificates(void **state)
{
    struct fixture *f = *state;

    rewrite(f, "a.crt", f->pairs->a.cert_pem);
    rewrite(f, "b.key", f->pairs->b.key_pem);
    f->config.client_certificate.file = at(f, 0, "a.crt");
    f->config.client_key.file = at(f, 1, "b.key");
    assert_refused(f, -EINVAL, "does not belong", f->paths[0]);
    assert_refused(f, -EINVAL, "does not belong", f->paths[1]);
    f->config.certificate_authority.file = at(f, 2, "ca.crt");
    rewrite(f, "ca.crt", "no PEM");
    assert_refused(f, -EINVAL, "certificate authorities", f->paths[2]);
    f->config.certificate_authority.data = literal("no PEM");
    assert_refused(f, -EINVAL, "PEM", "context \"x\" in /etc/kube");
}

/* ---- without memory */

static int try_new(void *userdata)
{
    struct fixture *f = userdata;
    _cleanup_(credentials_freep) struct credentials *credentials = NULL;

    return credentials_new(f->event, &f->config, on_changed, f, &credentials, NULL);
}

static void test_without_memory(void **state)
{
    struct fixture *f = *state;

    rewrite(f, "token", "dummy-one");
    f->config.token_file = at(f, 0, "token");
    use_plugin(f, COUNTING);
    failmalloc_try(try_new, f);
}

#define WITH_LOOP(test)                                                                            \
    {                                                                                              \
#test, test, setup, teardown, &pairs                                                       \
    }

int main(void)
{
    struct pairs pairs = {.a = pair_make(3600), .b = pair_make(7200)};
    const struct CMUnitTest tests[] = {
        WITH_LOOP(test_data),
        WITH_LOOP(test_basic),
        WITH_LOOP(test_rejected_without_files),
        WITH_LOOP(test_token_file),
        WITH_LOOP(test_kubelet_pair),
        WITH_LOOP(test_atomic_writer),
        WITH_LOOP(test_half_written),
        WITH_LOOP(test_missing_for_a_moment),
        WITH_LOOP(test_mismatch),
        WITH_LOOP(test_rotation_at_start),
        WITH_LOOP(test_directory_replaced),
        WITH_LOOP(test_missing_for_long),
        WITH_LOOP(test_rejected_rereads),
        WITH_LOOP(test_rejected_and_missing),
        WITH_LOOP(test_plugin),
        WITH_LOOP(test_plugin_without_news),
        WITH_LOOP(test_plugin_beside_files),
        WITH_LOOP(test_token_beside_missing_file),
        WITH_LOOP(test_plugin_fails),
        WITH_LOOP(test_refused_tokens),
        WITH_LOOP(test_refused_certificates),
        WITH_LOOP(test_without_memory),
    };
    sigset_t child;
    int r;

    alarm(STUCK_S);
    /* as the program does for sd_event_add_child() */
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    pair_unmake(&pairs.a);
    pair_unmake(&pairs.b);
    return r;
}

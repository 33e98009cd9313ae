/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/api_source.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "encoding/json.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/test_server.h"

#define DIR_TEMPLATE "/tmp/test-api-XXXXXX"

struct fixture {
    struct test_server server;
    char dir[sizeof(DIR_TEMPLATE)];
    sd_event *event;
    struct store *store;
    struct api_server *api_server; /* of sources with tokens */
    struct source *source;
    struct store_subscription *subscription;
    struct store_subscription *others[3];
    bool leaves_on_change;
};

/* ---- the server: takes the token "good", and has the event that the test writes to it */

#define SECRET(version, value)                                                                     \
    "{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"db\",\"namespace\":"      \
    "\"default\",\"uid\":\"u\",\"resourceVersion\":\"" version                                     \
    "\"},\"data\":{\"password\":\"" value "\"}}"
#define LIST(items) "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[" items "]}"
#define ONE         "b25l"
#define TWO         "dHdv"

/* The test's next line, read byte by byte: the next one may be for another connection. */
static bool read_order(struct connection *c, char *line, size_t size)
{
    size_t len = 0;

    while (len < size - 1 && read(c->control_fd, line + len, 1) == 1) {
        if (line[len] == '\n') {
            line[len] = '\0';
            return true;
        }
        len++;
    }
    return false;
}

static void serve_watch(struct connection *c)
{
    char line[4096];

    server_printf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (read_order(c, line, sizeof(line)) && !streq(line, "end"))
        server_printf(c, "%zx\r\n%s\r\n", strlen(line), line);
    server_printf(c, "0\r\n\r\n");
}

static void serve(struct connection *c, const char *head)
{
    bool is_db = strstr(head, "%3Ddb") != NULL;

    if (strstr(head, "\r\nAuthorization: Bearer good\r\n") == NULL) {
        server_answer(c, "401 Unauthorized", "{\"kind\":\"Status\",\"message\":\"Unauthorized\"}");
    } else if (strstr(head, "watch=true") == NULL) {
        server_answer(c, "200 OK", is_db ? LIST(SECRET("3", ONE)) : LIST(""));
    } else if (is_db) {
        serve_watch(c);
    } else {
        server_printf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        server_hang(c);
    }
}

static void tell_server(struct fixture *f, const char *text)
{
    assert_int_equal(write(f->server.control_fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* ---- the client */

static struct api_config *make_config(const struct fixture *f)
{
    struct api_config *config = calloc(1, sizeof(*config));

    if (config == NULL)
        return NULL;
    config->origin = strdup("the test");
    if (asprintf(&config->server, "http://127.0.0.1:%d", f->server.port) < 0)
        config->server = NULL;
    if (config->origin == NULL || config->server == NULL)
        return api_config_free(config);
    return config;
}

static void begin(struct fixture *f, struct api_config *config_consumed)
{
    struct error e = ERROR_INIT;

    if (api_source_new(f->event, f->store, config_consumed, &f->source, &e) < 0)
        fail_msg("%s", e.text);
    store_set_source(f->store, &f->source->ops->store, f->source);
}

static void begin_with_token(struct fixture *f, const char *token)
{
    struct api_config *config = make_config(f);

    config->token = strdup(token);
    begin(f, config);
}

static void on_changed(void *userdata, const struct store_view *view)
{
    struct fixture *f = userdata;

    if (!f->leaves_on_change)
        return;
    f->subscription = store_unsubscribe(f->subscription);
    for (size_t i = 0; i < ELEMENTS_OF(f->others); i++)
        f->others[i] = store_unsubscribe(f->others[i]);
}

static struct store_subscription *subscribe(struct fixture *f, const char *name)
{
    const struct object_key key = {OBJECT_SECRET, "default", name, NULL};
    struct store_subscription *subscription;
    struct error e = ERROR_INIT;

    if (store_subscribe(f->store, &key, on_changed, f, &subscription, &e) < 0)
        fail_msg("%s", e.text);
    return subscription;
}

static const struct store_view *view_of(struct fixture *f)
{
    return store_peek(f->subscription);
}

static void run(struct fixture *f)
{
    assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
}

static void run_until_state(struct fixture *f, enum store_source_state state)
{
    while (view_of(f)->source_state != state)
        run(f);
}

static void run_until_version(struct fixture *f, const char *version)
{
    while (view_of(f)->object == NULL || !streq(view_of(f)->object->resource_version, version))
        run(f);
}

static cJSON *describe(struct fixture *f)
{
    cJSON *status = cJSON_CreateObject();

    assert_non_null(status);
    assert_int_equal(f->source->ops->describe(f->source, status), 0);
    return status;
}

static double number_at(const cJSON *json)
{
    assert_true(cJSON_IsNumber(json));
    return json->valuedouble;
}

static void write_file(const struct fixture *f, const char *name, mode_t mode, const char *text)
{
    char path[128], new_path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    snprintf(new_path, sizeof(new_path), "%s/new", f->dir);
    fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    assert_int_equal(rename(new_path, path), 0);
}

static char *path_of(const struct fixture *f, const char *name)
{
    char *path;

    assert_true(asprintf(&path, "%s/%s", f->dir, name) > 0);
    return path;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    snprintf(f->dir, sizeof(f->dir), "%s", DIR_TEMPLATE);
    assert_non_null(mkdtemp(f->dir));
    test_server_start(&f->server, NULL, serve);
    assert_int_equal(sd_event_new(&f->event), 0);
    assert_int_equal(store_new(&f->store), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const files[] = {"token", "plugin", "fifo"};
    struct fixture *f = *state;

    f->leaves_on_change = true;
    on_changed(f, NULL);
    store_free(f->store);
    source_free(f->source);
    api_server_unref(f->api_server);
    sd_event_unref(f->event);
    test_server_stop(&f->server);
    for (size_t i = 0; i < ELEMENTS_OF(files); i++) {
        char *path = path_of(f, files[i]);

        unlink(path);
        free(path);
    }
    rmdir(f->dir);
    free(f);
    return 0;
}

/* ---- tests */

static void test_list_and_watch(void **state)
{
    struct fixture *f = *state;

    begin_with_token(f, "good");
    f->subscription = subscribe(f, "db");
    run_until_state(f, STORE_SOURCE_LIVE);
    assert_int_equal(view_of(f)->presence, STORE_PRESENT);
    assert_memory_equal(view_of(f)->object->entries[0].bytes, "one", 3);
    tell_server(f, "{\"type\":\"MODIFIED\",\"object\":" SECRET("7", TWO) "}\n");
    run_until_version(f, "7");
    assert_memory_equal(view_of(f)->object->entries[0].bytes, "two", 3);
    tell_server(f, "{\"type\":\"DELETED\",\"object\":" SECRET("8", TWO) "}\n");
    while (view_of(f)->presence != STORE_ABSENT)
        run(f);
}

static void test_describe(void **state)
{
    struct fixture *f = *state;
    cJSON *status;

    begin_with_token(f, "good");
    f->subscription = subscribe(f, "db");
    f->others[0] = subscribe(f, "other");
    run_until_state(f, STORE_SOURCE_LIVE);
    while (store_peek(f->others[0])->source_state != STORE_SOURCE_LIVE)
        run(f);
    tell_server(f, "{\"type\":\"MODIFIED\",\"object\":" SECRET("7", TWO) "}\n");
    run_until_version(f, "7");
    tell_server(f, "end\n");
    tell_server(f, "{\"type\":\"MODIFIED\",\"object\":" SECRET("9", TWO) "}\n");
    run_until_version(f, "9");
    status = describe(f);
    assert_string_equal(json_text(status, "kind"), "api");
    assert_non_null(strstr(json_text(status, "server"), "http://127.0.0.1:"));
    assert_string_equal(json_text(status, "origin"), "the test");
    assert_string_equal(json_text(status, "protocol"), "HTTP/1.1");
    assert_true(number_at(json_member(status, "connections")) == 2);
    assert_true(number_at(json_path(status, "requests", "200", NULL)) == 5);
    assert_true(number_at(json_member(status, "watchRestarts")) == 1);
    cJSON_Delete(status);
    /* without subscribers no request is open; counters stay */
    f->subscription = store_unsubscribe(f->subscription);
    f->others[0] = store_unsubscribe(f->others[0]);
    status = describe(f);
    assert_true(number_at(json_member(status, "connections")) == 0);
    assert_true(number_at(json_member(status, "watchRestarts")) == 1);
    cJSON_Delete(status);
}

static void test_bad_token(void **state)
{
    struct fixture *f = *state;

    begin_with_token(f, "bad");
    f->subscription = subscribe(f, "db");
    run_until_state(f, STORE_SOURCE_FAILING);
    assert_non_null(strstr(kept_error_text(&view_of(f)->source_error), "401 (Unauthorized)"));
}

/* Rotated before the old one was refused, and read again because of that. */
static void test_rotated_token(void **state)
{
    struct fixture *f = *state;
    struct api_config *config = make_config(f);

    config->token_file = path_of(f, "token");
    write_file(f, "token", 0600, "bad\n");
    begin(f, config);
    write_file(f, "token", 0600, "good\n");
    f->subscription = subscribe(f, "db");
    run_until_state(f, STORE_SOURCE_LIVE);
}

/* No request before the plug-in has delivered. */
static void test_exec_plugin(void **state)
{
    struct fixture *f = *state;
    struct api_config *config = make_config(f);
    char *fifo = path_of(f, "fifo"), *script;
    cJSON *status;
    int fd;

    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_true(asprintf(&script, "#!/bin/sh\nexec cat %s\n", fifo) > 0);
    write_file(f, "plugin", 0700, script);
    config->exec = calloc(1, sizeof(*config->exec));
    config->exec->command = path_of(f, "plugin");
    config->exec->api_version = strdup("client.authentication.k8s.io/v1");
    begin(f, config);
    f->subscription = subscribe(f, "db");
    f->others[0] = subscribe(f, "other");
    status = describe(f);
    assert_true(cJSON_GetArraySize(json_member(status, "requests")) == 0);
    assert_true(number_at(json_member(status, "connections")) == 0);
    cJSON_Delete(status);
    assert_int_equal(view_of(f)->source_state, STORE_SOURCE_STARTING);
    while ((fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0)
        assert_true(sd_event_run(f->event, 1000) >= 0); /* until the plug-in has opened it */
    assert_true(dprintf(fd, "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":"
                            "\"ExecCredential\",\"status\":{\"token\":\"good\"}}") > 0);
    close(fd);
    run_until_state(f, STORE_SOURCE_LIVE);
    free(fifo);
    free(script);
}

/* All watches are notified of the failure, and the first one's subscriber frees all of them. */
static void test_failing_plugin(void **state)
{
    struct fixture *f = *state;
    struct api_config *config = make_config(f);

    config->exec = calloc(1, sizeof(*config->exec));
    config->exec->command = strdup("/bin/false");
    config->exec->api_version = strdup("client.authentication.k8s.io/v1");
    begin(f, config);
    f->subscription = subscribe(f, "db");
    for (size_t i = 0; i < ELEMENTS_OF(f->others); i++) {
        const char name[] = {(char)('a' + i), '\0'};

        f->others[i] = subscribe(f, name);
    }
    f->leaves_on_change = true;
    while (f->subscription != NULL)
        run(f);
}

/* ---- tokens from outside */

static void make_server(struct fixture *f)
{
    _cleanup_(api_config_freep) struct api_config *config = make_config(f);
    struct error e = ERROR_INIT;

    config->token = strdup("good"); /* unused */
    assert_int_equal(api_server_new(f->event, api_config_dup_anonymous(config), &f->api_server, &e),
                     0);
}

static void begin_with_set_token(struct fixture *f, const char *token)
{
    struct error e = ERROR_INIT;

    make_server(f);
    assert_int_equal(api_source_new_with_token(f->api_server, f->store, token, &f->source, &e), 0);
    store_set_source(f->store, &f->source->ops->store, f->source);
}

static void set_token(struct fixture *f, const char *token)
{
    struct error e = ERROR_INIT;

    if (api_source_set_token(f->source, token, &e) < 0)
        fail_msg("%s", e.text);
}

static void expect_failing(struct fixture *f, const char *words)
{
    while (strstr(kept_error_text(&view_of(f)->source_error), words) == NULL)
        run(f);
    assert_int_equal(view_of(f)->source_state, STORE_SOURCE_FAILING);
}

static void test_first_token_comes_late(void **state)
{
    struct fixture *f = *state;

    begin_with_set_token(f, NULL);
    f->subscription = subscribe(f, "db");
    expect_failing(f, "no token yet");
    set_token(f, "good");
    run_until_state(f, STORE_SOURCE_LIVE);
}

static void test_token_is_replaced(void **state)
{
    struct fixture *f = *state;

    begin_with_set_token(f, "bad");
    f->subscription = subscribe(f, "db");
    expect_failing(f, "does not accept the token");
    set_token(f, "bad-too");
    expect_failing(f, "does not accept the token");
    set_token(f, "good");
    run_until_state(f, STORE_SOURCE_LIVE);
}

/* A watch goes on with the token that it was begun with; the next one has the new token. */
static void test_token_ends(void **state)
{
    struct fixture *f = *state;

    begin_with_set_token(f, "good");
    f->subscription = subscribe(f, "db");
    run_until_state(f, STORE_SOURCE_LIVE);
    set_token(f, "bad");
    tell_server(f, "{\"type\":\"MODIFIED\",\"object\":" SECRET("7", TWO) "}\n");
    run_until_version(f, "7");
    assert_int_equal(view_of(f)->source_state, STORE_SOURCE_LIVE);
    tell_server(f, "end\n");
    expect_failing(f, "waiting for the next one");
    assert_int_equal(view_of(f)->presence, STORE_PRESENT);
    set_token(f, "good");
    tell_server(f, "{\"type\":\"MODIFIED\",\"object\":" SECRET("9", ONE) "}\n");
    run_until_version(f, "9");
    assert_int_equal(view_of(f)->source_state, STORE_SOURCE_LIVE);
}

/* A request with the old token is refused after the new one was set. */
static void test_token_is_replaced_under_way(void **state)
{
    struct fixture *f = *state;

    begin_with_set_token(f, "bad");
    f->subscription = subscribe(f, "db");
    set_token(f, "good");
    run_until_state(f, STORE_SOURCE_LIVE);
    assert_true(http_client_stats(f->api_server->client)->n_codes == 2); /* 401, 200 */
}

static void test_bad_tokens(void **state)
{
    static const char *const bad[] = {"", " \n", "two words", "two\nlines", "\x01"};
    struct fixture *f = *state;
    struct source *source;
    struct error e = ERROR_INIT;

    begin_with_set_token(f, "good");
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++) {
        assert_int_equal(api_source_set_token(f->source, bad[i], &e), -EINVAL);
        assert_int_equal(api_source_new_with_token(f->api_server, f->store, bad[i], &source, &e),
                         -EINVAL);
    }
    f->subscription = subscribe(f, "db"); /* the old one stays */
    run_until_state(f, STORE_SOURCE_LIVE);
}

/* Each source has an identity of its own, and is freed with its requests under way. */
static void test_sources_of_one_server(void **state)
{
    const struct object_key key = {OBJECT_SECRET, "default", "other", NULL};
    struct store_subscription *subscription;
    struct fixture *f = *state;
    struct source *source;
    struct store *store;
    struct error e = ERROR_INIT;

    begin_with_set_token(f, "good");
    f->subscription = subscribe(f, "db");
    run_until_state(f, STORE_SOURCE_LIVE);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_new(&store), 0);
        assert_int_equal(
            api_source_new_with_token(f->api_server, store, i == 1 ? "bad" : "good", &source, &e),
            0);
        store_set_source(store, &source->ops->store, source);
        assert_int_equal(store_subscribe(store, &key, on_changed, f, &subscription, &e), 0);
        while (i < 2 && store_peek(subscription)->source_state == STORE_SOURCE_STARTING)
            run(f);
        assert_int_equal(store_peek(subscription)->source_state, i == 0   ? STORE_SOURCE_LIVE
                                                                 : i == 1 ? STORE_SOURCE_FAILING
                                                                          : STORE_SOURCE_STARTING);
        store_unsubscribe(subscription);
        store_free(store);
        source_free(source);
    }
    tell_server(f, "{\"type\":\"MODIFIED\",\"object\":" SECRET("7", TWO) "}\n");
    run_until_version(f, "7");
}

/* ---- requests of other kinds */

struct reply {
    int status;
    bool is_done;
};

static void reply_on_response(void *userdata, const struct http_response *response)
{
    struct reply *reply = userdata;

    reply->status = response->status;
}

static void reply_on_body(void *userdata, const char *bytes, size_t len)
{
}

static void reply_on_done(void *userdata, enum http_outcome outcome, const struct error *error)
{
    struct reply *reply = userdata;

    reply->is_done = true;
}

static const struct http_handler reply_handler = {reply_on_response, reply_on_body, reply_on_done};
static const struct http_call some_call = {.path = "/apis", .total_limit = SPAN_SEC(30)};

static void test_send(void **state)
{
    struct fixture *f = *state;
    struct http_request *request;
    struct reply reply = {0};
    struct error e = ERROR_INIT;

    begin_with_set_token(f, "good");
    assert_int_equal(api_source_send(f->source, &some_call, &reply_handler, &reply, &request, &e),
                     0);
    while (!reply.is_done)
        run(f);
    assert_int_equal(reply.status, 200);
    http_request_free(request);
}

static void test_send_without_token(void **state)
{
    struct fixture *f = *state;
    struct http_request *request;
    struct error e = ERROR_INIT;

    begin_with_set_token(f, NULL);
    assert_int_equal(api_source_send(f->source, &some_call, &reply_handler, NULL, &request, &e),
                     -EAGAIN);
    assert_non_null(strstr(e.text, "no credentials"));
}

static void test_leave_at_once(void **state)
{
    struct fixture *f = *state;

    begin_with_token(f, "good");
    for (int i = 0; i < 3; i++) {
        f->subscription = subscribe(f, "db");
        f->subscription = store_unsubscribe(f->subscription);
    }
    f->subscription = subscribe(f, "db");
    run_until_state(f, STORE_SOURCE_LIVE);
}

static void test_bad_server(void **state)
{
    struct fixture *f = *state;
    struct api_config *config = make_config(f);
    struct error e = ERROR_INIT;

    snprintf(config->server, strlen(config->server), "nonsense");
    assert_int_equal(api_source_new(f->event, f->store, config, &f->source, &e), -EINVAL);
    assert_non_null(strstr(e.text, "nonsense"));
}

static int make_and_free(void *userdata)
{
    struct fixture *f = userdata;
    struct api_config *config = make_config(f);
    struct source *source = NULL;
    struct error e = ERROR_INIT;
    int r;

    if (config == NULL)
        return -ENOMEM;
    r = api_source_new(f->event, f->store, config, &source, &e);
    if (r < 0 && e.text[0] == '\0')
        return -EIO; /* a failure without a message fails the test */
    source_free(source);
    return r;
}

static int set_and_free(void *userdata)
{
    struct fixture *f = userdata;
    struct source *source = NULL;
    struct error e = ERROR_INIT;
    int r = api_source_new_with_token(f->api_server, f->store, "dummy", &source, &e);

    if (r >= 0)
        r = api_source_set_token(source, "dummy-2", &e);
    source_free(source);
    return r < 0 && e.text[0] == '\0' ? -EIO : r;
}

static int dup_and_free(void *userdata)
{
    struct api_config *dup =
        api_config_dup_anonymous(((struct fixture *)userdata)->api_server->config);

    if (dup == NULL)
        return -ENOMEM;
    api_config_free(dup);
    return 0;
}

static void test_no_memory(void **state)
{
    failmalloc_try(make_and_free, *state);
    make_server(*state);
    failmalloc_try(set_and_free, *state);
    failmalloc_try(dup_and_free, *state);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_list_and_watch),
        TEST(test_describe),
        TEST(test_bad_token),
        TEST(test_rotated_token),
        TEST(test_exec_plugin),
        TEST(test_failing_plugin),
        TEST(test_first_token_comes_late),
        TEST(test_token_is_replaced),
        TEST(test_token_ends),
        TEST(test_token_is_replaced_under_way),
        TEST(test_bad_tokens),
        TEST(test_sources_of_one_server),
        TEST(test_send),
        TEST(test_send_without_token),
        TEST(test_leave_at_once),
        TEST(test_bad_server),
        TEST(test_no_memory),
    };

    sigset_t child;

    /* sd-event needs it for the plug-in's end */
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    alarm(120); /* a test that waits in vain */
    setenv("no_proxy", "*", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

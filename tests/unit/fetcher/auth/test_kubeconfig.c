/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/auth/kubeconfig_parse.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/process.h"
#include "fetcher/auth/kubeconfig.h"
#include "tests/unit/failmalloc.h"

#define CLUSTERS "clusters: [{name: c, cluster: {server: 'https://c.test:6443'}}]\n"
#define USERS    "users: [{name: u, user: {token: dummy-token}}]\n"
#define CONTEXTS "contexts: [{name: x, context: {cluster: c, user: u, namespace: ns}}]\n"
#define CURRENT  "current-context: x\n"
/* "-----BEGIN CERTIFICATE-----\ndummy\n-----END CERTIFICATE-----\n" */
#define PEM_BASE64                                                                                 \
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCmR1bW15Ci0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K"

static int parse(const char *text, const char *context, struct api_config **ret_config,
                 struct error *e)
{
    const struct kubeconfig_document document = {
        .path = "/etc/kube/one.conf", .text = text, .len = strlen(text)};

    return kubeconfig_parse(&document, 1, context, ret_config, e);
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not have \"%s\" in it", text, part);
}

/* ---- valid files */

static void test_every_cluster_field(void **state)
{
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct error e;

    assert_int_equal(parse(USERS CONTEXTS CURRENT "clusters:\n"
                                                  "- name: c\n"
                                                  "  cluster:\n"
                                                  "    server: HTTPS://c.test:6443/prefix//\n"
                                                  "    certificate-authority: ../ca.crt\n"
                                                  "    certificate-authority-data: " PEM_BASE64 "\n"
                                                  "    tls-server-name: other.test\n"
                                                  "    proxy-url: socks5://proxy.test:1080\n"
                                                  "    unheard-of: [1, 2]\n",
                           NULL, &config, &e),
                     0);
    assert_string_equal(config->origin, "context \"x\" in /etc/kube/one.conf");
    assert_string_equal(config->server, "https://c.test:6443/prefix");
    assert_string_equal(config->certificate_authority.file, "/etc/kube/../ca.crt");
    assert_string_equal(config->certificate_authority.data,
                        "-----BEGIN CERTIFICATE-----\ndummy\n-----END CERTIFICATE-----\n");
    assert_string_equal(config->tls_server_name, "other.test");
    assert_string_equal(config->proxy_url, "socks5://proxy.test:1080");
    assert_false(config->insecure_skip_tls_verify);
    assert_string_equal(config->token, "dummy-token");
    assert_string_equal(config->namespace, "ns");
    assert_null(config->exec);
}

static void test_every_user_field(void **state)
{
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct error e;

    assert_int_equal(parse(CLUSTERS CONTEXTS CURRENT "users:\n"
                                                     "- name: u\n"
                                                     "  user:\n"
                                                     "    client-certificate: pki/client.crt\n"
                                                     "    client-key: /abs/client.key\n"
                                                     "    token: dummy-token\n"
                                                     "    tokenFile: token\n"
                                                     "    username: ''\n"
                                                     "    as: system:serviceaccount:a:b\n"
                                                     "    as-uid: 12ab\n"
                                                     "    as-groups: [g1, g2]\n",
                           NULL, &config, &e),
                     0);
    assert_string_equal(config->client_certificate.file, "/etc/kube/pki/client.crt");
    assert_string_equal(config->client_key.file, "/abs/client.key");
    assert_string_equal(config->token_file, "/etc/kube/token");
    assert_null(config->username);
    assert_string_equal(config->impersonate_user, "system:serviceaccount:a:b");
    assert_string_equal(config->impersonate_uid, "12ab");
    assert_string_equal(config->impersonate_groups[1], "g2");
    assert_null(config->impersonate_groups[2]);
}

static void test_exec(void **state)
{
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct error e;

    assert_int_equal(
        parse("clusters:\n"
              "- name: c\n"
              "  cluster:\n"
              "    server: https://c.test\n"
              "    insecure-skip-tls-verify: true\n"
              "    extensions:\n"
              "    - {name: other, extension: {no: 1}}\n"
              "    - {name: client.authentication.k8s.io/exec, extension: {audience: a}}\n" //
              CONTEXTS CURRENT "users:\n"
              "- name: u\n"
              "  user:\n"
              "    exec:\n"
              "      apiVersion: client.authentication.k8s.io/v1\n"
              "      command: bin/get-token\n"
              "      args: [--cluster, '', c]\n"
              "      env: [{name: A, value: b}, {name: EMPTY}]\n"
              "      installHint: install get-token\n"
              "      provideClusterInfo: true\n"
              "      interactiveMode: IfAvailable\n",
              NULL, &config, &e),
        0);
    assert_true(config->insecure_skip_tls_verify);
    assert_string_equal(config->exec->api_version, "client.authentication.k8s.io/v1");
    assert_string_equal(config->exec->command, "/etc/kube/bin/get-token");
    assert_string_equal(config->exec->args[0], "--cluster");
    assert_string_equal(config->exec->args[1], "");
    assert_null(config->exec->args[3]);
    assert_string_equal(config->exec->env[0], "A=b");
    assert_string_equal(config->exec->env[1], "EMPTY=");
    assert_null(config->exec->env[2]);
    assert_string_equal(config->exec->install_hint, "install get-token");
    assert_true(config->exec->provide_cluster_info);
    assert_string_equal(config->exec->cluster_config, "{\"audience\":\"a\"}");
}

/* As client-go's validateAuthInfo() and UpdateTransportConfig(). */
static const struct {
    const char *user; /* beside the plug-in */
    bool has_exec;
} beside_exec[] = {
    {"as: a", true},
    {"token: dummy", false},
    {"tokenFile: t", false},
    {"username: a, password: dummy", false},
    {"client-certificate: a, client-key: b", false},
};

static void test_exec_beside_credentials(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(beside_exec); i++) {
        _cleanup_(api_config_freep) struct api_config *config = NULL;
        _cleanup_(freep) char *text = NULL;
        struct error e;

        assert_true(asprintf(&text,
                             CLUSTERS CONTEXTS CURRENT
                             "users: [{name: u, user: {%s, exec: {command: get, interactiveMode: "
                             "Never, apiVersion: client.authentication.k8s.io/v1}}}]\n",
                             beside_exec[i].user) > 0);
        assert_int_equal(parse(text, NULL, &config, &e), 0);
        assert_int_equal(config->exec != NULL, beside_exec[i].has_exec);
        assert_false(config->withholds_credentials);
    }
}

/* As client-go, which reads a user's credentials only if the transport is TLS. */
static void test_no_credentials_over_http(void **state)
{
    static const char *const with[] = {
        "token: dummy",
        "tokenFile: t",
        "username: a, password: dummy",
        "client-certificate: a, client-key: b",
        "exec: {command: get, apiVersion: client.authentication.k8s.io/v1beta1}",
        "as: a",
    };

    for (size_t i = 0; i < ELEMENTS_OF(with); i++) {
        _cleanup_(api_config_freep) struct api_config *config = NULL;
        _cleanup_(freep) char *text = NULL;
        struct error e;

        assert_true(asprintf(&text,
                             CONTEXTS CURRENT
                             "clusters: [{name: c, cluster: {server: 'HTTP://c.test'}}]\n"
                             "users: [{name: u, user: {%s}}]\n",
                             with[i]) > 0);
        assert_int_equal(parse(text, NULL, &config, &e), 0);
        assert_null(config->token);
        assert_null(config->token_file);
        assert_null(config->username);
        assert_null(config->password);
        assert_null(config->client_certificate.file);
        assert_null(config->client_key.file);
        assert_null(config->exec);
        assert_int_equal(config->withholds_credentials, config->impersonate_user == NULL);
    }
}

/* v1 requires interactiveMode; earlier versions default it. Arguments are for execve(2). */
static void test_exec_defaults(void **state)
{
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct error e;

    assert_int_equal(parse(CLUSTERS CONTEXTS CURRENT
                           "users: [{name: u, user: {exec: {command: get, args: [\"a\\nb\"],\n"
                           "  apiVersion: client.authentication.k8s.io/v1beta1}}}]\n",
                           NULL, &config, &e),
                     0);
    assert_string_equal(config->exec->args[0], "a\nb");
}

static void test_context_option_wins(void **state)
{
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct error e;

    assert_int_equal(parse(CLUSTERS USERS CURRENT
                           "contexts: [{name: x, context: {cluster: gone}},\n"
                           "           {name: z, context: {cluster: c}}]\n",
                           "z", &config, &e),
                     0);
    assert_string_equal(config->origin, "context \"z\" in /etc/kube/one.conf");
    assert_null(config->token); /* a context without a user is anonymous */
    assert_null(config->namespace);
}

static const struct {
    const char *cluster;
    const char *user;
    const char *server; /* the result */
} servers[] = {
    {"server: http://localhost:8080/", "", "http://localhost:8080"},
    {"server: 'https://[fd00::1]:6443'", "", "https://[fd00::1]:6443"},
    {"server: 'c.test:6443', insecure-skip-tls-verify: true", "", "https://c.test:6443"},
    {"server: c.test, certificate-authority: ca", "", "https://c.test"},
    {"server: c.test", "client-certificate: a, client-key: b", "https://c.test"},
};

static void test_servers(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(servers); i++) {
        _cleanup_(api_config_freep) struct api_config *config = NULL;
        _cleanup_(freep) char *text = NULL;
        struct error e;

        assert_true(asprintf(&text,
                             CONTEXTS CURRENT "clusters: [{name: c, cluster: {%s}}]\n"
                                              "users: [{name: u, user: {%s}}]\n",
                             servers[i].cluster, servers[i].user) > 0);
        assert_int_equal(parse(text, NULL, &config, &e), 0);
        assert_string_equal(config->server, servers[i].server);
    }
}

/* ---- messages for invalid files */

static const struct {
    const char *text;
    const char *context;
    const char *parts[4]; /* of the message */
} refused[] = {
    {"[1, 2]", NULL, {"/etc/kube/one.conf", "not a kubeconfig"}},
    {"kind: Pod\n" CURRENT, NULL, {"/etc/kube/one.conf", "not a kubeconfig"}},
    {"a: [", NULL, {"/etc/kube/one.conf"}},
    {"contexts: [{name: y}]\n" CURRENT, NULL, {"contexts is not a string"}},
    {CURRENT "---\n" CONTEXTS, NULL, {"/etc/kube/one.conf"}},
    {"clusters: {name: c}\n" CURRENT, NULL, {"clusters is not a list"}},
    {CLUSTERS USERS CONTEXTS, NULL, {"/etc/kube/one.conf", "no current-context", "available: x"}},
    {CLUSTERS CURRENT, NULL, {"current-context \"x\"", "/etc/kube/one.conf", "available: none"}},
    {CLUSTERS USERS "contexts: [{name: a}, {name: b}, {nameless: 1}]\n",
     "z",
     {"context \"z\" does not exist in /etc/kube/one.conf", "available: a, b"}},
    {CLUSTERS USERS "contexts: [{name: x}]\n" CURRENT, NULL, {"context \"x\"", "no cluster"}},
    {USERS CONTEXTS CURRENT "clusters: [{name: d}]\n",
     NULL,
     {"context \"x\" in /etc/kube/one.conf", "cluster \"c\"", "available: d"}},
    {CLUSTERS CONTEXTS CURRENT, NULL, {"user \"u\", which does not exist", "available: none"}},
    {CLUSTERS USERS CURRENT
     "contexts: [{name: x, context: {cluster: c}}, {name: x, context: {cluster: d}}]\n",
     NULL,
     {"/etc/kube/one.conf", "two entries", "\"x\"", "contexts"}},
};

static void assert_refused(const char *text, const char *context, const char *const parts[4])
{
    struct api_config *config = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(parse(text, context, &config, &e), -EINVAL);
    assert_null(config);
    for (size_t i = 0; i < 4 && parts[i] != NULL; i++)
        assert_has(e.text, parts[i]);
}

static void test_refused_files(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(refused); i++)
        assert_refused(refused[i].text, refused[i].context, refused[i].parts);
}

static const struct {
    const char *cluster; /* its members in flow style */
    const char *part;
} refused_clusters[] = {
    {"tls-server-name: x", "it has no server"},
    {"server: ''", "it has no server"},
    {"server: 12", "server is not a string"},
    {"server: c.test", "https://"},
    {"server: 'ftp://c.test'", "https://"},
    {"server: 'https://'", "HOST"},
    {"server: 'https:///path'", "HOST"},
    {"server: 'https://:6443'", "HOST"},
    {"server: 'https://me:pw@c.test'", "HOST"},
    {"server: 'https://c.test?x'", "HOST"},
    {"server: 'https://c. test'", "HOST"},
    {"server: \"https://c.test\\r\\nX: y\"", "line break"},
    {"server: 'https://c.test', insecure-skip-tls-verify: 'true'", "is not true or false"},
    {"server: 'https://c.test', insecure-skip-tls-verify: true, certificate-authority: ca",
     "contradict"},
    {"server: 'https://c.test', certificate-authority-data: '%%%'",
     "certificate-authority-data is not valid base64"},
    {"server: 'https://c.test', certificate-authority-data: ZHVtbXk=",
     "certificate-authority-data is not PEM"},
    {"server: 'https://c.test', proxy-url: 'ftp://p'", "proxy-url"},
    {"server: 'https://c.test', proxy-url: 'http://'", "proxy-url"},
};

static void test_refused_clusters(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(refused_clusters); i++) {
        const char *const parts[4] = {"cluster \"c\" in /etc/kube/one.conf",
                                      refused_clusters[i].part};
        _cleanup_(freep) char *text = NULL;

        /* the context checks a server without a scheme, as the user's TLS settings decide */
        assert_true(asprintf(&text, USERS CONTEXTS CURRENT "clusters: [{name: c, cluster: {%s}}]\n",
                             refused_clusters[i].cluster) > 0);
        assert_refused(text, NULL,
                       streq(refused_clusters[i].part, "https://") ||
                               streq(refused_clusters[i].part, "HOST")
                           ? parts + 1
                           : parts);
    }
}

#define EXEC_V1 "apiVersion: client.authentication.k8s.io/v1, command: get"

static const struct {
    const char *user;
    const char *part;
} refused_users[] = {
    {"token: 12", "token is not a string"},
    {"token: \"a\\nb\"", "token contains a line break"},
    {"tokenFile: [a]", "tokenFile is not a string"},
    {"client-certificate: a", "needs a client-key"},
    {"client-key: a", "needs a client-certificate"},
    {"client-key-data: '%%%', client-certificate: a", "client-key-data is not valid base64"},
    {"password: dummy", "needs a username"},
    {"username: 'a:b', password: dummy", "colon"},
    {"username: a, password: dummy, token: dummy", "contradict"},
    {"auth-provider: {name: gcp}", "use exec"},
    {"as: a, as-user-extra: {k: [v]}", "as-user-extra is not supported"},
    {"as-groups: [g]", "need an \"as\""},
    {"as: a, as-groups: g", "as-groups is not a list"},
    {"as: a, as-groups: [1]", "as-groups is not a list"},
    {"exec: 1", "no command"},
    {"exec: {apiVersion: client.authentication.k8s.io/v1}", "no command"},
    {"exec: {command: get}", "apiVersion"},
    {"exec: {command: get, apiVersion: v1}", "\"v1\""},
    {"exec: {" EXEC_V1 "}", "no interactiveMode"},
    {"exec: {" EXEC_V1 ", interactiveMode: ''}", "no interactiveMode"},
    {"exec: {" EXEC_V1 ", interactiveMode: Always}", "terminal"},
    {"exec: {" EXEC_V1 ", interactiveMode: Perhaps}", "\"Perhaps\""},
    {"exec: {" EXEC_V1 ", args: [{}]}", "exec: args is not a list"},
    {"exec: {" EXEC_V1 ", env: x}", "exec.env is not a list"},
    {"exec: {" EXEC_V1 ", env: [{value: x}]}", "exec.env"},
    {"exec: {" EXEC_V1 ", env: [{name: A, value: 1}]}", "exec.env"},
};

static void test_refused_users(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(refused_users); i++) {
        const char *const parts[4] = {"context \"x\" in /etc/kube/one.conf",
                                      "user \"u\" in /etc/kube/one.conf", refused_users[i].part};
        _cleanup_(freep) char *text = NULL;

        assert_true(asprintf(&text, CLUSTERS CONTEXTS CURRENT "users: [{name: u, user: {%s}}]\n",
                             refused_users[i].user) > 0);
        assert_refused(text, NULL, parts);
    }
}

/* ---- more than one file */

static void test_merge(void **state)
{
    static const char one[] =
        "users: [{name: u, user: {tokenFile: t}}]\n"
        "clusters: [{name: other, cluster: {server: 'https://other.test'}}]\n";
    static const char two[] = "current-context: z\n"
                              "users: [{name: u, user: {as: not-merged-in}}]\n"
                              "clusters: [{name: c, cluster: {server: 'https://two.test',\n"
                              "                               certificate-authority: ca}}]\n";
    static const char three[] =
        "current-context: x\n" CLUSTERS "contexts: [{name: z, context: {cluster: c, user: u}}]\n";
    const struct kubeconfig_document documents[] = {
        {"/one/config", one, sizeof(one) - 1},
        {"/empty", "# nothing", 9},
        {"/two/config", two, sizeof(two) - 1},
        {"/three/config", three, sizeof(three) - 1},
    };
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct error e;

    assert_int_equal(kubeconfig_parse(documents, 4, NULL, &config, &e), 0);
    assert_string_equal(config->origin, "context \"z\" in /three/config");
    assert_string_equal(config->server, "https://two.test");
    assert_string_equal(config->certificate_authority.file, "/two/ca");
    assert_string_equal(config->token_file, "/one/t");
    assert_null(config->impersonate_user);
}

static void test_empty(void **state)
{
    struct api_config *config = NULL;
    struct error e;

    assert_int_equal(parse("", NULL, &config, &e), KUBECONFIG_EMPTY);
    assert_int_equal(parse("apiVersion: v1\nkind: Config\nclusters: null\nusers: []\n"
                           "current-context: ''\n",
                           NULL, &config, &e),
                     KUBECONFIG_EMPTY);
    assert_null(config);
}

/* ---- where files are looked for */

struct fixture {
    char dir[64];
    char home[80];
    char path[128];   /* of at() */
    char *kubeconfig; /* $KUBECONFIG, or NULL */
    const char *service_host;
    struct kubeconfig_host host;
};

static const char *fixture_env(void *userdata, const char *name)
{
    const struct fixture *f = userdata;

    if (streq(name, "KUBECONFIG"))
        return f->kubeconfig;
    if (streq(name, "HOME"))
        return f->home;
    if (streq(name, "KUBERNETES_SERVICE_HOST"))
        return f->service_host;
    return streq(name, "KUBERNETES_SERVICE_PORT") ? "443" : NULL;
}

static const char *at(struct fixture *f, const char *name)
{
    snprintf(f->path, sizeof(f->path), "%s/%s", f->dir, name);
    return f->path;
}

static void fixture_write(struct fixture *f, const char *name, const char *text)
{
    _cleanup_(file_closep) FILE *file = fopen(at(f, name), "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
}

static void fixture_mkdir(struct fixture *f, const char *name)
{
    assert_int_equal(mkdir(at(f, name), 0700), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    snprintf(f->dir, sizeof(f->dir), "/tmp/test_kubeconfig.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->home, sizeof(f->home), "%s/home", f->dir);
    f->host = (struct kubeconfig_host){
        .get_env = fixture_env, .userdata = f, .service_account_dir = f->dir};
    fixture_mkdir(f, "home");
    fixture_mkdir(f, "home/.kube");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    const char *const command[] = {"rm", "-rf", f->dir, NULL};

    assert_int_equal(process_run(command), 0);
    free(f->kubeconfig);
    free(f);
    return 0;
}

static int load(struct fixture *f, const char *file, const char *context,
                struct api_config **ret_config, struct error *e)
{
    const struct kubeconfig_options options = {.file = file, .context = context};

    return kubeconfig_load_from(&options, &f->host, ret_config, e);
}

#define WHOLE CLUSTERS USERS CONTEXTS CURRENT

static void test_option_first(void **state)
{
    struct fixture *f = *state;
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    char origin[192];
    struct error e = ERROR_INIT;

    f->kubeconfig = strdup("/nonexistent/a");
    fixture_write(f, "home/.kube/config", "broken: [");
    fixture_write(f, "option", WHOLE);
    assert_int_equal(load(f, at(f, "option"), NULL, &config, &e), 0);
    snprintf(origin, sizeof(origin), "context \"x\" in %s", at(f, "option"));
    assert_string_equal(config->origin, origin);
}

static void test_option_must_exist(void **state)
{
    struct fixture *f = *state;
    struct api_config *config = NULL;
    struct error e = ERROR_INIT;

    fixture_write(f, "home/.kube/config", WHOLE);
    fixture_write(f, "empty", "");
    assert_int_equal(load(f, "/nonexistent/config", NULL, &config, &e), -ENOENT);
    assert_has(e.text, "/nonexistent/config");
    assert_int_equal(load(f, at(f, "empty"), NULL, &config, &e), -EINVAL);
    assert_has(e.text, f->path);
    assert_int_equal(load(f, f->dir, NULL, &config, &e), -EISDIR);
    assert_has(e.text, f->dir);
}

static void test_relative_option(void **state)
{
    struct fixture *f = *state;
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    _cleanup_(fd_closep) int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char resolved[PATH_MAX], wanted[PATH_MAX + 16];
    struct error e = ERROR_INIT;

    fixture_write(f, "rel", CLUSTERS CONTEXTS CURRENT "users: [{name: u, user: {tokenFile: t}}]\n");
    assert_int_equal(chdir(f->dir), 0);
    assert_int_equal(load(f, "rel", NULL, &config, &e), 0);
    assert_int_equal(fchdir(here), 0);
    assert_non_null(realpath(f->dir, resolved));
    snprintf(wanted, sizeof(wanted), "%s/t", resolved);
    assert_string_equal(config->token_file, wanted);
}

static void test_environment_list(void **state)
{
    struct fixture *f = *state;
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct error e = ERROR_INIT;

    fixture_write(f, "home/.kube/config", "broken: [");
    fixture_write(f, "one", USERS CURRENT);
    fixture_write(f, "two", CLUSTERS CONTEXTS);
    assert_true(asprintf(&f->kubeconfig, "%s/missing::%s/one:%s/one:%s/two:", f->dir, f->dir,
                         f->dir, f->dir) > 0);
    assert_int_equal(load(f, NULL, NULL, &config, &e), 0);
    assert_string_equal(config->token, "dummy-token");
    assert_string_equal(config->server, "https://c.test:6443");
}

static void test_broken_file_ends_the_search(void **state)
{
    struct fixture *f = *state;
    struct api_config *config = NULL;
    struct error e = ERROR_INIT;

    fixture_write(f, "token", "dummy-token");
    f->service_host = "10.0.0.1";
    fixture_write(f, "home/.kube/config", "broken: [");
    assert_int_equal(load(f, NULL, NULL, &config, &e), -EINVAL);
    assert_has(e.text, "home/.kube/config");
}

static void test_too_long(void **state)
{
    struct fixture *f = *state;
    struct api_config *config = NULL;
    _cleanup_(freep) char *text = malloc((1u << 20) + 2);
    struct error e = ERROR_INIT;

    memset(text, '#', (1u << 20) + 1);
    text[(1u << 20) + 1] = '\0';
    fixture_write(f, "home/.kube/config", text);
    assert_int_equal(load(f, NULL, NULL, &config, &e), -EFBIG);
    assert_has(e.text, "home/.kube/config");
    assert_has(e.text, "1 MiB");
}

static void test_too_many_files(void **state)
{
    struct fixture *f = *state;
    struct api_config *config = NULL;
    size_t len = 0, size = 8192;
    struct error e = ERROR_INIT;

    f->kubeconfig = calloc(1, size);
    for (int i = 0; i < 33; i++) {
        char name[16];

        snprintf(name, sizeof(name), "c%d", i);
        fixture_write(f, name, CURRENT);
        len += (size_t)snprintf(f->kubeconfig + len, size - len, "%s/%s:", f->dir, name);
    }
    assert_int_equal(load(f, NULL, NULL, &config, &e), -E2BIG);
    assert_has(e.text, "$KUBECONFIG");
}

static void test_in_cluster(void **state)
{
    struct fixture *f = *state;
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct error e = ERROR_INIT;

    fixture_write(f, "token", "dummy-token");
    fixture_write(f, "ca.crt", "dummy");
    fixture_write(f, "namespace", "team-a\n");
    fixture_write(f, "home/.kube/config", "# nothing in it\n");
    f->service_host = "fd00:10:96::1";
    assert_int_equal(load(f, NULL, NULL, &config, &e), 0);
    assert_string_equal(config->origin, "in-cluster service account");
    assert_string_equal(config->server, "https://[fd00:10:96::1]:443");
    assert_string_equal(config->namespace, "team-a");
    assert_string_equal(config->token_file, at(f, "token"));
    assert_string_equal(config->certificate_authority.file, at(f, "ca.crt"));
}

static void test_in_cluster_least(void **state)
{
    struct fixture *f = *state;
    _cleanup_(api_config_freep) struct api_config *config = NULL;
    struct error e = ERROR_INIT;

    fixture_write(f, "token", "dummy-token");
    f->service_host = "10.96.0.1";
    assert_int_equal(load(f, NULL, NULL, &config, &e), 0);
    assert_string_equal(config->server, "https://10.96.0.1:443");
    assert_null(config->namespace);
    assert_null(config->certificate_authority.file);
}

static void test_nothing_anywhere(void **state)
{
    struct fixture *f = *state;
    struct api_config *config = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(load(f, NULL, NULL, &config, &e), -ENOENT);
    assert_has(e.text, "~/.kube/config");
    assert_has(e.text, "KUBERNETES_SERVICE_HOST");
    assert_has(e.text, "--kubeconfig");
    assert_has(e.text, "--manifests");
    f->service_host = "10.96.0.1"; /* but no token */
    f->kubeconfig = strdup("/nonexistent/a:/nonexistent/b");
    assert_int_equal(load(f, NULL, NULL, &config, &e), -ENOENT);
    assert_has(e.text, "no kubeconfig at /nonexistent/a:/nonexistent/b ($KUBECONFIG)");
    assert_has(e.text, "token");
    assert_int_equal(load(f, NULL, "prod", &config, &e), -ENOENT);
    assert_has(e.text, "context \"prod\"");
    f->service_host = "not a host";
    fixture_write(f, "token", "dummy-token");
    assert_int_equal(load(f, NULL, NULL, &config, &e), -EINVAL);
    assert_has(e.text, "KUBERNETES_SERVICE_HOST");
    assert_null(config);
}

/* ---- without memory */

static int try_option(void *userdata)
{
    struct fixture *f = userdata;
    _cleanup_(api_config_freep) struct api_config *config = NULL;

    return load(f, at(f, "option"), NULL, &config, NULL);
}

static int try_search(void *userdata)
{
    _cleanup_(api_config_freep) struct api_config *config = NULL;

    return load(userdata, NULL, NULL, &config, NULL);
}

static void test_without_memory(void **state)
{
    struct fixture *f = *state;

    fixture_write(f, "option",
                  CONTEXTS CURRENT
                  "clusters:\n"
                  "- name: c\n"
                  "  cluster:\n"
                  "    server: c.test\n"
                  "    certificate-authority-data: " PEM_BASE64 "\n"
                  "    extensions: [{name: client.authentication.k8s.io/exec, extension: {}}]\n"
                  "users:\n"
                  "- name: u\n"
                  "  user:\n"
                  "    as: a\n"
                  "    as-groups: [g]\n"
                  "    exec:\n"
                  "      apiVersion: client.authentication.k8s.io/v1\n"
                  "      interactiveMode: Never\n"
                  "      command: ./get\n"
                  "      args: [a]\n"
                  "      env: [{name: A, value: b}]\n");
    failmalloc_try(try_option, f);
    fixture_write(f, "token", "dummy-token");
    fixture_write(f, "ca.crt", "dummy");
    fixture_write(f, "namespace", "ns");
    f->service_host = "10.0.0.1";
    failmalloc_try(try_search, f);
    assert_true(asprintf(&f->kubeconfig, "%s/missing:%s/option", f->dir, f->dir) > 0);
    failmalloc_try(try_search, f);
}

#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cluster_field),
        cmocka_unit_test(test_every_user_field),
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_exec_beside_credentials),
        cmocka_unit_test(test_no_credentials_over_http),
        cmocka_unit_test(test_exec_defaults),
        cmocka_unit_test(test_context_option_wins),
        cmocka_unit_test(test_servers),
        cmocka_unit_test(test_refused_files),
        cmocka_unit_test(test_refused_clusters),
        cmocka_unit_test(test_refused_users),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_empty),
        WITH_FILES(test_option_first),
        WITH_FILES(test_option_must_exist),
        WITH_FILES(test_relative_option),
        WITH_FILES(test_environment_list),
        WITH_FILES(test_broken_file_ends_the_search),
        WITH_FILES(test_too_long),
        WITH_FILES(test_too_many_files),
        WITH_FILES(test_in_cluster),
        WITH_FILES(test_in_cluster_least),
        WITH_FILES(test_nothing_anywhere),
        WITH_FILES(test_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

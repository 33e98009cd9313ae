/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot has two parts, one from the configuration with its files and one from the exec
 * plug-in. Each part is replaced as a whole, after it was checked:
 *
 *     event, minute or 401 -> read all files -> complete? belong together? -> differ?
 *         -> new version
 *
 * A rotation is not atomic: a file may be missing, cut, or a certificate newer than its key. This
 * is not a failure yet: the old snapshot stays in use, and the files are read again after
 * RETRY_FIRST, then less and less often, and at the next event. After REPORT_AFTER it is reported.
 * The version grows when bytes change, not with each event, as a new version costs every
 * connection.
 *
 * Files are watched through their directories, along their symbolic links (dir_watch.c), which is
 * how the kubelet's certificate, a service account's token and `mv` change. The watch is renewed
 * before the files are read, so a change is either read or reported after it. On network file
 * systems, which report no events, the files are read every minute, as in client-go.
 *
 * A plug-in beside a token, username or client certificate is not run, as in client-go:
 * api_config_drop_unused_credentials() has removed it. A token beside a tokenFile is used until the
 * file can be read for the first time.
 */
#include "fetcher/auth/credentials.h"

#include "base/buf.h"
#include "base/dir_watch.h"
#include "base/file_read.h"
#include "base/log.h"
#include "fetcher/auth/authorization.h"
#include "fetcher/auth/pem.h"

#define FILE_MAX_BYTES (1u << 20)   /* the system's bundle of all authorities is a fifth of it */
#define READ_EVERY     SPAN_SEC(60) /* client-go's period for token files */
#define READ_SETTLE    SPAN_MS(5)   /* events come in bursts, one per step of a rotation */
#define READ_APART     SPAN_MS(50)  /* in a directory where others are busy too */
#define FIRST_TRIES    3 /* at start: a rotation by the kubelet may come between two files */
#define RETRY_FIRST    SPAN_MS(50)
#define REPORT_AFTER   SPAN_MS(300) /* a rotation takes less */
#define REJECTED_APART SPAN_SEC(60)
#define TIMER_ACCURACY SPAN_MS(5)
#define MAX_FILES      4 /* authorities, certificate, key, token */

/* One of the two parts of a snapshot. */
struct part {
    char *ca_pem;
    char *client_cert_pem;
    char *client_key_pem;
    char *authorization;
    bool is_token_from_file;            /* of authorization */
    struct timespec certificate_expiry; /* with client_cert_pem */
};

static void part_deinit(struct part *part)
{
    free(part->ca_pem);
    free(part->client_cert_pem);
    free(part->client_key_pem);
    free(part->authorization);
    *part = (struct part){.ca_pem = NULL};
}

/* A directory, and the credential files in it. */
struct credential_dir {
    char *path;
    struct dir_watch
        *watch; /* NULL without support by the kernel: the files are read every minute */
    const char *names[MAX_FILES];
    size_t n_names;
    struct credentials *credentials;
};

struct credentials {
    const struct api_config *config;
    credentials_changed_fn *changed;
    void *userdata;

    struct part files;  /* from the configuration and its files */
    struct part plugin; /* from the plug-in */
    struct credentials_snapshot snapshot;
    bool has_snapshot; /* false before the plug-in, if there is one, has delivered */

    struct credential_dir dirs[MAX_FILES];
    size_t n_dirs;
    struct exec_plugin_runner *runner; /* NULL without a plug-in */

    sd_event_source *timer;
    mono_us read_due; /* SPAN_FOREVER: not before an event */
    mono_us read_at;
    mono_us failing_since; /* 0: the last read succeeded */
    span_us retry_in;
    bool is_reported;          /* the failure lasted, and changed() reported it */
    struct error files_error;  /* while failing_since is set */
    struct error plugin_error; /* empty if the plug-in's last run succeeded */
    bool is_report_due;        /* since credentials_rejected() */
    unsigned rejected_version; /* 0: none was */
    mono_us rejected_at;
};

/* ---- reading the files */

static int read_text(const char *path, char **ret_text, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(FILE_MAX_BYTES);
    int r = file_load(path, &text, e);

    if (r == -EFBIG)
        return error_set(e, r, "cannot use %s: it has more than 1 MiB", path);
    if (r < 0)
        return r;
    if (strlen(buf_text(&text)) != text.len)
        return error_set(e, -EINVAL, "cannot use %s: it contains NUL bytes", path);
    if (text.len == 0)
        return error_set(e, -EINVAL, "cannot use %s: it is empty", path);
    *ret_text = TAKE(text.data);
    return 0;
}

static int read_pem(const struct pem_source *source, char **ret_pem, struct error *e)
{
    if (source->data == NULL && source->file == NULL)
        return 0;
    if (source->data == NULL)
        return read_text(source->file, ret_pem, e);
    *ret_pem = strdup(source->data);
    return *ret_pem != NULL ? 0 : error_set_errno(e, -ENOMEM, "cannot read the credentials");
}

/* The name of a source for messages: its file, or the configuration that contains it. */
static const char *source_name(const struct api_config *config, const struct pem_source *source)
{
    return source->data != NULL ? config->origin : source->file;
}

static int read_ca(const struct api_config *config, struct part *part, struct error *e)
{
    const struct pem_source *source = &config->certificate_authority;
    int r = read_pem(source, &part->ca_pem, e);

    if (r < 0 || part->ca_pem == NULL)
        return r;
    r = pem_check_authorities(part->ca_pem, e);
    if (r < 0)
        return error_prefix(e, r, "cannot use the certificate authorities of %s",
                            source_name(config, source));
    return 0;
}

static int read_pair(const struct api_config *config, struct part *part, struct error *e)
{
    const struct pem_source *cert = &config->client_certificate, *key = &config->client_key;
    int r = read_pem(cert, &part->client_cert_pem, e);

    if (r >= 0)
        r = read_pem(key, &part->client_key_pem, e);
    if (r < 0 || part->client_cert_pem == NULL)
        return r;
    r = pem_check_pair(part->client_cert_pem, part->client_key_pem, &part->certificate_expiry, e);
    if (r < 0)
        return error_prefix(e, r, "cannot use %s with the key in %s", source_name(config, cert),
                            source_name(config, key));
    return 0;
}

static int read_token_file(const struct api_config *config, struct part *part, struct error *e)
{
    _cleanup_(freep) char *token = NULL;
    int r = read_text(config->token_file, &token, e);

    if (r < 0)
        return r;
    r = authorization_bearer(token, &part->authorization, e);
    if (r < 0)
        return error_prefix(e, r, "cannot use the token in %s", config->token_file);
    part->is_token_from_file = true;
    return 0;
}

/* @old: the part so far */
static int read_authorization(const struct api_config *config, const struct part *old,
                              struct part *part, struct error *e)
{
    struct error file_error = ERROR_INIT;
    int r;

    if (config->username != NULL)
        return authorization_basic(config->username,
                                   config->password != NULL ? config->password : "",
                                   &part->authorization, e);
    if (config->token_file != NULL) {
        bool is_required = config->token == NULL || old->is_token_from_file;

        r = read_token_file(config, part, is_required ? e : &file_error);
        if (r >= 0 || is_required)
            return r;
        log_debug("cannot use the token file, using the token beside it", "error", file_error.text);
    }
    return config->token != NULL ? authorization_bearer(config->token, &part->authorization, e) : 0;
}

/* @old: the part so far */
static int read_part(const struct api_config *config, const struct part *old, struct part *ret_part,
                     struct error *e)
{
    _cleanup_(part_deinit) struct part part = {.ca_pem = NULL};
    int r = read_ca(config, &part, e);

    if (r >= 0)
        r = read_pair(config, &part, e);
    if (r >= 0)
        r = read_authorization(config, old, &part, e);
    if (r < 0)
        return r;
    *ret_part = part;
    part = (struct part){.ca_pem = NULL};
    return 0;
}

/* ---- the snapshot */

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : streq(a, b);
}

static bool same_part(const struct part *a, const struct part *b)
{
    return same_text(a->ca_pem, b->ca_pem) && same_text(a->client_cert_pem, b->client_cert_pem) &&
           same_text(a->client_key_pem, b->client_key_pem) &&
           same_text(a->authorization, b->authorization);
}

/* The part with the client certificate. */
static const struct part *part_with_pair(const struct credentials *c)
{
    return c->plugin.client_cert_pem != NULL ? &c->plugin : &c->files;
}

static void make_snapshot(struct credentials *c)
{
    const struct part *pair = part_with_pair(c);

    c->snapshot = (struct credentials_snapshot){
        .ca_pem = c->files.ca_pem,
        .client_cert_pem = pair->client_cert_pem,
        .client_key_pem = pair->client_key_pem,
        .authorization =
            c->files.authorization != NULL ? c->files.authorization : c->plugin.authorization,
        .version = c->snapshot.version + 1,
    };
    if (c->runner != NULL)
        exec_plugin_set_ca(c->runner, c->files.ca_pem);
}

/* Replace @part by @fresh, which is left empty. Return: whether a byte changed. */
static bool replace_part(struct credentials *c, struct part *part, struct part *fresh)
{
    bool is_same = same_part(part, fresh);

    if (is_same) {
        part->is_token_from_file = fresh->is_token_from_file;
        part_deinit(fresh);
        return false;
    }
    part_deinit(part);
    *part = *fresh;
    *fresh = (struct part){.ca_pem = NULL};
    make_snapshot(c);
    return true;
}

/* ---- when to read, and when to report */

/* Whether a report that is due can be made now: the end of a plug-in's run makes it otherwise. */
static bool can_report(const struct credentials *c)
{
    return c->is_report_due && (c->runner == NULL || !exec_plugin_is_busy(c->runner));
}

static void arm_timer(struct credentials *c)
{
    mono_us at = can_report(c) ? 0 : c->read_due;

    /* neither can fail for a source that exists */
    sd_event_source_set_time(c->timer, at);
    sd_event_source_set_enabled(c->timer, at != SPAN_FOREVER ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static void read_soon(struct credentials *c)
{
    mono_us now = clock_mono(), at = now + READ_SETTLE;

    if (at < c->read_at + READ_APART)
        at = c->read_at + READ_APART;
    if (at < c->read_due)
        c->read_due = at;
    arm_timer(c);
}

/* The last call of a handler, as changed() may call us again. */
static void report_change(struct credentials *c)
{
    const struct error *error = NULL;

    if (c->is_reported)
        error = &c->files_error;
    else if (c->plugin_error.text[0] != '\0')
        error = &c->plugin_error;
    c->is_report_due = false;
    arm_timer(c);
    assert(error != NULL || c->has_snapshot || c->config->exec != NULL);
    c->changed(c->userdata, error);
}

static void renew_watches(struct credentials *c)
{
    struct error e = ERROR_INIT;

    for (size_t i = 0; i < c->n_dirs; i++) {
        struct credential_dir *dir = &c->dirs[i];
        int r = dir->watch != NULL ? dir_watch_renew(dir->watch, &e) : 0;

        for (size_t k = 0; dir->watch != NULL && r >= 0 && k < dir->n_names; k++)
            r = dir_watch_follow(dir->watch, dir->names[k], &e);
        if (dir->watch != NULL)
            dir_watch_prune(dir->watch);
        /* reading reports a missing file; other changes are found within a minute */
        if (r < 0)
            log_debug("cannot watch all credential files, reading them every minute", "error",
                      e.text);
    }
}

/* Return: whether a report is due. */
static bool read_again(struct credentials *c)
{
    _cleanup_(part_deinit) struct part fresh = {.ca_pem = NULL};
    bool was_reported = c->is_reported;
    mono_us now = clock_mono();

    c->read_at = now;
    renew_watches(c);
    if (read_part(c->config, &c->files, &fresh, &c->files_error) >= 0) {
        c->failing_since = 0;
        c->is_reported = false;
        c->read_due = c->n_dirs > 0 ? now + READ_EVERY : SPAN_FOREVER;
        return replace_part(c, &c->files, &fresh) || was_reported;
    }
    if (c->failing_since == 0) {
        c->failing_since = now;
        c->retry_in = RETRY_FIRST;
    }
    c->read_due = now + c->retry_in;
    c->retry_in = c->retry_in * 2 < READ_EVERY ? c->retry_in * 2 : READ_EVERY;
    c->is_reported |= now - c->failing_since >= REPORT_AFTER || can_report(c);
    return c->is_reported && !was_reported;
}

static int on_timer(sd_event_source *source, uint64_t at, void *userdata)
{
    struct credentials *c = userdata;
    bool is_changed = clock_mono() >= c->read_due && read_again(c);

    if (is_changed || can_report(c))
        report_change(c);
    else
        arm_timer(c);
    return 0;
}

static void on_files_event(void *userdata, const struct dir_event *event)
{
    struct credential_dir *dir = userdata;
    /* "..data": the kubelet replaces whole directories */
    bool is_relevant = event->name == NULL || str_after(event->name, "..") != NULL;

    for (size_t i = 0; i < dir->n_names && !is_relevant; i++)
        is_relevant = streq(dir->names[i], event->name);
    if (is_relevant)
        read_soon(dir->credentials);
}

static void on_plugin_done(void *userdata, struct exec_credential *credential,
                           const struct error *error)
{
    struct credentials *c = userdata;

    if (error != NULL) {
        c->plugin_error = *error;
    } else {
        _cleanup_(part_deinit) struct part fresh = {
            .client_cert_pem = TAKE(credential->client_cert_pem),
            .client_key_pem = TAKE(credential->client_key_pem),
            .authorization = TAKE(credential->authorization),
            .certificate_expiry = credential->certificate_expiry,
        };
        bool was_failing = c->plugin_error.text[0] != '\0';

        c->plugin_error = ERROR_INIT;
        c->has_snapshot = true;
        /* a renewal may deliver the same credentials */
        if (!replace_part(c, &c->plugin, &fresh) && !was_failing && !c->is_report_due)
            return;
    }
    report_change(c);
}

/* ---- the object */

const struct credentials_snapshot *credentials_peek(const struct credentials *credentials)
{
    return credentials->has_snapshot ? &credentials->snapshot : NULL;
}

void credentials_rejected(struct credentials *credentials, unsigned version)
{
    struct credentials *c = credentials;
    mono_us now = clock_mono();

    c->is_report_due = true;
    if (version == c->snapshot.version &&
        (c->rejected_version != version || now - c->rejected_at >= REJECTED_APART)) {
        c->rejected_version = version;
        c->rejected_at = now;
        c->read_due = now;
        if (c->runner != NULL)
            exec_plugin_refresh(c->runner);
    }
    arm_timer(c);
}

bool credentials_expiry(const struct credentials *credentials, struct timespec *ret_expiry)
{
    const struct part *pair = part_with_pair(credentials);

    if (pair->client_cert_pem == NULL)
        return false;
    *ret_expiry = pair->certificate_expiry;
    return true;
}

/* The entry of a directory, added if missing. Return: NULL for want of memory. */
static struct credential_dir *find_dir(struct credentials *c, const char *path, size_t len)
{
    struct credential_dir *dir;

    for (size_t i = 0; i < c->n_dirs; i++)
        if (strlen(c->dirs[i].path) == len && memcmp(c->dirs[i].path, path, len) == 0)
            return &c->dirs[i];
    assert(c->n_dirs < MAX_FILES);
    dir = &c->dirs[c->n_dirs];
    *dir = (struct credential_dir){.path = strndup(path, len), .credentials = c};
    if (dir->path == NULL)
        return NULL;
    c->n_dirs++;
    return dir;
}

/* @path: of a file to watch, absolute; NULL: none. Return: 0 or -ENOMEM. */
static int add_file(struct credentials *c, const char *path)
{
    const char *slash;
    struct credential_dir *dir;

    if (path == NULL)
        return 0;
    slash = strrchr(path, '/');
    assert(slash != NULL); /* see struct api_config */
    dir = find_dir(c, path, slash == path ? 1 : (size_t)(slash - path));
    if (dir == NULL)
        return -ENOMEM;
    assert(dir->n_names < MAX_FILES);
    dir->names[dir->n_names++] = slash + 1;
    return 0;
}

/* Watch the directories of all credential files. */
static int watch_files(struct credentials *c, sd_event *event)
{
    const struct api_config *config = c->config;
    const struct pem_source *sources[] = {&config->certificate_authority,
                                          &config->client_certificate, &config->client_key};
    int r = add_file(c, config->token_file);

    for (size_t i = 0; i < ELEMENTS_OF(sources) && r >= 0; i++)
        if (sources[i]->data == NULL)
            r = add_file(c, sources[i]->file);
    for (size_t i = 0; i < c->n_dirs && r >= 0; i++) {
        struct credential_dir *dir = &c->dirs[i];
        struct error e = ERROR_INIT;

        r = dir_watch_new(event, dir->path, on_files_event, dir, &dir->watch, &e);
        if (r < 0 && r != -ENOMEM) {
            log_debug("cannot watch credential files, reading them every minute", "error", e.text);
            r = 0;
        }
    }
    return r < 0 ? r : 0;
}

static int prepare(struct credentials *c, sd_event *event, struct error *e)
{
    int r = watch_files(c, event);

    if (r >= 0)
        r = sd_event_add_time(event, &c->timer, CLOCK_MONOTONIC, SPAN_FOREVER, TIMER_ACCURACY,
                              on_timer, c);
    if (r < 0)
        return error_set_errno(e, r, "cannot prepare the credentials");
    if (c->config->exec == NULL)
        return 0;
    return exec_plugin_new(event, c->config, &EXEC_PLUGIN_LIMITS, on_plugin_done, c, &c->runner, e);
}

static int read_first(struct credentials *c, struct error *e)
{
    int r = -EINVAL;

    c->read_at = clock_mono();
    renew_watches(c);
    for (unsigned tries = 0; tries < FIRST_TRIES && r < 0; tries++)
        r = read_part(c->config, &(struct part){.ca_pem = NULL}, &c->files, e);
    if (r < 0)
        return r;
    make_snapshot(c);
    c->has_snapshot = c->config->exec == NULL;
    c->read_due = c->n_dirs > 0 ? c->read_at + READ_EVERY : SPAN_FOREVER;
    arm_timer(c);
    return 0;
}

int credentials_new(sd_event *event, const struct api_config *config,
                    credentials_changed_fn *changed, void *userdata,
                    struct credentials **ret_credentials, struct error *e)
{
    _cleanup_(credentials_freep) struct credentials *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare the credentials");
    *c = (struct credentials){.config = config, .changed = changed, .userdata = userdata};
    r = prepare(c, event, e);
    if (r >= 0)
        r = read_first(c, e);
    if (r < 0)
        return r;
    *ret_credentials = TAKE(c);
    return 0;
}

struct credentials *credentials_free(struct credentials *credentials)
{
    if (credentials == NULL)
        return NULL;
    exec_plugin_free(credentials->runner);
    sd_event_source_disable_unref(credentials->timer);
    for (size_t i = 0; i < credentials->n_dirs; i++) {
        dir_watch_free(credentials->dirs[i].watch);
        free(credentials->dirs[i].path);
    }
    part_deinit(&credentials->files);
    part_deinit(&credentials->plugin);
    free(credentials);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Material has two origins, the configuration with its files and the exec plug-in, and each origin
 * replaces its share as a whole once it was found to be sound:
 *
 *     event, minute or 401 -> read all files -> whole? fit together? -> differs? -> new version
 *
 * Whoever rotates a file does not ask us first, so what is found there may be half of it, nothing,
 * or a certificate that is ahead of its key. That is no failure yet: the old material stays in use,
 * the files are read again a moment later, then less and less often, and at the next event; only
 * when it lasts is it reported. The version grows with the bytes, not with the events, as a new
 * version costs every connection.
 *
 * Files are watched through their directories, along their symlinks (dir_watch.c), which is how the
 * kubelet's certificate, a service account's token and `mv` change. The watch is renewed before the
 * files are read, so that a change is either seen by the read or reported after it. Where there are
 * no events, on network file systems, a look every minute has to do, as it does in client-go.
 *
 * Of the two origins the configuration's token or username wins, as in client-go.
 */
#include "fetcher/auth/credentials.h"

#include <fcntl.h>

#include "base/buf.h"
#include "base/dir_watch.h"
#include "base/log.h"
#include "fetcher/auth/authorization.h"
#include "fetcher/auth/exec_plugin.h"
#include "fetcher/auth/pem.h"

#define FILE_MAX_BYTES (1u << 20)   /* the system's bundle of all authorities is a fifth of it */
#define READ_EVERY     SPAN_SEC(60) /* client-go's period for token files */
#define READ_SETTLE    SPAN_MS(5)   /* events come in bursts, one per step of a rotation */
#define READ_APART     SPAN_MS(50)  /* in a directory where others are busy too */
#define RETRY_FIRST    SPAN_MS(50)
#define REPORT_AFTER   SPAN_MS(300) /* a rotation takes less */
#define REJECTED_APART SPAN_SEC(60)
#define TIMER_ACCURACY SPAN_MS(5)
#define MAX_FILES      4 /* authorities, certificate, key, token */

/* One origin's share of the material. */
struct share {
    char *ca_pem;
    char *client_cert_pem;
    char *client_key_pem;
    char *authorization;
    struct timespec certificate_expiry; /* with client_cert_pem */
};

static void share_deinit(struct share *share)
{
    free(share->ca_pem);
    free(share->client_cert_pem);
    free(share->client_key_pem);
    free(share->authorization);
    *share = (struct share){.ca_pem = NULL};
}

/* A directory, and the files in it that matter. */
struct place {
    char *path;
    struct dir_watch *watch; /* NULL where the kernel gives none: then there is the minute */
    const char *names[MAX_FILES];
    size_t n_names;
    struct credentials *credentials;
};

struct credentials {
    const struct api_config *config;
    credentials_changed_fn *changed;
    void *userdata;

    struct share files;  /* from the configuration and its files */
    struct share plugin; /* from the plug-in */
    struct credentials_snapshot snapshot;
    bool has_snapshot; /* false until the plug-in has delivered, if there is one */

    struct place places[MAX_FILES];
    size_t n_places;
    struct exec_plugin_runner *runner; /* NULL without a plug-in */

    sd_event_source *timer;
    mono_us read_due; /* SPAN_FOREVER: when something asks for it */
    mono_us read_at;
    mono_us failing_since; /* 0: the last read was good */
    span_us retry_in;
    bool is_reported;          /* it lasted, and @changed was told */
    struct error files_error;  /* while failing_since is set */
    struct error plugin_error; /* while the plug-in's last run is a failed one */
    bool is_answer_due;        /* somebody waits after credentials_rejected() */
    unsigned rejected_version; /* 0: none was */
    mono_us rejected_at;
};

/* ---- reading the files */

static int read_text(const char *path, char **ret_text, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(FILE_MAX_BYTES);
    int r = buf_read_file(&text, AT_FDCWD, path);

    if (r == -EFBIG)
        return error_set(e, r, "cannot use %s: it has more than 1 MiB", path);
    if (r < 0)
        return error_set_errno(e, r, "cannot read %s", path);
    if (strlen(buf_text(&text)) != text.len)
        return error_set(e, -EINVAL, "cannot use %s: it is no text", path);
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

/* What to call a source in a message: its file, or the configuration that holds it. */
static const char *source_name(const struct api_config *config, const struct pem_source *source)
{
    return source->data != NULL ? config->origin : source->file;
}

static int read_ca(const struct api_config *config, struct share *share, struct error *e)
{
    const struct pem_source *source = &config->certificate_authority;
    int r = read_pem(source, &share->ca_pem, e);

    if (r < 0 || share->ca_pem == NULL)
        return r;
    r = pem_check_authorities(share->ca_pem, e);
    if (r < 0)
        return error_prefix(e, r, "cannot use the certificate authorities of %s",
                            source_name(config, source));
    return 0;
}

static int read_pair(const struct api_config *config, struct share *share, struct error *e)
{
    const struct pem_source *cert = &config->client_certificate, *key = &config->client_key;
    int r = read_pem(cert, &share->client_cert_pem, e);

    if (r >= 0)
        r = read_pem(key, &share->client_key_pem, e);
    if (r < 0 || share->client_cert_pem == NULL)
        return r;
    r = pem_check_pair(share->client_cert_pem, share->client_key_pem, &share->certificate_expiry,
                       e);
    if (r < 0)
        return error_prefix(e, r, "cannot use %s with the key in %s", source_name(config, cert),
                            source_name(config, key));
    return 0;
}

static int read_authorization(const struct api_config *config, struct share *share, struct error *e)
{
    _cleanup_(freep) char *token = NULL;
    int r;

    if (config->username != NULL)
        return authorization_basic(config->username,
                                   config->password != NULL ? config->password : "",
                                   &share->authorization, e);
    if (config->token_file == NULL)
        return config->token != NULL ? authorization_bearer(config->token, &share->authorization, e)
                                     : 0;
    r = read_text(config->token_file, &token, e);
    if (r < 0)
        return r;
    r = authorization_bearer(token, &share->authorization, e);
    if (r < 0)
        return error_prefix(e, r, "cannot use the token in %s", config->token_file);
    return 0;
}

static int read_share(const struct api_config *config, struct share *ret_share, struct error *e)
{
    _cleanup_(share_deinit) struct share share = {.ca_pem = NULL};
    int r = read_ca(config, &share, e);

    if (r >= 0)
        r = read_pair(config, &share, e);
    if (r >= 0)
        r = read_authorization(config, &share, e);
    if (r < 0)
        return r;
    *ret_share = share;
    share = (struct share){.ca_pem = NULL};
    return 0;
}

/* ---- what the shares make together */

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : streq(a, b);
}

static bool same_share(const struct share *a, const struct share *b)
{
    return same_text(a->ca_pem, b->ca_pem) && same_text(a->client_cert_pem, b->client_cert_pem) &&
           same_text(a->client_key_pem, b->client_key_pem) &&
           same_text(a->authorization, b->authorization);
}

/* The share that the client certificate is from. */
static const struct share *pair_share(const struct credentials *c)
{
    return c->plugin.client_cert_pem != NULL ? &c->plugin : &c->files;
}

static void compose(struct credentials *c)
{
    const struct share *pair = pair_share(c);

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

/* Put @fresh, which is left empty, in the place of @share. Return: whether that changed a byte. */
static bool replace_share(struct credentials *c, struct share *share, struct share *fresh)
{
    bool is_same = same_share(share, fresh);

    if (is_same) {
        share_deinit(fresh);
        return false;
    }
    share_deinit(share);
    *share = *fresh;
    *fresh = (struct share){.ca_pem = NULL};
    compose(c);
    return true;
}

/* ---- when to read, and whom to tell */

/* Whether somebody can be answered now: with a plug-in on its way, its end is the answer. */
static bool can_answer(const struct credentials *c)
{
    return c->is_answer_due && (c->runner == NULL || !exec_plugin_is_busy(c->runner));
}

static void arm_timer(struct credentials *c)
{
    mono_us at = can_answer(c) ? 0 : c->read_due;

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

/* The last thing a handler does, as the answer may be another call of ours. */
static void tell(struct credentials *c)
{
    const struct error *error = NULL;

    if (c->is_reported)
        error = &c->files_error;
    else if (c->plugin_error.text[0] != '\0')
        error = &c->plugin_error;
    c->is_answer_due = false;
    arm_timer(c);
    c->changed(c->userdata, error);
}

static void renew_watches(struct credentials *c)
{
    struct error e = ERROR_INIT;

    for (size_t i = 0; i < c->n_places; i++) {
        struct place *place = &c->places[i];
        int r = place->watch != NULL ? dir_watch_renew(place->watch, &e) : 0;

        for (size_t k = 0; place->watch != NULL && r >= 0 && k < place->n_names; k++)
            r = dir_watch_follow(place->watch, place->names[k], &e);
        if (place->watch != NULL)
            dir_watch_settle(place->watch);
        /* a file that is missing says so itself when it is read; for the rest there is the minute
         */
        if (r < 0)
            log_debug("credential files are not watched in full", "error", e.text);
    }
}

/* Return: whether there is something to tell. */
static bool read_failed(struct credentials *c, mono_us now)
{
    bool was_reported = c->is_reported;

    if (c->failing_since == 0) {
        c->failing_since = now;
        c->retry_in = RETRY_FIRST;
    }
    c->read_due = now + c->retry_in;
    c->retry_in = c->retry_in * 2 < READ_EVERY ? c->retry_in * 2 : READ_EVERY;
    c->is_reported |= now - c->failing_since >= REPORT_AFTER || can_answer(c);
    return c->is_reported && !was_reported;
}

static bool read_succeeded(struct credentials *c, mono_us now, struct share *fresh)
{
    bool was_reported = c->is_reported;

    c->failing_since = 0;
    c->is_reported = false;
    c->read_due = c->n_places > 0 ? now + READ_EVERY : SPAN_FOREVER;
    return replace_share(c, &c->files, fresh) || was_reported;
}

/* Return: whether there is something to tell. */
static bool read_again(struct credentials *c)
{
    _cleanup_(share_deinit) struct share fresh = {.ca_pem = NULL};
    mono_us now = clock_mono();

    c->read_at = now;
    renew_watches(c);
    if (read_share(c->config, &fresh, &c->files_error) < 0)
        return read_failed(c, now);
    return read_succeeded(c, now, &fresh);
}

static int on_timer(sd_event_source *source, uint64_t at, void *userdata)
{
    struct credentials *c = userdata;
    bool has_news = clock_mono() >= c->read_due && read_again(c);

    if (has_news || can_answer(c))
        tell(c);
    else
        arm_timer(c);
    return 0;
}

static void on_files_event(void *userdata, const struct dir_event *event)
{
    struct place *place = userdata;
    /* "..data": the kubelet swaps whole directories */
    bool is_ours = event->name == NULL || str_after(event->name, "..") != NULL;

    for (size_t i = 0; i < place->n_names && !is_ours; i++)
        is_ours = streq(place->names[i], event->name);
    if (is_ours)
        read_soon(place->credentials);
}

static void on_plugin_done(void *userdata, struct exec_credential *credential,
                           const struct error *error)
{
    struct credentials *c = userdata;

    if (error != NULL) {
        c->plugin_error = *error;
    } else {
        _cleanup_(share_deinit) struct share fresh = {
            .client_cert_pem = TAKE(credential->client_cert_pem),
            .client_key_pem = TAKE(credential->client_key_pem),
            .authorization = TAKE(credential->authorization),
            .certificate_expiry = credential->certificate_expiry,
        };
        bool was_failing = c->plugin_error.text[0] != '\0';

        c->plugin_error = ERROR_INIT;
        c->has_snapshot = true;
        /* a renewal may well give the same again */
        if (!replace_share(c, &c->plugin, &fresh) && !was_failing && !c->is_answer_due)
            return;
    }
    tell(c);
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

    c->is_answer_due = true;
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
    const struct share *pair = pair_share(credentials);

    if (pair->client_cert_pem == NULL)
        return false;
    *ret_expiry = pair->certificate_expiry;
    return true;
}

/* The place for a directory, a new one if there is none yet. Return: NULL for want of memory. */
static struct place *find_place(struct credentials *c, const char *dir, size_t dir_len)
{
    struct place *place;

    for (size_t i = 0; i < c->n_places; i++)
        if (strlen(c->places[i].path) == dir_len && memcmp(c->places[i].path, dir, dir_len) == 0)
            return &c->places[i];
    place = &c->places[c->n_places];
    *place = (struct place){.path = strndup(dir, dir_len), .credentials = c};
    if (place->path == NULL)
        return NULL;
    c->n_places++;
    return place;
}

/* @path: of a file to be watched, absolute; NULL is none. Return: 0 or -ENOMEM. */
static int add_file(struct credentials *c, const char *path)
{
    const char *slash;
    struct place *place;

    if (path == NULL)
        return 0;
    slash = strrchr(path, '/');
    place = find_place(c, path, slash == path ? 1 : (size_t)(slash - path));
    if (place == NULL)
        return -ENOMEM;
    place->names[place->n_names++] = slash + 1;
    return 0;
}

static int add_pem_file(struct credentials *c, const struct pem_source *source)
{
    return source->data == NULL ? add_file(c, source->file) : 0;
}

static int add_files(struct credentials *c)
{
    const struct api_config *config = c->config;

    if (add_pem_file(c, &config->certificate_authority) < 0 ||
        add_pem_file(c, &config->client_certificate) < 0 ||
        add_pem_file(c, &config->client_key) < 0 || add_file(c, config->token_file) < 0)
        return -ENOMEM;
    return 0;
}

static int watch_files(struct credentials *c, sd_event *event)
{
    for (size_t i = 0; i < c->n_places; i++) {
        struct error e = ERROR_INIT;
        struct place *place = &c->places[i];
        int r = dir_watch_new(event, place->path, on_files_event, place, &place->watch, &e);

        if (r == -ENOMEM)
            return r;
        if (r < 0)
            log_debug("credential files are looked at once a minute only", "error", e.text);
    }
    return 0;
}

static int prepare(struct credentials *c, sd_event *event, const struct exec_plugin_limits *limits,
                   struct error *e)
{
    int r = add_files(c);

    if (r >= 0)
        r = watch_files(c, event);
    if (r >= 0)
        r = sd_event_add_time(event, &c->timer, CLOCK_MONOTONIC, SPAN_FOREVER, TIMER_ACCURACY,
                              on_timer, c);
    if (r < 0)
        return error_set_errno(e, r, "cannot prepare the credentials");
    if (c->config->exec == NULL)
        return 0;
    return exec_plugin_new(event, c->config, limits, on_plugin_done, c, &c->runner, e);
}

static int read_first(struct credentials *c, struct error *e)
{
    int r;

    c->read_at = clock_mono();
    renew_watches(c);
    r = read_share(c->config, &c->files, e);
    if (r < 0)
        return r;
    compose(c);
    c->has_snapshot = c->config->exec == NULL;
    c->read_due = c->n_places > 0 ? c->read_at + READ_EVERY : SPAN_FOREVER;
    arm_timer(c);
    return 0;
}

int credentials_new_limited(sd_event *event, const struct api_config *config,
                            const struct exec_plugin_limits *limits,
                            credentials_changed_fn *changed, void *userdata,
                            struct credentials **ret_credentials, struct error *e)
{
    _cleanup_(credentials_freep) struct credentials *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return error_set_errno(e, -ENOMEM, "cannot prepare the credentials");
    *c = (struct credentials){.config = config, .changed = changed, .userdata = userdata};
    r = prepare(c, event, limits, e);
    if (r >= 0)
        r = read_first(c, e);
    if (r < 0)
        return r;
    *ret_credentials = TAKE(c);
    return 0;
}

int credentials_new(sd_event *event, const struct api_config *config,
                    credentials_changed_fn *changed, void *userdata,
                    struct credentials **ret_credentials, struct error *e)
{
    return credentials_new_limited(event, config, &EXEC_PLUGIN_LIMITS, changed, userdata,
                                   ret_credentials, e);
}

struct credentials *credentials_free(struct credentials *credentials)
{
    if (credentials == NULL)
        return NULL;
    exec_plugin_free(credentials->runner);
    sd_event_source_disable_unref(credentials->timer);
    for (size_t i = 0; i < credentials->n_places; i++) {
        dir_watch_free(credentials->places[i].watch);
        free(credentials->places[i].path);
    }
    share_deinit(&credentials->files);
    share_deinit(&credentials->plugin);
    free(credentials);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/options.h"

#include <ctype.h>
#include <getopt.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/stat.h>

#define OPTION_TEXT_MAX 4096 /* what mount(2) itself takes: a page */

/* ---- long options, which "-o NAME=VALUE" can set as well */

enum option_code {
    OPTION_NAMESPACE = 'n',
    OPTION_FOREGROUND = 'f',
    OPTION_MOUNT = 'o',
    OPTION_HELP = 'h',
    OPTION_KUBECONFIG = 256,
    OPTION_CONTEXT,
    OPTION_MANIFESTS,
    OPTION_WAIT,
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT,
};

static const struct option long_options[] = {
    {"namespace", required_argument, NULL, OPTION_NAMESPACE},
    {"kubeconfig", required_argument, NULL, OPTION_KUBECONFIG},
    {"context", required_argument, NULL, OPTION_CONTEXT},
    {"manifests", required_argument, NULL, OPTION_MANIFESTS},
    {"wait", required_argument, NULL, OPTION_WAIT},
    {"foreground", no_argument, NULL, OPTION_FOREGROUND},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

void mount_options_help(const char *program)
{
    printf("Usage: %s mount [options] secret/NAME|configmap/NAME MOUNTPOINT\n"
           "\n"
           "Show a Kubernetes Secret or ConfigMap as files and keep them current.\n"
           "\n"
           "Where the object comes from:\n"
           "  -n, --namespace NS      namespace (default: the context's, else \"default\")\n"
           "      --kubeconfig FILE   how to reach the API server (default: $KUBECONFIG,\n"
           "                          ~/.kube/config, the in-cluster service account)\n"
           "      --context NAME      context of the kubeconfig to use\n"
           "      --manifests DIR     take objects from the YAML and JSON manifests in DIR\n"
           "                          instead of from an API server\n"
           "      --wait DURATION     give up if the object is not there by then: 30s (the\n"
           "                          default), 1m30s, 0 for at once, or \"forever\"\n"
           "\n"
           "How it is mounted:\n"
           "  -f, --foreground        stay in the foreground; otherwise return as soon as the\n"
           "                          files are readable and carry on in the background\n"
           "  -o OPTIONS              mount options, comma-separated: allow_other, uid=N, gid=N,\n"
           "                          noexec, exec, nosuid, suid, nodev, dev, noatime, ro\n"
           "\n"
           "      --log-level LEVEL   error, warn, info (default) or debug\n"
           "      --log-format FORMAT text (default) or json\n"
           "  -h, --help              show this help\n"
           "\n"
           "Example:\n"
           "  %s mount -n prod secret/db /run/secrets/db\n",
           program, program);
}

/* ---- values */

static int parse_object(const char *text, struct mount_options *o, struct error *e)
{
    static const struct {
        const char *word;
        enum object_kind kind;
    } words[] = {
        {"secret/", OBJECT_SECRET},       {"secrets/", OBJECT_SECRET},
        {"configmap/", OBJECT_CONFIGMAP}, {"configmaps/", OBJECT_CONFIGMAP},
        {"cm/", OBJECT_CONFIGMAP},
    };

    for (size_t i = 0; i < ELEMENTS_OF(words); i++) {
        const char *name = str_after(text, words[i].word);

        if (name == NULL)
            continue;
        o->kind = words[i].kind;
        o->name = name;
        if (!object_name_is_valid(name))
            return error_set(e, -EINVAL, "\"%.64s\" is not a valid name for a %s", name,
                             object_kind_word(o->kind));
        if (asprintf(&o->source, "%s/%s", object_kind_word(o->kind), name) < 0)
            return error_set_errno(e, -ENOMEM, "cannot read the arguments");
        return 0;
    }
    return error_set(e, -EINVAL, "\"%.64s\" is no object: say secret/NAME or configmap/NAME", text);
}

static int parse_id(const char *name, const char *text, unsigned *ret_id, struct error *e)
{
    char *end = NULL;
    unsigned long id = 0;

    errno = 0;
    if (text != NULL && isdigit((unsigned char)*text))
        id = strtoul(text, &end, 10);
    if (end == NULL || *end != '\0' || errno != 0 || id >= UINT_MAX)
        return error_set(e, -EINVAL, "%s= takes a number, not \"%.32s\"", name,
                         text != NULL ? text : "");
    *ret_id = (unsigned)id;
    return 0;
}

static int absolute_path(const char *path, char **ret_path)
{
    _cleanup_(freep) char *cwd = NULL;

    if (*path == '/') {
        *ret_path = strdup(path);
        return *ret_path != NULL ? 0 : -ENOMEM;
    }
    cwd = getcwd(NULL, 0);
    if (cwd == NULL)
        return negative_errno();
    return asprintf(ret_path, "%s/%s", cwd, path) < 0 ? -ENOMEM : 0;
}

static int check_mountpoint(const char *path, char **ret_path, struct error *e)
{
    _cleanup_(freep) char *resolved = realpath(path, NULL);
    struct stat status;

    if (resolved == NULL && errno == ENOENT)
        return error_set(e, -ENOENT, "mount point %s does not exist; create the directory first",
                         path);
    if ((resolved == NULL || stat(resolved, &status) < 0) && errno == ENOTCONN)
        return error_set(e, -ENOTCONN,
                         "%s holds a mount whose program is gone; run `secretfs unmount %s` first",
                         path, path);
    if (resolved == NULL || stat(resolved, &status) < 0)
        return error_set_errno(e, negative_errno(), "cannot use mount point %s", path);
    if (!S_ISDIR(status.st_mode))
        return error_set(e, -ENOTDIR, "mount point %s is not a directory", path);
    *ret_path = TAKE(resolved);
    return 0;
}

/* ---- mount options */

static int set_option(struct mount_options *o, int option, const char *value, struct error *e);

static const struct {
    const char *name;
    unsigned long set;
    unsigned long clear;
} mount_flags[] = {
    {"nosuid", MOUNT_ATTR_NOSUID, 0}, {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},   {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0}, {"exec", 0, MOUNT_ATTR_NOEXEC},
};

/* What says nothing new, or is meant for mount(8) and fstab only. */
static bool is_ignored(const char *name)
{
    static const char *const names[] = {
        "ro",         "rw",
        "defaults",   "default_permissions",
        "auto",       "noauto",
        "user",       "nouser",
        "users",      "_netdev",
        "nofail",     "atime",
        "noatime",    "relatime",
        "norelatime", "strictatime",
        "nodiratime", "nostrictatime",
    };

    for (size_t i = 0; i < ELEMENTS_OF(names); i++)
        if (streq(name, names[i]))
            return true;
    return str_after(name, "x-") != NULL || str_after(name, "comment") != NULL;
}

static bool set_mount_flag(struct mount_options *o, const char *name)
{
    for (size_t i = 0; i < ELEMENTS_OF(mount_flags); i++) {
        if (!streq(name, mount_flags[i].name))
            continue;
        o->mount_attr = (o->mount_attr & ~mount_flags[i].clear) | mount_flags[i].set;
        return true;
    }
    return false;
}

static int set_mount_option(struct mount_options *o, const char *name, const char *value,
                            struct error *e)
{
    if (streq(name, "uid"))
        return parse_id(name, value, &o->uid, e);
    if (streq(name, "gid"))
        return parse_id(name, value, &o->gid, e);
    if (streq(name, "allow_other")) {
        o->allow_other = true;
        return 0;
    }
    if (is_ignored(name))
        return 0;
    if (set_mount_flag(o, name))
        return buf_addf(&o->user_options, "%s%s", o->user_options.len > 0 ? "," : "", name);
    for (const struct option *l = long_options; l->name != NULL; l++)
        if (value != NULL && l->has_arg == required_argument && streq(name, l->name))
            return set_option(o, l->val, value, e);
    return error_set(e, -EINVAL, "unknown mount option \"%.64s\"", name);
}

/* The pieces stay in option_text, as the options keep pointing to them. */
static int parse_mount_options(struct mount_options *o, const char *text, struct error *e)
{
    char *at, *piece;
    int r;

    if (o->option_text.len > 0)
        return error_set(e, -EINVAL, "give -o once, with all mount options separated by commas");
    r = buf_add_text(&o->option_text, text);
    if (r < 0)
        return error_set_errno(e, r, "cannot read the mount options");
    at = o->option_text.data;
    while (r == 0 && (piece = strsep(&at, ",")) != NULL) {
        char *value = strchr(piece, '=');

        if (value != NULL)
            *value++ = '\0';
        if (*piece != '\0')
            r = set_mount_option(o, piece, value, e);
    }
    return r;
}

/* ---- all of it */

static int set_option(struct mount_options *o, int option, const char *value, struct error *e)
{
    switch (option) {
    case OPTION_NAMESPACE:
        o->namespace = value;
        return object_namespace_is_valid(value)
                   ? 0
                   : error_set(e, -EINVAL, "\"%.64s\" is not a valid namespace", value);
    case OPTION_KUBECONFIG:
        o->kubeconfig = value;
        return 0;
    case OPTION_CONTEXT:
        o->context = value;
        return 0;
    case OPTION_MANIFESTS:
        free(o->manifests);
        o->manifests = NULL;
        return absolute_path(value, &o->manifests);
    case OPTION_WAIT:
        return clock_parse_duration(value, &o->wait, e);
    case OPTION_FOREGROUND:
        o->is_foreground = true;
        return 0;
    case OPTION_MOUNT:
        return parse_mount_options(o, value, e);
    case OPTION_LOG_LEVEL:
        if (log_level_parse(value, &o->log_level) == 0)
            return 0;
        return error_set(e, -EINVAL, "--log-level takes error, warn, info or debug, not \"%.32s\"",
                         value);
    case OPTION_LOG_FORMAT:
        if (log_format_parse(value, &o->log_format) == 0)
            return 0;
        return error_set(e, -EINVAL, "--log-format takes text or json, not \"%.32s\"", value);
    case OPTION_HELP:
        o->wants_help = true;
        return 0;
    default:
        return error_set(e, -EINVAL, "unknown option");
    }
}

static int parse_arguments(int argc, char *argv[], struct mount_options *o, struct error *e)
{
    int option, r;

    opterr = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, ":n:fo:h", long_options, NULL)) != -1) {
        if (option == ':')
            return error_set(e, -EINVAL, "option %s needs a value", argv[optind - 1]);
        if (option == '?')
            return error_set(e, -EINVAL, "unknown option %s", argv[optind - 1]);
        r = set_option(o, option, optarg, e);
        if (r < 0 || o->wants_help)
            return r;
    }
    if (argc - optind != 2)
        return error_set(e, -EINVAL,
                         "an object and a mount point are needed: secret/NAME MOUNTPOINT");
    if (o->manifests != NULL && (o->kubeconfig != NULL || o->context != NULL))
        return error_set(e, -EINVAL,
                         "--manifests does not go with --kubeconfig or --context: objects come "
                         "either from a directory or from an API server");
    r = parse_object(argv[optind], o, e);
    if (r < 0)
        return r;
    return check_mountpoint(argv[optind + 1], &o->mountpoint, e);
}

int mount_options_parse(int argc, char *argv[], struct mount_options *ret_options, struct error *e)
{
    *ret_options = (struct mount_options){
        .wait = WAIT_DEFAULT,
        .log_level = LOG_LEVEL_INFO,
        .uid = geteuid(),
        .gid = getegid(),
        .mount_attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        .option_text = BUF_INIT(OPTION_TEXT_MAX),
        .user_options = BUF_INIT(OPTION_TEXT_MAX),
    };
    return parse_arguments(argc, argv, ret_options, e);
}

void mount_options_deinit(struct mount_options *options)
{
    free(options->manifests);
    free(options->mountpoint);
    free(options->source);
    buf_deinit(&options->option_text);
    buf_deinit(&options->user_options);
}

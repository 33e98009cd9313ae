/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three ways lead to the same options: arguments, "-o" of the command line, and the options of
 * mount(8). "-o NAME=VALUE" sets the long option of that name.
 *
 * The spec comes either from arguments, as one source for one object, or from --volume; then owner,
 * group, type and the like may be given as arguments as well and have priority.
 */
#include "cmd/mount/options.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/arguments.h"
#include "base/file_read.h"
#include "base/words.h"
#include "consumers/audit_target.h"
#include "handover/fd_store.h"
#include "volume/spec_parse.h"
#include "volume/spec_words.h"

#define OPTION_TEXT_MAX 4096 /* the limit of mount(2): a page */

/* ---- long options; "-o NAME=VALUE" sets them as well */

enum option_code {
    OPTION_FOREGROUND = 'f',
    OPTION_MOUNT = 'o',
    OPTION_HELP = 'h',
    OPTION_VOLUME = SOURCE_OPTION_END,
    OPTION_ITEM,
    OPTION_DEFAULT_MODE,
    OPTION_OPTIONAL,
    OPTION_FS_GROUP,
    OPTION_UID,
    OPTION_GID,
    OPTION_TYPE,
    OPTION_TLS,
    OPTION_CHECK_CONTENT,
    OPTION_COMMAND,
    OPTION_COMMAND_USER,
    OPTION_UPDATES,
    OPTION_ON_REVOKED,
    OPTION_ON_UPDATE,
    OPTION_CHECK,
    OPTION_CONSUMERS,
    OPTION_AUDIT,
};

const struct option mount_long_options[] = {
    SOURCE_LONG_OPTIONS,
    {"volume", required_argument, NULL, OPTION_VOLUME},
    {"item", required_argument, NULL, OPTION_ITEM},
    {"default-mode", required_argument, NULL, OPTION_DEFAULT_MODE},
    {"optional", no_argument, NULL, OPTION_OPTIONAL},
    {"fs-group", required_argument, NULL, OPTION_FS_GROUP},
    {"uid", required_argument, NULL, OPTION_UID},
    {"gid", required_argument, NULL, OPTION_GID},
    {"type", required_argument, NULL, OPTION_TYPE},
    {"tls", required_argument, NULL, OPTION_TLS},
    {"check-content", required_argument, NULL, OPTION_CHECK_CONTENT},
    {"command", required_argument, NULL, OPTION_COMMAND},
    {"command-user", required_argument, NULL, OPTION_COMMAND_USER},
    {"updates", required_argument, NULL, OPTION_UPDATES},
    {"on-revoked", required_argument, NULL, OPTION_ON_REVOKED},
    {"on-update", required_argument, NULL, OPTION_ON_UPDATE},
    {"consumers", no_argument, NULL, OPTION_CONSUMERS},
    {"audit", required_argument, NULL, OPTION_AUDIT},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"foreground", no_argument, NULL, OPTION_FOREGROUND},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

void mount_options_help(const char *program)
{
    printf(
        "Usage: %s mount [options] secret/NAME|configmap/NAME MOUNTPOINT\n"
        "       %s mount [options] --volume FILE MOUNTPOINT\n"
        "\n"
        "Mount a Kubernetes Secret or ConfigMap as files and keep them current.\n"
        "\n"
        "Where the object comes from:\n" SOURCE_OPTIONS_HELP "\n"
        "Which files the volume has:\n"
        "      --item KEY=PATH[:MODE]  only this key, at this path; may be repeated\n"
        "      --default-mode MODE     mode of files: 0640 is octal, 416 the same in decimal\n"
        "                              (default: 0644)\n"
        "      --optional              the object and its keys may be missing\n"
        "      --type TYPE             required type of the secret: tls, basic-auth, ..., or a\n"
        "                              type in full\n"
        "      --tls hold              keep the last valid pair while a TLS secret has expired\n"
        "                              or its key does not match its certificate; \"report\"\n"
        "                              (the default) shows the new one and logs a warning\n"
        "      --check-content WORDS   keep the last valid content while a value is invalid: tls,\n"
        "                              nonempty, json, yaml, pem or command:NAME; with commas\n"
        "                              between them\n"
        "      --command NAME=PROGRAM  a command for command:NAME: it gets the files as a tar\n"
        "                              archive on standard input, and exits with 0 to show them;\n"
        "                              or for --on-update exec:NAME\n"
        "      --command-user USER     whom commands run as, if root mounts\n"
        "      --updates in-place      change the content of the files, for programs that\n"
        "                              watch a file itself, and files mounted alone;\n"
        "                              \"generations\" (the default) makes new files\n"
        "      --on-revoked remove     remove the files when the API server denies access to\n"
        "                              the object; \"keep\" (the default) keeps them\n"
        "      --volume FILE           read the volume from FILE: an entry of a pod's volumes\n"
        "                              in YAML or JSON, secret, configMap or projected\n"
        "\n"
        "Owner of the files:\n"
        "      --uid UID, --gid GID    owner of the files\n"
        "      --fs-group GID          as a pod's fsGroup: the group can read all files\n"
        "\n"
        "What follows an update:\n"
        "      --on-update reload-unit:NAME.service  systemd reloads the service; for an\n"
        "                              ordinary user that of the user\n"
        "      --on-update exec:NAME   the command of --command NAME=PROGRAM runs\n"
        "\n"
        "How it is mounted:\n"
        "  -f, --foreground        stay in the foreground; otherwise return as soon as the\n"
        "                          files are readable and serve them in the background\n"
        "      --consumers         note which processes open which version, for `secretfs\n"
        "                          rollout status`; as root\n"
        "      --audit FILE|journal|unix:PATH  a line of JSON for each first open of a\n"
        "                          version by a process; takes --consumers\n"
        "      --check             check that a process with these options could start, and\n"
        "                          take over the mount of a running one; mount nothing\n"
        "  -o OPTIONS              mount options, comma-separated: allow_other, noexec, exec,\n"
        "                          nosuid, suid, nodev, dev, noatime, ro, and any of the long\n"
        "                          options, as in uid=7\n"
        "\n" SOURCE_OPTIONS_LOG_HELP "  -h, --help              show this help\n"
        "\n"
        "Example:\n"
        "  %s mount -n prod secret/db /run/secrets/db\n",
        program, program, program);
}

/* ---- values */

static int no_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot read the arguments");
}

/* The one source of a spec that is made from arguments. */
static struct volume_source *source_of(struct mount_options *o)
{
    return &o->spec->sources[0];
}

static int set_object(struct mount_options *o, enum object_kind kind, const char *name,
                      struct error *e)
{
    const char *word = object_kind_word(kind), *slash = strchr(name, '/');

    if (slash != NULL && slash != name && object_name_is_valid(slash + 1))
        return error_set(e, -EINVAL,
                         "invalid name \"%.64s\" for a %s; give a namespace as an option: "
                         "-n %.*s %s/%.64s",
                         name, word, (int)size_min((size_t)(slash - name), 64), name, word,
                         slash + 1);
    if (!object_name_is_valid(name))
        return error_set(e, -EINVAL, "invalid name \"%.64s\" for a %s", name, word);
    o->spec->kind = kind == OBJECT_SECRET ? VOLUME_SECRET : VOLUME_CONFIGMAP;
    source_of(o)->kind = kind;
    return volume_text_set(&source_of(o)->name, name) < 0 ? no_memory(e) : 0;
}

static int parse_object(const char *text, struct mount_options *o, struct error *e)
{
    enum object_kind kind = OBJECT_SECRET;
    const char *name = object_kind_parse(text, &kind);

    if (name == NULL)
        return object_kind_invalid(text, e);
    return set_object(o, kind, name, e);
}

static int check_mountpoint(const char *path, char **ret_path, struct error *e)
{
    _cleanup_(freep) char *resolved = realpath(path, NULL);
    /* with descriptors of an earlier process no process may serve the mount until this one does */
    bool is_handed_over =
        getenv("LISTEN_FDS") != NULL || getenv(FD_STORE_KEEPER_SOCKET_VARIABLE) != NULL;
    struct statx status = {0};

    if (resolved == NULL && errno == ENOENT)
        return error_set(e, -ENOENT, "mount point %s does not exist; create the directory first",
                         path);
    if ((resolved == NULL || statx(AT_FDCWD, resolved, is_handed_over ? AT_STATX_DONT_SYNC : 0,
                                   STATX_TYPE, &status) < 0) &&
        errno == ENOTCONN)
        return error_set(e, -ENOTCONN,
                         "%s is the mount of a dead process; run `secretfs unmount %s` first", path,
                         path);
    if (resolved == NULL || status.stx_mask == 0)
        return error_set_errno(e, negative_errno(), "cannot use mount point %s", path);
    if (!S_ISDIR(status.stx_mode))
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

/*
 * Options without effect here, and those for mount(8), fstab and systemd. mount(8) passes "rw"
 * unless the user says "ro"; the files are read-only all the same.
 */
static bool is_ignored(const char *name)
{
    static const char *const names[] = {
        "ro",       "rw",          "defaults",   "default_permissions",
        "auto",     "noauto",      "user",       "nouser",
        "users",    "nousers",     "group",      "owner",
        "_netdev",  "nofail",      "atime",      "noatime",
        "relatime", "norelatime",  "nodiratime", "diratime",
        "lazytime", "nolazytime",  "sync",       "async",
        "dirsync",  "strictatime", "silent",     "nostrictatime",
    };

    for (size_t i = 0; i < ELEMENTS_OF(names); i++)
        if (streq(name, names[i]))
            return true;
    return str_after(name, "x-") != NULL || str_after(name, "X-") != NULL ||
           str_after(name, "comment") != NULL;
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

/* Mount options are commonly written with underscores. */
static bool is_long_option(const char *name, const char *long_name)
{
    while (*name != '\0' && (*name == *long_name || (*name == '_' && *long_name == '-'))) {
        name++;
        long_name++;
    }
    return *name == *long_name;
}

static int unknown_mount_option(const char *name, struct error *e)
{
    struct nearest nearest = NEAREST_INIT(name, strlen(name));

    for (const struct option *l = mount_long_options; l->name != NULL; l++)
        if (l->has_arg == required_argument)
            nearest_offer(&nearest, l->name, strlen(l->name));
    for (size_t i = 0; i < ELEMENTS_OF(mount_flags); i++)
        nearest_offer(&nearest, mount_flags[i].name, strlen(mount_flags[i].name));
    error_set(e, -EINVAL, "unknown mount option \"%.64s\"; secretfs(1) lists them", name);
    return words_hint(&nearest, "", e, -EINVAL);
}

static int set_mount_option(struct mount_options *o, const char *name, const char *value,
                            struct error *e)
{
    if (streq(name, "allow_other")) {
        o->allow_other = true;
        return 0;
    }
    if (is_ignored(name))
        return 0;
    if (set_mount_flag(o, name))
        return buf_addf(&o->user_options, "%s%s", o->user_options.len > 0 ? "," : "", name);
    if (value == NULL && streq(name, "optional"))
        return set_option(o, OPTION_OPTIONAL, NULL, e);
    if (value == NULL && streq(name, "consumers"))
        return set_option(o, OPTION_CONSUMERS, NULL, e);
    for (const struct option *l = mount_long_options; l->name != NULL; l++) {
        if (l->has_arg != required_argument || !is_long_option(name, l->name))
            continue;
        if (value == NULL)
            return error_set(e, -EINVAL, "mount option %s= needs a value", name);
        return set_option(o, l->val, value, e);
    }
    if (streq(name, "remount"))
        return error_set(e, -EINVAL,
                         "a secretfs mount cannot be remounted: unmount it, and mount it again");
    if (o->skips_unknown)
        return 0;
    return unknown_mount_option(name, e);
}

/* Values stay in option_text: the options point to them. */
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

/* ---- by option */

/* Options of the volume's spec. */
static int set_volume_option(struct mount_options *o, int option, const char *value,
                             struct error *e)
{
    switch (option) {
    case OPTION_ITEM:
        return volume_item_parse(source_of(o), value, e);
    case OPTION_DEFAULT_MODE:
        return volume_mode_parse(value, &o->spec->default_mode, e);
    case OPTION_FS_GROUP:
        return volume_id_parse(value, &o->spec->fs_group, e);
    case OPTION_UID:
        return volume_id_parse(value, &o->spec->uid, e);
    case OPTION_GID:
        return volume_id_parse(value, &o->spec->gid, e);
    case OPTION_TYPE:
        return volume_type_parse(o->spec, value, e);
    case OPTION_TLS:
        return volume_tls_parse(o->spec, value, e);
    case OPTION_CHECK_CONTENT:
        return volume_check_parse(o->spec, value, e);
    case OPTION_UPDATES:
        return volume_updates_parse(o->spec, value, e);
    case OPTION_ON_REVOKED:
        return volume_revoked_parse(o->spec, value, e);
    default:
        return error_set(e, -EINVAL, "unknown option");
    }
}

static const char *option_name(int option)
{
    for (const struct option *l = mount_long_options; l->name != NULL; l++)
        if (l->val == option)
            return l->name;
    return "";
}

static int set_option(struct mount_options *o, int option, const char *value, struct error *e)
{
    struct audit_target target;
    int r;

    switch (option) {
    case OPTION_VOLUME:
        o->volume_file = value;
        return 0;
    case OPTION_OPTIONAL:
        source_of(o)->is_optional = true;
        return 0;
    case OPTION_CONSUMERS:
        o->notes_consumers = true;
        return 0;
    case OPTION_COMMAND:
        r = command_list_add(&o->commands, value, e);
        return r < 0 ? error_prefix(e, r, "--command") : 0;
    case OPTION_COMMAND_USER:
        o->command_user = value;
        return 0;
    case OPTION_ON_UPDATE:
        r = update_action_parse(value, &o->action, e);
        return r < 0 ? error_prefix(e, r, "--on-update") : 0;
    case OPTION_AUDIT:
        o->audit = value;
        return audit_target_parse(value, &target, e);
    case OPTION_CHECK:
        o->is_check = true;
        return 0;
    case OPTION_FOREGROUND:
        o->is_foreground = true;
        return 0;
    case OPTION_MOUNT:
        return parse_mount_options(o, value, e);
    case OPTION_HELP:
        o->wants_help = true;
        return ARGUMENTS_ENOUGH;
    default:
        if (option < SOURCE_OPTION_END)
            return source_options_set(&o->from, option, value, e);
        r = set_volume_option(o, option, value, e);
        return r < 0 ? error_prefix(e, r, "--%s", option_name(option)) : 0;
    }
}

/* ---- from a file */

/* Arguments have priority over the file. */
static int override_spec(struct volume_spec *spec, const struct volume_spec *by)
{
    if (by->uid != VOLUME_ID_UNSET)
        spec->uid = by->uid;
    if (by->gid != VOLUME_ID_UNSET)
        spec->gid = by->gid;
    if (by->fs_group != VOLUME_ID_UNSET)
        spec->fs_group = by->fs_group;
    spec->holds_tls |= by->holds_tls;
    spec->checks |= by->checks;
    if (by->updates != VOLUME_UPDATES_GENERATIONS)
        spec->updates = by->updates;
    spec->removes_revoked |= by->removes_revoked;
    if (by->check_command != NULL && volume_text_set(&spec->check_command, by->check_command) < 0)
        return -ENOMEM;
    return by->type != NULL ? volume_text_set(&spec->type, by->type) : 0;
}

static int read_volume(const char *path, struct volume_spec **ret_spec, struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(VOLUME_FILE_MAX_BYTES);
    int r = file_load(path, &text, e);

    if (r < 0)
        return r == -EINVAL ? -EBADMSG : r; /* not a usage error */
    r = volume_spec_parse(buf_text(&text), text.len, ret_spec, e);
    if (r == -EINVAL)
        r = -EBADMSG; /* not a usage error */
    return r < 0 ? error_prefix(e, r, "%s", path) : 0;
}

static int use_volume_file(struct mount_options *o, struct error *e)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    int r;

    if (source_of(o)->n_items > 0 || source_of(o)->is_optional ||
        o->spec->default_mode != VOLUME_MODE_UNSET)
        return error_set(e, -EINVAL,
                         "--item, --default-mode and --optional cannot be combined with --volume: "
                         "set them in %s",
                         o->volume_file);
    r = read_volume(o->volume_file, &spec, e);
    if (r < 0)
        return r;
    assert(spec != NULL);
    if (override_spec(spec, o->spec) < 0)
        return no_memory(e);
    volume_spec_free(o->spec);
    o->spec = TAKE(spec);
    return 0;
}

/* ---- the command line */

/* @use, @name: "command", "NAME"; or NULL. Return: 0; -EINVAL with @e. */
static int check_command(const struct mount_options *o, const char *use, const char *name,
                         struct error *e)
{
    if (name == NULL || command_list_find(&o->commands, name) != NULL)
        return 0;
    return error_set(e, -EINVAL, "%s:%s: unknown command; name it with --command %s=PROGRAM", use,
                     name, name);
}

/* Of an ordinary user it is the user's own systemd. */
static int check_bus(const struct mount_options *o, struct error *e)
{
    if (o->action.unit == NULL || geteuid() == 0 || getenv("DBUS_SESSION_BUS_ADDRESS") != NULL ||
        getenv("XDG_RUNTIME_DIR") != NULL)
        return 0;
    return error_set(e, -EINVAL,
                     "--on-update: cannot find the user's systemd, as neither XDG_RUNTIME_DIR nor "
                     "DBUS_SESSION_BUS_ADDRESS is set; mount as root to reload a service of the "
                     "system");
}

static int complete_commands(struct mount_options *o, struct error *e)
{
    int r = check_command(o, "command", o->spec->check_command, e);

    if (r == 0)
        r = check_command(o, "exec", o->action.command, e);
    if (r == 0)
        r = check_bus(o, e);
    if (r < 0)
        return r;
    if (o->command_user != NULL && geteuid() != 0)
        return error_set(e, -EINVAL, "--command-user is for root: your commands run as yourself");
    return o->command_user != NULL ? command_list_set_user(&o->commands, o->command_user, e) : 0;
}

/* Set defaults. */
static int complete_spec(struct mount_options *o, struct error *e)
{
    char text[VOLUME_TEXT_SIZE];
    int r = volume_spec_check_size(o->spec, e);

    if (r < 0)
        return r;
    if (o->spec->kind == VOLUME_CONFIGMAP && (o->spec->type != NULL || o->spec->holds_tls))
        return error_set(e, -EINVAL, "%s is for secrets and cannot be combined with a ConfigMap",
                         o->spec->type != NULL ? "--type" : "--tls hold");
    if (o->audit != NULL && !o->notes_consumers)
        return error_set(e, -EINVAL, "--audit takes --consumers");
    r = complete_commands(o, e);
    if (r < 0)
        return r;
    if (o->spec->uid == VOLUME_ID_UNSET)
        o->spec->uid = geteuid();
    if (o->spec->gid == VOLUME_ID_UNSET)
        o->spec->gid = getegid();
    if (o->spec->default_mode == VOLUME_MODE_UNSET)
        o->spec->default_mode = VOLUME_DEFAULT_MODE;
    o->source = strdup(volume_spec_text(o->spec, text));
    return o->source != NULL ? 0 : no_memory(e);
}

/* @positional: OBJECT MOUNTPOINT, or with --volume just the latter */
static int parse_positional(struct mount_options *o, char *positional[], int n, struct error *e)
{
    int n_needed = o->volume_file != NULL ? 1 : 2;
    int r;

    if (n != n_needed && o->volume_file != NULL)
        return error_set(e, -EINVAL, "with --volume, give a mount point and no object");
    if (n != n_needed)
        return error_set(e, -EINVAL,
                         "an object and a mount point are required: secret/NAME MOUNTPOINT");
    r = o->volume_file != NULL ? use_volume_file(o, e) : parse_object(positional[0], o, e);
    if (r == 0)
        r = complete_spec(o, e);
    return r < 0 ? r : check_mountpoint(positional[n - 1], &o->mountpoint, e);
}

static int options_init(struct mount_options *o, struct error *e)
{
    struct volume_source *source;

    *o = (struct mount_options){
        .from = SOURCE_OPTIONS_INIT,
        .mount_attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        .option_text = BUF_INIT(OPTION_TEXT_MAX),
        .user_options = BUF_INIT(OPTION_TEXT_MAX),
    };
    if (volume_spec_new(VOLUME_SECRET, &o->spec) < 0 ||
        volume_spec_add_source(o->spec, OBJECT_SECRET, "", &source) < 0)
        return no_memory(e);
    o->spec->default_mode = VOLUME_MODE_UNSET;
    return 0;
}

static int set_argument(void *userdata, int option, const char *value, struct error *e)
{
    return set_option(userdata, option, value, e);
}

static int parse_arguments(int argc, char *argv[], struct mount_options *o, struct error *e)
{
    int r = arguments_parse(argc, argv, ":n:fo:h", mount_long_options, set_argument, o, e);

    if (r == ARGUMENTS_ENOUGH)
        return 0;
    if (r == 0)
        r = source_options_check(&o->from, e);
    return r < 0 ? r : parse_positional(o, argv + optind, argc - optind, e);
}

int mount_options_parse(int argc, char *argv[], struct mount_options *ret_options, struct error *e)
{
    int r = options_init(ret_options, e);

    return r < 0 ? r : parse_arguments(argc, argv, ret_options, e);
}

/* ---- a request of mount(8) */

/*
 * mountinfo has to show the source as fstab has it, or `mount -a` would mount it again. fusermount3
 * gets it in its list of options, so no comma.
 */
static int set_source(struct mount_options *o, const char *source, struct error *e)
{
    char *copy;

    if (source[strcspn(source, ",\\")] != '\0')
        return error_set(e, -EINVAL, "invalid source: commas and backslashes are not allowed");
    copy = strdup(source);
    if (copy == NULL)
        return no_memory(e);
    free(o->source);
    o->source = copy;
    return 0;
}

int mount_options_from_request(const struct mount_request *request,
                               struct mount_options *ret_options, struct error *e)
{
    struct mount_options *o = ret_options;
    int r = options_init(o, e);

    o->skips_unknown = request->is_sloppy;
    o->is_check = request->is_check;
    if (r == 0 && request->options != NULL)
        r = parse_mount_options(o, request->options, e);
    if (r == 0)
        r = source_options_check(&o->from, e);
    if (r == 0)
        r = o->volume_file != NULL ? use_volume_file(o, e) : parse_object(request->source, o, e);
    if (r == 0)
        r = complete_spec(o, e);
    if (r == 0)
        r = set_source(o, request->source, e);
    return r < 0 ? r : check_mountpoint(request->mountpoint, &o->mountpoint, e);
}

void mount_options_deinit(struct mount_options *options)
{
    volume_spec_free(options->spec);
    source_options_deinit(&options->from);
    command_list_deinit(&options->commands);
    free(options->mountpoint);
    free(options->source);
    buf_deinit(&options->option_text);
    buf_deinit(&options->user_options);
}

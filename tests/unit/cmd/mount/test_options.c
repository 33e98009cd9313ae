/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/mount/options.h"

#include <linux/mount.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ARGUMENTS_MAX 20

/* Parse a command line given as words with blanks between them. */
static int parse(const char *line, struct mount_options *options, struct error *e)
{
    static char words[512]; /* what the options point to */
    char *argv[ARGUMENTS_MAX + 1], *at = words, *word;
    int argc = 0;

    assert_true(strlen(line) < sizeof(words));
    stpcpy(words, line);
    while ((word = strsep(&at, " ")) != NULL) {
        assert_true(argc < ARGUMENTS_MAX);
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    *e = ERROR_INIT;
    return mount_options_parse(argc, argv, options, e);
}

static void assert_refused(const char *line, int result, const char *message)
{
    struct mount_options options;
    struct error e;
    int r = parse(line, &options, &e);

    if (r != result || strstr(e.text, message) == NULL)
        fail_msg("\"%s\" gave %d, \"%s\" instead of \"%s\"", line, r, e.text, message);
    mount_options_deinit(&options);
}

static void defaults(void **state)
{
    struct mount_options o;
    struct error e;

    assert_int_equal(parse("mount secret/db /", &o, &e), 0);
    assert_int_equal(o.spec->kind, VOLUME_SECRET);
    assert_int_equal(o.spec->n_sources, 1);
    assert_int_equal(o.spec->sources[0].kind, OBJECT_SECRET);
    assert_string_equal(o.spec->sources[0].name, "db");
    assert_false(o.spec->sources[0].is_optional);
    assert_int_equal(o.spec->default_mode, 0644);
    assert_int_equal(o.spec->fs_group, VOLUME_ID_UNSET);
    assert_string_equal(o.source, "secret/db");
    assert_string_equal(o.mountpoint, "/");
    assert_null(o.from.namespace);
    assert_null(o.from.manifests);
    assert_int_equal(o.from.wait, SPAN_SEC(30));
    assert_false(o.is_foreground);
    assert_false(o.allow_other);
    assert_int_equal(o.spec->uid, geteuid());
    assert_int_equal(o.spec->gid, getegid());
    assert_int_equal(o.mount_attr, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    mount_options_deinit(&o);
}

static void everything(void **state)
{
    struct mount_options o;
    struct error e;

    assert_int_equal(parse("mount -fn prod cm/a.b --wait=1m30s --manifests /m --log-level debug "
                           "--log-format json / -o ro,uid=7,gid=8,allow_other,noexec,suid,x-y=z",
                           &o, &e),
                     0);
    assert_int_equal(o.spec->kind, VOLUME_CONFIGMAP);
    assert_int_equal(o.spec->sources[0].kind, OBJECT_CONFIGMAP);
    assert_string_equal(o.spec->sources[0].name, "a.b");
    assert_string_equal(o.source, "configmap/a.b");
    assert_string_equal(o.from.namespace, "prod");
    assert_string_equal(o.from.manifests, "/m");
    assert_int_equal(o.from.wait, SPAN_SEC(90));
    assert_true(o.is_foreground);
    assert_int_equal(o.from.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(o.from.log_format, LOG_FORMAT_JSON);
    assert_int_equal(o.spec->uid, 7);
    assert_int_equal(o.spec->gid, 8);
    assert_true(o.allow_other);
    assert_int_equal(o.mount_attr, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    assert_string_equal(o.user_options.data, "noexec,suid");
    mount_options_deinit(&o);
}

/* What fstab can say has to be sayable with -o alone. */
static void long_options_as_mount_options(void **state)
{
    struct mount_options o;
    struct error e;

    assert_int_equal(
        parse("mount secret/db / -o rw,_netdev,namespace=prod,context=c,wait=forever", &o, &e), 0);
    assert_string_equal(o.from.namespace, "prod");
    assert_string_equal(o.from.context, "c");
    assert_true(o.from.wait == SPAN_FOREVER);
    mount_options_deinit(&o);
}

static void what_becomes_files(void **state)
{
    struct mount_options o;
    struct error e;

    assert_int_equal(parse("mount --item user=db/user --item password=pw:0400 --default-mode 0440 "
                           "--optional --fs-group 55 --uid 7 --type tls --tls hold "
                           "--updates in-place secret/db /",
                           &o, &e),
                     0);
    assert_int_equal(o.spec->sources[0].n_items, 2);
    assert_string_equal(o.spec->sources[0].items[0].path, "db/user");
    assert_int_equal(o.spec->sources[0].items[1].mode, 0400);
    assert_int_equal(o.spec->default_mode, 0440);
    assert_true(o.spec->sources[0].is_optional);
    assert_int_equal(o.spec->fs_group, 55);
    assert_int_equal(o.spec->uid, 7);
    assert_string_equal(o.spec->type, "kubernetes.io/tls");
    assert_true(o.spec->holds_tls);
    assert_int_equal(o.spec->updates, VOLUME_UPDATES_IN_PLACE);
    mount_options_deinit(&o);
    assert_int_equal(
        parse("mount secret/db / -o item=a=b,optional,fs-group=5,updates=in-place", &o, &e), 0);
    assert_string_equal(o.spec->sources[0].items[0].path, "b");
    assert_true(o.spec->sources[0].is_optional);
    assert_int_equal(o.spec->fs_group, 5);
    assert_int_equal(o.spec->updates, VOLUME_UPDATES_IN_PLACE);
    mount_options_deinit(&o);
}

/* Parse a command line with "--volume FILE" at its end, FILE holding @yaml. */
static int parse_with_volume(const char *yaml, const char *line, struct mount_options *o,
                             struct error *e)
{
    char path[] = "/tmp/secretfs-test-options-XXXXXX", whole[256];
    int fd = mkstemp(path), r;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, yaml, strlen(yaml)), strlen(yaml));
    close(fd);
    snprintf(whole, sizeof(whole), "%s --volume %s", line, path);
    r = parse(whole, o, e);
    unlink(path);
    return r;
}

static void volume_from_a_file(void **state)
{
    static const char yaml[] = "{name: v, secretfs: {uid: 1, fsGroup: 2}, projected: {defaultMode: "
                               "0400, sources: [{secret: {name: a}}, {configMap: {name: b}}]}}";
    struct mount_options o;
    struct error e;

    assert_int_equal(parse_with_volume(yaml, "mount /", &o, &e), 0);
    assert_string_equal(o.source, "projected/v");
    assert_string_equal(o.mountpoint, "/");
    assert_int_equal(o.spec->n_sources, 2);
    assert_int_equal(o.spec->default_mode, 0400);
    assert_int_equal(o.spec->uid, 1);
    assert_int_equal(o.spec->gid, getegid());
    assert_int_equal(o.spec->fs_group, 2);
    mount_options_deinit(&o);
    assert_int_equal(
        parse_with_volume(yaml, "mount --fs-group 9 --tls hold --updates in-place /", &o, &e), 0);
    assert_int_equal(o.spec->uid, 1);
    assert_int_equal(o.spec->fs_group, 9);
    assert_true(o.spec->holds_tls);
    assert_int_equal(o.spec->updates, VOLUME_UPDATES_IN_PLACE);
    mount_options_deinit(&o);
    assert_int_equal(parse_with_volume("{secret: {}}", "mount /", &o, &e), -EBADMSG);
    assert_non_null(strstr(e.text, ": secret.secretName: required field is missing"));
    mount_options_deinit(&o);
}

static int parse_request(const char *source, const char *options, bool is_sloppy,
                         struct mount_options *o, struct error *e)
{
    const struct mount_request request = {
        .source = source, .mountpoint = "/", .options = options, .is_sloppy = is_sloppy};

    *e = ERROR_INIT;
    return mount_options_from_request(&request, o, e);
}

static void as_mount_says_it(void **state)
{
    struct mount_options o;
    struct error e;

    assert_int_equal(parse_request("cm/app",
                                   "rw,nofail,_netdev,x-systemd.requires=a.service,X-mount.mkdir,"
                                   "noexec,namespace=prod,default_mode=0400,fs_group=9,"
                                   "log_level=debug,optional,item=k=p",
                                   false, &o, &e),
                     0);
    assert_string_equal(o.source, "cm/app"); /* not "configmap/app": `mount -a` compares */
    assert_int_equal(o.spec->sources[0].kind, OBJECT_CONFIGMAP);
    assert_string_equal(o.from.namespace, "prod");
    assert_int_equal(o.from.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(o.spec->default_mode, 0400);
    assert_int_equal(o.spec->fs_group, 9);
    assert_true(o.spec->sources[0].is_optional);
    assert_string_equal(o.spec->sources[0].items[0].path, "p");
    assert_int_equal(o.mount_attr, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    assert_false(o.is_foreground);
    mount_options_deinit(&o);
    assert_int_equal(parse_request("secret/db", NULL, false, &o, &e), 0);
    mount_options_deinit(&o);
    assert_int_equal(parse_request("secret/db", "sparkle,glitter=1", true, &o, &e), 0);
    mount_options_deinit(&o);
}

static void as_mount_says_it_with_a_volume(void **state)
{
    char path[] = "/tmp/secretfs-test-options-XXXXXX", options[64];
    static const char yaml[] = "{name: v, projected: {sources: [{secret: {name: a}}]}}";
    int fd = mkstemp(path);
    struct mount_options o;
    struct error e;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, yaml, strlen(yaml)), strlen(yaml));
    close(fd);
    snprintf(options, sizeof(options), "rw,volume=%s,uid=7", path);
    assert_int_equal(parse_request("certificates", options, false, &o, &e), 0);
    unlink(path);
    assert_string_equal(o.source, "certificates");
    assert_int_equal(o.spec->kind, VOLUME_PROJECTED);
    assert_int_equal(o.spec->uid, 7);
    mount_options_deinit(&o);
}

static void mistakes_in_fstab_are_named(void **state)
{
    static const struct {
        const char *source;
        const char *options;
        const char *message;
    } cases[] = {
        {"db", "rw", "invalid object \"db\""},
        {"secret/db", "rw,sparkle", "unknown mount option \"sparkle\""},
        {"secret/db", "remount,ro", "cannot be remounted"},
        {"secret/db", "default_mode=644", "--default-mode: invalid mode 644"},
        {"secret/db", "default_mod=0400",
         "unknown mount option \"default_mod\"; secretfs(1) lists them; did you mean "
         "\"default-mode\"?"},
        {"secret/db", "default_mode_=0400", "unknown mount option \"default_mode_\""},
        {"secret/db", "manifests=/m,context=c", "--manifests cannot be combined with"},
        {"secret/db", "volume=/no/such/file", "cannot read /no/such/file"},
        {"secret/a,b", NULL, "invalid name"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct mount_options o;
        struct error e;

        if (parse_request(cases[i].source, cases[i].options, false, &o, &e) >= 0 ||
            strstr(e.text, cases[i].message) == NULL)
            fail_msg("%s %s: \"%s\" instead of \"%s\"", cases[i].source, cases[i].options, e.text,
                     cases[i].message);
        mount_options_deinit(&o);
    }
}

static void help_needs_nothing_else(void **state)
{
    struct mount_options o;
    struct error e;

    assert_int_equal(parse("mount --help", &o, &e), 0);
    assert_true(o.wants_help);
    mount_options_deinit(&o);
}

static void mistakes_are_named(void **state)
{
    static const struct {
        const char *line;
        int result;
        const char *message;
    } cases[] = {
        {"mount", -EINVAL, "an object and a mount point"},
        {"mount secret/db", -EINVAL, "an object and a mount point"},
        {"mount secret/db / /", -EINVAL, "an object and a mount point"},
        {"mount db /", -EINVAL, "invalid object \"db\""},
        {"mount secret/ /", -EINVAL, "invalid name"},
        {"mount secret/A_B /", -EINVAL, "invalid name \"A_B\""},
        {"mount -n A secret/db /", -EINVAL, "invalid namespace \"A\""},
        {"mount --wait 5 secret/db /", -EINVAL, "invalid duration \"5\""},
        {"mount --nonsense secret/db /", -EINVAL, "unknown option --nonsense"},
        {"mount secret/db / --wait", -EINVAL, "--wait needs a value"},
        {"mount -o uid=me secret/db /", -EINVAL,
         "--uid: invalid user or group id \"me\": use a number"},
        {"mount -o uid secret/db /", -EINVAL, "mount option uid= needs a value"},
        {"mount -o gid=4294967295 secret/db /", -EINVAL,
         "--gid: invalid user or group id \"4294967295\""},
        {"mount --fs-group -1 secret/db /", -EINVAL, "--fs-group: invalid user or group id \"-1\""},
        {"mount --default-mode 644 secret/db /", -EINVAL, "--default-mode: invalid mode 644"},
        {"mount --item k secret/db /", -EINVAL, "--item: invalid item \"k\""},
        {"mount --item k=..p secret/db /", -EINVAL, "--item: invalid path \"..p\""},
        {"mount --type tsl secret/db /", -EINVAL,
         "--type: invalid type \"tsl\", expected one of: opaque, basic-auth, ssh-auth, tls, "
         "dockerconfigjson, dockercfg, service-account-token, bootstrap-token; did you mean "
         "\"tls\"?"},
        {"mount --type tls cm/app /", -EINVAL, "--type is for secrets"},
        {"mount --tls hold cm/app /", -EINVAL, "--tls hold is for secrets"},
        {"mount --tls keep secret/db /", -EINVAL,
         "--tls: invalid tls \"keep\", expected one of: report, hold"},
        {"mount --updates stable secret/db /", -EINVAL,
         "--updates: invalid updates \"stable\", expected one of: generations, in-place"},
        {"mount --inotify stable secret/db /", -EINVAL, "unknown option --inotify"},
        {"mount --volume /v secret/db /", -EINVAL, "with --volume, give a mount point and no"},
        {"mount --volume /v --optional /", -EINVAL,
         "cannot be combined with --volume: set them in /v"},
        {"mount --volume /v --item k=p /", -EINVAL, "cannot be combined with --volume"},
        {"mount --volume /v --default-mode 0600 /", -EINVAL, "cannot be combined with --volume"},
        {"mount --volume /no/such/file /", -ENOENT, "cannot read /no/such/file"},
        {"mount -o sparkle secret/db /", -EINVAL, "unknown mount option \"sparkle\""},
        {"mount -o ro -o rw secret/db /", -EINVAL, "give -o once"},
        {"mount --log-level loud secret/db /", -EINVAL, "invalid --log-level \"loud\""},
        {"mount --log-format xml secret/db /", -EINVAL, "invalid --log-format \"xml\""},
        {"mount --manifests m --context c secret/db /", -EINVAL,
         "--manifests cannot be combined with"},
        {"mount secret/db /no/such/directory", -ENOENT, "create the directory first"},
        {"mount secret/db /dev/null", -ENOTDIR, "/dev/null is not a directory"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++)
        assert_refused(cases[i].line, cases[i].result, cases[i].message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(everything),
        cmocka_unit_test(long_options_as_mount_options),
        cmocka_unit_test(what_becomes_files),
        cmocka_unit_test(volume_from_a_file),
        cmocka_unit_test(as_mount_says_it),
        cmocka_unit_test(as_mount_says_it_with_a_volume),
        cmocka_unit_test(mistakes_in_fstab_are_named),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(mistakes_are_named),
    };

    return cmocka_run_group_tests_name("mount_options", tests, NULL, NULL);
}

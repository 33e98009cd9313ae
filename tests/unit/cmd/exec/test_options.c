/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/exec/options.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ARGUMENTS_MAX 20

/* Parse a command line given as words with blanks between them. */
static int parse(const char *line, struct exec_options *options, struct error *e)
{
    static char words[512];               /* what the options point to */
    static char *argv[ARGUMENTS_MAX + 1]; /* and the command */
    char *at = words, *word;
    int argc = 0;

    assert_true(strlen(line) < sizeof(words));
    stpcpy(words, line);
    while ((word = strsep(&at, " ")) != NULL) {
        assert_true(argc < ARGUMENTS_MAX);
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    *e = ERROR_INIT;
    return exec_options_parse(argc, argv, options, e);
}

static void defaults(void **state)
{
    struct exec_options o;
    struct error e;

    assert_int_equal(parse("exec --env A=secret/db/k -- cat -n file", &o, &e), 0);
    assert_int_equal(o.spec.n_sources, 1);
    assert_int_equal(o.spec.names, ENV_NAMES_RELAXED);
    assert_false(o.spec.sources[0].is_optional);
    assert_int_equal(o.on_change, ON_CHANGE_IGNORE);
    assert_int_equal(o.grace, SPAN_SEC(10));
    assert_int_equal(o.from.wait, SPAN_SEC(30));
    assert_string_equal(o.command[0], "cat");
    assert_string_equal(o.command[1], "-n");
    assert_string_equal(o.command[2], "file");
    assert_null(o.command[3]);
    exec_options_deinit(&o);
}

/* --optional and --env-names count for what stands before them, too. */
static void everything(void **state)
{
    struct exec_options o;
    struct error e;

    assert_int_equal(
        parse("exec -n prod --env 9=cm/app/k --env-from secret/db:1_ --optional "
              "--env-names relaxed --on-change signal:USR1 --grace 2s --wait 0 -- sh -c x",
              &o, &e),
        0);
    assert_int_equal(o.spec.n_sources, 2);
    assert_true(o.spec.sources[0].is_optional && o.spec.sources[1].is_optional);
    assert_string_equal(o.spec.sources[1].name, "1_");
    assert_string_equal(o.from.namespace, "prod");
    assert_int_equal(o.from.wait, 0);
    assert_int_equal(o.on_change, ON_CHANGE_SIGNAL);
    assert_int_equal(o.signal, SIGUSR1);
    assert_int_equal(o.grace, SPAN_SEC(2));
    assert_string_equal(o.command[0], "sh");
    exec_options_deinit(&o);
}

static void signals_by_name_and_number(void **state)
{
    static const struct {
        const char *text;
        int signo;
    } table[] = {{"HUP", SIGHUP}, {"SIGHUP", SIGHUP}, {"1", SIGHUP}, {"WINCH", SIGWINCH}};

    for (size_t i = 0; i < ELEMENTS_OF(table); i++) {
        struct exec_options o;
        struct error e;
        char line[128];

        snprintf(line, sizeof(line), "exec --on-change signal:%s --env A=cm/a/k -- true",
                 table[i].text);
        assert_int_equal(parse(line, &o, &e), 0);
        assert_int_equal(o.signal, table[i].signo);
        exec_options_deinit(&o);
    }
}

static void help_needs_nothing_else(void **state)
{
    struct exec_options o;
    struct error e;

    assert_int_equal(parse("exec --help --nonsense", &o, &e), 0);
    assert_true(o.wants_help);
    exec_options_deinit(&o);
    assert_int_equal(parse("exec --env A=cm/a/k -- ls --help", &o, &e), 0);
    assert_false(o.wants_help);
    exec_options_deinit(&o);
}

/* An invalid file is not a usage error, as with `secretfs mount --volume`. */
static void mistakes_in_a_file(void **state)
{
    char path[] = "/tmp/secretfs-test-exec-options-XXXXXX", line[128];
    static const char yaml[] = "env: [{name: A, valueFrom: {fieldRef: {}}}]";
    int fd = mkstemp(path);
    struct exec_options o;
    struct error e;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, yaml, strlen(yaml)), strlen(yaml));
    close(fd);
    snprintf(line, sizeof(line), "exec --env-spec %s -- true", path);
    assert_int_equal(parse(line, &o, &e), -EBADMSG);
    assert_non_null(strstr(e.text, path));
    exec_options_deinit(&o);
    unlink(path);
    assert_int_equal(parse(line, &o, &e), -ENOENT);
    assert_non_null(strstr(e.text, "cannot read"));
    exec_options_deinit(&o);
}

static void mistakes_are_named(void **state)
{
    static const struct {
        const char *line;
        const char *message;
    } cases[] = {
        {"exec", "a command is required"},
        {"exec --env A=cm/a/k", "a command is required"},
        {"exec --env A=cm/a/k --", "a command is required"},
        {"exec true", "write -- before the command: secretfs exec [options] -- true"},
        {"exec --env A=cm/a/k ls -l",
         "write -- before the command: secretfs exec [options] -- ls ..."},
        {"exec -- true", "no variables: use --env"},
        {"exec --optional -- true", "no variables: use --env"},
        {"exec --env A true", "--env: \"A\" does not name the key of an object"},
        {"exec --env-from a true", "--env-from: invalid object \"a\""},
        {"exec --env-names all true",
         "invalid --env-names \"all\", expected one of: relaxed, strict"},
        {"exec --env 9=cm/app/k --env-names strict true", "\"9\" is not a valid name"},
        {"exec --on-change reload true",
         "invalid --on-change \"reload\", expected one of: ignore, restart, signal:NAME"},
        {"exec --on-change signal:NONE true", "unknown signal \"NONE\""},
        {"exec --on-change signal: true", "unknown signal \"\""},
        {"exec --grace 5 true", "invalid duration \"5\""},
        {"exec --nonsense", "unknown option --nonsense"},
        {"exec --env", "option --env needs a value"},
        {"exec -n A --env A=cm/a/k -- true", "invalid namespace \"A\""},
        {"exec --manifests m --kubeconfig c --env A=cm/a/k -- true",
         "--manifests cannot be combined with"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct exec_options o;
        struct error e;
        int r = parse(cases[i].line, &o, &e);

        if (r != -EINVAL || strstr(e.text, cases[i].message) == NULL)
            fail_msg("\"%s\" gave %d, \"%s\" instead of \"%s\"", cases[i].line, r, e.text,
                     cases[i].message);
        exec_options_deinit(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(everything),
        cmocka_unit_test(signals_by_name_and_number),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(mistakes_in_a_file),
        cmocka_unit_test(mistakes_are_named),
    };

    return cmocka_run_group_tests_name("exec_options", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The words onUpdate, onUpdateContainer and onUpdateProcess. */
#include "volume/on_update.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>

#include <cmocka.h>

typedef int parse_fn(struct volume_spec *spec, const char *text, struct error *e);

static struct volume_spec *spec;

static int set_up(void **state)
{
    assert_int_equal(volume_spec_new(VOLUME_SECRET, &spec), 0);
    spec->is_of_pod = true;
    return 0;
}

static int tear_down(void **state)
{
    volume_spec_free(spec);
    return 0;
}

static void refuse(parse_fn *parse, const char *text, const char *message)
{
    struct error e = ERROR_INIT;

    assert_int_equal(parse(spec, text, &e), -EINVAL);
    assert_string_equal(e.text, message);
}

static void test_signals(void **state)
{
    static const struct {
        const char *text, *name;
        int number;
    } signals[] = {{"signal:HUP", "HUP", SIGHUP},
                   {"signal:USR1", "USR1", SIGUSR1},
                   {"signal:USR2", "USR2", SIGUSR2},
                   {"signal:TERM", "TERM", SIGTERM}};

    for (size_t i = 0; i < ELEMENTS_OF(signals); i++) {
        assert_int_equal(volume_on_update_parse(spec, signals[i].text, NULL), 0);
        assert_int_equal(spec->update_signal, signals[i].number);
        assert_string_equal(volume_signal_name(signals[i].number), signals[i].name);
        assert_int_equal(volume_signal_number(signals[i].name), signals[i].number);
    }
    assert_null(volume_signal_name(SIGKILL));
    assert_null(volume_signal_name(0));
}

static void test_other_words_are_refused(void **state)
{
#define USE   ": use signal:HUP, signal:USR1, signal:USR2 or signal:TERM"
#define KNOWN ", expected one of: HUP, USR1, USR2, TERM"
    refuse(volume_on_update_parse, "signal:KILL", "invalid signal \"KILL\"" KNOWN);
    refuse(volume_on_update_parse, "signal:hup",
           "invalid signal \"hup\"" KNOWN "; did you mean \"HUP\"?");
    refuse(volume_on_update_parse, "signal:1", "invalid signal \"1\"" KNOWN);
    refuse(volume_on_update_parse, "HUP", "invalid onUpdate \"HUP\"" USE);
    refuse(volume_on_update_parse, "", "invalid onUpdate \"\"" USE);
    assert_int_equal(spec->update_signal, 0);
}

static void test_names(void **state)
{
    assert_int_equal(volume_on_update_container_parse(spec, "web-0", NULL), 0);
    assert_string_equal(spec->update_container, "web-0");
    assert_int_equal(volume_on_update_process_parse(spec, "kube-apiserver1", NULL), 0);
    assert_string_equal(spec->update_process, "kube-apiserver1");
    refuse(volume_on_update_container_parse, "../web", "invalid name of a container \"../web\"");
#define PRINTABLE ": use 1 to 15 printable characters, as `ps -o comm` shows it"
    refuse(volume_on_update_process_parse, "kube-apiserver-1",
           "invalid name of a process \"kube-apiserver-1\"" PRINTABLE);
    refuse(volume_on_update_process_parse, "a b", "invalid name of a process \"a b\"" PRINTABLE);
    refuse(volume_on_update_process_parse, "", "invalid name of a process \"\"" PRINTABLE);
}

static void test_only_for_pods(void **state)
{
    static const char only[] = "only in a volume of a pod";

    spec->is_of_pod = false;
    refuse(volume_on_update_parse, "signal:HUP", only);
    refuse(volume_on_update_container_parse, "web", only);
    refuse(volume_on_update_process_parse, "nginx", only);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_signals), TEST(test_other_words_are_refused),
                                       TEST(test_names), TEST(test_only_for_pods)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

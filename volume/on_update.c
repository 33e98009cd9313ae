/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signals are those with which programs are asked to read their files again: HUP by most, USR1
 * and USR2 by some, such as Apache and HAProxy. TERM is for a program that reads its files once: it
 * ends, and the kubelet restarts its container. No others: KILL and STOP cannot be handled, and the
 * rest means something else to a program, or to the kernel.
 */
#include "volume/on_update.h"

#include <ctype.h>
#include <signal.h>

#include "base/words.h"

#define PROCESS_NAME_MAX 15 /* the kernel cuts names there */

static const char *const names[] = {"HUP", "USR1", "USR2", "TERM", NULL};
static const int numbers[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTERM};
static_assert(ELEMENTS_OF(names) == ELEMENTS_OF(numbers) + 1, "each signal has a name");

const char *volume_signal_name(int number)
{
    for (size_t i = 0; i < ELEMENTS_OF(numbers); i++)
        if (numbers[i] == number)
            return names[i];
    return NULL;
}

int volume_signal_number(const char *name)
{
    int found = words_find(names, "signal", name, NULL);

    return found >= 0 ? numbers[found] : 0;
}

static int check_pod(const struct volume_spec *spec, struct error *e)
{
    return spec->is_of_pod ? 0 : error_set(e, -EINVAL, "only in a volume of a pod");
}

int volume_on_update_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    const char *name = str_after(text, "signal:");
    int r = check_pod(spec, e);

    if (r < 0)
        return r;
    if (name == NULL)
        return error_set(e, -EINVAL,
                         "invalid onUpdate \"%.32s\": use signal:HUP, signal:USR1, signal:USR2 or "
                         "signal:TERM",
                         text);
    r = words_find(names, "signal", name, e);
    if (r < 0)
        return r;
    spec->update_signal = numbers[r];
    return 0;
}

static int set_text(const char **text, const char *value, struct error *e)
{
    return volume_text_set(text, value) < 0 ? error_set_errno(e, -ENOMEM, "cannot read the volume")
                                            : 0;
}

int volume_on_update_container_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    int r = check_pod(spec, e);

    if (r < 0)
        return r;
    if (!object_namespace_is_valid(text)) /* both are DNS labels */
        return error_set(e, -EINVAL, "invalid name of a container \"%.64s\"", text);
    return set_text(&spec->update_container, text, e);
}

static bool is_process_name(const char *text)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++)
        if (isgraph((unsigned char)text[i]) == 0)
            return false;
    return len >= 1 && len <= PROCESS_NAME_MAX;
}

int volume_on_update_process_parse(struct volume_spec *spec, const char *text, struct error *e)
{
    int r = check_pod(spec, e);

    if (r < 0)
        return r;
    if (!is_process_name(text))
        return error_set(e, -EINVAL,
                         "invalid name of a process \"%.32s\": use 1 to 15 printable characters, "
                         "as `ps -o comm` shows it",
                         text);
    return set_text(&spec->update_process, text, e);
}

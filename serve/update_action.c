/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/update_action.h"

#include <string.h>

#include "base/command.h"
#include "base/util.h"
#include "base/words.h"

#define SERVICE_NAME_MAX 255u /* systemd's own limit */

const char *const update_action_words[] = {"reload-unit:", "exec:", NULL};

/* Source: systemd.unit(5); only services have ExecReload=. */
static bool is_service_name(const char *name)
{
    static const char suffix[] = ".service";
    size_t len = strlen(name), end = strlen(suffix);

    return len > end && len <= SERVICE_NAME_MAX && streq(name + len - end, suffix) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@") ==
               len;
}

/* With a question if the word before the name is near to a known one. Return: -EINVAL with @e. */
static int invalid(const char *text, struct error *e)
{
    size_t name = strcspn(text, ":");
    struct nearest nearest = NEAREST_INIT(text, name + (text[name] == ':' ? 1 : 0));

    error_set(e, -EINVAL,
              "invalid onUpdate \"%.64s\": use reload-unit:NAME.service, or exec:NAME "
              "with a command of the administrator",
              text);
    for (size_t i = 0; update_action_words[i] != NULL; i++) {
        if (str_after(text, update_action_words[i]) != NULL)
            return -EINVAL;
        nearest_offer(&nearest, update_action_words[i], strlen(update_action_words[i]));
    }
    return words_hint(&nearest, "", e, -EINVAL);
}

int update_action_parse(const char *text, struct update_action *ret_action, struct error *e)
{
    struct update_action action = {.unit = str_after(text, "reload-unit:"),
                                   .command = str_after(text, "exec:")};

    if ((action.unit == NULL || !is_service_name(action.unit)) &&
        (action.command == NULL || !command_name_is_valid(action.command)))
        return invalid(text, e);
    *ret_action = action;
    return 0;
}

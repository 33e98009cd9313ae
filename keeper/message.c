/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/message.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define WATCHDOG_MAX SPAN_SEC(31536000) /* a year: the sum with any time fits */

bool keeper_name_is_valid(const char *name)
{
    size_t len = 0;

    for (; name[len] != '\0'; len++)
        if (len == KEEPER_NAME_MAX || name[len] < ' ' || name[len] > '~' || name[len] == ':')
            return false;
    return true;
}

/* ---- one function for each key: false for an invalid value */

static bool set_flag(bool *flag, const char *value)
{
    *flag = *flag || streq(value, "1");
    return true;
}

static bool on_ready(struct keeper_message *m, const char *value)
{
    return set_flag(&m->is_ready, value);
}

static bool on_stopping(struct keeper_message *m, const char *value)
{
    return set_flag(&m->is_stopping, value);
}

static bool on_store(struct keeper_message *m, const char *value)
{
    return set_flag(&m->stores, value);
}

static bool on_remove(struct keeper_message *m, const char *value)
{
    return set_flag(&m->removes, value);
}

static bool on_barrier(struct keeper_message *m, const char *value)
{
    return set_flag(&m->is_barrier, value);
}

static bool on_hand_over(struct keeper_message *m, const char *value)
{
    return set_flag(&m->hands_over, value);
}

static bool on_poll(struct keeper_message *m, const char *value)
{
    if (streq(value, "0"))
        m->is_polled = false;
    return true;
}

static bool on_watchdog(struct keeper_message *m, const char *value)
{
    if (streq(value, "trigger"))
        m->is_hung = true;
    else if (streq(value, "1"))
        m->is_alive = true;
    else
        return false;
    return true;
}

static bool on_name(struct keeper_message *m, const char *value)
{
    if (m->has_name)
        return true;
    if (!keeper_name_is_valid(value))
        return false;
    m->has_name = true;
    memcpy(m->name, value, strlen(value) + 1);
    return true;
}

/* Return: the number; 0 if @value is not one from 1 to @max. */
static unsigned long long parse_number(const char *value, unsigned long long max)
{
    char *end;
    unsigned long long number;

    if (value[0] < '0' || value[0] > '9')
        return 0;
    errno = 0;
    number = strtoull(value, &end, 10);
    return errno != 0 || *end != '\0' || number > max ? 0 : number;
}

static bool on_main_pid(struct keeper_message *m, const char *value)
{
    m->main_pid = (pid_t)parse_number(value, INT_MAX);
    return m->main_pid > 1;
}

static bool on_watchdog_limit(struct keeper_message *m, const char *value)
{
    m->watchdog = parse_number(value, WATCHDOG_MAX);
    return m->watchdog > 0;
}

static bool on_upward(struct keeper_message *m, const char *value)
{
    return true;
}

static const struct field {
    const char *key;
    bool (*set)(struct keeper_message *m, const char *value);
    bool goes_upward;
} fields[] = {
    {"READY=", on_ready, true},
    {"STOPPING=", on_stopping, false}, /* of the child; the keeper says when it stops itself */
    {"RELOADING=", on_upward, true},
    {"MONOTONIC_USEC=", on_upward, true},
    {"STATUS=", on_upward, true},
    {"ERRNO=", on_upward, true},
    {"MAINPID=", on_main_pid, false},
    {"WATCHDOG=", on_watchdog, false},
    {"WATCHDOG_USEC=", on_watchdog_limit, false},
    {"FDSTORE=", on_store, false},
    {"FDSTOREREMOVE=", on_remove, false},
    {"FDNAME=", on_name, false},
    {"FDPOLL=", on_poll, false},
    {"BARRIER=", on_barrier, false},
    {"HANDOVER=", on_hand_over, false},
};

/* There is room for all lines of a message. */
static void add_upward(struct keeper_message *m, const char *line)
{
    size_t len = strlen(m->upward);

    snprintf(m->upward + len, sizeof(m->upward) - len, "%s%s", len > 0 ? "\n" : "", line);
}

static void parse_line(struct keeper_message *m, const char *line)
{
    for (size_t i = 0; i < ELEMENTS_OF(fields); i++) {
        const char *value = str_after(line, fields[i].key);

        if (value == NULL)
            continue;
        if (!fields[i].set(m, value))
            m->invalid_key = fields[i].key;
        else if (fields[i].goes_upward)
            add_upward(m, line);
    }
}

int keeper_message_parse(const char *text, size_t len, struct keeper_message *ret_message)
{
    struct keeper_message *m = ret_message;
    char copy[KEEPER_MESSAGE_MAX + 1], *rest = copy, *line;
    size_t n_lines = 0;

    memset(m, 0, sizeof(*m));
    m->is_polled = true;
    if (len > KEEPER_MESSAGE_MAX)
        return -EMSGSIZE;
    if (memchr(text, '\0', len) != NULL)
        return -EINVAL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    while ((line = strsep(&rest, "\n")) != NULL) {
        n_lines += line[0] != '\0';
        parse_line(m, line);
    }
    return (m->is_barrier || m->hands_over) && n_lines > 1 ? -EINVAL : 0;
}

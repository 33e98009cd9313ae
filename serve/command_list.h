/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The commands that the administrator names, in node.yaml:
 *
 *     commands:
 *     - name: nginx-config
 *       command: [/usr/local/bin/check-nginx, --strict]
 *       timeout: 10s
 *       user: www-data
 *
 * Thread: any one at a time.
 */
#include <cjson/cJSON.h>

#include "base/command.h"

/* A node has a handful of kinds of content. */
#define COMMANDS_MAX          64u
#define COMMAND_ARGUMENTS_MAX 64u
/* A check of a configuration takes milliseconds; one of a large key store, seconds. */
#define COMMAND_TIMEOUT       SPAN_SEC(10)
#define COMMAND_TIMEOUT_MAX   SPAN_SEC(60)

struct command_list {
    struct command *commands;
    size_t n;
};

/*
 * @json: the value of `commands`; borrowed
 * Return: 0; -EINVAL with the path of the field in @e; -ENOMEM. command_list_deinit() is due in
 * both cases.
 */
int command_list_parse(const cJSON *json, struct command_list *ret_list, struct error *e);
/*
 * Add one without arguments, "NAME=PROGRAM". @list: zeroed at first.
 * Return: 0; -EINVAL with @e; -E2BIG; -ENOMEM.
 */
int command_list_add(struct command_list *list, const char *text, struct error *e);
/* All of them run as @user. Return: 0; -EINVAL with @e. */
int command_list_set_user(struct command_list *list, const char *user, struct error *e);
void command_list_deinit(struct command_list *list);

/* Return: borrowed; NULL: there is none of that name. */
const struct command *command_list_find(const struct command_list *list, const char *name);

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/complete.h"

#include <ctype.h>
#include <stdio.h>

#include "base/util.h"
#include "cmd/complete_names.h"
#include "cmd/completion.h"
#include "cmd/status/request.h"
#include "serve/mounts.h"

/* cobra's ShellCompDirective, a set of bits */
enum directive {
    DIRECTIVE_FILES = 0, /* files, too, if no candidate fits */
    DIRECTIVE_NO_SPACE = 2,
    DIRECTIVE_NO_FILES = 4,
    DIRECTIVE_DIRECTORIES = 16,
};

struct candidates {
    const char *word;  /* to be completed */
    size_t prefix_len; /* of it: repeated in front of each candidate */
};

/* Candidates with a line break or a tab in them would be two, or have a description. */
static void offer(const struct candidates *c, const char *text)
{
    const char *begun = c->word + c->prefix_len;

    if (strncmp(text, begun, strlen(begun)) == 0 && strpbrk(text, "\n\t") == NULL)
        printf("%.*s%s\n", (int)c->prefix_len, c->word, text);
}

static void offer_words(const struct candidates *c, const char *const *words)
{
    for (; *words != NULL; words++)
        offer(c, *words);
}

static void offer_options(const struct candidates *c, const struct option *options)
{
    char text[128];

    for (const struct option *o = options; o != NULL && o->name != NULL; o++) {
        snprintf(text, sizeof(text), "--%s%s", o->name, o->has_arg == required_argument ? "=" : "");
        offer(c, text);
    }
}

/* Mount points come from mountinfo: a mount that hangs is offered as well, without a request. */
static bool offer_mount(void *userdata, const char *mountpoint, const struct mount_entry *entry)
{
    offer(userdata, mountpoint);
    return true;
}

/* ---- what the volumes of this host are about */

static void offer_object(const struct candidates *c, enum completion_kind kind, const cJSON *object)
{
    const char *object_kind = json_text(object, "kind"), *name = json_text(object, "name");
    const char *namespace = json_text(object, "namespace");
    char text[1024];

    if (object_kind == NULL || name == NULL || namespace == NULL)
        return;
    snprintf(text, sizeof(text), "%s/%s/%s", object_kind, namespace, name);
    for (char *at = text; *at != '/'; at++)
        *at = (char)tolower((unsigned char)*at);
    offer(c, kind == COMPLETION_OBJECTS ? text : namespace);
}

static void offer_pod(const struct candidates *c, enum completion_kind kind, const char *pod)
{
    char namespace[256];

    snprintf(namespace, sizeof(namespace), "%.*s", (int)strcspn(pod, "/"), pod);
    if (kind != COMPLETION_OBJECTS)
        offer(c, kind == COMPLETION_PODS ? pod : namespace);
}

static void offer_volume(const struct candidates *c, enum completion_kind kind, const cJSON *volume)
{
    const char *pod = json_text(volume, "pod");
    const cJSON *object;

    if (pod != NULL)
        offer_pod(c, kind, pod);
    if (kind == COMPLETION_PODS)
        return;
    offer_object(c, kind, json_member(volume, "object"));
    cJSON_ArrayForEach (object, json_member(volume, "objects")) {
        offer_object(c, kind, object);
    }
}

/* One name may come several times; shells show it once. */
static void offer_volumes(const struct candidates *c, enum completion_kind kind)
{
    _cleanup_(cJSON_Deletep) cJSON *list = NULL;
    const cJSON *volume;

    if (status_request_all(false, &list, NULL) < 0)
        return;
    cJSON_ArrayForEach (volume, json_member(list, "items")) {
        offer_volume(c, kind, volume);
    }
}

/* ---- objects of the source that the line names */

struct stored {
    struct candidates *candidates;
    const char *kind; /* as it was typed: "secret/" */
    size_t kind_len;
};

static void offer_name(void *userdata, const char *name)
{
    const struct stored *s = userdata;
    char text[OBJECT_NAME_MAX + 32];

    snprintf(text, sizeof(text), "%.*s%s", (int)s->kind_len, s->kind, name);
    offer(s->candidates, text);
}

/* An invalid value is the command's to refuse. */
static void set_source_option(void *userdata, int code, const char *value)
{
    struct source_options *from = userdata;
    struct error ignored;

    if (code == SOURCE_OPTION_NAMESPACE ||
        (code >= SOURCE_OPTION_KUBECONFIG && code <= SOURCE_OPTION_MANIFESTS))
        source_options_set(from, code, value, &ignored);
}

static enum directive offer_stored(struct candidates *c, const char *const *words, size_t n)
{
    static const char *const kinds[] = {"secret/", "configmap/", NULL};
    struct stored stored = {.candidates = c, .kind = c->word + c->prefix_len};
    struct source_options from = SOURCE_OPTIONS_INIT;
    enum object_kind kind;
    const char *name = object_kind_parse(stored.kind, &kind);

    if (name == NULL) {
        offer_words(c, kinds);
        return DIRECTIVE_NO_FILES | DIRECTIVE_NO_SPACE;
    }
    stored.kind_len = (size_t)(name - stored.kind);
    completion_visit_options(words, n, set_source_option, &from);
    complete_names(&from, kind, offer_name, &stored);
    source_options_deinit(&from);
    return DIRECTIVE_NO_FILES;
}

/* A key follows the name, which only a read of the object's values would say. */
static enum directive offer_variable(struct candidates *c, const char *const *words, size_t n)
{
    const char *equals = strchr(c->word + c->prefix_len, '=');

    if (equals == NULL)
        return DIRECTIVE_NO_FILES | DIRECTIVE_NO_SPACE;
    c->prefix_len = (size_t)(equals - c->word) + 1;
    return offer_stored(c, words, n) | DIRECTIVE_NO_SPACE;
}

/* ---- the command */

/* @words, @n: of the command line */
static enum directive complete(struct candidates *c, const struct completion *completion,
                               const char *const *words, size_t n)
{
    switch (completion->kind) {
    case COMPLETION_NONE:
        break;
    case COMPLETION_FILES:
        return DIRECTIVE_FILES;
    case COMPLETION_DIRECTORIES:
        return DIRECTIVE_DIRECTORIES;
    case COMPLETION_COMMANDS:
        offer_words(c, completion_commands);
        break;
    case COMPLETION_WORDS:
        offer_words(c, completion->words);
        break;
    case COMPLETION_OPTIONS:
        offer_options(c, completion->options);
        offer_options(c, completion->more_options);
        return DIRECTIVE_NO_FILES | DIRECTIVE_NO_SPACE;
    case COMPLETION_TARGETS:
        mounts_visit(offer_mount, c, NULL);
        return DIRECTIVE_FILES;
    case COMPLETION_PODS:
    case COMPLETION_OBJECTS:
    case COMPLETION_NAMESPACES:
        offer_volumes(c, completion->kind);
        break;
    case COMPLETION_STORED:
        return offer_stored(c, words, n);
    case COMPLETION_VARIABLE:
        return offer_variable(c, words, n);
    }
    return DIRECTIVE_NO_FILES;
}

int command_complete(const struct invocation *invocation, int argc, char *argv[])
{
    static const char *const nothing[] = {""};
    const char *const *words = argc > 1 ? (const char *const *)(void *)&argv[1] : nothing;
    size_t n = argc > 1 ? (size_t)argc - 1 : 1;
    const struct completion completion = completion_find(words, n);
    struct candidates candidates = {.word = words[n - 1], .prefix_len = completion.prefix_len};

    printf(":%d\n", (int)complete(&candidates, &completion, words, n));
    return EXIT_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     selector    = requirement *("," requirement)
 *     requirement = key | "!" key | key ("=" | "==" | "!=") value | key ("in" | "notin") values
 *     values      = "(" value *("," value) ")"        a value may be empty
 *
 * Space between tokens does not matter. A token is one of ( ) , = == != !, or a word, which ends at
 * one of these characters or at space. `in` and `notin` are operators behind a key, and else words.
 *
 * A selector is parsed each time that it is matched: it is short, and there is no form of it to be
 * kept, copied and freed. All labels have to meet each requirement. One that excludes (`!`, `!=`,
 * `notin`) is met without the label, too, as in Kubernetes.
 */
#include "cache/pod_selector.h"

#include "encoding/label.h"

#define SPACE     " \t\r\n"
#define SPECIAL   "=!(),<>"
/* Of a word in a message. */
#define SHOWN_MAX 64u

/* A part of the selector. */
struct token {
    const char *at;
    size_t len; /* 0: the end */
};

struct parser {
    const char *at;
    const char *labels; /* NULL: check alone */
    struct error *e;    /* or NULL */
    bool matches;       /* all requirements so far */
};

/* ---- tokens */

static struct token peek(struct parser *p)
{
    struct token t;

    p->at += strspn(p->at, SPACE);
    t.at = p->at;
    t.len = strcspn(p->at, SPACE SPECIAL);
    if (t.len == 0 && *t.at != '\0')
        t.len = (t.at[0] == '=' || t.at[0] == '!') && t.at[1] == '=' ? 2 : 1;
    return t;
}

static struct token next(struct parser *p)
{
    struct token t = peek(p);

    p->at += t.len;
    return t;
}

static bool is(struct token t, const char *text)
{
    return t.len == strlen(text) && memcmp(t.at, text, t.len) == 0;
}

static bool is_word(struct token t)
{
    return t.len > 0 && strchr(SPECIAL, t.at[0]) == NULL;
}

static bool accept(struct parser *p, const char *text)
{
    struct token t = peek(p);

    if (!is(t, text))
        return false;
    p->at += t.len;
    return true;
}

static int unexpected(const struct parser *p, struct token t, const char *expected)
{
    if (t.len == 0)
        return error_set(p->e, -EINVAL, "it ends where %s is expected", expected);
    return error_set(p->e, -EINVAL, "\"%.*s\" stands where %s is expected",
                     (int)(t.len < SHOWN_MAX ? t.len : SHOWN_MAX), t.at, expected);
}

/* ---- requirements */

/* Return: the value of the label; NULL: the pod has no label of this name. */
static const char *find_label(const char *labels, struct token key)
{
    for (const char *at = labels; at != NULL && at[0] != '\0';) {
        const char *value = at + strlen(at) + 1;

        if (is(key, at))
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

/* One value, which may be empty. @found: set if it is @value */
static int parse_value(struct parser *p, const char *value, bool *found)
{
    struct token t = {.at = p->at, .len = 0};

    if (is_word(peek(p)))
        t = next(p);
    if (!label_value_is_valid(t.at, t.len))
        return unexpected(p, t, "a label's value");
    *found = *found || (value != NULL && is(t, value));
    return 0;
}

static int parse_values(struct parser *p, const char *value, bool *found)
{
    unsigned n = 0;
    int r;

    if (!accept(p, "("))
        return unexpected(p, peek(p), "( of a list of values");
    do {
        if (++n > POD_SELECTOR_MAX_VALUES)
            return error_set(p->e, -E2BIG, "a requirement has more than %u values",
                             POD_SELECTOR_MAX_VALUES);
        r = parse_value(p, value, found);
        if (r < 0)
            return r;
    } while (accept(p, ","));
    return accept(p, ")") ? 0 : unexpected(p, peek(p), "a comma or ) of a list of values");
}

static int parse_requirement(struct parser *p)
{
    bool excludes = accept(p, "!"), found = false;
    struct token key = next(p), operator;
    const char *value;
    int r = 0;

    if (!is_word(key) || !label_key_is_valid(key.at, key.len))
        return unexpected(p, key, "a label's key");
    value = find_label(p->labels, key);
    operator= peek(p);
    if (excludes || operator.len == 0 || is(operator, ",")) {
        found = value != NULL;
    } else {
        next(p);
        excludes = is(operator, "!=") || is(operator, "notin");
        if (is(operator, "=") || is(operator, "==") || is(operator, "!="))
            r = parse_value(p, value, &found);
        else if (is(operator, "in") || is(operator, "notin"))
            r = parse_values(p, value, &found);
        else
            return unexpected(p, operator, "=, !=, in, notin or a comma");
    }
    p->matches = p->matches && found != excludes;
    return r;
}

static int parse(struct parser *p)
{
    unsigned n = 0;
    int r;

    do {
        if (++n > POD_SELECTOR_MAX_REQUIREMENTS)
            return error_set(p->e, -E2BIG, "it has more than %u requirements",
                             POD_SELECTOR_MAX_REQUIREMENTS);
        r = parse_requirement(p);
        if (r < 0)
            return r;
    } while (accept(p, ","));
    return peek(p).len == 0 ? 0 : unexpected(p, peek(p), "a comma");
}

int pod_selector_check(const char *selector, struct error *e)
{
    struct parser p = {.at = selector, .e = e};

    if (strlen(selector) > POD_SELECTOR_MAX_LEN)
        return error_set(e, -E2BIG, "it has more than %u bytes", POD_SELECTOR_MAX_LEN);
    return parse(&p);
}

bool pod_selector_matches(const char *selector, const char *labels)
{
    struct parser p = {.at = selector, .labels = labels, .matches = true};

    return parse(&p) == 0 && p.matches;
}

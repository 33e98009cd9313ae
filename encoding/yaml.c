/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text is divided at its "---" lines and each part is parsed for itself: libyaml cannot
 * continue after an error, and an invalid document must not affect the others. YAML ends a document
 * at such a line in quotes and block scalars, too, so this never divides a document.
 *
 * A part that begins like JSON is first parsed as JSON, which may contain tabs and surrogate pairs.
 * What is YAML becomes cJSON values in yaml_builder.c.
 */
#include "encoding/yaml.h"

#include <stdlib.h>

#include <yaml.h>

#include "encoding/utf8.h"
#include "encoding/yaml_builder.h"
#include "encoding/yaml_quotes.h"

/* ---- parts of a stream */

/* What differs between the functions of yaml.h. */
enum yaml_mode {
    MODE_VERBATIM, /* a last line without a newline stays as it is */
    MODE_ONE,      /* it gets one */
    MODE_OBJECTS,  /* the same, and strings may have NULs, as JSON_NUL */
};

/* A part of the stream between two "---" lines. */
struct part {
    const char *text;
    size_t len;
    size_t lines_before;
    enum yaml_mode mode;
};

static size_t count_lines(const char *text, size_t len)
{
    size_t n = 0;

    for (const char *p = text; (p = memchr(p, '\n', len - (size_t)(p - text))) != NULL; p++)
        n++;
    return n;
}

/* ---- parts that are YAML */

/* A part that is being parsed as YAML. */
struct yaml_parse {
    const struct part *part;
    yaml_parser_t *parser;
    struct yaml_builder *builder;
    struct error e; /* of the builder */
};

static int syntax_error(struct yaml_parse *p)
{
    const yaml_parser_t *parser = p->parser;
    yaml_mark_t mark = parser->problem_mark;
    const char *problem = parser->problem != NULL ? parser->problem : "invalid YAML";

    if (parser->error == YAML_MEMORY_ERROR)
        return error_set_errno(&p->e, -ENOMEM, "cannot parse the document");
    /* a forbidden character: libyaml reports its offset only */
    if (parser->error == YAML_READER_ERROR)
        mark = (yaml_mark_t){
            .line = count_lines(p->part->text, size_min(parser->problem_offset, p->part->len))};
    if (parser->context != NULL)
        error_set(&p->e, -EINVAL, "%s, %s", parser->context, problem);
    else
        error_set(&p->e, -EINVAL, "%s", problem);
    return error_prefix(&p->e, -EINVAL, "line %zu, column %zu",
                        p->part->lines_before + mark.line + 1, mark.column + 1);
}

/* Return: 0; -errno with the builder's error. */
static int parse_event(struct yaml_parse *p, yaml_event_type_t *ret_type)
{
    yaml_event_t event;
    int r;

    if (!yaml_parser_parse(p->parser, &event))
        return syntax_error(p);
    *ret_type = event.type;
    r = yaml_builder_add(p->builder, &event);
    yaml_event_delete(&event);
    return r;
}

static int report_document(const struct yaml_parse *p, yaml_document_fn *found, void *userdata)
{
    struct yaml_document document = {.line = yaml_builder_line(p->builder),
                                     .text = p->part->text,
                                     .len = p->part->len,
                                     .text_line = p->part->lines_before + 1};
    int r = 0;

    document.json = yaml_builder_take(p->builder);
    if (document.json != NULL && !cJSON_IsNull(document.json))
        r = found(userdata, &document);
    cJSON_Delete(document.json);
    return r;
}

static int report_invalid(const struct yaml_parse *p, int result, yaml_document_fn *found,
                          void *userdata)
{
    size_t line = yaml_builder_line(p->builder);
    struct yaml_document invalid = {
        .line = line > 0 ? line : p->part->lines_before + 1, .result = result, .error = p->e};

    return found(userdata, &invalid);
}

/* Return: as yaml_parse_documents(). */
static int report_all(struct yaml_parse *p, yaml_document_fn *found, void *userdata)
{
    for (;;) {
        yaml_event_type_t type = YAML_NO_EVENT;
        int r = parse_event(p, &type);

        if (r < 0)
            return report_invalid(p, r, found, userdata);
        if (type == YAML_DOCUMENT_END_EVENT)
            r = report_document(p, found, userdata);
        if (r != 0 || type == YAML_STREAM_END_EVENT)
            return r;
    }
}

/* The text of a part; a last line without a newline gets one if the stream has that. */
struct input {
    const char *at;
    size_t left;
    bool lacks_newline;
};

static int read_input(void *userdata, unsigned char *buffer, size_t size, size_t *ret_n)
{
    struct input *in = userdata;
    size_t n = size_min(size, in->left);

    memcpy(buffer, in->at, n);
    in->at += n;
    in->left -= n;
    if (n < size && in->lacks_newline) {
        buffer[n++] = '\n';
        in->lacks_newline = false;
    }
    *ret_n = n;
    return 1;
}

static int parse_yaml(const struct part *part, yaml_document_fn *found, void *userdata)
{
    yaml_parser_t parser;
    struct yaml_parse p = {.part = part, .parser = &parser, .e = ERROR_INIT};
    struct input input = {.at = part->text, .left = part->len};
    _cleanup_(freep) char *accepted = NULL;
    _cleanup_(yaml_builder_freep) struct yaml_builder *builder =
        yaml_builder_new(part->lines_before, part->mode == MODE_OBJECTS, &p.e);
    int r;

    if (builder == NULL || yaml_quotes_accept(part->text, part->len, &accepted, &input.left) < 0 ||
        !yaml_parser_initialize(&parser))
        return -ENOMEM;
    p.builder = builder;
    if (accepted != NULL)
        input.at = accepted;
    input.lacks_newline =
        part->mode != MODE_VERBATIM && input.left > 0 && input.at[input.left - 1] != '\n';
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input(&parser, read_input, &input);
    r = report_all(&p, found, userdata);
    yaml_parser_delete(&parser);
    return r;
}

/* ---- parts that are JSON */

static int report_json(struct yaml_document *document, yaml_document_fn *found, void *userdata)
{
    int r;

    document->result = json_check_members(document->json, YAML_MAX_DEPTH, &document->error);
    if (document->result < 0) {
        error_prefix(&document->error, 0, "line %zu", document->line);
        cJSON_Delete(TAKE(document->json));
    }
    r = found(userdata, document);
    cJSON_Delete(document->json);
    return r;
}

/* What follows @at on its line, if it is not blank, or else the next line. */
static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && strchr(" \t\r", *at) != NULL)
        at++;
    return at < end && *at == '\n' ? at + 1 : at;
}

static bool is_blank(const char *at, const char *end)
{
    while (at < end && strchr(" \t\r\n", *at) != NULL)
        at++;
    return at == end;
}

/* What follows it is not read: its end is not known. */
static int report_too_much(size_t line, yaml_document_fn *found, void *userdata)
{
    struct yaml_document bad = {.line = line, .result = -EINVAL, .error = ERROR_INIT};

    error_set(&bad.error, -EINVAL, "line %zu: the document has more than %u values: divide it",
              line, YAML_MAX_VALUES);
    return found(userdata, &bad);
}

static int report_bad_stream(size_t line, yaml_document_fn *found, void *userdata)
{
    struct yaml_document bad = {.line = line, .result = -EINVAL, .error = ERROR_INIT};

    error_set(&bad.error, -EINVAL, "line %zu: invalid JSON after a document of JSON", line);
    return found(userdata, &bad);
}

/*
 * A stream of JSON has its values one after the other, also on one line. As in Kubernetes, what
 * follows the first one may be YAML instead.
 * Return: 1 if the part is not JSON; otherwise as yaml_parse_documents().
 */
#define NOT_JSON 1
static int parse_json(const struct part *part, const char *from, yaml_document_fn *found,
                      void *userdata)
{
    const char *at = from, *end = part->text + part->len;
    size_t lines = part->lines_before + count_lines(part->text, (size_t)(from - part->text));
    size_t n = 0;

    while (n == 0 || !is_blank(at, end)) {
        struct yaml_document document = {.error = ERROR_INIT};
        const char *next = at;
        int r;

        while (next < end && strchr(" \t\r\n", *next) != NULL)
            next++;
        document.line = lines + count_lines(at, (size_t)(next - at)) + 1;
        document.text = next;
        document.text_line = document.line;
        r = json_parse_prefix(next, (size_t)(end - next), part->mode == MODE_OBJECTS,
                              &document.json, &next, NULL);
        if (r == -ENOMEM)
            return r;
        if (r == -E2BIG)
            return report_too_much(document.line, found, userdata);
        if (r < 0 && n == 0)
            return NOT_JSON;
        if (r < 0 && n > 1)
            return report_bad_stream(document.line, found, userdata);
        if (r < 0) {
            struct part rest = *part;

            rest.text = at;
            rest.len = (size_t)(end - at);
            rest.lines_before = lines;
            return parse_yaml(&rest, found, userdata);
        }
        document.len = (size_t)(next - document.text);
        r = report_json(&document, found, userdata);
        if (r != 0)
            return r;
        next = skip_blanks(next, end);
        lines += count_lines(at, (size_t)(next - at));
        at = next;
        n++;
    }
    return 0;
}

/* ---- the stream */

static bool is_separator(const char *line, const char *end)
{
    return end - line >= 3 && memcmp(line, "---", 3) == 0 &&
           (end - line == 3 || strchr(" \t\r\n", line[3]) != NULL);
}

/* Blank, a comment, or a directive such as %YAML, which belongs to the document that follows. */
static bool is_preamble(const char *line, const char *end)
{
    if (line < end && *line == '%')
        return true;
    while (line < end && strchr(" \t\r\n", *line) != NULL)
        line++;
    return line == end || *line == '#';
}

/* Return: the end of the part that begins at @text: the next separator after content. */
static const char *part_end(const char *text, const char *end)
{
    bool has_content = false;

    for (const char *line = text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *next = newline != NULL ? newline + 1 : end;

        if (has_content && is_separator(line, end))
            return line;
        has_content = has_content || !is_preamble(line, next);
        line = next;
    }
    return end;
}

/*
 * A byte order mark behind a "---" line, as in files that were put together: libyaml would count it
 * as a column. What stands above it has no content.
 */
static void skip_mark(struct part *part)
{
    const char *end = part->text + part->len;

    for (const char *line = part->text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *next = newline != NULL ? newline + 1 : end;

        if (end - line >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
            part->lines_before += count_lines(part->text, (size_t)(line - part->text));
            part->text = line + 3;
            part->len = (size_t)(end - part->text);
            return;
        }
        if (!is_preamble(line, next) && !(is_separator(line, end) && is_preamble(line + 3, next)))
            return;
        line = next;
    }
}

static int parse_part(const struct part *part, yaml_document_fn *found, void *userdata)
{
    const char *p = part->text, *end = part->text + part->len;
    int r = NOT_JSON;

    if (is_separator(p, end))
        p += 3;
    while (p < end && strchr(" \t\r\n", *p) != NULL)
        p++;
    if (p < end && (*p == '{' || *p == '['))
        r = parse_json(part, p, found, userdata);
    return r == NOT_JSON ? parse_yaml(part, found, userdata) : r;
}

static int check_text(const char *text, size_t len, struct error *e)
{
    size_t line = 1;

    if (len > YAML_MAX_BYTES)
        return error_set(e, -EINVAL, "the text of %zu bytes is larger than the limit of %u", len,
                         YAML_MAX_BYTES);
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_length(text + i, len - i);
        if (n == 0)
            return error_set(
                e, -EINVAL,
                "line %zu: the text is not UTF-8: save it as UTF-8, and use base64 for "
                "binary values",
                line);
        if (text[i] == '\0')
            return error_set(
                e, -EINVAL, "line %zu: the text contains a NUL byte: it is not YAML or JSON", line);
        line += text[i] == '\n';
    }
    return 0;
}

static int parse_documents(const char *text, size_t len, enum yaml_mode mode,
                           yaml_document_fn *found, void *userdata, struct error *e)
{
    const char *end = text + len;
    size_t lines_before = 0;
    int r = check_text(text, len, e);

    if (r < 0)
        return r;
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3; /* a byte order mark, as some editors write it */
    while (text < end) {
        struct part part = {.text = text, .lines_before = lines_before, .mode = mode};
        const char *next = part_end(text, end);

        part.len = (size_t)(next - text);
        skip_mark(&part);
        r = parse_part(&part, found, userdata);
        if (r != 0)
            return r;
        lines_before += count_lines(text, (size_t)(next - text));
        text = next;
    }
    return 0;
}

int yaml_parse_documents(const char *text, size_t len, yaml_document_fn *found, void *userdata,
                         struct error *e)
{
    return parse_documents(text, len, MODE_OBJECTS, found, userdata, e);
}

/* ---- a single document */

struct one {
    cJSON *json;
    struct error *e;
};

static int on_one(void *userdata, struct yaml_document *document)
{
    struct one *one = userdata;

    if (document->result < 0)
        return error_set(one->e, document->result, "%s", document->error.text);
    if (one->json != NULL)
        return error_set(one->e, -EINVAL,
                         "line %zu: unexpected second document: remove one of the two",
                         document->line);
    one->json = TAKE(document->json);
    return 0;
}

static int parse_one(const char *text, size_t len, enum yaml_mode mode, cJSON **ret_json,
                     struct error *e)
{
    struct one one = {.e = e};
    int r = parse_documents(text, len, mode, on_one, &one, e);

    if (r >= 0 && one.json == NULL) {
        one.json = cJSON_CreateNull();
        r = one.json != NULL ? 0 : -ENOMEM;
    }
    if (r < 0) {
        cJSON_Delete(one.json);
        return r;
    }
    *ret_json = one.json;
    return 0;
}

int yaml_parse_one(const char *text, size_t len, cJSON **ret_json, struct error *e)
{
    return parse_one(text, len, MODE_ONE, ret_json, e);
}

int yaml_parse_verbatim(const char *text, size_t len, cJSON **ret_json, struct error *e)
{
    return parse_one(text, len, MODE_VERBATIM, ret_json, e);
}

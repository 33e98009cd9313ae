/* SPDX-License-Identifier: Apache-2.0 */
/*
 * go-yaml takes \' in double quotes for ', and libyaml refuses it. Only a scan tells which \' is in
 * double quotes, and it ends there; so each such string costs one.
 */
#include "encoding/yaml_quotes.h"

#include <stdlib.h>

#include <yaml.h>

#include "base/cleanup.h"

/*
 * The bytes that may be scanned and moved because of \'. Each string that has one costs the length
 * of the text; a manifest of 100 KiB may have 300 of them.
 */
#define RESCAN_MAX_BYTES (32u << 20)

/* Scan up to an error. Return: the byte offset of \' in a double-quoted scalar, SIZE_MAX if the
 * error is another one, or none. */
static size_t find_refused_quote(const char *text, size_t len)
{
    yaml_parser_t parser;
    yaml_token_t token;
    bool is_end = false;
    size_t at;

    if (!yaml_parser_initialize(&parser))
        return SIZE_MAX;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    while (!is_end && yaml_parser_scan(&parser, &token)) {
        is_end = token.type == YAML_STREAM_END_TOKEN;
        yaml_token_delete(&token);
    }
    /* what was read, less what waits in the buffer, is what was consumed; at the end of the text
     * the buffer has a NUL more */
    at = parser.offset + (parser.eof != 0) - (size_t)(parser.buffer.last - parser.buffer.pointer);
    if (is_end || parser.error != YAML_SCANNER_ERROR || at + 1 >= len || text[at] != '\\' ||
        text[at + 1] != '\'')
        at = SIZE_MAX;
    yaml_parser_delete(&parser);
    return at;
}

/* Remove the backslash of each \' up to the end of the scalar. Return: the new length. */
static size_t remove_refused(char *text, size_t len, size_t at)
{
    size_t to = at, from = at;

    while (from < len && text[from] != '"') {
        if (text[from] == '\\' && from + 1 < len) {
            if (text[from + 1] != '\'')
                text[to++] = text[from];
            from++;
        }
        text[to++] = text[from++];
    }
    memmove(text + to, text + from, len - from);
    return to + len - from;
}

int yaml_quotes_accept(const char *text, size_t len, char **ret_text, size_t *ret_len)
{
    _cleanup_(freep) char *copy = NULL;
    size_t scanned = 0, at;

    if (memmem(text, len, "\\'", 2) == NULL)
        return 0;
    copy = malloc(len);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, text, len);
    while (scanned <= RESCAN_MAX_BYTES && (at = find_refused_quote(copy, len)) != SIZE_MAX) {
        scanned += len;
        len = remove_refused(copy, len, at);
    }
    *ret_text = TAKE(copy);
    *ret_len = len;
    return 0;
}

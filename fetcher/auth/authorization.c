/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/auth/authorization.h"

#include "base/buf.h"
#include "encoding/base64.h"

#define AUTHORIZATION_MAX_BYTES (2u << 20) /* from a file of 1 MiB, as base64 */

int authorization_bearer(const char *token, char **ret_authorization, struct error *e)
{
    static const char space[] = " \t\r\n\v\f";
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(AUTHORIZATION_MAX_BYTES);
    const char *start = token + strspn(token, space);
    size_t len = strlen(start);
    int r;

    while (len > 0 && strchr(space, start[len - 1]) != NULL)
        len--;
    if (len == 0)
        return error_set(e, -EINVAL, "the token is empty");
    for (size_t i = 0; i < len; i++)
        if (start[i] <= ' ' || start[i] > '~')
            return error_set(e, -EINVAL,
                             "the token has characters that are not allowed in a header");
    r = buf_add_text(&text, "Bearer ");
    if (r >= 0)
        r = buf_add(&text, start, len);
    if (r < 0)
        return error_set_errno(e, r, "cannot use the token");
    *ret_authorization = TAKE(text.data);
    return 0;
}

int authorization_basic(const char *username, const char *password, char **ret_authorization,
                        struct error *e)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(AUTHORIZATION_MAX_BYTES);
    _cleanup_(buf_deinit) struct buf header = BUF_INIT(AUTHORIZATION_MAX_BYTES);
    _cleanup_(freep) char *encoded = NULL;
    int r = buf_addf(&text, "%s:%s", username, password);

    if (r >= 0) {
        encoded = base64_encode_text(buf_text(&text));
        r = encoded != NULL ? buf_addf(&header, "Basic %s", encoded) : -ENOMEM;
    }
    if (r < 0)
        return error_set_errno(e, r, "cannot use the username and password");
    *ret_authorization = TAKE(header.data);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/status/screen.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/util.h"

/* ECMA-48 */
#define CURSOR_HOME "\033[H"
#define ERASE_LINE  "\033[K" /* from the cursor to its end */
#define ERASE_BELOW "\033[J"

bool screen_takes_colours(int fd)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(fd) && (no_color == NULL || no_color[0] == '\0') &&
           (term == NULL || !streq(term, "dumb"));
}

unsigned screen_lines(int fd)
{
    struct winsize size = {0};

    return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}

static size_t count_lines(const char *text)
{
    size_t n = 0;

    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

int screen_redraw(const char *table, unsigned n_lines, struct buf *text)
{
    size_t total = count_lines(table), n_shown = total;
    int r = buf_add_text(text, CURSOR_HOME);

    /* the cursor stays in the last line of the terminal, or it would scroll */
    if (n_lines > 2 && total > n_lines - 1)
        n_shown = n_lines - 2;
    for (size_t i = 0; i < n_shown && r >= 0; i++) {
        size_t len = strcspn(table, "\n");

        r = buf_add(text, table, len);
        if (r >= 0)
            r = buf_add_text(text, ERASE_LINE "\n");
        table += len + 1;
    }
    if (r >= 0 && n_shown < total)
        r = buf_addf(text, "(%zu more)" ERASE_LINE "\n", total - n_shown);
    return r < 0 ? r : buf_add_text(text, ERASE_BELOW);
}

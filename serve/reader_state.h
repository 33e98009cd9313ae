/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The state of a volume for its readers: the content that they get, compared with what the source
 * has, as far as that is known.
 *
 * Thread: any.
 */
#include <stdbool.h>

enum reader_state {
    READER_WAITING,      /* readers get nothing yet */
    READER_CURRENT,      /* what the source has */
    READER_DISCONNECTED, /* what the source had when it was reached last */
    READER_FAILING,      /* older content, since publishing the newest one fails; it is retried */
    READER_HELD,         /* older content, since `tls: hold` or `check` keeps the newest one back */
    READER_STALE,        /* older content, since the newest one is incomplete or invalid */
};
#define READER_STATES (READER_STALE + 1)

struct reader_facts {
    bool is_shown;      /* readers get content */
    bool publish_fails; /* the last publish failed */
    bool is_held;       /* an object is kept back by `tls: hold` */
    bool is_stale;      /* the objects make no payload; readers keep an older one */
    bool source_fails;  /* a source of the volume cannot be reached, or refuses */
};

/* What is certain precedes what is unknown: older content is reported also without a source. */
enum reader_state reader_state(const struct reader_facts *facts);

/* "current". Return: a constant. */
const char *reader_state_name(enum reader_state state);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Whether all consumers of an object have opened its newest version, by the status of the volumes
 * that show it. Pure.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "cmd/status/filter.h"
#include "encoding/json.h"

enum rollout_state {
    ROLLOUT_DONE,    /* each consumer has the newest version, and no process holds an older one */
    ROLLOUT_WAITING, /* not yet; the lines say what for */
    ROLLOUT_UNSEEN,  /* opens were missed or are not noted: it cannot be shown by waiting */
};

struct rollout_verdict {
    enum rollout_state state;
    size_t n_volumes; /* that show the object */
    size_t n_consumers;
    size_t n_current; /* of them */
    size_t n_waiting; /* of the pods of a cluster */
};

/* Strings are borrowed. */
struct rollout_query {
    /* the volumes that it matches count, and of projected ones the objects that it matches */
    struct status_filter object;
    const char *resource_version; /* that volumes have to show; NULL: the newest that they know */
};

/*
 * Judge the volumes that show an object.
 * @list: as of status_request_all()
 * @now: wall clock, for ages
 * @lines: a line for each consumer, below a header, is appended; nothing if there is none
 * @reasons: a line for each reason why the state is not ROLLOUT_DONE is appended
 * Return: 0; -ENOMEM; -EFBIG at a buffer's limit.
 */
int rollout_judge(const cJSON *list, const struct rollout_query *query, struct timespec now,
                  struct rollout_verdict *ret_verdict, struct buf *lines, struct buf *reasons);

/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/publish_trace.h"

#include <stdio.h>

#include "base/log.h"

bool publish_trace_add(struct publish_trace *trace, const struct publish_trace_line *line,
                       const char *volume)
{
    struct publish_trace_line *copy;

    if (!log_trace_is_on(LOG_TRACE_PUBLISHER))
        return false;
    if (trace->n == PUBLISH_TRACE_MAX) {
        trace->n_dropped++;
        return true;
    }
    copy = &trace->lines[trace->n++];
    *copy = *line;
    snprintf(copy->volume, sizeof(copy->volume), "%s", volume != NULL ? volume : "");
    return true;
}

void publish_trace_write(struct publish_trace *trace)
{
    for (size_t i = 0; i < trace->n; i++) {
        const struct publish_trace_line *line = &trace->lines[i];

        log_trace(LOG_TRACE_PUBLISHER, line->message, "action", line->action, "volume",
                  line->volume[0] != '\0' ? line->volume : NULL, "generation",
                  line->generation[0] != '\0' ? line->generation : NULL, "error",
                  line->error < 0 ? strerror(-line->error) : NULL);
    }
    if (trace->n_dropped > 0)
        log_trace(LOG_TRACE_PUBLISHER, "steps not traced", "number", LOG_NUM(trace->n_dropped));
    trace->n = trace->n_dropped = 0;
}

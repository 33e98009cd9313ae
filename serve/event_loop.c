/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/event_loop.h"

#define STACK_USED_BYTES (64 * 1024) /* libcurl has buffers of 16 KiB there */

/*
 * Libraries leave pieces of what they decrypted and parsed on the stack, where the next call that
 * goes as deep may overwrite them or not. When the loop has nothing better to do, it does so.
 */
static int on_turn_over(sd_event_source *source, void *userdata)
{
    unsigned char left_behind[STACK_USED_BYTES];

    explicit_bzero(left_behind, sizeof(left_behind));
    return 0;
}

static int wipe_stack_after_turns(sd_event *event)
{
    sd_event_source *source;
    int r = sd_event_add_post(event, &source, on_turn_over, NULL);

    if (r < 0)
        return r;
    sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IDLE);
    sd_event_source_set_floating(source, true);
    sd_event_source_unref(source);
    return 0;
}

int event_loop_new(const sigset_t *taken, sd_event **ret_event, struct error *e)
{
    sigset_t blocked = *taken;
    sd_event *event = NULL;
    int r;

    signal(SIGPIPE, SIG_IGN);
    sigaddset(&blocked, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    r = sd_event_new(&event);
    if (r >= 0)
        r = wipe_stack_after_turns(event);
    if (r < 0) {
        sd_event_unref(event);
        return error_set_errno(e, r, "cannot set the event loop up");
    }
    *ret_event = event;
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Notifies the consumers of volumes of updates: has systemd reload a unit, runs a command of the
 * administrator, or has its owner do it. See update_notifier.c.
 *
 * Thread: the event loop's.
 */
#include "serve/published.h"
#include "serve/unit_reloads.h"
#include "serve/update_action.h"
#include "serve/update_pace.h"

struct update_notifier;

/* Of one volume, which embeds it. The first members are the volume's to set; borrowed. */
struct update_notice {
    const struct published *published;
    const char *target;
    struct update_action action; /* neither: the owner's send() */

    struct update_notifier *notifier; /* from the first call on */
    struct update_pace pace;
    sd_event_source *timer;     /* while an update waits for its second; or NULL */
    struct unit_reload *reload; /* that systemd has not ended; or NULL */
    struct commands_run *run;   /* that runs; or NULL */
    uint64_t notifying;         /* the update that consumers are notified of */
    struct kept_error error;    /* why they were not notified of the last one; or empty */
};

struct update_notifier_callbacks {
    /*
     * Notify in another way; update_notifier_ended() follows, not from within this call. NULL: each
     * notice has an action. Return: 0; -errno with @e: it has ended.
     */
    int (*send)(void *userdata, struct update_notice *notice, struct error *e);
    /* shown_update() of the volume. */
    uint64_t (*shown)(void *userdata, struct update_notice *notice);
    /* Consumers have been notified of @update, and of those before, with success or not. */
    void (*notified)(void *userdata, struct update_notice *notice, uint64_t update);
    /* notice->error may have changed. NULL: ignored. */
    void (*ended)(void *userdata, struct update_notice *notice);
};

/*
 * @bus: where units are reloaded; a constant
 * @commands: borrowed; NULL: none
 * @callbacks: outlive the notifier
 * Return: 0, *ret_notifier is the caller's; -ENOMEM.
 */
int update_notifier_new(sd_event *event, const struct unit_bus *bus, struct commands *commands,
                        const struct update_notifier_callbacks *callbacks, void *userdata,
                        struct update_notifier **ret_notifier);
/* Waits for reloads as unit_reloads_free() does, and calls notified(). NULL is fine. Return: NULL.
 */
struct update_notifier *update_notifier_free(struct update_notifier *notifier);
DEFINE_CLEANUP(struct update_notifier *, update_notifier_free)

/* Readers of the volume see another payload. */
void update_notifier_updated(struct update_notifier *notifier, struct update_notice *notice);
/* The end of send(). @e: empty: each consumer was notified */
void update_notifier_ended(struct update_notifier *notifier, struct update_notice *notice,
                           const struct error *e);
/*
 * This process ends: send what is pending, but for commands. After this only
 * update_notifier_ended(), update_notifier_free() and update_notice_deinit() may follow.
 */
void update_notifier_finish(struct update_notifier *notifier, struct update_notice *notice);

/*
 * Of a volume of an earlier process, which may not have notified of what it has shown.
 * @shown: shown_update(); @notified: the last of notified(); 0: unknown
 */
void update_notice_adopt(struct update_notice *notice, uint64_t shown, uint64_t notified);
/* Have the loop notify of an update that is pending. */
void update_notifier_resume(struct update_notifier *notifier, struct update_notice *notice);
/* Ends its run. A zeroed object is fine. */
void update_notice_deinit(struct update_notice *notice);

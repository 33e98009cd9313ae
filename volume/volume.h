/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A volume: follows the objects of its spec and computes its files. See volume.c.
 *
 * Thread: the event loop's.
 */
#include "volume/candidate.h"
#include "volume/member.h"
#include "volume/missing.h"

struct volume;

enum volume_state {
    VOLUME_WAITING, /* no payload yet */
    VOLUME_CURRENT, /* the payload equals the source */
    VOLUME_STALE,   /* the payload is the last good one; volume_error() says why */
};

const char *volume_state_name(enum volume_state state);

struct volume_callbacks {
    /* The payload has changed. Take a reference to keep it. */
    void (*payload)(void *userdata, struct payload *payload, mono_us received_at);
    /*
     * Begin to check @payload by spec->check_command, with volume_checked() at its end, not from
     * within this call. An earlier check that has not ended is in vain: newer content waits for the
     * end of one that is not. May be NULL if the spec has none.
     * Return: 0; -errno with @e, and @payload is refused.
     */
    int (*check)(void *userdata, struct payload *payload, struct error *e);
    /* State, error, a certificate or the source's state may have changed. */
    void (*state)(void *userdata);
    /*
     * The labels of the volume's pod, as for pod_selector_matches(); borrowed until the loop's
     * next event. Return: NULL: it has no pod, or they are unknown. NULL: the same.
     */
    const char *(*labels)(void *userdata);
};

/* What an earlier process has left of the volume. */
struct volume_adopted {
    struct payload *payload;                /* what readers get; NULL: nothing */
    const struct volume_kept_order *orders; /* for each source of the spec; NULL: none */
};

struct volume_options {
    struct store *store;            /* of Secrets and ConfigMaps */
    struct store *pods;             /* of what is made of its pod; NULL if the spec has no such */
    const struct volume_spec *spec; /* outlives the volume, like who */
    const char *who;                /* what is unique to the volume, for staged updates */
    const char *namespace;          /* of its objects */
    struct volume_adopted adopted;
    bool keeps_previous; /* what an update replaces, for volume_undo(), for an hour */
};

/*
 * @options: borrowed for the call
 * @callbacks: outlive the volume; may be called before this returns
 * Return: 0, *ret_volume is the caller's; -ENOMEM; the source's errors, with @e.
 */
int volume_new(const struct volume_options *options, const struct volume_callbacks *callbacks,
               void *userdata, struct volume **ret_volume, struct error *e);
struct volume *volume_free(struct volume *volume);
DEFINE_CLEANUP(struct volume *, volume_free)

/*
 * The end of a check. payload() and state() may be called.
 * @payload: what was checked
 * @reason: why it is not accepted
 */
void volume_checked(struct volume *volume, const struct payload *payload,
                    enum volume_verdict verdict, const char *reason, mono_us now);
/* Whether the newest content waits for a check, or is refused by it. */
bool volume_has_candidate(const struct volume *volume);
/* Whether a check of the newest content has to end before it is shown. */
bool volume_is_checking(const struct volume *volume);

enum volume_state volume_state(const struct volume *volume);
/* Why the state is not VOLUME_CURRENT, for people; "" while there is no reason. Borrowed. */
const char *volume_error(const struct volume *volume);
/* Whether the objects are known and refused, for the reason in volume_error(). */
bool volume_is_refused(const struct volume *volume);
/* The first object or key that is missing and not optional. Return: whether there is one. */
bool volume_find_missing(const struct volume *volume, struct missing *ret_missing);
/* Whether the newest version of an object is not shown, by `tls: hold`, `check` or annotations. */
bool volume_is_held(const struct volume *volume);
/* Whether that is so because of a roll-out, a pause or a check that runs, and nothing is wrong: the
 * check that has ended before has refused nothing. */
bool volume_is_staged(const struct volume *volume);
/*
 * Each concerns the object of source @i; payload() and state() may be called.
 * Return: 0; -ENOENT: there is no content before, or none is kept.
 */
void volume_pause(struct volume *volume, size_t i, mono_us now);
void volume_resume(struct volume *volume, size_t i, mono_us now);
int volume_undo(struct volume *volume, size_t i, mono_us now);
struct volume_kept_order volume_order(const struct volume *volume, size_t i);
/* A number that grows when an order of the volume begins or ends. */
unsigned volume_order_changes(const struct volume *volume);

/* When volume_show_due() has to be called; SPAN_FOREVER: it need not. It may change in state(). */
mono_us volume_due_at(const struct volume *volume);
/* Show the objects whose turn has come, and drop what was kept for long enough. payload() and
 * state() may be called. */
void volume_show_due(struct volume *volume, mono_us now);
/* The labels of the volume's pod may have changed. payload() and state() may be called. */
void volume_labels_changed(struct volume *volume, mono_us now);
/*
 * The version of the object of source @i that the payload has, or had, or that has to be checked
 * before; NULL: none. Borrowed.
 */
const struct object *volume_shown_object(const struct volume *volume, size_t i);
/* Whether the source has answered about each object, be it with a failure, and no check runs. */
bool volume_has_answer(const struct volume *volume);

/* The state of the object of the spec's source @i; borrowed until the next change. */
const struct store_view *volume_view(const struct volume *volume, size_t i);
/* The certificate of that object if it is a Secret of type kubernetes.io/tls, else NULL. */
const struct tls_pair *volume_tls(const struct volume *volume, size_t i);

/* The view of the object whose source is in the worst state; NULL if the spec has no source. */
const struct store_view *volume_least_healthy_source(const struct volume *volume);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One source of a volume: the newest object, the one that is shown, and why they differ. It knows
 * nothing of the other sources. See member.c.
 *
 * Thread: the event loop's.
 */
#include "volume/spec.h"
#include "volume/tls.h"

/*
 * Orders of the node's administrator, besides the annotations of an object: its updates are not
 * shown, or the content before the last one is shown. Each lasts until volume_resume(), that of
 * volume_undo() also until the object's content changes.
 */
enum volume_order {
    VOLUME_ORDER_NONE,
    VOLUME_ORDER_PAUSED,
    VOLUME_ORDER_UNDONE,
};

/* An order, as the next process gets it. */
struct volume_kept_order {
    enum volume_order order;
    uint64_t undone; /* staging_place() of what was undone, by which it is known again */
};

/* Why a member shows an older object than the newest. */
enum member_hold {
    HOLD_NONE,
    HOLD_TLS,     /* `tls: hold`: the newest is no pair of certificate and key, or expired */
    HOLD_CHECK,   /* `check`: a value of the newest is invalid */
    HOLD_INVALID, /* an annotation cannot be read */
    HOLD_STAGED,
};

/* What all members have to know of their volume, which keeps it. */
struct member_volume {
    const struct volume_spec *spec; /* borrowed, like the next */
    const char *who;                /* what is unique to the volume */
    /* The labels of its pod, or NULL: see struct volume_callbacks. May be NULL. */
    const char *(*labels)(void *userdata);
    void *userdata;
    bool is_adopted; /* readers get content of an earlier process, until the first of this one */
    bool is_shown;   /* that, or content of this one */
    bool keeps_previous;
    unsigned n_order_changes; /* counted by the members */
};

/* Embedded; others than member.c only read it, but for the subscription. */
struct member {
    struct member_volume *volume;
    const struct volume_source *source;
    struct store_subscription *subscription;
    /* the input of the last projection */
    enum store_presence presence;
    struct object *object;   /* the newest seen; a reference */
    struct object *shown;    /* input of the payload: the same, or an older one that is held */
    struct object *passed;   /* input of the last payload that was passed on */
    struct object *previous; /* that of the one before; NULL: none, or not kept */
    mono_us previous_until;
    struct volume_kept_order order;
    enum member_hold hold;
    mono_us offered_at;  /* HOLD_STAGED: when the content or its staging changed */
    mono_us due_at;      /* HOLD_STAGED: when it is shown; SPAN_FOREVER: not by itself */
    struct tls_pair tls; /* of object, if it is one */
    bool is_invalid;     /* object, by `check` */
    bool is_revoked;     /* not shown any more */
};

/* Give up what it holds of the object. One that is deleted and created again is examined again. */
void member_clear(struct member *m);

/* Read the store. Return: whether the object was replaced, deleted or revoked. */
bool member_update(struct member *m, mono_us now);

/* Show the newest object unless it is held. */
void member_show(struct member *m, mono_us now);

/* The earlier process had shown the newest object: it is not staged, and nothing is undone. */
void member_show_adopted(struct member *m);

/* Readers get @object, or none, which an order to undo has put back, or which replaces something.
 */
void member_note_passed(struct member *m, struct object *object, mono_us now);

/* Decide again by @order what is shown. */
void member_order(struct member *m, enum volume_order order, mono_us now);

/* Order to show what was there before. Return: 0; -ENOENT: there is nothing. */
int member_undo(struct member *m, mono_us now);

/* When member_show_due() has to be called; SPAN_FOREVER: it need not. */
mono_us member_due_at(const struct member *m);

/* Drop what was kept for long enough. Return: whether it was time to decide what is shown. */
bool member_show_due(struct member *m, mono_us now);

/*
 * Whether @object, which was shown before, still may be. What an order or the newest object's
 * annotations hold shows what it shows, and nothing older.
 */
bool member_may_show(const struct member *m, const struct object *object);

/* Why it is held. @e: of a member with a hold */
void member_explain_hold(const struct member *m, struct error *e);

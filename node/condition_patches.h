/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Writes the condition secretfs.io/SecretsCurrent into the status of pods, by PATCH. See
 * condition_patches.c.
 *
 * Thread: the event loop's.
 */
#include "node/exchange.h"
#include "node/pod_condition.h"

struct condition_patches;
struct condition_patch;

/* A rotation concerns many pods of a node at once, twice each: a kubelet runs 110 by default. */
#define CONDITION_PATCHES_BURST      250u
#define CONDITION_PATCHES_PER_MINUTE 60u /* what remains if objects change all the time */

enum condition_patch_result {
    CONDITION_PATCH_WRITTEN,
    CONDITION_PATCH_FAILED,   /* the API server could not be reached, or refused it */
    CONDITION_PATCH_GONE,     /* the pod was deleted */
    CONDITION_PATCH_DEFERRED, /* not tried because of a limit */
};
#define CONDITION_PATCH_RESULTS (CONDITION_PATCH_DEFERRED + 1)

const char *condition_patch_result_name(enum condition_patch_result result);

/* Strings are copied. */
struct condition_patch_pod {
    const char *namespace;
    const char *name;
    const char *uid; /* a pod of another one is not changed */
};

struct condition_patches_options {
    const struct exchange_calls *calls;
    /* The end of a patch, which is freed. @userdata: that of condition_patches_write() */
    void (*done)(void *userdata, enum condition_patch_result result);
};

/* Return: 0, *ret_patches is the caller's; -ENOMEM. */
int condition_patches_new(const struct condition_patches_options *options,
                          struct condition_patches **ret_patches);
/* All patches must be freed. Return: NULL. */
struct condition_patches *condition_patches_free(struct condition_patches *patches);
DEFINE_CLEANUP(struct condition_patches *, condition_patches_free)

/*
 * Write a condition. Does not wait for the answer.
 * @source: of an API server; borrowed until the patch is freed
 * @written: what the pod has then
 * @ret_patch: the caller's, until done() is called
 * Return: 0; -EAGAIN: a limit, nothing was sent; -errno: it failed, which counts against the limit.
 */
int condition_patches_write(struct condition_patches *patches, struct source *source,
                            const struct condition_patch_pod *pod,
                            const struct condition_known *written, void *userdata, mono_us now,
                            struct condition_patch **ret_patch);
/* Cancel it: done() is not called. NULL is fine. Return: NULL. */
struct condition_patch *condition_patch_free(struct condition_patch *patch);
DEFINE_CLEANUP(struct condition_patch *, condition_patch_free)

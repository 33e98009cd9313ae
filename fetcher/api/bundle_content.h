/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The certificates of ClusterTrustBundles: of one, by its name, or of all of a signer that have
 * certain labels. See bundle_content.c.
 */
#include "fetcher/api/content.h"

/*
 * What volume/source_parse.c makes of a clusterTrustBundle source: the key's name is the bundle's,
 * or the signer's with BUNDLE_DETAIL_LABELS and a label selector in the key's detail. The object
 * has one entry, BUNDLE_KEY.
 */
#define BUNDLE_DETAIL_LABELS "labels:"
#define BUNDLE_KEY           "trustBundle"

/* What is kept of all bundles of a key; one has 1 MiB at most (Y17). */
#define BUNDLES_MAX       4096u
#define BUNDLES_MAX_BYTES 4194304u

/* @store, @key: borrowed, outlive the content. Return: 0, *ret_content is the caller's; -ENOMEM. */
int bundle_content_new(struct store *store, const struct object_key *key,
                       struct content **ret_content);

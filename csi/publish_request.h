/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* NodePublishVolume's and NodeUnpublishVolume's requests, checked. See publish_request.c. */
#include "csi/messages.h"
#include "csi/plugin.h"

struct publish_request {
    struct csi_publish view; /* what the handlers see */
    /* what it borrows from */
    Csi__PublishRequest *message;
    struct volume_attribute *attributes;
};

/*
 * @driver_name: for messages that say which CSIDriver object is to be mended
 * Return: the request; NULL with the code to answer with and @e.
 */
struct publish_request *publish_request_new(const uint8_t *bytes, size_t len,
                                            const char *driver_name, enum grpc_code *ret_code,
                                            struct error *e);
/* Return: NULL. */
struct publish_request *publish_request_free(struct publish_request *request);
DEFINE_CLEANUP(struct publish_request *, publish_request_free)

/* The same. message_text() of the two fields, for message_free(). */
Csi__UnpublishRequest *unpublish_request_new(const uint8_t *bytes, size_t len,
                                             enum grpc_code *ret_code, struct error *e);

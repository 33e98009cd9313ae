/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The requests of NodePublishVolume and NodeUnpublishVolume, checked. See publish_request.c. */
#include "csi/messages.h"
#include "csi/publish.h"

struct publish_request {
    struct csi_publish view; /* what the handlers see; borrows from the members below */
    Csi__PublishRequest *message;
    struct volume_attribute *attributes;
};

/*
 * @driver_name: for errors that name the CSIDriver object to change
 * Return: the request; NULL with the code to answer with and @e.
 */
struct publish_request *publish_request_new(const uint8_t *bytes, size_t len,
                                            const char *driver_name, enum grpc_code *ret_code,
                                            struct error *e);
/* Return: NULL. */
struct publish_request *publish_request_free(struct publish_request *request);
DEFINE_CLEANUP(struct publish_request *, publish_request_free)

/*
 * The same for NodeUnpublishVolume; message_text() reads its two fields.
 * Return: the message, for message_free(); NULL with the code to answer with and @e.
 */
Csi__UnpublishRequest *unpublish_request_new(const uint8_t *bytes, size_t len,
                                             enum grpc_code *ret_code, struct error *e);

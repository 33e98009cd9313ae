/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Reading and sending messages with protobuf-c. See messages.c. */
#include "csi/messages.pb-c.h"
#include "grpc/call.h"

/*
 * Unpack a message. Each block of it is followed by a NUL byte, so that bytes without a NUL in them
 * can be read as a string: message_text().
 * Return: the message, for message_free(); NULL with the code to answer with and @e.
 */
ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                                 size_t len, enum grpc_code *ret_code, struct error *e);
/* Wipes the content. Return: NULL. */
ProtobufCMessage *message_free(ProtobufCMessage *message);

/* Whether a field contains no NUL byte, so that message_text() is all of it. */
bool message_is_text(const ProtobufCBinaryData *bytes);
/* The field as a string, borrowed from its message; "" if it is absent. */
const char *message_text(const ProtobufCBinaryData *bytes);

/* Answer a call with a message. */
void message_reply(struct grpc_call *call, const ProtobufCMessage *message);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Messages on the wire and in memory, by protobuf-c. See messages.c. */
#include "csi/messages.pb-c.h"
#include "grpc/call.h"

/*
 * Take a message apart. Each block that belongs to it is followed by a 0 byte, so that bytes
 * without a 0 in them can be read as a string: message_text(). Return: the message, for
 * message_free(); NULL with the code to answer with and @e.
 */
ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                                 size_t len, enum grpc_code *ret_code, struct error *e);
/* Wipes what it held. Return: NULL. */
ProtobufCMessage *message_free(ProtobufCMessage *message);

/* Whether a field's bytes are free of 0 bytes, and so are what they seem. */
bool message_is_text(const ProtobufCBinaryData *bytes);
/* The field as a string, borrowed from its message; "" if it is absent. */
const char *message_text(const ProtobufCBinaryData *bytes);

/* Answer a call with a message. */
void message_reply(struct grpc_call *call, const ProtobufCMessage *message);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * There is no small gRPC for C, and little of it is needed: protobuf-c packs and unpacks messages,
 * which messages.proto declares from the published field numbers.
 *
 * protobuf-c lets the sender choose how much memory it needs: an element of two bytes on the wire
 * becomes a struct, a pointer to it and two blocks of the heap. So each message has a budget, a
 * multiple of its length, and is refused beyond it. The kubelet's messages need half of it.
 */
#include "csi/messages.h"

/* An attribute of 30 bytes becomes some 200, with the overhead of the heap. */
#define BUDGET_PER_BYTE 12
#define BUDGET_BASE     65536u
#define BLOCK_OVERHEAD  16u

struct budget {
    size_t left;
    bool is_over;
};

static void *budget_alloc(void *userdata, size_t size)
{
    struct budget *budget = userdata;

    if (size > budget->left || size + BLOCK_OVERHEAD > budget->left) {
        budget->is_over = true;
        return NULL;
    }
    budget->left -= size + BLOCK_OVERHEAD;
    return calloc(1, size + 1);
}

static void budget_free(void *userdata, void *block)
{
    free(block);
}

ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                                 size_t len, enum grpc_code *ret_code, struct error *e)
{
    struct budget budget = {.left = BUDGET_BASE + BUDGET_PER_BYTE * len};
    ProtobufCAllocator allocator = {
        .alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};
    ProtobufCMessage *message;

    errno = 0;
    message = protobuf_c_message_unpack(descriptor, &allocator, len, bytes);
    if (message != NULL)
        return message;
    if (budget.is_over || errno == ENOMEM) {
        *ret_code = GRPC_RESOURCE_EXHAUSTED;
        error_set(e, -ENOMEM,
                  budget.is_over ? "the request has too many parts"
                                 : "out of memory for the request");
    } else {
        *ret_code = GRPC_INVALID_ARGUMENT;
        error_set(e, -EBADMSG, "invalid protocol buffers message, expected a %s",
                  descriptor->short_name);
    }
    return NULL;
}

ProtobufCMessage *message_free(ProtobufCMessage *message)
{
    ProtobufCAllocator allocator = {.alloc = budget_alloc, .free = budget_free};

    if (message != NULL)
        protobuf_c_message_free_unpacked(message, &allocator);
    return NULL;
}

bool message_is_text(const ProtobufCBinaryData *bytes)
{
    return bytes->len == 0 || memchr(bytes->data, '\0', bytes->len) == NULL;
}

const char *message_text(const ProtobufCBinaryData *bytes)
{
    return bytes->data != NULL ? (const char *)bytes->data : "";
}

void message_reply(struct grpc_call *call, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    _cleanup_(freep) uint8_t *bytes = malloc(len + 1);

    if (bytes == NULL) {
        grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "out of memory for the response");
        return;
    }
    protobuf_c_message_pack(message, bytes);
    grpc_call_reply(call, bytes, len);
}

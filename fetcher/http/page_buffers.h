/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Receive buffers of requests, whose pages go back to the kernel. See page_buffers.c.
 *
 * Thread: any.
 */
#include <stdbool.h>
#include <stddef.h>

/* CURLOPT_BUFFERSIZE, and what libcurl allocates for it. */
#define PAGE_BUFFER_DATA_BYTES 16384
#define PAGE_BUFFER_BYTES      (PAGE_BUFFER_DATA_BYTES + 1)

/* Return: PAGE_BUFFER_BYTES, zeroed, for page_buffers_free(); NULL when there is no more. */
void *page_buffers_alloc(void);

/* Return: false when @buffer does not come from page_buffers_alloc(): nothing is done then. */
bool page_buffers_free(void *buffer);

/* Whether it comes from page_buffers_alloc(). */
bool page_buffers_have(const void *buffer);

/*
 * Wipe a part of any memory that is the caller's. Pages of these buffers that it touches and that
 * have no other content go back to the kernel.
 */
void page_buffers_wipe(void *bytes, size_t len);

/* In slabs now. */
size_t page_buffers_mapped_bytes(void);

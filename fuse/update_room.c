/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/update_room.h"

/*
 * Of a file: its node is recorded when it is made, linked and removed, each time with its
 * directory, and its object with names of 1,300 bytes at most (handover/tree_recorder.c): 600 bytes
 * with short names. Of a directory: the same without an object. Of a generation: its directory and
 * links.
 */
#define GENERATION_BYTES 4096u
#define FILE_BYTES       2560u
#define DIRECTORY_BYTES  2048u
#define PATHS_RECORDED   8u /* of the name, or of a live file the path */

static uint64_t bytes_of_file(const struct payload_file *file)
{
    uint64_t n_directories = 0;
    size_t len = strlen(file->path);

    for (const char *slash = file->path; (slash = strchr(slash, '/')) != NULL; slash++)
        n_directories++;
    return FILE_BYTES + file->len + PATHS_RECORDED * len + n_directories * DIRECTORY_BYTES;
}

uint64_t update_room_of(const struct payload *payload)
{
    uint64_t bytes = GENERATION_BYTES;

    for (size_t i = 0; i < payload->n_files; i++)
        bytes += bytes_of_file(&payload->files[i]);
    return bytes;
}

void update_room_submit(struct update_room *room, const struct payload *payload)
{
    if (room->under_way < room->waiting)
        room->under_way = room->waiting;
    room->waiting = update_room_of(payload);
    room->last = payload;
}

void update_room_done(struct update_room *room, const struct payload *payload, bool may_repeat)
{
    room->under_way = 0;
    if (payload != room->last)
        return;
    room->last = NULL;
    if (!may_repeat)
        room->waiting = 0;
}

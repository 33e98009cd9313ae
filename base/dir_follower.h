/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Follows the files of a directory: lists them when the directory changes, reads each file whose
 * status differs from the last read, and retries what could not be read. Its owner keeps what the
 * files contain, in structs that embed dir_file.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/file_read.h"

struct dir_follower;

/* A file of the directory, embedded in the owner's struct. All fields are the follower's. */
struct dir_file {
    char *name;
    struct file_stamp stamp;
    bool is_read;    /* stamp is that of the content which the owner has */
    bool is_changed; /* the last scan called read() or unreadable() */
    bool is_link;
    mono_us missing_since; /* 0: the last scan listed it; see VANISH_SPAN in dir_follower.c */
    mono_us lost_since;    /* the same of what a link leads to */
};

/* None of these may call into the follower, except scanned() dir_follower_files(). */
struct dir_follower_ops {
    /* Whether a file of this name belongs to the owner; others are ignored. */
    bool (*accepts)(const char *name);
    /* Return: a zeroed dir_file in a struct of the owner's, or NULL when memory is short. */
    struct dir_file *(*new_file)(void *userdata);
    void (*free_file)(void *userdata, struct dir_file *file);
    /*
     * The file's new content. @text: the callee may take it, and leave an empty buffer.
     * Return: 0 or -ENOMEM.
     */
    int (*read)(void *userdata, struct dir_file *file, struct buf *text);
    /*
     * The file exists and cannot be read; called again in each scan until it can.
     * @code: -errno, or FILE_READ_OTHER if it is not a regular file
     * Return: 0 or -ENOMEM.
     */
    int (*unreadable)(void *userdata, struct dir_file *file, int code, const struct error *reason);
    /* The directory no longer has the file; free_file() follows. May be NULL. */
    void (*removed)(void *userdata, struct dir_file *file);
    /*
     * A scan has ended.
     * @result: 0; FILE_READ_BUSY if the follower scans again soon; -errno with @reason if the
     *          directory cannot be read: then the files are those of the last scan, except that
     *          with -ENOMEM some of them may have been read
     * @at:     when the event that caused the scan was read from the kernel
     * Return: 0 if no retry is necessary; @result, or -ENOMEM, to retry.
     */
    int (*scanned)(void *userdata, int result, const struct error *reason, mono_us at);
};

struct dir_follower_config {
    const char *path;  /* absolute; may be missing */
    const char *what;  /* the directory, for messages: "the manifests' directory" */
    const char *files; /* its files, for messages: "manifests" */
    unsigned max_files;
    size_t max_file_bytes;
};

/*
 * @config: its strings are borrowed until dir_follower_free()
 * @ops:    static
 * Return: 0, *ret_follower is the caller's, without files before the first scan; -errno with @e.
 */
int dir_follower_new(sd_event *event, const struct dir_follower_config *config,
                     const struct dir_follower_ops *ops, void *userdata,
                     struct dir_follower **ret_follower, struct error *e);
/* Calls free_file() for each file. Return: NULL. */
struct dir_follower *dir_follower_free(struct dir_follower *follower);
DEFINE_CLEANUP(struct dir_follower *, dir_follower_free)

/*
 * Scan now. After the first call, changes of the directory start scans.
 * Return: what scanned() got, and @e its reason.
 */
int dir_follower_scan(struct dir_follower *follower, struct error *e);

/* The files in the order of their names, borrowed until the next scan. */
struct dir_file *const *dir_follower_files(const struct dir_follower *follower, size_t *ret_n);

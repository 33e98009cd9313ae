/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Nodes of the tree: directories, files and links, their names and their lives. For the tree
 * and what works on its nodes (stage.c, live_file.c, live_switch.c). See node.c.
 *
 * Thread: any that holds the table's lock (LOCK_GUARD(&t->lock)).
 */
#include <pthread.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/lock.h"
#include "fuse/file_content.h"
#include "fuse/held.h"
#include "fuse/open_table.h"
#include "volume/payload.h"

enum node_kind { NODE_DIRECTORY, NODE_FILE, NODE_LINK };

/* One version of a live file, as long as a file of it is open; see live_file.c. */
struct node_version {
    struct list link; /* in node_live.versions */
    uint64_t number;
    struct timespec changed;
    struct file_content content; /* with a reference; without object once no open file shows it */
    uint64_t volume;             /* that is charged for it once it is old; node id */
    unsigned n_opens;
    unsigned n_shown;     /* of these, those whose content was not dropped */
    uint64_t recorded_in; /* the journal's: number of the state; 0: none */
    uint64_t stored_at;   /* the same: where its content is stored there */
};

/* Whether a name of a live file belongs to what its volume shows; see live_update.c. */
enum live_presence {
    LIVE_SHOWN,
    LIVE_NEW,     /* it was made for an update that is not committed, and not opened */
    LIVE_REMOVED, /* the last update has no such file, and its name is about to be removed */
};

/* What a file has besides its content once that may change; see live_file.h. */
struct node_live {
    uint64_t version;       /* of the content; counts up */
    struct list versions;   /* those that are open, the newest last */
    struct list opens;      /* of all versions, the newest last */
    unsigned n_opens;       /* open files of this version */
    unsigned n_unread;      /* of these, not yet read to their end */
    unsigned n_older_opens; /* open files of older versions */
    mono_us opened_at;      /* the newest open file */
    bool is_switching;      /* its next content is prepared, the first one of a new file */
    bool has_old_pages;     /* the kernel may: it was not opened since its content changed */
    bool is_unannounced;    /* it has changed, and its watchers have not got MODIFY yet */
    bool is_unwanted;       /* live_switch.c's, while it looks for files that a payload lacks */
    enum live_presence presence;
};

struct node {
    uint64_t id;
    uint64_t n_references; /* the kernel's; see is_adopted */
    enum node_kind kind;
    bool is_adopted;  /* the kernel may hold more references: another process served it */
    bool is_unlisted; /* see TREE_UNLISTED_LINK */
    bool is_recorded; /* the journal's: it has recorded this node */
    mode_t mode;      /* permissions */
    uid_t uid;
    gid_t gid;
    struct timespec changed;
    /* linked nodes only; the root is its own parent and has no name */
    struct node *parent;
    char *name;
    struct list link;
    uint64_t cookie;
    struct list marked; /* in node_table.changed, or .freed once it is freed */
    union {             /* node_add() allocates what the kind needs */
        struct {
            struct list children;
            uint64_t next_cookie;
            size_t n_children;
            size_t n_subdirectories;
            uint64_t n_dropped; /* of a volume: files that lost their content to its limit */
            size_t n_left_out;  /* of a volume: open files that its last switch waits for */
            size_t n_opens;     /* of a volume: open files, LIVE_OPENS_MAX at most */
            bool lets_opens;    /* of a volume: opens do not wait for the end of its switch */
        } directory;
        struct {
            struct file_content content;
            struct node_live *live;  /* NULL: immutable */
            unsigned n_cached_opens; /* open files that read the kernel's pages */
            bool is_stored;          /* the journal's: this content is what stands at stored_at */
            struct held_item held;   /* while it is unlinked and immutable */
            uint64_t volume;      /* see node_volume_of_file(); 0: it is linked there, or unknown */
            uint64_t edition;     /* see node_edition(); 0: its id */
            uint64_t stored_at;   /* the journal's: where it has stored the content; 0: nowhere */
            uint64_t obsolete_at; /* the journal's: the same of what it replaces */
        } file;
        char *target;
    };
};

/* A name that an earlier process has removed, which the kernel may still have; see replay.h. */
struct removed_name {
    struct list link; /* in node_table.removed */
    uint64_t parent;  /* node id */
    bool is_directory;
    char name[];
};

struct node_table;
struct live_opened;

/*
 * Receives the changes of nodes: what a table's lock protects is recorded before the lock is given
 * up, so before another thread, or the kernel, learns of it.
 */
struct node_journal {
    /* The nodes are those of t->changed and t->freed, by their link marked. The lock is held. */
    void (*record)(struct node_journal *journal, struct node_table *t);
    /* A file was opened or has changed its flags; or it was closed. The lock is held. */
    void (*record_open)(struct node_journal *journal, const struct open_file *file);
    void (*record_close)(struct node_journal *journal, const struct open_file *file);
    /* No open file shows the content of a version any more. The lock is held. */
    void (*drop_version)(struct node_journal *journal, struct node_version *version);
    /*
     * Changes of this size are about to come. Without the lock; there may be no room, and the
     * changes come all the same. Thread: that which has set the journal.
     */
    void (*make_room)(struct node_journal *journal, uint64_t bytes);
};

/* All nodes of a tree. Embedded. */
struct node_table {
    pthread_mutex_t lock;         /* everything below, and all nodes; see NODE_TABLE_GUARD() */
    struct node_journal *journal; /* NULL: none */
    struct list changed;          /* since the lock was taken; empty without a journal */
    struct list freed;            /* the same; id, kind, stored_at and is_recorded are valid */
    uint64_t next_id;
    void *by_id;   /* tsearch(3) tree */
    void *by_name; /* the same of those that are linked, by parent and name */
    struct node *root;
    struct list unlinked; /* nodes without a name: the kernel holds them, or one below */
    bool remembers_paths; /* of unlinked nodes, for node_find_unlinked() */
    bool lists_removed;   /* an adopted tree's: the names that were removed are in .removed */
    struct list removed;  /* those in directories that exist; few, as a state is replaced often */
    size_t n_nodes;
    size_t content_bytes;    /* of all files */
    struct held held;        /* unlinked immutable files, and open files of older versions */
    struct open_table opens; /* live_file.c's, as what follows */
    void (*opened)(void *userdata, const struct live_opened *opened); /* NULL: none */
    void *opened_userdata;
};

/*
 * Make the root, a directory with @id.
 * Return: 0, node_table_deinit() is to follow; -ENOMEM.
 */
int node_table_init(struct node_table *t, uint64_t root_id, mode_t root_mode);
/* Nothing may use the nodes any more. */
void node_table_deinit(struct node_table *t);

/* Have a journal receive changes from now on; NULL: none. The lock is held. */
void node_table_set_journal(struct node_table *t, struct node_journal *journal);
/* Have the journal make room. The lock is not held. Thread: that which has set the journal. */
void node_table_make_room(struct node_table *t, uint64_t bytes);
/* Report what has changed to the journal. The lock is held. */
void node_table_record(struct node_table *t);

static inline void node_table_release(struct node_table **t)
{
    node_table_record(*t);
    pthread_mutex_unlock(&(*t)->lock);
}

/* Hold a table's lock until the end of the enclosing block. */
#define NODE_TABLE_GUARD(table)                                                                    \
    _cleanup_(node_table_release) struct node_table *_guarded = (table);                           \
    pthread_mutex_lock(&_guarded->lock)

/* The journal has to record this node. */
static inline void node_mark(struct node_table *t, struct node *n)
{
    if (t->journal != NULL && list_is_empty(&n->marked))
        list_append(&t->changed, &n->marked);
}

/* ---- finding; NULL: the node is missing */

struct node *node_by_id(struct node_table *t, uint64_t id);
/* NULL also if the node is no file. */
struct node *node_file_by_id(struct node_table *t, uint64_t id);
/* The same for a request. Return: 0; -ESTALE; -EISDIR, -EINVAL for a node of another kind. */
int node_find_file(struct node_table *t, uint64_t id, struct node **ret_file);
struct node *node_by_name(struct node_table *t, struct node *parent, const char *name);
/* @path: relative to @directory; "" is the directory itself */
struct node *node_by_path(struct node_table *t, struct node *directory, const char *path);

/*
 * A node that was unlinked and that the kernel still holds, by the path from the root that it had:
 * as mountinfo shows it, without "//deleted".
 */
struct node *node_find_unlinked(struct node_table *t, const char *path);

/*
 * The nodes below @top, each directory before its children. @n: the one visited last, or @top.
 * Return: the next one; NULL at the end.
 */
struct node *node_next(const struct node *top, const struct node *n);

/* Whether a node is @top or stands below it. */
bool node_is_below(const struct node *n, const struct node *top);

/* ---- making */

/*
 * Make a node and link it. It belongs to the owner of its directory; directories in one that is
 * setgid are setgid as well, as in other file systems. Return: NULL when out of memory.
 */
struct node *node_add(struct node_table *t, struct node *parent, const char *name,
                      enum node_kind kind, mode_t mode);
/* @path: of a file below @directory; missing directories on the way are made (F2: 0755). */
struct node *node_add_file(struct node_table *t, struct node *directory, const char *path,
                           const struct payload_file *file);
/* A copy of @original and all that is below it, with the content that this has now; immutable. */
struct node *node_add_copy(struct node_table *t, struct node *parent, const char *name,
                           const struct node *original);

/* ---- changing */

/*
 * Take a node over that another process has made, with its id. It is not linked; the
 * kernel may hold it. Return: NULL when out of memory.
 */
struct node *node_adopt(struct node_table *t, uint64_t id, enum node_kind kind);
/*
 * Link an adopted node: as node_link(), with its cookie, which is larger than those of the
 * directory's other children. Return: 0; -EEXIST; -ENOMEM.
 */
int node_adopt_link(struct node_table *t, struct node *parent, const char *name, struct node *n,
                    uint64_t cookie);
/*
 * Keep an adopted node that has no name.
 * @path: see node_find_unlinked(); NULL: unknown
 * @held_for: node id of the volume that is charged; 0: none
 * Return: 0; -ENOMEM.
 */
int node_adopt_unlinked(struct node_table *t, struct node *n, const char *path, uint64_t held_for);

/*
 * The adopted nodes that have no name, or are below one that has none.
 * Return: how many there are; the first @max of them are in @ids.
 */
size_t node_list_adopted_unlinked(struct node_table *t, uint64_t *ids, size_t max);
/* The kernel does not hold an adopted node. An unknown id is fine. */
void node_release_adopted(struct node_table *t, uint64_t id);

/* Note a name that an earlier process has removed. Return: 0 or -ENOMEM. */
int node_note_removed(struct node_table *t, uint64_t parent, const char *name, size_t len,
                      bool is_directory);
void node_free_removed(struct removed_name *removed);

/* Give an unlinked node a name. Return: 0 or -ENOMEM, then it is not linked. */
int node_link(struct node_table *t, struct node *parent, const char *name, struct node *n);
/* Take the name away; the node lives on while the kernel holds it. */
void node_unlink(struct node_table *t, struct node *n);
void node_unlink_children(struct node_table *t, struct node *directory);
/* Move a node to another name in its directory, in the place of @old if that is not NULL. Return: 0
 * or -ENOMEM, unchanged. */
int node_rename(struct node_table *t, struct node *n, const char *new_name, struct node *old);
/* Two nodes take each other's place. */
void node_exchange(struct node_table *t, struct node *a, struct node *b);
/* Return: 0 or -ENOMEM. */
int node_make_live(struct node *file);
/* Replace the content of a file, if it has one already. A reference is taken. */
void node_set_content(struct node_table *t, struct node *file, const struct file_content *content);

/* -1: unchanged. */
void node_set_owner(struct node *n, uid_t uid, gid_t gid);
void node_forget(struct node_table *t, struct node *n, uint64_t n_references);

/*
 * Drop what readers hold for the longest time of the volume of @directory, and of the tree, until
 * both are within the limits of held.h. Such a file has no content any more: reads fail.
 */
void node_limit_held(struct node_table *t, struct node *directory);
/* The same, by the node id of the volume's directory. */
void node_limit_held_of(struct node_table *t, uint64_t volume);

/*
 * The node id of the directory of the volume that a file belongs to, or belonged to before it was
 * unlinked, or taken out to be mounted alone. Return: 0: unknown.
 */
uint64_t node_volume_of_file(const struct node_table *t, const struct node *file);
/* Have a file, and all below a directory, belong to that volume. */
void node_set_volume(struct node *top, uint64_t volume);

/*
 * When the content of a file came, in the order of node ids and of node_take_edition(): what an
 * update brings has a larger one than all that was there when it began.
 */
static inline uint64_t node_edition(const struct node *file)
{
    return file->file.edition != 0 ? file->file.edition : file->id;
}
static inline uint64_t node_take_edition(struct node_table *t)
{
    return t->next_id++;
}

/* st_ino is the id. Sizes and blocks are those that a tmpfs would show. */
void node_stat(const struct node *n, struct stat *ret_stat);
static inline bool node_is_linked(const struct node *n)
{
    return n->parent != NULL;
}

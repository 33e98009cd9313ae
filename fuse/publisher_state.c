/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/publisher_state.h"

#include <search.h>
#include <sys/eventfd.h>
#include "base/thread.h"

/* ---- volumes by the name of their directory */

static int compare_names(const void *a, const void *b)
{
    const struct publisher_volume *x = a, *y = b;

    return strcmp(x->writer.dir.name, y->writer.dir.name);
}

int publisher_index_volume(struct publisher *p, struct publisher_volume *v)
{
    struct publisher_volume **slot = tsearch(v, &p->by_name, compare_names);

    if (slot == NULL)
        return -ENOMEM;
    p->n_volumes += *slot == v; /* else it takes a place that was counted */
    *slot = v;
    return 0;
}

void publisher_unindex_volume(struct publisher *p, struct publisher_volume *v)
{
    struct publisher_volume *const *found = tfind(v, &p->by_name, compare_names);

    if (found == NULL || *found != v)
        return;
    tdelete(v, &p->by_name, compare_names);
    p->n_volumes--;
}

struct publisher_volume *publisher_find_volume(const struct publisher *p, const char *name)
{
    char *mutable_name = strdupa(name);
    const struct publisher_volume like = {.writer = {.dir = {.name = mutable_name}}};
    struct publisher_volume *const *found = tfind(&like, &p->by_name, compare_names);

    return found != NULL ? *found : NULL;
}

/*
 * ---- groups
 *
 * While a thread is blocked in a volume of a group, the queue begins no step of the others, so a
 * pod blocks one thread at most.
 */

/* Under the publisher's lock. */
struct group {
    struct publish_group state;
    size_t n_volumes;
    char *name;
};

static int compare_groups(const void *a, const void *b)
{
    const struct group *x = a, *y = b;

    return strcmp(x->name, y->name);
}

int publisher_join_group(struct publisher *p, struct publisher_volume *v, const char *name)
{
    struct group *g = calloc(1, sizeof(*g)), **slot = NULL;

    if (name == NULL || g == NULL) {
        free(g);
        return name == NULL ? 0 : -ENOMEM;
    }
    g->name = strdup(name);
    if (g->name != NULL)
        slot = tsearch(g, &p->by_group, compare_groups);
    if (slot != NULL) {
        (*slot)->n_volumes++;
        v->entry.group = &(*slot)->state;
    }
    if (slot != NULL && *slot == g)
        return 0;
    free(g->name);
    free(g);
    return slot != NULL ? 0 : -ENOMEM;
}

void publisher_leave_group(struct publisher *p, struct publisher_volume *v)
{
    struct group *g;

    if (v->entry.group == NULL)
        return;
    g = CONTAINER_OF(v->entry.group, struct group, state);
    v->entry.group = NULL;
    if (--g->n_volumes > 0)
        return;
    assert(g->state.n_blocked == 0);
    tdelete(g, &p->by_group, compare_groups);
    free(g->name);
    free(g);
}

void publisher_group_blocked(struct publisher_volume *v)
{
    if (v != NULL && v->entry.group != NULL)
        v->entry.group->n_blocked++;
}

void publisher_group_returned(struct publisher_volume *v)
{
    if (v == NULL || v->entry.group == NULL)
        return;
    assert(v->entry.group->n_blocked > 0);
    v->entry.group->n_blocked--;
}

/* ---- outcomes, and the end of a volume */

void publisher_report(struct publisher *p, struct list *list, struct list *link)
{
    list_remove(link);
    list_append(list, link);
    eventfd_write(p->done_fd, 1);
}

void publisher_let_opens(struct publisher *p, struct publisher_volume *v, bool lets)
{
    if (v->lets_opens == lets || v->directory_id == 0 || !p->writers.answers_open)
        return;
    v->lets_opens = lets;
    live_file_let_opens(p->writers.tree, v->directory_id, lets);
    if (!lets)
        return;
    p->must_resume = true;
    eventfd_write(p->done_fd, 1);
}

/* A volume that is removed has no owner who would be notified. */
void publisher_set_blocked(struct publisher *p, struct publisher_volume *v, mono_us since)
{
    if (v->blocked_since == since)
        return;
    v->blocked_since = since;
    publisher_let_opens(p, v, since != 0);
    if (!v->entry.is_removed)
        publisher_report(p, &p->changed_volumes, &v->changed);
}

/* ---- waiting */

void publisher_wait(struct publisher *p, mono_us until)
{
    condition_wait(&p->changed, &p->lock, until);
}

struct publisher_thread *publisher_thread_new(struct publisher *publisher)
{
    struct publisher_thread *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    t->publisher = publisher;
    condition_init(&t->gets_lead);
    return t;
}

struct publisher_thread *publisher_thread_free(struct publisher_thread *thread)
{
    pthread_cond_destroy(&thread->gets_lead);
    free(thread);
    return NULL;
}

void publisher_wake_leader(struct publisher *p)
{
    if (p->pool.leader != NULL)
        pthread_cond_signal(&publisher_thread_of(p->pool.leader)->gets_lead);
}

void publisher_stand_by(struct publisher_thread *thread)
{
    struct publisher *p = thread->publisher;

    condition_wait(&thread->gets_lead, &p->lock, thread->member.standby_until);
    if (publisher_pool_expire(&p->pool, &thread->member, clock_mono()))
        eventfd_write(p->done_fd, 1); /* the loop joins it */
}

void publisher_volume_free(struct publisher_volume *v)
{
    volume_writer_deinit(&v->writer);
    payload_unref(v->pending);
    payload_unref(v->result.payload);
    kept_error_clear(&v->bound_text);
    free(v);
}

/* What will happen, by its time: a binary heap, since many nodes have thousands of tasks under way. */
#include "cluster_impl.h"

#include <utlist.h>

static int by_time(struct task *a, struct task *b)
{
    return a->at != b->at ? (a->at < b->at ? -1 : 1) : a->seq < b->seq ? -1 : 1;
}

void task_free(struct task *t)
{
    free(t->key);
    free(t->value);
    free(t->own);
    json_decref(t->json);
    json_decref(t->weak);
    free(t);
}

static void put_at(struct tasks *all, size_t place, struct task *t)
{
    all->heap[place] = t;
    t->place = place;
}

static void rise(struct tasks *all, struct task *t)
{
    size_t place = t->place;

    for (size_t above; place && by_time(t, all->heap[above = (place - 1) / 2]) < 0; place = above)
        put_at(all, place, all->heap[above]);
    put_at(all, place, t);
}

static void sink(struct tasks *all, struct task *t)
{
    size_t place = t->place, below;

    while ((below = 2 * place + 1) < all->count) {
        if (below + 1 < all->count && by_time(all->heap[below + 1], all->heap[below]) < 0)
            below++;
        if (by_time(t, all->heap[below]) < 0)
            break;
        put_at(all, place, all->heap[below]);
        place = below;
    }
    put_at(all, place, t);
}

void task_insert(struct cluster *c, struct task *t)
{
    struct tasks *all = &c->tasks;

    if (all->count == all->size) {
        all->size = all->size ? 2 * all->size : 1024;
        all->heap = realloc(all->heap, all->size * sizeof(*all->heap));
        cr_assert_not_null(all->heap);
    }
    put_at(all, all->count++, t);
    rise(all, t);
}

void task_remove(struct cluster *c, struct task *t)
{
    struct tasks *all = &c->tasks;
    struct task *last = all->heap[--all->count];

    if (last == t)
        return;
    put_at(all, t->place, last);
    rise(all, last);
    sink(all, last);
}

void task_move(struct cluster *c, struct task *t, int64_t at)
{
    task_remove(c, t);
    t->at = at;
    task_insert(c, t);
}

int64_t tasks_due(const struct cluster *c)
{
    return c->tasks.count ? c->tasks.heap[0]->at : INT64_MAX;
}

struct task *tasks_next(struct cluster *c)
{
    struct task *t = c->tasks.heap[0];

    task_remove(c, t);
    return t;
}

struct task *tasks_take(struct site *s, bool (*is)(const struct site *s, const struct task *t, size_t master),
                        size_t master)
{
    struct tasks *all = &s->c->tasks;
    struct task *taken = NULL, *t;

    for (size_t i = 0; i < all->count; i++)
        if (is(s, all->heap[i], master))
            LL_PREPEND(taken, all->heap[i]);
    LL_FOREACH(taken, t)
    {
        task_remove(s->c, t);
    }
    LL_SORT(taken, by_time);
    return taken;
}

void tasks_free(struct cluster *c)
{
    for (size_t i = 0; i < c->tasks.count; i++)
        task_free(c->tasks.heap[i]);
    free(c->tasks.heap);
}

struct task *task_add(struct site *s, enum kind kind, int64_t *not_before, const char *key, const char *value)
{
    struct cluster *c = s->c;
    struct task *t = calloc(1, sizeof(*t));

    t->at = c->now + c->delay(c);
    if (not_before) {
        t->at = t->at > *not_before ? t->at : *not_before;
        *not_before = t->at;
    }
    t->seq = ++c->seq;
    t->kind = kind;
    t->site = (size_t)(s - c->site);
    t->key = key ? strdup(key) : NULL;
    t->value = value ? strdup(value) : NULL;
    task_insert(c, t);
    return t;
}

/* Another server becomes the store of the cluster, or one of its masters: a replica that is behind, or the server
 * before, which has come back. */
#include "cluster_impl.h"

#include <utlist.h>

static bool is_call_of(const struct cluster *c, json_t *entry, size_t master)
{
    const char *call_id = json_string_value(json_object_get(json_array_get(entry, 1), "call_id"));

    return master_of(c, scratch("{%s}", call_id ? call_id : "")) == master;
}

static void move_archive(const struct cluster *c, struct data *to, struct data *from, size_t master)
{
    for (size_t i = 0; i < json_array_size(from->archive);) {
        if (!is_call_of(c, json_array_get(from->archive, i), master)) {
            i++;
            continue;
        }
        json_array_append(to->archive, json_array_get(from->archive, i));
        json_array_append(to->archived_ms, json_array_get(from->archived_ms, i));
        json_array_remove(from->archive, i);
        json_array_remove(from->archived_ms, i);
    }
}

/* What that master has. A scan finds it among the last: its numbers are in the order of the list. */
static void move_data(struct cluster *c, struct data *to, struct data *from, size_t master)
{
    struct entry *x, *next;

    LL_FOREACH_SAFE(from->entries, x, next)
    {
        if (master_of(c, x->key) != master)
            continue;
        LL_DELETE(from->entries, x);
        x->seq = ++c->entry_seq;
        LL_APPEND(to->entries, x);
    }
    LL_FOREACH_SAFE(from->past, x, next)
    {
        if (master_of(c, x->key) != master)
            continue;
        LL_DELETE(from->past, x);
        LL_PREPEND(to->past, x);
    }
    move_archive(c, to, from, master);
}

static void copy_entry(struct cluster *c, struct data *d, const struct entry *x)
{
    struct entry *copy = calloc(1, sizeof(*copy));

    *copy = (struct entry){.seq = ++c->entry_seq,
                           .key = strdup(x->key),
                           .value = x->value ? strdup(x->value) : NULL,
                           .fields = json_deep_copy(x->fields),
                           .since_ms = x->since_ms,
                           .ends_ms = x->ends_ms};
    LL_APPEND(d->entries, copy);
}

/* What stood there at that time. */
static void copy_as_of(struct cluster *c, struct data *to, const struct data *from, size_t master, int64_t at_ms)
{
    const struct entry *x;

    LL_FOREACH(from->past, x)
    {
        if (x->since_ms <= at_ms && x->until_ms > at_ms && master_of(c, x->key) == master)
            copy_entry(c, to, x);
    }
    LL_FOREACH(from->entries, x)
    {
        if (x->since_ms <= at_ms && master_of(c, x->key) == master)
            copy_entry(c, to, x);
    }
    for (size_t i = 0; i < json_array_size(from->archive); i++) {
        if (json_integer_value(json_array_get(from->archived_ms, i)) > at_ms ||
            !is_call_of(c, json_array_get(from->archive, i), master))
            continue;
        json_array_append(to->archive, json_array_get(from->archive, i));
        json_array_append(to->archived_ms, json_array_get(from->archived_ms, i));
    }
}

bool cluster_is_behind(const struct site *s)
{
    for (size_t i = 0; i < s->c->masters; i++)
        if (s->way[i].behind || s->way[i].away)
            return true;
    return false;
}

static bool may_change(const struct cluster *c, size_t master)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->site[i].way[master].behind)
            return false;
    return true;
}

/* All nodes are on the server from before, and follow one by one. */
static void follow(struct cluster *c, size_t master, int64_t split_ms)
{
    for (size_t i = 0; i < c->tasks.count; i++) {
        struct task *t = c->tasks.heap[i];

        t->old = t->old || (t->kind <= ANSWER && t->master == master);
    }
    c->split_ms = c->now + split_ms;
    for (size_t i = 0; i < c->count; i++) {
        struct site *s = &c->site[i];

        s->way[master].behind = s->connected && !s->way[master].away;
        if (s->way[master].behind)
            plan_way(s, CUT_WAY, up_to(c, split_ms), master);
    }
}

static struct data nothing(void)
{
    return (struct data){.archive = json_array(), .archived_ms = json_array()};
}

static void drop(struct data *d)
{
    data_clear(d);
    json_decref(d->archive);
    json_decref(d->archived_ms);
}

void cluster_failover(struct cluster *c, size_t master, int64_t lag_ms, int64_t split_ms)
{
    struct data gone = nothing();

    if (may_change(c, master)) {
        cluster_note(&c->site[0], "* a replica that is %lld ms behind becomes master %zu", (long long)lag_ms, master);
        move_data(c, &gone, &c->old_store, master);
        move_data(c, &c->old_store, &c->store, master);
        copy_as_of(c, &c->store, &c->old_store, master, c->now - lag_ms);
        follow(c, master, split_ms);
    }
    drop(&gone);
}

void cluster_failback(struct cluster *c, size_t master, bool empty, int64_t split_ms)
{
    struct data back = nothing();

    if (may_change(c, master)) {
        cluster_note(&c->site[0], "* the server before becomes master %zu again, %s", master,
                     empty ? "empty" : "with what it had");
        move_data(c, &back, &c->old_store, master);
        move_data(c, &c->old_store, &c->store, master);
        if (!empty)
            move_data(c, &c->store, &back, master);
        follow(c, master, split_ms);
    }
    drop(&back);
}

/* The store of the cluster as a Redis Cluster: each of several masters has a part of the names, and each node a
 * connection to each master. One of these may be broken or slow, or lead to a server that is no master any more, while
 * the others serve. All names of a call are at one master, and all nodes' records at the first (docs/redis-keys.md).
 *
 * A node whose connection to a master is there again tells its core that the store was away: what that master has since
 * lost nobody else would notice. The other masters answer on. */
#include "cluster_impl.h"

#include "key.h"

#define SLOTS 8 /* of each master, for those that move */

static unsigned slot_of(const char *key)
{
    const char *tag = strchr(key, '{'), *end = tag ? strchr(tag, '}') : NULL;
    unsigned hash = 2166136261u;

    for (; tag && tag < end; tag++)
        hash = (hash ^ (unsigned char)*tag) * 16777619u;
    return tag ? hash ^ hash >> 15 : 0;
}

size_t master_of(const struct cluster *c, const char *key)
{
    return slot_of(key) % c->masters;
}

size_t cluster_master_of(const struct cluster *c, int call)
{
    return master_of(c, cluster_key(call));
}

/* A whole scan needs all. */
static bool is_any_away(const struct site *s)
{
    return s->c->masters > 1 && cluster_is_behind(s);
}

bool cluster_is_torn(const struct cluster *c)
{
    for (size_t i = 0; i < c->masters; i++)
        if (c->gone[i])
            return true;
    return false;
}

/* Any master publishes. */
static size_t any(const struct site *s)
{
    size_t i = 0;

    while (i + 1 < s->c->masters && s->way[i].away)
        i++;
    return i;
}

/* The scan is as slow as the slowest of them. */
static size_t slowest(const struct site *s)
{
    size_t slow = 0;

    for (size_t i = 1; i < s->c->masters; i++)
        slow = s->way[i].apply_at > s->way[slow].apply_at ? i : slow;
    return slow;
}

bool way_of(const struct site *s, enum kind kind, const char *key, size_t *master)
{
    *master = key ? master_of(s->c, key) : kind == APPLY_TELL ? any(s) : kind == APPLY_SCAN ? slowest(s) : 0;
    return !s->way[*master].away && !(kind == APPLY_SCAN && is_any_away(s));
}

bool is_redirected(const struct cluster *c, const struct task *t)
{
    return t->key && t->master < MASTERS_MAX && c->now < c->moving_ms[t->master] &&
           slot_of(t->key) / c->masters % SLOTS == 0;
}

/* ---- connections ---- */

void plan_way(struct site *s, enum kind kind, int64_t in_ms, size_t master)
{
    plan(s, kind, in_ms, s->way[master].epoch)->master = master;
}

/* While the nodes follow, one that comes from somewhere else may still be told of the server before. */
static void open_way(struct site *s, size_t master)
{
    struct way *w = &s->way[master];

    w->away = s->c->gone[master];
    w->epoch++;
    w->behind = !w->away && s->c->split_ms > s->c->now && one_in(s->c, 3);
    if (w->behind)
        plan_way(s, CUT_WAY, up_to(s->c, s->c->split_ms - s->c->now), master);
}

void ways_open(struct site *s)
{
    for (size_t i = 0; i < s->c->masters; i++)
        open_way(s, i);
}

void ways_close(struct site *s)
{
    for (size_t i = 0; i < MASTERS_MAX; i++)
        s->way[i].away = s->way[i].behind = false;
}

static void close_way(struct site *s, size_t master)
{
    struct way *w = &s->way[master];

    if (w->away || !s->connected)
        return;
    cluster_note(s, "* master %zu is away", master);
    w->away = true;
    w->behind = false;
    w->epoch++;
    store_drop(s, master);
    engine_flush(s->e, s->c->now);
}

static void reopen_way(struct site *s, size_t master)
{
    if (s->c->gone[master])
        return;
    open_way(s, master);
    cluster_note(s, "* master %zu is there", master);
    engine_store_down(s->e, s->c->now);
    engine_store_up(s->e, s->c->now);
    engine_flush(s->e, s->c->now);
}

void cluster_break_way(struct cluster *c, size_t node, size_t master)
{
    struct site *s = &c->site[node];

    close_way(s, master);
    plan_way(s, JOIN_WAY, up_to(c, BACKOFF_MS), master);
}

void way_accident(struct site *s, const struct task *t)
{
    size_t node = (size_t)(s - s->c->site);

    if (!s->connected || t->epoch != s->way[t->master].epoch)
        return;
    if (t->kind == JOIN_WAY)
        reopen_way(s, t->master);
    else if (s->c->masters > 1)
        cluster_break_way(s->c, node, t->master);
    else
        store_leave(s);
}

void cluster_lose_master(struct cluster *c, size_t master, bool gone)
{
    if (c->gone[master] == gone)
        return;
    cluster_note(&c->site[0], "* master %zu is %s", master, gone ? "gone" : "back");
    c->gone[master] = gone;
    for (size_t i = 0; i < c->count; i++)
        if (gone)
            close_way(&c->site[i], master);
        else if (c->site[i].connected && c->site[i].way[master].away)
            plan_way(&c->site[i], JOIN_WAY, up_to(c, BACKOFF_MS), master);
}

void cluster_move_slots(struct cluster *c, size_t master, int64_t ms)
{
    cluster_note(&c->site[0], "* slots of master %zu move", master);
    c->moving_ms[master] = c->now + ms;
}

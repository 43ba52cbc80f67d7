/* What befalls the store of the cluster, and the two connections that each node has to it: one for what it asks, one
 * for what others announce.
 *
 * What cannot happen with Redis and hiredis is not modelled, but for what the core is to bear all the same: that
 * answers of one connection overtake each other (`shuffle`), and that announcements (`twice`) and answers (`again`)
 * come twice. A callback comes once for each command, with an answer or with none; then the command may have been
 * carried out, and what was written is written again over the next connection, which an old one may even outlive
 * (`adrift`). */
#include "cluster_impl.h"

#include <utlist.h>

#define PATIENCE_MS 1000 /* redis_timeout_ms */

bool one_in(struct cluster *c, unsigned times)
{
    return c->dice && c->dice(c, times) == 0;
}

int64_t up_to(struct cluster *c, int64_t ms)
{
    return c->dice ? 1 + c->dice(c, (unsigned)ms) : 1;
}

struct task *plan(struct site *s, enum kind kind, int64_t in_ms, unsigned epoch)
{
    int64_t at = s->c->now + in_ms;
    struct task *t = task_add(s, kind, &at, NULL, NULL);

    t->epoch = epoch;
    return t;
}

/* Beats come again at once: nothing tells old ones from those of a store that has lost the last. */
bool store_again(struct cluster *c, struct task *t)
{
    bool beats = t->of == APPLY_BEAT || t->of == APPLY_NODES;

    if (t->kind != ANSWER || t->again || !c->again || !one_in(c, 8))
        return false;
    t->again = true;
    t->at = c->now + (beats ? 0 : up_to(c, one_in(c, 4) ? PATIENCE_MS : 20));
    task_insert(c, t);
    return true;
}

static void lose_touch(struct site *s, int64_t until_ms)
{
    s->touch_ms = until_ms > s->touch_ms ? until_ms : s->touch_ms;
}

/* ---- announcements ---- */

/* Whoever is on another store, or on a replica of it, is not there. */
static bool listens(const struct site *s, const struct site *from, const struct task *t)
{
    bool same = s->c->masters > 1 || s->way[0].behind == t->old;

    return s->hears && same && (s->refused || !from->refused);
}

void store_publish(struct cluster *c, const struct task *t, enum kind kind, int node)
{
    for (size_t i = 0; i < c->count; i++) {
        struct site *s = &c->site[i];

        if (!listens(s, &c->site[t->site], t) || (node && node != s->id) || (kind == ANNOUNCE && i == t->site))
            continue;
        for (int times = c->twice && one_in(c, 8) ? 2 : 1; times > 0; times--)
            task_add(s, kind, c->shuffle && s->hear_at <= c->now ? NULL : &s->hear_at, NULL, t->value)->epoch =
                s->hear_epoch;
    }
}

void store_listen(struct site *s)
{
    if (s->c->dice)
        plan(s, SUBSCRIBE, up_to(s->c, one_in(s->c, 4) ? BACKOFF_MS : 10), s->hear_epoch);
    else
        s->hears = true;
}

void store_listen_not(struct site *s)
{
    s->hears = false;
    s->hear_epoch++;
    s->hear_at = s->c->now;
}

void cluster_hear_late(struct cluster *c, size_t node, int64_t ms)
{
    cluster_note(&c->site[node], "* announcements come late");
    c->site[node].hear_at = c->now + ms;
    lose_touch(&c->site[node], c->now + ms);
}

void cluster_hear_not(struct cluster *c, size_t node, int64_t ms)
{
    struct site *s = &c->site[node];

    if (!s->hears)
        return;
    cluster_note(s, "* announcements are lost");
    store_listen_not(s);
    plan(s, SUBSCRIBE, ms, s->hear_epoch);
}

/* ---- the way to the store ---- */

static bool is_held_up(const struct site *s, const struct task *t, size_t master)
{
    (void)master;
    return t->kind == ANSWER && &s->c->site[t->site] == s && t->epoch == s->store_epoch && t->at == NEVER;
}

/* What was held up comes, in its order. */
static void hear_again(struct site *s)
{
    struct cluster *c = s->c;
    struct task *all = tasks_take(s, is_held_up, MASTERS_MAX), *t, *next;

    cluster_note(s, "* answers come again");
    s->deaf = false;
    LL_FOREACH_SAFE(all, t, next)
    {
        LL_DELETE(all, t);
        task_again(c, t);
    }
    for (size_t i = 0; i < MASTERS_MAX; i++)
        s->way[i].answer_at = c->now;
}

void cluster_deafen(struct cluster *c, size_t node)
{
    struct site *s = &c->site[node];

    if (!s->connected || s->deaf)
        return;
    cluster_note(s, "* no answer comes");
    s->deaf = true;
    plan(s, CUT, up_to(c, PATIENCE_MS), s->store_epoch);
}

void cluster_delay(struct cluster *c, size_t node, size_t master, int64_t ms)
{
    cluster_note(&c->site[node], "* master %zu of the store takes its time", master);
    c->site[node].way[master].apply_at = c->now + ms;
    lose_touch(&c->site[node], c->now + ms);
}

static void come_back(struct site *s, int64_t in_ms)
{
    plan(s, JOIN, in_ms, s->store_epoch);
}

void store_leave(struct site *s)
{
    cluster_cut(s->c, (size_t)(s - s->c->site));
    come_back(s, up_to(s->c, BACKOFF_MS));
}

static void give_up(struct site *s)
{
    if (s->deaf && one_in(s->c, 3))
        hear_again(s);
    else
        store_leave(s);
}

void store_accident(struct site *s, const struct task *t)
{
    lose_touch(s, s->c->now);
    if (t->kind == CUT && s->connected && t->epoch == s->store_epoch)
        give_up(s);
    else if (t->kind == JOIN && !s->crashed && t->epoch == s->store_epoch)
        cluster_join(s->c, (size_t)(s - s->c->site));
    else if (t->kind == SUBSCRIBE && s->connected && t->epoch == s->hear_epoch)
        s->hears = true;
    else if (t->kind == CUT_WAY || t->kind == JOIN_WAY)
        way_accident(s, t);
}

bool cluster_are_apart(const struct cluster *c, size_t a, size_t b)
{
    return strcmp(c->site[a].conf.site, c->site[b].conf.site) != 0;
}

void cluster_part(struct cluster *c, bool parted)
{
    if (c->parted == parted)
        return;
    cluster_note(&c->site[0], "* the sites %s", parted ? "lose each other" : "meet again");
    c->parted = parted;
    for (size_t i = 0; i < c->count; i++) {
        if (!cluster_are_apart(c, 0, i))
            continue;
        if (parted)
            cluster_cut(c, i);
        else if (!c->site[i].crashed)
            cluster_join(c, i);
    }
}

bool is_refused(const struct cluster *c, const struct task *t)
{
    return c->site[t->site].refused;
}

void cluster_refuse(struct cluster *c, size_t node, bool refused)
{
    if (c->site[node].refused == refused)
        return;
    cluster_note(&c->site[node], "* the store %s", refused ? "takes no writes" : "takes writes again");
    c->site[node].refused = refused;
}

/* ---- the store ---- */

void cluster_flush(struct cluster *c)
{
    cluster_note(&c->site[0], "* the store forgets everything, and no connection breaks");
    data_clear(&c->store);
}

/* What befalls the store of a life: one Redis, or the masters of a Redis Cluster, of which each may fail alone. */
#include "life.h"

#include "call.h"
#include "call_impl.h"

#define LAG_MS 600       /* a replica is less behind */
#define NEAR_LAG_MS 6000 /* and a near replica; one that has stopped has lost what ended before that */
#define ALL MASTERS_MAX
#define KNOWN_MS 500 /* an end that is in the store so long is known to all whom it concerns */

void stores_begin(struct life *l)
{
    struct cluster *c = l->c;

    c->lag_ms = has_near(l) ? NEAR_LAG_MS : LAG_MS;
    for (size_t i = 0; has_near(l) && i < c->count; i++)
        cluster_near(c, i, 0, true);
    l->fails_over = dice(c, 4) == 0;
    if (!has_near(l) && happens(l, "masters") && dice(c, 3) == 0)
        c->masters = MASTERS_MAX;
}

/* What is in the archive by now is looked at anew. */
static void is_another_store(struct life *l, size_t master)
{
    for (size_t i = 0; i < l->c->count; i++)
        if (!l->c->site[i].still)
            l->well_ms[i] = l->c->now;
    for (int i = 0; i < CALLS; i++) {
        if (master != ALL && cluster_master_of(l->c, i) != master)
            continue;
        l->contested[i] = l->contested[i] || cluster_is_contested(l->c, i);
        l->c->loose[i] = true; /* also a claim on its INVITE */
    }
    l->archived = 0;
    memset(l->entries, 0, sizeof(l->entries));
}

/* When the last node was out of touch: seen after each step, or shorter than one. */
static int64_t all_in_touch_since(const struct life *l)
{
    int64_t since = 0;

    for (size_t i = 0; i < l->c->count; i++) {
        since = l->touch_ms[i] > since ? l->touch_ms[i] : since;
        since = l->c->site[i].touch_ms > since ? l->c->site[i].touch_ms : since;
    }
    return since;
}

/* Who has inherited a call from a node that came back hears of no end. */
static bool is_inherited(const struct life *l, const char *call_id)
{
    const char *name = scratch("%s%ca1", call_id, 0);

    for (size_t i = 0; i < l->c->count; i++) {
        const struct call *c = calls_find(l->c->site[i].e, (struct span){name, strlen(call_id) + 3});

        if (c && c->role == CALL_HEIR)
            return true;
    }
    return false;
}

/* Other entries may come once more: of who wrote a younger one, and of who could not hear that a call had ended; and
 * while a Kamailio has the INVITE yet, which nobody has answered there, it may be answered. */
static void keep_ends(struct life *l)
{
    const struct data *d = &l->c->store;
    int64_t since = all_in_touch_since(l);
    json_t *entry;
    size_t i;
    int call;

    json_array_foreach(d->archive, i, entry)
    {
        const char *call_id = json_string_value(json_object_get(json_array_get(entry, 1), "call_id"));
        int64_t at = json_integer_value(json_array_get(d->archived_ms, i));

        if (at > since && at <= l->c->now - KNOWN_MS && call_id && sscanf(call_id, "call-%d@", &call) == 1)
            l->ended[call] = !is_contested(l, call) && !is_inherited(l, call_id) && !cluster_holders(l->c, call, NULL);
    }
}

void forget(struct life *l)
{
    if (dice(l->c, 4) || !happens(l, "forget"))
        return;
    keep_ends(l);
    is_another_store(l, ALL);
    if (dice(l->c, 3))
        cluster_forget(l->c);
    else
        cluster_flush(l->c);
}

/* What was answered may ring there again: only who has seen the answer knows better. */
static void note_unanswered(struct life *l, size_t master)
{
    for (int i = 0; i < CALLS; i++)
        if (l->c->final[i] == 200 && cluster_master_of(l->c, i) == master && is_known(l->c, i))
            l->unanswered[i] = true;
}

/* What had ended may stand there as if it went on. */
static void fail_back(struct life *l, size_t master, int64_t split_ms)
{
    bool empty = dice(l->c, 4) == 0;

    if (empty && !happens(l, "empty"))
        return;
    if (!empty && !happens(l, "stale"))
        return;
    is_another_store(l, master);
    if (!empty)
        memset(l->ended, 0, sizeof(l->ended));
    cluster_failback(l->c, master, empty, split_ms);
    note_unanswered(l, master);
}

static void fail_over(struct life *l, size_t master)
{
    int64_t split_ms = 1 + dice(l->c, 4) * 1000;

    if (dice(l->c, 2)) {
        fail_back(l, master, split_ms);
        return;
    }
    is_another_store(l, master);
    cluster_failover(l->c, master, dice(l->c, LAG_MS), split_ms);
    note_unanswered(l, master);
}

/* One of several, for one node or for all. */
void accident_of_a_master(struct life *l, size_t n, size_t master)
{
    struct cluster *c = l->c;

    switch (dice(c, 6)) {
    case 0:
        cluster_break_way(c, n, master);
        break;
    case 1:
        cluster_delay(c, n, master, dice(c, 900));
        break;
    case 2:
    case 3:
        cluster_lose_master(c, master, !c->gone[master]);
        break;
    case 4:
        if (happens(l, "move"))
            cluster_move_slots(c, master, 1 + dice(c, 5000));
        break;
    default:
        if (happens(l, "failover"))
            fail_over(l, master);
    }
}

void masters_are_well(struct cluster *c)
{
    for (size_t i = 0; i < c->masters; i++) {
        cluster_lose_master(c, i, false);
        cluster_move_slots(c, i, 0);
    }
}

/* The store, or the node's connections to it. */
void accident_of_the_store(struct life *l, size_t n)
{
    struct cluster *c = l->c;

    switch (l->fails_over ? dice(c, 12) : dice(c, 6)) {
    case 0:
        if (happens(l, "deaf"))
            cluster_deafen(c, n);
        break;
    case 1:
        cluster_delay(c, n, dice(c, (unsigned)c->masters), dice(c, 900));
        break;
    case 2:
        if (happens(l, "late"))
            cluster_hear_late(c, n, dice(c, 5000));
        break;
    case 3:
        if (happens(l, "unheard"))
            cluster_hear_not(c, n, 1 + dice(c, 3000));
        break;
    case 4:
        if (happens(l, "refuse"))
            cluster_refuse(c, n, !c->site[n].refused);
        break;
    default:
        if (happens(l, "failover"))
            fail_over(l, dice(c, (unsigned)c->masters));
    }
}

/* ---- near replicas ---- */

/* Every other life has them, where CANCELs are looked up. */
bool has_near(const struct life *l)
{
    return l->c->large && l->seed / 4 % 2 && happens(l, "near");
}

void accident_near(struct life *l, size_t n)
{
    struct cluster *c = l->c;
    int64_t lag_ms = dice(c, dice(c, 2) ? 50 : NEAR_LAG_MS / 2);

    cluster_near(c, n, dice(c, 4) ? lag_ms : -1, dice(c, 4));
}

/* One node gives its calls away, and the near replicas do not know yet. */
void move_unseen(struct life *l)
{
    struct cluster *c = l->c;
    struct engine *e = c->site[dice(c, (unsigned)c->count)].e;

    for (size_t i = 0; i < c->count; i++)
        cluster_near(c, i, NEAR_LAG_MS / 2, true);
    engine_evacuate(e, true, c->now);
    cluster_run(c, NEAR_LAG_MS / 3);
    engine_evacuate(e, false, c->now);
}

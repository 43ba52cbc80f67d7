/* Writing all again: since the store takes no writes (what it refuses of one record alone is none of that), or has come
 * back.
 *
 *     refused ▶ one record is tried every TRY_MS, all nodes are told to doubt ▶ taken ▶ all are written
 *
 * A store that refuses (READONLY, OOM) answers at once, so nothing but a trial tells when it takes writes again. */
#include "own_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"

#include "call.h"
#include "count.h"

#define TRY_MS 100
#define TELL_MS 1000      /* that something is unwritten is said so often, */
#define ALL_AFTER_MS 1000 /* all is not written again sooner, nor faster than this, should some of it be refused: */
#define ALL_PER_MS 20
#define SETTLE_MS 4000 /* what an earlier connection still held has reached the store by then */

void rewrite_refused(struct engine *e, int64_t now)
{
    struct rewrite *w = &e->rewrite;

    if (!w->refused)
        w->try_ms = now + TRY_MS;
    w->refused = true;
    w->all_ms = 0;
    if (w->told_ms && now - w->told_ms < TELL_MS)
        return;
    w->told_ms = now;
    engine_doubt(e, now);
    told_unwritten(e);
}

/* When all may be written again. */
static int64_t soonest(const struct engine *e, int64_t now)
{
    int64_t pause = (int64_t)(e->txns.count + e->calls.count) / ALL_PER_MS;
    int64_t at = e->rewrite.last_ms + (pause > ALL_AFTER_MS ? pause : ALL_AFTER_MS);

    return e->rewrite.last_ms && at > now ? at : now + 1;
}

void rewrite_taken(struct engine *e, int64_t now)
{
    if (!e->rewrite.refused)
        return;
    e->rewrite.refused = false;
    e->rewrite.all_ms = soonest(e, now);
}

void rewrite_later(struct engine *e, int64_t now)
{
    if (!e->rewrite.refused && !e->rewrite.all_ms)
        e->rewrite.all_ms = soonest(e, now + ALL_AFTER_MS);
}

void rewrite_doubt(struct engine *e, int64_t now)
{
    engine_doubt(e, now);
    rewrite_later(e, now);
}

/* The store has come back; it may have forgotten everything. */
void rewrite_back(struct engine *e, int64_t now)
{
    e->rewrite = (struct rewrite){.settle_ms = now + SETTLE_MS};
    engine_doubt(e, now);
}

/* What is written anyway is as good a trial. */
static void try_one(struct engine *e)
{
    struct txn *t = e->txns.by_id;

    while (t && (t->unsure || t->retry_ms))
        t = t->hh.next;
    if (e->txns.dirty_count || e->owner.puts || e->txns.asked_count || e->calls.at[CALL_DIRTY] ||
        e->calls.at[CALL_WRITING])
        return;
    if (t)
        txns_mark(&e->txns, t);
    else
        calls_mark_one(e);
}

static bool take_due(int64_t *due_ms, int64_t now)
{
    bool due = *due_ms && now >= *due_ms;

    if (due)
        *due_ms = 0;
    return due;
}

/* After a return of the store it is done twice. What an earlier connection still held in its buffers, at a Redis that
 * hung or a network that stood still, may reach the store after what is newer. */
void rewrite_tick(struct engine *e, int64_t now)
{
    struct rewrite *w = &e->rewrite;
    bool all = e->store.up && take_due(&w->all_ms, now), settled = e->store.up && take_due(&w->settle_ms, now);

    if (all || settled) {
        w->last_ms = now;
        txns_mark_all(&e->txns);
        calls_mark_all(e);
    }
    if (e->store.up && w->refused && now >= w->try_ms) {
        w->try_ms = now + TRY_MS;
        try_one(e);
    }
}

int64_t rewrite_due(const struct engine *e)
{
    const struct rewrite *w = &e->rewrite;
    const int64_t dues[] = {w->all_ms, w->settle_ms, w->refused ? w->try_ms : 0};
    int64_t due = INT64_MAX;

    for (size_t i = 0; e->store.up && i < COUNT(dues); i++)
        if (dues[i] && dues[i] < due)
            due = dues[i];
    return due;
}

/* Writes all records again when the store has refused writes (a refusal of one record alone does not count), or has
 * come back.
 *
 *     refused ▶ one record is tried every TRY_MS, all nodes are told to doubt ▶ accepted ▶ all are written
 *
 * A store that refuses (READONLY, OOM) answers at once, so only a trial shows when it accepts writes again. */
#include "own_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"

#include "call.h"
#include "count.h"

#define TRY_MS 100
#define TELL_MS 1000      /* interval of telling the others that records are unwritten */
#define ALL_AFTER_MS 1000 /* shortest interval of writing all, if some are refused; */
#define AGAIN_MAX 3       /* so often in a row it is doubled, */
#define ALL_PER_MS 20     /* and the most records per ms of it */
#define SETTLE_MS 4000    /* by then the data of an earlier connection has reached the store */

void resync_refused(struct engine *e, int64_t now)
{
    struct resync *w = &e->resync;

    if (!w->refused)
        w->try_ms = now + TRY_MS;
    w->refused = true;
    w->all_ms = 0;
    if (w->told_ms && now - w->told_ms < TELL_MS)
        return;
    w->told_ms = now;
    engine_doubt(e, now);
    message_unwritten(e);
}

/* Between writing all and once more. A store of which a part is away refuses some, and takes others, time and again: as
 * long as writing all is of no use, it is done less and less often. */
static int64_t pause_of(const struct engine *e)
{
    int64_t pause = (int64_t)(e->txns.count + e->calls.count) / ALL_PER_MS;

    return (pause > ALL_AFTER_MS ? pause : ALL_AFTER_MS) << e->resync.again;
}

/* The earliest time for that. */
static int64_t soonest(const struct engine *e, int64_t now)
{
    int64_t at = e->resync.last_ms + pause_of(e);

    return e->resync.last_ms && at > now ? at : now + 1;
}

void resync_taken(struct engine *e, int64_t now)
{
    if (!e->resync.refused)
        return;
    e->resync.refused = false;
    e->resync.all_ms = soonest(e, now);
}

void resync_later(struct engine *e, int64_t now)
{
    if (!e->resync.refused && !e->resync.all_ms)
        e->resync.all_ms = soonest(e, now + ALL_AFTER_MS);
}

void resync_doubt(struct engine *e, int64_t now)
{
    engine_doubt(e, now);
    resync_later(e, now);
}

/* The store has come back, and may have lost everything. */
void resync_back(struct engine *e, int64_t now)
{
    e->resync = (struct resync){.settle_ms = now + SETTLE_MS};
    engine_doubt(e, now);
}

/* A write that is due anyway is as good a trial. */
static void try_one(struct engine *e)
{
    struct txn *t = e->txns.by_id;

    while (t && t->retry_ms)
        t = t->hh.next;
    if (e->txns.dirty_count || e->owner.puts || e->calls.at[CALL_DIRTY] || e->calls.at[CALL_WRITING])
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

static bool is_soon(const struct engine *e, int64_t now)
{
    return e->resync.last_ms && now - e->resync.last_ms <= 2 * pause_of(e);
}

/* Done twice after a return of the store: data in the buffers of an earlier connection, because Redis hung or the
 * network stalled, may reach the store after newer data. */
void resync_tick(struct engine *e, int64_t now)
{
    struct resync *w = &e->resync;
    bool all = e->store.up && take_due(&w->all_ms, now), settled = e->store.up && take_due(&w->settle_ms, now);

    if (all || settled) {
        w->again = !is_soon(e, now) ? 0 : w->again < AGAIN_MAX ? w->again + 1 : AGAIN_MAX;
        w->last_ms = now;
        txns_mark_all(&e->txns);
        calls_mark_all(e);
    }
    if (e->store.up && w->refused && now >= w->try_ms) {
        w->try_ms = now + TRY_MS;
        try_one(e);
    }
}

int64_t resync_due(const struct engine *e)
{
    const struct resync *w = &e->resync;
    const int64_t dues[] = {w->all_ms, w->settle_ms, w->refused ? w->try_ms : 0};
    int64_t due = INT64_MAX;

    for (size_t i = 0; e->store.up && i < COUNT(dues); i++)
        if (dues[i] && dues[i] < due)
            due = dues[i];
    return due;
}

/* The search for orphans after a death, and for this node's own transactions after a start of kamsyncd: scans the keys
 * of all transactions in batches; those that concern this node wait for takeover.c to read them.
 */
#include "own_impl.h"
#include "call_impl.h"
#include "cluster_impl.h"

#include "key.h"

#define WAITING_LOW 128    /* fewer than this wait: scan the next batch of keys */
#define NEXT_ROUND_MS 2000 /* for orphans that other survivors have not taken over by then */

void search_begin(struct engine *e, bool whole)
{
    e->search.wanted = true;
    e->search.calls = e->search.calls || whole;
}

void engine_scan_key(struct engine *e, const char *key)
{
    const struct search *s = &e->search;
    bool read = sites_concern(e, key, s->round);

    if (key_is_call(key) && (s->learn || (read && s->calls)))
        failover_wait(e, key, s->round);
    if (key_is_tx(key) && (s->learn || read) && !txns_by_key(&e->txns, key))
        takeover_wait(e, key, s->round, s->begun_ms);
}

void engine_scanned(struct engine *e, bool ok, uint64_t next, int64_t now)
{
    struct search *s = &e->search;
    bool last = s->round >= (sites_several(e) ? ROUND_ALL : ROUND_SITE);

    if (!s->running)
        return; /* that part has been answered */
    s->running = false;
    s->cursor = ok ? next : 0;
    if (ok && next)
        return;
    if (!ok || !last)
        s->again_ms = now + NEXT_ROUND_MS;
    if (ok)
        s->learn = false;
    if (ok && last)
        s->calls = false;
}

static enum round next_round(enum round round)
{
    return round == ROUND_SHARE ? ROUND_SITE : ROUND_ALL;
}

static bool may_run(const struct engine *e)
{
    return e->self.up && e->contact.hello && e->store.up && !e->search.running &&
           e->takeovers.count - e->takeovers.active < WAITING_LOW &&
           e->failovers.count - e->failovers.reading < WAITING_LOW;
}

void search_run(struct engine *e, int64_t now)
{
    struct search *s = &e->search;

    if (!may_run(e))
        return;
    if (s->wanted || (s->again_ms && now >= s->again_ms)) {
        *s = (struct search){.round = s->wanted ? ROUND_SHARE : next_round(s->round),
                             .calls = s->calls,
                             .learn = s->learn,
                             .running = true,
                             .begun_ms = now};
        e->io.scan(e->io.ctx, 0);
    } else if (s->cursor) {
        s->running = true;
        e->io.scan(e->io.ctx, s->cursor);
    }
}

int64_t search_due(const struct engine *e)
{
    return e->search.again_ms && may_run(e) ? e->search.again_ms : INT64_MAX;
}

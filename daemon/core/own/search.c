/* The search for orphans after a death, and for this node's own transactions after a start of kamsyncd: scans the keys
 * of all transactions in batches; those that concern this node wait for takeover.c to read them.
 */
#include "own_impl.h"
#include "call_impl.h"

#include "key.h"

#define WAITING_LOW 128       /* fewer than this wait: scan the next batch of keys */
#define SECOND_SEARCH_MS 2000 /* for orphans that other survivors have not taken over by then */

void search_begin(struct engine *e, bool whole)
{
    e->search.wanted = true;
    e->search.calls = e->search.calls || whole;
}

/* Survivors share the orphans by a hash of their keys, which is the same on each node, so that they need not agree. */
static bool is_mine(const struct engine *e, const char *key)
{
    size_t alive = 1, rank = 0;
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < e->nodes.count; i++) {
        const struct node *n = &e->nodes.list[i];

        if (n->up && !n->lost) {
            alive++;
            rank += n->id < e->self.id;
        }
    }
    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * 16777619u;
    hash = (hash ^ hash >> 16) * 0x7feb352du; /* otherwise the last bit is only the parity of the key */
    hash = (hash ^ hash >> 15) * 0x846ca68bu;
    return (hash ^ hash >> 16) % alive == rank;
}

void engine_scan_key(struct engine *e, const char *key)
{
    bool share = e->search.all || is_mine(e, key);

    if (key_is_call(key) && (e->search.learn || (share && e->search.calls)))
        failover_wait(e, key, share);
    if (!key_is_tx(key))
        return;
    if ((share || e->search.learn) && !txns_by_key(&e->txns, key))
        takeover_wait(e, key, !share, e->search.begun_ms);
}

void engine_scanned(struct engine *e, bool ok, uint64_t next, int64_t now)
{
    struct search *s = &e->search;

    if (!s->running)
        return; /* that part has been answered */
    s->running = false;
    s->cursor = ok ? next : 0;
    if (ok && next)
        return;
    if (!ok || !s->all)
        s->again_ms = now + SECOND_SEARCH_MS;
    if (ok)
        s->learn = false;
    if (ok && s->all)
        s->calls = false;
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
        *s = (struct search){.all = !s->wanted, .calls = s->calls, .learn = s->learn, .running = true, .begun_ms = now};
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

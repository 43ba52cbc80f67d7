/* The visible state of an engine. */
#include "ask_impl.h"

#include "call.h"

const char *kamailio_state(const struct engine *e)
{
    return !e->contact.hello ? "away" : e->self.up ? "up" : "hangs";
}

void engine_status(const struct engine *e, struct engine_status *status)
{
    *status = (struct engine_status){
        .node = e->self.id,
        .inc = e->self.inc,
        .link = e->contact.hello,
        .up = e->self.up,
        .settled = !e->learning && e->peers.since_ms,
        .store = e->store.up,
        .txns = e->txns.count,
        .calls = e->calls.count,
        .dirty = e->txns.dirty_count + e->calls.at[CALL_DIRTY],
        .puts = e->owner.puts + e->calls.at[CALL_WRITING],
        .takeovers = e->takeovers.count,
        .strays = e->strays.count,
        .queued = e->link.waiting_count,
        .queued_bytes = e->link.waiting_bytes,
        .txn_bytes = e->txns.bytes,
        .call_bytes = e->calls.bytes,
        .early = e->early.count,
        .early_bytes = e->early.bytes[0] + e->early.bytes[1],
    };
    for (size_t i = 0; i < e->nodes.count; i++)
        status->nodes += e->nodes.list[i].up && !e->nodes.list[i].lost && e->nodes.list[i].reached;
}

/* After a stall of the host: what has to be done before anything is written. */
#include "hall_impl.h"
#include "cluster_impl.h"
#include "own_impl.h"

void hall_see_standstill(struct engine *e, int64_t now)
{
    if (e->turn_ms && now - e->turn_ms >= e->conf.node_ttl_ms / 2) {
        e->contact.progress_ms = now;
        peers_appear(e, now);
        owner_doubt(e, true);
    }
    e->turn_ms = now;
}

void hall_write(struct engine *e, int64_t now)
{
    hall_see_standstill(e, now);
    owner_flush(e, now);
}

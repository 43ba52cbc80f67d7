/* The store may lack records that it should have: how long an absent record proves nothing, and when writes are
 * retried. */
#include "cluster_impl.h"

#define DOUBT_MS 3000 /* by then all nodes have reconnected, and have written their records */
#define PAUSE_MS 1000 /* a single refused record is retried, with the pause doubled each time, */
#define PAUSE_SHIFT 5 /* at most this often */

void engine_doubt(struct engine *e, int64_t now)
{
    e->store.doubt_ms = now + DOUBT_MS;
}

int64_t doubt_pause(unsigned *refusals)
{
    int64_t ms = PAUSE_MS << (*refusals < PAUSE_SHIFT ? *refusals : PAUSE_SHIFT);

    (*refusals)++;
    return ms;
}

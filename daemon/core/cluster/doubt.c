/* The store may not have what it should: how long nothing is concluded from that, and when it is tried again. */
#include "cluster_impl.h"

#define DOUBT_MS 3000 /* all are connected again by then, and have written what they have */
#define PAUSE_MS 1000 /* a single record that is not taken is tried again, each time after twice as long, */
#define PAUSE_SHIFT 5 /* at most so often */

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

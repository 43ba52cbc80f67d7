/* Where the master is, by asking Redis' Sentinels at every connect ("Guidelines for Redis clients with support for
 * Sentinel"): one after the other, each for a short time, and whoever has answered is asked first the next time. What
 * it says of other Sentinels makes the list anew. A connection to what it names is used only when ROLE says that it is
 * a master. Besides, one Sentinel tells at once when another Redis becomes the master. */
#ifndef KAMSYNC_REDIS_SENTINEL_H
#define KAMSYNC_REDIS_SENTINEL_H

#include "redis_conn.h"

#define SENTINEL_CLIENTS 2

struct sentinels;

/* The connections whose master is looked for: each gets its find(), and must outlive the Sentinels. closed is called
 * with data when sentinels_close() has ended. NULL when out of memory. */
struct sentinels *sentinels_new(uv_loop_t *loop, const struct redis_conf *conf, const struct store_events *on,
                                struct redis_conn *const clients[SENTINEL_CLIENTS], void (*closed)(void *data),
                                void *data);
void sentinels_close(struct sentinels *s);
/* Writes queued commands. */
void sentinels_flush(struct sentinels *s);

#endif

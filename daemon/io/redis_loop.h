/* hiredis in libuv's loop. The adapter that comes with hiredis misses a refused or reset connection (libuv reports it
 * as an error, which the adapter ignores): that would be noticed only by a missing answer. */
#ifndef KAMSYNC_REDIS_LOOP_H
#define KAMSYNC_REDIS_LOOP_H

#include <hiredis/async.h>
#include <uv.h>

#include "span.h"

/* 0, or -1 when out of memory. */
int redis_loop_attach(redisAsyncContext *ac, uv_loop_t *loop);

/* Writes what hiredis has queued, and these bytes behind that; call it before the loop waits. Having libuv report that
 * the socket is writable would cost another turn of the loop, and more than the write itself. plain: the bytes go as
 * they are, without TLS. False, when out of memory: the rest of the bytes is lost. */
bool redis_loop_write(redisAsyncContext *ac, struct span bytes, bool plain);

#endif

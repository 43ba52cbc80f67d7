/* hiredis in libuv's loop. The adapter that comes with hiredis misses a refused or reset connection (libuv reports it
 * as an error, which the adapter ignores): that would be noticed only by a missing answer. */
#ifndef KAMSYNC_REDIS_LOOP_H
#define KAMSYNC_REDIS_LOOP_H

#include <hiredis/async.h>
#include <uv.h>

/* 0, or -1 when out of memory. */
int redis_loop_attach(redisAsyncContext *ac, uv_loop_t *loop);

/* Writes queued commands; call it before the loop waits. Having libuv report that the socket is writable would cost
 * another turn of the loop, and more than the write itself. */
void redis_loop_write(redisAsyncContext *ac);

#endif

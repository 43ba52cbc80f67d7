/* hiredis in libuv's loop. The adapter that comes with hiredis does not hear of a connection that was refused or reset
 * (libuv says so as an error, which it passes over): that would be noticed only when an answer is missed. */
#ifndef KAMSYNC_REDIS_LOOP_H
#define KAMSYNC_REDIS_LOOP_H

#include <hiredis/async.h>
#include <uv.h>

/* 0, or -1 when memory is short. */
int redis_loop_attach(redisAsyncContext *ac, uv_loop_t *loop);

#endif

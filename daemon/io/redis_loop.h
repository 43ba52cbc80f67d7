/* hiredis in libuv's loop. The adapter that comes with hiredis does not hear of a connection that was refused or reset
 * (libuv says so as an error, which it passes over): that would be noticed only when an answer is missed. */
#ifndef KAMSYNC_REDIS_LOOP_H
#define KAMSYNC_REDIS_LOOP_H

#include <hiredis/async.h>
#include <uv.h>

/* 0, or -1 when memory is short. */
int redis_loop_attach(redisAsyncContext *ac, uv_loop_t *loop);

/* Writes what was asked for: commands wait for this call, which is to come before the loop waits. To let libuv say that
 * the socket can be written to would cost another turn of the loop, and more than the writing itself. */
void redis_loop_write(redisAsyncContext *ac);

#endif

#include "redis_loop.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

struct watch {
    uv_poll_t handle;
    redisAsyncContext *ac; /* NULL: gone */
    int events;
    bool unwritten; /* commands wait for redis_loop_write() */
};

/* After an error libuv stops watching, and reports no event: hiredis finds the error by reading. */
static void on_event(uv_poll_t *handle, int status, int events)
{
    struct watch *w = handle->data;

    if (status < 0)
        w->events = 0;
    if (w->ac && (status < 0 || (events & UV_READABLE)))
        redisAsyncHandleRead(w->ac);
    if (w->ac && (events & UV_WRITABLE))
        redisAsyncHandleWrite(w->ac); /* del_write() if all is written */
}

/* Each real change costs libuv two system calls. */
static void change(struct watch *w, int events)
{
    if (events == w->events)
        return;
    w->events = events;
    if (events)
        uv_poll_start(&w->handle, events, on_event);
    else
        uv_poll_stop(&w->handle);
}

static void add_read(void *arg)
{
    change(arg, ((struct watch *)arg)->events | UV_READABLE);
}

static void del_read(void *arg)
{
    change(arg, ((struct watch *)arg)->events & ~UV_READABLE);
}

static void add_write(void *arg)
{
    struct watch *w = arg;

    if (w->ac->c.flags & REDIS_CONNECTED)
        w->unwritten = true;
    else
        change(w, w->events | UV_WRITABLE); /* so hiredis learns of the connection */
}

static void del_write(void *arg)
{
    struct watch *w = arg;

    w->unwritten = false;
    change(w, w->events & ~UV_WRITABLE);
}

/* Of bytes that nothing waits before. The rest is hiredis', which also finds out what is wrong. */
static size_t write_now(const struct watch *w, struct span bytes)
{
    ssize_t n = bytes.n && !(w->events & UV_WRITABLE) ? write(w->ac->c.fd, bytes.p, bytes.n) : 0;

    return n > 0 ? (size_t)n : 0;
}

bool redis_loop_write(redisAsyncContext *ac, struct span bytes, bool plain)
{
    struct watch *w = ac->ev.data;
    size_t done = plain ? write_now(w, bytes) : 0;

    if (done < bytes.n && redisAppendFormattedCommand(&ac->c, bytes.p + done, bytes.n - done) != REDIS_OK)
        return false;
    if (!w->unwritten || (w->events & UV_WRITABLE))
        return true;
    w->unwritten = false;
    redisAsyncHandleWrite(ac); /* which may have closed it */
    if (w->ac && w->unwritten)
        change(w, w->events | UV_WRITABLE); /* the socket is full */
    return true;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void clean_up(void *arg)
{
    struct watch *w = arg;

    w->ac = NULL;
    uv_close((uv_handle_t *)&w->handle, on_closed);
}

int redis_loop_attach(redisAsyncContext *ac, uv_loop_t *loop)
{
    struct watch *w = calloc(1, sizeof(*w));

    if (!w || uv_poll_init(loop, &w->handle, ac->c.fd) < 0) {
        free(w);
        return -1;
    }
    w->handle.data = w;
    w->ac = ac;
    ac->ev.addRead = add_read;
    ac->ev.delRead = del_read;
    ac->ev.addWrite = add_write;
    ac->ev.delWrite = del_write;
    ac->ev.cleanup = clean_up;
    ac->ev.data = w;
    return 0;
}

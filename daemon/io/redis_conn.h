/* One connection to Redis that comes back for ever: name lookup, connect, AUTH, SELECT, then ready; gone, backoff,
 * again.
 *
 *     start ▶ resolving ▶ connecting ▶ greeting ▶ READY
 *               ▲              └ failed: the next address of the name, if there is one
 *               │                                   │ error, or no answer for timeout_ms
 *               └───────── waiting (backoff) ◀──────┘ */
#ifndef KAMSYNC_REDIS_CONN_H
#define KAMSYNC_REDIS_CONN_H

#include <hiredis/async.h>
#include <uv.h>

#include "store.h"

struct redis_conn {
    uv_loop_t *loop;
    const struct redis_conf *conf;
    const struct store_events *on; /* for log lines */
    const char *role;              /* for log lines */
    void (*ready)(struct redis_conn *c);
    void (*lost)(struct redis_conn *c);   /* only after ready() */
    void (*closed)(struct redis_conn *c); /* after redis_conn_close(): nothing is open any more */
    void *data;

    redisAsyncContext *ac; /* NULL unless connecting or connected */
    uv_getaddrinfo_t lookup;
    struct addrinfo *addresses;          /* owned: of the name; */
    const struct addrinfo *next_address; /* that is tried when this one fails, NULL: it was the last */
    char ip[64];                         /* that is tried, or connected to; "" for none */
    uv_timer_t timer;                    /* backoff, then the watchdog */
    bool looking_up, is_ready, closing;
    bool odd;     /* what came was refused (redis_guard.c) */
    bool refused; /* that was said; until it is ready again */
    unsigned attempt;
    size_t pending;       /* commands that were not answered */
    uint64_t ready_ms;    /* since when it is */
    uint64_t progress_ms; /* when one was last answered, or first pending */
};

/* The fields above the line are set by the caller. */
void redis_conn_start(struct redis_conn *c);
void redis_conn_close(struct redis_conn *c);
/* Writes what was asked for. */
void redis_conn_flush(struct redis_conn *c);
/* Gives an established connection up, to make a fresh one. */
void redis_conn_renew(struct redis_conn *c);

/* Bookkeeping for the watchdog: each command that expects one answer, and its answer. */
void redis_conn_sent(struct redis_conn *c);
void redis_conn_answered(struct redis_conn *c);

/* Makes a line fit for the log: Redis may have said anything. */
void redis_clean(char *line);

/* redis_guard.c: lets nothing reach hiredis that it would end the process for. The context's data is the connection. */
void redis_guard(redisAsyncContext *ac);

#endif

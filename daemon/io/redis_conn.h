/* One connection to Redis that reconnects for ever: name lookup, connect, AUTH, SELECT, then ready; lost, backoff,
 * retry.
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
    const struct redis_login *login;
    int db;
    struct store_host host;
    const char *path;              /* of a Unix socket, in place of the host; "" for none */
    const struct store_events *on; /* for log lines */
    const char *role;              /* for log lines */
    void (*ready)(struct redis_conn *c);
    void (*lost)(struct redis_conn *c);   /* only after ready() */
    void (*closed)(struct redis_conn *c); /* after redis_conn_close(): everything is closed */
    struct histogram *round_trips;        /* NULL: not measured */
    void *data;

    redisAsyncContext *ac; /* NULL unless connecting or connected */
    uv_getaddrinfo_t lookup;
    struct addrinfo *addresses;          /* owned: of the name */
    const struct addrinfo *next_address; /* tried when this one fails; NULL: there is none */
    char ip[64];                         /* being tried, or connected to; "" for none */
    uv_timer_t timer;                    /* backoff, then the watchdog */
    bool looking_up, is_ready, closing;
    bool odd;     /* input was refused (redis_guard.c) */
    bool refused; /* the refusal was logged; until it is ready again */
    unsigned attempt;
    size_t pending;       /* unanswered commands */
    uint64_t ready_ms;    /* since when it is ready */
    uint64_t progress_ms; /* when a command was last answered, or first pending */
    uint64_t measured_ns; /* when the command that is measured was sent; 0: none is */
    size_t measured_left; /* answers until its own, that one included */
};

/* The caller sets the fields above the line. */
void redis_conn_start(struct redis_conn *c);
void redis_conn_close(struct redis_conn *c);
/* Writes queued commands. */
void redis_conn_flush(struct redis_conn *c);
/* Closes an established connection and makes a new one. */
void redis_conn_renew(struct redis_conn *c);

/* Host, address and port, or the path, for log lines. Returns out. */
const char *redis_conn_where(const struct redis_conn *c, char *out, size_t size);

/* Bookkeeping for the watchdog: each command that expects one answer, and its answer. */
void redis_conn_sent(struct redis_conn *c);
void redis_conn_answered(struct redis_conn *c);

/* Makes a line safe for the log: Redis may have sent anything. */
void redis_clean(char *line);

/* redis_guard.c: keeps from hiredis what would make it end the process. The context's data is the connection. */
void redis_guard(redisAsyncContext *ac);

#endif
